//! Peers that are too slow. Every connection notes what it waits for from its peer and since when; one task a shard looks
//! at all of them from time to time and closes those that have used up their time. Owns the notes, the judgement (a pure
//! function) and that task; never reads or sends. No timer is set for a request. Lives on the connection's shard.
//!
//! Without shortage a peer has the time of [`PeerLimits::wait`]. Where others wait for memory that this peer holds, it must
//! show progress: bytes that have arrived from it, or that it has acknowledged, as the kernel counts them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ouzel_runtime::{Instant, PeerProgress};

use crate::config::PeerLimits;
use crate::frame_reader::Fault;
use crate::join;
use crate::limits;
use crate::memory::Shortage;
use crate::shard::ShardState;

/// What a connection waits for on its receiving side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    /// Nothing: it is busy itself, or waits for memory.
    Nothing,
    /// For the next frame.
    Next { since: Instant },
    /// For the rest of a frame of this many bytes.
    Frame { since: Instant, bytes: usize, holds_memory: bool },
}

/// The notes of one connection.
#[derive(Debug)]
pub(crate) struct Watch {
    receiving: Cell<Receiving>,
    /// Since when a send of so many bytes is under way.
    sending: Cell<Option<(Instant, usize)>>,
    /// What had arrived at an earlier look of the same wait.
    received: Cell<Mark>,
    /// What had been acknowledged at an earlier look of the same send.
    acked: Cell<Mark>,
}

/// When a count of bytes was seen, and what it was; nothing if there was no look yet.
type Mark = Option<(Instant, u64)>;

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            receiving: Cell::new(Receiving::Nothing),
            sending: Cell::new(None),
            received: Cell::new(None),
            acked: Cell::new(None),
        }
    }

    pub(crate) fn receiving(&self, receiving: Receiving) {
        self.receiving.set(receiving);
        self.received.set(None);
    }

    pub(crate) fn sending(&self, sending: Option<(Instant, usize)>) {
        self.sending.set(sending);
        self.acked.set(None);
    }
}

/// A connection as it is looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    receiving: Receiving,
    sending: Option<(Instant, usize)>,
    /// Requests are in flight.
    is_asking: bool,
    received: Mark,
    acked: Mark,
}

/// What a look leads to.
#[derive(Debug)]
enum Verdict {
    /// These counts are to be kept for the next look.
    Mark {
        received: Mark,
        acked: Mark,
    },
    Close(Fault),
}

fn judge(now: Instant, seen: &Seen, limits: &PeerLimits, shortage: Shortage, progress: PeerProgress) -> Verdict {
    if let Some((since, bytes)) = seen.sending
        && now > since + limits.wait(bytes)
    {
        return Verdict::Close(Fault::Slow("the peer does not take its replies"));
    }
    match seen.receiving {
        Receiving::Frame { since, bytes, .. } if now > since + limits.wait(bytes) => {
            return Verdict::Close(Fault::Slow("a frame did not arrive whole"));
        }
        Receiving::Next { since }
            if seen.sending.is_none() && !seen.is_asking && now > since + Duration::from_millis(limits.idle_ms) =>
        {
            return Verdict::Close(Fault::Idle);
        }
        _ => {}
    }
    let blocks_requests = shortage.requests && matches!(seen.receiving, Receiving::Frame { holds_memory: true, .. });
    let blocks_replies = shortage.replies && seen.sending.is_some();
    let received = blocks_requests.then(|| measure(now, seen.received, progress.received, limits));
    if received == Some(Pace::Stalled) {
        return Verdict::Close(Fault::Slow("a frame hardly moves, and others wait for its memory"));
    }
    let acked = blocks_replies.then(|| measure(now, seen.acked, progress.acked, limits));
    if acked == Some(Pace::Stalled) {
        return Verdict::Close(Fault::Slow("replies are hardly taken, and others wait for their memory"));
    }
    let marked = |pace, before, count| if pace == Some(Pace::Moving) { Some((now, count)) } else { before };
    Verdict::Mark {
        received: marked(received, seen.received, progress.received),
        acked: marked(acked, seen.acked, progress.acked),
    }
}

/// How a count has changed since its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Fast enough, or seen for the first time: the mark moves.
    Moving,
    /// Too early to say.
    Open,
    Stalled,
}

fn measure(now: Instant, mark: Mark, count: u64, limits: &PeerLimits) -> Pace {
    let Some((at, before)) = mark else { return Pace::Moving };
    let elapsed = now.saturating_duration_since(at);
    if elapsed < Duration::from_millis(limits.shortage_ms) {
        return Pace::Open;
    }
    let enough = limits::SHORTAGE_BYTES_PER_MS_MIN * elapsed.as_millis() as u64;
    if count.saturating_sub(before) < enough { Pace::Stalled } else { Pace::Moving }
}

/// Looks at every connection until the broker stops.
pub(crate) async fn watchman(state: Rc<ShardState>) {
    let limits = state.limits;
    while !state.stopping.is_set() {
        let shortage = state.memory.shortage(state.store.held_bytes());
        let pause = if shortage.is_any() { limits.shortage_ms / 2 } else { limits.look_ms() };
        let due = state.shard.now() + Duration::from_millis(pause.max(1));
        let mut waking: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + '_>>> =
            vec![Box::pin(state.shard.sleep_until(due)), Box::pin(state.stopping.wait())];
        if !shortage.is_any() {
            waking.push(Box::pin(state.memory.short.notified()));
        }
        join::first(&mut waking).await;
        drop(waking);
        state.memory_changed();
        look(&state);
    }
}

fn look(state: &ShardState) {
    let shortage = state.memory.shortage(state.store.held_bytes());
    let now = state.shard.now();
    for connection in state.connections() {
        let watch = connection.watch();
        let seen = Seen {
            receiving: watch.receiving.get(),
            sending: watch.sending.get(),
            is_asking: connection.is_asking(),
            received: watch.received.get(),
            acked: watch.acked.get(),
        };
        // Asking the kernel is worth it only where the answer may matter.
        let progress = if shortage.is_any() { connection.peer_progress() } else { PeerProgress::default() };
        match judge(now, &seen, &state.limits, shortage, progress) {
            Verdict::Mark { received, acked } => {
                watch.received.set(received);
                watch.acked.set(acked);
            }
            Verdict::Close(fault) => connection.fail(&fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Shortage = Shortage { requests: true, replies: true };
    const ENOUGH: Shortage = Shortage { requests: false, replies: false };

    fn limits() -> PeerLimits {
        PeerLimits { idle_ms: 1000, wait_ms: 100, shortage_ms: 10, ..PeerLimits::default() }
    }

    fn verdict(after_ms: u64, seen: Seen, shortage: Shortage, progress: u64) -> Verdict {
        let now = Instant::from_nanos(0) + Duration::from_millis(after_ms);
        judge(now, &seen, &limits(), shortage, PeerProgress { acked: progress, received: progress })
    }

    fn seen() -> Seen {
        Seen { receiving: Receiving::Nothing, sending: None, is_asking: false, received: None, acked: None }
    }

    #[test]
    fn time_is_up_for_the_idle_the_half_sent_and_the_untaken() {
        let since = Instant::from_nanos(0);
        let idle = Seen { receiving: Receiving::Next { since }, ..seen() };
        let frame = Seen { receiving: Receiving::Frame { since, bytes: 0, holds_memory: false }, ..seen() };
        let untaken = Seen { sending: Some((since, 0)), ..seen() };
        for (case, last_ms) in [(idle, 1000), (frame, 100), (untaken, 100)] {
            assert!(matches!(verdict(last_ms, case, ENOUGH, 0), Verdict::Mark { .. }), "{case:?}");
            assert!(matches!(verdict(last_ms + 1, case, ENOUGH, 0), Verdict::Close(_)), "{case:?}");
        }
        let asking = Seen { is_asking: true, ..idle };
        assert!(matches!(verdict(5000, asking, ENOUGH, 0), Verdict::Mark { .. }), "a long poll is not idle");
        assert!(matches!(verdict(5000, seen(), SHORT, 0), Verdict::Mark { .. }), "whoever waits for us is not blamed");
    }

    #[test]
    fn under_shortage_only_a_holder_without_progress_is_closed() {
        let since = Instant::from_nanos(0);
        let holder = Seen { receiving: Receiving::Frame { since, bytes: 1 << 20, holds_memory: true }, ..seen() };
        let first = verdict(1, holder, SHORT, 7);
        assert!(matches!(first, Verdict::Mark { received: Some((_, 7)), acked: None }), "the first look only notes");
        let marked = Seen { received: Some((since, 0)), ..holder };
        assert!(matches!(verdict(9, marked, SHORT, 0), Verdict::Mark { .. }), "too early to say");
        assert!(matches!(verdict(10, marked, SHORT, 0), Verdict::Close(_)));
        assert!(matches!(verdict(10, marked, ENOUGH, 0), Verdict::Mark { .. }));
        let moved = verdict(10, marked, SHORT, 1 << 20);
        assert!(matches!(moved, Verdict::Mark { received: Some((_, 0x10_0000)), .. }), "progress is noted anew");
        let stranger = Seen { receiving: Receiving::Frame { since, bytes: 1 << 20, holds_memory: false }, ..marked };
        assert!(matches!(verdict(10, stranger, SHORT, 0), Verdict::Mark { .. }), "it holds nothing others wait for");
        let reader = Seen { sending: Some((since, 1 << 20)), acked: Some((since, 0)), ..seen() };
        assert!(matches!(verdict(10, reader, SHORT, 100), Verdict::Close(_)));
    }
}

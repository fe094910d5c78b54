//! What ends a broker: a signal, or a shard that ended by itself. Owns the waiting for both and the bound of the stop that
//! follows; start and stop themselves are `node.rs`. Runs on the thread that started the broker: during the start without a ring,
//! since whether one can be had is what the start finds out, and then on a small one of its own.

use std::pin::Pin;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ouzel_runtime::{Inbox, Mailbox, Shard, Signal, Signals};

use crate::error::StopError;
use crate::join;
use crate::limits::STOP_WAIT_MS_MAX;
use crate::node::{AbortOnPanic, RunningBroker};

/// Between two looks for a signal during a start.
const LOOK_MS: u64 = 50;
/// Looks from one word about a start that takes its time to the next: five seconds.
const LOOKS_PER_WORD: u32 = 100;

/// How the waiting for a start went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Started<T> {
    /// It came to its end.
    Ended(T),
    /// A signal came first.
    Signalled(Signal),
}

/// Lets a thread `start`, and waits for its end or for a signal. Calls `tell` every few seconds meanwhile.
pub(crate) fn start<T: Send + 'static>(
    start: impl FnOnce() -> T + Send + 'static,
    arrived: impl FnMut() -> Option<Signal>,
    tell: impl FnMut(),
) -> Started<T> {
    watch(Duration::from_millis(LOOK_MS), start, arrived, tell)
}

fn watch<T: Send + 'static>(
    look: Duration,
    start: impl FnOnce() -> T + Send + 'static,
    mut arrived: impl FnMut() -> Option<Signal>,
    mut tell: impl FnMut(),
) -> Started<T> {
    let (done, ended) = mpsc::channel();
    let thread = std::thread::Builder::new().name("start".to_owned()).spawn(move || {
        let _abort = AbortOnPanic;
        // Nobody waits any more where a signal came first.
        let _ = done.send(start());
    });
    thread.expect("a process that is to run shards can have one more thread");
    let mut looks = 0;
    loop {
        match ended.recv_timeout(look) {
            Ok(outcome) => return Started::Ended(outcome),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("a start that panics ends the process"),
        }
        if let Some(signal) = arrived() {
            return Started::Signalled(signal);
        }
        looks = (looks + 1) % LOOKS_PER_WORD;
        if looks == 0 {
            tell();
        }
    }
}

/// What is waited for.
enum Event {
    Signal,
    SignalsFailed,
    ShardEnded(u16),
    Stopped(Result<(), StopError>),
    TimeIsUp,
}

/// Waits for a reason to stop, stops, and says how that went.
pub(crate) async fn supervise(
    shard: Shard,
    mut signals: Signals,
    exits: mpsc::Receiver<u16>,
    stopping: impl FnOnce(),
    broker: RunningBroker,
) -> Result<(), StopError> {
    let (events, mut inbox) = shard.mailbox(usize::from(u16::MAX));
    relay("exits", events.clone(), move |events| {
        while let Ok(index) = exits.recv() {
            // Nobody waits any more once the broker has stopped.
            let _ = events.send(Event::ShardEnded(index));
        }
    });
    let failed = match next(&shard, &mut signals, &mut inbox, None).await {
        Event::ShardEnded(index) => {
            tracing::error!(shard = index, "a shard has ended: the broker stops");
            Some(StopError::ShardEnded { shard: index, detail: "the broker could not go on without it".to_owned() })
        }
        _ => {
            tracing::info!("stopping");
            None
        }
    };
    stopping();
    relay("stop", events, move |events| {
        let _ = events.send(Event::Stopped(broker.stop()));
    });
    let deadline = shard.now() + Duration::from_millis(STOP_WAIT_MS_MAX);
    loop {
        match next(&shard, &mut signals, &mut inbox, Some(deadline)).await {
            Event::Stopped(outcome) => return failed.map_or(outcome, Err),
            Event::Signal => return Err(StopError::Forced { why: "a second signal came" }),
            Event::TimeIsUp => return Err(StopError::Forced { why: "the stop took too long" }),
            // The shards end one after the other: that is the stop.
            Event::ShardEnded(_) | Event::SignalsFailed => {}
        }
    }
}

/// Lets a thread wait for what no ring can wait for.
fn relay(name: &str, events: Mailbox<Event>, wait: impl FnOnce(Mailbox<Event>) + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || wait(events)).expect("a process that runs shards can have one more thread");
}

async fn next(
    shard: &Shard,
    signals: &mut Signals,
    inbox: &mut Inbox<Event>,
    deadline: Option<ouzel_runtime::Instant>,
) -> Event {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = Event> + '_>>> = vec![
        Box::pin(async {
            match inbox.recv().await {
                Some(event) => event,
                None => std::future::pending().await,
            }
        }),
        Box::pin(async {
            match signals.next().await {
                Ok(signal) => {
                    tracing::info!(?signal, "received");
                    Event::Signal
                }
                Err(error) => {
                    tracing::error!(%error, "signals cannot be waited for");
                    Event::SignalsFailed
                }
            }
        }),
    ];
    if let Some(deadline) = deadline {
        waiting.push(Box::pin(async move {
            shard.sleep_until(deadline).await;
            Event::TimeIsUp
        }));
    }
    join::first(&mut waiting).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_told_of_for_as_long_as_it_takes() {
        let (told, waits) = mpsc::channel();
        let start = move || [(); 3].map(|()| waits.recv().is_ok());
        // It may be called once more than is waited for.
        let tell = || {
            let _ = told.send(());
        };
        let outcome = watch(Duration::from_micros(1), start, || None, tell);
        assert_eq!(outcome, Started::Ended([true; 3]));
    }

    #[test]
    fn a_signal_ends_the_waiting_for_a_start_that_does_not_end() {
        let (_kept, waits) = mpsc::channel::<()>();
        let outcome = watch(Duration::from_micros(1), move || waits.recv().is_ok(), || Some(Signal::Terminate), || {});
        assert_eq!(outcome, Started::Signalled(Signal::Terminate));
    }
}

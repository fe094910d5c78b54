//! The task behind a member of a group: says that it lives, whatever the program does meanwhile, and tells the program what
//! changed. Owns the clock and the I/O of membership; decides nothing that the membership could decide.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::membership::{AfterFailure, Membership};
use crate::cluster::Cluster;
use crate::error::ClientError;
use crate::group_config::GroupConsumerConfig;

/// The longest a member waits between two looks at whether its program is stuck.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a member's program and its task share.
pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    membership: Mutex<Membership>,
    /// Raised with whatever the program should look at.
    news: watch::Sender<u64>,
    /// There is something to say now.
    pub(crate) speak: Notify,
    /// Offsets are to be committed.
    pub(crate) commit_due: AtomicBool,
    /// Some that were to be committed in the background were not.
    pub(crate) commit_failed: AtomicBool,
    /// Counts the calls for records.
    pub(crate) calls: AtomicU64,
    /// Such a call is waiting.
    pub(crate) is_waiting: AtomicBool,
    pub(crate) is_closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(cluster: Arc<Cluster>, membership: Membership) -> Shared {
        Shared {
            cluster,
            membership: Mutex::new(membership),
            news: watch::Sender::new(0),
            speak: Notify::new(),
            commit_due: AtomicBool::new(false),
            commit_failed: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            is_waiting: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    // A panic while holding the lock would have been ours; the state is a plain value and stays sound.
    pub(crate) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    pub(crate) fn tell(&self) {
        self.news.send_modify(|version| *version += 1);
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.speak.notify_one();
    }
}

/// Runs until the member is closed, and says farewell.
pub(crate) async fn run(shared: Arc<Shared>, config: GroupConsumerConfig) {
    let mut stuck = Stuck { calls: 0, since: Instant::now() };
    let mut commit_at = config.auto_commit_interval.map(|interval| Instant::now() + interval);
    let mut speak_at = Some(Instant::now());
    let mut failures = 0;
    let mut failing_since = Instant::now();
    while !shared.is_closed.load(Ordering::Acquire) {
        let now = Instant::now();
        if stuck.look(&shared, now) >= config.poll_interval_max && shared.membership().may_lapse() {
            lapse(&shared, config.poll_interval_max).await;
            speak_at = None;
        }
        if commit_at.is_some_and(|at| at <= now) {
            commit_at = config.auto_commit_interval.map(|interval| now + interval);
            shared.commit_due.store(true, Ordering::Release);
            shared.tell();
        }
        if speak_at.is_some_and(|at| at <= now) {
            match speak(&shared).await {
                Spoken::Heard(interval) => {
                    failures = 0;
                    speak_at = Some(Instant::now() + interval);
                }
                Spoken::Failed(error, AfterFailure::Retry) => {
                    if failures == 0 {
                        failing_since = now;
                    }
                    failures += 1;
                    let is_over =
                        !error.is_retriable() && failing_since.elapsed() > shared.cluster.config.operation_timeout;
                    if is_over {
                        shared.membership().give_up(error);
                        shared.tell();
                    }
                    let wait = shared.cluster.config.backoff().random_delay(failures);
                    speak_at = (!is_over).then(|| Instant::now() + wait);
                }
                Spoken::Failed(_, AfterFailure::Rejoin) => speak_at = Some(Instant::now()),
                Spoken::Failed(_, AfterFailure::End) => speak_at = None,
            }
            continue;
        }
        let next = [speak_at, commit_at].into_iter().flatten().fold(now + LOOK_INTERVAL, Instant::min);
        tokio::select! {
            () = sleep_until(next) => {}
            () = shared.speak.notified() => {
                // A member that failed for good says nothing any more, and one that fails now waits for its turn.
                if shared.membership().failure().is_none() && failures == 0 && !shared.membership().has_lapsed() {
                    speak_at = Some(Instant::now());
                }
            }
        }
    }
    say_farewell(&shared).await;
}

enum Spoken {
    Heard(Duration),
    Failed(ClientError, AfterFailure),
}

async fn speak(shared: &Shared) -> Spoken {
    let request = shared.membership().heartbeat();
    let outcome = shared.cluster.group_heartbeat(&request).await;
    let (spoken, is_news) = {
        let mut membership = shared.membership();
        let before = (membership.epoch(), membership.wanted());
        let spoken = match outcome {
            Ok(reply) => Spoken::Heard(membership.heard(reply)),
            Err(error) => {
                let next = membership.failed(error.clone());
                let (group, member_id) = (&request.group_id, membership.member_id());
                tracing::debug!(%group, %member_id, %error, ?next, "a heartbeat failed");
                Spoken::Failed(error, next)
            }
        };
        let has_changed = before != (membership.epoch(), membership.wanted());
        let is_news = has_changed || membership.failure().is_some() || !membership.has_what_it_is_to();
        (spoken, is_news)
    };
    if is_news {
        shared.tell();
    }
    spoken
}

/// The program is stuck: its partitions are to go to others.
async fn lapse(shared: &Shared, after: Duration) {
    tracing::warn!(?after, "no records were asked for: the member leaves its group until they are");
    say_farewell(shared).await;
    shared.membership().lapse();
    shared.tell();
}

async fn say_farewell(shared: &Shared) {
    let Some(farewell) = shared.membership().farewell() else { return };
    if let Err(error) = shared.cluster.group_heartbeat(&farewell).await {
        // Its session ends it then.
        tracing::debug!(%error, "a member could not say that it leaves");
    }
}

/// Since when the program has not asked for records.
struct Stuck {
    calls: u64,
    since: Instant,
}

impl Stuck {
    /// For how long by now. Revives a member that had lapsed.
    fn look(&mut self, shared: &Shared, now: Instant) -> Duration {
        let calls = shared.calls.load(Ordering::Relaxed);
        if calls != self.calls || shared.is_waiting.load(Ordering::Relaxed) {
            *self = Stuck { calls, since: now };
            return Duration::ZERO;
        }
        now - self.since
    }
}

//! The way from the admin's thread to the shards: a question each, an answer within a bounded time or why there is none. Owns
//! the mailboxes' sending ends and when the broker may be called ready. Lives on the admin's thread; the thread that
//! starts the broker only says how far it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ouzel_broker_core::MetadataImage;
use ouzel_protocol::ShardIndex;
use ouzel_runtime::SendError;
use ouzel_runtime::remote_oneshot::{self, Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use super::lane::AdminQuestion;
use crate::lanes::ShardAddress;
use crate::limits;

/// Why a shard did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// It does not run any more.
    #[error("the shard does not run")]
    Gone,
    /// It has too many questions already.
    #[error("the shard has {} questions to answer first", limits::ADMIN_LANE_COUNT_MAX)]
    Busy,
    /// It did not answer in time.
    #[error("the shard did not answer in time")]
    Late,
}

/// How far the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It recovers.
    Starting,
    /// Its listeners are open.
    Serving,
    /// It takes nothing new.
    Stopping,
}

/// All shards, once they serve.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    addresses: OnceLock<Vec<ShardAddress>>,
    is_stopping: AtomicBool,
}

impl Shards {
    /// The shards serve, and these are their mailboxes. Said once.
    pub(crate) fn serve(&self, addresses: Vec<ShardAddress>) {
        self.addresses.set(addresses).expect("a broker starts once");
    }

    /// The broker stops.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        if self.is_stopping.load(Ordering::Relaxed) {
            Phase::Stopping
        } else if self.addresses.get().is_some() {
            Phase::Serving
        } else {
            Phase::Starting
        }
    }

    /// The mailboxes of all shards, by index; none before they serve.
    pub(crate) fn addresses(&self) -> &[ShardAddress] {
        self.addresses.get().map_or(&[], Vec::as_slice)
    }

    /// Asks one shard.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn ask<R: Send>(
        &self,
        shard: ShardIndex,
        question: impl FnOnce(Sender<R>) -> AdminQuestion,
    ) -> Result<R, NoAnswer> {
        self.ask_within(Duration::from_millis(limits::ADMIN_ANSWER_MS_MAX), shard, question).await
    }

    /// Asks one shard for what it cannot tell at once.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn ask_within<R: Send>(
        &self,
        within: Duration,
        shard: ShardIndex,
        question: impl FnOnce(Sender<R>) -> AdminQuestion,
    ) -> Result<R, NoAnswer> {
        let address = self.addresses().get(usize::from(shard.0)).ok_or(NoAnswer::Gone)?;
        answered(put(address, question), Instant::now() + within).await
    }

    /// Asks all shards at once; answers are by index.
    pub(crate) async fn ask_all<R: Send>(
        &self,
        question: impl Fn(Sender<R>) -> AdminQuestion,
    ) -> Vec<Result<R, NoAnswer>> {
        let deadline = deadline();
        let asked: Vec<_> = self.addresses().iter().map(|address| put(address, &question)).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for asked in asked {
            answers.push(answered(asked, deadline).await);
        }
        answers
    }

    /// The newest metadata that any shard serves from.
    ///
    /// # Errors
    /// No shard answers; why the last one does not.
    pub(crate) async fn image(&self) -> Result<Arc<MetadataImage>, NoAnswer> {
        let mut newest: Result<Arc<MetadataImage>, NoAnswer> = Err(NoAnswer::Gone);
        for answer in self.ask_all(|reply| AdminQuestion::Image { reply }).await {
            match (&newest, answer) {
                (Ok(newest), Ok(image)) if image.version() <= newest.version() => {}
                (Ok(_), Err(_)) => {}
                (_, answer) => newest = answer,
            }
        }
        newest
    }
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_millis(limits::ADMIN_ANSWER_MS_MAX)
}

fn put<R: Send>(
    address: &ShardAddress,
    question: impl FnOnce(Sender<R>) -> AdminQuestion,
) -> Result<Receiver<R>, NoAnswer> {
    let (reply, answer) = remote_oneshot::channel();
    match address.admin.send(question(reply)) {
        Ok(()) => Ok(answer),
        Err(SendError::Full(_)) => Err(NoAnswer::Busy),
        Err(SendError::Closed(_)) => Err(NoAnswer::Gone),
    }
}

async fn answered<R: Send>(asked: Result<Receiver<R>, NoAnswer>, deadline: Instant) -> Result<R, NoAnswer> {
    match timeout_at(deadline, asked?).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(NoAnswer::Gone),
        Err(_) => Err(NoAnswer::Late),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ouzel_runtime::{RunConfig, run};

    use super::*;
    use crate::lanes;

    #[tokio::test]
    async fn a_shard_that_does_not_answer_is_late_then_busy_and_then_gone() {
        let (up, ups) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let shard = std::thread::spawn(move || {
            run(RunConfig::default(), |shard| async move {
                let (address, inboxes) = lanes::open(&shard, 1);
                up.send(address).expect("the test waits");
                // It is stuck, as no shard should be: nothing reads its lanes.
                let _ = ended.recv();
                drop(inboxes);
            })
        });
        let shards = Shards::default();
        assert_eq!(shards.image().await.expect_err("nobody is there"), NoAnswer::Gone);
        assert_eq!(shards.phase(), Phase::Starting);
        shards.serve(vec![ups.recv().expect("a shard")]);
        assert_eq!(shards.phase(), Phase::Serving);
        assert_eq!(shards.image().await.expect_err("it is stuck"), NoAnswer::Late);
        for _ in 1..limits::ADMIN_LANE_COUNT_MAX {
            let question = |reply| AdminQuestion::Image { reply };
            put(shards.addresses().first().expect("a shard"), question).map(drop).expect("there is room");
        }
        assert_eq!(shards.image().await.expect_err("its lane is full"), NoAnswer::Busy);
        drop(end);
        shard.join().expect("no panic").expect("a clean end");
        assert_eq!(shards.image().await.expect_err("it has ended"), NoAnswer::Gone);
        shards.stop();
        assert_eq!(shards.phase(), Phase::Stopping);
    }
}

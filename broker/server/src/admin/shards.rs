//! The way from the admin's thread to the shards: questions, and an answer to each within a bounded time or why there is none. Owns
//! the mailboxes' sending ends and when the broker may be called ready. Lives on the admin's thread; the thread that
//! starts the broker only says how far it is.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use ouzel_broker_core::MetadataImage;
use ouzel_protocol::ShardIndex;
use ouzel_runtime::SendError;
use ouzel_runtime::remote_oneshot::{self, Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use super::lane::AdminQuestion;
use crate::lanes::ShardAddress;
use crate::limits;

/// All questions of one request are answered by then: twice what one may take.
const ASKING_MS_MAX: u64 = 2 * limits::ADMIN_ANSWER_MS_MAX;

const _: () = assert!(ASKING_MS_MAX < limits::ADMIN_REQUEST_MS_MAX);

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

    /// Begins to ask for one request.
    pub(crate) fn asking(&self) -> Asking<'_> {
        let ends = Instant::now() + Duration::from_millis(ASKING_MS_MAX);
        Asking { shards: self, late: BTreeSet::new(), ends }
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
}

/// What one request asks of the shards. One of them that is silent makes it wait once, however much there is to ask.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    shards: &'a Shards,
    /// Those that did not answer in time: they are not asked again.
    late: BTreeSet<ShardIndex>,
    ends: Instant,
}

impl<'a> Asking<'a> {
    pub(crate) fn shards(&self) -> &'a Shards {
        self.shards
    }

    /// Asks one shard.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn one<R: Send>(
        &mut self,
        shard: ShardIndex,
        question: impl FnOnce(Sender<R>) -> AdminQuestion,
    ) -> Result<R, NoAnswer> {
        self.each([(shard, question)]).await.pop().unwrap_or(Err(NoAnswer::Gone))
    }

    /// Asks all shards at once; answers are by index.
    pub(crate) async fn all<R: Send>(
        &mut self,
        question: impl Fn(Sender<R>) -> AdminQuestion,
    ) -> Vec<Result<R, NoAnswer>> {
        let shards = (0..).map(ShardIndex).take(self.shards.addresses().len());
        self.each(shards.map(|shard| (shard, &question))).await
    }

    /// Asks these shards at once, each something of its own; answers are in the order of the questions.
    pub(crate) async fn each<R: Send, Q: FnOnce(Sender<R>) -> AdminQuestion>(
        &mut self,
        questions: impl IntoIterator<Item = (ShardIndex, Q)>,
    ) -> Vec<Result<R, NoAnswer>> {
        let asked: Vec<_> = questions.into_iter().map(|(shard, question)| (shard, self.put(shard, question))).collect();
        let deadline = self.deadline();
        let mut answers = Vec::with_capacity(asked.len());
        for (shard, asked) in asked {
            let answer = answered(asked, deadline).await;
            if matches!(answer, Err(NoAnswer::Late)) {
                self.late.insert(shard);
            }
            answers.push(answer);
        }
        answers
    }

    /// The metadata that the first shard which answers serves from. A change is told to whoever made it when all shards
    /// serve from it, so that nobody misses what they know of.
    ///
    /// # Errors
    /// No shard answers; why one does not.
    pub(crate) async fn image(&mut self) -> Result<Arc<MetadataImage>, NoAnswer> {
        let mut why = NoAnswer::Gone;
        let mut asked = Vec::new();
        for shard in (0..).map(ShardIndex).take(self.shards.addresses().len()) {
            match self.put(shard, |reply| AdminQuestion::Image { reply }) {
                Ok(answer) => asked.push((shard, answer)),
                Err(no_answer) => why = no_answer,
            }
        }
        let first = poll_fn(|ctx| {
            let mut image = None;
            asked.retain_mut(|(_, answer)| match Pin::new(answer).poll(ctx) {
                Poll::Ready(Ok(answer)) => {
                    image = Some(answer);
                    false
                }
                Poll::Ready(Err(_)) => {
                    why = NoAnswer::Gone;
                    false
                }
                Poll::Pending => true,
            });
            match image {
                Some(image) => Poll::Ready(Ok(image)),
                None if asked.is_empty() => Poll::Ready(Err(why)),
                None => Poll::Pending,
            }
        });
        let first = timeout_at(self.deadline(), first).await;
        first.unwrap_or_else(|_| {
            self.late.extend(asked.iter().map(|(shard, _)| *shard));
            Err(NoAnswer::Late)
        })
    }

    fn put<R: Send>(
        &self,
        shard: ShardIndex,
        question: impl FnOnce(Sender<R>) -> AdminQuestion,
    ) -> Result<Receiver<R>, NoAnswer> {
        if self.late.contains(&shard) {
            return Err(NoAnswer::Late);
        }
        put(self.shards.addresses().get(usize::from(shard.0)).ok_or(NoAnswer::Gone)?, question)
    }

    fn deadline(&self) -> Instant {
        self.ends.min(Instant::now() + Duration::from_millis(limits::ADMIN_ANSWER_MS_MAX))
    }
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
    use std::thread::JoinHandle;

    use ouzel_protocol::{PartitionIndex, TopicId};
    use ouzel_runtime::{Inbox, RunConfig, run};

    use super::super::topics::statuses;
    use super::*;
    use crate::lanes::{self, PartitionRef, PartitionStatus};

    /// A shard that does nothing but what `serve` does with its admin lane.
    fn shard<F: Future<Output = ()>>(
        serve: impl FnOnce(Inbox<AdminQuestion>) -> F + Send + 'static,
    ) -> (ShardAddress, JoinHandle<()>) {
        let (up, ups) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let ended = run(RunConfig::default(), |shard| async move {
                let (address, inboxes) = lanes::open(&shard, 1);
                up.send(address).expect("the test waits");
                serve(inboxes.admin).await;
            });
            ended.expect("a clean end");
        });
        (ups.recv().expect("a shard"), thread)
    }

    /// A shard that is stuck, as none should be: nothing reads its lanes until the sender is dropped.
    fn stuck() -> (ShardAddress, JoinHandle<()>, mpsc::Sender<()>) {
        let (end, ended) = mpsc::channel();
        let (address, thread) = shard(move |inbox| async move {
            let _ = ended.recv();
            drop(inbox);
        });
        (address, thread, end)
    }

    #[tokio::test]
    async fn a_shard_that_does_not_answer_is_late_then_busy_and_then_gone() {
        let (address, shard, end) = stuck();
        let shards = Shards::default();
        assert_eq!(shards.asking().image().await.expect_err("nobody is there"), NoAnswer::Gone);
        assert_eq!(shards.phase(), Phase::Starting);
        shards.serve(vec![address]);
        assert_eq!(shards.phase(), Phase::Serving);
        assert_eq!(shards.asking().image().await.expect_err("it is stuck"), NoAnswer::Late);
        for _ in 1..limits::ADMIN_LANE_COUNT_MAX {
            let question = |reply| AdminQuestion::Image { reply };
            put(shards.addresses().first().expect("a shard"), question).map(drop).expect("there is room");
        }
        assert_eq!(shards.asking().image().await.expect_err("its lane is full"), NoAnswer::Busy);
        drop(end);
        shard.join().expect("no panic");
        assert_eq!(shards.asking().image().await.expect_err("it has ended"), NoAnswer::Gone);
        shards.stop();
        assert_eq!(shards.phase(), Phase::Stopping);
    }

    #[tokio::test]
    async fn a_shard_that_was_late_is_not_asked_again_by_the_same_request() {
        let (silent, silent_thread, end) = stuck();
        let (other, other_thread) = shard(async |mut inbox| {
            while let Some(question) = inbox.recv().await {
                let AdminQuestion::Image { reply } = question else { panic!("it is asked for its image") };
                let _ = reply.send(Arc::default());
            }
        });
        let shards = Shards::default();
        shards.serve(vec![silent, other]);
        let mut asking = shards.asking();
        asking.image().await.expect("one of the two answers");
        let queued = || shards.addresses().first().expect("a shard").admin.queued();
        assert_eq!(queued(), 1);
        for _ in 0..2 {
            let answers = asking.all(|reply| AdminQuestion::Image { reply }).await;
            let [Err(NoAnswer::Late), Ok(_)] = &answers[..] else { panic!("{answers:?}") };
            assert_eq!(queued(), 2, "once for the first answer of all, and once until it was late");
        }
        drop(end);
        drop(asking);
        drop(shards);
        silent_thread.join().expect("no panic");
        other_thread.join().expect("no panic");
    }

    #[tokio::test]
    async fn the_owners_of_partitions_are_asked_at_once() {
        let known = PartitionStatus { state: "online", ..PartitionStatus::OFFLINE };
        let (asked, is_asked) = mpsc::channel();
        // The first answers only when the second has been asked.
        let (first, first_thread) = shard(move |mut inbox| async move {
            let Some(AdminQuestion::Partitions { reply, .. }) = inbox.recv().await else { panic!("it is asked") };
            is_asked.recv().expect("the second is asked before the first has answered");
            let _ = reply.send(vec![known]);
        });
        let (second, second_thread) = shard(async move |mut inbox| {
            let Some(AdminQuestion::Partitions { reply, .. }) = inbox.recv().await else { panic!("it is asked") };
            asked.send(()).expect("the first waits");
            let _ = reply.send(vec![known; 2]);
        });
        let shards = Shards::default();
        shards.serve(vec![first, second]);
        let at = PartitionRef { topic_id: TopicId(1), partition: PartitionIndex(0) };
        let rows = [1, 0, 1].map(|shard| (at, ShardIndex(shard)));
        let statuses = statuses(&mut shards.asking(), rows.into_iter()).await;
        assert_eq!(statuses.iter().map(|status| status.state).collect::<Vec<_>>(), ["online"; 3]);
        first_thread.join().expect("no panic");
        second_thread.join().expect("no panic");
    }
}

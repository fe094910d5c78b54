//! The future that a produced record leaves behind. Owns the one result that all records of a batch share, and who waits
//! for it; never knows how the batch travels. One allocation a batch, none a record.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ouzel_protocol::{Durability, LeaderEpoch, Offset, PartitionIndex};

use crate::error::ClientError;

/// What holds for a record that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The partition it is in.
    pub partition: PartitionIndex,
    /// Its offset; [`Offset::MAX`] or above, without meaning, at acks 0 and where the broker knows only that the record is
    /// in the log.
    pub offset: Offset,
    /// Epoch of the leader that took it; [`LeaderEpoch::NONE`] at acks 0.
    pub leader_epoch: LeaderEpoch,
    /// What the broker acknowledged; none where the offset has no meaning.
    pub durability: Option<Durability>,
}

/// What a broker acknowledged for a whole batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchAck {
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) durability: Option<Durability>,
}

/// The result of one batch, and the tasks that wait for it.
#[derive(Debug)]
pub(crate) struct Completion {
    partition: PartitionIndex,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Waiting(Vec<Waker>),
    Done(Result<BatchAck, ClientError>),
}

impl Completion {
    pub(crate) fn new(partition: PartitionIndex) -> Arc<Completion> {
        Arc::new(Completion { partition, state: Mutex::new(State::Waiting(Vec::new())) })
    }

    /// Settles the batch; the first call counts.
    pub(crate) fn complete(&self, result: Result<BatchAck, ClientError>) {
        let waiting = {
            let mut state = self.state();
            let State::Waiting(wakers) = &mut *state else { return };
            let waiting = std::mem::take(wakers);
            *state = State::Done(result);
            waiting
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The future of the record at `index` of the batch.
    pub(crate) fn delivery(self: &Arc<Self>, index: u32) -> Delivery {
        Delivery { completion: Arc::clone(self), index, slot: None }
    }

    // A panic while holding the lock would have been ours; the state is a plain value and stays sound.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves when the record was acknowledged, or cannot be delivered. Dropping it changes nothing for the record, and
/// [`Producer::flush`](crate::Producer::flush) still reports a failure.
#[derive(Debug)]
pub struct Delivery {
    completion: Arc<Completion>,
    index: u32,
    /// Where this future's waker stands among those that wait.
    slot: Option<usize>,
}

impl Delivery {
    /// The partition that the record goes to.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.completion.partition
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut state = this.completion.state();
        match &mut *state {
            State::Done(Ok(ack)) => Poll::Ready(Ok(RecordMetadata {
                partition: this.completion.partition,
                offset: ack.base_offset.0.checked_add(this.index.into()).map_or(Offset::MAX, Offset),
                leader_epoch: ack.leader_epoch,
                durability: ack.durability,
            })),
            State::Done(Err(error)) => Poll::Ready(Err(error.clone())),
            State::Waiting(wakers) => {
                match this.slot.and_then(|slot| wakers.get_mut(slot)) {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => {
                        this.slot = Some(wakers.len());
                        wakers.push(context.waker().clone());
                    }
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(base_offset: u64) -> BatchAck {
        let durability = Some(Durability::Disk);
        BatchAck { base_offset: Offset(base_offset), leader_epoch: LeaderEpoch(1), durability }
    }

    #[tokio::test]
    async fn every_record_of_a_batch_gets_its_own_offset() {
        let completion = Completion::new(PartitionIndex(3));
        let deliveries: Vec<Delivery> = (0..3).map(|index| completion.delivery(index)).collect();
        let waiting = tokio::spawn(async move {
            let mut offsets = Vec::new();
            for delivery in deliveries {
                offsets.push(delivery.await.unwrap().offset.0);
            }
            offsets
        });
        tokio::task::yield_now().await;
        completion.complete(Ok(ack(100)));
        assert_eq!(waiting.await.unwrap(), [100, 101, 102]);
    }

    #[tokio::test]
    async fn the_first_result_counts() {
        let completion = Completion::new(PartitionIndex(0));
        completion.complete(Err(ClientError::Closed));
        completion.complete(Ok(ack(1)));
        assert!(matches!(completion.delivery(0).await, Err(ClientError::Closed)));
    }
}

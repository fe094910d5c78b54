//! A batch of records on its way, and the batches that travel together. Owns their shape and the building of a batch; the
//! accumulator owns where they wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ouzel_protocol::producer::restamp;
use ouzel_protocol::{BatchBuilder, BatchError, PartitionIndex, ProducerStamp, TopicId};

use super::QueueKey;
use crate::address::Address;
use crate::delivery::Completion;
use crate::error::ClientError;

/// A batch that takes no more records.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Holds the records until they are built; then empty, and kept for another batch.
    pub(super) builder: BatchBuilder,
    pub(super) built: Option<Bytes>,
    pub(super) completion: Arc<Completion>,
    /// Bytes of the producer's buffer that its records hold.
    pub(super) held_bytes: usize,
    pub(super) estimate_bytes: usize,
    pub(super) records: u32,
    /// What the broker will know it by, through every attempt; none before the first, or without idempotence.
    pub(super) stamp: Option<ProducerStamp>,
    pub(super) built_stamp: Option<ProducerStamp>,
    pub(super) deadline: Instant,
    pub(super) attempts: u32,
    pub(super) last_error: Option<ClientError>,
}

impl Batch {
    /// The bytes to be sent; compresses at the first call. Costly, so it is done outside of the accumulator. After an error
    /// the batch is lost and must not be sent.
    pub(crate) fn build(&mut self) -> Result<Bytes, BatchError> {
        if let Some(built) = self.built.take() {
            let built = match self.stamp {
                Some(stamp) if self.built_stamp != Some(stamp) => {
                    let mut anew = built.to_vec();
                    restamp(&mut anew, stamp);
                    self.built_stamp = Some(stamp);
                    Bytes::from(anew)
                }
                _ => built,
            };
            self.built = Some(built.clone());
            return Ok(built);
        }
        if let Some(stamp) = self.stamp {
            let (id, epoch, sequence) = stamp.to_wire();
            self.builder.set_producer(id, epoch, sequence);
            self.built_stamp = Some(stamp);
        }
        let mut out = Vec::with_capacity(self.estimate_bytes);
        self.builder.build_into(&mut out)?;
        let built = Bytes::from(out);
        self.built = Some(built.clone());
        Ok(built)
    }
}

/// A batch on its way, and where it goes.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) key: QueueKey,
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
    pub(crate) batch: Batch,
}

/// Batches that travel in one request.
#[derive(Debug)]
pub(crate) struct Dispatch {
    /// The owner; none when no owner is known and any broker must do.
    pub(crate) owner: Option<Address>,
    pub(crate) batches: Vec<Sending>,
    /// When the first of them has no time left.
    pub(crate) deadline: Instant,
    pub(super) bytes: usize,
}

impl Dispatch {
    /// How long the request may take: what is left until the first of its batches times out.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }
}

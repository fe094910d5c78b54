//! What an append comes to: where the batch landed, and the future of its acknowledgement. Owns no state; the journal says how far it
//! is. Lives on the owner shard.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ouzel_protocol::{Durability, Offset};

use crate::core::Core;
use crate::error::StorageError;
use crate::journal::AckLevel;

/// Where a batch landed, and the future of its acknowledgement.
#[derive(Debug)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// First offset that the partition keeps.
    pub log_start: Offset,
    /// Resolves when the partition's durability level holds.
    pub ack: Ack,
}

/// Resolves to the level that now holds, or to why it never will. Dropping it changes nothing about the batch.
pub struct Ack {
    pub(crate) core: Rc<Core>,
    /// Of the batch's entry in the journal.
    pub(crate) index: u64,
    pub(crate) durability: Durability,
}

impl std::fmt::Debug for Ack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ack").field("index", &self.index).field("durability", &self.durability).finish_non_exhaustive()
    }
}

impl Ack {
    /// The level it waits for.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.durability
    }
}

impl Future for Ack {
    type Output = Result<Durability, StorageError>;

    fn poll(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        let level = match self.durability {
            Durability::Disk => AckLevel::Durable,
            Durability::Written => AckLevel::Written,
        };
        if self.core.journal.poll_reached(self.index, level, ctx.waker()) {
            return Poll::Ready(Ok(self.durability));
        }
        if let Some(error) = self.core.poisoned() {
            return Poll::Ready(Err(error));
        }
        if self.core.journal_ended.get() {
            return Poll::Ready(Err(StorageError::Closing));
        }
        Poll::Pending
    }
}

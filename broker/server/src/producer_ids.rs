//! The numbers of idempotent producers that a shard may hand out. Owns the rest of one block; the metadata owns which
//! block is whose. Never gives a number twice: what is left of a block when the broker stops is lost. Lives on every shard.

use std::cell::RefCell;
use std::ops::Range;

use ouzel_protocol::{ErrorCode, ProducerId};
use ouzel_runtime::sync::Semaphore;

use crate::error_map;
use crate::limits;
use crate::metadata_plane::{PlaneMessage, ProposeError};
use crate::shard::ShardState;

/// See the module.
pub(crate) struct ProducerIds {
    left: RefCell<Range<u64>>,
    /// One block is asked for at a time, whoever needs it.
    refill: Semaphore,
}

impl ProducerIds {
    pub(crate) fn new() -> Self {
        Self { left: RefCell::new(0..0), refill: Semaphore::new(1) }
    }

    /// A number that nobody has. Cancel-safe: at worst a number is lost.
    ///
    /// # Errors
    /// Why the metadata gives no more, for programs and for a person.
    pub(crate) async fn take(&self, state: &ShardState) -> Result<ProducerId, (ErrorCode, String)> {
        if let Some(id) = self.left.borrow_mut().next() {
            return Ok(ProducerId(id));
        }
        let _one_at_a_time = self.refill.acquire(1).await;
        if let Some(id) = self.left.borrow_mut().next() {
            return Ok(ProducerId(id));
        }
        let count = limits::PRODUCER_ID_BLOCK;
        match state.metadata_peer().ask_plane(|reply| PlaneMessage::ProducerIds { count, reply }).await {
            Ok(Ok(mut block)) => {
                let first = block.next().expect("a block is not empty");
                *self.left.borrow_mut() = block;
                Ok(ProducerId(first))
            }
            Ok(Err(refusal)) => {
                let code = match &refusal {
                    ProposeError::Refused(error) => error_map::of_metadata(error),
                    ProposeError::Log(error) => error_map::of_metadata_log(error),
                };
                Err((code, refusal.to_string()))
            }
            Err(_) => Err((ErrorCode::ShardUnavailable, ErrorCode::ShardUnavailable.to_string())),
        }
    }
}

//! Which producer the accumulator is to its brokers, and where each partition's sequence stands. Owns the rules by which an
//! epoch is left; never asks a broker. Pure.
//!
//! A batch keeps its stamp through every retry, so the broker knows it again. When a stamped batch is given up nobody
//! knows whether it is in the log, so the partition goes on in a higher epoch: the sequence begins anew, and whatever is
//! still on its way of the old epoch is shut out. The id is this producer's alone, so it raises the epoch itself.

use ouzel_protocol::{ProducerEpoch, ProducerId, ProducerStamp, Sequence};

/// Number and epoch in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

impl Identity {
    /// The same producer, begun anew; none behind the last epoch.
    fn next(self) -> Option<Identity> {
        self.epoch.next().map(|epoch| Identity { epoch, ..self })
    }
}

/// The producer's identity, if it has one.
#[derive(Debug)]
pub(super) struct Identities {
    pub(super) enabled: bool,
    pub(super) current: Option<Identity>,
    /// Somebody is asking a broker for one.
    pub(super) asked: bool,
}

impl Identities {
    pub(super) fn new(enabled: bool) -> Identities {
        Identities { enabled, current: None, asked: false }
    }

    /// Whether nothing can be stamped, although it should.
    pub(super) fn is_missing(&self) -> bool {
        self.enabled && self.current.is_none()
    }

    /// The partition's sequence is not known any more: its next batch needs a higher epoch than its last one had.
    pub(super) fn leave(&mut self, numbering: &Numbering) {
        if self.current.is_some() && self.current == numbering.identity {
            self.current = self.current.and_then(Identity::next);
        }
    }
}

/// Where the sequence of one partition stands.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    identity: Option<Identity>,
    next: Sequence,
}

impl Numbering {
    /// The stamp of the next batch of this partition. The one before it is settled.
    pub(super) fn stamp(&mut self, identity: Identity, records: u32) -> ProducerStamp {
        if self.identity != Some(identity) {
            *self = Numbering { identity: Some(identity), next: Sequence::ZERO };
        }
        let base_sequence = self.next;
        self.next = self.next.after(records);
        ProducerStamp { id: identity.id, epoch: identity.epoch, base_sequence }
    }
}

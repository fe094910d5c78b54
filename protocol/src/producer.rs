//! Idempotent producers: who sent a batch, and which of that sender's batches it is.
//!
//! Owns the three numbers and the arithmetic of sequences. Never decides whether a batch is a repetition: the owner of
//! the partition does. Plain values, any core.

use std::fmt;

use crate::batch::{BATCH_HEADER_BYTES, BatchHeader};
use crate::crc;

/// A producer's number, handed out by the metadata and never again. On Kafka's wire an `i64`; never above `i64::MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProducerId(pub u64);

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Counts the beginnings of one producer: a higher epoch starts again at sequence 0 and shuts out every lower one. On
/// Kafka's wire an `i16`; never above `i16::MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ProducerEpoch(pub u16);

impl ProducerEpoch {
    /// The highest epoch: behind it a producer needs another id.
    pub const MAX: ProducerEpoch = ProducerEpoch(i16::MAX as u16);

    /// The epoch after this one; none after the highest.
    #[must_use]
    pub fn next(self) -> Option<ProducerEpoch> {
        (self < ProducerEpoch::MAX).then(|| ProducerEpoch(self.0 + 1))
    }
}

impl fmt::Display for ProducerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A record's number among those that one producer sent to one partition in one epoch, from 0. On Kafka's wire an `i32`;
/// behind `i32::MAX` comes 0 again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Sequence(pub u32);

const SEQUENCE_COUNT: u64 = i32::MAX as u64 + 1;

impl Sequence {
    /// The first sequence of an epoch.
    pub const ZERO: Sequence = Sequence(0);
    /// The last sequence before 0 comes again.
    pub const MAX: Sequence = Sequence(i32::MAX as u32);

    /// The sequence `records` further on.
    #[must_use]
    pub const fn after(self, records: u32) -> Sequence {
        Sequence(((self.0 as u64 + records as u64) % SEQUENCE_COUNT) as u32)
    }

    /// Whether this one comes before `other`, or is it: the shorter way round decides.
    #[must_use]
    pub const fn is_at_most(self, other: Sequence) -> bool {
        (other.0 as u64 + SEQUENCE_COUNT - self.0 as u64) % SEQUENCE_COUNT < SEQUENCE_COUNT / 2
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a batch says of its producer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerStamp {
    /// Who.
    pub id: ProducerId,
    /// In which epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of the batch's first record.
    pub base_sequence: Sequence,
}

impl ProducerStamp {
    /// The three numbers as Kafka's header carries them.
    #[must_use]
    pub const fn to_wire(self) -> (i64, i16, i32) {
        (self.id.0.cast_signed(), self.epoch.0.cast_signed(), self.base_sequence.0.cast_signed())
    }
}

impl BatchHeader {
    /// Who sent the batch; none of an idempotent producer, or when one of the three numbers is negative.
    #[must_use]
    pub fn producer(&self) -> Option<ProducerStamp> {
        Some(ProducerStamp {
            id: ProducerId(u64::try_from(self.producer_id).ok()?),
            epoch: ProducerEpoch(u16::try_from(self.producer_epoch).ok()?),
            base_sequence: Sequence(u32::try_from(self.base_sequence).ok()?),
        })
    }
}

/// Puts another producer, epoch and sequence into a whole batch of our own and mends its checksum, without going over its
/// records again. Bytes too few to be a batch stay as they are.
pub fn restamp(batch: &mut [u8], stamp: ProducerStamp) {
    if batch.len() < BATCH_HEADER_BYTES {
        return;
    }
    let before = crc::crc32c(&batch[21..BATCH_HEADER_BYTES]);
    let mut old = [0; 4];
    old.copy_from_slice(&batch[17..21]);
    let (id, epoch, sequence) = stamp.to_wire();
    batch[43..51].copy_from_slice(&id.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    // A checksum is linear: what the header changes in it does not depend on the records behind, but on how many bytes
    // they are.
    let after = crc::crc32c(&batch[21..BATCH_HEADER_BYTES]);
    let change = crc::crc32c_combine(before ^ after, 0, batch.len() - BATCH_HEADER_BYTES);
    let crc = u32::from_be_bytes(old) ^ change;
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchBuilder, Codec, Dialect, check_produced};

    #[test]
    fn sequences_go_round_and_the_shorter_way_decides() {
        assert_eq!(Sequence::MAX.after(1), Sequence::ZERO);
        assert_eq!(Sequence(i32::MAX as u32 - 1).after(5), Sequence(3));
        assert_eq!(Sequence::ZERO.after(u32::MAX), Sequence((u64::from(u32::MAX) % SEQUENCE_COUNT) as u32));
        for (first, second) in [(0, 0), (0, 1), (5, 1000), (i32::MAX as u32, 0), (i32::MAX as u32 - 3, 7)] {
            assert!(Sequence(first).is_at_most(Sequence(second)), "{first} before {second}");
            assert_eq!(Sequence(second).is_at_most(Sequence(first)), first == second, "{second} before {first}");
        }
    }

    #[test]
    fn an_epoch_ends_where_kafkas_field_does() {
        assert_eq!(ProducerEpoch(0).next(), Some(ProducerEpoch(1)));
        assert_eq!(ProducerEpoch::MAX.next(), None);
    }

    #[test]
    fn a_batch_stamped_anew_is_the_batch_built_with_that_stamp() {
        for dialect in [Dialect::Kafka2, Dialect::Native] {
            let build = |stamp: ProducerStamp| {
                let mut builder = BatchBuilder::new(dialect, Codec::None, None);
                builder.push(5, Some(b"key"), Some(&[7; 3000]), &[]);
                let (id, epoch, sequence) = stamp.to_wire();
                builder.set_producer(id, epoch, sequence);
                builder.build().expect("a small batch")
            };
            let stamp = |id, epoch, sequence| ProducerStamp {
                id: ProducerId(id),
                epoch: ProducerEpoch(epoch),
                base_sequence: Sequence(sequence),
            };
            let (first, second) = (stamp(7, 1, 99), stamp(u64::MAX >> 1, 32_767, i32::MAX as u32));
            let mut batch = build(first);
            assert_eq!(check_produced(&batch).map(|header| header.producer()), Ok(Some(first)));
            restamp(&mut batch, second);
            assert_eq!(batch, build(second));
            assert_eq!(check_produced(&batch).map(|header| header.producer()), Ok(Some(second)));
        }
        let mut short = [7; 60];
        restamp(&mut short, ProducerStamp { id: ProducerId(1), epoch: ProducerEpoch(1), base_sequence: Sequence(1) });
        assert_eq!(short, [7; 60]);
    }
}

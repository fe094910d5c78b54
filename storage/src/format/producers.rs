//! The producer snapshot: what a partition remembers of its idempotent producers, at one offset (rule J11).
//!
//! Owns the bytes. Never decides what is remembered: `producers.rs` does. Lives on no core. It stands inside a checkpoint
//! or a truncation entry, whose checksums cover it. All fields little-endian, everything a multiple of 8.
//!
//! | Bytes | Header field | Why here |
//! |---|---|---|
//! | 0..2 | version = 1 | the snapshot is opaque to what holds it, so it has its own |
//! | 2..4 | zero | |
//! | 4..8 | producer count | |
//! | 8..16 | end offset | every batch below it is in here, none at or above: replay goes on from there |
//!
//! Per producer, by ascending id, 24 bytes, then its batches:
//!
//! | Bytes | Field |
//! |---|---|
//! | 0..8 | producer id |
//! | 8..10 | epoch |
//! | 10 | flags: bit 0, every sequence of the epoch from 0 on is in the log |
//! | 11 | batch count, 1 to 5 |
//! | 12..16 | zero |
//! | 16..24 | last used, milliseconds since 1970 |
//!
//! Per batch, oldest first, 24 bytes: base offset (u64), max timestamp (i64, ms), base sequence (u32), last offset delta
//! (u32). Offsets rise; each sequence follows the last one of the batch before.

use ouzel_protocol::{Offset, ProducerEpoch, ProducerId, Sequence};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::FormatError;

/// The version this code writes and the only one it reads.
pub const PRODUCERS_VERSION: u16 = 1;
/// Batches remembered of each producer: as many as Kafka's clients have in flight.
pub const REMEMBERED_BATCHES: usize = 5;
/// Bytes of one producer with all its batches.
pub const PRODUCER_BYTES_MAX: usize = size_of::<ProducerBytes>() + REMEMBERED_BATCHES * size_of::<BatchBytes>();

const FLAG_COMPLETE: u8 = 1;

const _: () = assert!(size_of::<HeaderBytes>() == 16);
const _: () = assert!(size_of::<ProducerBytes>() == 24 && size_of::<BatchBytes>() == 24);

/// One remembered batch of a producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Largest timestamp of its records, in milliseconds.
    pub max_timestamp: i64,
    /// Sequence of its first record.
    pub base_sequence: Sequence,
    /// Last offset minus base offset, and last sequence minus base sequence.
    pub last_offset_delta: u32,
    /// Its place in the order of this start's journal; 0, and not in the bytes, for a batch of an earlier start.
    pub journal_index: u64,
}

impl RememberedBatch {
    /// Offset of its last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset + u64::from(self.last_offset_delta)
    }

    /// Sequence of its last record.
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.after(self.last_offset_delta)
    }
}

/// What is remembered of one producer: at least one batch. No allocation behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Every sequence of the epoch from 0 to the last one is in the log.
    pub complete: bool,
    /// When it last appended, in milliseconds since 1970.
    pub last_used_ms: i64,
    batches: [RememberedBatch; REMEMBERED_BATCHES],
    count: u8,
}

impl Producer {
    /// A producer of which this is the first batch.
    pub fn new(epoch: ProducerEpoch, batch: RememberedBatch, now_ms: i64) -> Self {
        let complete = batch.base_sequence == Sequence::ZERO;
        let mut batches = [RememberedBatch::default(); REMEMBERED_BATCHES];
        batches[0] = batch;
        Self { epoch, complete, last_used_ms: now_ms, batches, count: 1 }
    }

    /// Its batches, oldest first; never none.
    pub fn batches(&self) -> &[RememberedBatch] {
        &self.batches[..usize::from(self.count)]
    }

    /// Its newest batch.
    pub fn last(&self) -> &RememberedBatch {
        &self.batches[usize::from(self.count) - 1]
    }

    /// Remembers one more; returns the one that is forgotten for it.
    pub(crate) fn push(&mut self, batch: RememberedBatch) -> Option<RememberedBatch> {
        let full = usize::from(self.count) == REMEMBERED_BATCHES;
        let forgotten = full.then_some(self.batches[0]);
        if full {
            self.batches.copy_within(1.., 0);
        } else {
            self.count += 1;
        }
        self.batches[usize::from(self.count) - 1] = batch;
        forgotten
    }

    /// Takes back the last [`push`](Self::push); the producer had batches before it.
    pub(crate) fn unpush(&mut self, forgotten: Option<RememberedBatch>) {
        match forgotten {
            Some(batch) => {
                self.batches.copy_within(..REMEMBERED_BATCHES - 1, 1);
                self.batches[0] = batch;
            }
            None => {
                assert!(self.count > 1, "a producer keeps a batch");
                self.count -= 1;
                // Equal states are equal bytes in memory too.
                self.batches[usize::from(self.count)] = RememberedBatch::default();
            }
        }
    }
}

/// The producers of a partition at one offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// Every batch below it is considered.
    pub end_offset: Offset,
    /// By strictly rising id.
    pub producers: Vec<(ProducerId, Producer)>,
}

impl ProducerSnapshot {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.producers.is_sorted_by(|a, b| a.0 < b.0), "producers by strictly rising id");
        let mut out = Vec::with_capacity(size_of::<HeaderBytes>() + self.producers.len() * PRODUCER_BYTES_MAX);
        let header = HeaderBytes {
            version: U16::new(PRODUCERS_VERSION),
            reserved: U16::ZERO,
            count: U32::new(self.producers.len() as u32),
            end_offset: U64::new(self.end_offset.0),
        };
        out.extend_from_slice(header.as_bytes());
        for (id, producer) in &self.producers {
            let header = ProducerBytes {
                id: U64::new(id.0),
                epoch: U16::new(producer.epoch.0),
                flags: if producer.complete { FLAG_COMPLETE } else { 0 },
                count: producer.count,
                reserved: U32::ZERO,
                last_used_ms: I64::new(producer.last_used_ms),
            };
            out.extend_from_slice(header.as_bytes());
            for batch in producer.batches() {
                let batch = BatchBytes {
                    base_offset: U64::new(batch.base_offset.0),
                    max_timestamp: I64::new(batch.max_timestamp),
                    base_sequence: U32::new(batch.base_sequence.0),
                    last_offset_delta: U32::new(batch.last_offset_delta),
                };
                out.extend_from_slice(batch.as_bytes());
            }
        }
        out
    }

    /// Reads a snapshot that fills its bytes.
    ///
    /// # Errors
    /// If any rule of the format does not hold.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (header, mut rest): (HeaderBytes, _) = take("header of producer snapshot", bytes)?;
        FormatError::equal("version of producer snapshot", PRODUCERS_VERSION, header.version.get())?;
        FormatError::equal("reserved bytes of producer snapshot", 0u8, header.reserved.get())?;
        let end_offset = Offset(header.end_offset.get());
        let least = size_of::<ProducerBytes>() + size_of::<BatchBytes>();
        FormatError::at_most("producers of snapshot (at most)", (rest.len() / least) as u64, header.count.get())?;
        let mut producers: Vec<(ProducerId, Producer)> = Vec::with_capacity(header.count.get() as usize);
        for _ in 0..header.count.get() {
            let ((id, producer), after) = decode_producer(rest, end_offset)?;
            if let Some((last, _)) = producers.last()
                && *last >= id
            {
                return Err(FormatError::new("order of producers", last.0, id.0));
            }
            producers.push((id, producer));
            rest = after;
        }
        FormatError::equal("bytes after the last producer", 0u8, rest.len() as u64)?;
        Ok(Self { end_offset, producers })
    }
}

fn decode_producer(bytes: &[u8], end_offset: Offset) -> Result<((ProducerId, Producer), &[u8]), FormatError> {
    let (header, mut rest): (ProducerBytes, _) = take("producer of snapshot", bytes)?;
    FormatError::at_most("producer id (at most)", i64::MAX as u64, header.id.get())?;
    FormatError::at_most("producer epoch (at most)", ProducerEpoch::MAX.0, header.epoch.get())?;
    FormatError::at_most("flags of producer (at most)", FLAG_COMPLETE, header.flags)?;
    FormatError::equal("reserved bytes of producer", 0u8, header.reserved.get())?;
    FormatError::at_least("batches of producer (at least)", 1u8, header.count)?;
    FormatError::at_most("batches of producer (at most)", REMEMBERED_BATCHES as u64, header.count)?;
    let mut producer: Option<Producer> = None;
    for _ in 0..header.count {
        let (raw, after): (BatchBytes, _) = take("batch of producer", rest)?;
        rest = after;
        let batch = decode_batch(&raw, end_offset)?;
        match &mut producer {
            None => {
                producer = Some(Producer {
                    complete: header.flags & FLAG_COMPLETE != 0,
                    ..Producer::new(ProducerEpoch(header.epoch.get()), batch, header.last_used_ms.get())
                });
            }
            Some(producer) => {
                let last = *producer.last();
                FormatError::at_least("base offset (at least)", last.last_offset().0 + 1, batch.base_offset.0)?;
                let expected = last.last_sequence().after(1);
                FormatError::equal("base sequence of producer", expected.0, batch.base_sequence.0)?;
                producer.push(batch);
            }
        }
    }
    let none = || FormatError::new("batches of producer (at least)", 1u8, 0u8);
    Ok(((ProducerId(header.id.get()), producer.ok_or_else(none)?), rest))
}

fn decode_batch(raw: &BatchBytes, end_offset: Offset) -> Result<RememberedBatch, FormatError> {
    let (base_offset, delta) = (raw.base_offset.get(), raw.last_offset_delta.get());
    FormatError::at_most("base sequence (at most)", Sequence::MAX.0, raw.base_sequence.get())?;
    FormatError::at_most("last offset delta (at most)", i32::MAX as u32, delta)?;
    let last = base_offset.checked_add(u64::from(delta)).filter(|last| *last < end_offset.0);
    if last.is_none() {
        return Err(FormatError::new("end of a remembered batch (at most)", end_offset.0, base_offset));
    }
    Ok(RememberedBatch {
        base_offset: Offset(base_offset),
        max_timestamp: raw.max_timestamp.get(),
        base_sequence: Sequence(raw.base_sequence.get()),
        last_offset_delta: delta,
        journal_index: 0,
    })
}

fn take<'a, T: FromBytes + Unaligned>(what: &'static str, bytes: &'a [u8]) -> Result<(T, &'a [u8]), FormatError> {
    T::read_from_prefix(bytes).map_err(|_| FormatError::new(what, size_of::<T>() as u64, bytes.len() as u64))
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    version: U16,
    reserved: U16,
    count: U32,
    end_offset: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ProducerBytes {
    id: U64,
    epoch: U16,
    flags: u8,
    count: u8,
    reserved: U32,
    last_used_ms: I64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BatchBytes {
    base_offset: U64,
    max_timestamp: I64,
    base_sequence: U32,
    last_offset_delta: U32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(base_offset: u64, base_sequence: u32, last_offset_delta: u32) -> RememberedBatch {
        RememberedBatch {
            base_offset: Offset(base_offset),
            max_timestamp: 7,
            base_sequence: Sequence(base_sequence),
            last_offset_delta,
            journal_index: 0,
        }
    }

    fn sample() -> ProducerSnapshot {
        let first = Producer::new(ProducerEpoch(1), batch(4, 0, 1), 99);
        let mut second = Producer::new(ProducerEpoch(0), batch(6, i32::MAX as u32 - 1, 1), -1);
        second.push(batch(9, 0, 0));
        ProducerSnapshot { end_offset: Offset(10), producers: vec![(ProducerId(2), first), (ProducerId(3), second)] }
    }

    const GOLDEN: &str = "0100 0000 02000000 0a00000000000000 \
        0200000000000000 0100 01 01 00000000 6300000000000000 \
        0400000000000000 0700000000000000 00000000 01000000 \
        0300000000000000 0000 00 02 00000000 ffffffffffffffff \
        0600000000000000 0700000000000000 feffff7f 01000000 \
        0900000000000000 0700000000000000 00000000 00000000";

    #[test]
    fn a_snapshot_has_the_golden_bytes_and_reads_back() {
        let digits: Vec<u32> = GOLDEN.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let golden: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
        assert_eq!(sample().encode(), golden);
        assert_eq!(ProducerSnapshot::decode(&golden), Ok(sample()));
    }

    #[test]
    fn a_flipped_bit_a_cut_and_padding_never_panic_and_never_read_as_the_same() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            assert!(ProducerSnapshot::decode(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert_ne!(ProducerSnapshot::decode(&damaged).as_ref(), Ok(&sample()), "bit {bit} of byte {at}");
            }
        }
        let mut padded = bytes.clone();
        padded.push(0);
        assert!(ProducerSnapshot::decode(&padded).is_err());
        let mut lying = bytes;
        lying[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(ProducerSnapshot::decode(&lying).is_err(), "a count that the bytes cannot hold");
    }

    #[test]
    fn what_was_pushed_can_be_taken_back() {
        let mut producer = Producer::new(ProducerEpoch(0), batch(0, 0, 0), 0);
        let mut before = Vec::new();
        for at in 1..9 {
            let earlier = producer;
            before.push((earlier, producer.push(batch(u64::from(at), at, 0))));
            assert_eq!(producer.last().base_sequence, Sequence(at));
        }
        assert_eq!(producer.batches().len(), REMEMBERED_BATCHES);
        while let Some((earlier, forgotten)) = before.pop() {
            producer.unpush(forgotten);
            assert_eq!(producer, earlier);
        }
    }
}

//! The content of a checkpoint slot: where replay starts and what the segments hold for certain (J5).
//!
//! Owns the bytes. Never decides which slot is newer than which or when one may be written: that is the engine's.
//! Lives on no core. A slot is written whole, padded to 4 KiB with zeros that the checksum covers; older, longer
//! content may follow it in the file and is ignored.
//!
//! | Bytes | Header field | Why here |
//! |---|---|---|
//! | 0..4 | magic `OZCK` | |
//! | 4..6 | version = 1 | |
//! | 6..8 | shard | |
//! | 8..16 | generation | the higher valid one of the two slots counts |
//! | 16..24 | journal id | a checkpoint of another journal directory is no checkpoint |
//! | 24..32 | incarnation | |
//! | 32..40 | replay sequence | first commit that replay needs |
//! | 40..48 | durable sequence | as in commits: tells torn from corrupt (J4) |
//! | 48..52 | replay previous checksum | of commit `replay sequence - 1`: the chain continues across recycled files |
//! | 52..56 | replay file | number of the file that holds that commit |
//! | 56..60 | partition count | |
//! | 60..64 | length | from the header to the end of the content, before padding |
//! | 64..68 | checksum | CRC-32C over the padded slot with this field as zero |
//! | 68..72 | zero | keeps what follows 8-byte aligned |
//!
//! Per partition, by ascending id, 48 bytes, then its segments, then its producer snapshot padded to 8 with zeros:
//!
//! | Bytes | Field |
//! |---|---|
//! | 0..8 | partition |
//! | 8..12, 12..16 | ownership epoch, leader epoch |
//! | 16..24 | log start |
//! | 24..32 | end offset |
//! | 32..40 | replay from: entries of this partition in commits below this sequence are obsolete |
//! | 40..44, 44..48 | segment count, bytes of the producer snapshot |
//!
//! Per segment, by ascending base offset, 32 bytes: base offset, valid bytes, max timestamp, record end offset.

use ouzel_protocol::crc;
use ouzel_protocol::{Incarnation, LeaderEpoch, Offset, PartitionId, ShardIndex};
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{FormatError, checksum_with_hole, is_blank, padded_to_block};

/// First bytes of every checkpoint slot.
pub const CHECKPOINT_MAGIC: [u8; 4] = *b"OZCK";
/// The version this code writes and the only one it reads.
pub const CHECKPOINT_VERSION: u16 = 1;
/// Size of the header of a slot.
pub const CHECKPOINT_HEADER_BYTES: usize = 72;
/// Largest padded slot that a reader accepts: what a damaged length can make it read.
pub const CHECKPOINT_BYTES_MAX: usize = 1024 * 1024 * 1024;

const CHECKSUM_AT: usize = 64;
const PARTITION_BYTES: usize = 48;
const SEGMENT_BYTES: usize = 32;
const ALIGN: usize = 8;

const _: () = assert!(size_of::<HeaderBytes>() == CHECKPOINT_HEADER_BYTES);
const _: () = assert!(size_of::<PartitionBytes>() == PARTITION_BYTES);
const _: () = assert!(size_of::<SegmentBytes>() == SEGMENT_BYTES);
const _: () = assert!(std::mem::offset_of!(HeaderBytes, checksum) == CHECKSUM_AT);
const _: () = assert!(CHECKPOINT_BYTES_MAX < u32::MAX as usize && CHECKPOINT_HEADER_BYTES.is_multiple_of(ALIGN));

/// One checkpoint of one journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Raised with every checkpoint of the journal.
    pub generation: u64,
    /// Random number of the journal directory.
    pub journal_id: u64,
    /// Start of the node the journal belongs to.
    pub incarnation: Incarnation,
    /// Shard of the journal.
    pub shard: ShardIndex,
    /// First commit that replay needs.
    pub replay_sequence: u64,
    /// Checksum of commit `replay_sequence - 1`; 0 if there was none.
    pub replay_previous_checksum: u32,
    /// Number of the journal file that holds commit `replay_sequence`.
    pub replay_file: u32,
    /// Highest commit known durable.
    pub durable_sequence: u64,
    /// Every partition of the shard, each id once; encoding sorts them.
    pub partitions: Vec<PartitionCheckpoint>,
}

/// What segments hold of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    /// Which one.
    pub partition: PartitionId,
    /// Ownership epoch at this shard.
    pub ownership_epoch: u32,
    /// Leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// First offset kept.
    pub log_start: Offset,
    /// Offset after the last batch that lies wholly or partly in the flushed bytes.
    pub end_offset: Offset,
    /// Entries of this partition in commits below this sequence are obsolete.
    pub replay_from: u64,
    /// Its segments by strictly ascending base offset.
    pub segments: Vec<SegmentCheckpoint>,
    /// Producer snapshot at `end_offset`, opaque here.
    pub producers: Vec<u8>,
}

/// What is certain about one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCheckpoint {
    /// First offset, and name of the file.
    pub base_offset: Offset,
    /// Bytes that are valid, synced and covered by the side file.
    pub bytes: u64,
    /// Highest timestamp of any batch in these bytes, milliseconds.
    pub max_timestamp: i64,
    /// Offset after the last whole batch in these bytes.
    pub record_end_offset: Offset,
}

impl Checkpoint {
    /// The slot content, a multiple of 4 KiB.
    ///
    /// # Errors
    /// If it would exceed [`CHECKPOINT_BYTES_MAX`]: more than the format can say, nothing a caller can mend.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut partitions: Vec<&PartitionCheckpoint> = self.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition);
        assert!(partitions.is_sorted_by(|a, b| a.partition < b.partition), "a partition stands twice in a checkpoint");
        let length =
            partitions.iter().map(|partition| partition.encoded_bytes()).sum::<usize>() + CHECKPOINT_HEADER_BYTES;
        let padded = padded_to_block(length);
        FormatError::at_most("bytes of checkpoint (at most)", CHECKPOINT_BYTES_MAX as u64, padded as u64)?;

        let mut header = HeaderBytes {
            magic: CHECKPOINT_MAGIC,
            version: U16::new(CHECKPOINT_VERSION),
            shard: U16::new(self.shard.0),
            generation: U64::new(self.generation),
            journal_id: U64::new(self.journal_id),
            incarnation: U64::new(self.incarnation.0),
            replay_sequence: U64::new(self.replay_sequence),
            durable_sequence: U64::new(self.durable_sequence),
            replay_previous_checksum: U32::new(self.replay_previous_checksum),
            replay_file: U32::new(self.replay_file),
            partition_count: U32::new(partitions.len() as u32),
            length: U32::new(length as u32),
            checksum: U32::ZERO,
            reserved: U32::ZERO,
        };
        let mut out = Vec::with_capacity(padded);
        out.extend_from_slice(header.as_bytes());
        for partition in partitions {
            partition.encode_into(&mut out);
        }
        assert_eq!(out.len(), length);
        out.resize(padded, 0);
        header.checksum = U32::new(crc::crc32c(&out));
        out[..CHECKPOINT_HEADER_BYTES].copy_from_slice(header.as_bytes());
        Ok(out)
    }

    /// How many bytes [`Checkpoint::decode`] needs of a slot that starts with these bytes; nothing is proved yet.
    ///
    /// # Errors
    /// If these bytes start no checkpoint: blank, foreign, shorter than a header, or an absurd length.
    pub fn padded_bytes(bytes: &[u8]) -> Result<usize, FormatError> {
        let (raw, _) = read_header(bytes)?;
        Ok(padded_to_block(raw.length.get() as usize))
    }

    /// Reads a slot; bytes after its padded end are ignored.
    ///
    /// # Errors
    /// If any rule of the format does not hold: the slot is no checkpoint.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (raw, _) = read_header(bytes)?;
        let length = raw.length.get() as usize;
        let padded = padded_to_block(length);
        let short = || FormatError::new("bytes of checkpoint (at least)", padded as u64, bytes.len() as u64);
        let slot = bytes.get(..padded).ok_or_else(short)?;
        let computed = checksum_with_hole(slot, CHECKSUM_AT).ok_or_else(short)?;
        FormatError::equal("checksum of checkpoint", computed, raw.checksum.get())?;
        FormatError::equal("version of checkpoint", CHECKPOINT_VERSION, raw.version.get())?;
        FormatError::equal("reserved bytes of checkpoint", 0u8, raw.reserved.get())?;
        let (content, padding) = slot.split_at_checked(length).ok_or_else(short)?;
        check_padding(padding)?;

        let mut reader = Reader { rest: content.get(CHECKPOINT_HEADER_BYTES..).ok_or_else(short)? };
        let count = raw.partition_count.get();
        reader.can_hold("partitions of checkpoint (at most)", count, PARTITION_BYTES)?;
        let mut partitions: Vec<PartitionCheckpoint> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let partition = PartitionCheckpoint::decode(&mut reader)?;
            if let Some(last) = partitions.last()
                && last.partition >= partition.partition
            {
                return Err(FormatError::new("order of partitions", last.partition.0, partition.partition.0));
            }
            partitions.push(partition);
        }
        FormatError::equal("bytes after the last partition of checkpoint", 0u8, reader.rest.len() as u64)?;
        Ok(Self {
            generation: raw.generation.get(),
            journal_id: raw.journal_id.get(),
            incarnation: Incarnation(raw.incarnation.get()),
            shard: ShardIndex(raw.shard.get()),
            replay_sequence: raw.replay_sequence.get(),
            replay_previous_checksum: raw.replay_previous_checksum.get(),
            replay_file: raw.replay_file.get(),
            durable_sequence: raw.durable_sequence.get(),
            partitions,
        })
    }
}

impl PartitionCheckpoint {
    /// Bytes it takes in a slot.
    pub fn encoded_bytes(&self) -> usize {
        PARTITION_BYTES + self.segments.len() * SEGMENT_BYTES + self.producers.len().next_multiple_of(ALIGN)
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        assert!(self.segments.is_sorted_by(|a, b| a.base_offset < b.base_offset), "{:?}", self.segments);
        let header = PartitionBytes {
            partition: U64::new(self.partition.0),
            ownership_epoch: U32::new(self.ownership_epoch),
            leader_epoch: U32::new(self.leader_epoch.0),
            log_start: U64::new(self.log_start.0),
            end_offset: U64::new(self.end_offset.0),
            replay_from: U64::new(self.replay_from),
            segment_count: U32::new(self.segments.len() as u32),
            producer_bytes: U32::new(self.producers.len() as u32),
        };
        out.extend_from_slice(header.as_bytes());
        for segment in &self.segments {
            let segment = SegmentBytes {
                base_offset: U64::new(segment.base_offset.0),
                bytes: U64::new(segment.bytes),
                max_timestamp: I64::new(segment.max_timestamp),
                record_end_offset: U64::new(segment.record_end_offset.0),
            };
            out.extend_from_slice(segment.as_bytes());
        }
        out.extend_from_slice(&self.producers);
        out.resize(out.len().next_multiple_of(ALIGN), 0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let header: PartitionBytes = reader.take("partition of checkpoint")?;
        let segment_count = header.segment_count.get();
        reader.can_hold("segments of checkpoint (at most)", segment_count, SEGMENT_BYTES)?;
        let mut segments: Vec<SegmentCheckpoint> = Vec::with_capacity(segment_count as usize);
        for _ in 0..segment_count {
            let segment: SegmentBytes = reader.take("segment of checkpoint")?;
            let base_offset = Offset(segment.base_offset.get());
            if let Some(last) = segments.last()
                && last.base_offset >= base_offset
            {
                return Err(FormatError::new("order of segments", last.base_offset.0, base_offset.0));
            }
            segments.push(SegmentCheckpoint {
                base_offset,
                bytes: segment.bytes.get(),
                max_timestamp: segment.max_timestamp.get(),
                record_end_offset: Offset(segment.record_end_offset.get()),
            });
        }
        let producer_bytes = header.producer_bytes.get() as usize;
        let producers = reader.take_bytes("producer snapshot of checkpoint", producer_bytes)?.to_vec();
        check_padding(reader.take_bytes("padding", producer_bytes.next_multiple_of(ALIGN) - producer_bytes)?)?;
        Ok(Self {
            partition: PartitionId(header.partition.get()),
            ownership_epoch: header.ownership_epoch.get(),
            leader_epoch: LeaderEpoch(header.leader_epoch.get()),
            log_start: Offset(header.log_start.get()),
            end_offset: Offset(header.end_offset.get()),
            replay_from: header.replay_from.get(),
            segments,
            producers,
        })
    }
}

fn read_header(bytes: &[u8]) -> Result<(HeaderBytes, &[u8]), FormatError> {
    let short =
        |_| FormatError::new("bytes of checkpoint (at least)", CHECKPOINT_HEADER_BYTES as u64, bytes.len() as u64);
    let (raw, rest) = HeaderBytes::read_from_prefix(bytes).map_err(short)?;
    let magic = u32::from_le_bytes;
    FormatError::equal("magic of checkpoint", magic(CHECKPOINT_MAGIC), magic(raw.magic))?;
    FormatError::at_least("length of checkpoint (at least)", CHECKPOINT_HEADER_BYTES as u64, raw.length.get())?;
    FormatError::at_most("length of checkpoint (at most)", CHECKPOINT_BYTES_MAX as u64, raw.length.get())?;
    Ok((raw, rest))
}

fn check_padding(bytes: &[u8]) -> Result<(), FormatError> {
    if is_blank(bytes) { Ok(()) } else { Err(FormatError::new("padding of checkpoint", 0u8, 1u8)) }
}

/// The one bounded reader of the slot's content.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Refuses a count that the bytes at hand cannot hold, before anything is allocated for it.
    fn can_hold(&self, what: &'static str, count: u32, bytes_each: usize) -> Result<(), FormatError> {
        FormatError::at_most(what, (self.rest.len() / bytes_each) as u64, count)
    }

    fn take<T: FromBytes + Unaligned>(&mut self, what: &'static str) -> Result<T, FormatError> {
        let short = |_| FormatError::new(what, size_of::<T>() as u64, self.rest.len() as u64);
        let (value, rest) = T::read_from_prefix(self.rest).map_err(short)?;
        self.rest = rest;
        Ok(value)
    }

    fn take_bytes(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], FormatError> {
        let short = || FormatError::new(what, count as u64, self.rest.len() as u64);
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(short)?;
        self.rest = rest;
        Ok(bytes)
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 4],
    version: U16,
    shard: U16,
    generation: U64,
    journal_id: U64,
    incarnation: U64,
    replay_sequence: U64,
    durable_sequence: U64,
    replay_previous_checksum: U32,
    replay_file: U32,
    partition_count: U32,
    length: U32,
    checksum: U32,
    reserved: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PartitionBytes {
    partition: U64,
    ownership_epoch: U32,
    leader_epoch: U32,
    log_start: U64,
    end_offset: U64,
    replay_from: U64,
    segment_count: U32,
    producer_bytes: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SegmentBytes {
    base_offset: U64,
    bytes: U64,
    max_timestamp: I64,
    record_end_offset: U64,
}

#[cfg(test)]
mod tests;

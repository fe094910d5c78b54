//! The side file of a segment, `.check`: what its bytes must be (F1). Evidence, unlike the index.
//!
//! Owns the bytes of the side file and the map built from them. Never reads a file and never repairs one. Lives on no
//! core; a map belongs to the shard that owns the partition.
//!
//! The file is a row of 16-byte slots, so that no slot straddles a 512-byte sector. Slot 0 is the header:
//!
//! | Bytes | Field | Why here |
//! |---|---|---|
//! | 0..4 | magic `OZCS` | |
//! | 4..6 | version = 1 | |
//! | 6..8 | zero | |
//! | 8..12 | seed check: CRC-32C of partition and segment base | a side file under the wrong name is told at once |
//! | 12..16 | CRC-32C over bytes 0..12, seeded as below | |
//!
//! Every further slot covers the range of stored bytes that starts where the one before ended, the first at 0:
//!
//! | Bytes | Field | Why here |
//! |---|---|---|
//! | 0..4 | position in the segment, bytes | redundant with the slots before: a lost or doubled slot cannot hide |
//! | 4..8 | length, 1..=65536 | bounds what one read must fetch to prove its bytes |
//! | 8..12 | CRC-32C over the stored bytes, seeded with partition id, segment base, position (three u64) | bytes at the wrong place never verify |
//! | 12..16 | CRC-32C over bytes 0..12, seeded with partition id and segment base | damage to this file is not taken for damage to the segment |
//!
//! Positions are u32: a segment is smaller than 4 GiB. What follows the last slot that the checkpoint covers is
//! unfinished work of an earlier run: it is not read and will be overwritten.

use ouzel_protocol::crc;
use ouzel_protocol::{Offset, PartitionId};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BLOCK, FormatError};

/// First bytes of every side file.
pub const CHECK_MAGIC: [u8; 4] = *b"OZCS";
/// The version this code writes and the only one it reads.
pub const CHECK_VERSION: u16 = 1;
/// Size of every slot, the header included.
pub const CHECK_SLOT_BYTES: usize = 16;
/// Longest range of one slot.
pub const CHECK_RANGE_BYTES_MAX: u32 = 64 * 1024;

const _: () = assert!(size_of::<HeaderBytes>() == CHECK_SLOT_BYTES && size_of::<SlotBytes>() == CHECK_SLOT_BYTES);
const _: () = assert!(512 % CHECK_SLOT_BYTES == 0);

/// Which segment a side file or an index speaks of: the seed of every checksum in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentId {
    /// The partition.
    pub partition: PartitionId,
    /// First offset of the segment.
    pub base: Offset,
}

impl SegmentId {
    /// CRC-32C of partition and base, both as little-endian u64: the seed that other checksums continue.
    pub(crate) fn seed(self) -> u32 {
        crc::crc32c_append(crc::crc32c(&self.partition.0.to_le_bytes()), &self.base.0.to_le_bytes())
    }
}

/// The checksum of one range of stored bytes, computed as they come.
#[derive(Clone, Copy, Debug)]
pub struct RangeCrc {
    state: u32,
    length: u64,
}

impl RangeCrc {
    /// Starts a range at a byte position of a segment.
    pub fn new(segment: SegmentId, position: u64) -> Self {
        Self { state: crc::crc32c_append(segment.seed(), &position.to_le_bytes()), length: 0 }
    }

    /// Takes the next bytes of the range.
    pub fn update(&mut self, bytes: &[u8]) {
        self.state = crc::crc32c_append(self.state, bytes);
        self.length += bytes.len() as u64;
    }

    /// Takes the next block of the range by its own checksum.
    pub fn update_block(&mut self, checksum: u32) {
        self.state = crc::crc32c_combine(self.state, checksum, BLOCK);
        self.length += BLOCK as u64;
    }

    /// Bytes taken so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The checksum of all bytes taken so far.
    pub fn finish(&self) -> u32 {
        self.state
    }
}

/// One range of a segment and what its bytes must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckSlot {
    /// Where the range starts in the segment, in bytes.
    pub position: u32,
    /// Its length in bytes, 1..=[`CHECK_RANGE_BYTES_MAX`].
    pub length: u32,
    /// Checksum as by [`RangeCrc`].
    pub crc: u32,
}

impl CheckSlot {
    /// First byte after the range.
    pub fn end(&self) -> u64 {
        u64::from(self.position) + u64::from(self.length)
    }
}

/// All ranges of one segment, from byte 0 without gaps. 12 bytes a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckMap {
    segment: SegmentId,
    slots: Vec<CheckSlot>,
}

impl CheckMap {
    /// The map of an empty segment.
    pub fn new(segment: SegmentId) -> Self {
        Self { segment, slots: Vec::new() }
    }

    /// The header slot, written once at byte 0 of the file.
    pub fn header_slot(segment: SegmentId) -> [u8; CHECK_SLOT_BYTES] {
        let seed = segment.seed();
        let mut header = HeaderBytes {
            magic: CHECK_MAGIC,
            version: U16::new(CHECK_VERSION),
            reserved: U16::ZERO,
            seed_check: U32::new(seed),
            self_crc: U32::ZERO,
        };
        header.self_crc = U32::new(header.expected_crc(seed));
        zerocopy::transmute!(header)
    }

    /// Reads a side file whose segment holds `valid_bytes` bytes by the checkpoint. What follows is not looked at.
    ///
    /// # Errors
    /// If the header or a slot below `valid_bytes` is damaged or missing, or if the slots do not end exactly there.
    pub fn from_bytes(segment: SegmentId, bytes: &[u8], valid_bytes: u64) -> Result<Self, FormatError> {
        let seed = segment.seed();
        let short = |_| FormatError::new("header of check file", CHECK_SLOT_BYTES as u64, bytes.len() as u64);
        let (header, rest) = HeaderBytes::read_from_prefix(bytes).map_err(short)?;
        let magic = u32::from_le_bytes;
        FormatError::equal("magic of check file", magic(CHECK_MAGIC), magic(header.magic))?;
        FormatError::equal("checksum of check file header", header.expected_crc(seed), header.self_crc.get())?;
        FormatError::equal("version of check file", CHECK_VERSION, header.version.get())?;
        FormatError::equal("reserved bytes of check file", 0u8, header.reserved.get())?;
        FormatError::equal("seed check of check file", seed, header.seed_check.get())?;

        let mut map = Self::new(segment);
        let mut rest = rest;
        while map.covered_bytes() < valid_bytes {
            let missing = |_| FormatError::new("bytes covered by check file", valid_bytes, map.covered_bytes());
            let (raw, after) = SlotBytes::read_from_prefix(rest).map_err(missing)?;
            rest = after;
            map.slots.push(raw.slot(seed, map.covered_bytes())?);
        }
        FormatError::equal("bytes covered by check file", valid_bytes, map.covered_bytes())?;
        Ok(map)
    }

    /// Adds the next range and returns the bytes of its slot, to be written at [`CheckMap::file_bytes`] as it was
    /// before the call. The range must start where the last one ended and obey the bounds of the format.
    pub fn push(&mut self, slot: CheckSlot) -> [u8; CHECK_SLOT_BYTES] {
        assert_eq!(u64::from(slot.position), self.covered_bytes(), "ranges of a segment without a gap");
        assert!((1..=CHECK_RANGE_BYTES_MAX).contains(&slot.length), "{slot:?}");
        assert!(slot.end() <= u64::from(u32::MAX), "{slot:?}");
        self.slots.push(slot);
        SlotBytes::of(slot, self.segment.seed())
    }

    /// The whole file: header and all slots. For rewriting after a truncation, and for tests.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.file_bytes() as usize);
        out.extend_from_slice(&Self::header_slot(self.segment));
        let seed = self.segment.seed();
        for slot in &self.slots {
            out.extend_from_slice(&SlotBytes::of(*slot, seed));
        }
        out
    }

    /// Which segment this is.
    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Bytes of the segment that the ranges cover.
    pub fn covered_bytes(&self) -> u64 {
        self.slots.last().map_or(0, CheckSlot::end)
    }

    /// Bytes of the side file up to the end of the last slot.
    pub fn file_bytes(&self) -> u64 {
        (self.slots.len() as u64 + 1) * CHECK_SLOT_BYTES as u64
    }

    /// All ranges in order.
    pub fn slots(&self) -> &[CheckSlot] {
        &self.slots
    }

    /// The ranges that hold any byte of `from..to`; their union may be wider. Bytes beyond the covered ones are
    /// covered by no range: compare with [`CheckMap::covered_bytes`] first.
    pub fn ranges_covering(&self, from: u64, to: u64) -> &[CheckSlot] {
        if from >= to {
            return &[];
        }
        let first = self.slots.partition_point(|slot| slot.end() <= from);
        let last = self.slots.partition_point(|slot| u64::from(slot.position) < to);
        self.slots.get(first..last).unwrap_or(&[])
    }

    /// Proves that `bytes` are the stored bytes of the range.
    ///
    /// # Errors
    /// If they are not, or not as many.
    pub fn verify(&self, slot: &CheckSlot, bytes: &[u8]) -> Result<(), FormatError> {
        FormatError::equal("bytes of segment range", slot.length, bytes.len() as u64)?;
        let mut crc = RangeCrc::new(self.segment, u64::from(slot.position));
        crc.update(bytes);
        FormatError::equal("checksum of segment range", slot.crc, crc.finish())
    }

    /// Forgets every range that reaches beyond `bytes` and returns how many bytes are still covered: at most `bytes`.
    pub fn truncate(&mut self, bytes: u64) -> u64 {
        let keep = self.slots.partition_point(|slot| slot.end() <= bytes);
        self.slots.truncate(keep);
        self.covered_bytes()
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 4],
    version: U16,
    reserved: U16,
    seed_check: U32,
    self_crc: U32,
}

impl HeaderBytes {
    fn expected_crc(&self, seed: u32) -> u32 {
        let crc = crc::crc32c_append(seed, &self.magic);
        let crc = crc::crc32c_append(crc, self.version.as_bytes());
        let crc = crc::crc32c_append(crc, self.reserved.as_bytes());
        crc::crc32c_append(crc, self.seed_check.as_bytes())
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SlotBytes {
    position: U32,
    length: U32,
    crc: U32,
    self_crc: U32,
}

impl SlotBytes {
    fn of(slot: CheckSlot, seed: u32) -> [u8; CHECK_SLOT_BYTES] {
        let mut raw = Self {
            position: U32::new(slot.position),
            length: U32::new(slot.length),
            crc: U32::new(slot.crc),
            self_crc: U32::ZERO,
        };
        raw.self_crc = U32::new(raw.expected_crc(seed));
        zerocopy::transmute!(raw)
    }

    fn expected_crc(&self, seed: u32) -> u32 {
        let crc = crc::crc32c_append(seed, self.position.as_bytes());
        let crc = crc::crc32c_append(crc, self.length.as_bytes());
        crc::crc32c_append(crc, self.crc.as_bytes())
    }

    fn slot(&self, seed: u32, position: u64) -> Result<CheckSlot, FormatError> {
        FormatError::equal("checksum of check slot", self.expected_crc(seed), self.self_crc.get())?;
        FormatError::equal("position of check slot", position, self.position.get())?;
        FormatError::at_least("length of check slot (at least)", 1u8, self.length.get())?;
        FormatError::at_most("length of check slot (at most)", CHECK_RANGE_BYTES_MAX, self.length.get())?;
        let slot = CheckSlot { position: self.position.get(), length: self.length.get(), crc: self.crc.get() };
        FormatError::at_most("end of check slot (at most)", u32::MAX, slot.end())?;
        Ok(slot)
    }
}

#[cfg(test)]
mod tests;

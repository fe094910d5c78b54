//! The sparse index of a segment, `.index`: derived from the segment, rebuildable, never evidence.
//!
//! Owns the bytes of the index and the map built from them. Never reads a file and never fails: what is damaged ends
//! the map, and a shorter map only makes a search start earlier. Lives on no core; a map belongs to the shard that
//! owns the partition.
//!
//! The file is a row of 32-byte slots. Slot 0 is the header:
//!
//! | Bytes | Field |
//! |---|---|
//! | 0..4 | magic `OZIX` |
//! | 4..6 | version = 1 |
//! | 6..8 | zero |
//! | 8..16 | partition |
//! | 16..24 | segment base |
//! | 24..28 | CRC-32C over bytes 0..24 |
//! | 28..32 | zero |
//!
//! Every further slot names a batch that starts in the segment, in order:
//!
//! | Bytes | Field | Why here |
//! |---|---|---|
//! | 0..8 | base offset of the batch | strictly rising |
//! | 8..16 | its position in the segment | strictly rising |
//! | 16..24 | highest timestamp of all batches *before* it in the segment | never falls, whatever the order of time stamps: a search by time may start here if this is below the time sought |
//! | 24..28 | CRC-32C over bytes 0..24, seeded with partition and segment base | a slot of another file is no slot |
//! | 28..32 | zero | |

use ouzel_protocol::Offset;
use ouzel_protocol::crc;
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::check::SegmentId;
use super::is_blank;

/// First bytes of every index.
pub const INDEX_MAGIC: [u8; 4] = *b"OZIX";
/// The version this code writes and the only one it reads.
pub const INDEX_VERSION: u16 = 1;
/// Size of every slot, the header included.
pub const INDEX_SLOT_BYTES: usize = 32;

const _: () = assert!(size_of::<HeaderBytes>() == INDEX_SLOT_BYTES && size_of::<SlotBytes>() == INDEX_SLOT_BYTES);
const _: () = assert!(512 % INDEX_SLOT_BYTES == 0);

/// A batch that a search may start at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSlot {
    /// Its base offset.
    pub offset: Offset,
    /// Its byte position in the segment.
    pub position: u64,
    /// Highest timestamp of all batches before it in the segment, milliseconds; `i64::MIN` if there is none.
    pub max_timestamp_before: i64,
}

impl IndexSlot {
    fn may_follow(&self, last: &IndexSlot) -> bool {
        self.offset > last.offset
            && self.position > last.position
            && self.max_timestamp_before >= last.max_timestamp_before
    }
}

/// What ended the reading of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexEnd {
    /// The file, blank space, or the first slot beyond the valid bytes of the segment.
    Clean,
    /// Damage: this slot (0 is the header) is not what may stand there. Whoever can should rebuild the index.
    BadSlot(usize),
}

/// The slots of one segment in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexMap {
    segment: SegmentId,
    slots: Vec<IndexSlot>,
}

impl IndexMap {
    /// The map of an empty segment.
    pub fn new(segment: SegmentId) -> Self {
        Self { segment, slots: Vec::new() }
    }

    /// The header slot, written once at byte 0 of the file.
    pub fn header_slot(segment: SegmentId) -> [u8; INDEX_SLOT_BYTES] {
        let mut header = HeaderBytes {
            magic: INDEX_MAGIC,
            version: U16::new(INDEX_VERSION),
            reserved: U16::ZERO,
            partition: U64::new(segment.partition.0),
            base: U64::new(segment.base.0),
            crc: U32::ZERO,
            reserved_end: U32::ZERO,
        };
        header.crc = U32::new(crc_of_head(0, header.as_bytes()));
        zerocopy::transmute!(header)
    }

    /// Reads an index whose segment holds `valid_bytes` bytes: the longest prefix of slots that may be believed, and
    /// what ended it.
    pub fn from_bytes(segment: SegmentId, bytes: &[u8], valid_bytes: u64) -> (Self, IndexEnd) {
        let mut map = Self::new(segment);
        let (slots, partial) = bytes.as_chunks::<INDEX_SLOT_BYTES>();
        let mut slots = slots.iter();
        match slots.next() {
            Some(header) if *header == Self::header_slot(segment) => {}
            None if partial.is_empty() => return (map, IndexEnd::Clean),
            _ => return (map, IndexEnd::BadSlot(0)),
        }
        let seed = segment.seed();
        for bytes in slots {
            if is_blank(bytes) {
                return (map, IndexEnd::Clean);
            }
            let bad = IndexEnd::BadSlot(map.slots.len() + 1);
            let Some(slot) = SlotBytes::parse(bytes, seed) else {
                return (map, bad);
            };
            if slot.position >= valid_bytes {
                return (map, IndexEnd::Clean);
            }
            if slot.offset < segment.base || map.slots.last().is_some_and(|last| !slot.may_follow(last)) {
                return (map, bad);
            }
            map.slots.push(slot);
        }
        let end = if is_blank(partial) { IndexEnd::Clean } else { IndexEnd::BadSlot(map.slots.len() + 1) };
        (map, end)
    }

    /// Adds the next slot and returns its bytes, to be written at [`IndexMap::file_bytes`] as it was before the call.
    /// Offset and position must rise and the timestamp must not fall.
    pub fn push(&mut self, slot: IndexSlot) -> [u8; INDEX_SLOT_BYTES] {
        assert!(slot.offset >= self.segment.base, "{slot:?} before {:?}", self.segment);
        assert!(self.slots.last().is_none_or(|last| slot.may_follow(last)), "{slot:?} after {:?}", self.slots.last());
        self.slots.push(slot);
        SlotBytes::of(slot, self.segment.seed())
    }

    /// The whole file: header and all slots. For rebuilding, and for tests.
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

    /// All slots in order.
    pub fn slots(&self) -> &[IndexSlot] {
        &self.slots
    }

    /// Bytes of the file up to the end of the last slot.
    pub fn file_bytes(&self) -> u64 {
        (self.slots.len() as u64 + 1) * INDEX_SLOT_BYTES as u64
    }

    /// The last slot at or below an offset; `None`: start at byte 0 of the segment.
    pub fn floor_by_offset(&self, offset: Offset) -> Option<IndexSlot> {
        let after = self.slots.partition_point(|slot| slot.offset <= offset);
        self.slots.get(after.checked_sub(1)?).copied()
    }

    /// The last slot before which every batch is older than `timestamp`: the first batch whose maximum reaches it
    /// starts here or later. `None`: start at byte 0 of the segment.
    pub fn floor_by_timestamp(&self, timestamp: i64) -> Option<IndexSlot> {
        let after = self.slots.partition_point(|slot| slot.max_timestamp_before < timestamp);
        self.slots.get(after.checked_sub(1)?).copied()
    }

    /// Forgets every slot at or beyond a byte position of the segment.
    pub fn truncate(&mut self, bytes: u64) {
        let keep = self.slots.partition_point(|slot| slot.position < bytes);
        self.slots.truncate(keep);
    }
}

/// CRC-32C over what stands before the CRC in a slot.
fn crc_of_head(seed: u32, slot: &[u8]) -> u32 {
    crc::crc32c_append(seed, slot.get(..24).unwrap_or(slot))
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 4],
    version: U16,
    reserved: U16,
    partition: U64,
    base: U64,
    crc: U32,
    reserved_end: U32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SlotBytes {
    offset: U64,
    position: U64,
    max_timestamp_before: I64,
    crc: U32,
    reserved: U32,
}

impl SlotBytes {
    fn of(slot: IndexSlot, seed: u32) -> [u8; INDEX_SLOT_BYTES] {
        let mut raw = Self {
            offset: U64::new(slot.offset.0),
            position: U64::new(slot.position),
            max_timestamp_before: I64::new(slot.max_timestamp_before),
            crc: U32::ZERO,
            reserved: U32::ZERO,
        };
        raw.crc = U32::new(crc_of_head(seed, raw.as_bytes()));
        zerocopy::transmute!(raw)
    }

    fn parse(bytes: &[u8; INDEX_SLOT_BYTES], seed: u32) -> Option<IndexSlot> {
        let raw: Self = zerocopy::transmute!(*bytes);
        let sound = raw.crc.get() == crc_of_head(seed, bytes) && raw.reserved.get() == 0;
        sound.then(|| IndexSlot {
            offset: Offset(raw.offset.get()),
            position: raw.position.get(),
            max_timestamp_before: raw.max_timestamp_before.get(),
        })
    }
}

#[cfg(test)]
mod tests;

//! Makes checksums fit again, so that damaged bytes reach the rules that stand behind the checksum.
//!
//! Owns nothing but where each format keeps its lengths and checksums, from `docs/formats.md`; a chance of one in four
//! billion would otherwise hide everything behind them from a fuzzer. Knows the formats from outside on purpose: a
//! checksum that covers something else than the documents say is found by it. Any core.

use ouzel_protocol::batch::batch_crc;
use ouzel_storage::format::check::{CHECK_SLOT_BYTES, CheckMap, SegmentId};
use ouzel_storage::format::index::{INDEX_SLOT_BYTES, IndexMap};
use ouzel_storage::format::{BLOCK, padded_to_block};

/// The most bytes that a claimed length may pad an input to.
const PADDED_BYTES_MAX: usize = 64 * 1024;

/// A batch: its length is what is there, its CRC what the bytes give. `magic` is the dialect's byte.
pub(crate) fn batch(bytes: &[u8], magic: u8) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    put(&mut sealed, 8, &(bytes.len().saturating_sub(12) as u32).to_be_bytes());
    put(&mut sealed, 16, &[magic]);
    let crc = batch_crc(&sealed);
    put(&mut sealed, 17, &crc.to_be_bytes());
    sealed
}

/// Where a block format keeps what seals it.
pub(crate) struct Block {
    /// First bytes of the format.
    pub(crate) magic: [u8; 4],
    /// Where the length stands, a `u32`.
    pub(crate) length_at: usize,
    /// What the length does not count: the header, or nothing.
    pub(crate) length_adds: usize,
    /// Where the CRC-32C over the padded block stands.
    pub(crate) checksum_at: usize,
    /// Where the checksum of the block before it stands, in a format that chains.
    pub(crate) previous_at: Option<usize>,
}

pub(crate) const COMMIT: Block =
    Block { magic: *b"OZJC", length_at: 48, length_adds: 0, checksum_at: 44, previous_at: Some(40) };
pub(crate) const CHECKPOINT: Block =
    Block { magic: *b"OZCK", length_at: 60, length_adds: 0, checksum_at: 64, previous_at: None };
pub(crate) const METADATA: Block =
    Block { magic: *b"OZML", length_at: 40, length_adds: 64, checksum_at: 36, previous_at: Some(32) };

impl Block {
    /// The block that starts with these bytes, padded with zeros to the length it claims. What claims an absurd length is
    /// left as it is but for the magic.
    pub(crate) fn seal(&self, bytes: &[u8]) -> Vec<u8> {
        let mut sealed = bytes.to_vec();
        self.seal_at(&mut sealed, 0);
        sealed
    }

    /// A row of blocks, each at the end of the one before it and naming that one's checksum.
    pub(crate) fn seal_chain(&self, bytes: &[u8]) -> Vec<u8> {
        let mut sealed = bytes.to_vec();
        let mut before = None;
        let mut at = 0;
        while at < bytes.len() {
            if let (Some(field), Some(checksum)) = (self.previous_at, before) {
                put(&mut sealed, at + field, &u32::to_le_bytes(checksum));
            }
            let (padded, checksum) = self.seal_at(&mut sealed, at).unwrap_or((BLOCK, 0));
            before = Some(checksum);
            at += padded;
        }
        sealed
    }

    /// Seals the block at `at` and returns its padded size and its checksum; `None` where there is none.
    fn seal_at(&self, bytes: &mut Vec<u8>, at: usize) -> Option<(usize, u32)> {
        put(bytes, at, &self.magic);
        let length = bytes.get(at + self.length_at..)?.first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > PADDED_BYTES_MAX {
            return None;
        }
        let padded = padded_to_block((length + self.length_adds).max(self.checksum_at + 4));
        if bytes.len() < at + padded {
            bytes.resize(at + padded, 0);
        }
        put(bytes, at + self.checksum_at, &[0; 4]);
        let checksum = crc32c::crc32c(bytes.get(at..at + padded)?);
        put(bytes, at + self.checksum_at, &checksum.to_le_bytes());
        Some((padded, checksum))
    }
}

/// A side file: a sound header, then slots of which each carries its own checksum.
pub(crate) fn check_file(segment: SegmentId, bytes: &[u8]) -> Vec<u8> {
    let mut sealed = CheckMap::header_slot(segment).to_vec();
    slots(&mut sealed, segment, bytes.get(CHECK_SLOT_BYTES..).unwrap_or_default(), CHECK_SLOT_BYTES, 12);
    sealed
}

/// An index: likewise.
pub(crate) fn index_file(segment: SegmentId, bytes: &[u8]) -> Vec<u8> {
    let mut sealed = IndexMap::header_slot(segment).to_vec();
    slots(&mut sealed, segment, bytes.get(INDEX_SLOT_BYTES..).unwrap_or_default(), INDEX_SLOT_BYTES, 24);
    sealed
}

fn slots(out: &mut Vec<u8>, segment: SegmentId, bytes: &[u8], slot_bytes: usize, crc_at: usize) {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&segment.partition.0.to_le_bytes()), &segment.base.0.to_le_bytes());
    for slot in bytes.chunks(slot_bytes) {
        let mut slot = slot.to_vec();
        let crc = crc32c::crc32c_append(seed, slot.get(..crc_at).unwrap_or_default());
        // A slot of zeros ends an index; sealing it would make it one that is wrong.
        if slot.iter().any(|byte| *byte != 0) {
            put(&mut slot, crc_at, &crc.to_le_bytes());
        }
        out.extend_from_slice(&slot);
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}

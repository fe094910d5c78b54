//! The file of a snapshot of groups: its header, and what must hold of its length. Owns the layout; never touches a file. Any
//! core.
//!
//! Little-endian:
//!
//! | Bytes | Field |
//! |---|---|
//! | 0..8 | magic `OUZGROUP` |
//! | 8..12 | version, 1 |
//! | 12..16 | CRC-32C of the body |
//! | 16..24 | partition id |
//! | 24..32 | log offset: everything before it is in the snapshot |
//! | 32..40 | bytes of the body |
//! | 40..4092 | zeros |
//! | 4092..4096 | CRC-32C of bytes 0..4092 |
//! | 4096.. | body: batches (magic 2) one behind the other, then zeros to a multiple of 4096 |
//!
//! The header is a block of its own because it is written last, when the body is on its way and all that is in it is durable
//! in the log. It has the checksum of the body, so that a body of another file is none of this one's.

use ouzel_protocol::crc;
use ouzel_protocol::{Offset, PartitionId};
use ouzel_storage::format::{BLOCK, FormatError, padded_to_block};

const MAGIC: [u8; 8] = *b"OUZGROUP";
const VERSION: u32 = 1;
const CRC_AT: usize = BLOCK - 4;

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = BLOCK;

/// What the first block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SnapshotHeader {
    pub(super) partition_id: PartitionId,
    /// Whoever loads the snapshot reads the log from here on.
    pub(super) offset: Offset,
    pub(super) body_bytes: u64,
    pub(super) body_crc: u32,
}

impl SnapshotHeader {
    /// The first block.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut block = [0; HEADER_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[12..16].copy_from_slice(&self.body_crc.to_le_bytes());
        block[16..24].copy_from_slice(&self.partition_id.0.to_le_bytes());
        block[24..32].copy_from_slice(&self.offset.0.to_le_bytes());
        block[32..40].copy_from_slice(&self.body_bytes.to_le_bytes());
        let crc = crc::crc32c(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the first block of a file of `file_bytes` bytes.
    ///
    /// # Errors
    /// Which rule does not hold; the blame is the disk's, or of whoever touched the file.
    pub(super) fn decode(block: &[u8], file_bytes: u64) -> Result<Self, FormatError> {
        let Ok(block) = <&[u8; HEADER_BYTES]>::try_from(block) else {
            return Err(FormatError::new("length of a snapshot's header", HEADER_BYTES as u64, block.len() as u64));
        };
        let number = |from: usize, to: usize| {
            let bytes = block.get(from..to).into_iter().flatten().rev();
            bytes.fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (covered, _) = block.split_at(CRC_AT);
        equal("magic of a snapshot of groups", u64::from_le_bytes(MAGIC), number(0, 8))?;
        equal("version of a snapshot of groups", VERSION.into(), number(8, 12))?;
        equal("CRC of a snapshot's header", crc::crc32c(covered).into(), number(CRC_AT, HEADER_BYTES))?;
        let header = Self {
            partition_id: PartitionId(number(16, 24)),
            offset: Offset(number(24, 32)),
            body_bytes: number(32, 40),
            body_crc: u32::try_from(number(12, 16)).unwrap_or(0),
        };
        let body_bytes = usize::try_from(header.body_bytes).ok().filter(|bytes| *bytes <= usize::MAX / 2);
        let expected = body_bytes.map_or(u64::MAX, |bytes| (HEADER_BYTES + padded_to_block(bytes)) as u64);
        equal("length of a snapshot of groups", expected, file_bytes)?;
        Ok(header)
    }
}

pub(super) fn equal(what: &'static str, expected: u64, got: u64) -> Result<(), FormatError> {
    if expected == got { Ok(()) } else { Err(FormatError::new(what, expected, got)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SnapshotHeader = SnapshotHeader {
        partition_id: PartitionId(0x0102),
        offset: Offset(0x0304),
        body_bytes: 5_000,
        body_crc: 0x0607,
    };
    const FILE_BYTES: u64 = 3 * BLOCK as u64;

    #[test]
    fn a_header_comes_back_and_its_bytes_stay_what_they_are() {
        let block = HEADER.encode();
        assert_eq!(SnapshotHeader::decode(&block, FILE_BYTES), Ok(HEADER));
        let begin = b"OUZGROUP\x01\0\0\0\x07\x06\0\0\x02\x01\0\0\0\0\0\0\x04\x03\0\0\0\0\0\0\x88\x13\0\0\0\0\0\0";
        assert_eq!(&block[..40], begin);
        assert!(block[40..CRC_AT].iter().all(|byte| *byte == 0));
        assert_eq!(block[CRC_AT..], crc::crc32c(&block[..CRC_AT]).to_le_bytes());
    }

    #[test]
    fn no_flipped_bit_and_no_other_length_is_a_header() {
        let block = HEADER.encode();
        for bit in 0..8 * HEADER_BYTES {
            let mut damaged = block;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SnapshotHeader::decode(&damaged, FILE_BYTES).is_err(), "bit {bit}");
        }
        assert!(SnapshotHeader::decode(&block[..HEADER_BYTES - 1], FILE_BYTES).is_err());
        for file_bytes in [0, FILE_BYTES - 1, FILE_BYTES - BLOCK as u64, FILE_BYTES + BLOCK as u64] {
            assert!(SnapshotHeader::decode(&block, file_bytes).is_err(), "{file_bytes}");
        }
        let endless = SnapshotHeader { body_bytes: u64::MAX, ..HEADER }.encode();
        assert!(SnapshotHeader::decode(&endless, FILE_BYTES).is_err());
    }
}

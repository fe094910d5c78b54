//! LZ4 in its frame format, in the shape Kafka's Java client reads: independent blocks of at most 64 KiB.
//!
//! Owns the choice of the frame's options and the check that a frame is whole, which `lz4_flex` does not
//! make: it takes the end of the input for the end of the frame.

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use std::io::Write;

use super::{Codec, CodecError};

/// The frame's first four bytes, little-endian.
const MAGIC: u32 = 0x184d_2204;
/// Bits of the descriptor's flag byte.
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_CONTENT_CHECKSUM: u8 = 0x04;
const FLAG_DICTIONARY: u8 = 0x01;
/// The bit of a block's length that says it is not compressed.
const BLOCK_STORED: u32 = 0x8000_0000;

pub(super) fn compress(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(bytes).map_err(|error| Codec::Lz4.refused(error))?;
    // Nothing written opens no frame, and no bytes at all are no frame.
    if bytes.is_empty() {
        encoder.write(&[]).map_err(|error| Codec::Lz4.refused(error))?;
    }
    encoder.finish().map_err(|error| Codec::Lz4.refused(error))?;
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    check_frame(bytes).map_err(|what| Codec::Lz4.malformed(what))?;
    Codec::Lz4.read_capped(FrameDecoder::new(bytes), bytes.len(), bytes_max)
}

/// Walks the frame's blocks by their lengths: one frame, whole, and nothing behind it.
fn check_frame(bytes: &[u8]) -> Result<(), &'static str> {
    const CUT: &str = "the frame is cut";
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
    if u32::from_le_bytes(*magic) != MAGIC {
        return Err("not an LZ4 frame");
    }
    let &flags = rest.first().ok_or(CUT)?;
    let checksum = |flag: u8| if flags & flag != 0 { 4 } else { 0 };
    let content_size = if flags & FLAG_CONTENT_SIZE != 0 { 8 } else { 0 };
    // Flags, block size, header checksum, and what the flags add.
    let mut rest = rest.get(3 + content_size + checksum(FLAG_DICTIONARY)..).ok_or(CUT)?;
    loop {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or(CUT)?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return match behind.len() == checksum(FLAG_CONTENT_CHECKSUM) {
                true => Ok(()),
                false => Err("the frame does not end where its bytes end"),
            };
        }
        let length = (length & !BLOCK_STORED) as usize + checksum(FLAG_BLOCK_CHECKSUM);
        rest = behind.get(length..).ok_or(CUT)?;
    }
}

//! Snappy in xerial's framing, as `snappy-java`'s streams and so Kafka's Java client write it.
//!
//! Owns the framing; the blocks are the `snap` crate's. Bare snappy blocks, which some clients send, are
//! read too.

use super::{Codec, CodecError};

/// The stream header: a magic, the version and the oldest version that can read it.
///
/// | Bytes | Field |
/// |---|---|
/// | 0..8 | `82 "SNAPPY" 00` |
/// | 8..12 | version, i32 big-endian: 1 |
/// | 12..16 | compatible version, i32 big-endian: 1 |
/// | then, repeated | block length, i32 big-endian; a bare snappy block of that length |
const STREAM_HEADER: [u8; 16] = *b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";

/// The part of the header that tells a stream from a bare block.
const MAGIC_BYTES: usize = 8;

/// What `snappy-java` puts into one block.
const BLOCK_BYTES: usize = 32 * 1024;

/// No snappy element gives more than 64 bytes for its own one, so a longer claim is a lie.
const BLOCK_RATIO_MAX: usize = 64;

pub(super) fn compress(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.extend_from_slice(&STREAM_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        let block_at = length_at + 4;
        out.resize(block_at + snap::raw::max_compress_len(block.len()), 0);
        let (head, body) = out.split_at_mut(block_at);
        let length = encoder.compress(block, body).map_err(|error| Codec::Snappy.refused(error))?;
        if let (Ok(length), Some(field)) = (i32::try_from(length), head.last_chunk_mut::<4>()) {
            *field = length.to_be_bytes();
        }
        out.truncate(block_at + length);
    }
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    let mut decoder = snap::raw::Decoder::new();
    let mut out = Vec::new();
    if bytes.get(..MAGIC_BYTES) != STREAM_HEADER.get(..MAGIC_BYTES) {
        decompress_block(&mut decoder, bytes, bytes_max, &mut out)?;
        return Ok(out);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        // Streams written one behind the other repeat the header; its versions are not looked at, as
        // `snappy-java` reads any that it is compatible with and there has only been one.
        if rest.get(..MAGIC_BYTES) == STREAM_HEADER.get(..MAGIC_BYTES) {
            rest =
                rest.get(STREAM_HEADER.len()..).ok_or_else(|| Codec::Snappy.malformed("the stream header is cut"))?;
            continue;
        }
        let (length, behind) =
            rest.split_first_chunk::<4>().ok_or_else(|| Codec::Snappy.malformed("a block length is cut"))?;
        let (block, behind) = usize::try_from(i32::from_be_bytes(*length))
            .ok()
            .and_then(|length| behind.split_at_checked(length))
            .ok_or_else(|| Codec::Snappy.malformed("a block is cut"))?;
        decompress_block(&mut decoder, block, bytes_max, &mut out)?;
        rest = behind;
    }
    Ok(out)
}

fn decompress_block(
    decoder: &mut snap::raw::Decoder,
    block: &[u8],
    bytes_max: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    let claimed = snap::raw::decompress_len(block).map_err(|error| Codec::Snappy.malformed(error))?;
    let start = out.len();
    if claimed > bytes_max.saturating_sub(start) {
        return Err(Codec::Snappy.too_large(bytes_max));
    }
    if claimed > block.len().saturating_mul(BLOCK_RATIO_MAX) {
        return Err(Codec::Snappy.malformed("a block claims more than it can hold"));
    }
    out.resize(start + claimed, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    let got = decoder.decompress(block, target).map_err(|error| Codec::Snappy.malformed(error))?;
    out.truncate(start + got);
    Ok(())
}

//! The codecs a batch may be compressed with, in the framings Kafka's Java client writes and reads.
//!
//! Owns compression and decompression within caps. Never trusts a length the compressed bytes claim: a bomb
//! is an error before the claim is allocated. Contexts of zstd are kept per thread. Any core.

mod lz4;
mod snappy;
mod zstandard;

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use crate::limits::DECOMPRESSED_RATIO_FREE_BYTES;

/// How records are compressed. The numbers are those of a batch's attributes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy in xerial's framing.
    Snappy = 2,
    /// LZ4 in its frame format.
    Lz4 = 3,
    /// Zstandard (RFC 8878).
    Zstd = 4,
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The attributes name no codec. The sender is at fault.
    #[error("there is no codec number {number}")]
    Unknown {
        /// The number.
        number: u8,
    },
    /// The bytes decompress, or claim to, to more than is allowed. The sender is at fault.
    #[error("{codec} bytes decompress to more than the {bytes_max} bytes allowed")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The cap.
        bytes_max: usize,
    },
    /// The bytes are not what the codec writes. The sender is at fault.
    #[error("{codec} bytes are malformed: {reason}")]
    Malformed {
        /// The codec.
        codec: Codec,
        /// What the decoder says.
        reason: String,
    },
    /// The bytes decompress to fewer or more bytes than the batch says.
    #[error("the blob should have {expected} bytes, has {got}")]
    Length {
        /// What the batch says.
        expected: usize,
        /// What came out.
        got: usize,
    },
    /// The encoder refused, for example a level it does not know. The caller is at fault.
    #[error("{codec} does not compress: {reason}")]
    Compress {
        /// The codec.
        codec: Codec,
        /// What the encoder says.
        reason: String,
    },
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec of a number in a batch's attributes.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The number in a batch's attributes.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self as u8
    }

    /// The name in configurations and on command lines, Kafka's `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl Codec {
    /// Compresses `bytes` and appends the result to `out`.
    ///
    /// `level` is the codec's own scale: gzip 0 to 9 (default 6), zstd up to 22 (default 3); snappy and lz4
    /// have none and ignore it.
    ///
    /// # Errors
    /// The encoder refused; the caller's fault. `out` may then hold a part and is to be dropped.
    pub fn compress_into(self, bytes: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            Codec::None => out.extend_from_slice(bytes),
            Codec::Gzip => gzip_compress(bytes, level, out)?,
            Codec::Snappy => snappy::compress(bytes, out)?,
            Codec::Lz4 => lz4::compress(bytes, out)?,
            Codec::Zstd => zstandard::compress(bytes, level, out)?,
        }
        Ok(())
    }

    /// Decompresses `bytes` to at most `bytes_max` bytes.
    ///
    /// # Errors
    /// The bytes are malformed or decompress to more; whoever compressed them is at fault.
    pub fn decompress(self, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, CodecError> {
        let out = match self {
            Codec::None if bytes.len() <= bytes_max => bytes.to_vec(),
            Codec::None => return Err(self.too_large(bytes_max)),
            Codec::Gzip => {
                let decoder = flate2::bufread::MultiGzDecoder::new(bytes);
                self.read_capped(decoder, bytes.len(), bytes_max)?
            }
            Codec::Snappy => snappy::decompress(bytes, bytes_max)?,
            Codec::Lz4 => lz4::decompress(bytes, bytes_max)?,
            Codec::Zstd => zstandard::decompress(bytes, bytes_max)?,
        };
        Ok(out)
    }

    /// Reads a decoder to its end, but never more than one byte past the cap.
    fn read_capped(self, decoder: impl Read, compressed_bytes: usize, bytes_max: usize) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::with_capacity(compressed_bytes.saturating_mul(4).min(bytes_max));
        let mut capped = decoder.take(bytes_max as u64 + 1);
        match capped.read_to_end(&mut out) {
            Ok(_) if out.len() > bytes_max => Err(self.too_large(bytes_max)),
            Ok(_) => Ok(out),
            Err(error) => Err(self.malformed(error)),
        }
    }

    fn too_large(self, bytes_max: usize) -> CodecError {
        CodecError::TooLarge { codec: self, bytes_max }
    }

    fn malformed(self, reason: impl fmt::Display) -> CodecError {
        CodecError::Malformed { codec: self, reason: reason.to_string() }
    }

    fn refused(self, reason: impl fmt::Display) -> CodecError {
        CodecError::Compress { codec: self, reason: reason.to_string() }
    }
}

fn gzip_compress(bytes: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let level = match level {
        None | Some(-1) => flate2::Compression::default(),
        Some(level @ 0..=9) => flate2::Compression::new(level.unsigned_abs()),
        Some(level) => return Err(Codec::Gzip.refused(format_args!("no level {level}"))),
    };
    let mut encoder = flate2::write::GzEncoder::new(out, level);
    encoder.write_all(bytes).and_then(|()| encoder.try_finish()).map_err(|error| Codec::Gzip.refused(error))
}

/// What `compressed_bytes` may grow to: within the size cap, and beyond a free allowance within the ratio.
#[must_use]
pub fn decompressed_bytes_max(compressed_bytes: usize, bytes_max: usize, ratio_max: usize) -> usize {
    compressed_bytes.saturating_mul(ratio_max).max(DECOMPRESSED_RATIO_FREE_BYTES).min(bytes_max)
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a codec is `none`, `gzip`, `snappy`, `lz4` or `zstd`, got {got:?}")]
pub struct CodecNameError {
    /// The text as given.
    pub got: String,
}

impl FromStr for Codec {
    type Err = CodecNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Codec::ALL.into_iter().find(|codec| codec.name() == text).ok_or_else(|| CodecNameError { got: text.into() })
    }
}

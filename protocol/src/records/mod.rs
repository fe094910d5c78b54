//! Records: building batches of either dialect and reading them back.
//!
//! Owns the view of a record that both dialects share, and the step from a batch's bytes to that view.
//! `kafka2` owns the layout of magic 2, `native` that of magic 79, `builder` both ways of writing. Reading
//! allocates at most once a batch, for what is decompressed. Any core.

mod builder;
pub(crate) mod kafka2;
pub(crate) mod native;
mod varint;

use std::borrow::Cow;
use std::fmt;

use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Magic, check_batch};
use crate::codec::{Codec, decompressed_bytes_max};
use crate::ids::Offset;
use crate::limits::{DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX};

pub use builder::BatchBuilder;

/// The layout of native archives this version writes and reads, in attribute bits 8 to 11.
pub const NATIVE_LAYOUT_VERSION: u8 = native::LAYOUT_VERSION;

/// Which dialect a batch is written in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// Magic 2, what Kafka's clients read.
    Kafka2,
    /// Magic 79, columnar.
    Native,
}

/// How far compressed records may grow when they are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeLimits {
    /// The most bytes.
    pub bytes_max: usize,
    /// The most times the compressed size; small batches are free of it
    /// ([`DECOMPRESSED_RATIO_FREE_BYTES`](crate::limits::DECOMPRESSED_RATIO_FREE_BYTES)).
    pub ratio_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { bytes_max: DECOMPRESSED_BYTES_MAX, ratio_max: DECOMPRESSED_RATIO_MAX }
    }
}

impl DecodeLimits {
    pub(crate) fn cap(&self, compressed_bytes: usize) -> usize {
        decompressed_bytes_max(compressed_bytes, self.bytes_max, self.ratio_max)
    }
}

/// One record, borrowed from its batch.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since 1970, as the producer said or, with log-append time, the broker.
    pub timestamp: i64,
    /// The key; `None` and an empty key are two things.
    pub key: Option<&'a [u8]>,
    /// The value; `None` deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, in order, repetitions kept.
    pub headers: Headers<'a>,
}

/// One header of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// The name. Meant to be UTF-8; bytes here since not every client keeps to it.
    pub key: &'a [u8],
    /// The value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Header<'a> {
    /// The name as text, `None` if it is not UTF-8.
    #[must_use]
    pub fn key_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.key).ok()
    }
}

/// The headers of a record: an iterator that can be cloned to start again. Their layout was checked when the
/// record was read.
#[derive(Clone)]
pub struct Headers<'a>(Source<'a>);

#[derive(Clone)]
enum Source<'a> {
    Kafka2(kafka2::Headers<'a>),
    Native(native::Headers<'a>),
}

impl Default for Headers<'_> {
    fn default() -> Self {
        Headers(Source::Kafka2(kafka2::Headers::default()))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        match &mut self.0 {
            Source::Kafka2(headers) => headers.next(),
            Source::Native(headers) => headers.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = match &self.0 {
            Source::Kafka2(headers) => headers.remaining(),
            Source::Native(headers) => headers.remaining(),
        };
        (count, Some(count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

/// A whole batch, checked and ready to be read; holds the decompressed bytes if there are any.
#[derive(Clone, Debug)]
pub struct DecodedBatch<'a> {
    header: BatchHeader,
    body: Body<'a>,
}

#[derive(Clone, Debug)]
enum Body<'a> {
    Kafka2(Cow<'a, [u8]>),
    Native(&'a native::ArchivedColumns, Cow<'a, [u8]>),
}

impl<'a> DecodedBatch<'a> {
    /// Checks a whole batch ([`check_batch`]) and makes it readable: decompresses within `limits`, and
    /// bytechecks a native archive. Nothing may follow the batch in `bytes`.
    ///
    /// Gaps between offsets are taken as they are: a compacted topic has them.
    ///
    /// # Errors
    /// The bytes are not a sound batch, or grow past a limit; the broker or the producer is at fault.
    pub fn decode(bytes: &'a [u8], limits: &DecodeLimits) -> Result<Self, BatchError> {
        let header = check_batch(bytes)?;
        Self::decode_checked(header, bytes, limits)
    }

    /// [`decode`](Self::decode) for a batch whose checksum was already checked: `header` is what
    /// [`check_batch`] gave for these `bytes`.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_checked(header: BatchHeader, bytes: &'a [u8], limits: &DecodeLimits) -> Result<Self, BatchError> {
        let codec = header.codec()?;
        let body = match header.magic {
            Magic::Kafka2 => {
                let records = bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default();
                Body::Kafka2(inflate(codec, records, limits)?)
            }
            Magic::Native => {
                let columns = native::check_archive(&header, bytes, limits)?;
                let blob = inflate(codec, columns.blob(), limits)?;
                columns.check_blob(blob.len())?;
                Body::Native(columns, blob)
            }
        };
        Ok(Self { header, body })
    }

    /// The batch's header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The records in order, without an allocation. The first error ends it.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records(match &self.body {
            Body::Kafka2(bytes) => Walk::Kafka2(kafka2::Records::new(&self.header, bytes)),
            Body::Native(columns, blob) => Walk::Native(native::Records::new(&self.header, columns, blob)),
        })
    }
}

fn inflate<'a>(codec: Codec, bytes: &'a [u8], limits: &DecodeLimits) -> Result<Cow<'a, [u8]>, BatchError> {
    match codec {
        Codec::None => Ok(Cow::Borrowed(bytes)),
        codec => Ok(Cow::Owned(codec.decompress(bytes, limits.cap(bytes.len()))?)),
    }
}

/// The iterator of [`DecodedBatch::records`].
#[derive(Clone, Debug)]
pub struct Records<'a>(Walk<'a>);

#[derive(Clone, Debug)]
enum Walk<'a> {
    Kafka2(kafka2::Records<'a>),
    Native(native::Records<'a>),
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Walk::Kafka2(records) => records.next(),
            Walk::Native(records) => records.next(),
        }
    }
}

//! Native batches for Kafka's clients: the same records in Kafka's dialect, at the same offsets. Batches that are in that dialect
//! go out as they are, and nothing of them is read but their headers. Owns nothing. Lives on the connection's shard.

use bytes::Bytes;
use ouzel_protocol::batch::{BATCH_HEADER_BYTES, Magic, parse_header, patched_prefix};
use ouzel_protocol::records::{BatchBuilder, DecodeLimits, DecodedBatch, Dialect};
use ouzel_protocol::{BatchError, BatchHeader};
use ouzel_runtime::Shard;

/// Whole batches in one run of memory after the other: a batch may begin in one piece and end in the next.
struct Walk<'a> {
    pieces: &'a [Bytes],
    /// Bytes of the first piece that are behind us.
    at: usize,
}

impl Walk<'_> {
    /// The next bytes, which are all in `pieces`: a slice where they lie in one, a copy where they do not.
    fn peek(&self, bytes: usize) -> Option<Bytes> {
        let first = self.pieces.first()?;
        if let Some(whole) = first.get(self.at..self.at + bytes) {
            return Some(first.slice_ref(whole));
        }
        let mut copy = Vec::with_capacity(bytes);
        let mut skip = self.at;
        for piece in self.pieces {
            let rest = piece.get(skip..).unwrap_or_default();
            copy.extend_from_slice(rest.get(..bytes - copy.len()).unwrap_or(rest));
            skip = 0;
            if copy.len() == bytes {
                return Some(copy.into());
            }
        }
        None
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        while let Some((first, rest)) = self.pieces.split_first()
            && self.at >= first.len()
        {
            self.at -= first.len();
            self.pieces = rest;
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = BatchHeader;

    /// The header of the batch here; the caller advances over it.
    fn next(&mut self) -> Option<BatchHeader> {
        parse_header(&self.peek(BATCH_HEADER_BYTES)?).ok()
    }
}

/// Whether any batch is in the native dialect.
fn has_native(pieces: &[Bytes]) -> bool {
    let mut walk = Walk { pieces, at: 0 };
    while let Some(header) = walk.next() {
        if header.magic != Magic::Kafka2 {
            return true;
        }
        walk.advance(header.total_bytes());
    }
    false
}

/// Records as a client of Kafka's protocol reads them. Lets others run between two conversions.
///
/// # Errors
/// A stored batch cannot be opened.
pub(super) async fn for_kafka(shard: &Shard, pieces: Vec<Bytes>) -> Result<Vec<Bytes>, BatchError> {
    if !has_native(&pieces) {
        return Ok(pieces);
    }
    let mut out = Vec::new();
    let mut walk = Walk { pieces: &pieces, at: 0 };
    while let Some(header) = walk.next() {
        let Some(batch) = walk.peek(header.total_bytes()) else { break };
        if header.magic == Magic::Kafka2 {
            out.push(batch);
        } else {
            out.push(converted(&header, &batch)?.into());
            shard.yield_now().await;
        }
        walk.advance(header.total_bytes());
    }
    Ok(out)
}

fn converted(header: &BatchHeader, batch: &[u8]) -> Result<Vec<u8>, BatchError> {
    let decoded = DecodedBatch::decode(batch, &DecodeLimits::default())?;
    let codec = header.codec().map_err(BatchError::Codec)?;
    let mut builder = BatchBuilder::new(Dialect::Kafka2, codec, None);
    for record in decoded.records() {
        builder.push_record(&record?);
    }
    let mut bytes = builder.build()?;
    let built = parse_header(&bytes)?;
    let prefix = patched_prefix(&built, header.base_offset, header.leader_epoch);
    if let Some(place) = bytes.get_mut(..prefix.len()) {
        place.copy_from_slice(&prefix);
    }
    Ok(bytes)
}

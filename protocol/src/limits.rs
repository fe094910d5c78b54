//! Every limit of the protocol's batches, and what must hold between them.
//!
//! Owns numbers only. Limits of native frames and messages stand with them, in `native`. Any core.

use crate::batch::BATCH_HEADER_BYTES;

/// The largest batch, header included, that is parsed, stored or served.
pub const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The largest batch a topic takes when its configuration says nothing (Kafka's default of `max.message.bytes`).
pub const BATCH_BYTES_DEFAULT: usize = 1_048_588;

/// The largest number of records in a batch.
pub const BATCH_RECORDS_MAX: u32 = 16 * 1024 * 1024;

/// The largest number of headers one record may have.
pub const RECORD_HEADERS_MAX: u32 = 64 * 1024;

/// What a batch may grow to when it is decompressed.
pub const DECOMPRESSED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How many times its compressed size a batch may grow to.
pub const DECOMPRESSED_RATIO_MAX: usize = 1024;

/// Up to this size the ratio does not count: small batches of one repeated byte are honest.
pub const DECOMPRESSED_RATIO_FREE_BYTES: usize = 1024 * 1024;

/// The longest topic name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

const _: () = assert!(BATCH_BYTES_DEFAULT <= BATCH_BYTES_MAX);
const _: () = assert!(BATCH_HEADER_BYTES < BATCH_BYTES_DEFAULT);
// A batch that is not compressed is always within what a compressed one may grow to.
const _: () = assert!(BATCH_BYTES_MAX <= DECOMPRESSED_BYTES_MAX);
// Lengths and counts fit Kafka's i32 fields and the archive's 32-bit relative pointers.
const _: () = assert!(DECOMPRESSED_BYTES_MAX <= i32::MAX as usize);
const _: () = assert!(BATCH_RECORDS_MAX as usize <= BATCH_BYTES_MAX);
const _: () = assert!(DECOMPRESSED_RATIO_FREE_BYTES <= DECOMPRESSED_BYTES_MAX);

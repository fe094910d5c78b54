//! Caps of Kafka's wire: how many elements one array of a request may claim and how long a string may be. Owns the numbers
//! and the relations between them; never enforces them itself (the one reader does). Used on every core.
//!
//! A count is refused when it exceeds its cap or when that many elements could not fit in the bytes that are left. Nothing is
//! allocated by the word of a peer, so the caps bound the work of one request, not its memory.

use crate::limits::{BATCH_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

/// The largest frame, without its own four bytes of length, that a broker takes: Kafka's `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX: usize = 100 * 1024 * 1024;

/// The longest string: its length is an `i16`, and Kafka holds varint lengths to the same.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Elements of one array where partitions of many topics are named: what records come and go by.
pub(super) const DATA_ELEMENTS_MAX: usize = 262_144;

/// Elements of one array of an administrative request or a group's.
pub(super) const ADMIN_ELEMENTS_MAX: usize = 65_536;

/// Elements of one array of a request that has no list of its own.
pub(super) const FEW_ELEMENTS_MAX: usize = 1024;

const _: () = assert!(TOPIC_NAME_BYTES_MAX <= STRING_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= i32::MAX as usize);
const _: () = assert!(FEW_ELEMENTS_MAX <= ADMIN_ELEMENTS_MAX && ADMIN_ELEMENTS_MAX <= DATA_ELEMENTS_MAX);

//! Caps of the native protocol: how many rows a list may claim and how long a string may be. Owns the numbers and the
//! relations between them; never enforces them itself (the one reader does). Used on every core.
//!
//! A count is refused when it exceeds its cap or when the rows could not fit in the bytes that are left, before anything
//! is allocated. The caps are therefore generous: they bound what a peer may ask for, not what memory it costs.

use super::frame::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES};
use crate::limits::BATCH_BYTES_MAX;

/// Longest string on the wire: its length is a `u16`.
pub const STRING_BYTES_MAX: usize = u16::MAX as usize;
/// Longest sentence meant for a person; a longer one is cut by the sender at a character boundary.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Topics named in one request or reply.
pub const TOPICS_MAX: usize = 262_144;
/// Partitions named in one request, one reply, or one topic of a metadata reply.
pub const PARTITIONS_MAX: usize = 262_144;
/// Nodes of a cluster in a metadata reply.
pub const NODES_MAX: usize = 4096;
/// Shards of one node.
pub const SHARDS_MAX: usize = 4096;
/// Counters of one node or shard in a description.
pub const COUNTERS_MAX: usize = 4096;
/// Groups in a list. There may be more: then a list needs a filter.
pub const GROUPS_MAX: usize = 262_144;
/// Members of one group in a description.
pub const GROUP_MEMBERS_MAX: usize = 16_384;
/// States or kinds of groups that a list is filtered by.
pub const GROUP_FILTERS_MAX: usize = 64;
/// Config entries of one topic.
pub const CONFIGS_MAX: usize = 1024;
/// Bytes of record batches a broker puts into one fetch reply before it stops adding more: one whole batch may exceed it,
/// since the first batch of a fetch always goes out.
pub const FETCH_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Bytes of one row of a fetch reply's table; the reply's largest fixed cost.
pub(crate) const FETCH_RESULT_BYTES: usize = 16 + 4 + 2 + 8 + 8 + 4;

// A fetch reply with its table full, its byte budget spent and one oversized batch still fits one frame.
const _: () = assert!(
    FRAME_HEADER_BYTES + 4 + PARTITIONS_MAX * FETCH_RESULT_BYTES + FETCH_BYTES_MAX + BATCH_BYTES_MAX <= FRAME_BYTES_MAX
);
const _: () = assert!(TEXT_BYTES_MAX <= STRING_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= u32::MAX as usize);

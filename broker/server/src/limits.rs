//! Every limit of the server, and the relations between them. Owns constants only; sizes that follow from the
//! configuration are computed in `config.rs`.

use std::time::Duration;

use ouzel_protocol::native::FRAME_HEADER_BYTES;

/// Requests of one connection that are not answered yet; then reading stops.
pub(crate) const CONNECTION_REQUEST_COUNT_MAX: usize = 64;
/// Body bytes of one connection's requests that are not answered yet; then reading stops. A larger body is let in alone.
pub(crate) const CONNECTION_REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Record bytes of one connection's fetch replies that are not sent yet; then its fetches wait.
pub(crate) const CONNECTION_RESPONSE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Connections of one node that are served at once, where nothing else is set.
pub(crate) const CONNECTION_COUNT_MAX: usize = 50_000;
/// What of a body may be received before memory for the rest is asked for. Bodies above this are received straight into
/// their own buffer (rule T1).
pub(crate) const BODY_BEGIN_BYTES: usize = 64 * 1024;
/// Largest frame of a peer that has not said Hello.
pub(crate) const HELLO_FRAME_BYTES_MAX: usize = 66 * 1024 + FRAME_HEADER_BYTES;
/// What a broker remembers of what a client calls itself.
pub(crate) const CLIENT_NAME_BYTES_MAX: usize = 256;
/// A message of replies that has this many bytes or pieces takes no further reply.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
pub(crate) const MESSAGE_PART_COUNT_MAX: usize = 512;
/// Memory that a sent message keeps for the next one.
pub(crate) const MESSAGE_SPARE_BYTES: usize = 4096;
/// Reads from disk that a shard does at once for consumers that catch up.
pub(crate) const CATCH_UP_COUNT_MAX: usize = 2;
/// Bytes that one of them reads of a partition; a larger batch comes alone.
pub(crate) const CATCH_UP_BYTES_MAX: usize = 256 * 1024;
/// Where somebody appends, one such read at a time has the lane to itself, and this is its size: two of 256 KiB make the p99
/// of the tail 1.7 to 2.4 times as long as it is without them, one of 128 KiB leaves it as it is.
pub(crate) const CATCH_UP_BESIDE_TAIL_BYTES_MAX: usize = 128 * 1024;
/// A shard to which nobody has appended for so long has no tail to spare.
pub(crate) const TAIL_QUIET: Duration = Duration::from_millis(20);
/// Memory of request bodies that a shard keeps for the next ones, in bytes.
pub(crate) const SPARE_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A peer that has not said Hello by then is closed, where nothing else is set.
pub(crate) const HELLO_WAIT_MS_MAX: u64 = 10_000;
/// A peer whose frame has not arrived whole, or that has not taken its replies, by then and the time of
/// [`PEER_BYTES_PER_MS_MIN`] is closed, where nothing else is set.
pub(crate) const PEER_WAIT_MS_MAX: u64 = 30_000;
/// The slowest peer that is waited for: about 1 MiB a second.
pub(crate) const PEER_BYTES_PER_MS_MIN: u64 = 1024;
/// A connection without a request for this long is closed, where nothing else is set: Kafka's `connections.max.idle.ms`.
pub(crate) const IDLE_MS_MAX: u64 = 600_000;
/// While others wait for the memory that a peer holds, it must show progress within this time, ...
pub(crate) const SHORTAGE_MS_MAX: u64 = 1_000;
/// ... at this rate: 64 KiB a second.
pub(crate) const SHORTAGE_BYTES_PER_MS_MIN: u64 = 64;
/// Connections are looked at at least this often, in milliseconds, ...
pub(crate) const LOOK_MS_MAX: u64 = 5_000;
/// ... and this many times within the shortest time that a peer has.
pub(crate) const LOOKS_PER_WAIT: u64 = 4;
/// A silent host is asked whether it is still there after this, in seconds, ...
pub(crate) const KEEPALIVE_S: u64 = 60;
/// ... this often before it is given up, ...
pub(crate) const KEEPALIVE_PROBES: u32 = 4;
/// ... with this time between, in seconds.
pub(crate) const KEEPALIVE_EVERY_S: u64 = 15;
/// Sent bytes that a host does not acknowledge for this long end its connection, in milliseconds.
pub(crate) const UNACKNOWLEDGED_MS_MAX: u64 = 60_000;
/// Requests for descriptions that are answered at once, a shard: their answers are known in size only when made.
pub(crate) const ANSWERING_COUNT_MAX: usize = 16;
/// Partitions whose log start one request moves at once.
pub(crate) const DELETING_COUNT_MAX: usize = 256;
/// Longest long poll, whatever the client asks for.
pub(crate) const FETCH_WAIT_MS_MAX: u32 = 60_000;
/// Partitions of one fetch session; what all sessions of a shard may take is `ConnectionBudget::session_bytes`.
pub(crate) const SESSION_PARTITION_COUNT_MAX: usize = 65_536;
/// At a stop, requests in flight have this long to end.
pub(crate) const DRAIN_WAIT_MS_MAX: u64 = 10_000;
/// A stop that has not ended by then is given up; what was acknowledged is durable all the same.
pub(crate) const STOP_WAIT_MS_MAX: u64 = 60_000;
/// Pause after a failed accept, so that a lack of descriptors does not spin.
pub(crate) const ACCEPT_RETRY_MS: u64 = 50;
/// How long a start waits for a port that is in use, in ms.
pub(crate) const PORT_WAIT_MS_MAX: u64 = 2_000;
/// How often it looks, in ms.
pub(crate) const PORT_RETRY_MS: u64 = 50;

/// Produce messages under way to one shard; more wait at the sender.
pub(crate) const PRODUCE_LANE_COUNT_MAX: usize = 256;
/// Requests of one shard to one other that are not answered yet (rule T2).
pub(crate) const REQUEST_CREDIT_COUNT: usize = 256;
/// Parked long polls of one shard at one other.
pub(crate) const PARKED_CREDIT_COUNT: usize = 16_384;
/// Calls of one shard into the groups of one other that are not answered yet; joins wait for other members.
pub(crate) const GROUP_CREDIT_COUNT: usize = 16_384;
/// A request for a group whose log is being read waits so long before it is told to come back.
pub(crate) const GROUP_LOAD_WAIT_MS_MAX: u64 = 1_000;
/// Pause of the deadlines of groups while the log takes nothing, in milliseconds.
pub(crate) const GROUP_RETRY_MS: u32 = 1_000;
/// Logs of groups that a shard reads at once: each takes a buffer, and a start has many.
pub(crate) const GROUP_LOAD_COUNT_MAX: usize = 4;
/// Records of groups in one batch; an event that leads to more writes several.
pub(crate) const GROUP_BATCH_RECORD_COUNT_MAX: usize = 16_384;
/// A batch of groups' records that has so many bytes takes no more: the largest record is about twice that.
pub(crate) const GROUP_BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a log of groups that are read at once.
pub(crate) const GROUP_LOAD_BYTES: usize = 256 * 1024;
/// Records of groups that are taken in before other work has its turn: less than a millisecond.
pub(crate) const GROUP_LOAD_RECORDS: u64 = 1024;
/// Bytes of logs behind their snapshots that the groups of one shard may have: about half a million commits, which a start
/// reads in a fraction of a second. A shard whose snapshots take more than twice that may have half as much as they do.
pub(crate) const GROUP_TAIL_BYTES: u64 = 64 * 1024 * 1024;
/// Records that are taken into a snapshot before other work has its turn: less than a millisecond.
pub(crate) const GROUP_SNAPSHOT_SLICE_RECORDS: usize = 512;
/// Bytes of a snapshot that are written or read at once.
pub(crate) const GROUP_SNAPSHOT_BUFFER_BYTES: usize = 256 * 1024;
/// Control and metadata messages under way to one shard.
pub(crate) const CONTROL_COUNT_MAX: usize = 64;
/// Proposals and questions waiting at the metadata plane.
pub(crate) const PLANE_COUNT_MAX: usize = 1024;
/// Producer ids that a shard takes at once: one change of the metadata for each this many producers.
pub(crate) const PRODUCER_ID_BLOCK: u32 = 1000;
/// Questions of the admin server that wait at one shard; more are refused at the asking side.
pub(crate) const ADMIN_LANE_COUNT_MAX: usize = 32;
/// The admin server waits so long for a shard before it says that it does not answer.
pub(crate) const ADMIN_ANSWER_MS_MAX: u64 = 1_000;
/// Partitions, groups or connections that a shard looks at for the admin server before other work has its turn: a fraction of
/// a millisecond.
pub(crate) const ADMIN_SLICE_COUNT: usize = 256;
/// Connections of the admin server at once: for one more, the oldest that asks nothing is closed.
pub(crate) const ADMIN_CONNECTION_COUNT_MAX: usize = 128;
/// Requests that the admin server answers at once; more wait for their turn.
pub(crate) const ADMIN_REQUEST_COUNT_MAX: usize = 8;
/// A request to the admin server that is not answered by then is given up.
pub(crate) const ADMIN_REQUEST_MS_MAX: u64 = 10_000;
/// The header of a request to the admin server has so long to arrive, ...
pub(crate) const ADMIN_HEADER_MS_MAX: u64 = 5_000;
/// ... in so many bytes.
pub(crate) const ADMIN_HEADER_BYTES_MAX: usize = 16 * 1024;
/// A connection of the admin server ends after this, whatever it does.
pub(crate) const ADMIN_CONNECTION_MS_MAX: u64 = 600_000;
/// Topics that have series of their own; the others share one.
pub(crate) const METRIC_TOPIC_COUNT_MAX: usize = 1_000;
/// Groups that have series of their own.
pub(crate) const METRIC_GROUP_COUNT_MAX: usize = 1_000;
/// Partitions of groups that have series of their own.
pub(crate) const METRIC_GROUP_PARTITION_COUNT_MAX: usize = 5_000;
/// Groups of one coordinator that the admin server looks through; where there are more it only counts them.
pub(crate) const ADMIN_COORDINATOR_GROUP_COUNT_MAX: usize = 10_000;
/// Rows of one answer of the admin server: topics, groups, connections, offsets.
pub(crate) const ADMIN_ROW_COUNT_MAX: usize = 10_000;
/// The admin server waits so long for what a shard cannot tell at once: records of the disk, a change of the metadata.
pub(crate) const ADMIN_TASK_MS_MAX: u64 = 8_000;
/// Largest body of a request to the admin server.
pub(crate) const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;
/// Records that the admin server shows in one answer, ...
pub(crate) const ADMIN_RECORD_COUNT_MAX: usize = 500;
/// ... where nothing is said, ...
pub(crate) const ADMIN_RECORD_COUNT_DEFAULT: usize = 50;
/// ... in so many bytes of JSON, ...
pub(crate) const ADMIN_REPLY_BYTES_MAX: usize = 1024 * 1024;
/// ... and of one record at most, key, headers and value together, ...
pub(crate) const ADMIN_RECORD_BYTES_MAX: usize = 448 * 1024;
/// ... or so many where nothing is said.
pub(crate) const ADMIN_RECORD_BYTES_DEFAULT: usize = 4 * 1024;
/// Headers of a record that the admin server shows.
pub(crate) const ADMIN_RECORD_HEADER_COUNT_MAX: usize = 256;
/// Bytes of batches that it reads for one answer; the first batch comes whatever its size.
pub(crate) const ADMIN_READ_BYTES_MAX: usize = 1024 * 1024;
/// What one batch may grow to when it is decompressed for that, ...
pub(crate) const ADMIN_BATCH_OPENED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// ... and all batches of an answer, beside the last.
pub(crate) const ADMIN_OPENED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Backlog of each listener.
pub(crate) const LISTEN_BACKLOG: i32 = 1024;

const _: () = assert!(BODY_BEGIN_BYTES < CONNECTION_REQUEST_BYTES_MAX);
const _: () = assert!(HELLO_FRAME_BYTES_MAX <= 2 * BODY_BEGIN_BYTES);
const _: () = assert!(SHORTAGE_MS_MAX < PEER_WAIT_MS_MAX && PEER_WAIT_MS_MAX < IDLE_MS_MAX);
const _: () = assert!(SHORTAGE_BYTES_PER_MS_MIN < PEER_BYTES_PER_MS_MIN);
const _: () = assert!(STOP_WAIT_MS_MAX > 2 * DRAIN_WAIT_MS_MAX);
const _: () = assert!(GROUP_SNAPSHOT_BUFFER_BYTES.is_multiple_of(ouzel_runtime::ALIGN));
const _: () = assert!(GROUP_SNAPSHOT_SLICE_RECORDS <= GROUP_BATCH_RECORD_COUNT_MAX);
const _: () = assert!(3 * GROUP_BATCH_BYTES_MAX < ouzel_protocol::limits::BATCH_BYTES_MAX);
const _: () = assert!(REQUEST_CREDIT_COUNT >= CONNECTION_REQUEST_COUNT_MAX);
// Each request of the admin server has one question at a shard at once, and those that were given up leave room.
const _: () = assert!(2 * ADMIN_REQUEST_COUNT_MAX <= ADMIN_LANE_COUNT_MAX);
// A record shown in full fits an answer: no byte takes more than two characters, and a header's frame less than 128.
const _: () = assert!(2 * ADMIN_RECORD_BYTES_MAX + 128 * ADMIN_RECORD_HEADER_COUNT_MAX < ADMIN_REPLY_BYTES_MAX);
const _: () = assert!(ADMIN_TASK_MS_MAX + ADMIN_ANSWER_MS_MAX < ADMIN_REQUEST_MS_MAX);
// A request asks up to three times in a row.
const _: () = assert!(3 * ADMIN_ANSWER_MS_MAX < ADMIN_REQUEST_MS_MAX);
const _: () = assert!(METRIC_GROUP_PARTITION_COUNT_MAX <= ADMIN_ROW_COUNT_MAX);

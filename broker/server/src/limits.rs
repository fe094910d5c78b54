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
/// Connections of one shard; more are closed at once.
pub(crate) const CONNECTION_COUNT_MAX: usize = 10_000;
/// Bodies above this are received straight into their own buffer (rule T1).
pub(crate) const SMALL_BODY_BYTES_MAX: usize = 16 * 1024;
/// Largest frame of a peer that has not said Hello.
pub(crate) const HELLO_FRAME_BYTES_MAX: usize = 66 * 1024 + FRAME_HEADER_BYTES;
/// Replies taken from the queue for one vectored send.
pub(crate) const SEND_PART_COUNT_MAX: usize = 512;

/// A peer that has not said Hello by then is closed.
pub(crate) const HELLO_WAIT_MS_MAX: u64 = 10_000;
/// A peer whose frame has not arrived whole, or that has not taken its replies, by then and the time of
/// [`PEER_BYTES_PER_MS_MIN`] is closed.
pub(crate) const PEER_WAIT_MS_MAX: u64 = 30_000;
/// The slowest peer that is waited for: about 1 MiB a second.
pub(crate) const PEER_BYTES_PER_MS_MIN: u64 = 1024;
/// Longest long poll, whatever the client asks for.
pub(crate) const FETCH_WAIT_MS_MAX: u32 = 60_000;
/// At a stop, requests in flight have this long to end.
pub(crate) const DRAIN_WAIT_MS_MAX: u64 = 10_000;
/// Pause after a failed accept, so that a lack of descriptors does not spin.
pub(crate) const ACCEPT_RETRY_MS: u64 = 50;

/// Produce messages under way to one shard; more wait at the sender.
pub(crate) const PRODUCE_LANE_COUNT_MAX: usize = 256;
/// Requests of one shard to one other that are not answered yet (rule T2).
pub(crate) const REQUEST_CREDIT_COUNT: usize = 256;
/// Parked long polls of one shard at one other.
pub(crate) const PARKED_CREDIT_COUNT: usize = 16_384;
/// Control and metadata messages under way to one shard.
pub(crate) const CONTROL_COUNT_MAX: usize = 64;
/// Proposals and questions waiting at the metadata plane.
pub(crate) const PLANE_COUNT_MAX: usize = 1024;
/// Producer ids that a shard takes at once: one change of the metadata for each this many producers.
pub(crate) const PRODUCER_ID_BLOCK: u32 = 1000;
/// Backlog of each listener.
pub(crate) const LISTEN_BACKLOG: i32 = 1024;

/// How long a peer may take to send or to take this many bytes.
pub(crate) fn peer_wait(bytes: usize) -> Duration {
    Duration::from_millis(PEER_WAIT_MS_MAX + bytes as u64 / PEER_BYTES_PER_MS_MIN)
}

const _: () = assert!(SMALL_BODY_BYTES_MAX < CONNECTION_REQUEST_BYTES_MAX);
const _: () = assert!(REQUEST_CREDIT_COUNT >= CONNECTION_REQUEST_COUNT_MAX);

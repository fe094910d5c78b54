//! A request between its arrival and its reply: the frame, when it came, and what it holds while it is in flight. Owns
//! the permits; the limits behind them are the connection's and the shard's. Lives on the connection's shard.

use bytes::Bytes;
use ouzel_protocol::native::FrameHeader;
use ouzel_runtime::Instant;
use ouzel_runtime::sync::Permit;

use crate::shard::RequestInFlight;

/// What a request holds until its reply is sent; dropping it gives everything back.
pub(crate) struct Held {
    /// Its place among the connection's requests in flight, and among the shard's.
    pub(crate) _place: Permit,
    pub(crate) _in_flight: RequestInFlight,
    /// Bytes of its body, of the connection's and of the shard's budget. Given back earlier where the body is.
    pub(crate) body: Option<(Permit, Permit)>,
    /// Bytes of its reply's records, of the connection's and of the shard's budget.
    pub(crate) records: Option<(Permit, Permit)>,
}

/// One whole request.
pub(crate) struct Request {
    pub(crate) header: FrameHeader,
    pub(crate) body: Bytes,
    /// When its header was read.
    pub(crate) started: Instant,
    /// When its last byte was.
    pub(crate) received: Instant,
    pub(crate) held: Held,
}

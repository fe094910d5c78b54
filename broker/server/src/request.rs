//! A request between its arrival and its reply: the frame, when it came, and what it holds while it is in flight. Owns
//! the permits; the limits behind them are the connection's and the shard's. Lives on the connection's shard.

use std::rc::Rc;

use bytes::Bytes;
use ouzel_protocol::native::FrameHeader;
use ouzel_runtime::Instant;
use ouzel_runtime::sync::Permit;

use crate::meter::Asked;
use crate::shard::{RequestInFlight, ShardState};

/// What a request holds until its reply is sent; dropping it gives everything back.
pub(crate) struct Held {
    /// Its place among the connection's requests in flight, and among the shard's.
    pub(crate) _place: Permit,
    pub(crate) in_flight: RequestInFlight,
    /// Bytes of its body, of the connection's and of the shard's budget. Given back earlier where the body is.
    pub(crate) body: Option<BodyPermits>,
    /// Bytes of its reply's records, of the connection's and of the shard's budget.
    pub(crate) records: Option<(Permit, Permit)>,
    /// The bytes of its reply without records.
    pub(crate) _answer: Option<AnswerBytes>,
    /// What was asked, once that is known.
    pub(crate) asked: Option<Asked>,
    /// When its first bytes were read.
    pub(crate) started: Instant,
    /// When the last of its batches was at its level.
    pub(crate) committed: Option<Instant>,
}

impl Held {
    pub(crate) fn new(place: Permit, state: &Rc<ShardState>, started: Instant) -> Self {
        Self {
            _place: place,
            in_flight: state.request_taken(),
            body: None,
            records: None,
            _answer: None,
            asked: None,
            started,
            committed: None,
        }
    }

    /// It is known what is asked.
    pub(crate) fn asks(&mut self, asked: Asked) {
        self.asked = Some(asked);
        self.in_flight.state().meter.taken(asked);
    }

    /// Its reply is with the kernel since `now`.
    pub(crate) fn answered(&self, now: Instant) {
        if let Some(asked) = self.asked {
            self.in_flight.state().meter.answered(asked, self.started, self.committed, now);
        }
    }
}

/// What the bytes of a body take.
pub(crate) struct BodyPermits {
    pub(crate) _of_connection: Permit,
    pub(crate) _begun: Permit,
    pub(crate) _rest: Option<Permit>,
}

/// Bytes of a reply without records, counted until it is sent.
pub(crate) struct AnswerBytes {
    state: Rc<ShardState>,
    bytes: usize,
}

impl AnswerBytes {
    pub(crate) fn of(state: &Rc<ShardState>, bytes: usize) -> Self {
        state.memory.answer_changed(0, bytes);
        Self { state: Rc::clone(state), bytes }
    }
}

impl Drop for AnswerBytes {
    fn drop(&mut self) {
        self.state.memory.answer_changed(self.bytes, 0);
    }
}

/// A whole request but for its body, which is still where it was received.
pub(crate) struct Arrived {
    pub(crate) header: FrameHeader,
    /// When its last byte was read.
    pub(crate) received: Instant,
    pub(crate) held: Held,
}

impl Arrived {
    /// The request with its body in memory of its own.
    pub(crate) fn with_body(self, body: Bytes) -> Request {
        let Self { header, received, held } = self;
        Request { header, body, received, held }
    }
}

/// One whole request.
pub(crate) struct Request {
    pub(crate) header: FrameHeader,
    pub(crate) body: Bytes,
    /// When its last byte was read.
    pub(crate) received: Instant,
    pub(crate) held: Held,
}

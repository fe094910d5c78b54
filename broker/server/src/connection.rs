//! One connection: reads frames, lets requests run side by side, sends replies as they become ready.
//!
//! Owns the order of a connection: Hello first; then a frame is parsed as soon as the one before it is *dispatched*, never
//! waiting for it to be *produced*. Reading stops while 64 requests are in flight, while their bytes exceed a cap, and
//! while the shard has no memory for the next body: the permit comes before the bytes. A fault ends this connection with
//! one log line and touches nothing else. Lives on the shard that accepted it.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ouzel_protocol::ErrorCode;
use ouzel_protocol::native::{Api, FrameHeader, PROTOCOL_VERSION, error_frame};
use ouzel_runtime::sync::{Event, Permit, Semaphore};
use ouzel_runtime::{Instant, PeerProgress, Socket, counting, timeout_at};

use crate::frame_reader::{Fault, FrameReader};
use crate::handlers;
use crate::kafka::{self, InOrder, SessionSlot};
use crate::limits;
use crate::meter::Asked;
use crate::producing::ProducingQueues;
use crate::reply_queue::ReplyQueue;
use crate::request::{AnswerBytes, Arrived, BodyPermits, Held, Request};
use crate::shard::{ConnectionOpen, ShardState};
use crate::watch::{Receiving, Watch};

/// What the tasks of one connection share.
pub(crate) struct Connection {
    pub(crate) state: Rc<ShardState>,
    pub(crate) peer: SocketAddr,
    pub(crate) language: Language,
    pub(crate) opened: Instant,
    /// What its client calls itself; nothing before it has said so.
    pub(crate) client: OnceCell<String>,
    pub(crate) replies: ReplyQueue,
    /// What holds the replies of the Kafka protocol back until those before them are there.
    pub(crate) in_order: InOrder,
    /// What its fetches of the Kafka protocol need not name again.
    pub(crate) fetch_session: SessionSlot,
    /// Its produce requests between dispatch and reply.
    pub(crate) producing: ProducingQueues,
    /// Set when nobody waits for replies any more: long polls end.
    pub(crate) ended: Event,
    /// Bytes of records in replies that are not sent yet.
    pub(crate) response_bytes: Semaphore,
    socket: Socket,
    watch: Watch,
    places: Semaphore,
    body_bytes: Semaphore,
}

impl Connection {
    /// Queues a reply frame.
    pub(crate) fn reply(&self, frame: Vec<u8>, held: Held) {
        let answer = AnswerBytes::of(&self.state, frame.len());
        self.replies.push(|out| {
            out.push(Bytes::from(frame));
            Held { _answer: Some(answer), ..held }
        });
    }

    /// Queues a reply without records, which `write` appends to whatever goes out with it.
    pub(crate) fn reply_with(&self, held: Held, write: impl FnOnce(&mut Vec<u8>)) {
        self.replies.push(|out| {
            let before = out.len();
            out.write(write);
            Held { _answer: Some(AnswerBytes::of(&self.state, out.len() - before)), ..held }
        });
    }

    /// Refuses a request as a whole.
    pub(crate) fn refuse(&self, header: &FrameHeader, error: ErrorCode, message: &str, held: Held) {
        self.reply(error_frame(header.api, header.correlation, error, message), held);
    }

    /// A place among the requests in flight.
    pub(crate) async fn place(&self) -> Permit {
        self.places.acquire(1).await
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Requests that are not answered yet; one place is the reader's own.
    pub(crate) fn request_in_flight_count(&self) -> usize {
        limits::CONNECTION_REQUEST_COUNT_MAX.saturating_sub(self.places.available() + 1)
    }

    /// Whether any of its requests is not answered yet.
    pub(crate) fn is_asking(&self) -> bool {
        self.request_in_flight_count() > 0
    }

    /// How far the peer has come; nothing where the connection is gone.
    pub(crate) fn peer_progress(&self) -> PeerProgress {
        self.socket.peer_progress().unwrap_or_default()
    }

    /// Ends the connection at once: the broker stops.
    pub(crate) fn shut(&self) {
        self.socket.shutdown();
    }

    /// Ends the connection at once, with one log line.
    pub(crate) fn fail(&self, fault: &Fault) {
        if !self.ended.is_set() {
            self.ended.set();
            let shard = self.state.index.0;
            match fault {
                // A peer that goes away is no error.
                Fault::Socket(error) => tracing::debug!(shard, peer = %self.peer, %error, "connection lost"),
                Fault::Idle => tracing::info!(shard, peer = %self.peer, %fault, "connection closed"),
                _ => tracing::warn!(shard, peer = %self.peer, %fault, "connection closed"),
            }
        }
        self.end();
    }

    /// Answers nothing more.
    fn end(&self) {
        self.producing.close();
        self.in_order.close();
        self.replies.close();
        self.socket.shutdown();
    }
}

/// The protocol that a listener's connections speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Native,
    Kafka,
}

impl Language {
    pub(crate) const ALL: [Self; 2] = [Self::Native, Self::Kafka];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Kafka => "kafka",
        }
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve(
    state: Rc<ShardState>,
    socket: Socket,
    peer: SocketAddr,
    open: ConnectionOpen,
    language: Language,
) {
    let connection = Rc::new(Connection {
        peer,
        language,
        opened: state.shard.now(),
        client: OnceCell::new(),
        replies: ReplyQueue::default(),
        in_order: InOrder::default(),
        fetch_session: SessionSlot::default(),
        producing: ProducingQueues::default(),
        ended: Event::new(),
        response_bytes: Semaphore::new(limits::CONNECTION_RESPONSE_BYTES_MAX),
        socket: socket.clone(),
        watch: Watch::new(),
        places: Semaphore::new(limits::CONNECTION_REQUEST_COUNT_MAX),
        body_bytes: Semaphore::new(limits::CONNECTION_REQUEST_BYTES_MAX),
        state: Rc::clone(&state),
    });
    open.serves(&connection);
    let sender = {
        let connection = Rc::clone(&connection);
        state.shard.spawn(async move {
            let sent = connection.replies.send(&connection, &connection.socket, &connection.watch).await;
            if let Err(fault) = sent {
                connection.fail(&fault);
            }
        })
    };
    let mut frames = FrameReader::new(socket);
    let read = match language {
        Language::Native => read_requests(&connection, &mut frames).await,
        Language::Kafka => kafka::read_requests(&connection, &mut frames).await,
    };
    match read {
        Ok(()) => {
            // The peer sends nothing more but may still read: what it asked for is answered, long polls at once.
            connection.ended.set();
            drop(connection.places.acquire(limits::CONNECTION_REQUEST_COUNT_MAX).await);
            connection.end();
        }
        Err(fault) => connection.fail(&fault),
    }
    drop(frames);
    sender.join().await;
    drop(open);
}

async fn read_requests(connection: &Rc<Connection>, frames: &mut FrameReader) -> Result<(), Fault> {
    let shard = &connection.state.shard;
    let deadline = shard.now() + Duration::from_millis(connection.state.limits.hello_ms);
    let greeted = timeout_at(shard, deadline, read_request(connection, frames, limits::HELLO_FRAME_BYTES_MAX)).await;
    let Some(request) = greeted.map_err(|_| Fault::Slow("no hello"))?? else { return Ok(()) };
    if request.header.api != Api::Hello {
        return Err(Fault::Protocol("the first request must be a hello"));
    }
    if !handlers::hello::answer(connection, request)? {
        return Ok(());
    }
    while let Some(request) = next_request(connection, frames).await? {
        let header = request.header;
        match header.api {
            _ if header.version != PROTOCOL_VERSION => {
                let message = format!("this connection speaks version {PROTOCOL_VERSION}, not {}", header.version);
                connection.refuse(&header, ErrorCode::UnsupportedVersion, &message, request.held);
            }
            Api::Hello => return Err(Fault::Protocol("a second hello")),
            // Awaited: the order of produce requests is fixed before the next frame is looked at.
            Api::Produce => handlers::produce::dispatch(connection, request).await?,
            _ => {
                let connection = Rc::clone(connection);
                shard.spawn(async move {
                    if let Err(fault) = handlers::answer(&connection, request).await {
                        connection.fail(&fault);
                    }
                });
            }
        }
    }
    Ok(())
}

/// The next request that takes more than one look: those before it were answered, or dispatched, where they were received.
async fn next_request(connection: &Rc<Connection>, frames: &mut FrameReader) -> Result<Option<Request>, Fault> {
    let state = &connection.state;
    while let Some((mut arrived, body_bytes)) = read_header(connection, frames, state.budget.frame_bytes_max).await? {
        let mut may_end_at_once = arrived.header.version == PROTOCOL_VERSION;
        // A body that is here already needs no memory but the ring's, which it leaves before the next frame is read.
        if may_end_at_once && let Some(body) = frames.whole(body_bytes) {
            let Some(left) = handlers::answer_at_once(connection, arrived, body)? else {
                frames.consume(body_bytes);
                continue;
            };
            arrived = left;
            may_end_at_once = false;
        }
        let (body, permits) = read_body(connection, frames, body_bytes).await?;
        arrived.held.body = Some(permits);
        arrived.received = state.shard.now();
        if may_end_at_once {
            let Some(left) = handlers::answer_at_once(connection, arrived, &body)? else {
                state.spare_bodies.give_back(body);
                continue;
            };
            arrived = left;
        }
        return Ok(Some(arrived.with_body(body.freeze())));
    }
    Ok(None)
}

/// The next whole request with everything it holds; `None` when the peer ended the connection.
async fn read_request(
    connection: &Rc<Connection>,
    frames: &mut FrameReader,
    frame_bytes_max: usize,
) -> Result<Option<Request>, Fault> {
    let Some((mut arrived, body_bytes)) = read_header(connection, frames, frame_bytes_max).await? else {
        return Ok(None);
    };
    let (body, permits) = read_body(connection, frames, body_bytes).await?;
    arrived.held.body = Some(permits);
    arrived.received = connection.state.shard.now();
    Ok(Some(arrived.with_body(body.freeze())))
}

/// The next request whose body is still to be read, and the bytes of that; `None` when the peer ended the connection.
async fn read_header(
    connection: &Rc<Connection>,
    frames: &mut FrameReader,
    frame_bytes_max: usize,
) -> Result<Option<(Arrived, usize)>, Fault> {
    let shard = &connection.state.shard;
    let place = connection.place().await;
    let Some(header) = frames.header(shard, &connection.watch).await? else { return Ok(None) };
    let started = shard.now();
    if header.is_reply() {
        return Err(Fault::Protocol("a reply was sent as a request"));
    }
    if header.frame_bytes() > frame_bytes_max {
        return Err(Fault::TooLarge { got: header.frame_bytes(), max: frame_bytes_max });
    }
    let mut held = Held::new(place, &connection.state, started);
    held.asks(Asked::Native(header.api));
    connection.state.meter.received(Language::Native, header.frame_bytes());
    Ok(Some((Arrived { header, received: started, held }, header.body_bytes())))
}

/// A body and the memory it takes. What has begun to arrive gets memory for its beginning, and what has arrived that far
/// gets the rest: a header alone costs nothing. Where memory is plenty a body gets all of its own at once, so that no byte
/// of it is moved again.
pub(crate) async fn read_body(
    connection: &Rc<Connection>,
    frames: &mut FrameReader,
    body_bytes: usize,
) -> Result<(BytesMut, BodyPermits), Fault> {
    let (state, watch) = (&connection.state, &connection.watch);
    let waits = |holds_memory| Receiving::Frame { since: state.shard.now(), bytes: body_bytes, holds_memory };
    let begin_bytes = body_bytes.min(limits::BODY_BEGIN_BYTES);
    let of_connection_bytes = body_bytes.min(limits::CONNECTION_REQUEST_BYTES_MAX);
    let plenty = if frames.is_steady() { state.memory.whole_body(begin_bytes, body_bytes - begin_bytes) } else { None };
    if let Some((begun, rest)) = plenty
        && let Some(of_connection) = connection.body_bytes.try_acquire(of_connection_bytes)
    {
        watch.receiving(waits(true));
        let body = frames.body(state.spare_bodies.take(body_bytes), body_bytes).await?;
        watch.receiving(Receiving::Nothing);
        return Ok((body, BodyPermits { _of_connection: of_connection, _begun: begun, _rest: rest }));
    }
    let is_here = body_bytes == 0 || frames.holds(1);
    if !is_here {
        watch.receiving(waits(false));
        if !frames.begins().await? {
            return Err(Fault::Cut { expected: body_bytes, got: 0 });
        }
        watch.receiving(Receiving::Nothing);
    }
    let of_connection = connection.body_bytes.acquire(of_connection_bytes).await;
    let begun = state.memory.begin_body(begin_bytes).await;
    watch.receiving(waits(true));
    let mut body = frames.body(state.spare_bodies.take(begin_bytes), begin_bytes).await?;
    let mut rest = None;
    if body_bytes > begin_bytes {
        watch.receiving(Receiving::Nothing);
        rest = Some(state.memory.rest_of_body(body_bytes - begin_bytes).await);
        state.memory_changed();
        watch.receiving(waits(true));
        let mut whole = state.spare_bodies.take(body_bytes);
        whole.extend_from_slice(&body);
        counting::copied(body.len());
        state.spare_bodies.give_back(body);
        body = frames.body(whole, body_bytes).await?;
    }
    watch.receiving(Receiving::Nothing);
    Ok((body, BodyPermits { _of_connection: of_connection, _begun: begun, _rest: rest }))
}

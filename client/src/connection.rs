//! One connection to one shard: a task that writes, a task that reads, and the requests in flight between them. Owns Hello,
//! correlation ids, timeouts and the end of the connection; never routes, never tries again. Many requests may be in
//! flight, replies come in any order.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ouzel_protocol::CorrelationId;
use ouzel_protocol::native::{
    Api, DecodeError, FetchReply, FetchRequest, FrameHeader, HelloReply, HelloRequest, InitProducerIdReply,
    InitProducerIdRequest, ListOffsetsReply, ListOffsetsRequest, MetadataReply, MetadataRequest, PROTOCOL_VERSION,
    ProduceReply, ProduceRequest, request_frame,
};
use ouzel_protocol::native::{ErrorReply, FRAME_BYTES_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::address::Address;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::inbound::next_frame;

/// Frames waiting to be written; beyond it callers wait.
const OUTGOING_MAX: usize = 1024;
/// Bytes written by one system call before waiters hear of it.
const WRITE_BYTES: usize = 1024 * 1024;
/// Parts of one vectored write.
const WRITE_PARTS: usize = 64;

/// A connection on which Hello is done. Cloning shares it; it ends when the last clone is dropped and what was sent is
/// written, when the peer goes away, or when a request times out (its reply could otherwise be taken for another's fate).
///
/// Programs use [`Client`](crate::Client); this is for tools that want one connection to one shard and its requests as
/// they are.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    address: Address,
    hello: HelloReply,
    outgoing: mpsc::Sender<Outgoing>,
    in_flight: Arc<InFlight>,
    reader: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends by itself once what was sent is written.
        self.reader.abort();
    }
}

/// One frame to be written, and who wants to know that it was.
#[derive(Debug)]
struct Outgoing {
    parts: Vec<Bytes>,
    written: Option<oneshot::Sender<()>>,
}

type Reply = Result<Bytes, ClientError>;

/// Requests that wait for their replies.
#[derive(Debug)]
struct InFlight {
    address: Address,
    state: Mutex<InFlightState>,
    ended: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct InFlightState {
    next: u64,
    waiting: HashMap<u64, (Api, oneshot::Sender<Reply>)>,
    ended: Option<ClientError>,
}

impl InFlight {
    // A panic while holding the lock would have been ours; the state is a plain value and stays sound.
    fn state(&self) -> MutexGuard<'_, InFlightState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, api: Api) -> Result<(CorrelationId, oneshot::Receiver<Reply>), ClientError> {
        let mut state = self.state();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        let correlation = state.next;
        state.next += 1;
        let (sender, receiver) = oneshot::channel();
        state.waiting.insert(correlation, (api, sender));
        Ok((CorrelationId(correlation), receiver))
    }

    fn forget(&self, correlation: CorrelationId) {
        self.state().waiting.remove(&correlation.0);
    }

    /// Hands a reply to who waits for it; nobody does when the caller gave up.
    fn answer(&self, header: &FrameHeader, body: Bytes) -> Result<(), ClientError> {
        let waiting = {
            let mut state = self.state();
            if !header.is_reply() || header.correlation.0 >= state.next {
                let problem = format!("no request has correlation id {}", header.correlation);
                return Err(ClientError::Protocol { address: self.address.clone(), problem });
            }
            state.waiting.remove(&header.correlation.0)
        };
        let Some((api, sender)) = waiting else { return Ok(()) };
        if header.api != api {
            let problem = format!("{:?} answered by {:?}", api, header.api);
            let error = ClientError::Protocol { address: self.address.clone(), problem };
            let _ = sender.send(Err(error.clone()));
            return Err(error);
        }
        let _ = sender.send(if header.error.is_none() { Ok(body) } else { Err(refusal(&self.address, header, &body)) });
        Ok(())
    }

    /// Ends the connection: every request in flight fails with `error`, as does every later one. The first call counts.
    fn end(&self, error: ClientError) {
        let waiting = {
            let mut state = self.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(error.clone());
            std::mem::take(&mut state.waiting)
        };
        for (_, sender) in waiting.into_values() {
            let _ = sender.send(Err(error.clone()));
        }
        self.ended.notify_one();
    }
}

/// Takes a request out of those in flight when its caller stops waiting.
struct Forget<'a>(&'a InFlight, CorrelationId);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.forget(self.1);
    }
}

fn refusal(address: &Address, header: &FrameHeader, body: &[u8]) -> ClientError {
    // A refusal whose sentence cannot be read is a refusal all the same.
    let message = ErrorReply::decode(body).map(|reply| reply.message).unwrap_or_default();
    ClientError::Refused { api: header.api, address: address.clone(), code: header.error, message }
}

impl Connection {
    /// Connects and says Hello. Cancel-safe: dropping the future closes what was opened.
    ///
    /// # Errors
    /// Nothing listens there, it does not answer in time, or it does not speak this protocol.
    pub async fn connect(address: Address, config: &ClientConfig) -> Result<Connection, ClientError> {
        match timeout(config.connect_timeout, connect(&address, config)).await {
            Ok(connected) => connected,
            Err(_) => {
                let after = config.connect_timeout;
                Err(ClientError::Timeout { what: "connecting and hello", address, after })
            }
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.inner.address
    }

    /// What the broker said of itself.
    #[must_use]
    pub fn hello(&self) -> &HelloReply {
        &self.inner.hello
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.inner.in_flight.state().ended.is_some()
    }

    /// Appends batches; `None` at acks 0, when the request was written and no reply comes.
    ///
    /// # Errors
    /// The connection ended, the broker refused the whole request, or `after` passed; errors of partitions stand in the
    /// reply.
    pub async fn produce(
        &self,
        request: &ProduceRequest,
        after: Duration,
    ) -> Result<Option<ProduceReply>, ClientError> {
        if request.acks == 0 {
            let parts = request.encode_parts(CorrelationId(u64::MAX));
            self.write_unanswered(parts, "produce", after).await?;
            return Ok(None);
        }
        let body = self.call(Api::Produce, after, |id| request.encode_parts(id)).await?;
        self.decoded(ProduceReply::decode(&body)).map(Some)
    }

    /// Reads batches; their bytes are slices of the reply's frame.
    ///
    /// # Errors
    /// As [`produce`](Self::produce).
    pub async fn fetch(&self, request: &FetchRequest, after: Duration) -> Result<FetchReply, ClientError> {
        let body = self.call_with(Api::Fetch, after, |out| request.encode(out)).await?;
        self.decoded(FetchReply::decode(body))
    }

    /// Asks for nodes and topics.
    ///
    /// # Errors
    /// As [`produce`](Self::produce).
    pub async fn metadata(&self, request: &MetadataRequest, after: Duration) -> Result<MetadataReply, ClientError> {
        let body = self.call_with(Api::Metadata, after, |out| request.encode(out)).await?;
        self.decoded(MetadataReply::decode(&body))
    }

    /// Asks for a number that no other producer has.
    ///
    /// # Errors
    /// As [`produce`](Self::produce); a refusal in the reply is one of the whole request.
    pub async fn init_producer_id(&self, after: Duration) -> Result<InitProducerIdReply, ClientError> {
        let request = InitProducerIdRequest { transactional_id: None };
        let body = self.call_with(Api::InitProducerId, after, |out| request.encode(out)).await?;
        let reply = self.decoded(InitProducerIdReply::decode(&body))?;
        if reply.error.is_none() {
            return Ok(reply);
        }
        let address = self.inner.address.clone();
        Err(ClientError::Refused { api: Api::InitProducerId, address, code: reply.error, message: reply.message })
    }

    /// Asks for offsets.
    ///
    /// # Errors
    /// As [`produce`](Self::produce).
    pub async fn list_offsets(
        &self,
        request: &ListOffsetsRequest,
        after: Duration,
    ) -> Result<ListOffsetsReply, ClientError> {
        let body = self.call_with(Api::ListOffsets, after, |out| request.encode(out)).await?;
        self.decoded(ListOffsetsReply::decode(&body))
    }

    /// Sends one request made of one buffer and waits for its reply's body.
    pub(crate) async fn call_with(
        &self,
        api: Api,
        after: Duration,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Bytes, ClientError> {
        self.call(api, after, |id| vec![Bytes::from(request_frame(api, id, encode))]).await
    }

    /// Sends one request and waits for its reply's body. Cancel-safe: a reply that comes later is dropped.
    async fn call(
        &self,
        api: Api,
        after: Duration,
        encode: impl FnOnce(CorrelationId) -> Vec<Bytes>,
    ) -> Result<Bytes, ClientError> {
        let (correlation, reply) = self.inner.in_flight.register(api)?;
        let _forget = Forget(&self.inner.in_flight, correlation);
        let parts = encode(correlation);
        self.check_size(&parts)?;
        let answered = async {
            self.inner.outgoing.send(Outgoing { parts, written: None }).await.map_err(|_| self.lost())?;
            reply.await.unwrap_or_else(|_| Err(self.lost()))
        };
        match timeout(after, answered).await {
            Ok(reply) => reply,
            Err(_) => Err(self.end_by_timeout(api_name(api), after)),
        }
    }

    async fn write_unanswered(
        &self,
        parts: Vec<Bytes>,
        what: &'static str,
        after: Duration,
    ) -> Result<(), ClientError> {
        if let Some(error) = &self.inner.in_flight.state().ended {
            return Err(error.clone());
        }
        self.check_size(&parts)?;
        let (sender, written) = oneshot::channel();
        let sent = async {
            let outgoing = Outgoing { parts, written: Some(sender) };
            self.inner.outgoing.send(outgoing).await.map_err(|_| self.lost())?;
            written.await.map_err(|_| self.lost())
        };
        match timeout(after, sent).await {
            Ok(written) => written,
            Err(_) => Err(self.end_by_timeout(what, after)),
        }
    }

    fn check_size(&self, parts: &[Bytes]) -> Result<(), ClientError> {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let bytes_max = (self.inner.hello.frame_bytes_max as usize).min(FRAME_BYTES_MAX);
        if bytes > bytes_max {
            return Err(ClientError::RecordTooLarge { bytes, bytes_max });
        }
        Ok(())
    }

    fn end_by_timeout(&self, what: &'static str, after: Duration) -> ClientError {
        let address = self.inner.address.clone();
        let reason = format!("{what} not answered within {after:?}");
        self.inner.in_flight.end(ClientError::ConnectionLost { address: address.clone(), reason });
        ClientError::Timeout { what, address, after }
    }

    fn lost(&self) -> ClientError {
        let ended = self.inner.in_flight.state().ended.clone();
        ended.unwrap_or_else(|| lost(&self.inner.address, "closed"))
    }

    pub(crate) fn decoded<T>(&self, decoded: Result<T, DecodeError>) -> Result<T, ClientError> {
        let address = || self.inner.address.clone();
        decoded.map_err(|source| ClientError::Decode { address: address(), source })
    }
}

fn lost(address: &Address, reason: impl ToString) -> ClientError {
    ClientError::ConnectionLost { address: address.clone(), reason: reason.to_string() }
}

fn api_name(api: Api) -> &'static str {
    match api {
        Api::Hello => "hello",
        Api::Metadata => "metadata",
        Api::Produce => "produce",
        Api::Fetch => "fetch",
        Api::ListOffsets => "list offsets",
        Api::CreateTopic => "create topic",
        Api::DeleteTopic => "delete topic",
        Api::AlterTopic => "alter topic",
        Api::DescribeTopic => "describe topic",
        Api::ListTopics => "list topics",
        Api::DescribeNode => "describe node",
        Api::DescribeCluster => "describe cluster",
        Api::InitProducerId => "init producer id",
        Api::GroupHeartbeat => "group heartbeat",
        Api::OffsetCommit => "offset commit",
        Api::OffsetFetch => "offset fetch",
        Api::ListGroups => "list groups",
        Api::DescribeGroup => "describe group",
        Api::DeleteGroup => "delete group",
        Api::DeleteOffsets => "delete offsets",
    }
}

async fn connect(address: &Address, config: &ClientConfig) -> Result<Connection, ClientError> {
    let failed = |error: std::io::Error| ClientError::Connect { address: address.clone(), reason: error.to_string() };
    let mut stream = TcpStream::connect((&*address.host, address.port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let mut buf = BytesMut::new();
    let hello = hello(&mut stream, &mut buf, address, config).await?;
    let in_flight =
        Arc::new(InFlight { address: address.clone(), state: Mutex::default(), ended: tokio::sync::Notify::new() });
    let (read, write) = stream.into_split();
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    tokio::spawn(write_frames(write, queue, Arc::clone(&in_flight)));
    let reader = tokio::spawn(read_frames(read, buf, Arc::clone(&in_flight))).abort_handle();
    let inner = Inner { address: address.clone(), hello, outgoing, in_flight, reader };
    Ok(Connection { inner: Arc::new(inner) })
}

async fn hello(
    stream: &mut TcpStream,
    buf: &mut BytesMut,
    address: &Address,
    config: &ClientConfig,
) -> Result<HelloReply, ClientError> {
    let request = HelloRequest {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        features: 0,
        client: config.name.clone(),
    };
    let frame = request_frame(Api::Hello, CorrelationId(0), |out| request.encode(out));
    stream.write_all(&frame).await.map_err(|error| lost(address, error))?;
    let (header, body) = loop {
        let cut = next_frame(buf);
        let cut = cut.map_err(|source| ClientError::Frame { address: address.clone(), source })?;
        if let Some(frame) = cut {
            break frame;
        }
        if stream.read_buf(buf).await.map_err(|error| lost(address, error))? == 0 {
            return Err(lost(address, "closed by the peer during hello"));
        }
    };
    if !header.is_reply() || header.api != Api::Hello {
        let problem = format!("hello answered by {:?}", header.api);
        return Err(ClientError::Protocol { address: address.clone(), problem });
    }
    if !header.error.is_none() {
        return Err(refusal(address, &header, &body));
    }
    let decoded = HelloReply::decode(&body);
    let reply = decoded.map_err(|source| ClientError::Decode { address: address.clone(), source })?;
    if reply.version != PROTOCOL_VERSION {
        let problem = format!("version {PROTOCOL_VERSION} offered, {} chosen", reply.version);
        return Err(ClientError::Protocol { address: address.clone(), problem });
    }
    Ok(reply)
}

async fn read_frames(mut socket: OwnedReadHalf, mut buf: BytesMut, in_flight: Arc<InFlight>) {
    let address = in_flight.address.clone();
    let error = loop {
        match next_frame(&mut buf) {
            Ok(Some((header, body))) => match in_flight.answer(&header, body) {
                Ok(()) => continue,
                Err(error) => break error,
            },
            Ok(None) => {}
            Err(source) => break ClientError::Frame { address, source },
        }
        tokio::select! {
            read = socket.read_buf(&mut buf) => match read {
                Ok(0) => break lost(&address, "closed by the peer"),
                Ok(_) => {}
                Err(error) => break lost(&address, error),
            },
            () = in_flight.ended.notified() => return,
        }
    };
    in_flight.end(error);
}

async fn write_frames(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<Outgoing>, in_flight: Arc<InFlight>) {
    let mut parts = VecDeque::new();
    let mut written = Vec::new();
    while let Some(first) = queue.recv().await {
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(outgoing) = next.take() {
            bytes += outgoing.parts.iter().map(Bytes::len).sum::<usize>();
            parts.extend(outgoing.parts.into_iter().filter(|part| !part.is_empty()));
            written.extend(outgoing.written);
            if bytes < WRITE_BYTES {
                next = queue.try_recv().ok();
            }
        }
        if let Err(error) = write_parts(&mut socket, &mut parts).await {
            in_flight.end(lost(&in_flight.address, error));
            return;
        }
        for waiter in written.drain(..) {
            let _ = waiter.send(());
        }
        if in_flight.state().ended.is_some() {
            return;
        }
    }
    let _ = socket.shutdown().await;
}

async fn write_parts(socket: &mut OwnedWriteHalf, parts: &mut VecDeque<Bytes>) -> std::io::Result<()> {
    while !parts.is_empty() {
        let mut sent = {
            let mut slices = [IoSlice::new(&[]); WRITE_PARTS];
            let count = parts.len().min(WRITE_PARTS);
            for (slice, part) in slices.iter_mut().zip(parts.iter()) {
                *slice = IoSlice::new(part);
            }
            socket.write_vectored(&slices[..count]).await?
        };
        if sent == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        while let Some(part) = parts.front_mut().filter(|_| sent > 0) {
            let taken = part.len().min(sent);
            part.advance(taken);
            sent -= taken;
            if part.is_empty() {
                parts.pop_front();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

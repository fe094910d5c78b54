//! A raw native connection: frames out, frames in, nothing in between. Owns the socket, the handshake and the gathering
//! of writes; never retries, batches or reconnects, so that what is measured is the broker. Runs on the generator's
//! thread.

use std::io::IoSlice;

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use ouzel_protocol::native::{
    Api, ErrorReply, FRAME_HEADER_BYTES, FrameHeader, HelloReply, HelloRequest, InitProducerIdReply,
    InitProducerIdRequest, PROTOCOL_VERSION, request_frame,
};
use ouzel_protocol::{CorrelationId, ErrorCode, ProducerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes a read makes room for.
const READ_BYTES: usize = 256 * 1024;
/// Parts handed to one vectored write: what Linux takes at once (IOV_MAX).
const WRITE_PARTS_MAX: usize = 1024;

/// A connection that has said hello.
#[derive(Debug)]
pub struct Wire {
    /// The receiving half.
    pub reader: FrameReader,
    /// The sending half.
    pub writer: FrameWriter,
    /// What the broker answered to the hello.
    pub hello: HelloReply,
    next_correlation: u64,
    /// A question was sent whose reply nobody has read.
    is_waiting: bool,
}

/// The receiving half of a connection.
#[derive(Debug)]
pub struct FrameReader {
    half: OwnedReadHalf,
    buf: BytesMut,
}

/// The sending half of a connection.
#[derive(Debug)]
pub struct FrameWriter {
    half: OwnedWriteHalf,
}

impl Wire {
    /// Connects to `address` (host:port) and says hello.
    ///
    /// # Errors
    /// Nobody listens there, or what listens is not an ouzel broker of this version.
    pub async fn connect(address: &str) -> Result<Wire> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}; is a broker running there?"))?;
        stream.set_nodelay(true)?;
        let (read_half, write_half) = stream.into_split();
        let reader = FrameReader { half: read_half, buf: BytesMut::with_capacity(READ_BYTES) };
        let mut wire = Wire {
            reader,
            writer: FrameWriter { half: write_half },
            hello: empty_hello(),
            next_correlation: 1,
            is_waiting: false,
        };
        let request = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            features: 0,
            client: concat!("ouzel-bench ", env!("CARGO_PKG_VERSION")).to_string(),
        };
        let body = wire
            .call(Api::Hello, |out| request.encode(out))
            .await
            .with_context(|| format!("{address} did not answer as an ouzel broker's native listener does"))?;
        wire.hello = HelloReply::decode(&body)?;
        Ok(wire)
    }

    /// The socket, for whoever does not want to speak frames any more; what was received and not read is dropped.
    pub fn into_stream(self) -> TcpStream {
        self.reader.half.reunite(self.writer.half).expect("both halves are of this connection")
    }

    /// Sends one request and waits for its reply's body. Only for connections with nothing else outstanding.
    ///
    /// # Errors
    /// The connection broke, or the broker refused the request as a whole.
    pub async fn call(&mut self, api: Api, body: impl FnOnce(&mut Vec<u8>)) -> Result<Bytes> {
        let correlation = CorrelationId(self.next_correlation);
        self.next_correlation += 1;
        self.writer.send(vec![Bytes::from(request_frame(api, correlation, body))]).await?;
        self.is_waiting = true;
        let (header, body) = self.reply().await?;
        if header.correlation != correlation {
            bail!("the broker answered request {} instead of {correlation}", header.correlation);
        }
        check_whole(&header, &body)?;
        Ok(body)
    }

    /// Reads the reply to a [`call`](Self::call) that was dropped while it waited, if there was one: the connection can be
    /// used again. A question is small enough to be sent whole before anything is waited for.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn settle(&mut self) -> Result<()> {
        if self.is_waiting {
            self.reply().await?;
        }
        Ok(())
    }

    async fn reply(&mut self) -> Result<(FrameHeader, Bytes)> {
        let Some(reply) = self.reader.next().await? else {
            bail!("the broker closed the connection instead of answering");
        };
        self.is_waiting = false;
        Ok(reply)
    }
}

impl Wire {
    /// A number for this connection as an idempotent producer. Only while nothing else is outstanding.
    ///
    /// # Errors
    /// The connection broke, or the broker gives none.
    pub async fn producer_id(&mut self) -> Result<ProducerId> {
        let request = InitProducerIdRequest { transactional_id: None };
        let body = self.call(Api::InitProducerId, |out| request.encode(out)).await?;
        let reply = InitProducerIdReply::decode(&body)?;
        if !reply.error.is_none() {
            bail!("the broker gave no producer id: {}: {}", reply.error, reply.message);
        }
        Ok(reply.producer_id)
    }
}

/// Stands in for the broker's hello until that has arrived.
fn empty_hello() -> HelloReply {
    HelloReply {
        version: 0,
        features: 0,
        node: ouzel_protocol::NodeId(0),
        shard: ouzel_protocol::ShardIndex(0),
        shards: 0,
        frame_bytes_max: 0,
        broker: String::new(),
    }
}

/// Turns a reply that refuses the whole request into an error.
///
/// # Errors
/// The broker's code and sentence.
pub fn check_whole(header: &FrameHeader, body: &[u8]) -> Result<()> {
    if header.error == ErrorCode::None {
        return Ok(());
    }
    let message = ErrorReply::decode(body).map(|reply| reply.message).unwrap_or_default();
    if message.is_empty() {
        bail!("the broker refused a {:?} request: {}", header.api, header.error)
    }
    bail!("the broker refused a {:?} request: {message}", header.api)
}

impl FrameReader {
    /// The next frame, or `None` when the broker closed the connection between two frames. Cancel-safe.
    ///
    /// # Errors
    /// The connection broke, in the middle of a frame too, or the bytes are no frame.
    pub async fn next(&mut self) -> Result<Option<(FrameHeader, Bytes)>> {
        loop {
            let mut wanted = READ_BYTES;
            if self.buf.len() >= FRAME_HEADER_BYTES {
                let header = FrameHeader::parse(&self.buf)?;
                if self.buf.len() >= header.frame_bytes() {
                    let mut frame = self.buf.split_to(header.frame_bytes());
                    frame.advance(FRAME_HEADER_BYTES);
                    return Ok(Some((header, frame.freeze())));
                }
                wanted = header.frame_bytes() - self.buf.len();
            }
            self.buf.reserve(wanted);
            let bytes = self.half.read_buf(&mut self.buf).await.context("the connection broke")?;
            if bytes == 0 {
                if self.buf.is_empty() {
                    return Ok(None);
                }
                bail!("the broker closed the connection in the middle of a frame");
            }
        }
    }
}

impl FrameWriter {
    /// Sends all parts, one after the other, in as few system calls as they take. Not cancel-safe: a frame may be cut.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, parts: Vec<Bytes>) -> Result<()> {
        let mut first = 0;
        let mut offset = 0;
        while first < parts.len() {
            let slices: Vec<IoSlice<'_>> = parts[first..]
                .iter()
                .take(WRITE_PARTS_MAX)
                .enumerate()
                .map(|(index, part)| IoSlice::new(if index == 0 { &part[offset..] } else { part }))
                .collect();
            let mut written = self.half.write_vectored(&slices).await.context("the connection broke")?;
            if written == 0 {
                bail!("the broker takes no more bytes");
            }
            while first < parts.len() && written >= parts[first].len() - offset {
                written -= parts[first].len() - offset;
                first += 1;
                offset = 0;
            }
            offset += written;
        }
        Ok(())
    }
}

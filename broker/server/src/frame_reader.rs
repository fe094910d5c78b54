//! Frames out of a socket: the header first, then, once there is memory for it, the body.
//!
//! Owns the received chunk that is partly read. Bounds every length before memory is taken; never decodes a body. What came
//! with the header is copied out of the ring's buffer, so that it goes back at once; the rest of a large body is received
//! straight into the memory that was granted for it (rule T1). Lives on the connection's shard.

use std::io;

use bytes::BytesMut;
use ouzel_protocol::kafka::{FRAME_LENGTH_BYTES, HeaderError};
use ouzel_protocol::native::{FRAME_HEADER_BYTES, FrameError, FrameHeader};
use ouzel_runtime::{DIRECT_BYTES_MIN, PoolBuf, Shard, Socket, counting};

use crate::watch::{Receiving, Watch};

/// Why a connection cannot go on. The peer's fault, but for the socket's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// What was received is no frame.
    #[error("not a frame: {0}")]
    Frame(#[from] FrameError),
    /// The frame is larger than this broker takes.
    #[error("a frame of {got} bytes exceeds the {max} bytes taken here")]
    TooLarge {
        /// Its size.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// The peer stopped within a frame.
    #[error("the connection ended within a frame: expected {expected} bytes, got {got}")]
    Cut {
        /// Bytes of the header or body.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// A body is not what its layout says.
    #[error("{0}")]
    Body(#[from] ouzel_protocol::native::DecodeError),
    /// The same of the Kafka protocol.
    #[error("{0}")]
    KafkaBody(#[from] ouzel_protocol::kafka::DecodeError),
    /// A request of the Kafka protocol has a header that cannot be answered.
    #[error("{0}")]
    KafkaHeader(#[from] HeaderError),
    /// The peer broke a rule of the protocol.
    #[error("protocol violated: {0}")]
    Protocol(&'static str),
    /// The peer asked nothing for too long.
    #[error("idle for too long")]
    Idle,
    /// The peer was too slow.
    #[error("timed out: {0}")]
    Slow(&'static str),
    /// A produce request that wanted no answer failed, and this is the only way to say so.
    #[error("an unacknowledged produce failed: {0}")]
    Unacknowledged(ouzel_protocol::ErrorCode),
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// Reads frames in order.
pub(crate) struct FrameReader {
    socket: Socket,
    chunk: Option<PoolBuf>,
    /// The last frame was a large one that came whole. The next is expected to be one as well: its header is received alone,
    /// so that not even the beginning of its body passes through a buffer of the ring.
    is_steady: bool,
    /// Memory of headers that are received alone.
    header: BytesMut,
}

impl FrameReader {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, chunk: None, is_steady: false, header: BytesMut::new() }
    }

    /// Whether the peer has just sent a large frame and is in the middle of others.
    pub(crate) fn is_steady(&self) -> bool {
        self.is_steady
    }

    /// The next header; `None` when the peer ended the connection between two frames.
    pub(crate) async fn header(&mut self, shard: &Shard, watch: &Watch) -> Result<Option<FrameHeader>, Fault> {
        let bytes: Option<[u8; FRAME_HEADER_BYTES]> = self.prefix(shard, watch).await?;
        Ok(bytes.map(|bytes| FrameHeader::parse(&bytes)).transpose()?)
    }

    /// The bytes of the next frame of the Kafka protocol; `None` when the peer ended the connection between two frames.
    pub(crate) async fn kafka_frame(&mut self, shard: &Shard, watch: &Watch) -> Result<Option<usize>, Fault> {
        let Some(length) = self.prefix::<FRAME_LENGTH_BYTES>(shard, watch).await? else { return Ok(None) };
        let length = i32::from_be_bytes(length);
        usize::try_from(length).map(Some).map_err(|_| Fault::Protocol("a frame has a negative length"))
    }

    /// What stands in front of the next frame.
    async fn prefix<const N: usize>(&mut self, shard: &Shard, watch: &Watch) -> Result<Option<[u8; N]>, Fault> {
        if self.chunk.is_none() {
            watch.receiving(Receiving::Next { since: shard.now() });
        }
        if self.chunk.is_none() && self.is_steady {
            return self.prefix_alone(watch).await;
        }
        let mut bytes = [0; N];
        let mut got = 0;
        while got < bytes.len() {
            let Some(chunk) = self.chunk().await? else {
                return if got == 0 { Ok(None) } else { Err(Fault::Cut { expected: bytes.len(), got }) };
            };
            let taken = chunk.len().min(bytes.len() - got);
            for (to, from) in bytes.iter_mut().skip(got).zip(chunk.iter()) {
                *to = *from;
            }
            got += taken;
            self.consume(taken);
            if got < bytes.len() {
                watch.receiving(Receiving::Frame { since: shard.now(), bytes: bytes.len(), holds_memory: false });
            }
        }
        watch.receiving(Receiving::Nothing);
        Ok(Some(bytes))
    }

    async fn prefix_alone<const N: usize>(&mut self, watch: &Watch) -> Result<Option<[u8; N]>, Fault> {
        self.header.clear();
        let header = std::mem::take(&mut self.header);
        self.header = self.socket.recv_direct(header, N).await?;
        watch.receiving(Receiving::Nothing);
        match self.header.first_chunk() {
            Some(bytes) => Ok(Some(*bytes)),
            None if self.header.is_empty() => Ok(None),
            None => Err(Fault::Cut { expected: N, got: self.header.len() }),
        }
    }

    /// The next body where it was received, if all of it is here; the caller consumes it.
    pub(crate) fn whole(&self, body_bytes: usize) -> Option<&[u8]> {
        self.chunk.as_ref()?.get(..body_bytes)
    }

    /// Waits until a byte of the body is here; false when the peer ended the connection instead.
    pub(crate) async fn begins(&mut self) -> Result<bool, Fault> {
        Ok(self.chunk().await?.is_some())
    }

    /// Appends to `body` up to `body_bytes`, for which the caller holds memory. Never waits for a ring buffer, so that
    /// others who hold those cannot hold this up.
    pub(crate) async fn body(&mut self, mut body: BytesMut, body_bytes: usize) -> Result<BytesMut, Fault> {
        if let Some(chunk) = &self.chunk {
            let taken = chunk.len().min(body_bytes - body.len());
            body.extend_from_slice(chunk.get(..taken).unwrap_or_default());
            counting::copied(taken);
            self.consume(taken);
        }
        let missing = body_bytes - body.len();
        self.is_steady = self.chunk.is_none() && body_bytes >= DIRECT_BYTES_MIN;
        if missing > 0 {
            let got = body.len();
            body = self.socket.recv_exact(body, missing).await.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Fault::Cut { expected: body_bytes, got },
                _ => Fault::Socket(error),
            })?;
        }
        Ok(body)
    }

    /// Whether the next bytes are here already, so that reading them cannot wait.
    pub(crate) fn holds(&self, bytes: usize) -> bool {
        self.chunk.as_ref().is_some_and(|chunk| chunk.len() >= bytes)
    }

    async fn chunk(&mut self) -> Result<Option<&PoolBuf>, Fault> {
        while self.chunk.as_ref().is_none_or(|chunk| chunk.is_empty()) {
            self.chunk = None;
            match self.socket.recv().await? {
                Some(chunk) => self.chunk = Some(chunk),
                None => return Ok(None),
            }
        }
        Ok(self.chunk.as_ref())
    }

    /// Steps over bytes that are here.
    pub(crate) fn consume(&mut self, bytes: usize) {
        if let Some(chunk) = &mut self.chunk {
            chunk.advance(bytes);
            if chunk.is_empty() {
                self.chunk = None;
            }
        }
    }
}

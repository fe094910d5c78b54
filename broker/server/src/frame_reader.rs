//! Frames out of a socket: the header first, then, once there is memory for it, the body.
//!
//! Owns the received chunk that is partly read. Bounds every length before memory is taken; never decodes a body. Small
//! bodies are copied out of the ring's buffer, so that it goes back at once; large ones are received straight into the
//! memory that was granted for them (rule T1). Lives on the connection's shard.

use std::io;

use bytes::{Bytes, BytesMut};
use ouzel_protocol::native::{FRAME_HEADER_BYTES, FrameError, FrameHeader};
use ouzel_runtime::{PoolBuf, Socket};

use crate::limits::SMALL_BODY_BYTES_MAX;

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
    /// The peer broke a rule of the protocol.
    #[error("protocol violated: {0}")]
    Protocol(&'static str),
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
}

impl FrameReader {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, chunk: None }
    }

    /// The next header; `None` when the peer ended the connection between two frames.
    pub(crate) async fn header(&mut self) -> Result<Option<FrameHeader>, Fault> {
        let mut bytes = [0; FRAME_HEADER_BYTES];
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
        }
        Ok(Some(FrameHeader::parse(&bytes)?))
    }

    /// The body of `body_bytes`, for which the caller holds memory.
    pub(crate) async fn body(&mut self, body_bytes: usize) -> Result<Bytes, Fault> {
        let mut body = BytesMut::with_capacity(body_bytes);
        // Bytes that arrived with the header come first, whatever the size.
        while body.len() < body_bytes && (self.chunk.is_some() || body_bytes <= SMALL_BODY_BYTES_MAX) {
            let got = body.len();
            let Some(chunk) = self.chunk().await? else { return Err(Fault::Cut { expected: body_bytes, got }) };
            let taken = chunk.len().min(body_bytes - got);
            body.extend_from_slice(chunk.get(..taken).unwrap_or_default());
            self.consume(taken);
        }
        let missing = body_bytes - body.len();
        if missing > 0 {
            let got = body.len();
            body = self.socket.recv_exact(body, missing).await.map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Fault::Cut { expected: body_bytes, got },
                _ => Fault::Socket(error),
            })?;
        }
        Ok(body.freeze())
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

    fn consume(&mut self, bytes: usize) {
        if let Some(chunk) = &mut self.chunk {
            chunk.advance(bytes);
            if chunk.is_empty() {
                self.chunk = None;
            }
        }
    }
}

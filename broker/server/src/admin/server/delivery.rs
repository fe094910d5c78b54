//! An answer on its way to whoever asked. Owns how long that may take, and what is held until it is over: the turn of the request,
//! so that no more answers lie in memory than are made at once, and that the connection is busy. Lives on the admin's thread.
//!
//! hyper takes a body part by part, the next when it has written the one before, and drops it with the last, which is not
//! written then. So the body hands what it holds to the socket, and the socket lets go of it when everything was flushed.

use std::io;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::super::open_connections::Busy;

/// Bytes of an answer that are handed to the socket at once.
const PART_BYTES: usize = 64 * 1024;
/// A part that is not written by then ends its connection: whoever asked does not read.
pub(super) const PART_MS_MAX: u64 = 10_000;
/// So does an answer of which parts are left by then.
const ANSWER_MS_MAX: u64 = 60_000;

/// What an answer holds until it is written; there is no turn where the answer is that there was none.
pub(super) type Held = (Option<OwnedSemaphorePermit>, Busy);

/// Where a body hands over what it held.
pub(super) type Handing = Sender<Held>;

/// The body of an answer, in parts.
pub(super) struct Parts {
    whole: Body,
    /// Of what has come of `whole`, that which was not handed out.
    left: Bytes,
    until: Instant,
    held: Option<Held>,
    handing: Handing,
}

impl Parts {
    pub(super) fn of(whole: Body, held: Held, handing: Handing) -> Self {
        let until = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
        Self { whole, left: Bytes::new(), until, held: Some(held), handing }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            // Without a socket there is nothing to wait for.
            let _ = self.handing.send(held);
        }
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        if Instant::now() >= this.until {
            return Poll::Ready(Some(Err(axum::Error::new(too_slow()))));
        }
        if this.left.is_empty() {
            match ready!(Pin::new(&mut this.whole).poll_frame(ctx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => this.left = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let part = this.left.split_to(this.left.len().min(PART_BYTES));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (behind, left) = (hyper::body::Body::size_hint(&self.whole), self.left.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(left + behind.lower());
        if let Some(upper) = behind.upper() {
            hint.set_upper(left + upper);
        }
        hint
    }
}

/// The socket of a connection.
pub(super) struct Socket {
    stream: TcpStream,
    /// Time for a part.
    within: Duration,
    /// Runs from when the peer did not take more until everything was flushed.
    late: Option<Pin<Box<Sleep>>>,
    handed: Receiver<Held>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, within: Duration) -> (Self, Handing) {
        let (handing, handed) = mpsc::channel();
        (Self { stream, within, late: None, handed }, handing)
    }

    fn in_time<T>(&mut self, ctx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let within = self.within;
            ready!(self.late.get_or_insert_with(|| Box::pin(sleep(within))).as_mut().poll(ctx));
            return Poll::Ready(Err(too_slow()));
        }
        written
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "whoever asked does not read the answer")
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, ctx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(ctx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(ctx, bytes);
        this.in_time(ctx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(ctx, bytes);
        this.in_time(ctx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(ctx))?;
        this.late = None;
        while this.handed.try_recv().is_ok() {}
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(ctx)
    }
}

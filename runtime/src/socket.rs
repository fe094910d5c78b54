//! One TCP connection. Receives through the pool's buffers (multishot) or straight into the caller's memory; sends owned
//! parts. Parses nothing. Stays on its core.
//!
//! Receiving (docs/rules.md T1): multishot runs until the connection holds [`BUFFERS_MAX`] buffers, unread or with a task; then
//! it is cancelled, what arrives meanwhile is kept (copied out of the pool), and the next `recv` starts it again.

mod outgoing;
mod progress;
mod receive;
mod send;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};

use crate::pool_buf::{Piece, PoolBuf};
use crate::ring::RingDriver;
use crate::ring::ops::OpKey;
use crate::sync::Semaphore;
use crate::sys;

pub use outgoing::Outgoing;
pub use progress::PeerProgress;
pub use receive::DIRECT_BYTES_MIN;

/// Receive buffers of the pool that a connection may own.
pub(crate) const BUFFERS_MAX: usize = 2;

/// A TCP connection. Clones are the same connection; it closes when the last one is dropped. One task may receive while
/// others send; sends of several tasks go out one after the other.
#[derive(Clone)]
pub struct Socket {
    handle: Rc<Handle>,
}

/// What the clones share. Its drop is the end of the connection, though the kernel may hold the state a little longer.
struct Handle {
    state: Rc<SocketState>,
}

/// The connection as the ring sees it; the operations in flight keep it alive.
pub(crate) struct SocketState {
    fd: OwnedFd,
    driver: Rc<RingDriver>,
    peer: SocketAddr,
    receive: RefCell<Receive>,
    /// `PoolBuf`s of this connection that tasks hold.
    lent: Cell<usize>,
    /// Held by the send in progress.
    send_turn: Semaphore,
    /// A send went away half-way: what the peer saw is unknown, so nothing may follow.
    send_broken: Cell<bool>,
}

#[derive(Default)]
struct Receive {
    /// Received and not yet read, in order.
    unread: VecDeque<Piece>,
    /// The multishot receive in flight.
    armed: Option<OpKey>,
    cancelling: bool,
    /// In the driver's list of crowded connections.
    crowded: bool,
    /// A `recv` or `recv_exact` is in progress.
    busy: bool,
    /// It is a `recv_exact`, which can do without the pool.
    exact: bool,
    /// The peer sends no more.
    eof: bool,
    /// The OS error that ended receiving.
    error: Option<i32>,
    /// A direct receive went away half-way: bytes are missing.
    broken: bool,
    /// The last handle is gone: what still arrives is dropped.
    closed: bool,
    waker: Option<Waker>,
}

impl Socket {
    /// Takes over a connected, blocking TCP socket.
    pub(crate) fn adopt(driver: &Rc<RingDriver>, fd: OwnedFd) -> io::Result<Self> {
        let stream = TcpStream::from(fd);
        let peer = stream.peer_addr()?;
        stream.set_nodelay(true)?;
        let state = Rc::new(SocketState {
            fd: OwnedFd::from(stream),
            driver: Rc::clone(driver),
            peer,
            receive: RefCell::default(),
            lent: Cell::new(0),
            send_turn: Semaphore::new(1),
            send_broken: Cell::new(false),
        });
        driver.add_socket(&state);
        Ok(Self { handle: Rc::new(Handle { state }) })
    }

    /// Waits for bytes; `None` when the peer sends no more. The buffer goes back when it is dropped; while a task holds
    /// two of a connection, that connection receives nothing. Cancel-safe: no byte is lost.
    ///
    /// # Errors
    /// The connection's error (peer), again at every later call; `ResourceBusy` when another task is receiving (caller);
    /// `NotConnected` when the shard's run is over.
    pub async fn recv(&self) -> io::Result<Option<PoolBuf>> {
        self.handle.state.recv().await
    }

    /// Receives exactly `bytes` bytes to the end of `buf`. Bytes that already arrived are copied; more than 16 KiB still to
    /// come end multishot and are received straight into `buf`. Not cancel-safe: dropping the future breaks the receiving
    /// side for good.
    ///
    /// # Errors
    /// As [`recv`](Self::recv); `UnexpectedEof` when the peer ends too early.
    pub async fn recv_exact(&self, buf: BytesMut, bytes: usize) -> io::Result<BytesMut> {
        self.handle.state.recv_exact(buf, bytes).await
    }

    /// As [`recv_exact`](Self::recv_exact), but returns what came where the peer ended the stream, and ends multishot
    /// however few bytes are to come: for a header whose body is to go past the pool.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_direct(&self, buf: BytesMut, bytes: usize) -> io::Result<BytesMut> {
        self.handle.state.recv_up_to(buf, bytes, 0).await
    }

    /// Sends all of `bytes`. Not cancel-safe: dropping the future once it has begun breaks the sending side for good.
    ///
    /// # Errors
    /// The connection's error (peer); `NotConnected` when the shard's run is over.
    pub async fn send(&self, bytes: Bytes) -> io::Result<()> {
        self.send_outgoing(bytes.into()).await.0
    }

    /// Sends all of `parts`, in order, without copying them. Cancelling as for [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_vectored(&self, parts: Vec<Bytes>) -> io::Result<()> {
        self.send_outgoing(parts.into_iter().collect()).await.0
    }

    /// Sends all of `outgoing` and gives it back as it was, to be cleared and filled again. Cancelling as for
    /// [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_outgoing(&self, outgoing: Outgoing) -> (io::Result<()>, Outgoing) {
        self.handle.state.send_outgoing(outgoing).await
    }

    /// Ends both directions: pending and later receives see the end, sends fail.
    pub fn shutdown(&self) {
        sys::shutdown(&self.handle.state.fd, libc::SHUT_RDWR);
    }

    /// Ends the sending direction: the peer sees the end after what was sent.
    pub fn shutdown_send(&self) {
        sys::shutdown(&self.handle.state.fd, libc::SHUT_WR);
    }

    /// How far the peer has come in both directions, as its own kernel and ours know: what tells a slow peer from one
    /// that does nothing, also while an operation is in flight.
    ///
    /// # Errors
    /// The connection is gone (peer).
    pub fn peer_progress(&self) -> io::Result<PeerProgress> {
        progress::of(&self.handle.state.fd)
    }

    /// The peer's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.handle.state.peer
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.close();
    }
}

//! The receiving side of a connection: multishot into the pool, or one receive straight into the caller's memory.
//! Stays on its core.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use io_uring::opcode;
use io_uring::types::Fd;

use super::{BUFFERS_MAX, SocketState};
use crate::counting;
use crate::pool_buf::{Piece, PoolBuf};
use crate::ring::ops::Keep;

/// With less than this still to come, a running multishot receive is left alone.
pub const DIRECT_BYTES_MIN: usize = 16 * 1024;
/// The most a single receive asks for; the kernel's own limit is just below 2 GiB.
const RECEIVE_BYTES_MAX: usize = 1 << 30;

/// The right to receive; one task at a time has it.
struct Turn<'a>(&'a SocketState);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut receive = self.0.receive.borrow_mut();
        receive.busy = false;
        receive.exact = false;
    }
}

/// Breaks the receiving side unless the direct receive was seen to its end.
struct BreakOnDrop<'a>(&'a SocketState);

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.receive.borrow_mut().broken = true;
    }
}

impl SocketState {
    pub(super) async fn recv(self: &Rc<Self>) -> io::Result<Option<PoolBuf>> {
        let _turn = self.begin_receive()?;
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn begin_receive(&self) -> io::Result<Turn<'_>> {
        let mut receive = self.receive.borrow_mut();
        if std::mem::replace(&mut receive.busy, true) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another task is receiving from this connection"));
        }
        Ok(Turn(self))
    }

    fn poll_recv(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<Option<PoolBuf>>> {
        let mut receive = self.receive.borrow_mut();
        if let Some(piece) = receive.unread.pop_front() {
            self.lent.set(self.lent.get() + 1);
            return Poll::Ready(Ok(Some(PoolBuf::new(piece, self))));
        }
        if receive.eof {
            return Poll::Ready(Ok(None));
        }
        drop(receive);
        self.check_receive()?;
        self.wait(cx)?;
        Poll::Pending
    }

    /// The error that ended receiving.
    fn check_receive(&self) -> io::Result<()> {
        let receive = self.receive.borrow();
        if receive.broken {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "a receive was abandoned half-way"));
        }
        receive.error.map_or(Ok(()), |error| Err(io::Error::from_raw_os_error(error)))
    }

    /// Remembers the task, and starts multishot where that is allowed.
    fn wait(self: &Rc<Self>, cx: &mut Context<'_>) -> io::Result<()> {
        let mut receive = self.receive.borrow_mut();
        receive.waker = Some(cx.waker().clone());
        if receive.armed.is_none() && receive.unread.len() + self.lent.get() < BUFFERS_MAX {
            receive.armed = Some(self.driver.start_recv(self, self.fd.as_raw_fd())?);
            receive.cancelling = false;
        }
        Ok(())
    }

    /// A completion of the multishot receive.
    pub(crate) fn received(self: &Rc<Self>, result: i32, buffer: Option<u16>, last: bool) {
        let pool = self.driver.pool();
        let piece = buffer.map(|id| Piece::from_ring(pool, id, usize::try_from(result).unwrap_or(0)));
        let mut receive = self.receive.borrow_mut();
        if last {
            receive.armed = None;
            receive.cancelling = false;
        }
        if receive.closed {
            drop(receive);
            drop(piece);
            return;
        }
        let mut starving = false;
        match result {
            0 => receive.eof = true,
            bytes if bytes > 0 => {
                receive.unread.extend(piece);
                if receive.unread.len() + self.lent.get() >= BUFFERS_MAX && !receive.crowded {
                    receive.crowded = true;
                    self.driver.add_crowded(self);
                }
            }
            error => match -error {
                libc::ENOBUFS => starving = true,
                // Cancelled by us, or worth trying again, which the woken task does.
                libc::ECANCELED | libc::EAGAIN | libc::EINTR => {}
                error => receive.error = Some(error),
            },
        }
        drop(receive);
        if starving {
            self.starve();
        } else {
            self.wake_receiver();
        }
    }

    /// The pool had no buffer for this connection. Buffers with unread bytes are copied out of it; if tasks hold all of
    /// them, the connection waits for the first one to come back. A `recv_exact` goes on without the pool.
    fn starve(self: &Rc<Self>) {
        let pool = self.driver.pool();
        if self.receive.borrow().exact {
            self.wake_receiver();
            return;
        }
        if pool.free() == 0 {
            self.driver.relieve();
        }
        if pool.free() == 0 {
            pool.starve(self);
        } else {
            self.wake_receiver();
        }
    }

    /// Lets a waiting task try again; false when none waits, or the receive runs.
    pub(crate) fn retry_receive(&self) -> bool {
        let waker = {
            let mut receive = self.receive.borrow_mut();
            if receive.armed.is_some() { None } else { receive.waker.take() }
        };
        waker.map(Waker::wake).is_some()
    }

    fn wake_receiver(&self) {
        let waker = self.receive.borrow_mut().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A task has dropped a `PoolBuf`.
    pub(crate) fn returned(&self) {
        self.lent.set(self.lent.get() - 1);
        self.retry_receive();
    }

    /// Before the kernel may receive more: a connection that still holds its limit stops, and what it has beyond that
    /// leaves the pool.
    pub(crate) fn settle(&self) {
        let mut receive = self.receive.borrow_mut();
        receive.crowded = false;
        let lent = self.lent.get();
        if receive.closed || receive.unread.len() + lent < BUFFERS_MAX {
            return;
        }
        if let (Some(key), false) = (receive.armed, receive.cancelling) {
            receive.cancelling = true;
            self.driver.cancel(key);
        }
        let mut unread = std::mem::take(&mut receive.unread);
        // Giving a buffer back may look at this connection.
        drop(receive);
        unread.iter_mut().skip(BUFFERS_MAX.saturating_sub(lent)).for_each(Piece::move_to_heap);
        self.receive.borrow_mut().unread = unread;
    }

    /// Copies every unread byte out of the pool.
    pub(crate) fn unload(&self) {
        let mut unread = std::mem::take(&mut self.receive.borrow_mut().unread);
        unread.iter_mut().for_each(Piece::move_to_heap);
        self.receive.borrow_mut().unread = unread;
    }

    /// The last handle is gone.
    pub(super) fn close(&self) {
        let (unread, waker) = {
            let mut receive = self.receive.borrow_mut();
            receive.closed = true;
            if let (Some(key), false) = (receive.armed, receive.cancelling) {
                receive.cancelling = true;
                self.driver.cancel(key);
            }
            (std::mem::take(&mut receive.unread), receive.waker.take())
        };
        drop((unread, waker));
    }

    pub(super) async fn recv_exact(self: &Rc<Self>, buf: BytesMut, bytes: usize) -> io::Result<BytesMut> {
        let wanted = buf.len() + bytes;
        let buf = self.recv_up_to(buf, bytes, DIRECT_BYTES_MIN).await?;
        if buf.len() < wanted { Err(ended_early(wanted - buf.len())) } else { Ok(buf) }
    }

    /// Receives `bytes` bytes, fewer only where the stream ends. Multishot is ended while `direct_bytes_min` or more are
    /// missing.
    pub(super) async fn recv_up_to(
        self: &Rc<Self>,
        mut buf: BytesMut,
        bytes: usize,
        direct_bytes_min: usize,
    ) -> io::Result<BytesMut> {
        let _turn = self.begin_receive()?;
        self.receive.borrow_mut().exact = true;
        buf.reserve(bytes);
        let mut missing = bytes;
        loop {
            missing -= self.take_unread(&mut buf, missing);
            if missing == 0 {
                return Ok(buf);
            }
            self.check_receive()?;
            let (eof, armed) = {
                let receive = self.receive.borrow();
                (receive.eof, receive.armed.is_some())
            };
            if eof {
                return Ok(buf);
            }
            if armed {
                self.until_more(missing >= direct_bytes_min).await;
            } else {
                let received = self.receive_into(buf, missing).await?;
                missing -= received.1;
                buf = received.0;
            }
        }
    }

    /// Copies up to `wanted` unread bytes to the end of `buf`; returns how many.
    fn take_unread(&self, buf: &mut BytesMut, wanted: usize) -> usize {
        let mut taken = 0;
        while taken < wanted {
            let mut receive = self.receive.borrow_mut();
            let Some(piece) = receive.unread.front_mut() else { break };
            let bytes = piece.as_bytes();
            let count = bytes.len().min(wanted - taken);
            buf.extend_from_slice(&bytes[..count]);
            counting::copied(count);
            taken += count;
            piece.advance(count);
            let empty = piece.as_bytes().is_empty().then(|| receive.unread.pop_front());
            drop(receive);
            drop(empty);
        }
        taken
    }

    /// Waits for the next completion of the multishot receive, asking for its end if `leave`.
    async fn until_more(&self, leave: bool) {
        let mut first = true;
        poll_fn(|cx| {
            let mut receive = self.receive.borrow_mut();
            if !first
                && (receive.armed.is_none() || !receive.unread.is_empty() || receive.eof || receive.error.is_some())
            {
                return Poll::Ready(());
            }
            if let (true, true, false, Some(key)) = (first, leave, receive.cancelling, receive.armed) {
                receive.cancelling = true;
                self.driver.cancel(key);
            }
            first = false;
            receive.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// One receive straight into the free end of `buf`, of at most `wanted` bytes. Returns the buffer and the count.
    async fn receive_into(self: &Rc<Self>, mut buf: BytesMut, wanted: usize) -> io::Result<(BytesMut, usize)> {
        buf.reserve(wanted);
        let length = wanted.min(RECEIVE_BYTES_MAX);
        let target = buf.spare_capacity_mut().as_mut_ptr().cast::<u8>();
        let entry = opcode::Recv::new(Fd(self.fd.as_raw_fd()), target, u32::try_from(length).unwrap_or(u32::MAX))
            .flags(libc::MSG_WAITALL)
            .build();
        let keep = Keep::Recv { buf, socket: Rc::clone(self) };
        let op = self.driver.start(entry, keep, false).map_err(|(error, _)| error)?;
        let unfinished = BreakOnDrop(self);
        let (result, keep) = op.await;
        std::mem::forget(unfinished);
        let Keep::Recv { mut buf, .. } = keep else { unreachable!("a receive gave back another operation's memory") };
        match result {
            0 => {
                self.receive.borrow_mut().eof = true;
                Ok((buf, 0))
            }
            bytes if bytes > 0 => {
                let count = usize::try_from(bytes).unwrap_or(0);
                assert!(count <= length, "the kernel received {count} bytes into {length}");
                // SAFETY: the kernel has initialised `count` bytes from the end of the old length on, within the spare
                // capacity that was reserved; the buffer did not move or change while the operation owned it.
                unsafe { buf.set_len(buf.len() + count) };
                Ok((buf, count))
            }
            error => match -error {
                libc::EAGAIN | libc::EINTR => Ok((buf, 0)),
                error => {
                    self.receive.borrow_mut().error = Some(error);
                    Err(io::Error::from_raw_os_error(error))
                }
            },
        }
    }
}

fn ended_early(missing: usize) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the peer ended the stream {missing} bytes early"))
}

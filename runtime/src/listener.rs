//! A listening TCP socket: multishot accept, and the connections that wait to be taken. Stays on its core.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::driver::Driver;
use crate::executor::Core;
use crate::ring::RingDriver;
use crate::ring::ops::OpKey;
use crate::socket::Socket;
use crate::sys;

/// Accepted connections that nobody took yet; then the kernel's own backlog holds the rest.
const WAITING_MAX: usize = 128;
/// The wait after the process or the host ran out of descriptors or memory.
const SHORTAGE_WAIT: Duration = Duration::from_millis(50);

/// A listening socket. Clones are the same socket; it closes when the last one is dropped, or by [`close`](Self::close).
#[derive(Clone)]
pub struct Listener {
    handle: Rc<Handle>,
}

struct Handle {
    core: Rc<Core>,
    address: SocketAddr,
    /// `None` in the simulator, which has no sockets.
    state: Option<Rc<ListenerState>>,
}

/// The listener as the ring sees it; the accept in flight keeps it alive.
pub(crate) struct ListenerState {
    fd: OwnedFd,
    driver: Rc<RingDriver>,
    accept: RefCell<Accept>,
}

#[derive(Default)]
struct Accept {
    waiting: VecDeque<OwnedFd>,
    armed: Option<OpKey>,
    cancelling: bool,
    closed: bool,
    /// The OS error that ended the accept in flight.
    error: Option<i32>,
    wakers: Vec<Waker>,
}

impl Listener {
    pub(crate) fn adopt(core: &Rc<Core>, listener: std::net::TcpListener) -> Self {
        let address = listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        let state = match &core.driver {
            Driver::Ring(driver) => {
                // The ring waits by polling; on a non-blocking socket it would complete with EAGAIN instead.
                if let Err(error) = listener.set_nonblocking(false) {
                    tracing::error!(%address, %error, "cannot make the listening socket blocking");
                }
                let fd = OwnedFd::from(listener);
                Some(Rc::new(ListenerState { fd, driver: Rc::clone(driver), accept: RefCell::default() }))
            }
            Driver::Sim(_) => None,
        };
        Self { handle: Rc::new(Handle { core: Rc::clone(core), address, state }) }
    }

    /// Waits for the next connection. Shortages (descriptors, memory) are waited out, connections that broke before they
    /// were taken are skipped. Cancel-safe.
    ///
    /// # Errors
    /// `ConnectionAborted` after [`close`](Self::close); otherwise the listening socket itself is broken.
    pub async fn accept(&self) -> io::Result<(Socket, SocketAddr)> {
        let Some(state) = &self.handle.state else { return Err(io::ErrorKind::Unsupported.into()) };
        loop {
            let error = match poll_fn(|cx| state.poll_accept(cx)).await {
                Ok(fd) => match Socket::adopt(&state.driver, fd) {
                    Ok(socket) => {
                        let peer = socket.peer();
                        return Ok((socket, peer));
                    }
                    // Gone again before it was taken.
                    Err(_) => continue,
                },
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    tracing::warn!(address = %self.handle.address, %error, "cannot accept connections for the moment");
                    let core = &self.handle.core;
                    core.sleep_until(core.now() + SHORTAGE_WAIT).await;
                }
                // Errors of the new connection, which accept reports (accept(2)).
                Some(
                    libc::ECANCELED
                    | libc::EINTR
                    | libc::EAGAIN
                    | libc::ECONNABORTED
                    | libc::EPROTO
                    | libc::EPERM
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH
                    | libc::ENOPROTOOPT
                    | libc::ENONET
                    | libc::ETIMEDOUT,
                ) => {}
                _ => return Err(error),
            }
        }
    }

    /// Stops listening: new connections are refused, those not yet taken are closed, pending and later accepts fail.
    pub fn close(&self) {
        if let Some(state) = &self.handle.state {
            state.close();
        }
    }

    /// The address it listens at.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.handle.address
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("address", &self.handle.address).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            state.close();
        }
    }
}

impl ListenerState {
    fn poll_accept(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        let mut accept = self.accept.borrow_mut();
        if accept.closed {
            return Poll::Ready(Err(closed()));
        }
        if let Some(fd) = accept.waiting.pop_front() {
            return Poll::Ready(Ok(fd));
        }
        if let Some(error) = accept.error.take() {
            return Poll::Ready(Err(io::Error::from_raw_os_error(error)));
        }
        if accept.armed.is_none() {
            accept.armed = Some(self.driver.start_accept(self, self.fd.as_raw_fd())?);
            accept.cancelling = false;
        }
        if !accept.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            accept.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A completion of the multishot accept.
    pub(crate) fn accepted(&self, result: i32, last: bool) {
        let mut accept = self.accept.borrow_mut();
        if last {
            accept.armed = None;
        }
        let mut unwanted = None;
        if result >= 0 {
            // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            if accept.closed {
                unwanted = Some(fd);
            } else {
                accept.waiting.push_back(fd);
            }
        } else if !accept.closed {
            accept.error = Some(-result);
        }
        if let (true, Some(key), false) = (accept.waiting.len() >= WAITING_MAX, accept.armed, accept.cancelling) {
            accept.cancelling = true;
            self.driver.cancel(key);
        }
        let wakers = std::mem::take(&mut accept.wakers);
        drop(accept);
        drop(unwanted);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn close(&self) {
        let (waiting, wakers) = {
            let mut accept = self.accept.borrow_mut();
            if std::mem::replace(&mut accept.closed, true) {
                return;
            }
            if let Some(key) = accept.armed {
                self.driver.cancel(key);
            }
            (std::mem::take(&mut accept.waiting), std::mem::take(&mut accept.wakers))
        };
        // At once, not when the last completion lets go of the descriptor.
        sys::shutdown(&self.fd, libc::SHUT_RDWR);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the listener is closed")
}

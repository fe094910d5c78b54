//! SIGINT and SIGTERM as something a task waits for. The handler only sets bits and writes to a pipe, which the shard's
//! ring reads. Decides nothing about stopping. Process-wide; waited for on one core.
//!
//! A pipe and not an eventfd: the ring of a shard on glommio may wait for no eventfd (`ring/hosted.rs`).

use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

use io_uring::opcode;
use io_uring::types::Fd;

use crate::driver::Driver;
use crate::ring::ops::Keep;
use crate::{sys, wake};

/// A signal that asks the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM: the service manager.
    Terminate,
}

const INTERRUPT: u32 = 1;
const TERMINATE: u32 = 2;

/// Signals that arrived and were not yet reported.
static ARRIVED: AtomicU32 = AtomicU32::new(0);
/// The end of the pipe that the handler writes to. The descriptor stays open for ever once made.
static PIPE: AtomicI32 = AtomicI32::new(-1);
static INSTALLED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(number: libc::c_int) {
    let bit = if number == libc::SIGINT { INTERRUPT } else { TERMINATE };
    ARRIVED.fetch_or(bit, Ordering::SeqCst);
    // SAFETY: `__errno_location` gives this thread's errno, which a handler must leave as it was.
    let saved = unsafe { *libc::__errno_location() };
    sys::poke_raw(PIPE.load(Ordering::SeqCst));
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = saved };
}

/// Receives SIGINT and SIGTERM from [`install`](Self::install) on; they no longer end the process.
#[derive(Debug)]
pub struct Signals {
    pipe: Arc<OwnedFd>,
}

impl Signals {
    /// Takes over SIGINT and SIGTERM of the whole process. Once.
    ///
    /// # Errors
    /// `AlreadyExists` the second time (caller); the kernel's refusal.
    pub fn install() -> io::Result<Self> {
        if INSTALLED.swap(true, Ordering::SeqCst) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "signals are handled already"));
        }
        let (reader, writer) = sys::pipe()?;
        // The handler's end is never closed: a signal may come at any time until the process ends.
        PIPE.store(std::os::fd::IntoRawFd::into_raw_fd(writer), Ordering::SeqCst);
        for number in [libc::SIGINT, libc::SIGTERM] {
            sys::handle_signal(number, on_signal)?;
        }
        Ok(Self { pipe: Arc::new(reader) })
    }

    /// A signal that has arrived and was not reported yet, for threads that have no ring. Several of one kind may be reported once.
    pub fn arrived(&mut self) -> Option<Signal> {
        [(TERMINATE, Signal::Terminate), (INTERRUPT, Signal::Interrupt)]
            .into_iter()
            .find(|(bit, _)| ARRIVED.fetch_and(!bit, Ordering::SeqCst) & bit != 0)
            .map(|(_, signal)| signal)
    }

    /// Waits for the next signal. Must be awaited on a shard. Several of one kind may be reported once. Cancel-safe.
    ///
    /// # Errors
    /// Not on a shard (caller), or its run is over.
    pub async fn next(&mut self) -> io::Result<Signal> {
        let core = wake::current()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "signals need a shard to wait on"))?;
        let Driver::Ring(ring) = &core.driver else { return pending().await };
        loop {
            if let Some(signal) = self.arrived() {
                return Ok(signal);
            }
            let mut value = Box::new(0_u64);
            let entry = opcode::Read::new(Fd(self.pipe.as_raw_fd()), (&raw mut *value).cast(), 8).build();
            let keep = Keep::Counter { value, fd: Arc::clone(&self.pipe) };
            let (result, _keep) = ring.start(entry, keep, false).map_err(|(error, _)| error)?.await;
            if result < 0 && !matches!(-result, libc::EINTR | libc::EAGAIN) {
                return Err(io::Error::from_raw_os_error(-result));
            }
        }
    }
}

//! The public face of a core: [`run`] makes one of the calling thread, [`Shard`] is its handle. Decides nothing; tasks are
//! in `executor.rs`, operations in `ring.rs`. The handle never leaves its thread.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use io_uring::opcode;
use io_uring::types::Fd;

use crate::driver::{Driver, Halt};
use crate::executor::{self, Core, TaskHandle};
use crate::executor_kind::ExecutorKind;
use crate::fs::Fs;
use crate::listener::Listener;
use crate::mailbox::{self, Inbox, Mailbox};
use crate::ring::ops::Keep;
use crate::ring::{Operations, RingDriver};
use crate::socket::Socket;
use crate::sys::{self, RawAddress};
use crate::time::{Elapsed, Instant};
use crate::wake::{self, ShardShared};

/// What a shard is made of.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The shard's number, for its own information.
    pub shard: u16,
    /// The CPU to pin the thread to; if that fails (a cgroup forbids it) a warning is logged.
    pub cpu: Option<usize>,
    /// How long to poll after the last completion before sleeping, in microseconds; never while a disk operation is in
    /// flight. 0 sleeps at once.
    pub spin_us: u32,
    /// Length of the submission queue; the completion queue is four times as long.
    pub ring_entries: u32,
    /// Receive buffers, rounded up to a power of two (at most 32,768).
    pub recv_buffer_count: u16,
    /// Bytes of each receive buffer. The memory is used once bytes arrive.
    pub recv_buffer_bytes: u32,
    /// Whose run queue the tasks stand in.
    pub executor: ExecutorKind,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            shard: 0,
            cpu: None,
            spin_us: 50,
            ring_entries: 1024,
            recv_buffer_count: 128,
            recv_buffer_bytes: 64 * 1024,
            executor: ExecutorKind::default(),
        }
    }
}

/// Makes the calling thread a shard, runs `main` on it until it ends, and takes everything down: tasks are dropped, every
/// operation is cancelled and waited for, then the ring is closed (docs/rules.md T3).
///
/// # Errors
/// io_uring is missing, forbidden or too old (operator; [`probe`](crate::probe()) says more), or the thread runs a shard
/// already (caller). `Unsupported`, when this build does not contain the executor that `config` asks for (operator).
pub fn run<F, T>(config: RunConfig, main: impl FnOnce(Shard) -> F) -> io::Result<T>
where
    F: Future<Output = T>,
{
    if wake::current().is_some() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "this thread runs a shard already"));
    }
    config.executor.require()?;
    if let Some(cpu) = config.cpu
        && let Err(error) = sys::pin_to_cpu(cpu)
    {
        tracing::warn!(shard = config.shard, cpu, %error, "cannot pin the shard to its CPU");
    }
    let shared = ShardShared::new(config.executor)?;
    let driver = RingDriver::new(&config, &shared)?;
    let core = Core::new(config.shard, Driver::Ring(Rc::clone(&driver)), shared);
    let main = main(Shard { core: Rc::clone(&core) });
    let output = match config.executor {
        ExecutorKind::Own => executor::run_core(&core, |core| match core.block_on(main) {
            Ok(output) => Ok(output),
            Err(halt) => unreachable!("only the simulator halts a run: {halt:?}"),
        }),
        #[cfg(feature = "glommio")]
        ExecutorKind::Glommio => executor::run_core(&core, |core| executor::hosted::block_on(core, &driver, main)),
        #[cfg(not(feature = "glommio"))]
        ExecutorKind::Glommio => unreachable!("`require` has refused it"),
    };
    output.unwrap_or_else(|| unreachable!("this thread runs no other shard"))
}

/// As [`run`], on the simulator's driver.
pub(crate) fn run_driver<F, T>(driver: Driver, main: impl FnOnce(Shard) -> F) -> Result<T, Halt>
where
    F: Future<Output = T>,
{
    let shared = ShardShared::new(ExecutorKind::Own).expect("an eventfd can be made");
    let core = Core::new(0, driver, shared);
    let main = main(Shard { core: Rc::clone(&core) });
    executor::run_core(&core, |core| core.block_on(main)).expect("the thread runs no other shard")
}

/// The handle of the shard that runs on this thread.
#[derive(Clone)]
pub struct Shard {
    core: Rc<Core>,
}

impl Shard {
    /// Starts a task. It runs when the current one waits. At the end of the run it is dropped, wherever it stands.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskHandle {
        self.core.spawn(future)
    }

    /// Lets every task that is ready now have its turn.
    pub async fn yield_now(&self) {
        executor::yield_now().await;
    }

    /// The monotonic clock.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// The wall clock, in milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        match &self.core.driver {
            Driver::Ring(_) => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Driver::Sim(sim) => sim.wall_ms(),
        }
    }

    /// Waits for `duration`. Cancel-safe.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }

    /// Waits until the clock reaches `deadline`. Cancel-safe.
    pub async fn sleep_until(&self, deadline: Instant) {
        self.core.sleep_until(deadline).await;
    }

    /// The shard's number.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.core.index
    }

    /// The file system.
    #[must_use]
    pub fn fs(&self) -> Fs {
        Fs::new(&self.core)
    }

    /// Takes over a bound, listening socket.
    #[must_use]
    pub fn adopt_listener(&self, listener: TcpListener) -> Listener {
        Listener::adopt(&self.core, listener)
    }

    /// Connects to `address`. Dropping the future abandons the attempt.
    ///
    /// # Errors
    /// The connection's; `Unsupported` in the simulator.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Socket> {
        let Driver::Ring(driver) = &self.core.driver else { return Err(io::ErrorKind::Unsupported.into()) };
        let fd = Rc::new(sys::tcp_socket(&address)?);
        let raw = Box::new(RawAddress::new(&address));
        let (pointer, length) = raw.as_raw();
        let entry = opcode::Connect::new(Fd(fd.as_raw_fd()), pointer, length).build();
        let keep = Keep::Connect { address: raw, fd };
        let (result, keep) = driver.start(entry, keep, false).map_err(|(error, _)| error)?.await;
        let Keep::Connect { fd, .. } = keep else { unreachable!("a connect gave back another operation's memory") };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let fd = Rc::into_inner(fd).expect("only the operation held the socket");
        Socket::adopt(driver, fd)
    }

    /// A bounded queue from any thread to this shard.
    ///
    /// # Panics
    /// When `capacity` is 0.
    #[must_use]
    pub fn mailbox<T: Send>(&self, capacity: usize) -> (Mailbox<T>, Inbox<T>) {
        mailbox::mailbox(capacity)
    }

    /// Disk operations of this shard started and not yet completed.
    #[must_use]
    pub fn disk_in_flight(&self) -> usize {
        match &self.core.driver {
            Driver::Ring(ring) => ring.disk_in_flight(),
            Driver::Sim(sim) => sim.disk_in_flight(),
        }
    }

    /// Operations of every kind that the ring knows of; in the simulator the disk operations, which are all it has.
    #[must_use]
    pub fn operations(&self) -> Operations {
        match &self.core.driver {
            Driver::Ring(ring) => ring.operations(),
            Driver::Sim(sim) => Operations { in_flight: sim.disk_in_flight(), held: sim.disk_in_flight() },
        }
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("index", &self.core.index).finish_non_exhaustive()
    }
}

/// Waits for `future`, but not beyond `deadline`; then the future is dropped.
///
/// # Errors
/// [`Elapsed`], when the deadline came first. A future that is ready at once wins over a deadline that has passed.
pub async fn timeout_at<F: Future>(shard: &Shard, deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = pin!(shard.core.sleep_until(deadline));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

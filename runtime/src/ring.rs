//! The ring driver: submits operations to one io_uring, waits in it, and hands completions to whoever started them.
//! Knows nothing of tasks but their wakers. Made, used and closed on one core's thread (SINGLE_ISSUER).
//!
//! One rule keeps cancelling safe: an operation's memory is in the slab ([`ops`]) from submission to its last completion.
//! A future that goes away only asks for the cancellation and leaves.

mod completion;
#[cfg(feature = "glommio")]
pub(crate) mod hosted;
pub(crate) mod ops;
pub(crate) mod recv_pool;
mod teardown;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode};

use crate::executor_kind::ExecutorKind;
use crate::listener::ListenerState;
use crate::shard::RunConfig;
use crate::socket::SocketState;
use crate::sys;
use crate::time::Instant;
use crate::wake::ShardShared;

use completion::Completion;
use ops::{Keep, OpKey, OpSlab, Target, Token};
use recv_pool::{BUFFER_GROUP, RecvPool};

/// The completion queue is this many times as long as the submission queue: multishot operations answer often.
const COMPLETIONS_PER_SUBMISSION: u32 = 4;
/// How long a shard that was sent a message may take to look before it is told again (docs/rules.md T2).
const RENOTIFY: Duration = Duration::from_millis(10);

/// How many operations a shard's ring knows of. Whoever starts operations and ends them sees both return to where they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    /// Those the kernel works on, among them a few of the runtime's own.
    pub in_flight: usize,
    /// Those, and the completed ones whose result nobody has taken yet.
    pub held: usize,
}

/// One io_uring and everything that is in it.
pub(crate) struct RingDriver {
    inner: RefCell<Inner>,
    shared: Arc<ShardShared>,
    pool: Rc<RecvPool>,
    spin: Duration,
    /// Disk operations in flight, those of the helper thread for this shard included.
    disk: Cell<usize>,
    /// When a completion last arrived: spinning counts from here.
    last_completion: Cell<Instant>,
    /// Completions on their way from the queue to their targets; kept for its memory.
    scratch: RefCell<Vec<Completion>>,
    /// Connections that hold as many receive buffers as they may: looked at before the kernel could add to them.
    crowded: RefCell<Vec<Rc<SocketState>>>,
    /// Every connection that may have unread buffers, for when the pool runs dry.
    sockets: RefCell<Vec<std::rc::Weak<SocketState>>>,
    /// Shards that were sent a message and have not looked yet.
    told: RefCell<Vec<Told>>,
    /// Since the last look at the kernel, unread bytes were moved out of the pool.
    relieved: Cell<bool>,
    closed: Cell<bool>,
}

/// A shard that should be waking up.
struct Told {
    shard: Arc<ShardShared>,
    since: Instant,
}

struct Inner {
    /// `None` once closed.
    ring: Option<IoUring>,
    ops: OpSlab,
    /// Entries for which the submission queue had no room.
    backlog: VecDeque<Entry>,
}

impl RingDriver {
    /// A ring for the calling thread, ready for use.
    pub(crate) fn new(config: &RunConfig, shared: &Arc<ShardShared>) -> io::Result<Rc<Self>> {
        let entries = config.ring_entries.clamp(8, 32_768);
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_SUBMISSION))
            .build(entries)?;
        let params = ring.params();
        if !(params.is_feature_nodrop() && params.is_feature_ext_arg() && params.is_feature_skip_cqe_on_success()) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel's io_uring is too old: 6.1 or newer is needed",
            ));
        }
        let pool = RecvPool::new(config.recv_buffer_count, config.recv_buffer_bytes)?;
        pool.register(&ring.submitter())?;
        shared.ring_fd.store(ring.as_raw_fd(), Ordering::SeqCst);
        let driver = Rc::new(Self {
            inner: RefCell::new(Inner { ring: Some(ring), ops: OpSlab::default(), backlog: VecDeque::new() }),
            shared: Arc::clone(shared),
            pool,
            spin: Duration::from_micros(u64::from(config.spin_us)),
            disk: Cell::new(0),
            last_completion: Cell::new(Instant::monotonic()),
            scratch: RefCell::default(),
            crowded: RefCell::default(),
            sockets: RefCell::default(),
            told: RefCell::default(),
            relieved: Cell::new(false),
            closed: Cell::new(false),
        });
        if config.executor == ExecutorKind::Own {
            driver.watch_event();
        }
        Ok(driver)
    }

    /// The receive buffers.
    pub(crate) fn pool(&self) -> &Rc<RecvPool> {
        &self.pool
    }

    /// Disk operations started and not yet completed.
    pub(crate) fn disk_in_flight(&self) -> usize {
        self.disk.get()
    }

    /// What the table of operations holds.
    pub(crate) fn operations(&self) -> Operations {
        let inner = self.inner.borrow();
        Operations { in_flight: inner.ops.live(), held: inner.ops.held() }
    }

    /// Counts an operation of the helper thread as one of the disk, until the guard is dropped.
    pub(crate) fn count_disk(self: &Rc<Self>) -> DiskGuard {
        self.disk.set(self.disk.get() + 1);
        DiskGuard(Rc::clone(self))
    }

    /// Starts an operation with one completion. `entry` may point only into `keep`'s heap memory (which does not move), and
    /// at descriptors `keep` holds.
    ///
    /// # Errors
    /// `NotConnected`, with `keep`, when the run is over.
    pub(crate) fn start(self: &Rc<Self>, entry: Entry, keep: Keep, disk: bool) -> Result<Op, (io::Error, Keep)> {
        if self.closed.get() {
            return Err((run_is_over(), keep));
        }
        let key = {
            let mut inner = self.inner.borrow_mut();
            let key = inner.ops.insert(Target::Single { keep, waker: None, result: None, orphan: false, disk });
            inner.push(entry.user_data(Token::Op(key).encode()));
            key
        };
        if disk {
            self.disk.set(self.disk.get() + 1);
        }
        Ok(Op { driver: Rc::clone(self), key, finished: false })
    }

    /// Starts receiving into buffers of the pool until cancelled; completions go to `socket`.
    pub(crate) fn start_recv(&self, socket: &Rc<SocketState>, fd: RawFd) -> io::Result<OpKey> {
        let entry = opcode::RecvMulti::new(Fd(fd), BUFFER_GROUP).build();
        self.start_multishot(entry, Target::Recv(Rc::clone(socket)))
    }

    /// Starts accepting until cancelled; completions go to `listener`.
    pub(crate) fn start_accept(&self, listener: &Rc<ListenerState>, fd: RawFd) -> io::Result<OpKey> {
        let entry = opcode::AcceptMulti::new(Fd(fd)).flags(libc::SOCK_CLOEXEC).build();
        self.start_multishot(entry, Target::Accept(Rc::clone(listener)))
    }

    fn start_multishot(&self, entry: Entry, target: Target) -> io::Result<OpKey> {
        if self.closed.get() {
            return Err(run_is_over());
        }
        let mut inner = self.inner.borrow_mut();
        let key = inner.ops.insert(target);
        inner.push(entry.user_data(Token::Op(key).encode()));
        Ok(key)
    }

    /// Asks the kernel to end an operation; its last completion comes in any case.
    pub(crate) fn cancel(&self, key: OpKey) {
        let mut inner = self.inner.borrow_mut();
        if inner.ring.is_some() {
            inner.push(opcode::AsyncCancel::new(Token::Op(key).encode()).build().user_data(Token::Nothing.encode()));
        }
    }

    /// Wakes another shard by a message from this ring to its ring, sent with the next submission.
    pub(crate) fn message(&self, target: &Arc<ShardShared>) {
        let ring_fd = target.ring_fd.load(Ordering::SeqCst);
        let Ok(mut inner) = self.inner.try_borrow_mut() else {
            sys::eventfd_signal(&target.event);
            return;
        };
        if inner.ring.is_none() || ring_fd < 0 {
            drop(inner);
            sys::eventfd_signal(&target.event);
            return;
        }
        // Only a failure completes. A target that ended meanwhile gives one, or its number names another ring, which then
        // wakes up for nothing; the mailbox that was written to is closed in both cases.
        let entry = opcode::MsgRingData::new(Fd(ring_fd), 0, Token::Nothing.encode(), None).build();
        inner.push(entry.flags(Flags::SKIP_SUCCESS).user_data(Token::MessageFailed(target.id).encode()));
        drop(inner);
        let mut told = self.told.borrow_mut();
        if !told.iter().any(|told| told.shard.id == target.id) {
            told.push(Told { shard: Arc::clone(target), since: Instant::monotonic() });
        }
    }

    /// One look at the kernel: submits what is queued, takes what has completed. With `idle` (no task is ready) it waits for
    /// a completion, a wake-up or `deadline`, whichever comes first.
    pub(crate) fn turn(&self, idle: bool, deadline: Option<Instant>) {
        if self.look(idle) {
            self.park(deadline);
            self.drain();
        }
    }

    /// One look at the kernel that never blocks. With `idle` it says whether nothing is left to do but wait.
    pub(crate) fn look(&self, idle: bool) -> bool {
        self.relieved.set(false);
        self.settle_crowded();
        self.sweep_told();
        self.flush_backlog();
        if self.drain() > 0 {
            return false;
        }
        if idle && !self.may_spin() {
            return true;
        }
        if self.wants_enter() {
            self.enter(None);
        }
        if idle {
            std::hint::spin_loop();
        }
        self.drain();
        false
    }

    /// Blocks in the kernel.
    fn park(&self, deadline: Option<Instant>) {
        self.shared.parked.store(true, Ordering::SeqCst);
        let wait = self.wake_at(deadline).map(|deadline| deadline - Instant::monotonic());
        if self.shared.notified.load(Ordering::SeqCst) || wait == Some(Duration::ZERO) {
            self.enter(None);
        } else {
            self.enter(Some(wait));
        }
        self.shared.parked.store(false, Ordering::SeqCst);
    }

    /// The latest end of a sleep: `deadline`, or when a shard that was told must be told again.
    fn wake_at(&self, deadline: Option<Instant>) -> Option<Instant> {
        if self.told.borrow().is_empty() {
            return deadline;
        }
        let again = Instant::monotonic() + RENOTIFY;
        Some(deadline.map_or(again, |deadline| deadline.min(again)))
    }

    /// Spinning is bounded in time since the last completion, and never delays the kernel's disk work, which may need this
    /// core (measured: it halves durable throughput).
    fn may_spin(&self) -> bool {
        !self.spin.is_zero() && self.disk.get() == 0 && Instant::monotonic() - self.last_completion.get() < self.spin
    }

    /// Whether the kernel has work for this thread, or the other way round.
    fn wants_enter(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        let Some(ring) = inner.ring.as_mut() else { return false };
        let queue = ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Enters the kernel: submits all, and with `wait` blocks for a completion, for at most the time inside (`None`: no
    /// limit).
    fn enter(&self, wait: Option<Option<Duration>>) {
        let mut inner = self.inner.borrow_mut();
        let Some(ring) = inner.ring.as_mut() else { return };
        // The queue publishes its tail when it is dropped; the submitter reads what was published.
        ring.submission().sync();
        let submitter = ring.submitter();
        let result = match wait {
            None => submitter.submit_and_wait(0),
            Some(None) => submitter.submit_and_wait(1),
            Some(Some(limit)) => {
                let limit = Timespec::from(limit);
                submitter.submit_with_args(1, &SubmitArgs::new().timespec(&limit))
            }
        };
        let Err(error) = result else { return };
        match error.raw_os_error() {
            // A signal, or the time is up.
            Some(libc::EINTR | libc::ETIME) => {}
            // The completion queue must be drained first, which the caller does; or memory is short for a moment.
            Some(libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => std::thread::yield_now(),
            _ => fatal(&format!("io_uring_enter failed: {error}")),
        }
    }

    /// Moves waiting entries into the submission queue, entering the kernel as often as that takes.
    fn flush_backlog(&self) {
        while self.inner.borrow_mut().refill() {
            self.enter(None);
            self.drain();
        }
    }

    /// Waits for the shard's eventfd: how threads without a ring wake this one.
    fn watch_event(&self) {
        let mut value = Box::new(0_u64);
        let entry = opcode::Read::new(Fd(self.shared.event.as_raw_fd()), (&raw mut *value).cast(), 8).build();
        let mut inner = self.inner.borrow_mut();
        let key = inner.ops.insert(Target::Event(value));
        inner.push(entry.user_data(Token::Op(key).encode()));
    }

    /// A message is only a hint: shards that did not look within [`RENOTIFY`] are told by their eventfd.
    fn sweep_told(&self) {
        let mut told = self.told.borrow_mut();
        if told.is_empty() {
            return;
        }
        let now = Instant::monotonic();
        told.retain_mut(|told| {
            if !told.is_due() {
                return false;
            }
            if now - told.since >= RENOTIFY {
                sys::eventfd_signal(&told.shard.event);
                told.since = now;
            }
            true
        });
    }

    /// The message to `shard` failed (its completion queue overflowed, or its ring is gone).
    fn told_in_vain(&self, shard: u32) {
        if let Some(told) = self.told.borrow().iter().find(|told| told.shard.id == shard) {
            sys::eventfd_signal(&told.shard.event);
        }
    }

    /// This ring ends: whoever has not looked yet is told by other means.
    fn tell_all_again(&self) {
        let told = std::mem::take(&mut *self.told.borrow_mut());
        told.iter().filter(|told| told.is_due()).for_each(|told| sys::eventfd_signal(&told.shard.event));
    }

    /// Registers a connection for [`relieve`](Self::relieve).
    pub(crate) fn add_socket(&self, socket: &Rc<SocketState>) {
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() == sockets.capacity() {
            // Before the list grows: its length follows the number of live connections.
            sockets.retain(|socket| socket.strong_count() > 0);
        }
        sockets.push(Rc::downgrade(socket));
    }

    /// A connection holds as many buffers as it may: it is looked at before the kernel is entered again.
    pub(crate) fn add_crowded(&self, socket: &Rc<SocketState>) {
        self.crowded.borrow_mut().push(Rc::clone(socket));
    }

    fn settle_crowded(&self) {
        if self.crowded.borrow().is_empty() {
            return;
        }
        let crowded = std::mem::take(&mut *self.crowded.borrow_mut());
        for socket in crowded {
            socket.settle();
        }
    }

    /// The pool ran dry: unread bytes of all connections move out of its buffers, so that only what tasks hold is missing.
    pub(crate) fn relieve(&self) {
        if self.relieved.replace(true) {
            return;
        }
        let sockets: Vec<_> = self.sockets.borrow().iter().filter_map(std::rc::Weak::upgrade).collect();
        for socket in sockets {
            socket.unload();
        }
    }
}

impl Told {
    /// Whether the shard still has something to look at, and still runs.
    fn is_due(&self) -> bool {
        self.shard.notified.load(Ordering::SeqCst) && self.shard.ring_fd.load(Ordering::SeqCst) >= 0
    }
}

impl Drop for RingDriver {
    fn drop(&mut self) {
        // A run that never began, or that a panic ended: the same order holds.
        if !self.closed.get() {
            self.shut();
        }
    }
}

impl Inner {
    /// Queues an entry for the next submission. What it points to is in the slab, or static.
    fn push(&mut self, entry: Entry) {
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push_back(entry);
        }
    }

    fn try_push(&mut self, entry: &Entry) -> bool {
        let Some(ring) = self.ring.as_mut() else { return false };
        // SAFETY: every entry points only to memory and descriptors that the slab owns until the operation's last
        // completion (`start`, `start_multishot`, `watch_event`, `set_alarm`), or to none at all (cancel, message).
        unsafe { ring.submission().push(entry).is_ok() }
    }

    /// Moves entries from the backlog as far as there is room; true when some are left.
    fn refill(&mut self) -> bool {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return self.ring.is_some();
            }
        }
        false
    }
}

/// Ends the process: the ring is in a state we know nothing about, and other tasks must not go on as if it worked.
pub(crate) fn fatal(message: &str) -> ! {
    tracing::error!("{message}");
    eprintln!("ouzel: fatal: {message}");
    std::process::abort();
}

pub(crate) fn run_is_over() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the shard's run is over")
}

/// An operation in flight: resolves to the kernel's result and the memory it worked on. Dropping it asks for the
/// operation's cancellation; the memory stays with the ring until the kernel is done.
pub(crate) struct Op {
    driver: Rc<RingDriver>,
    key: OpKey,
    finished: bool,
}

impl Future for Op {
    type Output = (i32, Keep);
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(i32, Keep)> {
        let done = {
            let mut inner = self.driver.inner.borrow_mut();
            match inner.ops.get_mut(self.key) {
                Some(Target::Single { result: Some(_), .. }) => inner.ops.remove(self.key),
                Some(Target::Single { waker, .. }) => {
                    match waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => *waker = Some(cx.waker().clone()),
                    }
                    return Poll::Pending;
                }
                _ => None,
            }
        };
        let Some(Target::Single { keep, result: Some(result), .. }) = done else {
            unreachable!("an operation was polled after it was ready");
        };
        self.finished = true;
        Poll::Ready((result, keep))
    }
}

impl Drop for Op {
    fn drop(&mut self) {
        if !self.finished {
            self.driver.abandon(self.key);
        }
    }
}

/// Counts one disk operation until dropped.
pub(crate) struct DiskGuard(Rc<RingDriver>);

impl Drop for DiskGuard {
    fn drop(&mut self) {
        self.0.disk.set(self.0.disk.get() - 1);
    }
}

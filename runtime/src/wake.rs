//! How a task is made ready, from its own core or from any other thread. Owns the wakers and what a shard shows to other
//! threads; polls nothing. The queue of wake-ups is the truth; an eventfd write or a message between rings is a hint.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::{io, mem};

use crate::driver::Driver;
use crate::executor::Core;
use crate::executor_kind::ExecutorKind;
use crate::sys;

thread_local! {
    /// The shard that runs on this thread.
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// The shard that runs on this thread, if one does.
pub(crate) fn current() -> Option<Rc<Core>> {
    CURRENT.try_with(|current| current.try_borrow().ok().and_then(|core| core.clone())).ok().flatten()
}

/// Makes `core` the thread's shard until the guard is dropped; `None` when the thread has one already.
pub(crate) fn enter(core: &Rc<Core>) -> Option<Entered> {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        if current.is_some() {
            return None;
        }
        *current = Some(Rc::clone(core));
        Some(Entered)
    })
}

/// Proof that [`enter`] succeeded.
pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        let core = CURRENT.with(|current| current.borrow_mut().take());
        drop(core);
    }
}

/// What a shard shows to every other thread.
pub(crate) struct ShardShared {
    /// Unique in this process; names the target in failed messages between rings.
    pub(crate) id: u32,
    /// The ring that messages go to; negative when there is none (any more).
    pub(crate) ring_fd: AtomicI32,
    /// Always valid, whether or not the shard still runs. On the own executor a read of it is in the ring; a shard on another
    /// executor sleeps on it, and its ring signals it as well.
    pub(crate) event: OwnedFd,
    /// The shard is in the kernel, or about to be, and looks at nothing before it is told.
    pub(crate) parked: AtomicBool,
    /// Something was put into `remote` since the shard last looked.
    pub(crate) notified: AtomicBool,
    remote: Mutex<Remote>,
}

struct Remote {
    closed: bool,
    ready: Vec<Arc<TaskWaker>>,
}

impl ShardShared {
    pub(crate) fn new(executor: ExecutorKind) -> io::Result<Arc<Self>> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        Ok(Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            ring_fd: AtomicI32::new(-1),
            event: match executor {
                ExecutorKind::Own => sys::eventfd()?,
                ExecutorKind::Glommio => sys::eventfd_nonblocking()?,
            },
            parked: AtomicBool::new(false),
            notified: AtomicBool::new(false),
            remote: Mutex::new(Remote { closed: false, ready: Vec::new() }),
        }))
    }

    /// Nothing that can panic runs under the lock.
    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what other threads made ready to the end of `out`.
    pub(crate) fn take_remote(&self, out: &mut impl Extend<Arc<TaskWaker>>) {
        // Cleared before the queue is read: whoever adds afterwards sets it again.
        if self.notified.swap(false, Ordering::SeqCst) {
            out.extend(mem::take(&mut self.remote().ready));
        }
    }

    /// The shard ends: later wake-ups are dropped.
    pub(crate) fn close(&self) {
        self.ring_fd.store(-1, Ordering::SeqCst);
        let ready = {
            let mut remote = self.remote();
            remote.closed = true;
            mem::take(&mut remote.ready)
        };
        drop(ready);
    }

    /// Adds a wake-up from another thread and tells the shard if it is parked and was not told yet.
    fn push_remote(self: &Arc<Self>, waker: Arc<TaskWaker>, from: Option<&Rc<Core>>) {
        {
            let mut remote = self.remote();
            if remote.closed {
                return;
            }
            remote.ready.push(waker);
        }
        // With the stores to `parked` and the loads of `notified` in the ring's park, all SeqCst, at least one side sees
        // the other: either the shard does not block, or it is told here.
        if self.notified.swap(true, Ordering::SeqCst) || !self.parked.load(Ordering::SeqCst) {
            return;
        }
        match from.map(|core| &core.driver) {
            Some(Driver::Ring(ring)) if self.ring_fd.load(Ordering::SeqCst) >= 0 => ring.message(self),
            _ => sys::eventfd_signal(&self.event),
        }
    }
}

/// The waker of one task. Safe from any thread, at any time, also after the task or its shard is gone.
pub(crate) struct TaskWaker {
    pub(crate) task: TaskKey,
    /// Set while the task is in a run queue: it is there at most once.
    pub(crate) queued: AtomicBool,
    /// Set while the task's runner stands in another executor's queue for it. Touched on the shard's own thread only: a task
    /// that is `queued` by another thread is not scheduled before the shard has looked.
    #[cfg(feature = "glommio")]
    pub(crate) scheduled: AtomicBool,
    pub(crate) shared: Arc<ShardShared>,
}

impl TaskWaker {
    /// The waker of a task that is about to stand in a run queue.
    pub(crate) fn queued(task: TaskKey, shared: &Arc<ShardShared>) -> Arc<Self> {
        Arc::new(Self {
            task,
            queued: AtomicBool::new(true),
            #[cfg(feature = "glommio")]
            scheduled: AtomicBool::new(false),
            shared: Arc::clone(shared),
        })
    }
}

/// Names a task of a shard; stale keys find nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl TaskKey {
    /// The main future of a run, which is in no slab.
    pub(crate) const MAIN: Self = Self { index: u32::MAX, generation: 0 };
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // AcqRel, and a swap in the executor too: what was written before a wake that finds the flag set is visible to the
        // poll that clears it.
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let core = current();
        match &core {
            Some(core) if Arc::ptr_eq(&core.shared, &self.shared) => core.push_ready(self),
            _ => {
                let shared = Arc::clone(&self.shared);
                shared.push_remote(self, core.as_ref());
            }
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Arc::clone(self).wake();
    }
}

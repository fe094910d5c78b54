//! Tasks, the run queue and timers of one core. Knows no operation: a driver below it completes them and keeps the clock.
//! Everything here stays on the shard's core but the wakers. On glommio (`executor/hosted.rs`) the run queue is glommio's; tasks,
//! timers and wakers are these.

#[cfg(feature = "glommio")]
pub(crate) mod hosted;

#[cfg(feature = "glommio")]
use std::cell::OnceCell;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use crate::driver::{Advance, Driver, Halt};
use crate::time::Instant;
use crate::wake::{self, ShardShared, TaskKey, TaskWaker};

/// Tasks polled before the driver is looked at again: what bounds the delay of I/O behind busy tasks.
const POLLS_PER_TURN: usize = 256;
/// Under the simulator, turns with ready tasks before an event is let through nevertheless.
const BUSY_TURNS_PER_EVENT: u32 = 64;

/// One shard, seen from inside.
pub(crate) struct Core {
    pub(crate) index: u16,
    pub(crate) driver: Driver,
    pub(crate) shared: Arc<ShardShared>,
    ready: RefCell<VecDeque<Arc<TaskWaker>>>,
    tasks: RefCell<Tasks>,
    timers: RefCell<Timers>,
    ending: Cell<bool>,
    /// Set while tasks run on glommio's queue instead of `ready`.
    #[cfg(feature = "glommio")]
    host: OnceCell<hosted::Host>,
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    task: Option<Task>,
}

struct Task {
    /// Taken out while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
    /// Who polls the task on another executor's queue, once it did so for the first time. Woken on this core only.
    #[cfg(feature = "glommio")]
    runner: Option<Waker>,
    join: Rc<Join>,
}

impl Task {
    /// The future is gone: tells who waits for that.
    fn end(self) {
        #[cfg(feature = "glommio")]
        if let Some(runner) = self.runner {
            runner.wake();
        }
        self.join.finish();
    }
}

#[derive(Default)]
struct Join {
    finished: Cell<bool>,
    cancelled: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
}

impl Join {
    fn finish(&self) {
        self.finished.set(true);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        waiters.into_iter().for_each(Waker::wake);
    }
}

#[derive(Default)]
struct Timers {
    /// By deadline, then in order of setting.
    pending: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

impl Core {
    pub(crate) fn new(index: u16, driver: Driver, shared: Arc<ShardShared>) -> Rc<Self> {
        Rc::new(Self {
            index,
            driver,
            shared,
            ready: RefCell::default(),
            tasks: RefCell::default(),
            timers: RefCell::default(),
            ending: Cell::new(false),
            #[cfg(feature = "glommio")]
            host: OnceCell::new(),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        match &self.driver {
            Driver::Ring(_) => Instant::monotonic(),
            Driver::Sim(sim) => sim.now(),
        }
    }

    /// Gives a task its turn, after those that are ready already.
    pub(crate) fn push_ready(&self, waker: Arc<TaskWaker>) {
        #[cfg(feature = "glommio")]
        if let Some(host) = self.host.get() {
            return self.schedule(host, &waker);
        }
        self.ready.borrow_mut().push_back(waker);
    }

    pub(crate) fn spawn(self: &Rc<Self>, future: impl Future<Output = ()> + 'static) -> TaskHandle {
        let join = Rc::new(Join::default());
        if self.ending.get() {
            join.finish();
            return TaskHandle { core: Weak::new(), task: TaskKey::MAIN, join };
        }
        let mut tasks = self.tasks.borrow_mut();
        let index = tasks.free.pop().unwrap_or_else(|| {
            tasks.slots.push(Slot { generation: 0, task: None });
            u32::try_from(tasks.slots.len() - 1).expect("fewer than 2^32 tasks on a core")
        });
        let slot = &mut tasks.slots[index as usize];
        let task = TaskKey { index, generation: slot.generation };
        let waker = TaskWaker::queued(task, &self.shared);
        slot.task = Some(Task {
            future: Some(Box::pin(future)),
            waker: Waker::from(Arc::clone(&waker)),
            #[cfg(feature = "glommio")]
            runner: None,
            join: Rc::clone(&join),
        });
        drop(tasks);
        #[cfg(feature = "glommio")]
        if let Some(host) = self.host.get() {
            self.start_runner(host, waker);
            return TaskHandle { core: Rc::downgrade(self), task, join };
        }
        self.push_ready(waker);
        TaskHandle { core: Rc::downgrade(self), task, join }
    }

    /// Runs until `main` is ready, or the simulator ends the run. Tasks are left as they are.
    pub(crate) fn block_on<F: Future>(self: &Rc<Self>, main: F) -> Result<F::Output, Halt> {
        let mut main = pin!(main);
        let main_waker = TaskWaker::queued(TaskKey::MAIN, &self.shared);
        self.push_ready(Arc::clone(&main_waker));
        let waker = Waker::from(main_waker);
        let mut busy_turns = 0;
        loop {
            self.fire_timers();
            self.shared.take_remote(&mut *self.ready.borrow_mut());
            let polls = self.ready.borrow().len().min(POLLS_PER_TURN);
            for _ in 0..polls {
                let Some(next) = self.ready.borrow_mut().pop_front() else { break };
                next.queued.swap(false, Ordering::AcqRel);
                if next.task == TaskKey::MAIN {
                    if let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                        return Ok(output);
                    }
                } else {
                    self.poll_task(next.task);
                }
            }
            let idle = self.ready.borrow().is_empty();
            match &self.driver {
                Driver::Ring(ring) => ring.turn(idle, self.next_deadline()),
                Driver::Sim(sim) => {
                    busy_turns = if idle { 0 } else { busy_turns + 1 };
                    if idle || busy_turns >= BUSY_TURNS_PER_EVENT {
                        busy_turns = 0;
                        match sim.advance(self.next_deadline()) {
                            Advance::Progress => {}
                            Advance::Halt(Halt::Stalled) if !idle => {}
                            Advance::Halt(halt) => return Err(halt),
                        }
                    }
                }
            }
        }
    }

    fn poll_task(&self, key: TaskKey) {
        let Some((mut future, waker, join)) = self.with_task(key, |task| {
            task.future.take().map(|future| (future, task.waker.clone(), Rc::clone(&task.join)))
        }) else {
            return;
        };
        let finished = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if finished || join.cancelled.get() {
            drop(future);
            self.remove_task(key);
        } else {
            self.with_task(key, |task| {
                task.future = Some(future);
                Some(())
            });
        }
    }

    fn with_task<T>(&self, key: TaskKey, action: impl FnOnce(&mut Task) -> Option<T>) -> Option<T> {
        let mut tasks = self.tasks.borrow_mut();
        let slot = tasks.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.task.as_mut().and_then(action)
    }

    /// Forgets a task whose future is gone, and tells who waits for its end.
    fn remove_task(&self, key: TaskKey) {
        let task = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(slot) = tasks.slots.get_mut(key.index as usize) else { return };
            if slot.generation != key.generation {
                return;
            }
            let task = slot.task.take();
            slot.generation = slot.generation.wrapping_add(1);
            tasks.free.push(key.index);
            task
        };
        if let Some(task) = task {
            task.end();
        }
    }

    fn cancel(&self, key: TaskKey, join: &Join) {
        if join.finished.get() {
            return;
        }
        join.cancelled.set(true);
        // A task that cancels itself is being polled: its future goes when the poll returns.
        if let Some(future) = self.with_task(key, |task| task.future.take()) {
            drop(future);
            self.remove_task(key);
        }
    }

    /// Drops every task, also those spawned meanwhile. The first step of the end of a run.
    pub(crate) fn drop_tasks(&self) {
        self.ending.set(true);
        loop {
            let futures: Vec<_> = {
                let mut tasks = self.tasks.borrow_mut();
                tasks.slots.iter_mut().filter_map(|slot| slot.task.take()).collect()
            };
            if futures.is_empty() {
                break;
            }
            for mut task in futures {
                drop(task.future.take());
                task.end();
            }
        }
        let timers = std::mem::take(&mut self.timers.borrow_mut().pending);
        drop(timers);
        self.ready.borrow_mut().clear();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.timers.borrow().pending.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    fn fire_timers(&self) {
        if self.timers.borrow().pending.is_empty() {
            return;
        }
        let now = self.now();
        loop {
            let waker = {
                let mut timers = self.timers.borrow_mut();
                match timers.pending.first_entry() {
                    Some(entry) if entry.key().0 <= now => entry.remove(),
                    _ => return,
                }
            };
            waker.wake();
        }
    }

    /// Waits until the shard's clock reaches `deadline`. Cancel-safe.
    pub(crate) fn sleep_until(self: &Rc<Self>, deadline: Instant) -> Sleep {
        Sleep { core: Rc::clone(self), deadline, registered: None }
    }
}

/// The future of a timer.
pub(crate) struct Sleep {
    core: Rc<Core>,
    deadline: Instant,
    registered: Option<u64>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.core.now() >= self.deadline {
            return Poll::Ready(());
        }
        let core = Rc::clone(&self.core);
        let mut timers = core.timers.borrow_mut();
        let number = *self.registered.get_or_insert_with(|| {
            timers.next += 1;
            timers.next
        });
        timers.pending.insert((self.deadline, number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.registered {
            let waker = self.core.timers.borrow_mut().pending.remove(&(self.deadline, number));
            drop(waker);
        }
    }
}

/// A spawned task. Dropping the handle lets the task go on by itself.
pub struct TaskHandle {
    core: Weak<Core>,
    task: TaskKey,
    join: Rc<Join>,
}

impl TaskHandle {
    /// Drops the task's future, where it stands. Operations it had in flight are cancelled and keep their buffers until
    /// the kernel is done with them.
    pub fn cancel(&self) {
        if let Some(core) = self.core.upgrade() {
            core.cancel(self.task, &self.join);
        }
    }

    /// Waits until the task has ended or was cancelled. Cancel-safe.
    pub async fn join(&self) {
        poll_fn(|cx| {
            if self.join.finished.get() {
                return Poll::Ready(());
            }
            let mut waiters = self.join.waiters.borrow_mut();
            if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
                waiters.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Whether the task has ended or was cancelled.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.join.finished.get()
    }
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("task", &self.task)
            .field("finished", &self.join.finished)
            .finish_non_exhaustive()
    }
}

/// Waits until every task that is ready now had its turn.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `main` as the shard of this thread, by `how`; `None` when the thread has one already.
pub(crate) fn run_core<T>(core: &Rc<Core>, how: impl FnOnce(&Rc<Core>) -> T) -> Option<T> {
    let _running = Running { core, _entered: wake::enter(core)? };
    Some(how(core))
}

/// A shard's thread while it runs. Dropping it is the end of the run, in order, also when a panic unwinds: tasks first,
/// then every operation, then the ring.
struct Running<'a> {
    core: &'a Core,
    _entered: wake::Entered,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.core.drop_tasks();
        if let Driver::Ring(ring) = &self.core.driver {
            ring.shut();
        }
        self.core.shared.close();
        self.core.ready.borrow_mut().clear();
    }
}

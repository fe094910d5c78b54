//! A core whose tasks stand in glommio's run queue. Every task has a runner there, a glommio task that polls it; one more
//! glommio task, the pump, does what the own executor's loop does between polls: timers, wake-ups from other threads, the
//! ring. Owns the count of what is runnable; no task and no operation. Stays on its core.
//!
//! Tasks never see a glommio waker, theirs are the core's own ([`TaskWaker`]): they may cross threads and outlive the run, and
//! a wake-up from outside takes the same way as on the own executor. glommio's wakers are used on this thread only, and
//! only to put a runner into its queue. docs/decisions/0007-glommio-as-the-second-executor.md says why.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::io::PollableFd;
use glommio::{LocalExecutorBuilder, Placement, TaskQueueHandle};

use super::{Core, POLLS_PER_TURN};
use crate::ring::hosted::{Bell, BellEvent};
use crate::ring::{RingDriver, fatal};
use crate::wake::{TaskKey, TaskWaker};

/// glommio's time slice: for ever. Nothing needs a shorter one, for all tasks are in one queue and nothing that they wait for
/// is in glommio's rings. And a slice that ends before the first task of a round has begun, which is what happens to a
/// thread that the kernel takes off its core, sends glommio 0.12.0 to sleep with tasks in its queue: `run_task_queues`
/// says that none ran, and `LocalExecutor::run` takes that for an empty queue.
const TIME_SLICE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// glommio's registered memory, which nothing uses: the least it takes.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// What a core knows of the queue its tasks stand in.
pub(super) struct Host {
    queue: TaskQueueHandle,
    /// Who polls the main future.
    main: RefCell<Option<Waker>>,
    /// Tasks that were woken and not polled since: while there are any, the pump must not sleep.
    woken: Cell<usize>,
    /// Runners that have not ended.
    runners: Cell<usize>,
    /// Polls since the ring was last looked at.
    polls: Cell<usize>,
}

/// Runs `main` and the core's tasks on a glommio executor until `main` is ready, then ends every task.
pub(crate) fn block_on<F: Future>(core: &Rc<Core>, ring: &Rc<RingDriver>, main: F) -> io::Result<F::Output> {
    let (bell, event) = Bell::new(ring)?;
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .name("ouzel")
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(TIME_SLICE)
        .make()
        .map_err(io::Error::from)?;
    let main = pin!(main);
    executor.run(async {
        let queue = glommio::executor().current_task_queue();
        let host = core.host.get_or_init(|| Host::new(queue));
        let event = PollableFd::new(event).map_err(io::Error::from)?;
        let pump = glommio::spawn_local_into(pump(Rc::clone(core), Rc::clone(ring), bell, event), queue)
            .map_err(io::Error::from)?;
        // Tasks spawned before the run began stand in the core's own queue.
        let early = std::mem::take(&mut *core.ready.borrow_mut());
        early.into_iter().for_each(|waker| core.start_runner(host, waker));
        let ending = Ending { core, host };
        let output = run_main(core, host, main).await;
        drop(ending);
        pump.cancel().await;
        // Each still gets the turn in which it ends.
        while host.runners.get() > 0 {
            glommio::executor().yield_now().await;
        }
        Ok(output)
    })
}

/// Ends every task when it is dropped, also by a panic of the main future: inside glommio's run, for glommio frees a task only
/// there, and with the last of its wakers.
struct Ending<'a> {
    core: &'a Core,
    host: &'a Host,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        drop(self.host.main.borrow_mut().take());
        self.core.drop_tasks();
    }
}

async fn run_main<F: Future>(core: &Rc<Core>, host: &Host, mut main: Pin<&mut F>) -> F::Output {
    let task_waker = TaskWaker::queued(TaskKey::MAIN, &core.shared);
    host.count(&task_waker);
    let waker = Waker::from(Arc::clone(&task_waker));
    poll_fn(|cx| {
        host.main.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        host.begin_poll(&task_waker);
        let output = main.as_mut().poll(&mut Context::from_waker(&waker));
        host.end_poll(core);
        output
    })
    .await
}

/// Keeps the core going, and lets glommio sleep when nothing is left to do.
async fn pump(core: Rc<Core>, ring: Rc<RingDriver>, bell: Bell, event: PollableFd<BellEvent>) {
    let Some(host) = core.host.get() else { unreachable!("the host is set before its pump starts") };
    loop {
        core.look_around();
        host.polls.set(0);
        let idle = host.woken.get() == 0;
        if ring.look(idle) && bell.begin_sleep(core.next_deadline()) {
            if let Err(error) = event.readable().await {
                fatal(&format!("glommio cannot wait for the ring: {error}"));
            }
            bell.end_sleep();
        } else {
            glommio::executor().yield_now().await;
        }
    }
}

impl Host {
    fn new(queue: TaskQueueHandle) -> Self {
        Self { queue, main: RefCell::default(), woken: Cell::new(0), runners: Cell::new(0), polls: Cell::new(0) }
    }

    /// A task's runner is about to stand in the queue for it; `false` if it does so already.
    fn count(&self, waker: &TaskWaker) -> bool {
        let is_new = !waker.scheduled.swap(true, Ordering::Relaxed);
        self.woken.set(self.woken.get() + usize::from(is_new));
        is_new
    }

    /// A task is about to be polled: from here on it may be woken again. A runner that only ends may not be counted, also if
    /// another thread has just woken its task.
    fn begin_poll(&self, waker: &TaskWaker) {
        waker.queued.swap(false, Ordering::AcqRel);
        if waker.scheduled.swap(false, Ordering::Relaxed) {
            self.woken.set(self.woken.get() - 1);
        }
    }

    /// Looks at the ring between polls when the pump's turn is far away: as often as the own executor does.
    fn end_poll(&self, core: &Core) {
        self.polls.set(self.polls.get() + 1);
        if self.polls.get() >= POLLS_PER_TURN {
            self.polls.set(0);
            core.look_around();
            if let crate::driver::Driver::Ring(ring) = &core.driver {
                ring.look(false);
            }
        }
    }
}

impl Core {
    /// Makes ready what timers and other threads say is ready.
    fn look_around(&self) {
        self.fire_timers();
        let mut remote = Vec::new();
        self.shared.take_remote(&mut remote);
        remote.into_iter().for_each(|waker| self.push_ready(waker));
    }

    /// Puts the runner of a woken task into glommio's queue.
    pub(super) fn schedule(&self, host: &Host, waker: &TaskWaker) {
        let runner = if waker.task == TaskKey::MAIN {
            host.main.borrow().clone()
        } else {
            self.with_task(waker.task, |task| task.runner.clone())
        };
        match runner {
            Some(runner) => {
                if host.count(waker) {
                    runner.wake();
                }
            }
            // The task has ended.
            None => drop(waker.queued.swap(false, Ordering::AcqRel)),
        }
    }

    /// Gives a new task, which counts as woken, its runner.
    pub(super) fn start_runner(self: &Rc<Self>, host: &Host, waker: Arc<TaskWaker>) {
        host.count(&waker);
        host.runners.set(host.runners.get() + 1);
        let runner = Runner { core: Rc::clone(self), waker };
        // Not `spawn_local`: that would poll the task at once, inside the one that starts it.
        match glommio::spawn_local_into(runner, host.queue) {
            Ok(task) => drop(task.detach()),
            Err(error) => fatal(&format!("glommio has lost the queue of the shard's tasks: {error}")),
        }
    }
}

/// Polls one task of the core until it has ended or was cancelled.
struct Runner {
    core: Rc<Core>,
    waker: Arc<TaskWaker>,
}

impl Runner {
    fn host(&self) -> &Host {
        self.core.host.get().unwrap_or_else(|| unreachable!("a runner is started by a host"))
    }
}

impl Future for Runner {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let key = self.waker.task;
        self.host().begin_poll(&self.waker);
        let alive =
            self.core.with_task(key, |task| Some(task.runner.get_or_insert_with(|| cx.waker().clone()).clone()));
        if alive.is_none() {
            return Poll::Ready(());
        }
        self.core.poll_task(key);
        self.host().end_poll(&self.core);
        match self.core.with_task(key, |_| Some(())) {
            Some(()) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let runners = &self.host().runners;
        runners.set(runners.get() - 1);
    }
}

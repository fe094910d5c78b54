//! How a core sleeps in another executor's reactor instead of in its own ring: an eventfd, the bell, that the kernel signals
//! when the ring has something, and a timeout in the ring for the next deadline. Knows no task and no reactor. On the
//! ring's core.
//!
//! The bell is the eventfd that threads without a ring signal. A second one, read through the ring as on the own executor,
//! would not do: the kernel does not signal an eventfd from within the signal of another. It puts that off, and (6.18,
//! io_uring/eventfd.c) only once: IO_EVENTFD_OP_SIGNAL_BIT is set and never cleared, so every later one is lost. For the
//! same reason nothing else that this ring waits for may be an eventfd.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use io_uring::opcode;
use io_uring::types::{TimeoutFlags, Timespec};

use super::RingDriver;
use super::ops::{OpKey, Target, Token};
use crate::sys;
use crate::time::Instant;
use crate::wake::ShardShared;

/// The bell of one ring. The ring does not touch it but between [`begin_sleep`](Self::begin_sleep) and
/// [`end_sleep`](Self::end_sleep): a core that is awake looks by itself.
pub(crate) struct Bell {
    driver: Rc<RingDriver>,
    alarm: Rc<Cell<Option<Alarm>>>,
}

/// The eventfd of a bell; keeps it open.
pub(crate) struct BellEvent(Arc<ShardShared>);

impl AsRawFd for BellEvent {
    fn as_raw_fd(&self) -> RawFd {
        self.0.event.as_raw_fd()
    }
}

/// The timeout that is in the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Alarm {
    pub(super) key: OpKey,
    deadline: Instant,
}

impl Bell {
    /// The bell of `driver`'s ring, and what is readable once it has rung.
    pub(crate) fn new(driver: &Rc<RingDriver>) -> io::Result<(Self, BellEvent)> {
        let event = BellEvent(Arc::clone(&driver.shared));
        if let Some(ring) = driver.inner.borrow_mut().ring.as_mut() {
            ring.submitter().register_eventfd(event.as_raw_fd())?;
            ring.completion().disable_eventfd();
        }
        Ok((Self { driver: Rc::clone(driver), alarm: Rc::default() }, event))
    }

    /// Makes ready for a sleep that ends when the bell rings: for a completion, a wake-up from another thread, or `deadline`.
    /// `false` when there is something to do first; then look at the ring again instead of sleeping.
    pub(crate) fn begin_sleep(&self, deadline: Option<Instant>) -> bool {
        let driver = &self.driver;
        let wake_at = driver.wake_at(deadline);
        if wake_at.is_some_and(|wake_at| wake_at <= Instant::monotonic()) {
            return false;
        }
        self.set_alarm(wake_at);
        driver.shared.parked.store(true, Ordering::SeqCst);
        if let Some(ring) = driver.inner.borrow_mut().ring.as_mut() {
            ring.completion().enable_eventfd();
        }
        // The kernel first queues work for this thread, then looks whether the bell is on; here the order is reversed. So
        // either the bell rings or the work is seen by `enter`. It rings for the first piece of work only, which is why
        // nothing older may be left when the sleep begins; `enter` runs a bounded number of pieces.
        fence(Ordering::SeqCst);
        if driver.wants_enter() {
            driver.enter(None);
        }
        let news = driver.drain() > 0;
        if news
            || driver.wants_enter()
            || !driver.inner.borrow().backlog.is_empty()
            || driver.shared.notified.load(Ordering::SeqCst)
        {
            self.end_sleep();
            return false;
        }
        true
    }

    /// Silences the bell. What it rang for is found by the next look at the ring.
    pub(crate) fn end_sleep(&self) {
        self.driver.shared.parked.store(false, Ordering::SeqCst);
        if let Some(ring) = self.driver.inner.borrow_mut().ring.as_mut() {
            ring.completion().disable_eventfd();
        }
        sys::eventfd_clear(&self.driver.shared.event);
    }

    /// Sees to it that a timeout completes at `deadline` or before. One that is early costs a look at the ring.
    fn set_alarm(&self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if let Some(alarm) = self.alarm.get() {
            if alarm.deadline <= deadline {
                return;
            }
            self.driver.cancel(alarm.key);
        }
        let nanos = deadline.as_nanos();
        let time = Timespec::new().sec(nanos / 1_000_000_000).nsec((nanos % 1_000_000_000) as u32);
        let time = Box::new(time);
        // Timeouts count by the monotonic clock unless they are told otherwise, and so do deadlines.
        let entry = opcode::Timeout::new(&raw const *time).flags(TimeoutFlags::ABS).build();
        let mut inner = self.driver.inner.borrow_mut();
        let key = inner.ops.insert(Target::Alarm { time, current: Rc::clone(&self.alarm) });
        inner.push(entry.user_data(Token::Op(key).encode()));
        self.alarm.set(Some(Alarm { key, deadline }));
    }
}

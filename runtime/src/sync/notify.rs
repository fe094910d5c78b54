//! [`Notify`] wakes one waiter or all; [`Event`] is a flag that can be waited for. One core; holds no data.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Places that are kept for the next waiter, so that a task that waits again and again allocates nothing.
const SPARE_COUNT_MAX: usize = 2;

/// Wakes waiting tasks. A `notify_one` without a waiter is remembered, once.
#[derive(Default)]
pub struct Notify {
    stored: Cell<bool>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
    /// Nobody else holds these.
    spare: RefCell<Vec<Rc<Waiter>>>,
}

#[derive(Default)]
struct Waiter {
    told: Cell<Told>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// By `notify_one`: if this waiter goes away unserved, the next one gets it.
    One,
    All,
}

impl Waiter {
    fn tell(&self, told: Told) {
        self.told.set(told);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Notify {
    /// Without waiters and without a stored notification.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the task that has waited longest; without one, the next `notified` returns at once.
    pub fn notify_one(&self) {
        let first = self.waiters.borrow_mut().pop_front();
        match first {
            Some(waiter) => waiter.tell(Told::One),
            None => self.stored.set(true),
        }
    }

    /// Wakes every task that waits now. Stores nothing.
    pub fn notify_all(&self) {
        // Those that begin to wait meanwhile stand behind.
        let count = self.waiters.borrow().len();
        for _ in 0..count {
            let Some(waiter) = self.waiters.borrow_mut().pop_front() else { return };
            waiter.tell(Told::All);
        }
    }

    /// A place for one more waiter.
    fn waiter(&self) -> Rc<Waiter> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    /// A waiter has ended; its place may serve the next one, if the queue has let it go too.
    fn retire(&self, waiter: Rc<Waiter>) {
        if Rc::strong_count(&waiter) == 1 && self.spare.borrow().len() < SPARE_COUNT_MAX {
            waiter.told.set(Told::Nothing);
            *waiter.waker.borrow_mut() = None;
            self.spare.borrow_mut().push(waiter);
        }
    }

    /// Waits for a notification. The place in the queue is taken at the first poll. Cancel-safe.
    pub fn notified(&self) -> Notified<'_> {
        Notified { notify: self, waiter: None }
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("stored", &self.stored).field("waiters", &self.waiters.borrow().len()).finish()
    }
}

/// The future of [`Notify::notified`].
pub struct Notified<'a> {
    notify: &'a Notify,
    waiter: Option<Rc<Waiter>>,
}

impl Future for Notified<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        if let Some(waiter) = &self.waiter {
            if waiter.told.get() != Told::Nothing {
                if let Some(waiter) = self.waiter.take() {
                    notify.retire(waiter);
                }
                return Poll::Ready(());
            }
            *waiter.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if notify.stored.replace(false) {
            return Poll::Ready(());
        }
        let waiter = notify.waiter();
        *waiter.waker.borrow_mut() = Some(cx.waker().clone());
        notify.waiters.borrow_mut().push_back(Rc::clone(&waiter));
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        match waiter.told.get() {
            Told::Nothing => self.notify.waiters.borrow_mut().retain(|other| !Rc::ptr_eq(other, &waiter)),
            Told::One => self.notify.notify_one(),
            Told::All => {}
        }
        self.notify.retire(waiter);
    }
}

/// A flag that tasks wait for.
#[derive(Debug, Default)]
pub struct Event {
    set: Cell<bool>,
    notify: Notify,
}

impl Event {
    /// Not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and wakes every waiter.
    pub fn set(&self) {
        self.set.set(true);
        self.notify.notify_all();
    }

    /// Clears the flag. A waiter that was already woken returns nevertheless.
    pub fn clear(&self) {
        self.set.set(false);
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until the flag is set. Cancel-safe.
    pub async fn wait(&self) {
        if !self.set.get() {
            self.notify.notified().await;
        }
    }
}

//! [`Notify`] wakes one waiter or all; [`Event`] is a flag that can be waited for. One core; holds no data.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Wakes waiting tasks. A `notify_one` without a waiter is remembered, once.
#[derive(Default)]
pub struct Notify {
    stored: Cell<bool>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
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
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for waiter in waiters {
            waiter.tell(Told::All);
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
                self.waiter = None;
                return Poll::Ready(());
            }
            *waiter.waker.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if notify.stored.replace(false) {
            return Poll::Ready(());
        }
        let waiter = Rc::new(Waiter::default());
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

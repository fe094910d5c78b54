//! A weighted counting semaphore, strictly first come first served: a large request at the head is not overtaken.
//! One core.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Hands out permits up to a total. Clones share the total.
#[derive(Clone)]
pub struct Semaphore {
    inner: Rc<Inner>,
}

struct Inner {
    available: Cell<usize>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    wanted: usize,
    granted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Inner {
    /// Gives `count` back and serves waiters from the head as far as it goes.
    fn release(&self, count: usize) {
        self.available.set(self.available.get() + count);
        loop {
            let waiter = {
                let mut waiters = self.waiters.borrow_mut();
                match waiters.front() {
                    Some(head) if head.wanted <= self.available.get() => {}
                    _ => return,
                }
                waiters.pop_front()
            };
            let Some(waiter) = waiter else { return };
            self.available.set(self.available.get() - waiter.wanted);
            waiter.granted.set(true);
            let waker = waiter.waker.borrow_mut().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

impl Semaphore {
    /// A semaphore of `permits` permits.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self { inner: Rc::new(Inner { available: Cell::new(permits), waiters: RefCell::default() }) }
    }

    /// Waits for `count` permits, in order of asking. Cancel-safe. More than will ever exist waits for ever.
    pub fn acquire(&self, count: usize) -> Acquire {
        Acquire { inner: Rc::clone(&self.inner), count, waiter: None, done: false }
    }

    /// `count` permits at once, or nothing; nothing too while others wait.
    #[must_use]
    pub fn try_acquire(&self, count: usize) -> Option<Permit> {
        if !self.inner.waiters.borrow().is_empty() || self.inner.available.get() < count {
            return None;
        }
        self.inner.available.set(self.inner.available.get() - count);
        Some(Permit { inner: Rc::clone(&self.inner), count })
    }

    /// Permits free now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.inner.available.get()
    }

    /// Tasks waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.waiters.borrow().len()
    }

    /// Raises the total.
    pub fn add_permits(&self, count: usize) {
        self.inner.release(count);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).field("waiting", &self.waiting()).finish()
    }
}

/// The future of [`Semaphore::acquire`].
pub struct Acquire {
    inner: Rc<Inner>,
    count: usize,
    waiter: Option<Rc<Waiter>>,
    done: bool,
}

impl Future for Acquire {
    type Output = Permit;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        assert!(!self.done, "a finished acquire was polled");
        let ready = match &self.waiter {
            Some(waiter) => {
                let granted = waiter.granted.get();
                if !granted {
                    *waiter.waker.borrow_mut() = Some(cx.waker().clone());
                }
                granted
            }
            None => {
                let free = self.inner.waiters.borrow().is_empty() && self.inner.available.get() >= self.count;
                if free {
                    self.inner.available.set(self.inner.available.get() - self.count);
                } else {
                    let waker = RefCell::new(Some(cx.waker().clone()));
                    let waiter = Rc::new(Waiter { wanted: self.count, granted: Cell::new(false), waker });
                    self.inner.waiters.borrow_mut().push_back(Rc::clone(&waiter));
                    self.waiter = Some(waiter);
                }
                free
            }
        };
        if !ready {
            return Poll::Pending;
        }
        self.waiter = None;
        self.done = true;
        Poll::Ready(Permit { inner: Rc::clone(&self.inner), count: self.count })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        if waiter.granted.get() {
            self.inner.release(self.count);
        } else {
            self.inner.waiters.borrow_mut().retain(|other| !Rc::ptr_eq(other, &waiter));
            // A smaller request may have stood behind this one.
            self.inner.release(0);
        }
    }
}

/// Permits held; dropping it gives them back.
pub struct Permit {
    inner: Rc<Inner>,
    count: usize,
}

impl Permit {
    /// How many permits this is.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes `count` permits out into a permit of their own.
    ///
    /// # Panics
    /// When `count` exceeds what is held.
    #[must_use]
    pub fn split(&mut self, count: usize) -> Permit {
        assert!(count <= self.count, "split of {count} out of {} permits", self.count);
        self.count -= count;
        Permit { inner: Rc::clone(&self.inner), count }
    }

    /// Takes in another permit of the same semaphore.
    ///
    /// # Panics
    /// When they are of different semaphores.
    pub fn merge(&mut self, mut other: Permit) {
        assert!(Rc::ptr_eq(&self.inner, &other.inner), "permits of two semaphores were merged");
        self.count += std::mem::take(&mut other.count);
    }

    /// Keeps the permits from ever coming back: the total shrinks.
    pub fn forget(mut self) {
        self.count = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.count > 0 {
            self.inner.release(self.count);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("count", &self.count).finish_non_exhaustive()
    }
}

//! One value from any thread to a task on any core. Both ends are `Send`; the receiver's waker crosses the threads.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

pub use super::oneshot::Canceled;

struct Inner<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_alive: bool,
    receiver_alive: bool,
}

/// Gives the value.
pub struct Sender<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

/// Waits for the value.
pub struct Receiver<T> {
    inner: Arc<Mutex<Inner<T>>>,
}

/// A connected pair.
#[must_use]
pub fn channel<T: Send>() -> (Sender<T>, Receiver<T>) {
    let inner = Inner { value: None, waker: None, sender_alive: true, receiver_alive: true };
    let inner = Arc::new(Mutex::new(inner));
    (Sender { inner: Arc::clone(&inner) }, Receiver { inner })
}

/// No code that can panic runs under these locks, so a poisoned one still holds a whole state.
fn lock<T>(inner: &Mutex<Inner<T>>) -> MutexGuard<'_, Inner<T>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Gives the value and wakes the receiver.
    ///
    /// # Errors
    /// The value, when the receiver has gone away.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut inner = lock(&self.inner);
        if !inner.receiver_alive {
            return Err(value);
        }
        inner.value = Some(value);
        // `Drop` wakes the receiver.
        Ok(())
    }

    /// Whether the receiver has gone away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !lock(&self.inner).receiver_alive
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut inner = lock(&self.inner);
            inner.sender_alive = false;
            inner.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Canceled>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = lock(&self.inner);
        if let Some(value) = inner.value.take() {
            return Poll::Ready(Ok(value));
        }
        if !inner.sender_alive {
            return Poll::Ready(Err(Canceled));
        }
        inner.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let leftovers = {
            let mut inner = lock(&self.inner);
            inner.receiver_alive = false;
            (inner.waker.take(), inner.value.take())
        };
        drop(leftovers);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

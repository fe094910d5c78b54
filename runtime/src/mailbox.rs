//! Bounded queues from any thread to one core. The queue is the truth; waking the reader is a hint that its waker takes
//! care of (a message between rings from a shard's thread, an eventfd from any other). Never blocks a thread.
//! Senders live on any core; the inbox is read on one.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Why a message was not taken; it comes back to the sender.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError<T> {
    /// The queue is at its capacity: push back.
    #[error("the mailbox is full")]
    Full(T),
    /// The inbox is gone: its shard has ended.
    #[error("the inbox is closed")]
    Closed(T),
}

impl<T> SendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Closed(message) => message,
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

struct State<T> {
    queue: VecDeque<T>,
    closed: bool,
    senders: usize,
    reader: Option<Waker>,
    writers: VecDeque<Waker>,
}

struct Inner<T> {
    capacity: usize,
    state: Mutex<State<T>>,
}

impl<T> Inner<T> {
    /// Nothing that can panic runs under the lock, so a poisoned one still holds a whole queue.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side; clones feed the same queue.
pub struct Mailbox<T> {
    inner: Arc<Inner<T>>,
}

/// The receiving side. Dropping it fails every later send.
pub struct Inbox<T> {
    inner: Arc<Inner<T>>,
}

pub(crate) fn mailbox<T: Send>(capacity: usize) -> (Mailbox<T>, Inbox<T>) {
    assert!(capacity > 0, "a mailbox needs room for one message");
    let state = State { queue: VecDeque::new(), closed: false, senders: 1, reader: None, writers: VecDeque::new() };
    let inner = Arc::new(Inner { capacity, state: Mutex::new(state) });
    (Mailbox { inner: Arc::clone(&inner) }, Inbox { inner })
}

impl<T: Send> Mailbox<T> {
    /// Puts `message` at the end of the queue, from any thread, without waiting.
    ///
    /// # Errors
    /// [`SendError`], with the message, when there is no room or no reader.
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        let reader = {
            let mut state = self.inner.lock();
            if state.closed {
                return Err(SendError::Closed(message));
            }
            if state.queue.len() >= self.inner.capacity {
                return Err(SendError::Full(message));
            }
            state.queue.push_back(message);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// Puts `message` at the end of the queue, waiting for room. Dropping the future drops the message unsent.
    ///
    /// # Errors
    /// [`SendError::Closed`], with the message, when the reader goes away.
    pub async fn send_wait(&self, message: T) -> Result<(), SendError<T>> {
        let mut message = Some(message);
        poll_fn(|cx| {
            let Some(current) = message.take() else { unreachable!("polled after it was ready") };
            match self.try_or_wait(current, cx) {
                Err(SendError::Full(returned)) => {
                    message = Some(returned);
                    Poll::Pending
                }
                result => Poll::Ready(result),
            }
        })
        .await
    }

    /// As `send`, but registers for a wake-up under the same lock when there is no room.
    fn try_or_wait(&self, message: T, cx: &mut Context<'_>) -> Result<(), SendError<T>> {
        let reader = {
            let mut state = self.inner.lock();
            if state.closed {
                return Err(SendError::Closed(message));
            }
            if state.queue.len() >= self.inner.capacity {
                if !state.writers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.writers.push_back(cx.waker().clone());
                }
                return Err(SendError::Full(message));
            }
            state.queue.push_back(message);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// Messages that were not read yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.inner.lock().queue.len()
    }

    /// Whether the reader is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        self.inner.lock().senders += 1;
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.inner.lock();
            state.senders -= 1;
            if state.senders > 0 {
                return;
            }
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T: Send> Inbox<T> {
    /// The next message; `None` when every sender is gone and the queue is empty. Cancel-safe.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| {
            let (message, writers) = {
                let mut state = self.inner.lock();
                match state.queue.pop_front() {
                    Some(message) => (Some(message), std::mem::take(&mut state.writers)),
                    None if state.senders == 0 => return Poll::Ready(None),
                    None => {
                        state.reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                }
            };
            // All of them: a single wake could go to a future that no longer waits.
            writers.into_iter().for_each(Waker::wake);
            Poll::Ready(message)
        })
        .await
    }

    /// Waits for at least one message and moves all that are there to the end of `out`. Returns `false`, having moved
    /// nothing, when every sender is gone and the queue is empty. Cancel-safe.
    pub async fn recv_batch(&mut self, out: &mut Vec<T>) -> bool {
        poll_fn(|cx| {
            let writers = {
                let mut state = self.inner.lock();
                if state.queue.is_empty() {
                    if state.senders == 0 {
                        return Poll::Ready(false);
                    }
                    state.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                out.extend(state.queue.drain(..));
                std::mem::take(&mut state.writers)
            };
            writers.into_iter().for_each(Waker::wake);
            Poll::Ready(true)
        })
        .await
    }

    /// The next message if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        let (message, writers) = {
            let mut state = self.inner.lock();
            let message = state.queue.pop_front()?;
            (message, std::mem::take(&mut state.writers))
        };
        writers.into_iter().for_each(Waker::wake);
        Some(message)
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let (queue, writers, reader) = {
            let mut state = self.inner.lock();
            state.closed = true;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.writers), state.reader.take())
        };
        writers.into_iter().for_each(Waker::wake);
        // Messages may hold replies whose drop wakes other shards: not under the lock.
        drop((queue, reader));
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("capacity", &self.inner.capacity).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("capacity", &self.inner.capacity).finish_non_exhaustive()
    }
}

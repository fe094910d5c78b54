//! First-come back-pressure in front of the log: a producer's bytes are promised before its batch is appended, so what
//! is appended always fits the dirty budget and the journal. Lives on the owner shard; decides nothing about the
//! budgets themselves (the caller's closure does).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Poll, Waker};

struct Waiting {
    bytes: usize,
    granted: Rc<Cell<bool>>,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<Waiting>>,
    reserved: Cell<usize>,
}

impl Queue {
    /// Bytes were given back unused: whoever is first looks again.
    fn give_back(&self, bytes: usize) {
        self.reserved.set(self.reserved.get() - bytes);
        self.wake_front();
    }

    fn wake_front(&self) {
        let waker = self.waiting.borrow().front().and_then(|front| front.waker.clone());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn is_front(&self, granted: &Rc<Cell<bool>>) -> bool {
        self.waiting.borrow().front().is_some_and(|front| Rc::ptr_eq(&front.granted, granted))
    }

    /// Grants the front of the queue.
    fn grant_front(&self) {
        let front = self.waiting.borrow_mut().pop_front();
        if let Some(front) = front {
            self.reserved.set(self.reserved.get() + front.bytes);
            front.granted.set(true);
            if let Some(waker) = front.waker {
                waker.wake();
            }
        }
    }
}

pub(crate) struct Admission {
    queue: Rc<Queue>,
}

/// Bytes promised to one append. Dropping it gives them back.
pub struct Reservation {
    bytes: usize,
    queue: Rc<Queue>,
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Reservation {
    /// Bytes promised.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a part out, for one of several appends.
    ///
    /// # Panics
    /// When there are fewer than `bytes` left.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        assert!(bytes <= self.bytes, "{bytes} of a reservation of {}", self.bytes);
        self.bytes -= bytes;
        Self { bytes, queue: self.queue.clone() }
    }

    /// The bytes were appended and count as dirty now: nobody gains room.
    pub(crate) fn spend(mut self) {
        self.queue.reserved.set(self.queue.reserved.get() - self.bytes);
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.queue.give_back(self.bytes);
        }
    }
}

impl Admission {
    pub(crate) fn new() -> Self {
        Self { queue: Rc::default() }
    }

    /// A promise at once, where nobody waits and there is room.
    pub(crate) fn try_reserve(&self, bytes: usize, has_room: impl Fn(usize, usize) -> bool) -> Option<Reservation> {
        let queue = &self.queue;
        if !queue.waiting.borrow().is_empty() || !has_room(queue.reserved.get(), bytes) {
            return None;
        }
        queue.reserved.set(queue.reserved.get() + bytes);
        Some(Reservation { bytes, queue: queue.clone() })
    }

    /// Waits its turn until `has_room(reserved, bytes)`. `refused` is asked first at every wake-up.
    /// Cancel-safe: a dropped wait gives up its place and whatever it was granted.
    pub(crate) async fn reserve<E>(
        &self,
        bytes: usize,
        has_room: impl Fn(usize, usize) -> bool,
        refused: impl Fn() -> Option<E>,
    ) -> Result<Reservation, E> {
        if let Some(error) = refused() {
            return Err(error);
        }
        let queue = &self.queue;
        if let Some(reservation) = self.try_reserve(bytes, &has_room) {
            return Ok(reservation);
        }
        let granted = Rc::new(Cell::new(false));
        queue.waiting.borrow_mut().push_back(Waiting { bytes, granted: granted.clone(), waker: None });
        let mut place = Place { queue, granted, bytes };
        std::future::poll_fn(|ctx| {
            if let Some(error) = refused() {
                return Poll::Ready(Err(error));
            }
            if !place.granted.get() && queue.is_front(&place.granted) && has_room(queue.reserved.get(), bytes) {
                queue.grant_front();
                queue.wake_front();
            }
            if place.granted.get() {
                return Poll::Ready(Ok(()));
            }
            for waiting in queue.waiting.borrow_mut().iter_mut() {
                if Rc::ptr_eq(&waiting.granted, &place.granted) {
                    waiting.waker = Some(ctx.waker().clone());
                }
            }
            Poll::Pending
        })
        .await?;
        place.bytes = 0;
        Ok(Reservation { bytes, queue: queue.clone() })
    }

    /// Bytes promised, and those that the front of the queue waits for.
    pub(crate) fn demand(&self) -> usize {
        self.queue.reserved.get() + self.queue.waiting.borrow().front().map_or(0, |front| front.bytes)
    }

    /// Whether producers wait.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.waiting.borrow().is_empty()
    }

    /// What `judge` says of all reserved bytes and those that the front of the queue waits for; false if nobody waits.
    pub(crate) fn front_wants(&self, judge: impl Fn(usize, usize) -> bool) -> bool {
        let front = self.queue.waiting.borrow().front().map(|front| front.bytes);
        front.is_some_and(|bytes| judge(self.queue.reserved.get(), bytes))
    }

    /// Grants the front of the queue as far as there is room.
    pub(crate) fn admit(&self, has_room: impl Fn(usize, usize) -> bool) {
        loop {
            let front = self.queue.waiting.borrow().front().map(|front| front.bytes);
            match front {
                Some(bytes) if has_room(self.queue.reserved.get(), bytes) => self.queue.grant_front(),
                _ => return,
            }
        }
    }

    /// Wakes all who wait, so that they see a refusal.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.queue.waiting.borrow().iter().filter_map(|waiting| waiting.waker.clone()).collect();
        for waker in wakers {
            waker.wake();
        }
    }
}

/// A place in the queue; gives back what it holds when the wait ends early. No bytes: the wait ended well.
struct Place<'a> {
    queue: &'a Queue,
    granted: Rc<Cell<bool>>,
    bytes: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        if self.granted.get() {
            self.queue.give_back(self.bytes);
        } else {
            let was_front = self.queue.is_front(&self.granted);
            self.queue.waiting.borrow_mut().retain(|waiting| !Rc::ptr_eq(&waiting.granted, &self.granted));
            if was_front {
                self.queue.wake_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn bytes_given_back_unused_let_the_next_producer_in() {
        let admission = Admission::new();
        let has_room = |reserved: usize, bytes: usize| reserved + bytes <= 10;
        let never = || None::<()>;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut ctx = Context::from_waker(&waker);
        let mut first = pin!(admission.reserve(10, has_room, never));
        let Poll::Ready(Ok(first)) = first.as_mut().poll(&mut ctx) else { panic!("there is room") };
        let mut second = Box::pin(admission.reserve(6, has_room, never));
        let mut third = pin!(admission.reserve(6, has_room, never));
        assert!(second.as_mut().poll(&mut ctx).is_pending() && third.as_mut().poll(&mut ctx).is_pending());
        drop(first);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1, "the first in the queue is woken");
        drop(second);
        assert_eq!(woken.0.load(Ordering::Relaxed), 2, "and when it goes away, the next");
        assert!(third.as_mut().poll(&mut ctx).is_ready());
    }
}

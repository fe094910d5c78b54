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

pub(crate) struct Admission {
    waiting: RefCell<VecDeque<Waiting>>,
    reserved: Rc<Cell<usize>>,
}

/// Bytes promised to one append. Dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    bytes: usize,
    reserved: Rc<Cell<usize>>,
}

impl Reservation {
    /// Bytes promised.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved.set(self.reserved.get() - self.bytes);
    }
}

impl Admission {
    pub(crate) fn new() -> Self {
        Self { waiting: RefCell::new(VecDeque::new()), reserved: Rc::new(Cell::new(0)) }
    }

    fn promise(&self, bytes: usize) -> Reservation {
        self.reserved.set(self.reserved.get() + bytes);
        Reservation { bytes, reserved: self.reserved.clone() }
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
        if self.waiting.borrow().is_empty() && has_room(self.reserved.get(), bytes) {
            return Ok(self.promise(bytes));
        }
        let granted = Rc::new(Cell::new(false));
        self.waiting.borrow_mut().push_back(Waiting { bytes, granted: granted.clone(), waker: None });
        let place = Place { admission: self, granted: granted.clone(), bytes };
        std::future::poll_fn(|ctx| {
            if let Some(error) = refused() {
                return Poll::Ready(Err(error));
            }
            if granted.get() {
                return Poll::Ready(Ok(()));
            }
            for waiting in self.waiting.borrow_mut().iter_mut() {
                if Rc::ptr_eq(&waiting.granted, &granted) {
                    waiting.waker = Some(ctx.waker().clone());
                }
            }
            Poll::Pending
        })
        .await?;
        std::mem::forget(place);
        Ok(Reservation { bytes, reserved: self.reserved.clone() })
    }

    /// Whether producers wait.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Grants the front of the queue as far as there is room.
    pub(crate) fn admit(&self, has_room: impl Fn(usize, usize) -> bool) {
        loop {
            let waker = {
                let mut waiting = self.waiting.borrow_mut();
                let Some(front) = waiting.front() else { return };
                if !has_room(self.reserved.get(), front.bytes) {
                    return;
                }
                self.reserved.set(self.reserved.get() + front.bytes);
                front.granted.set(true);
                waiting.pop_front().and_then(|front| front.waker)
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Wakes all who wait, so that they see a refusal.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> = self.waiting.borrow().iter().filter_map(|waiting| waiting.waker.clone()).collect();
        for waker in wakers {
            waker.wake();
        }
    }
}

/// A place in the queue; gives back what it holds when the wait ends early.
struct Place<'a> {
    admission: &'a Admission,
    granted: Rc<Cell<bool>>,
    bytes: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.granted.get() {
            self.admission.reserved.set(self.admission.reserved.get() - self.bytes);
        } else {
            self.admission.waiting.borrow_mut().retain(|waiting| !Rc::ptr_eq(&waiting.granted, &self.granted));
        }
    }
}

//! The order of replies on a connection of the Kafka protocol: a reply leaves when all before it have. Owns the places in that
//! order and the replies that are ready too early; each keeps what its request holds, which bounds them. Lives on the
//! connection's shard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use ouzel_runtime::sync::Notify;

use crate::reply_queue::ReplyQueue;
use crate::request::Held;

/// A place in the order of replies; taken when the request is read.
#[derive(Debug)]
pub(crate) struct Place(u64);

/// A reply that is ready, or the end of a request that wants none.
pub(crate) struct Answer {
    /// In the order of the wire.
    pub(crate) parts: Vec<Bytes>,
    pub(crate) held: Held,
}

/// The places of one connection that are not free yet.
#[derive(Default)]
pub(crate) struct InOrder {
    /// From `first` on.
    waiting: RefCell<VecDeque<Option<Answer>>>,
    first: Cell<u64>,
    moved: Notify,
    is_closed: Cell<bool>,
}

impl InOrder {
    /// The place behind all earlier ones.
    pub(crate) fn take(&self) -> Place {
        let mut waiting = self.waiting.borrow_mut();
        let place = Place(self.first.get() + waiting.len() as u64);
        waiting.push_back(None);
        place
    }

    /// Waits until every request before this one is answered, or nothing is any more.
    pub(crate) async fn turn_of(&self, place: &Place) {
        while self.first.get() < place.0 && !self.is_closed.get() {
            self.moved.notified().await;
        }
    }

    /// Puts an answer in its place, and sends what is in order.
    pub(crate) fn fill(&self, replies: &ReplyQueue, place: &Place, answer: Answer) {
        if self.is_closed.get() {
            // Places were given up, and what came in behind them was given their numbers.
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        let index = usize::try_from(place.0 - self.first.get()).unwrap_or(usize::MAX);
        *waiting.get_mut(index).expect("a place is filled once") = Some(answer);
        while let Some(Answer { parts, held }) = waiting.front_mut().and_then(Option::take) {
            waiting.pop_front();
            self.first.set(self.first.get() + 1);
            if !parts.is_empty() {
                replies.push(|out| {
                    parts.into_iter().for_each(|part| out.push(part));
                    held
                });
            }
        }
        drop(waiting);
        self.moved.notify_all();
    }

    /// Answers nothing more; what is ready is dropped.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        let dropped = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(dropped);
        self.moved.notify_all();
    }
}

//! The replies of one connection on their way out, in the order in which they became ready. One writer task takes all
//! that wait and sends them with one vectored send. Each reply keeps what its request holds (its place among the
//! requests in flight, its memory) until it is sent: that is the bound of this queue. Lives on the connection's shard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use bytes::Bytes;
use ouzel_runtime::sync::Notify;
use ouzel_runtime::{Shard, Socket};

use crate::frame_reader::Fault;
use crate::limits::SEND_PART_COUNT_MAX;
use crate::request::Held;
use crate::watch::Watch;

/// Replies that are not sent yet.
#[derive(Default)]
pub(crate) struct ReplyQueue {
    waiting: RefCell<VecDeque<(Vec<Bytes>, Held)>>,
    changed: Notify,
    is_closed: Cell<bool>,
}

impl ReplyQueue {
    /// Queues a reply; `held` is given back when it is sent, or at once when nothing can be sent any more.
    pub(crate) fn push(&self, parts: Vec<Bytes>, held: Held) {
        if !self.is_closed.get() {
            self.waiting.borrow_mut().push_back((parts, held));
            self.changed.notify_one();
        }
    }

    /// Sends nothing more: what waits is dropped, and the writer ends.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        let dropped = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(dropped);
        self.changed.notify_all();
    }

    /// Sends replies until the queue is closed or the peer is gone; one that does not take them is the watch's business.
    pub(crate) async fn send(&self, shard: &Shard, socket: &Socket, watch: &Watch) -> Result<(), Fault> {
        while !self.is_closed.get() {
            let (parts, held) = self.take();
            if parts.is_empty() {
                self.changed.notified().await;
                continue;
            }
            watch.sending(Some((shard.now(), parts.iter().map(Bytes::len).sum())));
            socket.send_vectored(parts).await?;
            watch.sending(None);
            drop(held);
        }
        Ok(())
    }

    fn take(&self) -> (Vec<Bytes>, Vec<Held>) {
        let mut waiting = self.waiting.borrow_mut();
        let (mut parts, mut held) = (Vec::new(), Vec::new());
        while parts.len() < SEND_PART_COUNT_MAX {
            let Some((reply, its)) = waiting.pop_front() else { break };
            parts.extend(reply);
            held.push(its);
        }
        (parts, held)
    }
}

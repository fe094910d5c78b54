//! The replies of one connection on their way out, in the order in which they became ready. They are gathered into
//! messages; one writer task sends a message after the other. Each reply keeps what its request holds (its place among the
//! requests in flight, its memory) until its message is sent: that is the bound of this queue. Messages are used again, so
//! a steady connection allocates nothing here. Lives on the connection's shard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use ouzel_runtime::sync::Notify;
use ouzel_runtime::{Outgoing, Socket};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::limits::{MESSAGE_BYTES_MAX, MESSAGE_PART_COUNT_MAX, MESSAGE_SPARE_BYTES};
use crate::request::Held;
use crate::shard::ShardState;
use crate::watch::Watch;

/// Replies that go out together.
#[derive(Default)]
struct Message {
    outgoing: Outgoing,
    held: Vec<Held>,
}

impl Message {
    /// Whether another reply had better go into the next message: what a message holds is given back as a whole.
    fn is_full(&self) -> bool {
        self.outgoing.len() >= MESSAGE_BYTES_MAX || self.outgoing.part_count() >= MESSAGE_PART_COUNT_MAX
    }
}

/// Replies that are not sent yet.
#[derive(Default)]
pub(crate) struct ReplyQueue {
    waiting: RefCell<VecDeque<Message>>,
    /// Sent and empty, for the next replies.
    spare: RefCell<Option<Message>>,
    changed: Notify,
    is_closed: Cell<bool>,
}

impl ReplyQueue {
    /// Queues the reply that `fill` puts in. What it returns is given back when the reply is sent; where nothing can be sent
    /// any more, `fill` is dropped with all it holds.
    pub(crate) fn push(&self, fill: impl FnOnce(&mut Outgoing) -> Held) {
        if self.is_closed.get() {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.back().is_none_or(Message::is_full) {
            waiting.push_back(self.spare.take().unwrap_or_default());
        }
        if let Some(message) = waiting.back_mut() {
            let held = fill(&mut message.outgoing);
            message.held.push(held);
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Sends nothing more: what waits is dropped, and the writer ends.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        let dropped = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(dropped);
        self.changed.notify_all();
    }

    /// Sends replies until the queue is closed or the peer is gone; one that does not take them is the watch's business.
    pub(crate) async fn send(&self, connection: &Connection, socket: &Socket, watch: &Watch) -> Result<(), Fault> {
        let ShardState { shard, meter, .. } = &*connection.state;
        while !self.is_closed.get() {
            let Some(Message { outgoing, mut held }) = self.take() else {
                self.changed.notified().await;
                continue;
            };
            let bytes = outgoing.len();
            watch.sending(Some((shard.now(), bytes)));
            let (sent, mut outgoing) = socket.send_outgoing(outgoing).await;
            sent?;
            watch.sending(None);
            meter.sent(connection.language, bytes);
            let now = shard.now();
            held.iter().for_each(|held| held.answered(now));
            held.clear();
            outgoing.clear(MESSAGE_SPARE_BYTES);
            self.spare.replace(Some(Message { outgoing, held }));
        }
        Ok(())
    }

    fn take(&self) -> Option<Message> {
        self.waiting.borrow_mut().pop_front()
    }
}

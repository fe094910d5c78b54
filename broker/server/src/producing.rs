//! The produce requests of one connection between their two moments, where all their batches were appended on this shard:
//! they are dispatched, and wait to be produced. Owns the queues and what answers them; decides no outcome.
//!
//! Batches of one shard reach their level in the order of the journal, so each level has one queue, first in, first out,
//! and one task that waits for its front. Tasks start with the first request and end with the connection; rows are used
//! again. Lives on the connection's shard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use ouzel_protocol::Durability;
use ouzel_protocol::native::{Api, FrameHeader, ProduceReply, append_reply};
use ouzel_runtime::Instant;
use ouzel_runtime::sync::Notify;
use ouzel_storage::Ack;

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::produce::{result, stage_timings};
use crate::lanes::{AppendOutcome, PartitionRef};
use crate::owner;
use crate::request::Held;

/// Lists of rows that are kept for the next requests.
const SPARE_COUNT_MAX: usize = 8;

/// One batch of a request: what is known of it, and what it still waits for. Without an ack the outcome is final.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) at: PartitionRef,
    pub(crate) outcome: AppendOutcome,
    pub(crate) ack: Option<Ack>,
}

/// A dispatched request.
pub(crate) struct Producing {
    pub(crate) header: FrameHeader,
    pub(crate) acks: i8,
    pub(crate) wants_timings: bool,
    pub(crate) received: Instant,
    pub(crate) rows: Vec<Row>,
    pub(crate) held: Held,
}

#[derive(Default)]
struct Queue {
    waiting: RefCell<VecDeque<Producing>>,
    filled: Notify,
    is_served: Cell<bool>,
}

/// The queues of one connection.
#[derive(Default)]
pub(crate) struct ProducingQueues {
    written: Queue,
    disk: Queue,
    spare: RefCell<Vec<Vec<Row>>>,
    is_closed: Cell<bool>,
}

impl ProducingQueues {
    /// An empty list of rows.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.spare.borrow_mut().pop().unwrap_or_default()
    }

    fn queue(&self, level: Durability) -> &Queue {
        match level {
            Durability::Written => &self.written,
            Durability::Disk => &self.disk,
        }
    }

    /// Queues a request behind the connection's earlier ones of its level: the strongest that a row of it waits for.
    pub(crate) fn push(&self, connection: &Rc<Connection>, request: Producing) {
        let is_disk = |row: &Row| row.ack.as_ref().is_some_and(|ack| ack.durability() == Durability::Disk);
        let level = if request.rows.iter().any(is_disk) { Durability::Disk } else { Durability::Written };
        let queue = self.queue(level);
        queue.waiting.borrow_mut().push_back(request);
        if queue.is_served.replace(true) {
            queue.filled.notify_one();
        } else {
            let connection = Rc::clone(connection);
            connection.state.shard.clone().spawn(async move { serve(&connection, level).await });
        }
    }

    /// Answers nothing more. The batches are in the log all the same.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        for queue in [&self.written, &self.disk] {
            let dropped = std::mem::take(&mut *queue.waiting.borrow_mut());
            drop(dropped);
            queue.filled.notify_all();
        }
    }
}

/// Answers the requests of one level, one after the other, until the connection ends.
async fn serve(connection: &Rc<Connection>, level: Durability) {
    let queues = &connection.producing;
    let queue = queues.queue(level);
    while !queues.is_closed.get() {
        let request = queue.waiting.borrow_mut().pop_front();
        let Some(mut request) = request else {
            queue.filled.notified().await;
            continue;
        };
        for row in &mut request.rows {
            let Some(ack) = row.ack.take() else { continue };
            let result = ack.await;
            row.outcome = owner::settled(&connection.state, row.outcome, result);
        }
        let committed = connection.state.shard.now();
        request.rows.iter_mut().for_each(|row| row.outcome = row.outcome.committed_at(committed));
        let mut rows = answer(connection, request);
        rows.clear();
        let mut spare = queues.spare.borrow_mut();
        if spare.len() < SPARE_COUNT_MAX {
            spare.push(rows);
        }
    }
}

/// Queues the reply to a request all of whose outcomes are final. Returns its rows.
fn answer(connection: &Rc<Connection>, request: Producing) -> Vec<Row> {
    let Producing { header, acks, wants_timings, received, rows, mut held } = request;
    let started = held.started;
    let outcomes = rows.iter().map(|row| &row.outcome);
    held.committed = connection.state.meter.produced((started, received), false, outcomes.clone());
    if acks == 0 {
        if let Some(refused) = rows.iter().map(|row| row.outcome.error).find(|error| !error.is_none()) {
            connection.fail(&Fault::Unacknowledged(refused));
        }
        return rows;
    }
    let timings = wants_timings.then(|| stage_timings(started, received, outcomes));
    connection.reply_with(held, |out| {
        append_reply(out, Api::Produce, header.correlation, |out| {
            ProduceReply::encode_rows(out, timings, rows.iter().map(|row| result((&row.at, &row.outcome))));
            0
        });
    });
    rows
}

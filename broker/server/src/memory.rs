//! The memory of one shard's connections, each part with its permits: bodies being received, records on their way out,
//! other replies, fetch sessions. Owns the permits and says where they are short; what the parts may be is `config.rs`.
//! Whoever cannot have memory waits, in order; nothing is allocated before its permit. Lives on the connections' shard.
//!
//! A body of up to [`BODY_BEGIN_BYTES`](crate::limits::BODY_BEGIN_BYTES) takes its permit from a part of its own, and so does
//! the beginning of a larger one; only what has begun to arrive may ask for the rest. So a frame whose header alone was
//! sent costs nothing, and many that stop soon after it do not stand in the way of small requests. No cycle: who holds
//! the rest of a body waits for its peer alone.

use std::cell::Cell;

use ouzel_runtime::sync::{Notify, Permit, Semaphore};

use crate::config::ConnectionBudget;

/// Which memory somebody waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// That of request bodies.
    pub(crate) requests: bool,
    /// That of replies.
    pub(crate) replies: bool,
}

impl Shortage {
    pub(crate) fn is_any(self) -> bool {
        self.requests || self.replies
    }
}

/// The permits of one shard.
pub(crate) struct ConnectionMemory {
    budget: ConnectionBudget,
    begun: Semaphore,
    bodies: Semaphore,
    records: Semaphore,
    sessions: Semaphore,
    /// Bytes of replies without records, which are known only once they are made.
    answers: Cell<usize>,
    answers_fell: Notify,
    /// Somebody has begun to wait.
    pub(crate) short: Notify,
}

impl ConnectionMemory {
    pub(crate) fn new(budget: ConnectionBudget) -> Self {
        Self {
            budget,
            begun: Semaphore::new(budget.begun_bytes),
            bodies: Semaphore::new(budget.body_bytes),
            records: Semaphore::new(budget.record_bytes),
            sessions: Semaphore::new(budget.session_bytes),
            answers: Cell::new(0),
            answers_fell: Notify::new(),
            short: Notify::new(),
        }
    }

    /// For a small body, or the beginning of a larger one. Cancel-safe.
    pub(crate) async fn begin_body(&self, bytes: usize) -> Permit {
        self.take(&self.begun, bytes).await
    }

    /// For the rest of a body whose beginning has arrived. Cancel-safe.
    pub(crate) async fn rest_of_body(&self, bytes: usize) -> Permit {
        self.take(&self.bodies, bytes).await
    }

    /// For a whole body at once, its beginning and its rest, where plenty is left and nobody waits.
    pub(crate) fn whole_body(&self, begin_bytes: usize, rest_bytes: usize) -> Option<(Permit, Option<Permit>)> {
        let is_plenty = |part: &Semaphore, total: usize, bytes: usize| part.available() >= total / 2 + bytes;
        if !is_plenty(&self.begun, self.budget.begun_bytes, begin_bytes)
            || !is_plenty(&self.bodies, self.budget.body_bytes, rest_bytes)
        {
            return None;
        }
        let begun = self.begun.try_acquire(begin_bytes)?;
        let rest = if rest_bytes > 0 { Some(self.bodies.try_acquire(rest_bytes)?) } else { None };
        Some((begun, rest))
    }

    /// For the records of a reply at once, where they are there and nobody waits.
    pub(crate) fn records_at_once(&self, bytes: usize) -> Option<Permit> {
        self.records.try_acquire(bytes)
    }

    /// For the records of a reply. Cancel-safe.
    pub(crate) async fn records(&self, bytes: usize) -> Permit {
        self.take(&self.records, bytes).await
    }

    /// What fetch sessions may still take.
    pub(crate) fn session_bytes_free(&self) -> usize {
        self.sessions.available()
    }

    /// For a fetch session that takes no more than is free.
    pub(crate) fn session(&self, bytes: usize) -> Permit {
        self.sessions.try_acquire(bytes).expect("a session is made within what is free, and nobody waits for that")
    }

    /// What one more reply may hold in records: less, the less is left, so that readers who do not read cannot take
    /// everything before they are found out.
    pub(crate) fn record_bytes_fair(&self) -> usize {
        (self.records.available() / 4).max(self.budget.record_bytes / 32)
    }

    /// Waits until replies without records take less than they may. Cancel-safe.
    pub(crate) async fn answers_allowed(&self) {
        while self.answers.get() > self.budget.answer_bytes {
            self.short.notify_one();
            self.answers_fell.notified().await;
        }
    }

    /// A reply without records was made, or is gone.
    pub(crate) fn answer_changed(&self, gone: usize, made: usize) {
        self.answers.set(self.answers.get() + made - gone);
        if gone > 0 && self.answers.get() <= self.budget.answer_bytes {
            self.answers_fell.notify_all();
        }
    }

    /// Where somebody waits; `held` is the chunk memory that only replies still hold.
    pub(crate) fn shortage(&self, held: usize) -> Shortage {
        Shortage {
            requests: self.begun.waiting() + self.bodies.waiting() > 0,
            replies: self.records.waiting() > 0
                || self.answers.get() > self.budget.answer_bytes
                || held > self.budget.held_bytes,
        }
    }

    /// What the log's chunks may take beside what is in use here, in bytes.
    pub(crate) fn left_for_chunks(&self) -> usize {
        self.budget.shared_bytes.saturating_sub(self.used_bytes())
    }

    /// What requests, fetch sessions and replies hold now, in bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        let free = self.begun.available() + self.bodies.available() + self.records.available();
        let given = (self.budget.begun_bytes + self.budget.body_bytes + self.budget.record_bytes).saturating_sub(free);
        let of_sessions = self.budget.session_bytes.saturating_sub(self.sessions.available());
        given + of_sessions + self.answers.get()
    }

    async fn take(&self, part: &Semaphore, bytes: usize) -> Permit {
        if let Some(permit) = part.try_acquire(bytes) {
            return permit;
        }
        self.short.notify_one();
        part.acquire(bytes).await
    }
}

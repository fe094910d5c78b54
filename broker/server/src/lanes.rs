//! The lanes between shards: what one shard may ask of another, and the queues that carry it.
//!
//! Owns the message types, the senders towards every shard and the credits. Never acts on a message: that is the owner's
//! (`owner.rs`) and the metadata's (`topic_table.rs`). Senders live on the asking shard, inboxes on the asked one.
//!
//! Lanes are separate so that none starves another: produce (order matters, one message a turn), requests (short),
//! parked (long polls), groups (members wait for each other), admin (questions of the admin server), metadata and control. A request brings the slot for its own reply with it, and holds one of the
//! sender's credits until it is answered, so replies never queue and queues never overflow (rule T2). Calls go one way
//! only: connection -> owner, connection -> metadata plane -> every shard; no lane waits for the lane that feeds it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use ouzel_broker_core::MetadataImage;
use ouzel_protocol::native::{DescribedShard, OffsetSpec};
use ouzel_protocol::{
    BatchHeader, Durability, ErrorCode, LeaderEpoch, MetadataVersion, Offset, PartitionIndex, TopicId,
};
use ouzel_runtime::remote_oneshot::{self, Sender};
use ouzel_runtime::sync::{Notify, Permit, Semaphore};
use ouzel_runtime::{Inbox, Instant, Mailbox, Shard};

use crate::admin::lane::AdminQuestion;
use crate::groups::GroupCall;
use crate::limits;
use crate::metadata_plane::PlaneMessage;
use crate::pulse;
use crate::shard::Control;

/// Names a partition across shards: the owner looks it up in its own metadata, at this version or a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionRef {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
}

/// One checked batch on its way to its owner.
#[derive(Debug)]
pub(crate) struct AppendRow {
    pub(crate) at: PartitionRef,
    pub(crate) header: BatchHeader,
    pub(crate) batch: Bytes,
}

/// What became of one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendOutcome {
    pub(crate) error: ErrorCode,
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) durability: Durability,
    pub(crate) log_start: Offset,
    pub(crate) times: AppendTimes,
    /// The broker's time that the batch got, in milliseconds since 1970; -1 where it kept its producer's.
    pub(crate) log_append_ms: i64,
}

/// When a batch passed each stage at its owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendTimes {
    /// The owner took it up.
    pub(crate) taken: Instant,
    /// Its place in the log was fixed.
    pub(crate) appended: Instant,
    /// Its level held.
    pub(crate) committed: Instant,
}

impl AppendOutcome {
    /// The batch is at its level, or never will be, since `now`.
    pub(crate) fn committed_at(self, now: Instant) -> Self {
        Self { times: AppendTimes { committed: now, ..self.times }, ..self }
    }

    /// The batch's place in the log is fixed since `now`.
    pub(crate) fn appended_at(self, now: Instant) -> Self {
        Self { times: AppendTimes { appended: now, committed: now, ..self.times }, ..self }
    }

    pub(crate) fn refused(error: ErrorCode, now: Instant) -> Self {
        Self {
            error,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::NONE,
            durability: Durability::Disk,
            log_start: Offset::ZERO,
            times: AppendTimes { taken: now, appended: now, committed: now },
            log_append_ms: -1,
        }
    }
}

/// The batches of one produce request that belong to one shard.
#[derive(Debug)]
pub(crate) struct ProducePart {
    pub(crate) rows: Vec<AppendRow>,
    pub(crate) reply: Sender<Vec<AppendOutcome>>,
}

/// All parts that one shard had for another in one turn, in the order in which they were dispatched.
#[derive(Debug)]
pub(crate) struct ProduceMessage {
    pub(crate) version: MetadataVersion,
    pub(crate) parts: Vec<ProducePart>,
}

/// From where to read one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadRow {
    pub(crate) at: PartitionRef,
    pub(crate) offset: Offset,
    pub(crate) bytes_max: usize,
}

impl AsRef<ReadRow> for ReadRow {
    fn as_ref(&self) -> &ReadRow {
        self
    }
}

/// What was read of one partition.
#[derive(Clone, Debug)]
pub(crate) struct ReadOutcome {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
    pub(crate) records: Vec<Bytes>,
}

impl ReadOutcome {
    pub(crate) fn refused(error: ErrorCode) -> Self {
        Self { error, high_watermark: Offset::ZERO, log_start: Offset::ZERO, records: Vec::new() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// The answer to one offset question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OffsetOutcome {
    pub(crate) error: ErrorCode,
    pub(crate) offset: Offset,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: LeaderEpoch,
}

impl OffsetOutcome {
    pub(crate) fn refused(error: ErrorCode) -> Self {
        Self { error, offset: Offset::ZERO, timestamp: -1, leader_epoch: LeaderEpoch::NONE }
    }
}

/// Where an epoch of one partition ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EpochEnd {
    pub(crate) error: ErrorCode,
    /// The partition's epoch now.
    pub(crate) current: LeaderEpoch,
    /// The last epoch up to the one asked for, and the offset after it; `None` for one that has not been.
    pub(crate) end: Option<(LeaderEpoch, Offset)>,
}

impl EpochEnd {
    pub(crate) fn refused(error: ErrorCode) -> Self {
        Self { error, current: LeaderEpoch::NONE, end: None }
    }
}

/// What the owner knows of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartitionStatus {
    pub(crate) log_start: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) bytes: u64,
    /// In a word.
    pub(crate) state: &'static str,
}

impl PartitionStatus {
    /// Nobody who could be asked owns it.
    pub(crate) const OFFLINE: Self =
        Self { log_start: Offset::ZERO, end_offset: Offset::ZERO, bytes: 0, state: "offline" };

    /// Whether its owner answered.
    pub(crate) fn is_known(&self) -> bool {
        self.state != Self::OFFLINE.state
    }
}

/// A question to the owner of partitions, answered soon.
#[derive(Debug)]
pub(crate) enum ShardRequest {
    Read {
        version: MetadataVersion,
        rows: Vec<ReadRow>,
        bytes_max: usize,
        at_least_one: bool,
        reply: Sender<Vec<ReadOutcome>>,
    },
    Offsets {
        version: MetadataVersion,
        rows: Vec<(PartitionRef, OffsetSpec)>,
        reply: Sender<Vec<OffsetOutcome>>,
    },
    /// Raise the first offset of each partition; without an offset, to the high watermark.
    DeleteRecords {
        version: MetadataVersion,
        rows: Vec<(PartitionRef, Option<Offset>)>,
        reply: Sender<Vec<Result<Offset, ErrorCode>>>,
    },
    /// Where an epoch of each partition ends.
    EpochEnds {
        version: MetadataVersion,
        rows: Vec<(PartitionRef, LeaderEpoch)>,
        reply: Sender<Vec<EpochEnd>>,
    },
    Status {
        version: MetadataVersion,
        rows: Vec<PartitionRef>,
        reply: Sender<Vec<PartitionStatus>>,
    },
    Describe {
        reply: Sender<DescribedShard>,
    },
}

/// A long poll: answered when a partition becomes visible beyond an offset, or at the deadline.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) version: MetadataVersion,
    pub(crate) rows: Vec<(PartitionRef, Offset)>,
    pub(crate) deadline: Instant,
    pub(crate) reply: Sender<()>,
}

/// A new metadata version, to be acted upon before the answer.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) image: Arc<MetadataImage>,
    /// `Err` says in words what could not be done.
    pub(crate) reply: Sender<Result<(), String>>,
}

/// The senders towards one shard: what a shard hands out when it comes up.
#[derive(Clone, Debug)]
pub(crate) struct ShardAddress {
    pub(crate) produce: Mailbox<ProduceMessage>,
    pub(crate) requests: Mailbox<ShardRequest>,
    pub(crate) parked: Mailbox<Parked>,
    pub(crate) groups: Mailbox<GroupCall>,
    pub(crate) admin: Mailbox<AdminQuestion>,
    pub(crate) publish: Mailbox<Publish>,
    /// Only shard 0's is read.
    pub(crate) plane: Mailbox<PlaneMessage>,
}

/// The receiving ends, kept by the shard itself.
#[derive(Debug)]
pub(crate) struct ShardInboxes {
    pub(crate) produce: Inbox<ProduceMessage>,
    pub(crate) requests: Inbox<ShardRequest>,
    pub(crate) parked: Inbox<Parked>,
    pub(crate) groups: Inbox<GroupCall>,
    pub(crate) admin: Inbox<AdminQuestion>,
    pub(crate) publish: Inbox<Publish>,
    pub(crate) plane: Inbox<PlaneMessage>,
}

/// What a shard sends to the thread that starts the broker, once its ring runs.
#[derive(Debug)]
pub(crate) struct ShardUp {
    pub(crate) address: ShardAddress,
    pub(crate) control: Mailbox<Control>,
    /// Where its pulse is felt.
    pub(crate) pulse: Mailbox<pulse::Question>,
}

/// Creates the lanes towards `shard`, for a node of `shards` shards.
pub(crate) fn open(shard: &Shard, shards: u16) -> (ShardAddress, ShardInboxes) {
    let peers = usize::from(shards);
    let (produce, produce_inbox) = shard.mailbox(limits::PRODUCE_LANE_COUNT_MAX);
    // Room for every credit of every peer: a sender that holds one never finds the queue full.
    let (requests, requests_inbox) = shard.mailbox(limits::REQUEST_CREDIT_COUNT * peers);
    let (parked, parked_inbox) = shard.mailbox(limits::PARKED_CREDIT_COUNT * peers);
    let (groups, groups_inbox) = shard.mailbox(limits::GROUP_CREDIT_COUNT * peers);
    let (admin, admin_inbox) = shard.mailbox(limits::ADMIN_LANE_COUNT_MAX);
    let (publish, publish_inbox) = shard.mailbox(limits::CONTROL_COUNT_MAX);
    let (plane, plane_inbox) = shard.mailbox(limits::PLANE_COUNT_MAX);
    (
        ShardAddress { produce, requests, parked, groups, admin, publish, plane },
        ShardInboxes {
            produce: produce_inbox,
            requests: requests_inbox,
            parked: parked_inbox,
            groups: groups_inbox,
            admin: admin_inbox,
            publish: publish_inbox,
            plane: plane_inbox,
        },
    )
}

/// The shard on the other side does not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardGone;

/// The way from one shard to one other.
#[derive(Debug)]
pub(crate) struct Peer {
    address: ShardAddress,
    request_credits: Semaphore,
    parked_credits: Semaphore,
    group_credits: Semaphore,
    outbox: RefCell<Vec<ProducePart>>,
    /// The shard on the other side takes nothing any more.
    is_gone: Cell<bool>,
    outbox_filled: Notify,
}

impl Peer {
    pub(crate) fn new(address: ShardAddress) -> Self {
        Self {
            address,
            request_credits: Semaphore::new(limits::REQUEST_CREDIT_COUNT),
            parked_credits: Semaphore::new(limits::PARKED_CREDIT_COUNT),
            group_credits: Semaphore::new(limits::GROUP_CREDIT_COUNT),
            outbox: RefCell::default(),
            is_gone: Cell::new(false),
            outbox_filled: Notify::new(),
        }
    }

    /// Puts a part behind all earlier ones: its place among them is fixed when this returns. Where the shard is gone the
    /// part is dropped, and its waiter sees that.
    pub(crate) fn dispatch(&self, part: ProducePart) {
        if self.is_gone.get() {
            return;
        }
        self.outbox.borrow_mut().push(part);
        self.outbox_filled.notify_one();
    }

    /// Sends what was dispatched, one message a turn, for as long as the peer runs. What is under way is bounded by the
    /// request budget of this shard's connections.
    pub(crate) async fn send_dispatched(&self, version: impl Fn() -> MetadataVersion) {
        loop {
            let parts = std::mem::take(&mut *self.outbox.borrow_mut());
            if parts.is_empty() {
                self.outbox_filled.notified().await;
                continue;
            }
            let message = ProduceMessage { version: version(), parts };
            if self.address.produce.send_wait(message).await.is_err() {
                // The reply slots were dropped with the message, and those of later parts are now: their waiters see a
                // shard that is gone.
                self.is_gone.set(true);
                let later = std::mem::take(&mut *self.outbox.borrow_mut());
                drop(later);
                return;
            }
        }
    }

    /// Asks and waits for the answer. Dropping the future gives up the answer, not the question.
    pub(crate) async fn ask<R: Send>(&self, question: impl FnOnce(Sender<R>) -> ShardRequest) -> Result<R, ShardGone> {
        let _credit = self.request_credits.acquire(1).await;
        let (reply, answer) = remote_oneshot::channel();
        self.address.requests.send(question(reply)).map_err(|_| ShardGone)?;
        answer.await.map_err(|_| ShardGone)
    }

    /// Parks a long poll and waits for its end.
    pub(crate) async fn park(
        &self,
        version: MetadataVersion,
        rows: Vec<(PartitionRef, Offset)>,
        deadline: Instant,
    ) -> Result<(), ShardGone> {
        let _credit = self.parked_credits.acquire(1).await;
        let (reply, answer) = remote_oneshot::channel();
        self.address.parked.send(Parked { version, rows, deadline, reply }).map_err(|_| ShardGone)?;
        answer.await.map_err(|_| ShardGone)
    }

    /// Sends a call into the other shard's groups, which brings the slot for its own answer with it. The credit that is returned
    /// is held until that is there.
    pub(crate) async fn call_groups(&self, call: GroupCall) -> Result<Permit, ShardGone> {
        let credit = self.group_credits.acquire(1).await;
        self.address.groups.send(call).map_err(|_| ShardGone)?;
        Ok(credit)
    }

    /// Hands a metadata version over and waits until it is acted upon.
    pub(crate) async fn publish(&self, image: Arc<MetadataImage>) -> Result<Result<(), String>, ShardGone> {
        let (reply, answer) = remote_oneshot::channel();
        self.address.publish.send_wait(Publish { image, reply }).await.map_err(|_| ShardGone)?;
        answer.await.map_err(|_| ShardGone)
    }

    /// Proposes a command to the metadata plane (on shard 0's peer only) and waits until every shard has acted on it.
    pub(crate) async fn ask_plane<R: Send>(
        &self,
        question: impl FnOnce(Sender<R>) -> PlaneMessage,
    ) -> Result<R, ShardGone> {
        let (reply, answer) = remote_oneshot::channel();
        self.address.plane.send_wait(question(reply)).await.map_err(|_| ShardGone)?;
        answer.await.map_err(|_| ShardGone)
    }
}

/// Sends a result to the thread that drives the broker; it may have given up.
pub(crate) fn report<T>(to: &mpsc::Sender<T>, result: T) {
    if to.send(result).is_err() {
        tracing::debug!("nobody waits for this shard's report any more");
    }
}

//! Commits of one member: in the order in which they were asked for, under the epoch that the member has when they are sent.
//! Owns the retries; never decides which offsets.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use ouzel_protocol::{ErrorCode, Offset, TopicId};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::heartbeats::Shared;
use super::membership::Life;
use crate::error::ClientError;
use crate::group_calls::TopicPartition;

/// How long a commit waits for news of the member's epoch before it tries again all the same.
const EPOCH_WAIT: Duration = Duration::from_millis(500);

/// Commits offsets for a member of a group. Clones are the same one.
#[derive(Clone)]
pub struct OffsetCommitter {
    shared: Arc<Shared>,
    group: Arc<str>,
    life: Life,
    order: Arc<Order>,
}

/// Commits of one member do not pass each other: an older one never undoes a newer.
#[derive(Default)]
pub(super) struct Order {
    next: AtomicU64,
    /// The number of the last commit that counts, by partition.
    last: Mutex<HashMap<TopicPartition, u64>>,
    /// Partitions that are somebody else's.
    given_back: std::sync::Mutex<HashSet<TopicPartition>>,
    /// The topics of partitions as they were assigned: what was read of one is never committed to another of its name.
    topic_ids: std::sync::Mutex<HashMap<TopicPartition, TopicId>>,
}

impl Order {
    /// Nothing more is committed of these, not even what was asked for before: returns when nothing is under way.
    pub(super) async fn give_back(&self, partitions: &[TopicPartition]) {
        let _nothing_under_way = self.last.lock().await;
        self.given_back().extend(partitions.iter().cloned());
    }

    /// This one is the member's, of the topic with this id.
    pub(super) fn take(&self, at: &TopicPartition, topic_id: TopicId) {
        self.topic_ids().insert(at.clone(), topic_id);
        self.given_back().remove(at);
    }

    // A panic while holding a lock would have been ours; set and map are plain values and stay sound.
    fn given_back(&self) -> MutexGuard<'_, HashSet<TopicPartition>> {
        self.given_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic_ids(&self) -> MutexGuard<'_, HashMap<TopicPartition, TopicId>> {
        self.topic_ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topics that these were assigned of; those that were never assigned are left out.
    fn topics_of(&self, offsets: &[(TopicPartition, Offset)]) -> HashMap<TopicPartition, TopicId> {
        let known = self.topic_ids();
        offsets.iter().filter_map(|(at, _)| Some((at.clone(), *known.get(at)?))).collect()
    }
}

impl std::fmt::Debug for OffsetCommitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffsetCommitter").field("group", &self.group).finish_non_exhaustive()
    }
}

impl OffsetCommitter {
    pub(super) fn new(shared: Arc<Shared>, group: Arc<str>, life: Life, order: Arc<Order>) -> OffsetCommitter {
        OffsetCommitter { shared, group, life, order }
    }

    /// Commits offsets: of each partition the next record to read. They are durable when this returns. When its future is
    /// dropped, they may be committed or not.
    ///
    /// # Errors
    /// The member was shut out or has lost the partitions meanwhile ([`ErrorCode::UnknownMemberId`],
    /// [`ErrorCode::FencedMemberEpoch`]): whoever has them now reads them again. A topic does not exist (any more: what was read
    /// of it is never committed to a later one of its name; the other topics' offsets are), or no broker answered within the
    /// operation timeout.
    pub async fn commit(&self, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let number = self.number();
        self.commit_as(number, offsets).await
    }

    /// The place of a commit that is asked for now.
    pub(super) fn number(&self) -> u64 {
        self.order.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Commits, unless a later commit of the same partitions came first.
    pub(super) async fn commit_as(&self, number: u64, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let mut last = self.order.last.lock().await;
        let given_back = offsets.iter().find(|(at, _)| self.order.given_back().contains(at)).map(|(at, _)| at);
        if let Some(at) = given_back {
            return Err(self.refused(format!("{at} was given back")));
        }
        let is_newest = |at: &TopicPartition| last.get(at).is_none_or(|other| *other < number);
        let offsets: Vec<_> = offsets.iter().filter(|(at, _)| is_newest(at)).cloned().collect();
        if offsets.is_empty() {
            return Ok(());
        }
        self.send(&offsets).await?;
        last.extend(offsets.into_iter().map(|(at, _)| (at, number)));
        Ok(())
    }

    fn refused(&self, message: String) -> ClientError {
        ClientError::Group { group: self.group.to_string(), code: ErrorCode::UnknownMemberId, message }
    }

    async fn send(&self, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let cluster = &self.shared.cluster;
        let assigned = self.order.topics_of(offsets);
        let mut news = self.shared.news();
        let mut retries = cluster.retries();
        loop {
            news.mark_unchanged();
            let Some(member) = self.shared.membership().committer(self.life) else {
                return Err(self.refused("the member was shut out and has lost its partitions".to_owned()));
            };
            let error = match cluster.commit_offsets(&self.group, Some(member), offsets, &assigned).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.code() {
                // The member has another epoch than it knows of, or has by now: a heartbeat tells.
                Some(ErrorCode::StaleMemberEpoch) if retries.has_time() => {
                    self.shared.speak.notify_one();
                    let _ = timeout(EPOCH_WAIT, news.changed()).await;
                }
                Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                    self.shared.speak.notify_one();
                    return Err(error);
                }
                _ => retries.pause(error).await?,
            }
        }
    }
}

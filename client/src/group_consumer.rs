//! What a program holds to consume as a member of a group. Owns the step from what the member is to have to what is read: partitions
//! are given back before others are taken, and only when what was read of them is committed. The membership says what it is
//! to have, the consumer beneath reads.

mod commits;
mod heartbeats;
mod listener;
mod membership;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ouzel_protocol::native::GroupPartition;
use ouzel_protocol::{Offset, PartitionIndex, TopicId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::config::{ConsumerConfig, OutOfRange, StartAt};
use crate::consumed::ConsumedRecord;
use crate::consumer::Consumer;
use crate::error::ClientError;
use crate::group_calls::TopicPartition;
use crate::group_config::{GroupConsumerConfig, Subscription};
pub use commits::OffsetCommitter;
use commits::Order;
use heartbeats::Shared;
pub use listener::{Calling, RebalanceListener};
use membership::{Assignment, Life, Membership};

/// Reads records of the partitions that its group's coordinator assigns to it.
///
/// Heartbeats go on in the background while the program works on what it was given; partitions come and go only within its
/// calls for records, so it must make them: one that does not for [`poll_interval_max`](GroupConsumerConfig::poll_interval_max)
/// leaves the group until it does. Restarts of a broker and moves of the group are invisible but for the wait. Dropped without
/// [`close`](Self::close), it leaves the group without a commit.
pub struct GroupConsumer {
    config: GroupConsumerConfig,
    shared: Arc<Shared>,
    heartbeats: JoinHandle<()>,
    news: watch::Receiver<u64>,
    /// News that was seen is not acted on yet.
    is_unsettled: bool,
    consumer: Consumer,
    listener: Option<Box<dyn RebalanceListener>>,
    group: Arc<str>,
    order: Arc<Order>,
    life: Life,
    /// What is read.
    owned: Assignment,
    /// What was committed last, by partition that is read.
    committed: HashMap<TopicPartition, Offset>,
    /// Not read any more; the listener is to hear that it is given back.
    revoking: Assignment,
    /// Where reading of these ended, to be committed.
    revoking_offsets: Vec<(TopicPartition, Offset)>,
    /// Read since lately; the listener is to hear of it.
    announcing: Vec<TopicPartition>,
    /// Not read any more; the listener is to hear that it was lost.
    losing: Vec<TopicPartition>,
}

impl std::fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConsumer").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Says that a call for records waits, for as long as it does.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.is_waiting.store(false, Ordering::Relaxed);
    }
}

impl GroupConsumer {
    pub(crate) fn start(cluster: Arc<Cluster>, config: GroupConsumerConfig) -> GroupConsumer {
        let member_id = format!("{:032x}", rand::random::<u128>());
        let membership = Membership::new(config.clone(), member_id);
        let life = membership.wanted().0;
        let shared = Arc::new(Shared::new(Arc::clone(&cluster), membership));
        let fetch = ConsumerConfig { out_of_range: config.offset_reset, ..config.fetch.clone() };
        GroupConsumer {
            news: shared.news(),
            is_unsettled: false,
            heartbeats: tokio::spawn(heartbeats::run(Arc::clone(&shared), config.clone())),
            shared,
            consumer: Consumer::start(cluster, fetch),
            listener: None,
            group: config.group.as_str().into(),
            order: Arc::default(),
            life,
            owned: Assignment::new(),
            committed: HashMap::new(),
            revoking: Assignment::new(),
            revoking_offsets: Vec::new(),
            announcing: Vec::new(),
            losing: Vec::new(),
            config,
        }
    }

    /// Who is told when partitions come and go.
    pub fn set_listener(&mut self, listener: impl RebalanceListener) {
        self.listener = Some(Box::new(listener));
    }

    /// What the group calls this member.
    #[must_use]
    pub fn member_id(&self) -> String {
        self.shared.membership().member_id().to_owned()
    }

    /// The partitions that are read now.
    pub fn assignment(&self) -> impl Iterator<Item = &TopicPartition> {
        self.owned.keys()
    }

    /// The offset that the next record of a partition that is read will have at least.
    #[must_use]
    pub fn position(&self, at: &TopicPartition) -> Option<Offset> {
        self.owned.contains_key(at).then(|| self.consumer.position(&at.topic, at.partition)).flatten()
    }

    /// Reads other topics from now on: the assignment follows.
    ///
    /// # Errors
    /// There is neither a topic nor a pattern in it, or a name is not legal.
    pub fn subscribe(&mut self, subscription: Subscription) -> Result<(), ClientError> {
        subscription.check()?;
        self.shared.membership().subscribe(subscription);
        self.shared.speak.notify_one();
        Ok(())
    }

    /// Goes on reading one partition from `to` on; what was fetched ahead is dropped.
    ///
    /// # Errors
    /// The member does not read it, or no owner answered within the operation timeout.
    pub async fn seek(&mut self, at: &TopicPartition, to: StartAt) -> Result<(), ClientError> {
        if !self.owned.contains_key(at) {
            return Err(ClientError::NothingAssigned);
        }
        self.consumer.seek(&at.topic, at.partition, to).await
    }

    /// The next record. Whoever asks for it has done with those before it. Cancel-safe: no record is lost with a dropped
    /// future; a listener that was being called is called again.
    ///
    /// # Errors
    /// The member cannot be one: its instance id was taken over, the group is full, its pattern is none. Or something that
    /// waiting does not cure, of one partition: see [`Consumer::next`].
    pub async fn recv(&mut self) -> Result<ConsumedRecord, ClientError> {
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if !self.is_unsettled()
            && let Some(record) = self.consumer.pop()
        {
            return Ok(record);
        }
        loop {
            self.wait_for_records().await?;
            if let Some(record) = self.consumer.pop() {
                return Ok(record);
            }
        }
    }

    /// Up to `records_max` records that are there, at least one; waits for the first. As [`recv`](Self::recv) in all else.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn poll(&mut self, records_max: usize) -> Result<Vec<ConsumedRecord>, ClientError> {
        let mut records = vec![self.recv().await?];
        while records.len() < records_max {
            match self.consumer.pop() {
                Some(record) => records.push(record),
                // An error waits for the next call: what was read before it comes first.
                None => match self.consumer.read_chunk(false) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => break,
                },
            }
        }
        Ok(records)
    }

    fn is_unsettled(&self) -> bool {
        // An error of the channel is its end, which comes after this.
        self.is_unsettled || self.news.has_changed().unwrap_or(false)
    }

    /// Returns when a batch was read; there may be no record in it.
    async fn wait_for_records(&mut self) -> Result<(), ClientError> {
        let shared = Arc::clone(&self.shared);
        shared.is_waiting.store(true, Ordering::Relaxed);
        let _waiting = Waiting(&shared);
        if shared.membership().has_lapsed() {
            shared.membership().revive();
            shared.speak.notify_one();
        }
        loop {
            if self.is_unsettled() || shared.commit_due.load(Ordering::Acquire) {
                self.settle().await?;
            }
            if self.consumer.has_decoded() {
                return Ok(());
            }
            if self.owned.is_empty() {
                // The channel is open for as long as there is a member.
                let _ = self.news.changed().await;
                self.is_unsettled = true;
                continue;
            }
            match self.consumer.read_chunk(true) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    let fetched = Arc::clone(&self.consumer.shared);
                    tokio::select! {
                        () = fetched.arrived.notified() => {}
                        _ = self.news.changed() => self.is_unsettled = true,
                    }
                }
                // The topic is gone, and the coordinator is about to say so.
                Err(ClientError::UnknownTopic { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks at what is new: offsets that are to be committed, partitions that come and go. Where its future is dropped the
    /// next call goes on.
    async fn settle(&mut self) -> Result<(), ClientError> {
        self.is_unsettled = true;
        self.news.mark_unchanged();
        self.settle_once().await?;
        self.is_unsettled = false;
        Ok(())
    }

    async fn settle_once(&mut self) -> Result<(), ClientError> {
        self.recall_failed_commits();
        if self.shared.commit_due.swap(false, Ordering::AcqRel) {
            drop(self.commit_in_background());
        }
        let mut failures = 0;
        loop {
            let (life, target) = self.shared.membership().wanted();
            if life != self.life {
                self.lose_all(life);
            }
            if !self.losing.is_empty() {
                self.tell_lost().await;
                continue;
            }
            let failure = self.shared.membership().failure().cloned();
            if let Some(error) = failure {
                return Err(error);
            }
            if self.revoking.is_empty() {
                self.stop_reading(&target);
            }
            if !self.revoking.is_empty() {
                self.give_back().await;
                self.acknowledge();
                continue;
            }
            let added: Assignment = target
                .iter()
                .filter(|(at, _)| !self.owned.contains_key(*at))
                .map(|(at, id)| (at.clone(), *id))
                .collect();
            if !added.is_empty()
                && let Err(error) = self.take(&added).await
            {
                tracing::debug!(group = %self.group, %error, failures, "assigned partitions cannot be read yet");
                // A topic that is gone is soon gone from the assignment; what else is there is read meanwhile. Tried again
                // with the next heartbeat.
                let is_gone = matches!(error, ClientError::UnknownTopic { .. } | ClientError::UnknownPartition { .. });
                if !is_gone && !error.is_retriable() {
                    return Err(error);
                }
                if !is_gone {
                    failures += 1;
                    tokio::time::sleep(self.shared.cluster.config.backoff().random_delay(failures)).await;
                    continue;
                }
            }
            if !self.announcing.is_empty() {
                if let Some(listener) = &mut self.listener {
                    listener.assigned(&self.announcing).await;
                }
                self.announcing.clear();
            }
            self.acknowledge();
            return Ok(());
        }
    }

    /// Tells the coordinator what is read, where that is news.
    fn acknowledge(&self) {
        if self.shared.membership().acknowledge(self.life, &self.owned) {
            self.shared.speak.notify_one();
        }
    }

    /// Everything was taken away.
    fn lose_all(&mut self, life: Life) {
        self.life = life;
        for at in self.owned.keys() {
            self.consumer.release(&at.topic, at.partition);
        }
        self.losing.extend(std::mem::take(&mut self.owned).into_keys());
        self.losing.extend(std::mem::take(&mut self.revoking).into_keys());
        self.revoking_offsets.clear();
        self.announcing.clear();
        self.committed.clear();
    }

    async fn tell_lost(&mut self) {
        tracing::info!(group = %self.group, partitions = self.losing.len(), "partitions were lost");
        if let Some(listener) = &mut self.listener {
            listener.lost(&self.losing).await;
        }
        self.losing.clear();
    }

    /// Stops reading what is not in `target`, and remembers where.
    fn stop_reading(&mut self, target: &Assignment) {
        // A topic of the same name and another id is another topic.
        let gone: Vec<_> = self.owned.iter().filter(|(at, id)| target.get(*at) != Some(*id)).collect();
        self.revoking = gone.into_iter().map(|(at, id)| (at.clone(), *id)).collect();
        let revoking = &self.revoking;
        // All of them: a commit in the background may be too late by now.
        let position = |at: &TopicPartition| Some((at.clone(), self.consumer.position(&at.topic, at.partition)?));
        self.revoking_offsets = revoking.keys().filter_map(position).collect();
        for at in self.revoking.keys() {
            self.consumer.release(&at.topic, at.partition);
            self.owned.remove(at);
            self.committed.remove(at);
        }
        self.announcing.retain(|at| self.owned.contains_key(at));
    }

    /// Commits what was read of the partitions that are to be given back, and lets the program do its part.
    async fn give_back(&mut self) {
        let committer = self.committer();
        if self.config.auto_commit_interval.is_some() {
            if let Err(error) = committer.commit(&self.revoking_offsets).await {
                // Whoever reads them next begins where the group stands: records are read twice, none is lost.
                tracing::warn!(group = %self.group, %error, "offsets of partitions that are given back were not committed");
            }
            self.revoking_offsets.clear();
        }
        let partitions: Vec<TopicPartition> = self.revoking.keys().cloned().collect();
        tracing::debug!(group = %self.group, partitions = partitions.len(), "partitions are given back");
        if let Some(listener) = &mut self.listener {
            listener.revoked(&partitions, &committer).await;
        }
        self.order.give_back(&partitions).await;
        self.revoking.clear();
    }

    /// Begins to read partitions where the group stands.
    async fn take(&mut self, added: &Assignment) -> Result<(), ClientError> {
        let cluster = Arc::clone(&self.shared.cluster);
        let row = |(at, topic_id): (&TopicPartition, &TopicId)| GroupPartition {
            topic_id: *topic_id,
            partition: at.partition,
        };
        let known = cluster.fetch_offsets_of(&self.group, added.iter().map(row).collect()).await?;
        let mut blank: HashMap<(Arc<str>, TopicId), Vec<PartitionIndex>> = HashMap::new();
        for (at, topic_id) in added {
            let mut topic = cluster.topic(&at.topic).await?;
            if topic.id != *topic_id || !topic.has(at.partition) {
                topic = cluster.fresh_topic(&at.topic).await?;
            }
            if topic.id != *topic_id {
                return Err(ClientError::UnknownTopic { topic: at.topic.to_string() });
            }
            match known.get(&(*topic_id, at.partition)) {
                Some(offset) => {
                    let start = StartAt::Offset(*offset);
                    self.consumer.start_at(&at.topic, Some(*topic_id), &[at.partition], start).await?;
                    self.committed.insert(at.clone(), *offset);
                    self.own(at.clone(), *topic_id);
                }
                None => blank.entry((Arc::clone(&at.topic), *topic_id)).or_default().push(at.partition),
            }
        }
        for ((topic, topic_id), partitions) in blank {
            let start = match self.config.offset_reset {
                OutOfRange::Earliest => StartAt::Earliest,
                OutOfRange::Latest => StartAt::Latest,
                OutOfRange::Error => {
                    let (group, topic) = (self.group.to_string(), topic.to_string());
                    return Err(ClientError::NoCommittedOffset { group, topic, partition: partitions[0] });
                }
            };
            self.consumer.start_at(&topic, Some(topic_id), &partitions, start).await?;
            for partition in partitions {
                self.own(TopicPartition { topic: Arc::clone(&topic), partition }, topic_id);
            }
        }
        Ok(())
    }

    fn own(&mut self, at: TopicPartition, topic_id: TopicId) {
        self.order.take(&at, topic_id);
        if self.owned.insert(at.clone(), topic_id).is_none() {
            self.announcing.push(at);
        }
    }

    /// Positions that are not what was committed last.
    fn uncommitted(&self) -> impl Iterator<Item = (TopicPartition, Offset)> + '_ {
        self.owned.keys().filter_map(|at| {
            let position = self.consumer.position(&at.topic, at.partition)?;
            (self.committed.get(at) != Some(&position)).then(|| (at.clone(), position))
        })
    }

    /// Positions whose commit failed in the background are to be committed again.
    fn recall_failed_commits(&mut self) {
        if self.shared.commit_failed.swap(false, Ordering::AcqRel) {
            self.committed.clear();
        }
    }

    /// What commits offsets for this member, for as long as it has what it has.
    #[must_use]
    pub fn committer(&self) -> OffsetCommitter {
        OffsetCommitter::new(Arc::clone(&self.shared), Arc::clone(&self.group), self.life, Arc::clone(&self.order))
    }

    /// Commits the positions of all partitions: everything that was given out counts as done. Durable when this returns. When
    /// its future is dropped, they may be committed or not.
    ///
    /// # Errors
    /// As [`OffsetCommitter::commit`].
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        self.recall_failed_commits();
        let offsets: Vec<_> = self.uncommitted().collect();
        self.committer().commit(&offsets).await?;
        self.committed.extend(offsets);
        Ok(())
    }

    /// [`commit`](Self::commit), in the background: the outcome is the task's, which goes on when its handle is dropped.
    pub fn commit_in_background(&mut self) -> JoinHandle<Result<(), ClientError>> {
        let offsets: Vec<_> = self.uncommitted().collect();
        self.committed.extend(offsets.iter().cloned());
        let shared = Arc::clone(&self.shared);
        let committer = self.committer();
        let number = committer.number();
        let group = Arc::clone(&self.group);
        tokio::spawn(async move {
            let committed = committer.commit_as(number, &offsets).await;
            if let Err(error) = &committed {
                tracing::warn!(%group, %error, "offsets were not committed");
                shared.commit_failed.store(true, Ordering::Release);
            }
            committed
        })
    }

    /// Commits, where that is automatic, gives everything back, and leaves the group; a static member is away for a while.
    ///
    /// # Errors
    /// The last commit failed; the member has left all the same.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let committed = match self.config.auto_commit_interval {
            Some(_) if !self.owned.is_empty() => self.commit().await,
            _ => Ok(()),
        };
        if !self.losing.is_empty() {
            self.tell_lost().await;
        }
        if self.revoking.is_empty() {
            self.stop_reading(&Assignment::new());
        }
        // It was committed above, or could not be.
        self.revoking_offsets.clear();
        if !self.revoking.is_empty() {
            self.give_back().await;
        }
        self.shared.close();
        // A task that panicked has said so.
        let _ = (&mut self.heartbeats).await;
        committed
    }
}

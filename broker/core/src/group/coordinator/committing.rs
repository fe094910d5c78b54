//! Committed offsets at the door: who may commit, delete and drop them, and what that writes. Owns the checks that are
//! the same for every kind of group. Lives on the shard that owns the partition.

use super::{GroupCoordinator, GroupKind, check_group_id, find_or_create};
use crate::group::effects::{Effects, PartitionOutcome, Reply, TopicOutcomes, Waiter};
use crate::group::error::GroupError;
use crate::group::ids::{GroupId, TopicName};
use crate::group::limits::{OFFSET_COUNT_MAX, OFFSET_METADATA_BYTES_MAX};
use crate::group::now::{Now, WallMs};
use crate::group::record::{CommittedOffset, GroupRecord};
use crate::group::request::{Caller, CommitPartition, DeleteTopicOffsets, OffsetCommitRequest};

impl GroupCoordinator {
    /// Commits offsets: of a live group by its members, in their generation; of an empty one by anybody that claims no
    /// generation. A commit by a member shows that it lives.
    pub fn commit_offsets(
        &mut self,
        now: Now,
        waiter: Waiter,
        group_id: &str,
        request: OffsetCommitRequest<'_>,
    ) -> Effects {
        let mut effects = Effects::new();
        if let Err(error) = self.check_commit(now, group_id, request.caller) {
            effects.reply(waiter, Reply::OffsetCommit(Err(error)));
            return effects;
        }
        let key = self.groups.get_key_value(group_id).expect("a commit that may be finds its group").0.clone();
        let expires_at = request.retention_ms.map(|ms| WallMs(now.wall.0.saturating_add_unsigned(ms)));
        let mut rows = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name = self.shared_name(topic.topic);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let commit = CommittedOffset {
                    offset: asked.offset,
                    leader_epoch: asked.leader_epoch,
                    metadata: asked.metadata.into(),
                    committed_at: now.wall,
                    expires_at,
                    topic_id: topic.topic_id,
                };
                let outcome = self.commit_one(&key, &name, asked, commit, &mut effects);
                partitions.push(PartitionOutcome { partition: asked.partition, outcome });
            }
            rows.push(TopicOutcomes { topic: name, partitions });
        }
        effects.reply(waiter, Reply::OffsetCommit(Ok(rows)));
        self.settle(group_id);
        effects
    }

    fn check_commit(&mut self, now: Now, group_id: &str, caller: Caller<'_>) -> Result<(), GroupError> {
        check_group_id(group_id, 0)?;
        if caller.generation.0 >= 0 && !self.groups.contains_key(group_id) {
            return Err(GroupError::UnknownGroup);
        }
        match &mut find_or_create(&mut self.groups, group_id, now)?.kind {
            GroupKind::Classic(group) => group.check_commit(caller, now),
            GroupKind::Consumer(group) => group.check_commit(caller.member_id, caller.generation),
        }
    }

    fn commit_one(
        &mut self,
        group_id: &GroupId,
        topic: &TopicName,
        asked: &CommitPartition<'_>,
        commit: CommittedOffset,
        effects: &mut Effects,
    ) -> Result<(), GroupError> {
        let (got, max) = (asked.metadata.len(), OFFSET_METADATA_BYTES_MAX);
        if got > max {
            return Err(GroupError::OffsetMetadataTooLarge { got, max });
        }
        let partition = asked.partition;
        let offsets = &mut self.groups.get_mut(group_id).expect("it was found").offsets;
        // In place of an earlier one there is room at any time: who reads on must be able to say so.
        if self.offset_count >= OFFSET_COUNT_MAX && !offsets.has(topic, partition) {
            return Err(GroupError::LimitReached { what: "committed offsets", limit: OFFSET_COUNT_MAX });
        }
        self.offset_count += usize::from(offsets.set(topic, partition, commit.clone()));
        effects.record(GroupRecord::OffsetCommit {
            group_id: group_id.clone(),
            topic: topic.clone(),
            partition,
            commit,
        });
        Ok(())
    }

    /// Forgets offsets of topics that no member subscribes to. One that is not there is forgotten already.
    pub fn delete_offsets(&mut self, waiter: Waiter, group_id: &str, topics: &[DeleteTopicOffsets<'_>]) -> Effects {
        let mut effects = Effects::new();
        let checked = match self.groups.get_key_value(group_id) {
            None => Err(GroupError::UnknownGroup),
            Some((key, group)) => match &group.kind {
                GroupKind::Classic(group) => group.check_offset_delete().map(|()| key.clone()),
                GroupKind::Consumer(_) => Ok(key.clone()),
            },
        };
        let key = match checked {
            Ok(key) => key,
            Err(error) => {
                effects.reply(waiter, Reply::OffsetDelete(Err(error)));
                return effects;
            }
        };
        let mut rows = Vec::with_capacity(topics.len());
        for asked in topics {
            let group = self.groups.get_mut(&key).expect("it was found");
            let topic = group.offsets.known_name(asked.topic).cloned().unwrap_or_else(|| asked.topic.into());
            let is_used = group.is_subscribed_to(asked.topic);
            let mut partitions = Vec::with_capacity(asked.partitions.len());
            for partition in asked.partitions.iter().copied() {
                let outcome = if is_used { Err(GroupError::SubscribedToTopic) } else { Ok(()) };
                if !is_used && group.offsets.remove(asked.topic, partition) {
                    self.offset_count -= 1;
                    let (group_id, topic) = (key.clone(), topic.clone());
                    effects.record(GroupRecord::OffsetTombstone { group_id, topic, partition });
                }
                partitions.push(PartitionOutcome { partition, outcome });
            }
            rows.push(TopicOutcomes { topic, partitions });
        }
        effects.reply(waiter, Reply::OffsetDelete(Ok(rows)));
        self.settle(group_id);
        effects
    }

    /// Deletes a group without members, and its offsets with it.
    pub fn delete_group(&mut self, waiter: Waiter, group_id: &str) -> Effects {
        let mut effects = Effects::new();
        let outcome = match self.groups.get_key_value(group_id) {
            None => Err(GroupError::UnknownGroup),
            Some((_, group)) if !group.has_no_member() => Err(GroupError::NonEmptyGroup),
            Some((key, _)) => {
                let key = key.clone();
                self.remove_group(&key, &mut effects);
                Ok(())
            }
        };
        effects.reply(waiter, Reply::DeleteGroup(outcome));
        effects
    }

    /// Takes a group out, and writes that it and its offsets are gone.
    pub(super) fn remove_group(&mut self, group_id: &GroupId, effects: &mut Effects) {
        let group = self.groups.remove(group_id).expect("it was found");
        self.offset_count -= group.offsets.count();
        for (topic, partition, _) in group.offsets.iter() {
            let (group_id, topic) = (group_id.clone(), topic.clone());
            effects.record(GroupRecord::OffsetTombstone { group_id, topic, partition });
        }
        if group.is_stored() {
            group.write_tombstones(group_id, effects);
        }
    }

    /// The name that all groups share.
    pub(super) fn shared_name(&mut self, topic: &str) -> TopicName {
        if let Some(name) = self.names.get(topic) {
            return name.clone();
        }
        let name = TopicName::from(topic);
        self.names.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{Offset, PartitionIndex};

    use super::*;
    use crate::group::config::GroupConfig;
    use crate::group::ids::Generation;
    use crate::group::request::CommitTopic;

    #[test]
    fn where_there_is_no_room_for_offsets_those_that_are_there_go_on() {
        let mut groups = GroupCoordinator::new(GroupConfig::default());
        let mut commit = |offset_count: usize, partition: u32, offset: u64| {
            groups.offset_count = offset_count;
            let partition = PartitionIndex(partition);
            let row = CommitPartition { partition, offset: Offset(offset), leader_epoch: None, metadata: "" };
            let topics = vec![CommitTopic { topic: "orders", topic_id: None, partitions: vec![row] }];
            let caller = Caller { member_id: "", instance_id: None, generation: Generation::NONE };
            let request = OffsetCommitRequest { caller, retention_ms: None, topics };
            let mut effects = groups.commit_offsets(Now::default(), Waiter(0), "g", request);
            let found = groups.group("g").and_then(|group| group.offsets().get("orders", partition));
            match effects.replies.pop() {
                Some((_, Reply::OffsetCommit(Ok(rows)))) => {
                    (rows[0].partitions[0].outcome.clone(), found.map(|commit| commit.offset.0), effects.records.len())
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(commit(0, 0, 7), (Ok(()), Some(7), 1));
        let limit = GroupError::LimitReached { what: "committed offsets", limit: OFFSET_COUNT_MAX };
        assert_eq!(commit(OFFSET_COUNT_MAX, 1, 8), (Err(limit), None, 0));
        assert_eq!(commit(OFFSET_COUNT_MAX, 0, 9), (Ok(()), Some(9), 1));
        assert_eq!(groups.offset_count, OFFSET_COUNT_MAX);
    }
}

//! Groups listed, described, deleted, and their offsets looked up and moved. Owns where a reset leads to; the broker decides
//! whether it may be.

use std::collections::HashMap;

use ouzel_protocol::native::{
    Api, DeleteGroupRequest, DeleteOffsetsReply, DeleteOffsetsRequest, DescribeGroupReply, GroupPartition,
    ListGroupsReply, ListGroupsRequest, ListedGroup, OffsetSpec, StatusReply, TopicOffsets,
};
use ouzel_protocol::{ErrorCode, Offset, PartitionIndex, check_topic_name};

use crate::admin::Admin;
use crate::error::ClientError;
use crate::group_calls::{TopicPartition, check_group_id};

/// Where a group's offsets are to be moved to. Always within what a partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetTo {
    /// The first record that a partition still has.
    Earliest,
    /// After the last record that is there now.
    Latest,
    /// This offset.
    Offset(Offset),
    /// The first record whose timestamp is not before this one, in milliseconds since 1970.
    Timestamp(i64),
    /// So many records on from what is committed, or back where it is below 0; from the first record where nothing is.
    Shift(i64),
}

/// An offset that is to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetReset {
    /// The partition.
    pub at: TopicPartition,
    /// What is committed now.
    pub from: Option<Offset>,
    /// What is to be committed.
    pub to: Offset,
}

impl Admin {
    /// Groups by their ids, those in one of `states` and of one of `kinds` (`Classic`, `Consumer`): Kafka's names, in whatever
    /// case; an empty filter lets all through. Cancel-safe.
    ///
    /// # Errors
    /// No broker answered within the operation timeout.
    pub async fn list_groups(&self, states: &[&str], kinds: &[&str]) -> Result<Vec<ListedGroup>, ClientError> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let request = ListGroupsRequest { states: owned(states), kinds: owned(kinds) };
        let mut retries = self.cluster().retries();
        let mut groups = loop {
            let encode = |out: &mut Vec<u8>| request.encode(out);
            match self.ask(Api::ListGroups, encode, |body| ListGroupsReply::decode(&body)).await {
                Ok(reply) => break reply.groups,
                Err(error) => retries.pause(error).await?,
            }
        };
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        Ok(groups)
    }

    /// State, members and what each of them has. Cancel-safe.
    ///
    /// # Errors
    /// There is no such group ([`ErrorCode::GroupIdNotFound`]), or no broker answered within the operation timeout.
    pub async fn describe_group(&self, group: &str) -> Result<DescribeGroupReply, ClientError> {
        check_group_id(group)?;
        let mut retries = self.cluster().retries();
        loop {
            match self.cluster().describe_group(group).await {
                Ok(reply) => return Ok(reply),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    /// Deletes a group and its offsets. Sent once: see [`Admin`].
    ///
    /// # Errors
    /// There is no such group, it has members, or the broker cannot be reached.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        check_group_id(group)?;
        let request = DeleteGroupRequest { group_id: group.to_owned() };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let StatusReply { error: code, message } =
            self.cluster().ask_group(group, Api::DeleteGroup, encode, StatusReply::decode).await?;
        if code.is_none() { Ok(()) } else { Err(ClientError::Group { group: group.to_owned(), code, message }) }
    }

    /// What a group has committed, by topic and partition; nothing for a group that does not exist. Cancel-safe.
    ///
    /// # Errors
    /// No broker answered within the operation timeout.
    pub async fn committed_offsets(&self, group: &str) -> Result<Vec<TopicOffsets>, ClientError> {
        check_group_id(group)?;
        let mut retries = self.cluster().retries();
        loop {
            match self.cluster().fetch_offsets(group).await {
                Ok(topics) => return Ok(topics),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    /// Where offsets of a group without members would be moved to: those of all partitions of `topics`, or of all topics that
    /// it has offsets of. Changes nothing; [`reset_offsets`](Self::reset_offsets) does. Cancel-safe.
    ///
    /// # Errors
    /// The group has members ([`ErrorCode::NonEmptyGroup`]), a topic does not exist, there is neither a topic nor such a group,
    /// or no broker answered within the operation timeout.
    pub async fn plan_offset_reset(
        &self,
        group: &str,
        topics: &[&str],
        to: ResetTo,
    ) -> Result<Vec<OffsetReset>, ClientError> {
        for topic in topics {
            check_topic_name(topic)?;
        }
        match self.describe_group(group).await {
            Ok(described) if !described.members.is_empty() => {
                let message = format!("it has {} members; stop them first", described.members.len());
                let group = group.to_owned();
                return Err(ClientError::Group { group, code: ErrorCode::NonEmptyGroup, message });
            }
            Ok(_) => {}
            // A group without offsets begins with those that it is given.
            Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) && !topics.is_empty() => {}
            Err(error) => return Err(error),
        }
        let committed = self.committed_offsets(group).await?;
        let all: Vec<&str> = match topics {
            [] => committed.iter().map(|topic| topic.name.as_str()).collect(),
            topics => topics.to_vec(),
        };
        let mut resets = Vec::new();
        for topic in all {
            let known = committed.iter().find(|known| known.name == topic);
            resets.extend(self.plan_topic_reset(topic, known, to).await?);
        }
        Ok(resets)
    }

    async fn plan_topic_reset(
        &self,
        topic: &str,
        known: Option<&TopicOffsets>,
        to: ResetTo,
    ) -> Result<Vec<OffsetReset>, ClientError> {
        let count = self.partition_count(topic).await?;
        let starts = self.offsets_at(topic, count, OffsetSpec::Earliest).await?;
        let ends = self.offsets_at(topic, count, OffsetSpec::Latest).await?;
        let wanted = match to {
            ResetTo::Timestamp(at) => self.offsets_at(topic, count, OffsetSpec::Timestamp(at)).await?,
            _ => Vec::new(),
        };
        let reset = |index: usize, (start, end): (&Offset, &Offset)| {
            let partition = PartitionIndex(u32::try_from(index).unwrap_or(u32::MAX));
            let mut rows = known.iter().flat_map(|topic| &topic.partitions);
            let from = rows.find(|row| row.partition == partition).map(|row| row.offset);
            let to = match to {
                ResetTo::Earliest => *start,
                ResetTo::Latest => *end,
                ResetTo::Offset(offset) => offset,
                ResetTo::Timestamp(_) => wanted.get(index).copied().unwrap_or(*end),
                ResetTo::Shift(by) => Offset(from.unwrap_or(*start).0.saturating_add_signed(by)),
            };
            OffsetReset { at: TopicPartition::new(topic, partition), from, to: to.clamp(*start, (*end).max(*start)) }
        };
        Ok(starts.iter().zip(&ends).enumerate().map(|(index, bounds)| reset(index, bounds)).collect())
    }

    async fn offsets_at(&self, topic: &str, count: u32, spec: OffsetSpec) -> Result<Vec<Offset>, ClientError> {
        let wanted: Vec<_> = (0..count).map(|index| (PartitionIndex(index), spec)).collect();
        Ok(self.list_offsets(topic, &wanted).await?.iter().map(|row| row.offset).collect())
    }

    /// Moves offsets of a group without members; a group that does not exist comes to be. Sent once: see [`Admin`].
    ///
    /// # Errors
    /// The group has members, a topic or partition does not exist, or the broker cannot be reached.
    pub async fn reset_offsets(&self, group: &str, resets: &[OffsetReset]) -> Result<(), ClientError> {
        check_group_id(group)?;
        let offsets: Vec<_> = resets.iter().map(|reset| (reset.at.clone(), reset.to)).collect();
        let committed = self.cluster().commit_offsets(group, None, &offsets, &HashMap::new()).await;
        committed.map_err(|error| match error {
            // The broker's word for somebody who is no member where there are members.
            ClientError::Group { group, code: ErrorCode::UnknownMemberId, .. } => {
                let message = "it has members; stop them first".to_owned();
                ClientError::Group { group, code: ErrorCode::NonEmptyGroup, message }
            }
            error => error,
        })
    }

    /// Forgets what a group has committed for partitions that no member of it reads. Sent once: see [`Admin`].
    ///
    /// # Errors
    /// There is no such group, a member reads a topic ([`ErrorCode::GroupSubscribedToTopic`]), a topic does not exist, or the
    /// broker cannot be reached.
    pub async fn delete_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        check_group_id(group)?;
        let ids = self.cluster().topic_ids(partitions.iter()).await?;
        let row = |at: &TopicPartition| GroupPartition { topic_id: ids[&at.topic], partition: at.partition };
        let request =
            DeleteOffsetsRequest { group_id: group.to_owned(), partitions: partitions.iter().map(row).collect() };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let reply = self.cluster().ask_group(group, Api::DeleteOffsets, encode, DeleteOffsetsReply::decode).await?;
        let refused = partitions.iter().zip(&reply.partitions).find(|(_, row)| !row.error.is_none());
        match refused {
            Some((at, row)) => {
                Err(ClientError::Partition { topic: at.topic.to_string(), partition: at.partition, code: row.error })
            }
            None => Ok(()),
        }
    }
}

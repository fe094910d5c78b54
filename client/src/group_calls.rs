//! Requests about groups, one attempt each, and what their refusals mean. Owns the step between a broker's codes and the error of
//! a program that named a group; never decides what is committed. Any shard takes them and leads them to the group's coordinator.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use ouzel_protocol::native::limits::STRING_BYTES_MAX;
use ouzel_protocol::native::{
    Api, CommitRow, DecodeError, DescribeGroupReply, DescribeGroupRequest, GroupHeartbeatReply, GroupHeartbeatRequest,
    GroupMember, GroupPartition, OffsetCommitReply, OffsetCommitRequest, OffsetFetchReply, OffsetFetchRequest,
    TopicOffsets,
};
use ouzel_protocol::{ErrorCode, Offset, PartitionIndex, TopicId};

use crate::cluster::Cluster;
use crate::config::invalid;
use crate::error::ClientError;

/// A partition by the name of its topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition of it.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// A partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionIndex) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A group id that could be one.
pub(crate) fn check_group_id(group: &str) -> Result<(), ClientError> {
    if group.is_empty() || group.len() > 1024 {
        return Err(invalid("group", "expected 1 to 1,024 bytes"));
    }
    const _: () = assert!(1024 <= STRING_BYTES_MAX);
    Ok(())
}

impl Cluster {
    /// Asks something of a group, once.
    pub(crate) async fn ask_group<T>(
        &self,
        group: &str,
        api: Api,
        encode: impl FnOnce(&mut Vec<u8>),
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, ClientError> {
        let connection = self.any_connection().await?;
        let body: Bytes = connection
            .call_with(api, self.config.request_timeout, encode)
            .await
            .map_err(|error| of_group(group, error))?;
        connection.decoded(decode(&body))
    }

    pub(crate) async fn group_heartbeat(
        &self,
        request: &GroupHeartbeatRequest,
    ) -> Result<GroupHeartbeatReply, ClientError> {
        let encode = |out: &mut Vec<u8>| request.encode(out);
        self.ask_group(&request.group_id, Api::GroupHeartbeat, encode, GroupHeartbeatReply::decode).await
    }

    pub(crate) async fn describe_group(&self, group: &str) -> Result<DescribeGroupReply, ClientError> {
        let request = DescribeGroupRequest { group_id: group.to_owned() };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        self.ask_group(group, Api::DescribeGroup, encode, DescribeGroupReply::decode).await
    }

    /// All offsets of a group, by topic and partition.
    pub(crate) async fn fetch_offsets(&self, group: &str) -> Result<Vec<TopicOffsets>, ClientError> {
        let request = OffsetFetchRequest { group_id: group.to_owned(), partitions: None };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        Ok(self.ask_group(group, Api::OffsetFetch, encode, OffsetFetchReply::decode).await?.topics)
    }

    /// What a group has committed of some partitions; those without an offset are left out.
    pub(crate) async fn fetch_offsets_of(
        &self,
        group: &str,
        partitions: Vec<GroupPartition>,
    ) -> Result<HashMap<(TopicId, PartitionIndex), Offset>, ClientError> {
        let request = OffsetFetchRequest { group_id: group.to_owned(), partitions: Some(partitions) };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let reply = self.ask_group(group, Api::OffsetFetch, encode, OffsetFetchReply::decode).await?;
        let rows = reply.topics.iter().flat_map(|topic| topic.partitions.iter().map(|row| (topic.topic_id, row)));
        Ok(rows.map(|(topic_id, row)| ((topic_id, row.partition), row.offset)).collect())
    }

    /// The ids of the topics that `partitions` are of.
    ///
    /// # Errors
    /// One of them does not exist, or no broker answered within the operation timeout.
    pub(crate) async fn topic_ids<'a>(
        &self,
        partitions: impl Iterator<Item = &'a TopicPartition>,
    ) -> Result<HashMap<Arc<str>, TopicId>, ClientError> {
        let mut ids = HashMap::new();
        for at in partitions {
            if !ids.contains_key(&at.topic) {
                ids.insert(Arc::clone(&at.topic), self.topic(&at.topic).await?.id);
            }
        }
        Ok(ids)
    }

    /// Commits offsets, once. Those of `assigned` go to the topic of that id or nowhere, the others to whichever has the name
    /// now. What could be committed is, whatever the error.
    pub(crate) async fn commit_offsets(
        &self,
        group: &str,
        member: Option<GroupMember>,
        offsets: &[(TopicPartition, Offset)],
        assigned: &HashMap<TopicPartition, TopicId>,
    ) -> Result<(), ClientError> {
        let named = offsets.iter().map(|(at, _)| at).filter(|at| !assigned.contains_key(*at));
        let ids = self.topic_ids(named).await?;
        let mut rows: Vec<&(TopicPartition, Offset)> = offsets.iter().collect();
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let partitions = rows.iter().map(|(at, offset)| CommitRow {
            topic_id: assigned.get(at).copied().unwrap_or_else(|| ids[&at.topic]),
            partition: at.partition,
            offset: *offset,
            leader_epoch: None,
            metadata: String::new(),
        });
        let request = OffsetCommitRequest { group_id: group.to_owned(), member, partitions: partitions.collect() };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let reply = self.ask_group(group, Api::OffsetCommit, encode, OffsetCommitReply::decode).await?;
        let refused = rows.iter().zip(&reply.partitions).find(|(_, row)| !row.error.is_none());
        let Some(((at, _), row)) = refused else { return Ok(()) };
        if row.error == ErrorCode::UnknownTopicId {
            if assigned.contains_key(at) {
                return Err(ClientError::UnknownTopic { topic: at.topic.to_string() });
            }
            // The topic was created anew under its name: the next attempt finds it.
            self.fresh_topic(&at.topic).await?;
        }
        Err(ClientError::Partition { topic: at.topic.to_string(), partition: at.partition, code: row.error })
    }
}

/// The error of a program that named a group: the broker's address is no news to it.
fn of_group(group: &str, error: ClientError) -> ClientError {
    match error {
        ClientError::Refused { code, message, .. } => ClientError::Group { group: group.to_owned(), code, message },
        error => error,
    }
}

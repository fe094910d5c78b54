//! Topics created, deleted, altered, described and listed; offsets and the cluster looked up. Owns these requests; never
//! touches records.

use std::sync::Arc;

use bytes::Bytes;
use ouzel_protocol::native::limits::{CONFIGS_MAX, STRING_BYTES_MAX};
use ouzel_protocol::native::{
    AlterTopicRequest, Api, CreateTopicReply, CreateTopicRequest, DecodeError, DeleteTopicRequest,
    DescribeClusterReply, DescribeClusterRequest, DescribeNodeReply, DescribeNodeRequest, DescribeTopicReply,
    DescribeTopicRequest, ListOffsetsResult, ListTopicsReply, ListTopicsRequest, MetadataReply, MetadataRequest,
    OffsetSpec, StatusReply,
};
use ouzel_protocol::{ClusterId, ErrorCode, PartitionIndex, TopicId, check_topic_name};

use crate::cluster::Cluster;
use crate::config::{StartAt, invalid};
use crate::error::ClientError;

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; 0 asks for the broker's default.
    pub partitions: u32,
    /// How many replicas each; 0 asks for the broker's default.
    pub replication_factor: u16,
    /// Configs that differ from the defaults.
    pub configs: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn named(name: impl Into<String>) -> NewTopic {
        NewTopic { name: name.into(), partitions: 0, replication_factor: 0, configs: Vec::new() }
    }

    /// Sets the partition count.
    #[must_use]
    pub fn partitions(self, partitions: u32) -> NewTopic {
        NewTopic { partitions, ..self }
    }

    /// Sets the replication factor.
    #[must_use]
    pub fn replication_factor(self, replication_factor: u16) -> NewTopic {
        NewTopic { replication_factor, ..self }
    }

    /// Adds a config.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.push((key.into(), value.into()));
        self
    }
}

/// What to change about a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicChange {
    /// New partition count, which may only grow; none leaves it.
    pub partitions: Option<u32>,
    /// Configs to change; a value of none goes back to the default.
    pub configs: Vec<(String, Option<String>)>,
}

/// Administers the cluster. Clones share the client's connections. Questions are asked again while their errors may pass;
/// changes are sent once, since a lost connection does not say whether they were made.
#[derive(Clone)]
pub struct Admin {
    cluster: Arc<Cluster>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Admin {
        Admin { cluster }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Creates a topic; it is usable on every shard when this returns.
    ///
    /// # Errors
    /// The name, count or a config is not legal, the topic exists, or the broker cannot be reached.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<TopicId, ClientError> {
        check_topic_name(&topic.name)?;
        check_configs(topic.configs.iter().map(|(key, value)| (key, Some(value))))?;
        let NewTopic { name, partitions, replication_factor, configs } = topic;
        let request = CreateTopicRequest { name, partitions, replication_factor, configs };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let reply = self.ask(Api::CreateTopic, encode, |body| CreateTopicReply::decode(&body)).await?;
        check_topic_reply(&request.name, reply.error, reply.message)?;
        Ok(reply.topic_id)
    }

    /// Deletes a topic and its records.
    ///
    /// # Errors
    /// There is no such topic, or the broker cannot be reached.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        check_topic_name(name)?;
        let request = DeleteTopicRequest { name: name.to_owned() };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let reply = self.ask(Api::DeleteTopic, encode, |body| StatusReply::decode(&body)).await?;
        check_topic_reply(name, reply.error, reply.message)
    }

    /// Adds partitions to a topic or changes its configs.
    ///
    /// # Errors
    /// There is no such topic, the change is not legal, or the broker cannot be reached.
    pub async fn alter_topic(&self, name: &str, change: TopicChange) -> Result<(), ClientError> {
        check_topic_name(name)?;
        check_configs(change.configs.iter().map(|(key, value)| (key, value.as_ref())))?;
        let TopicChange { partitions, configs } = change;
        let request = AlterTopicRequest { name: name.to_owned(), partitions, configs };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let reply = self.ask(Api::AlterTopic, encode, |body| StatusReply::decode(&body)).await?;
        check_topic_reply(name, reply.error, reply.message)
    }

    /// Configs and partitions of a topic, with their sizes.
    ///
    /// # Errors
    /// There is no such topic, or the broker cannot be reached within the operation timeout.
    pub async fn describe_topic(&self, name: &str) -> Result<DescribeTopicReply, ClientError> {
        check_topic_name(name)?;
        let mut retries = self.cluster.retries();
        loop {
            match self.ask_to_describe(name).await {
                Ok(reply) => return Ok(reply),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    async fn ask_to_describe(&self, name: &str) -> Result<DescribeTopicReply, ClientError> {
        let request = DescribeTopicRequest { name: name.to_owned() };
        let encode = |out: &mut Vec<u8>| request.encode(out);
        let decode = |body: Bytes| DescribeTopicReply::decode(&body);
        let mut reply = self.ask(Api::DescribeTopic, encode, decode).await?;
        check_topic_reply(name, reply.error, std::mem::take(&mut reply.message))?;
        Ok(reply)
    }

    /// Name, id and partition count of every topic.
    ///
    /// # Errors
    /// The broker cannot be reached within the operation timeout.
    pub async fn list_topics(&self) -> Result<Vec<(String, TopicId, u32)>, ClientError> {
        let mut retries = self.cluster.retries();
        loop {
            let encode = |out: &mut Vec<u8>| ListTopicsRequest {}.encode(out);
            let decode = |body: Bytes| ListTopicsReply::decode(&body);
            match self.ask(Api::ListTopics, encode, decode).await {
                Ok(reply) => return Ok(reply.topics),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    /// The offset at which each of `partitions` stands at a time, earliest or latest, in their order.
    ///
    /// # Errors
    /// There is no such topic or partition, or no owner answered within the operation timeout.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[(PartitionIndex, OffsetSpec)],
    ) -> Result<Vec<ListOffsetsResult>, ClientError> {
        self.cluster.list_offsets(topic, partitions).await
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// There is no such topic, or no broker answered within the operation timeout.
    pub async fn partition_count(&self, topic: &str) -> Result<u32, ClientError> {
        Ok(self.cluster.fresh_topic(topic).await?.partition_count())
    }

    /// Nodes with their ports, and the named topics (all without names) with the leaders of their partitions.
    ///
    /// # Errors
    /// No broker answered within the operation timeout.
    pub async fn metadata(&self, topics: Option<Vec<String>>) -> Result<MetadataReply, ClientError> {
        for name in topics.iter().flatten() {
            check_topic_name(name)?;
        }
        let request = MetadataRequest { topics };
        let mut retries = self.cluster.retries();
        loop {
            match self.ask_for_metadata(&request).await {
                Ok(reply) => return Ok(reply),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    /// Counters and state of the node that answers, and of each of its shards.
    ///
    /// # Errors
    /// The broker cannot be reached within the operation timeout.
    pub async fn describe_node(&self) -> Result<DescribeNodeReply, ClientError> {
        let mut retries = self.cluster.retries();
        loop {
            let encode = |out: &mut Vec<u8>| DescribeNodeRequest {}.encode(out);
            let decode = |body: Bytes| DescribeNodeReply::decode(&body);
            match self.ask(Api::DescribeNode, encode, decode).await {
                Ok(reply) => return Ok(reply),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    /// Which cluster this is: the same id from every node, through every restart.
    ///
    /// # Errors
    /// The broker cannot be reached within the operation timeout.
    pub async fn cluster_id(&self) -> Result<ClusterId, ClientError> {
        let mut retries = self.cluster.retries();
        loop {
            let encode = |out: &mut Vec<u8>| DescribeClusterRequest {}.encode(out);
            let decode = |body: Bytes| DescribeClusterReply::decode(&body);
            match self.ask(Api::DescribeCluster, encode, decode).await {
                Ok(reply) => return Ok(reply.cluster_id),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    async fn ask_for_metadata(&self, request: &MetadataRequest) -> Result<MetadataReply, ClientError> {
        let connection = self.cluster.any_connection().await?;
        connection.metadata(request, self.cluster.config.request_timeout).await
    }

    pub(crate) async fn ask<T>(
        &self,
        api: Api,
        encode: impl FnOnce(&mut Vec<u8>),
        decode: impl FnOnce(Bytes) -> Result<T, DecodeError>,
    ) -> Result<T, ClientError> {
        let connection = self.cluster.any_connection().await?;
        let body = connection.call_with(api, self.cluster.config.request_timeout, encode).await?;
        connection.decoded(decode(body))
    }
}

fn check_topic_reply(name: &str, error: ErrorCode, message: String) -> Result<(), ClientError> {
    match error {
        ErrorCode::None => Ok(()),
        ErrorCode::UnknownTopicOrPartition => Err(ClientError::UnknownTopic { topic: name.to_owned() }),
        code => Err(ClientError::Topic { topic: name.to_owned(), code, message }),
    }
}

fn check_configs<'a>(
    configs: impl ExactSizeIterator<Item = (&'a String, Option<&'a String>)>,
) -> Result<(), ClientError> {
    if configs.len() > CONFIGS_MAX {
        return Err(invalid("configs", "too many of them"));
    }
    for (key, value) in configs {
        if key.len() > STRING_BYTES_MAX || value.is_some_and(|value| value.len() > STRING_BYTES_MAX) {
            return Err(invalid("configs", "a key or value is longer than 65,535 bytes"));
        }
    }
    Ok(())
}

impl StartAt {
    /// What to ask a broker for; none for an offset, which is known.
    pub(crate) fn spec(self) -> Option<OffsetSpec> {
        match self {
            StartAt::Earliest => Some(OffsetSpec::Earliest),
            StartAt::Latest => Some(OffsetSpec::Latest),
            StartAt::Timestamp(timestamp_ms) => Some(OffsetSpec::Timestamp(timestamp_ms)),
            StartAt::Offset(_) => None,
        }
    }
}

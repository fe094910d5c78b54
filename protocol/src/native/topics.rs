//! Topics created, deleted, altered, described and listed. Owns the layouts; never decides whether a name or a config is
//! legal. Any core.

use super::limits::{CONFIGS_MAX, PARTITIONS_MAX, TOPICS_MAX};
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, NodeId, Offset, PartitionIndex, ShardIndex, TopicId};

/// `name` string, `partitions` u32, `replication_factor` u16, configs as a list of (key string, value string).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopicRequest {
    /// Name of the topic.
    pub name: String,
    /// How many partitions; 0 asks for the broker's default.
    pub partitions: u32,
    /// How many replicas each; 0 asks for the broker's default.
    pub replication_factor: u16,
    /// Configs that differ from the defaults.
    pub configs: Vec<(String, String)>,
}

impl CreateTopicRequest {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.string(&self.name);
        writer.u32(self.partitions);
        writer.u16(self.replication_factor);
        writer.list(&self.configs, CONFIGS_MAX, |writer, (key, value)| {
            writer.string(key);
            writer.string(value);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<CreateTopicRequest, DecodeError> {
        let mut reader = Reader::new("create topic request", bytes);
        let request = CreateTopicRequest {
            name: reader.string("name")?,
            partitions: reader.u32("partitions")?,
            replication_factor: reader.u16("replication_factor")?,
            configs: reader.list("configs", CONFIGS_MAX, 2 + 2, |reader| {
                Ok((reader.string("config key")?, reader.string("config value")?))
            })?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// `error` u16, `message` string, `topic_id` 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTopicReply {
    /// None when the topic exists on every shard.
    pub error: ErrorCode,
    /// What was wrong, for a person.
    pub message: String,
    /// The new topic's lasting id; zero after an error.
    pub topic_id: TopicId,
}

impl CreateTopicReply {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.error_code(self.error);
        writer.text(&self.message);
        writer.topic_id(self.topic_id);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<CreateTopicReply, DecodeError> {
        let mut reader = Reader::new("create topic reply", bytes);
        let reply = CreateTopicReply {
            error: reader.error_code("error")?,
            message: reader.string("message")?,
            topic_id: reader.topic_id("topic_id")?,
        };
        reader.finish()?;
        Ok(reply)
    }
}

/// `name` string. Answered by a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteTopicRequest {
    /// Name of the topic.
    pub name: String,
}

impl DeleteTopicRequest {
    /// Appends the body to `out`. Panics when the name exceeds the longest string.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).string(&self.name);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DeleteTopicRequest, DecodeError> {
        let mut reader = Reader::new("delete topic request", bytes);
        let request = DeleteTopicRequest { name: reader.string("name")? };
        reader.finish()?;
        Ok(request)
    }
}

/// `name` string, `partitions` optional u32, configs as a list of (key string, value optional string). Answered by a
/// status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterTopicRequest {
    /// Name of the topic.
    pub name: String,
    /// New partition count, which may only grow; none leaves it.
    pub partitions: Option<u32>,
    /// Configs to change; a value of none goes back to the default.
    pub configs: Vec<(String, Option<String>)>,
}

impl AlterTopicRequest {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.string(&self.name);
        writer.option(self.partitions, Writer::u32);
        writer.list(&self.configs, CONFIGS_MAX, |writer, (key, value)| {
            writer.string(key);
            writer.option(value.as_deref(), Writer::string);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<AlterTopicRequest, DecodeError> {
        let mut reader = Reader::new("alter topic request", bytes);
        let request = AlterTopicRequest {
            name: reader.string("name")?,
            partitions: reader.option("partitions", |reader| reader.u32("partitions"))?,
            configs: reader.list("configs", CONFIGS_MAX, 2 + 1, |reader| {
                let key = reader.string("config key")?;
                Ok((key, reader.option("config value", |reader| reader.string("config value"))?))
            })?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// `name` string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeTopicRequest {
    /// Name of the topic.
    pub name: String,
}

impl DescribeTopicRequest {
    /// Appends the body to `out`. Panics when the name exceeds the longest string.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).string(&self.name);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeTopicRequest, DecodeError> {
        let mut reader = Reader::new("describe topic request", bytes);
        let request = DescribeTopicRequest { name: reader.string("name")? };
        reader.finish()?;
        Ok(request)
    }
}

/// `error` u16, `message` string, `name` string, `topic_id` 16 bytes, configs as a list of (key string, value string,
/// `is_default` bool), partitions as a list of [`DescribedPartition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeTopicReply {
    /// None when the topic is known.
    pub error: ErrorCode,
    /// What was wrong, for a person.
    pub message: String,
    /// Name of the topic.
    pub name: String,
    /// Its lasting id; zero after an error.
    pub topic_id: TopicId,
    /// Key, value, and whether the value is the default.
    pub configs: Vec<(String, String, bool)>,
    /// Its partitions, by index.
    pub partitions: Vec<DescribedPartition>,
}

/// One partition: `index` u32, `shard` u16, `leader` optional u32, `leader_epoch` u32, `log_start` u64, `end_offset` u64,
/// `bytes` u64, `state` string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedPartition {
    /// Number of the partition in its topic.
    pub index: PartitionIndex,
    /// The shard that owns it on its leader.
    pub shard: ShardIndex,
    /// The node that leads it.
    pub leader: Option<NodeId>,
    /// Epoch of the leadership.
    pub leader_epoch: LeaderEpoch,
    /// First offset that it still has.
    pub log_start: Offset,
    /// Next offset that readers will see.
    pub end_offset: Offset,
    /// Bytes stored.
    pub bytes: u64,
    /// In a word, such as `online`.
    pub state: String,
}

const DESCRIBED_PARTITION_BYTES_MIN: usize = 4 + 2 + 1 + 4 + 8 + 8 + 8 + 2;

impl DescribeTopicReply {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.error_code(self.error);
        writer.text(&self.message);
        writer.string(&self.name);
        writer.topic_id(self.topic_id);
        writer.list(&self.configs, CONFIGS_MAX, |writer, (key, value, is_default)| {
            writer.string(key);
            writer.string(value);
            writer.bool(*is_default);
        });
        writer.list(&self.partitions, PARTITIONS_MAX, |writer, row| {
            writer.partition(row.index);
            writer.shard(row.shard);
            writer.option(row.leader, Writer::node);
            writer.leader_epoch(row.leader_epoch);
            writer.offset(row.log_start);
            writer.offset(row.end_offset);
            writer.u64(row.bytes);
            writer.text(&row.state);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeTopicReply, DecodeError> {
        let mut reader = Reader::new("describe topic reply", bytes);
        let reply = DescribeTopicReply {
            error: reader.error_code("error")?,
            message: reader.string("message")?,
            name: reader.string("name")?,
            topic_id: reader.topic_id("topic_id")?,
            configs: reader.list("configs", CONFIGS_MAX, 2 + 2 + 1, |reader| {
                Ok((reader.string("config key")?, reader.string("config value")?, reader.bool("is_default")?))
            })?,
            partitions: reader.list(
                "partitions",
                PARTITIONS_MAX,
                DESCRIBED_PARTITION_BYTES_MIN,
                DescribedPartition::decode,
            )?,
        };
        reader.finish()?;
        Ok(reply)
    }
}

impl DescribedPartition {
    fn decode(reader: &mut Reader<'_>) -> Result<DescribedPartition, DecodeError> {
        Ok(DescribedPartition {
            index: reader.partition("partition")?,
            shard: reader.shard("shard")?,
            leader: reader.option("leader", |reader| reader.node("leader"))?,
            leader_epoch: reader.leader_epoch("leader_epoch")?,
            log_start: reader.offset("log_start")?,
            end_offset: reader.offset("end_offset")?,
            bytes: reader.u64("bytes")?,
            state: reader.string("state")?,
        })
    }
}

/// An empty body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListTopicsRequest {}

impl ListTopicsRequest {
    /// Appends the body to `out`: nothing.
    pub fn encode(&self, _out: &mut Vec<u8>) {}

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ListTopicsRequest, DecodeError> {
        Reader::new("list topics request", bytes).finish()?;
        Ok(ListTopicsRequest {})
    }
}

/// A `u32` count, then rows: name string, `topic_id` 16 bytes, partition count u32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListTopicsReply {
    /// Name, lasting id and partition count, by name.
    pub topics: Vec<(String, TopicId, u32)>,
}

impl ListTopicsReply {
    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).list(&self.topics, TOPICS_MAX, |writer, (name, topic_id, partitions)| {
            writer.string(name);
            writer.topic_id(*topic_id);
            writer.u32(*partitions);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ListTopicsReply, DecodeError> {
        let mut reader = Reader::new("list topics reply", bytes);
        let topics = reader.list("topics", TOPICS_MAX, 2 + 16 + 4, |reader| {
            Ok((reader.string("topic name")?, reader.topic_id("topic_id")?, reader.u32("partition count")?))
        })?;
        reader.finish()?;
        Ok(ListTopicsReply { topics })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    #[test]
    fn create_has_its_golden_bytes() {
        let request = CreateTopicRequest {
            name: "t".into(),
            partitions: 6,
            replication_factor: 1,
            configs: vec![("k".into(), "vw".into())],
        };
        let golden = "0100 74 06000000 0100 01000000 0100 6b 0200 7677";
        check_golden(&request, golden, CreateTopicRequest::encode, CreateTopicRequest::decode);
        let reply =
            CreateTopicReply { error: ErrorCode::TopicAlreadyExists, message: "m".into(), topic_id: TopicId(0x1f) };
        let golden = "2400 0100 6d 1f000000000000000000000000000000";
        check_golden(&reply, golden, CreateTopicReply::encode, CreateTopicReply::decode);
    }

    #[test]
    fn delete_and_alter_have_their_golden_bytes() {
        let request = DeleteTopicRequest { name: "t".into() };
        check_golden(&request, "0100 74", DeleteTopicRequest::encode, DeleteTopicRequest::decode);
        let request = AlterTopicRequest {
            name: "t".into(),
            partitions: Some(8),
            configs: vec![("k".into(), None), ("l".into(), Some("v".into()))],
        };
        let golden = "0100 74 01 08000000 02000000  0100 6b 00  0100 6c 01 0100 76";
        check_golden(&request, golden, AlterTopicRequest::encode, AlterTopicRequest::decode);
    }

    #[test]
    fn describe_has_its_golden_bytes() {
        let request = DescribeTopicRequest { name: "t".into() };
        check_golden(&request, "0100 74", DescribeTopicRequest::encode, DescribeTopicRequest::decode);
        let reply = DescribeTopicReply {
            error: ErrorCode::None,
            message: String::new(),
            name: "t".into(),
            topic_id: TopicId(1),
            configs: vec![("k".into(), "v".into(), true)],
            partitions: vec![DescribedPartition {
                index: PartitionIndex(2),
                shard: ShardIndex(3),
                leader: Some(NodeId(4)),
                leader_epoch: LeaderEpoch(5),
                log_start: Offset(6),
                end_offset: Offset(7),
                bytes: 8,
                state: "on".into(),
            }],
        };
        let golden = "0000 0000 0100 74 01000000000000000000000000000000
            01000000 0100 6b 0100 76 01
            01000000 02000000 0300 01 04000000 05000000 0600000000000000 0700000000000000 0800000000000000 0200 6f6e";
        check_golden(&reply, golden, DescribeTopicReply::encode, DescribeTopicReply::decode);
    }

    #[test]
    fn list_has_its_golden_bytes() {
        check_golden(&ListTopicsRequest {}, "", ListTopicsRequest::encode, ListTopicsRequest::decode);
        let reply = ListTopicsReply { topics: vec![("t".into(), TopicId(1), 6)] };
        let golden = "01000000 0100 74 01000000000000000000000000000000 06000000";
        check_golden(&reply, golden, ListTopicsReply::encode, ListTopicsReply::decode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(
            name in "[a-z]{0,12}",
            partitions: Option<u32>,
            configs in vec(("[a-z.]{0,9}", proptest::option::of(".{0,9}")), 0..5),
            rows in vec((any::<u32>(), any::<Option<u32>>(), 0..=Offset::MAX.0), 0..5),
        ) {
            let alter = AlterTopicRequest { name: name.clone(), partitions, configs: configs.clone() };
            check_round_trip(&alter, AlterTopicRequest::encode, AlterTopicRequest::decode);
            let configs: Vec<(String, String)> =
                configs.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect();
            let create = CreateTopicRequest {
                name: name.clone(),
                partitions: partitions.unwrap_or(0),
                replication_factor: 3,
                configs: configs.clone(),
            };
            check_round_trip(&create, CreateTopicRequest::encode, CreateTopicRequest::decode);
            let topics = rows.iter().map(|row| (name.clone(), TopicId(row.0.into()), row.0)).collect();
            check_round_trip(&ListTopicsReply { topics }, ListTopicsReply::encode, ListTopicsReply::decode);
            let describe = DescribeTopicReply {
                error: ErrorCode::None,
                message: name.clone(),
                name,
                topic_id: TopicId(7),
                configs: configs.into_iter().map(|(key, value)| (key, value, false)).collect(),
                partitions: rows
                    .into_iter()
                    .map(|(number, leader, offset)| DescribedPartition {
                        index: PartitionIndex(number),
                        shard: ShardIndex(1),
                        leader: leader.map(NodeId),
                        leader_epoch: LeaderEpoch(number),
                        log_start: Offset::ZERO,
                        end_offset: Offset(offset),
                        bytes: offset,
                        state: "online".into(),
                    })
                    .collect(),
            };
            check_round_trip(&describe, DescribeTopicReply::encode, DescribeTopicReply::decode);
        }
    }
}

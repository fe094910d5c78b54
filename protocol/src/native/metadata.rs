//! Metadata: which nodes and shards there are, and which of them leads which partition. Owns the layouts; never decides
//! who leads. Any core.

use super::limits::{NODES_MAX, PARTITIONS_MAX, SHARDS_MAX, TOPICS_MAX};
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, MetadataVersion, NodeId, PartitionIndex, ShardIndex, TopicId};

/// Asks for topics by name.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 1 | 0 = all topics, 1 = the names that follow |
/// | 1 | 4 + n | list of names |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataRequest {
    /// Names; `None` asks for all topics.
    pub topics: Option<Vec<String>>,
}

impl MetadataRequest {
    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.option(self.topics.as_ref(), |writer, topics| {
            writer.list(topics, TOPICS_MAX, |writer, name| writer.string(name));
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<MetadataRequest, DecodeError> {
        let mut reader = Reader::new("metadata request", bytes);
        let topics = reader
            .option("topics", |reader| reader.list("topics", TOPICS_MAX, 2, |reader| reader.string("topic name")))?;
        reader.finish()?;
        Ok(MetadataRequest { topics })
    }
}

/// The cluster as one broker knows it. Nodes come before topics because partitions refer to them.
///
/// | Field | Bytes |
/// |---|---|
/// | `version` | 8 |
/// | nodes | 4, then rows of [`NodeInfo`] |
/// | topics | 4, then rows of [`TopicInfo`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataReply {
    /// Version of the metadata that the answer was read from.
    pub version: MetadataVersion,
    /// Every node of the cluster.
    pub nodes: Vec<NodeInfo>,
    /// The topics asked for, in the order of the request; those unknown carry an error.
    pub topics: Vec<TopicInfo>,
}

/// One node: `node` u32, `host` string, `port` u16, `shard_ports` list of u16.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeId,
    /// Name or address that clients reach it by.
    pub host: String,
    /// Public native port; any shard may accept there.
    pub port: u16,
    /// Port of each shard, by shard index.
    pub shard_ports: Vec<u16>,
}

/// One topic: `error` u16, `name` string, `topic_id` 16 bytes, partitions as a list of [`PartitionInfo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// None, or why nothing else is known of the topic.
    pub error: ErrorCode,
    /// Its name.
    pub name: String,
    /// Its lasting id; zero with an error.
    pub topic_id: TopicId,
    /// Its partitions, by index; empty with an error.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition: `index` u32, `leader` optional u32, `shard` u16, `leader_epoch` u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Number of the partition in its topic.
    pub index: PartitionIndex,
    /// The node that leads it; none while there is no leader.
    pub leader: Option<NodeId>,
    /// The shard of that node that owns it.
    pub shard: ShardIndex,
    /// Epoch of the leadership.
    pub leader_epoch: LeaderEpoch,
}

const NODE_BYTES_MIN: usize = 4 + 2 + 2 + 4;
const TOPIC_BYTES_MIN: usize = 2 + 2 + 16 + 4;
const PARTITION_BYTES_MIN: usize = 4 + 1 + 2 + 4;

impl MetadataReply {
    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u64(self.version.0);
        writer.list(&self.nodes, NODES_MAX, |writer, node| {
            writer.node(node.node);
            writer.string(&node.host);
            writer.u16(node.port);
            writer.list(&node.shard_ports, SHARDS_MAX, |writer, port| writer.u16(*port));
        });
        writer.list(&self.topics, TOPICS_MAX, |writer, topic| {
            writer.error_code(topic.error);
            writer.string(&topic.name);
            writer.topic_id(topic.topic_id);
            writer.list(&topic.partitions, PARTITIONS_MAX, |writer, partition| {
                writer.partition(partition.index);
                writer.option(partition.leader, Writer::node);
                writer.shard(partition.shard);
                writer.leader_epoch(partition.leader_epoch);
            });
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<MetadataReply, DecodeError> {
        let mut reader = Reader::new("metadata reply", bytes);
        let reply = MetadataReply {
            version: MetadataVersion(reader.u64("version")?),
            nodes: reader.list("nodes", NODES_MAX, NODE_BYTES_MIN, NodeInfo::decode)?,
            topics: reader.list("topics", TOPICS_MAX, TOPIC_BYTES_MIN, TopicInfo::decode)?,
        };
        reader.finish()?;
        Ok(reply)
    }
}

impl NodeInfo {
    fn decode(reader: &mut Reader<'_>) -> Result<NodeInfo, DecodeError> {
        Ok(NodeInfo {
            node: reader.node("node")?,
            host: reader.string("host")?,
            port: reader.u16("port")?,
            shard_ports: reader.list("shard_ports", SHARDS_MAX, 2, |reader| reader.u16("shard port"))?,
        })
    }
}

impl TopicInfo {
    fn decode(reader: &mut Reader<'_>) -> Result<TopicInfo, DecodeError> {
        Ok(TopicInfo {
            error: reader.error_code("topic error")?,
            name: reader.string("topic name")?,
            topic_id: reader.topic_id("topic_id")?,
            partitions: reader.list("partitions", PARTITIONS_MAX, PARTITION_BYTES_MIN, PartitionInfo::decode)?,
        })
    }
}

impl PartitionInfo {
    fn decode(reader: &mut Reader<'_>) -> Result<PartitionInfo, DecodeError> {
        Ok(PartitionInfo {
            index: reader.partition("partition")?,
            leader: reader.option("leader", |reader| reader.node("leader"))?,
            shard: reader.shard("shard")?,
            leader_epoch: reader.leader_epoch("leader_epoch")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    #[test]
    fn the_request_has_its_golden_bytes() {
        let golden = "01 02000000 0100 61 0200 6263";
        let request = MetadataRequest { topics: Some(vec!["a".into(), "bc".into()]) };
        check_golden(&request, golden, MetadataRequest::encode, MetadataRequest::decode);
        check_golden(&MetadataRequest { topics: None }, "00", MetadataRequest::encode, MetadataRequest::decode);
    }

    #[test]
    fn the_reply_has_its_golden_bytes() {
        let partition = |index, leader| PartitionInfo {
            index: PartitionIndex(index),
            leader,
            shard: ShardIndex(3),
            leader_epoch: LeaderEpoch(4),
        };
        let reply = MetadataReply {
            version: MetadataVersion(9),
            nodes: vec![NodeInfo { node: NodeId(1), host: "h".into(), port: 9192, shard_ports: vec![9193, 9194] }],
            topics: vec![TopicInfo {
                error: ErrorCode::None,
                name: "t".into(),
                topic_id: TopicId(0x0f),
                partitions: vec![partition(0, Some(NodeId(1))), partition(1, None)],
            }],
        };
        let golden = "0900000000000000
            01000000  01000000 0100 68 e823 02000000 e923 ea23
            01000000  0000 0100 74 0f000000000000000000000000000000
            02000000  00000000 01 01000000 0300 04000000  01000000 00 0300 04000000";
        check_golden(&reply, golden, MetadataReply::encode, MetadataReply::decode);
    }

    fn node() -> impl Strategy<Value = NodeInfo> {
        (any::<u32>(), "[a-z.]{0,12}", any::<u16>(), vec(any::<u16>(), 0..5))
            .prop_map(|(node, host, port, shard_ports)| NodeInfo { node: NodeId(node), host, port, shard_ports })
    }

    fn topic() -> impl Strategy<Value = TopicInfo> {
        let partition = (any::<u32>(), any::<Option<u32>>(), any::<u16>(), any::<u32>()).prop_map(
            |(index, leader, shard, leader_epoch)| PartitionInfo {
                index: PartitionIndex(index),
                leader: leader.map(NodeId),
                shard: ShardIndex(shard),
                leader_epoch: LeaderEpoch(leader_epoch),
            },
        );
        let error = proptest::sample::select(ErrorCode::ALL);
        (error, "[a-z.]{0,12}", any::<u128>(), vec(partition, 0..5)).prop_map(|(error, name, topic_id, partitions)| {
            TopicInfo { error, name, topic_id: TopicId(topic_id), partitions }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(
            version: u64,
            nodes in vec(node(), 0..4),
            topics in vec(topic(), 0..4),
            names in proptest::option::of(vec("[a-z]{0,9}", 0..5)),
        ) {
            let reply = MetadataReply { version: MetadataVersion(version), nodes, topics };
            check_round_trip(&reply, MetadataReply::encode, MetadataReply::decode);
            check_round_trip(&MetadataRequest { topics: names }, MetadataRequest::encode, MetadataRequest::decode);
        }
    }
}

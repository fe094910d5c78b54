//! Snapshots: a whole image as bytes, so that the log behind it can be dropped.
//!
//! Layout, little-endian, version 3 (the log's own frame carries length and checksum):
//!
//! | Field | Type |
//! |---|---|
//! | version | u16, 3 |
//! | metadata version, next partition id, next producer id | u64, u64, u64; version 1 had no producer ids |
//! | cluster id | u128, 0 while there is none; versions 1 and 2 had none |
//! | nodes | u32 x (node u32, incarnation u64, shards u16) |
//! | topics | u32 x topic, in the order of their ids |
//! | topic | topic id u128, name text, replication factor u16, configs, partitions u32 x partition |
//! | partition | partition id u64, shard u16, leader u32, leader epoch u32, ownership epoch u32 |
//!
//! text, configs and leader as in `record.rs`. What contradicts itself is refused: ids out of order, names or partition
//! ids twice, a partition on no shard. Nothing may follow the last field.

use std::collections::BTreeSet;
use std::sync::Arc;

use ouzel_protocol::{Incarnation, LeaderEpoch, MetadataVersion, NodeId, PartitionId, ShardIndex, TopicId};

use super::record::{read_cluster_id, read_config, read_leader, read_name, write_config, write_leader};
use super::{MetadataImage, NodeState, Partition, Topic};
use crate::bytes::{Reader, Writer};
use crate::error::MetadataError;
use crate::limits;

const VERSION: u16 = 3;
const VERSION_WITHOUT_CLUSTER: u16 = 2;
const VERSION_WITHOUT_PRODUCERS: u16 = 1;
const NODE_BYTES: usize = 14;
const TOPIC_BYTES_MIN: usize = 28;
const PARTITION_BYTES: usize = 22;

impl MetadataImage {
    /// The bytes of this image.
    pub fn encode_snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u16(VERSION);
        writer.u64(self.version().0);
        writer.u64(self.next_partition_id);
        writer.u64(self.next_producer_id);
        writer.u128(self.cluster_id.map_or(0, |cluster_id| cluster_id.0));
        writer.count(self.nodes.len());
        for (node, state) in self.nodes() {
            writer.u32(node.0);
            writer.u64(state.incarnation.0);
            writer.u16(state.shards);
        }
        writer.count(self.topics.len());
        for topic in self.topics.values() {
            writer.u128(topic.topic_id.0);
            writer.text(&topic.name);
            writer.u16(topic.replication_factor);
            write_config(&mut writer, &topic.config);
            writer.count(topic.partitions.len());
            for partition in &topic.partitions {
                writer.u64(partition.partition_id.0);
                writer.u16(partition.shard.0);
                write_leader(&mut writer, partition.leader);
                writer.u32(partition.leader_epoch.0);
                writer.u32(partition.ownership_epoch);
            }
        }
        writer.finish()
    }

    /// Reads what [`Self::encode_snapshot`] wrote.
    ///
    /// # Errors
    /// [`MetadataError::Malformed`]: damage, or a version newer than this one.
    pub fn decode_snapshot(bytes: &[u8]) -> Result<Self, MetadataError> {
        let mut reader = Reader::new(bytes, "metadata snapshot");
        let version = reader.u16()?;
        if !(VERSION_WITHOUT_PRODUCERS..=VERSION).contains(&version) {
            return Err(reader.malformed(format!("expected version {VERSION}, got {version}")));
        }
        let mut image =
            Self { version: MetadataVersion(reader.u64()?), next_partition_id: reader.u64()?, ..Self::default() };
        if version >= VERSION_WITHOUT_CLUSTER {
            image.next_producer_id = reader.u64()?;
            if image.next_producer_id > limits::PRODUCER_ID_MAX {
                return Err(reader.malformed(format!("next producer id {}", image.next_producer_id)));
            }
        }
        if version > VERSION_WITHOUT_CLUSTER {
            image.cluster_id = read_cluster_id(&mut reader)?;
        }
        read_nodes(&mut reader, &mut image)?;
        let count = reader.count(TOPIC_BYTES_MIN, limits::TOPIC_COUNT_MAX)?;
        let mut partition_ids = BTreeSet::new();
        for _ in 0..count {
            let topic = read_topic(&mut reader, &image, &mut partition_ids)?;
            if image.topics.last_key_value().is_some_and(|(last, _)| *last >= topic.topic_id) {
                return Err(reader.malformed(format!("topic {} is out of order", topic.topic_id)));
            }
            if image.names.insert(topic.name.clone(), topic.topic_id).is_some() {
                return Err(reader.malformed(format!("topic name {} stands twice", topic.name)));
            }
            image.partition_count += topic.partitions.len();
            image.topics.insert(topic.topic_id, Arc::new(topic));
        }
        reader.finish()?;
        Ok(image)
    }
}

fn read_nodes(reader: &mut Reader<'_>, image: &mut MetadataImage) -> Result<(), MetadataError> {
    for _ in 0..reader.count(NODE_BYTES, limits::NODE_COUNT_MAX)? {
        let node = NodeId(reader.u32()?);
        let state = NodeState { incarnation: Incarnation(reader.u64()?), shards: reader.u16()? };
        let is_legal = node.0 != u32::MAX && (1..=limits::SHARD_COUNT_MAX).contains(&state.shards);
        if !is_legal || image.nodes.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return Err(reader.malformed(format!("node {node} is illegal or out of order")));
        }
        image.nodes.insert(node, state);
    }
    Ok(())
}

fn read_topic(
    reader: &mut Reader<'_>,
    image: &MetadataImage,
    partition_ids: &mut BTreeSet<PartitionId>,
) -> Result<Topic, MetadataError> {
    let topic_id = TopicId(reader.u128()?);
    let name = read_name(reader)?;
    let replication_factor = reader.u16()?;
    let config = read_config(reader)?;
    let count = reader.count(PARTITION_BYTES, limits::TOPIC_PARTITION_COUNT_MAX as usize)?;
    if count == 0 {
        return Err(reader.malformed(format!("topic {name} has no partition")));
    }
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let partition = Partition {
            partition_id: PartitionId(reader.u64()?),
            shard: ShardIndex(reader.u16()?),
            leader: read_leader(reader)?,
            leader_epoch: LeaderEpoch(reader.u32()?),
            ownership_epoch: reader.u32()?,
        };
        let shards = partition.leader.and_then(|leader| image.node(leader)).map(|state| state.shards);
        let is_placed = partition.leader.is_none() || shards.is_some_and(|shards| partition.shard.0 < shards);
        let is_placed = is_placed && partition.leader_epoch.0 <= limits::LEADER_EPOCH_MAX;
        let is_new = partition_ids.insert(partition.partition_id);
        if !is_placed || !is_new || partition.partition_id.0 >= image.next_partition_id {
            return Err(reader.malformed(format!("partition {} of topic {name} cannot be", partition.partition_id)));
        }
        partitions.push(partition);
    }
    Ok(Topic { topic_id, name, replication_factor, config, partitions })
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::ClusterId;

    use super::*;
    use crate::metadata::Command;

    fn sample() -> MetadataImage {
        let mut image = MetadataImage::new();
        let create = |name: &str, topic_id, partitions| Command::CreateTopic {
            name: name.to_owned(),
            topic_id: TopicId(topic_id),
            partitions,
            replication_factor: 1,
            configs: vec![("ouzel.durability".to_owned(), "written".to_owned())],
        };
        let start = |incarnation, shards| Command::NodeStarted {
            node: NodeId(0),
            incarnation: Incarnation(incarnation),
            shards,
        };
        let ids = Command::AllocateProducerIds { count: 1000 };
        let name = Command::NameCluster { cluster_id: ClusterId(0x3344) };
        for command in [name, start(1, 2), create("b", 9, 1), create("a", 0x1122, 2), start(2, 1), ids] {
            let record = image.propose(command).expect("legal");
            image.apply(&record).expect("fits");
        }
        image
    }

    const GOLDEN: &str = "0300 0600000000000000 0300000000000000 e803000000000000 44330000000000000000000000000000 \
        01000000 00000000 0200000000000000 0100 \
        02000000 \
        09000000000000000000000000000000 0100 62 0100 \
        01000000 1000 6f757a656c2e6475726162696c697479 0700 7772697474656e \
        01000000 0000000000000000 0000 00000000 01000000 00000000 \
        22110000000000000000000000000000 0100 61 0100 \
        01000000 1000 6f757a656c2e6475726162696c697479 0700 7772697474656e \
        02000000 0100000000000000 0000 00000000 01000000 01000000 \
                 0200000000000000 0000 00000000 01000000 00000000";

    #[test]
    fn a_snapshot_has_the_golden_bytes_and_reads_back() {
        let image = sample();
        image.assert_invariants();
        let digits: Vec<u32> = GOLDEN.chars().filter_map(|digit| digit.to_digit(16)).collect();
        let golden: Vec<u8> = digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect();
        assert_eq!(image.encode_snapshot(), golden);
        assert_eq!(MetadataImage::decode_snapshot(&golden), Ok(image));
    }

    #[test]
    fn snapshots_of_older_versions_are_read_and_lack_what_came_later() {
        let mut bytes = sample().encode_snapshot();
        bytes[0] = 2;
        bytes.drain(26..42);
        let unnamed = MetadataImage { cluster_id: None, ..sample() };
        assert_eq!(MetadataImage::decode_snapshot(&bytes), Ok(unnamed.clone()));
        bytes[0] = 1;
        bytes.drain(18..26);
        let image = MetadataImage { next_producer_id: 0, ..unnamed };
        assert_eq!(MetadataImage::decode_snapshot(&bytes), Ok(image));
    }

    #[test]
    fn flipping_any_bit_cutting_or_padding_never_panics_and_never_yields_a_broken_image() {
        let image = sample();
        let bytes = image.encode_snapshot();
        for at in 0..bytes.len() {
            assert!(MetadataImage::decode_snapshot(&bytes[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(other) = MetadataImage::decode_snapshot(&damaged) {
                    other.assert_invariants();
                    assert_ne!(other, image, "bit {bit} of byte {at} means nothing");
                }
            }
        }
        let mut padded = bytes;
        padded.push(0);
        assert!(MetadataImage::decode_snapshot(&padded).is_err());
    }
}

//! Records: the committed facts from which every image is rebuilt, and their bytes in the metadata log.
//!
//! Layout, little-endian, version 1 (the log's own frame carries length and checksum):
//!
//! | Field | Type | Meaning |
//! |---|---|---|
//! | version | u16 | 1 |
//! | kind | u8 | 1 node started, 2 topic created, 3 topic deleted, 4 topic altered, 5 producer ids taken, 6 cluster named |
//! | node, incarnation, shards, moves | u32, u64, u16, u32 x (partition id u64, shard u16) | kind 1 |
//! | topic id, name, replication factor, configs, partitions | u128, text, u16, configs, placements | kind 2 |
//! | topic id | u128 | kind 3 |
//! | topic id, configs, added partitions | u128, configs, placements | kind 4 |
//! | first, count | u64, u32 | kind 5 |
//! | cluster id | u128, not 0 | kind 6 |
//!
//! text = u16 length and UTF-8. configs = u32 x (key text, value text), all overrides of the topic. placements = u32 x
//! (partition id u64, shard u16, leader u32 with `u32::MAX` for none). Nothing may follow the last field.

use ouzel_protocol::{ClusterId, Incarnation, NodeId, PartitionId, ProducerId, ShardIndex, TopicId};

use crate::bytes::{Reader, Writer};
use crate::error::MetadataError;
use crate::limits;
use crate::topic_config::TopicConfig;

const VERSION: u16 = 1;
const NODE_STARTED: u8 = 1;
const TOPIC_CREATED: u8 = 2;
const TOPIC_DELETED: u8 = 3;
const TOPIC_ALTERED: u8 = 4;
const PRODUCER_IDS_TAKEN: u8 = 5;
const CLUSTER_NAMED: u8 = 6;
const NO_NODE: u32 = u32::MAX;
const MOVE_BYTES: usize = 10;
const PLACEMENT_BYTES: usize = 14;
const CONFIG_BYTES_MIN: usize = 4;

/// A committed change, complete: applying it decides nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A node serves from now on; every partition it leads gets the next leader epoch.
    NodeStarted {
        /// Which node.
        node: NodeId,
        /// Its incarnation.
        incarnation: Incarnation,
        /// Shards it runs.
        shards: u16,
        /// Partitions that change their shard with this start.
        moves: Vec<ShardMove>,
    },
    /// A topic exists from now on.
    TopicCreated {
        /// Its id.
        topic_id: TopicId,
        /// Its name.
        name: String,
        /// Replicas of each partition.
        replication_factor: u16,
        /// Its settings.
        config: TopicConfig,
        /// Its partitions in the order of their indices.
        partitions: Vec<Placement>,
    },
    /// A topic and its partitions are gone.
    TopicDeleted {
        /// Its id.
        topic_id: TopicId,
    },
    /// A topic has these settings and these further partitions.
    TopicAltered {
        /// Its id.
        topic_id: TopicId,
        /// All its settings from now on.
        config: TopicConfig,
        /// Partitions added behind the last one.
        added: Vec<Placement>,
    },
    /// These producer ids belong to whoever asked; nobody ever gets them again.
    ProducerIdBlock {
        /// The first of them.
        first: ProducerId,
        /// How many there are.
        count: u32,
    },
    /// The cluster has this id for ever.
    ClusterNamed {
        /// Its id.
        cluster_id: ClusterId,
    },
}

/// Where a new partition lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its storage id.
    pub partition_id: PartitionId,
    /// Shard of the leader.
    pub shard: ShardIndex,
    /// Leading node.
    pub leader: Option<NodeId>,
}

/// A partition that changes its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardMove {
    /// Which partition.
    pub partition_id: PartitionId,
    /// Where it goes.
    pub shard: ShardIndex,
}

impl Record {
    /// The bytes of this record in the metadata log.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u16(VERSION);
        match self {
            Self::NodeStarted { node, incarnation, shards, moves } => {
                writer.u8(NODE_STARTED);
                writer.u32(node.0);
                writer.u64(incarnation.0);
                writer.u16(*shards);
                writer.count(moves.len());
                for entry in moves {
                    writer.u64(entry.partition_id.0);
                    writer.u16(entry.shard.0);
                }
            }
            Self::TopicCreated { topic_id, name, replication_factor, config, partitions } => {
                writer.u8(TOPIC_CREATED);
                writer.u128(topic_id.0);
                writer.text(name);
                writer.u16(*replication_factor);
                write_config(&mut writer, config);
                write_placements(&mut writer, partitions);
            }
            Self::TopicDeleted { topic_id } => {
                writer.u8(TOPIC_DELETED);
                writer.u128(topic_id.0);
            }
            Self::TopicAltered { topic_id, config, added } => {
                writer.u8(TOPIC_ALTERED);
                writer.u128(topic_id.0);
                write_config(&mut writer, config);
                write_placements(&mut writer, added);
            }
            Self::ProducerIdBlock { first, count } => {
                writer.u8(PRODUCER_IDS_TAKEN);
                writer.u64(first.0);
                writer.u32(*count);
            }
            Self::ClusterNamed { cluster_id } => {
                writer.u8(CLUSTER_NAMED);
                writer.u128(cluster_id.0);
            }
        }
        writer.finish()
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`MetadataError::Malformed`]: damage, or a version newer than this one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetadataError> {
        let mut reader = Reader::new(bytes, "metadata record");
        let version = reader.u16()?;
        if version != VERSION {
            return Err(reader.malformed(format!("expected version {VERSION}, got {version}")));
        }
        let record = match reader.u8()? {
            NODE_STARTED => {
                let (node, incarnation, shards) = (NodeId(reader.u32()?), Incarnation(reader.u64()?), reader.u16()?);
                let count = reader.count(MOVE_BYTES, limits::PARTITION_COUNT_MAX)?;
                let mut moves = Vec::with_capacity(count);
                for _ in 0..count {
                    moves
                        .push(ShardMove { partition_id: PartitionId(reader.u64()?), shard: ShardIndex(reader.u16()?) });
                }
                if node.0 == NO_NODE || shards > limits::SHARD_COUNT_MAX {
                    return Err(reader.malformed(format!("node {node} with {shards} shards cannot be")));
                }
                Self::NodeStarted { node, incarnation, shards, moves }
            }
            TOPIC_CREATED => Self::TopicCreated {
                topic_id: TopicId(reader.u128()?),
                name: read_name(&mut reader)?,
                replication_factor: reader.u16()?,
                config: read_config(&mut reader)?,
                partitions: read_placements(&mut reader)?,
            },
            TOPIC_DELETED => Self::TopicDeleted { topic_id: TopicId(reader.u128()?) },
            TOPIC_ALTERED => Self::TopicAltered {
                topic_id: TopicId(reader.u128()?),
                config: read_config(&mut reader)?,
                added: read_placements(&mut reader)?,
            },
            PRODUCER_IDS_TAKEN => Self::ProducerIdBlock { first: ProducerId(reader.u64()?), count: reader.u32()? },
            CLUSTER_NAMED => match read_cluster_id(&mut reader)? {
                Some(cluster_id) => Self::ClusterNamed { cluster_id },
                None => return Err(reader.malformed("a cluster cannot be named nothing")),
            },
            kind => return Err(reader.malformed(format!("unknown kind {kind}"))),
        };
        reader.finish()?;
        Ok(record)
    }
}

pub(super) fn read_name(reader: &mut Reader<'_>) -> Result<String, MetadataError> {
    let name = reader.text(limits::TOPIC_NAME_BYTES_MAX)?;
    match ouzel_protocol::check_topic_name(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(refusal) => Err(reader.malformed(format!("illegal topic name {name:?}: {refusal}"))),
    }
}

pub(super) fn write_config(writer: &mut Writer, config: &TopicConfig) {
    let overrides = config.overrides();
    writer.count(overrides.len());
    for (key, value) in overrides {
        writer.text(key);
        writer.text(&value);
    }
}

pub(super) fn read_config(reader: &mut Reader<'_>) -> Result<TopicConfig, MetadataError> {
    let count = reader.count(CONFIG_BYTES_MIN, limits::CONFIG_ENTRY_COUNT_MAX)?;
    let mut config = TopicConfig::default();
    for _ in 0..count {
        let key = reader.text(limits::CONFIG_TEXT_BYTES_MAX)?;
        let value = reader.text(limits::CONFIG_TEXT_BYTES_MAX)?;
        config.set(key, Some(value)).map_err(|refusal| reader.malformed(refusal.to_string()))?;
    }
    Ok(config)
}

/// An id, where the 0 that nobody draws stands for none.
pub(super) fn read_cluster_id(reader: &mut Reader<'_>) -> Result<Option<ClusterId>, MetadataError> {
    Ok(match reader.u128()? {
        0 => None,
        cluster_id => Some(ClusterId(cluster_id)),
    })
}

pub(super) fn write_leader(writer: &mut Writer, leader: Option<NodeId>) {
    writer.u32(leader.map_or(NO_NODE, |leader| leader.0));
}

pub(super) fn read_leader(reader: &mut Reader<'_>) -> Result<Option<NodeId>, MetadataError> {
    Ok(match reader.u32()? {
        NO_NODE => None,
        leader => Some(NodeId(leader)),
    })
}

fn write_placements(writer: &mut Writer, placements: &[Placement]) {
    writer.count(placements.len());
    for placement in placements {
        writer.u64(placement.partition_id.0);
        writer.u16(placement.shard.0);
        write_leader(writer, placement.leader);
    }
}

fn read_placements(reader: &mut Reader<'_>) -> Result<Vec<Placement>, MetadataError> {
    let count = reader.count(PLACEMENT_BYTES, limits::TOPIC_PARTITION_COUNT_MAX as usize)?;
    let mut placements = Vec::with_capacity(count);
    for _ in 0..count {
        let (partition_id, shard) = (PartitionId(reader.u64()?), ShardIndex(reader.u16()?));
        placements.push(Placement { partition_id, shard, leader: read_leader(reader)? });
    }
    Ok(placements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<(Record, &'static str)> {
        let placement = Placement { partition_id: PartitionId(5), shard: ShardIndex(1), leader: Some(NodeId(3)) };
        let config = TopicConfig::from_entries([("segment.bytes", "1048576")]).expect("legal");
        vec![
            (
                Record::NodeStarted {
                    node: NodeId(3),
                    incarnation: Incarnation(2),
                    shards: 4,
                    moves: vec![ShardMove { partition_id: PartitionId(5), shard: ShardIndex(1) }],
                },
                "0100 01 03000000 0200000000000000 0400 01000000 0500000000000000 0100",
            ),
            (
                Record::TopicCreated {
                    topic_id: TopicId(0x1122),
                    name: "ab".to_owned(),
                    replication_factor: 1,
                    config,
                    partitions: vec![placement, Placement { leader: None, ..placement }],
                },
                "0100 02 22110000000000000000000000000000 0200 6162 0100 \
                 01000000 0d00 7365676d656e742e6279746573 0700 31303438353736 \
                 02000000 0500000000000000 0100 03000000 0500000000000000 0100 ffffffff",
            ),
            (Record::TopicDeleted { topic_id: TopicId(0x1122) }, "0100 03 22110000000000000000000000000000"),
            (
                Record::TopicAltered {
                    topic_id: TopicId(0x1122),
                    config: TopicConfig::default(),
                    added: vec![placement],
                },
                "0100 04 22110000000000000000000000000000 00000000 01000000 0500000000000000 0100 03000000",
            ),
            (Record::ProducerIdBlock { first: ProducerId(0x3e8), count: 1000 }, "0100 05 e803000000000000 e8030000"),
            (Record::ClusterNamed { cluster_id: ClusterId(0x1122) }, "0100 06 22110000000000000000000000000000"),
        ]
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    #[test]
    fn records_have_the_golden_bytes_and_read_back() {
        for (record, golden) in samples() {
            assert_eq!(record.encode(), unhex(golden), "{record:?}");
            assert_eq!(Record::decode(&unhex(golden)), Ok(record));
        }
    }

    #[test]
    fn flipping_any_bit_cutting_or_padding_never_panics() {
        for (record, _) in samples() {
            let bytes = record.encode();
            for at in 0..bytes.len() {
                assert!(Record::decode(&bytes[..at]).is_err(), "cut at {at}");
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    if let Ok(other) = Record::decode(&damaged) {
                        assert_ne!(other, record, "bit {bit} of byte {at} means nothing");
                    }
                }
            }
            let mut padded = bytes;
            padded.push(0);
            assert!(Record::decode(&padded).is_err());
        }
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_refused_before_memory_is_taken() {
        let mut bytes = samples()[0].0.encode();
        let count_at = bytes.len() - MOVE_BYTES - 4;
        bytes[count_at..count_at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let refusal = Record::decode(&bytes).expect_err("the count lies").to_string();
        assert!(refusal.contains("count 4294967295 exceeds 1"), "{refusal}");
    }
}

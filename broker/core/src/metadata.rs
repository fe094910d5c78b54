//! The metadata of a cluster as one value: topics, partitions, where they live, who leads them, configs and nodes.
//!
//! Owns the image and the questions that can be asked of it. It changes in one way only: a command is proposed
//! (`propose`: validated, ids and places assigned, nothing changed), the record becomes durable elsewhere, and is
//! applied (`apply`: no decisions left). Shard 0 drives the one live image; other shards hold published copies, and a
//! clone shares every topic. Never does I/O and never draws an id at random: topic ids come in with the command.

mod apply;
mod command;
pub mod internal;
mod placement;
mod propose;
mod record;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use ouzel_protocol::{
    ClusterId, Incarnation, LeaderEpoch, MetadataVersion, NodeId, PartitionId, PartitionIndex, ProducerId, ShardIndex,
    TopicId,
};

use crate::topic_config::TopicConfig;

pub use command::Command;
pub use record::{Placement, Record, ShardMove};

/// All metadata at one version. Equal images behave alike for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataImage {
    version: MetadataVersion,
    cluster_id: Option<ClusterId>,
    next_partition_id: u64,
    next_producer_id: u64,
    nodes: BTreeMap<NodeId, NodeState>,
    topics: BTreeMap<TopicId, Arc<Topic>>,
    names: BTreeMap<String, TopicId>,
    partition_count: usize,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Its latest start: its journals of this incarnation are the ones that count.
    pub incarnation: Incarnation,
    /// Shards it runs.
    pub shards: u16,
}

/// A topic and its partitions; partition `i` has index `i`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Drawn at creation, never reused: a topic created again under its old name has another.
    pub topic_id: TopicId,
    /// Its name, unique among live topics.
    pub name: String,
    /// Replicas asked for.
    pub replication_factor: u16,
    /// Its settings.
    pub config: TopicConfig,
    /// Its partitions by index.
    pub partitions: Vec<Partition>,
}

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number in storage: unique in the cluster, never reused (rule J6).
    pub partition_id: PartitionId,
    /// The shard of the leader that owns it.
    pub shard: ShardIndex,
    /// The node that leads it.
    pub leader: Option<NodeId>,
    /// Raised with every leadership, and with every start of the leader (rule J10).
    pub leader_epoch: LeaderEpoch,
    /// Raised whenever another shard takes over (rule J7).
    pub ownership_epoch: u32,
}

impl Topic {
    /// The partition at `index`.
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(index.0 as usize)
    }

    /// Partitions with their indices.
    pub fn indexed(&self) -> impl Iterator<Item = (PartitionIndex, &Partition)> {
        (0u32..).map(PartitionIndex).zip(&self.partitions)
    }
}

impl MetadataImage {
    /// The image of a cluster in which nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records were applied to reach this image.
    pub fn version(&self) -> MetadataVersion {
        self.version
    }

    /// What the cluster is called; `None` before its first start.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id
    }

    /// What is known of `node`.
    pub fn node(&self, node: NodeId) -> Option<NodeState> {
        self.nodes.get(&node).copied()
    }

    /// All nodes by id.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, NodeState)> {
        self.nodes.iter().map(|(node, state)| (*node, *state))
    }

    /// The incarnation that the next start of `node` takes. Past the last one it stays there, and the start is refused.
    pub fn next_incarnation(&self, node: NodeId) -> Incarnation {
        Incarnation(self.node(node).map_or(0, |state| state.incarnation.0).saturating_add(1))
    }

    /// The topic with this id.
    pub fn topic(&self, topic_id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&topic_id)
    }

    /// The topic of this name.
    pub fn topic_named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.names.get(name).and_then(|topic_id| self.topics.get(topic_id))
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.values().filter_map(|topic_id| self.topics.get(topic_id))
    }

    /// One partition.
    pub fn partition(&self, topic_id: TopicId, index: PartitionIndex) -> Option<&Partition> {
        self.topics.get(&topic_id)?.partition(index)
    }

    /// Every partition of every topic, in the order of topic ids and indices.
    pub fn partitions(&self) -> impl Iterator<Item = (&Arc<Topic>, PartitionIndex, &Partition)> {
        self.topics.values().flat_map(|topic| topic.indexed().map(move |(index, partition)| (topic, index, partition)))
    }

    /// Partitions of all topics together.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The next storage id: every id below it that is not live belongs to a dropped partition (rule J6).
    pub fn next_partition_id(&self) -> PartitionId {
        PartitionId(self.next_partition_id)
    }

    /// The next number for an idempotent producer: every one below it was taken.
    pub fn next_producer_id(&self) -> ProducerId {
        ProducerId(self.next_producer_id)
    }

    /// Panics where the image contradicts itself: a broken invariant of ours, never of a caller.
    pub fn assert_invariants(&self) {
        assert_eq!(self.names.len(), self.topics.len(), "one name a topic");
        let mut ids = std::collections::BTreeSet::new();
        for (name, topic_id) in &self.names {
            let topic = self.topics.get(topic_id).expect("every name leads to a topic");
            assert_eq!((&topic.name, topic.topic_id), (name, *topic_id), "a topic stands under its own name and id");
            assert!(!topic.partitions.is_empty(), "topic {name} has no partition");
            for partition in &topic.partitions {
                assert!(ids.insert(partition.partition_id), "partition id {} is used twice", partition.partition_id);
                assert!(partition.partition_id.0 < self.next_partition_id, "partition id from the future");
                if let Some(leader) = partition.leader {
                    let node = self.nodes.get(&leader).expect("leaders are known nodes");
                    assert!(partition.shard.0 < node.shards, "partition {} lies on no shard", partition.partition_id);
                }
            }
        }
        assert_eq!(ids.len(), self.partition_count, "partitions are counted");
    }
}

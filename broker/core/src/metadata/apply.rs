//! Apply: a committed record changes the image. No decisions: the same records from the same start give the same image
//! for ever. A record that does not fit is refused with the image unchanged; from disk that is damage, live it is our bug.

use std::collections::BTreeMap;
use std::sync::Arc;

use ouzel_protocol::{Incarnation, LeaderEpoch, MetadataVersion, NodeId, PartitionId, ShardIndex, TopicId};

use super::record::{Placement, Record, ShardMove};
use super::{MetadataImage, NodeState, Partition, Topic};
use crate::error::MetadataError;
use crate::limits;
use crate::topic_config::TopicConfig;

impl MetadataImage {
    /// Applies one committed record and moves to the next version.
    ///
    /// # Errors
    /// [`MetadataError::DoesNotFit`]: the record was not proposed against this version; the image is unchanged.
    pub fn apply(&mut self, record: &Record) -> Result<(), MetadataError> {
        let Some(next_version) = self.version.0.checked_add(1) else {
            return Err(self.does_not_fit("versions are exhausted".to_owned()));
        };
        match record {
            Record::NodeStarted { node, incarnation, shards, moves } => {
                self.apply_start(*node, *incarnation, *shards, moves)?;
            }
            Record::TopicCreated { topic_id, name, replication_factor, config, partitions } => {
                self.apply_create(*topic_id, name, *replication_factor, config, partitions)?;
            }
            Record::TopicDeleted { topic_id } => {
                let Some(topic) = self.topics.remove(topic_id) else { return Err(self.unknown(*topic_id)) };
                self.names.remove(&topic.name);
                self.partition_count -= topic.partitions.len();
            }
            Record::TopicAltered { topic_id, config, added } => self.apply_alter(*topic_id, config, added)?,
            Record::ClusterNamed { cluster_id } => match self.cluster_id {
                None => self.cluster_id = Some(*cluster_id),
                Some(known) => return Err(self.does_not_fit(format!("the cluster is named {known} already"))),
            },
            Record::ProducerIdBlock { first, count } => {
                let next = first.0.checked_add(u64::from(*count)).filter(|next| *next <= limits::PRODUCER_ID_MAX);
                let next = next.filter(|_| first.0 == self.next_producer_id && *count > 0);
                let Some(next) = next else {
                    return Err(self.does_not_fit(format!("{count} producer ids from {first} on cannot be taken")));
                };
                self.next_producer_id = next;
            }
        }
        self.version = MetadataVersion(next_version);
        Ok(())
    }

    fn does_not_fit(&self, detail: String) -> MetadataError {
        MetadataError::DoesNotFit { version: self.version.0, detail }
    }

    fn unknown(&self, topic_id: TopicId) -> MetadataError {
        self.does_not_fit(format!("topic {topic_id} does not exist"))
    }

    fn apply_start(
        &mut self,
        node: NodeId,
        incarnation: Incarnation,
        shards: u16,
        moves: &[ShardMove],
    ) -> Result<(), MetadataError> {
        let known = self.node(node).map_or(Incarnation(0), |state| state.incarnation);
        let node_is_new = !self.nodes.contains_key(&node);
        if incarnation <= known || shards == 0 || (node_is_new && self.nodes.len() >= limits::NODE_COUNT_MAX) {
            return Err(self.does_not_fit(format!("node {node} cannot start as {incarnation} with {shards} shards")));
        }
        let mut targets: BTreeMap<PartitionId, ShardIndex> = BTreeMap::new();
        for entry in moves {
            if entry.shard.0 >= shards || targets.insert(entry.partition_id, entry.shard).is_some() {
                return Err(self.does_not_fit(format!("partition {} cannot move there", entry.partition_id)));
            }
        }
        let mut topics = self.topics.clone();
        for topic in topics.values_mut() {
            if topic.partitions.iter().any(|partition| partition.leader == Some(node)) {
                for partition in &mut Arc::make_mut(topic).partitions {
                    if partition.leader == Some(node) {
                        self.restart_partition(partition, targets.remove(&partition.partition_id), shards)?;
                    }
                }
            }
        }
        if let Some(stranger) = targets.keys().next() {
            return Err(self.does_not_fit(format!("partition {stranger} is not led by node {node}")));
        }
        self.topics = topics;
        self.nodes.insert(node, NodeState { incarnation, shards });
        Ok(())
    }

    fn restart_partition(
        &self,
        partition: &mut Partition,
        target: Option<ShardIndex>,
        shards: u16,
    ) -> Result<(), MetadataError> {
        let exhausted = || self.does_not_fit(format!("epochs of partition {} are exhausted", partition.partition_id));
        let leader_epoch = partition.leader_epoch.0 + 1;
        if leader_epoch > limits::LEADER_EPOCH_MAX {
            return Err(exhausted());
        }
        if let Some(shard) = target {
            partition.ownership_epoch = partition.ownership_epoch.checked_add(1).ok_or_else(exhausted)?;
            partition.shard = shard;
        }
        if partition.shard.0 >= shards {
            return Err(self.does_not_fit(format!("partition {} would lie on no shard", partition.partition_id)));
        }
        #[cfg(ouzel_mutations)]
        if crate::mutation::epoch_not_raised() {
            return Ok(());
        }
        partition.leader_epoch = LeaderEpoch(leader_epoch);
        Ok(())
    }

    fn apply_create(
        &mut self,
        topic_id: TopicId,
        name: &str,
        replication_factor: u16,
        config: &TopicConfig,
        placements: &[Placement],
    ) -> Result<(), MetadataError> {
        if self.topics.contains_key(&topic_id) || self.names.contains_key(name) || placements.is_empty() {
            return Err(self.does_not_fit(format!("topic {name} cannot be created")));
        }
        let (partitions, next_partition_id) = self.new_partitions(placements)?;
        let topic = Topic { topic_id, name: name.to_owned(), replication_factor, config: config.clone(), partitions };
        self.next_partition_id = next_partition_id;
        self.partition_count += placements.len();
        self.names.insert(name.to_owned(), topic_id);
        self.topics.insert(topic_id, Arc::new(topic));
        Ok(())
    }

    fn apply_alter(
        &mut self,
        topic_id: TopicId,
        config: &TopicConfig,
        added: &[Placement],
    ) -> Result<(), MetadataError> {
        let (partitions, next_partition_id) = self.new_partitions(added)?;
        let missing = self.unknown(topic_id);
        let Some(topic) = self.topics.get_mut(&topic_id) else { return Err(missing) };
        let topic = Arc::make_mut(topic);
        topic.config = config.clone();
        topic.partitions.extend(partitions);
        self.next_partition_id = next_partition_id;
        self.partition_count += added.len();
        Ok(())
    }

    /// Fresh partitions at epoch 0, and the partition id after them.
    fn new_partitions(&self, placements: &[Placement]) -> Result<(Vec<Partition>, u64), MetadataError> {
        let mut partitions = Vec::with_capacity(placements.len());
        let mut next_partition_id = self.next_partition_id;
        for placement in placements {
            let Placement { partition_id, shard, leader } = *placement;
            let shards = leader.and_then(|leader| self.node(leader)).map(|state| state.shards);
            let is_placed = leader.is_none() || shards.is_some_and(|shards| shard.0 < shards);
            if partition_id.0 != next_partition_id || !is_placed || next_partition_id >= limits::PARTITION_ID_MAX {
                return Err(self.does_not_fit(format!("partition {partition_id} cannot be placed on shard {shard}")));
            }
            next_partition_id += 1;
            let leader_epoch = LeaderEpoch(0);
            partitions.push(Partition { partition_id, shard, leader, leader_epoch, ownership_epoch: 0 });
        }
        Ok((partitions, next_partition_id))
    }
}

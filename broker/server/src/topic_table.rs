//! A shard's view of the metadata: the newest image it has acted upon, and the acting (opening, fencing, configuring).
//!
//! Owns the published image of this shard. Never changes metadata and never decides placement. Lives on every shard,
//! fed by shard 0's metadata plane through the publish lane, one version after another.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ouzel_broker_core::{MetadataImage, Partition, Topic, TopicConfig};
use ouzel_protocol::{ErrorCode, MetadataVersion, NodeId, PartitionId, ShardIndex};
use ouzel_runtime::sync::Notify;
use ouzel_storage::{PartitionConfig, Store};

use crate::lanes::PartitionRef;

/// The image that this shard serves from.
#[derive(Debug)]
pub(crate) struct TopicTable {
    node: NodeId,
    shard: ShardIndex,
    image: RefCell<Arc<MetadataImage>>,
    changed: Notify,
}

/// Where a request for a partition goes.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) shard: ShardIndex,
    pub(crate) topic: Arc<Topic>,
}

impl TopicTable {
    pub(crate) fn new(node: NodeId, shard: ShardIndex, image: Arc<MetadataImage>) -> Self {
        Self { node, shard, image: RefCell::new(image), changed: Notify::new() }
    }

    /// The image acted upon last.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    pub(crate) fn version(&self) -> MetadataVersion {
        self.image.borrow().version()
    }

    /// Waits until this shard has acted on `version`. It is on its way: whoever knows it got it from the same source.
    pub(crate) async fn reached(&self, version: MetadataVersion) {
        while self.version() < version {
            self.changed.notified().await;
        }
    }

    /// The owner of a partition, for the shard that took the request.
    pub(crate) fn route(&self, at: PartitionRef) -> Result<Route, ErrorCode> {
        let image = self.image.borrow();
        let topic = image.topic(at.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        let partition = topic.partition(at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        match partition.leader {
            None => Err(ErrorCode::LeaderNotAvailable),
            Some(leader) if leader != self.node => Err(ErrorCode::NotLeader),
            Some(_) => Ok(Route { shard: partition.shard, topic: Arc::clone(topic) }),
        }
    }

    /// The partition, if this shard owns it.
    pub(crate) fn owned(&self, at: PartitionRef) -> Result<Partition, ErrorCode> {
        let image = self.image.borrow();
        let topic = image.topic(at.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        self.owned_of(topic, at)
    }

    /// As [`owned`](Self::owned), with the topic.
    pub(crate) fn owned_with_topic(&self, at: PartitionRef) -> Result<(Partition, Arc<Topic>), ErrorCode> {
        let image = self.image.borrow();
        let topic = image.topic(at.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
        Ok((self.owned_of(topic, at)?, Arc::clone(topic)))
    }

    fn owned_of(&self, topic: &Topic, at: PartitionRef) -> Result<Partition, ErrorCode> {
        let partition = topic.partition(at.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let is_ours = partition.leader == Some(self.node) && partition.shard == self.shard;
        if is_ours { Ok(*partition) } else { Err(ErrorCode::NotLeader) }
    }

    /// Acts on a newer image: opens what this shard now owns, shows the image, then drops what is gone. A partition is
    /// open before anyone can name it, and fenced before it is dropped.
    ///
    /// # Errors
    /// In words, what could not be dropped; the image is shown all the same, because it is committed, and the next start
    /// removes what is left.
    pub(crate) async fn act_on(&self, image: Arc<MetadataImage>, store: &Store) -> Result<(), String> {
        let old = self.image();
        if image.version() <= old.version() {
            return Ok(());
        }
        let plan = Plan::between(&old, &image, self.node, self.shard);
        for (partition_id, config) in plan.opened {
            store.open_partition(partition_id, config);
        }
        for (partition_id, config) in plan.configured {
            store.set_config(partition_id, config).expect("a partition that this shard owns is open");
        }
        *self.image.borrow_mut() = image;
        self.changed.notify_all();
        let mut shortfalls = Vec::new();
        for partition_id in plan.dropped {
            if let Err(error) = store.drop_partition(partition_id).await {
                tracing::error!(shard = self.shard.0, partition = partition_id.0, %error, "a partition was not dropped");
                shortfalls.push(format!("partition {partition_id} was not dropped: {error}"));
            }
        }
        if shortfalls.is_empty() { Ok(()) } else { Err(shortfalls.join("; ")) }
    }
}

/// What a shard has to do between two images.
#[derive(Debug, Default)]
struct Plan {
    opened: Vec<(PartitionId, PartitionConfig)>,
    configured: Vec<(PartitionId, PartitionConfig)>,
    dropped: Vec<PartitionId>,
}

impl Plan {
    fn between(old: &MetadataImage, new: &MetadataImage, node: NodeId, shard: ShardIndex) -> Self {
        let mut plan = Self::default();
        let ours = |topic: &Topic| -> BTreeMap<PartitionId, ()> {
            let is_ours = |partition: &&Partition| partition.leader == Some(node) && partition.shard == shard;
            topic.partitions.iter().filter(is_ours).map(|partition| (partition.partition_id, ())).collect()
        };
        for topic in new.topics() {
            let before = old.topic(topic.topic_id);
            if before.is_some_and(|before| Arc::ptr_eq(before, topic)) {
                continue;
            }
            let known = before.map(|before| ours(before)).unwrap_or_default();
            let config_changed = before.is_some_and(|before| before.config != topic.config);
            for partition_id in ours(topic).into_keys() {
                let config = partition_config(&topic.config);
                if !known.contains_key(&partition_id) {
                    plan.opened.push((partition_id, config));
                } else if config_changed {
                    plan.configured.push((partition_id, config));
                }
            }
        }
        for topic in old.topics().filter(|topic| new.topic(topic.topic_id).is_none()) {
            plan.dropped.extend(ours(topic).into_keys());
        }
        plan
    }
}

/// What storage needs to know of a topic's settings.
pub(crate) fn partition_config(config: &TopicConfig) -> PartitionConfig {
    PartitionConfig {
        durability: config.durability(),
        flush_interval_ms: config.flush_interval_ms(),
        segment_bytes: config.segment_bytes(),
        batch_bytes_max: config.message_bytes_max(),
    }
}

#[cfg(test)]
mod tests {
    use ouzel_broker_core::Command;
    use ouzel_protocol::{Incarnation, TopicId};

    use super::*;

    fn after(image: &MetadataImage, command: Command) -> MetadataImage {
        let mut image = image.clone();
        let record = image.propose(command).expect("legal");
        image.apply(&record).expect("fits");
        image
    }

    #[test]
    fn a_shard_opens_configures_and_drops_only_what_it_owns() {
        let name = || "orders".to_owned();
        let node = NodeId(0);
        let start = Command::NodeStarted { node, incarnation: Incarnation(1), shards: 2 };
        let empty = after(&MetadataImage::new(), start);
        let create = Command::CreateTopic {
            name: name(),
            topic_id: TopicId(1),
            partitions: 3,
            replication_factor: 0,
            configs: Vec::new(),
        };
        let created = after(&empty, create);
        let configs = vec![("ouzel.durability".to_owned(), Some("written".to_owned()))];
        let altered = after(&created, Command::AlterTopic { name: name(), partitions: Some(4), configs });
        let deleted = after(&altered, Command::DeleteTopic { name: name() });
        let ids = |entries: &[(PartitionId, PartitionConfig)]| entries.iter().map(|(id, _)| id.0).collect::<Vec<_>>();

        let plan = |old, new, shard| Plan::between(old, new, node, ShardIndex(shard));
        assert_eq!(ids(&plan(&empty, &created, 0).opened), [0, 2]);
        assert_eq!(ids(&plan(&empty, &created, 1).opened), [1]);
        let second = plan(&created, &altered, 1);
        assert_eq!((ids(&second.opened), ids(&second.configured)), (vec![3], vec![1]));
        assert_eq!(plan(&altered, &deleted, 0).dropped, [PartitionId(0), PartitionId(2)]);
        let nothing = plan(&deleted, &deleted, 0);
        assert!(nothing.opened.is_empty() && nothing.configured.is_empty() && nothing.dropped.is_empty());
    }
}

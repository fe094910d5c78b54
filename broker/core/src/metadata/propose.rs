//! Propose: a command is checked against the image and becomes a record, or is refused and says why. Nothing changes
//! here; every decision does fall here, so that a record replays the same for ever.

use std::collections::BTreeSet;

use ouzel_protocol::{Incarnation, NodeId, PartitionId, TopicId, check_topic_name};

use super::placement;
use super::record::{Placement, Record, ShardMove};
use super::{Command, MetadataImage, Topic, internal};
use crate::error::MetadataError;
use crate::limits;
use crate::topic_config::TopicConfig;

impl MetadataImage {
    /// The record that fulfils `command`, to be made durable and then applied to this very version.
    ///
    /// # Errors
    /// The caller's fault, by variant; nothing has changed and nothing was assigned.
    pub fn propose(&self, command: Command) -> Result<Record, MetadataError> {
        if self.version.0 == u64::MAX {
            return Err(MetadataError::LimitReached { what: "metadata versions", limit: usize::MAX });
        }
        match command {
            Command::CreateTopic { name, topic_id, partitions, replication_factor, configs } => {
                self.propose_create(name, topic_id, partitions, replication_factor, &configs)
            }
            Command::DeleteTopic { name } => Ok(Record::TopicDeleted { topic_id: self.existing(&name)?.topic_id }),
            Command::DeleteTopicById { topic_id } => match self.topic(topic_id) {
                Some(_) => Ok(Record::TopicDeleted { topic_id }),
                None => Err(MetadataError::UnknownTopicId { topic_id }),
            },
            Command::AlterTopic { name, partitions, configs } => self.propose_alter(&name, partitions, &configs),
            Command::NodeStarted { node, incarnation, shards } => self.propose_start(node, incarnation, shards),
            Command::NameCluster { cluster_id } => match self.cluster_id {
                None => Ok(Record::ClusterNamed { cluster_id }),
                Some(cluster_id) => Err(MetadataError::ClusterNamed { cluster_id }),
            },
            Command::AllocateProducerIds { count } => self.propose_producer_ids(count),
        }
    }

    fn existing(&self, name: &str) -> Result<&Topic, MetadataError> {
        match self.topic_named(name) {
            Some(topic) => Ok(topic),
            None => Err(MetadataError::UnknownTopic { name: name.to_owned() }),
        }
    }

    fn propose_create(
        &self,
        name: String,
        topic_id: TopicId,
        partitions: u32,
        replication_factor: u16,
        configs: &[(String, String)],
    ) -> Result<Record, MetadataError> {
        if let Err(refusal) = check_topic_name(&name) {
            return Err(MetadataError::IllegalTopicName { name, detail: refusal.to_string() });
        }
        if self.topic_named(&name).is_some() {
            return Err(MetadataError::TopicExists { name });
        }
        internal::check_create(&name, partitions, configs)?;
        if self.topics.contains_key(&topic_id) {
            return Err(MetadataError::TopicIdTaken { topic_id });
        }
        if self.topics.len() >= limits::TOPIC_COUNT_MAX {
            return Err(MetadataError::LimitReached { what: "topics", limit: limits::TOPIC_COUNT_MAX });
        }
        check_config_count(configs.len())?;
        let config = TopicConfig::from_entries(configs.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
        let replication_factor = match replication_factor {
            0 => limits::REPLICATION_FACTOR_DEFAULT,
            asked => asked,
        };
        if self.nodes.is_empty() {
            return Err(MetadataError::NoNode);
        }
        // Replicas on other nodes come with replication; until then a partition lives on its leader alone.
        if replication_factor != 1 {
            return Err(MetadataError::InvalidReplicationFactor { got: replication_factor, nodes: self.nodes.len() });
        }
        let count = match partitions {
            0 => limits::TOPIC_PARTITION_COUNT_DEFAULT,
            asked => asked,
        };
        let partitions = self.place_partitions(None, count)?;
        Ok(Record::TopicCreated { topic_id, name, replication_factor, config, partitions })
    }

    fn propose_alter(
        &self,
        name: &str,
        partitions: Option<u32>,
        configs: &[(String, Option<String>)],
    ) -> Result<Record, MetadataError> {
        let topic = self.existing(name)?;
        internal::check_alter(topic)?;
        check_config_count(configs.len())?;
        let mut config = topic.config.clone();
        for (key, value) in configs {
            config.set(key, value.as_deref())?;
        }
        let added = match partitions {
            None => Vec::new(),
            Some(wanted) => self.place_partitions(Some(topic), wanted)?,
        };
        Ok(Record::TopicAltered { topic_id: topic.topic_id, config, added })
    }

    /// Places what is missing until the topic has `wanted` partitions.
    fn place_partitions(&self, topic: Option<&Topic>, wanted: u32) -> Result<Vec<Placement>, MetadataError> {
        let has = topic.map_or(0, |topic| topic.partitions.len() as u32);
        if wanted <= has || wanted > limits::TOPIC_PARTITION_COUNT_MAX {
            let max = limits::TOPIC_PARTITION_COUNT_MAX;
            return Err(MetadataError::InvalidPartitions { got: wanted, min: has + 1, max });
        }
        let missing = wanted - has;
        if self.partition_count + missing as usize > limits::PARTITION_COUNT_MAX {
            return Err(MetadataError::LimitReached { what: "partitions", limit: limits::PARTITION_COUNT_MAX });
        }
        if limits::PARTITION_ID_MAX.saturating_sub(self.next_partition_id) < u64::from(missing) {
            return Err(MetadataError::LimitReached {
                what: "partition ids",
                limit: limits::PARTITION_ID_MAX as usize,
            });
        }
        Ok(placement::place(self, topic, self.next_partition_id(), missing))
    }

    fn propose_start(&self, node: NodeId, incarnation: Incarnation, shards: u16) -> Result<Record, MetadataError> {
        if shards == 0 || shards > limits::SHARD_COUNT_MAX {
            return Err(MetadataError::InvalidShards { got: shards, max: limits::SHARD_COUNT_MAX });
        }
        let known = self.node(node).map_or(Incarnation(0), |state| state.incarnation);
        if incarnation <= known {
            return Err(MetadataError::StaleIncarnation { node, got: incarnation, known });
        }
        if self.node(node).is_none() && self.nodes.len() >= limits::NODE_COUNT_MAX {
            return Err(MetadataError::LimitReached { what: "nodes", limit: limits::NODE_COUNT_MAX });
        }
        let moves = placement::rebalance(self, node, shards);
        self.check_epochs(node, &moves)?;
        Ok(Record::NodeStarted { node, incarnation, shards, moves })
    }

    /// A start raises the epoch of every partition the node leads, and the ownership epoch of those that move. A record
    /// that could not do so must not become durable: no later start could apply it.
    fn check_epochs(&self, node: NodeId, moves: &[ShardMove]) -> Result<(), MetadataError> {
        let moving: BTreeSet<PartitionId> = moves.iter().map(|entry| entry.partition_id).collect();
        let led = self.partitions().map(|(_, _, partition)| partition).filter(|led| led.leader == Some(node));
        for partition in led {
            if partition.leader_epoch.0 >= limits::LEADER_EPOCH_MAX {
                let limit = limits::LEADER_EPOCH_MAX as usize;
                return Err(MetadataError::LimitReached { what: "leader epochs", limit });
            }
            if partition.ownership_epoch == u32::MAX && moving.contains(&partition.partition_id) {
                return Err(MetadataError::LimitReached { what: "ownership epochs", limit: u32::MAX as usize });
            }
        }
        Ok(())
    }
}

impl MetadataImage {
    fn propose_producer_ids(&self, count: u32) -> Result<Record, MetadataError> {
        let first = self.next_producer_id();
        let left = limits::PRODUCER_ID_MAX - first.0;
        if count == 0 || u64::from(count) > left {
            return Err(MetadataError::LimitReached { what: "producer ids", limit: limits::PRODUCER_ID_MAX as usize });
        }
        Ok(Record::ProducerIdBlock { first, count })
    }
}

fn check_config_count(count: usize) -> Result<(), MetadataError> {
    match count {
        0..=limits::CONFIG_ENTRY_COUNT_MAX => Ok(()),
        _ => Err(MetadataError::LimitReached { what: "config entries", limit: limits::CONFIG_ENTRY_COUNT_MAX }),
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{ClusterId, ShardIndex};

    use super::*;

    const NODE: NodeId = NodeId(0);

    fn started(shards: u16) -> MetadataImage {
        let mut image = MetadataImage::new();
        commit(&mut image, Command::NodeStarted { node: NODE, incarnation: Incarnation(1), shards });
        image
    }

    fn commit(image: &mut MetadataImage, command: Command) -> Record {
        let record = image.propose(command).expect("a legal command");
        image.apply(&record).expect("a proposed record applies");
        image.assert_invariants();
        record
    }

    fn create(name: &str, topic_id: u128, partitions: u32) -> Command {
        let name = name.to_owned();
        Command::CreateTopic {
            name,
            topic_id: TopicId(topic_id),
            partitions,
            replication_factor: 0,
            configs: Vec::new(),
        }
    }

    #[test]
    fn a_topic_is_spread_over_the_shards_and_numbered_on() {
        let mut image = started(2);
        let record = commit(&mut image, create("orders", 7, 3));
        let place =
            |id, shard| Placement { partition_id: PartitionId(id), shard: ShardIndex(shard), leader: Some(NODE) };
        let Record::TopicCreated { partitions, .. } = record else { panic!("{record:?}") };
        assert_eq!(partitions, [place(0, 0), place(1, 1), place(2, 0)]);
        let record = commit(&mut image, create("bills", 8, 2));
        let Record::TopicCreated { partitions, .. } = record else { panic!("{record:?}") };
        assert_eq!(partitions, [place(3, 1), place(4, 0)], "the emptier shard first, then the topic's own spread");
    }

    #[test]
    fn ids_of_dropped_partitions_are_never_used_again() {
        let mut image = started(1);
        commit(&mut image, create("orders", 7, 3));
        commit(&mut image, Command::DeleteTopic { name: "orders".to_owned() });
        assert_eq!(image.partition_count(), 0);
        commit(&mut image, create("orders", 9, 1));
        assert_eq!(image.topic_named("orders").map(|topic| topic.partitions[0].partition_id), Some(PartitionId(3)));
    }

    #[test]
    fn deleting_by_id_spares_the_topic_that_took_the_name() {
        let mut image = started(1);
        commit(&mut image, create("orders", 7, 1));
        commit(&mut image, Command::DeleteTopicById { topic_id: TopicId(7) });
        commit(&mut image, create("orders", 8, 1));
        let again = image.propose(Command::DeleteTopicById { topic_id: TopicId(7) });
        assert_eq!(again, Err(MetadataError::UnknownTopicId { topic_id: TopicId(7) }));
        assert_eq!(image.topic_named("orders").map(|topic| topic.topic_id), Some(TopicId(8)));
    }

    #[test]
    fn no_producer_id_is_taken_twice() {
        let mut image = started(1);
        let take = |image: &mut MetadataImage, count| match commit(image, Command::AllocateProducerIds { count }) {
            Record::ProducerIdBlock { first, count } => (first.0, count),
            other => panic!("{other:?}"),
        };
        assert_eq!(take(&mut image, 1000), (0, 1000));
        assert_eq!(take(&mut image, 7), (1000, 7));
        assert_eq!(image.next_producer_id().0, 1007);
        assert!(image.propose(Command::AllocateProducerIds { count: 0 }).is_err());
        let again = Record::ProducerIdBlock { first: ouzel_protocol::ProducerId(1000), count: 7 };
        assert!(image.apply(&again).is_err(), "a block that was taken");
    }

    #[test]
    fn a_cluster_is_named_once() {
        let mut image = started(1);
        let name = |bits| Command::NameCluster { cluster_id: ClusterId::from_random(bits) };
        commit(&mut image, name(7));
        let known = ClusterId::from_random(7);
        assert_eq!(image.cluster_id(), Some(known));
        for again in [7, 8] {
            assert_eq!(image.propose(name(again)), Err(MetadataError::ClusterNamed { cluster_id: known }));
        }
        assert!(image.apply(&Record::ClusterNamed { cluster_id: ClusterId::from_random(8) }).is_err());
        assert_eq!(image.cluster_id(), Some(known));
    }

    #[test]
    fn every_start_raises_the_epoch_of_every_partition_the_node_leads() {
        let mut image = started(2);
        commit(&mut image, create("orders", 7, 4));
        for incarnation in 2..5 {
            let before: Vec<_> = image.partitions().map(|(_, _, partition)| partition.leader_epoch).collect();
            commit(&mut image, Command::NodeStarted { node: NODE, incarnation: Incarnation(incarnation), shards: 2 });
            for ((_, _, partition), before) in image.partitions().zip(before) {
                assert_eq!(partition.leader_epoch.0, before.0 + 1);
            }
        }
    }

    #[test]
    fn another_number_of_shards_moves_partitions_evenly_and_raises_their_ownership() {
        let mut image = started(1);
        commit(&mut image, create("orders", 7, 6));
        for (incarnation, shards) in [(2, 4u16), (3, 3), (4, 1), (5, 2)] {
            let before: Vec<_> = image.partitions().map(|(_, _, partition)| *partition).collect();
            commit(&mut image, Command::NodeStarted { node: NODE, incarnation: Incarnation(incarnation), shards });
            let mut counts = vec![0usize; usize::from(shards)];
            for ((_, _, now), before) in image.partitions().zip(before) {
                counts[usize::from(now.shard.0)] += 1;
                assert_eq!(now.ownership_epoch - before.ownership_epoch, u32::from(now.shard != before.shard));
            }
            let (min, max) = (counts.iter().min(), counts.iter().max());
            assert!(max.zip(min).is_some_and(|(max, min)| max - min <= 1), "{counts:?}");
        }
    }

    #[test]
    fn commands_that_cannot_be_are_refused_by_name() {
        let mut image = started(1);
        commit(&mut image, create("orders", 7, 3));
        let alter = |partitions, configs| Command::AlterTopic { name: "orders".to_owned(), partitions, configs };
        let with = |replication_factor, configs| Command::CreateTopic {
            name: "new".to_owned(),
            topic_id: TopicId(9),
            partitions: 1,
            replication_factor,
            configs,
        };
        let text = |text: &str| text.to_owned();
        let cases = [
            (create("orders", 8, 1), "topic orders exists already"),
            (create("new", 7, 1), "is taken"),
            (create("a/b", 8, 1), "illegal topic name"),
            (create("..", 8, 1), "illegal topic name"),
            (create("", 8, 1), "illegal topic name"),
            (create("new", 8, 10_001), "10001 partitions are not possible"),
            (with(2, Vec::new()), "replication factor 2"),
            (with(0, vec![(text("colour"), text("red"))]), "unknown topic config"),
            (with(0, vec![(text("segment.bytes"), text("12"))]), "illegal value"),
            (Command::DeleteTopic { name: text("bills") }, "topic bills does not exist"),
            (Command::DeleteTopicById { topic_id: TopicId(8) }, "has the id"),
            (alter(Some(3), Vec::new()), "from 4 to 10000 are"),
            (alter(Some(0), Vec::new()), "0 partitions"),
            (alter(None, vec![(text("colour"), None)]), "unknown topic config"),
            (Command::NodeStarted { node: NODE, incarnation: Incarnation(1), shards: 1 }, "already recorded"),
            (Command::NodeStarted { node: NODE, incarnation: Incarnation(2), shards: 0 }, "0 shards"),
            (Command::NodeStarted { node: NODE, incarnation: Incarnation(2), shards: 257 }, "257 shards"),
        ];
        for (command, expected) in cases {
            let refusal = image.propose(command.clone()).expect_err(expected).to_string();
            assert!(refusal.contains(expected), "{command:?}: {refusal:?} does not say {expected:?}");
        }
        let nowhere = MetadataImage::new().propose(create("orders", 7, 1));
        assert_eq!(nowhere, Err(MetadataError::NoNode));
    }

    #[test]
    fn altering_adds_partitions_and_keeps_the_old_ones() {
        let mut image = started(2);
        commit(&mut image, create("orders", 7, 2));
        let before = image.topic_named("orders").expect("it was created").partitions.clone();
        let configs = vec![("ouzel.durability".to_owned(), Some("written".to_owned()))];
        commit(&mut image, Command::AlterTopic { name: "orders".to_owned(), partitions: Some(5), configs });
        let topic = image.topic_named("orders").expect("it is still there");
        assert_eq!(topic.partitions.len(), 5);
        assert_eq!(topic.partitions[..2], before[..]);
        assert_eq!(topic.config.durability(), ouzel_protocol::Durability::Written);
    }
}

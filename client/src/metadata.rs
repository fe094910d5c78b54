//! What the client knows of the cluster: topics, who owns each partition, where that shard listens. Owns the routing table
//! and how replies are merged into it; never asks a broker. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ouzel_protocol::native::{MetadataReply, NodeInfo, PartitionInfo, TopicInfo};
use ouzel_protocol::{ErrorCode, NodeId, PartitionIndex, TopicId};

use crate::address::Address;

/// One state of the routing table. Never changed, only replaced: readers keep theirs.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetadataImage {
    /// Counts the replies merged; newer is greater. Not the broker's version, which a new cluster at the same address
    /// starts anew.
    pub(crate) generation: u64,
    nodes: HashMap<NodeId, NodeAddresses>,
    topics: HashMap<Arc<str>, TopicState>,
}

#[derive(Debug, Clone)]
struct NodeAddresses {
    public: Address,
    shards: Vec<Address>,
}

/// What a broker said of a topic.
#[derive(Debug, Clone)]
pub(crate) enum TopicState {
    Known(Arc<Topic>),
    Refused(ErrorCode),
}

/// A topic and the owners of its partitions.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) id: TopicId,
    /// Address of the owner by partition; none while there is no leader, or when it cannot be known.
    pub(crate) owners: Vec<Option<Address>>,
}

impl Topic {
    pub(crate) fn partition_count(&self) -> u32 {
        u32::try_from(self.owners.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn owner(&self, partition: PartitionIndex) -> Option<&Address> {
        self.owners.get(partition.0 as usize)?.as_ref()
    }

    pub(crate) fn has(&self, partition: PartitionIndex) -> bool {
        (partition.0 as usize) < self.owners.len()
    }
}

impl MetadataImage {
    pub(crate) fn topic(&self, name: &str) -> Option<&TopicState> {
        self.topics.get(name)
    }

    /// Public addresses of all nodes, for whoever needs any broker.
    pub(crate) fn public_addresses(&self) -> impl Iterator<Item = &Address> {
        self.nodes.values().map(|node| &node.public)
    }

    /// Every address that a request may go to.
    pub(crate) fn addresses(&self) -> HashSet<&Address> {
        let shards = self.nodes.values().flat_map(|node| &node.shards);
        self.public_addresses().chain(shards).collect()
    }

    /// This image with `reply`, which came from `source`, merged in. Topics that the reply does not speak of stay.
    pub(crate) fn merged(&self, reply: MetadataReply, source: &Address) -> MetadataImage {
        let nodes: HashMap<NodeId, NodeAddresses> =
            reply.nodes.iter().map(|node| (node.node, NodeAddresses::new(node, source))).collect();
        let mut topics = self.topics.clone();
        for topic in reply.topics {
            let name: Arc<str> = topic.name.as_str().into();
            let state = if topic.error.is_none() {
                TopicState::Known(Arc::new(route(&name, &topic, &nodes)))
            } else {
                TopicState::Refused(topic.error)
            };
            topics.insert(name, state);
        }
        MetadataImage { generation: self.generation + 1, nodes, topics }
    }
}

impl NodeAddresses {
    fn new(node: &NodeInfo, source: &Address) -> NodeAddresses {
        // A broker that listens on every address does not know by which of them it was reached; we do.
        let unspecified =
            node.host.is_empty() || node.host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
        let host: Arc<str> = if unspecified { Arc::clone(&source.host) } else { node.host.as_str().into() };
        NodeAddresses {
            public: Address::new(Arc::clone(&host), node.port),
            shards: node.shard_ports.iter().map(|port| Address::new(Arc::clone(&host), *port)).collect(),
        }
    }
}

fn route(name: &Arc<str>, topic: &TopicInfo, nodes: &HashMap<NodeId, NodeAddresses>) -> Topic {
    // Partitions are numbered from 0 without gaps; a row that is missing or out of place has no owner that we know.
    let mut owners = vec![None; topic.partitions.len()];
    for partition in &topic.partitions {
        if let Some(owner) = owners.get_mut(partition.index.0 as usize) {
            *owner = owner_of(partition, nodes);
        }
    }
    Topic { name: Arc::clone(name), id: topic.topic_id, owners }
}

fn owner_of(partition: &PartitionInfo, nodes: &HashMap<NodeId, NodeAddresses>) -> Option<Address> {
    let node = nodes.get(&partition.leader?)?;
    match node.shards.get(usize::from(partition.shard.0)) {
        Some(shard) if shard.port != 0 => Some(shard.clone()),
        _ => Some(node.public.clone()),
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{LeaderEpoch, MetadataVersion, ShardIndex};

    use super::*;

    fn reply(host: &str, leaders: &[(Option<u32>, u16)]) -> MetadataReply {
        let partition = |(index, (leader, shard)): (usize, &(Option<u32>, u16))| PartitionInfo {
            index: PartitionIndex(index as u32),
            leader: leader.map(NodeId),
            shard: ShardIndex(*shard),
            leader_epoch: LeaderEpoch(1),
        };
        MetadataReply {
            version: MetadataVersion(1),
            nodes: vec![NodeInfo { node: NodeId(1), host: host.into(), port: 9192, shard_ports: vec![9193, 9194] }],
            topics: vec![TopicInfo {
                error: ErrorCode::None,
                name: "t".into(),
                topic_id: TopicId(5),
                partitions: leaders.iter().enumerate().map(partition).collect(),
            }],
        }
    }

    fn known(image: &MetadataImage) -> Arc<Topic> {
        match image.topic("t") {
            Some(TopicState::Known(topic)) => Arc::clone(topic),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_partition_is_routed_to_the_port_of_its_shard() {
        let source = Address::new("10.0.0.1", 1);
        let rows = [(Some(1), 1), (None, 0), (Some(1), 7), (Some(2), 0)];
        let image = MetadataImage::default().merged(reply("b", &rows), &source);
        let topic = known(&image);
        assert_eq!(topic.owner(PartitionIndex(0)), Some(&Address::new("b", 9194)));
        assert_eq!(topic.owner(PartitionIndex(1)), None, "no leader");
        assert_eq!(topic.owner(PartitionIndex(2)), Some(&Address::new("b", 9192)), "no such shard");
        assert_eq!(topic.owner(PartitionIndex(3)), None, "no such node");
        assert_eq!(topic.owner(PartitionIndex(4)), None, "no such partition");
    }

    #[test]
    fn a_broker_that_listens_everywhere_is_reached_where_it_answered() {
        let source = Address::new("10.0.0.1", 1);
        for host in ["0.0.0.0", "::", ""] {
            let image = MetadataImage::default().merged(reply(host, &[(Some(1), 0)]), &source);
            let owner = known(&image).owner(PartitionIndex(0)).cloned();
            assert_eq!(owner, Some(Address::new("10.0.0.1", 9193)));
        }
    }

    #[test]
    fn topics_that_a_reply_does_not_speak_of_stay() {
        let source = Address::new("10.0.0.1", 1);
        let image = MetadataImage::default().merged(reply("b", &[(Some(1), 0)]), &source);
        let mut other = reply("b", &[]);
        other.topics[0].name = "u".into();
        other.topics[0].error = ErrorCode::UnknownTopicOrPartition;
        let next = image.merged(other, &source);
        assert_eq!(known(&next), known(&image));
        assert!(matches!(next.topic("u"), Some(TopicState::Refused(_))));
        assert_eq!(next.generation, 2);
    }
}

//! The topic a run uses: created or found, and which connection reaches which of its partitions. Owns the plan of
//! connections; never sends a record. Runs on the generator's thread before and after the load.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use ouzel_protocol::native::{
    Api, CreateTopicReply, CreateTopicRequest, DeleteTopicRequest, DescribeTopicReply, DescribeTopicRequest,
    ListOffsetsPartition, ListOffsetsReply, ListOffsetsRequest, MetadataReply, MetadataRequest, OffsetSpec,
    StatusReply,
};
use ouzel_protocol::{Durability, ErrorCode, Offset, PartitionIndex, TopicId};

use crate::wire::Wire;

/// Config of a topic that sets its durability level.
pub const DURABILITY_KEY: &str = "ouzel.durability";

/// The topic a run should use.
#[derive(Clone, Debug)]
pub struct TopicOptions {
    /// Name of an existing or new topic; `None` makes a new one that is deleted after the run.
    pub name: Option<String>,
    /// Partitions of a new topic.
    pub partitions: u32,
    /// Durability level; `None` keeps what the topic or the broker says.
    pub durability: Option<Durability>,
}

/// A topic and where its partitions are.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub topic_id: TopicId,
    /// Its durability level.
    pub durability: String,
    /// Address of the shard that owns each partition.
    pub partitions: Vec<(PartitionIndex, String)>,
    /// Shards of the broker.
    pub shards: u16,
    /// Whether the run made it and has to delete it.
    pub is_temporary: bool,
}

/// What one connection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Where to connect.
    pub address: String,
    /// The partitions it serves.
    pub partitions: Vec<PartitionIndex>,
    /// Requests it may have outstanding.
    pub in_flight: usize,
}

impl Topic {
    /// Finds the topic, or creates it.
    ///
    /// # Errors
    /// The broker refuses, or an existing topic does not have the durability asked for.
    pub async fn open(wire: &mut Wire, options: &TopicOptions) -> Result<Topic> {
        let is_temporary = options.name.is_none();
        let name = options.name.clone().unwrap_or_else(temporary_name);
        create(wire, &name, options).await?;
        let described = describe(wire, &name).await?;
        let durability = described
            .configs
            .iter()
            .find(|(key, _, _)| key == DURABILITY_KEY)
            .map_or_else(|| Durability::Disk.to_string(), |(_, value, _)| value.clone());
        if let Some(wanted) = options.durability
            && wanted.name() != durability
        {
            bail!(
                "topic {name} has durability {durability}, not {wanted}; alter it with \
                 `ouzel topic alter {name} --config {DURABILITY_KEY}={wanted}` or use another topic"
            );
        }
        let (topic_id, partitions, shards) = locate(wire, &name).await?;
        Ok(Topic { name, topic_id, durability, partitions, shards, is_temporary })
    }

    /// Asks again where the partitions are: after a restart the ports are others.
    ///
    /// # Errors
    /// The broker does not answer or does not know the topic.
    pub async fn relocate(&mut self, wire: &mut Wire) -> Result<()> {
        let (_, partitions, shards) = locate(wire, &self.name).await?;
        self.partitions = partitions;
        self.shards = shards;
        Ok(())
    }

    /// Deletes the topic if the run made it.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn clean_up(&self, wire: &mut Wire) -> Result<()> {
        if !self.is_temporary {
            return Ok(());
        }
        let request = DeleteTopicRequest { name: self.name.clone() };
        let reply = StatusReply::decode(&wire.call(Api::DeleteTopic, |out| request.encode(out)).await?)?;
        if reply.error != ErrorCode::None {
            bail!("cannot delete topic {}: {}", self.name, reply.message);
        }
        Ok(())
    }

    /// The offset of every partition at `at`, in the order of the partitions.
    ///
    /// # Errors
    /// The broker refuses one of them.
    pub async fn offsets(&self, wire: &mut Wire, at: OffsetSpec) -> Result<BTreeMap<PartitionIndex, Offset>> {
        let partitions = self
            .partitions
            .iter()
            .map(|(partition, _)| ListOffsetsPartition { topic_id: self.topic_id, partition: *partition, at })
            .collect();
        let request = ListOffsetsRequest { partitions };
        let reply = ListOffsetsReply::decode(&wire.call(Api::ListOffsets, |out| request.encode(out)).await?)?;
        let mut offsets = BTreeMap::new();
        for result in reply.partitions {
            if result.error != ErrorCode::None {
                bail!("cannot list offsets of {}-{}: {}", self.name, result.partition, result.error);
            }
            offsets.insert(result.partition, result.offset);
        }
        if offsets.len() != self.partitions.len() {
            bail!("the broker listed offsets of {} of {} partitions", offsets.len(), self.partitions.len());
        }
        Ok(offsets)
    }

    /// Spreads `connections` over the shards that own partitions, the partitions of a shard over its connections, and
    /// `in_flight` over all of them. With `is_exclusive` no partition is on two connections, so that order holds; there
    /// are then at most as many connections as partitions.
    pub fn lanes(&self, connections: usize, in_flight: usize, is_exclusive: bool) -> Vec<Lane> {
        let mut by_shard: BTreeMap<&str, Vec<PartitionIndex>> = BTreeMap::new();
        for (partition, address) in &self.partitions {
            by_shard.entry(address).or_default().push(*partition);
        }
        let shards = by_shard.len().max(1);
        let mut lanes = Vec::new();
        for (index, (address, partitions)) in by_shard.into_iter().enumerate() {
            let share = (connections / shards + usize::from(index < connections % shards)).max(1);
            let count = if is_exclusive { share.min(partitions.len()) } else { share };
            for lane in 0..count {
                let mine = if partitions.len() < count {
                    partitions.clone()
                } else {
                    partitions.iter().copied().skip(lane).step_by(count).collect()
                };
                lanes.push(Lane { address: address.to_string(), partitions: mine, in_flight: 0 });
            }
        }
        let count = lanes.len().max(1);
        for (index, lane) in lanes.iter_mut().enumerate() {
            lane.in_flight = (in_flight / count + usize::from(index < in_flight % count)).max(1);
        }
        lanes
    }
}

async fn create(wire: &mut Wire, name: &str, options: &TopicOptions) -> Result<()> {
    let configs =
        options.durability.map(|level| vec![(DURABILITY_KEY.to_string(), level.to_string())]).unwrap_or_default();
    let request =
        CreateTopicRequest { name: name.to_string(), partitions: options.partitions, replication_factor: 0, configs };
    let body = wire.call(Api::CreateTopic, |out| request.encode(out)).await?;
    let reply = CreateTopicReply::decode(&body)?;
    match reply.error {
        ErrorCode::None => Ok(()),
        ErrorCode::TopicAlreadyExists if options.name.is_some() => Ok(()),
        error if reply.message.is_empty() => bail!("cannot create topic {name}: {error}"),
        _ => bail!("cannot create topic {name}: {}", reply.message),
    }
}

async fn describe(wire: &mut Wire, name: &str) -> Result<DescribeTopicReply> {
    let request = DescribeTopicRequest { name: name.to_string() };
    let reply = DescribeTopicReply::decode(&wire.call(Api::DescribeTopic, |out| request.encode(out)).await?)?;
    if reply.error != ErrorCode::None {
        bail!("cannot describe topic {name}: {}", reply.error);
    }
    Ok(reply)
}

type Located = (TopicId, Vec<(PartitionIndex, String)>, u16);

async fn locate(wire: &mut Wire, name: &str) -> Result<Located> {
    let request = MetadataRequest { topics: Some(vec![name.to_string()]) };
    let reply = MetadataReply::decode(&wire.call(Api::Metadata, |out| request.encode(out)).await?)?;
    let topic = reply.topics.iter().find(|topic| topic.name == name).context("the broker left the topic out")?;
    if topic.error != ErrorCode::None {
        bail!("cannot find topic {name}: {}", topic.error);
    }
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for partition in &topic.partitions {
        let node = reply
            .nodes
            .iter()
            .find(|node| Some(node.node) == partition.leader)
            .with_context(|| format!("{name}-{} has no leader", partition.index))?;
        let port = node.shard_ports.get(usize::from(partition.shard.0)).copied().unwrap_or(node.port);
        partitions.push((partition.index, format!("{}:{port}", node.host)));
    }
    let shards = reply.nodes.iter().map(|node| node.shard_ports.len()).sum::<usize>();
    Ok((topic.topic_id, partitions, u16::try_from(shards).unwrap_or(u16::MAX).max(wire.hello.shards)))
}

/// A name no other run has.
fn temporary_name() -> String {
    format!("bench-{}-{:08x}", std::process::id(), rand::random::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partitions: u32, shards: u32) -> Topic {
        Topic {
            name: "t".to_string(),
            topic_id: TopicId(1),
            durability: "disk".to_string(),
            partitions: (0..partitions).map(|index| (PartitionIndex(index), format!("h:{}", index % shards))).collect(),
            shards: u16::try_from(shards).expect("few"),
            is_temporary: true,
        }
    }

    #[test]
    fn every_partition_is_on_exactly_one_exclusive_lane_at_its_own_shard() {
        for (partitions, shards, connections) in [(1, 1, 8), (16, 2, 4), (5, 3, 7), (1024, 4, 4), (3, 3, 1)] {
            let topic = topic(partitions, shards);
            let lanes = topic.lanes(connections, 256, true);
            let mut seen: Vec<u32> = Vec::new();
            for lane in &lanes {
                assert!(!lane.partitions.is_empty());
                for partition in &lane.partitions {
                    assert_eq!(lane.address, topic.partitions[partition.0 as usize].1);
                    seen.push(partition.0);
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..partitions).collect::<Vec<_>>());
        }
    }

    #[test]
    fn requests_in_flight_are_the_same_in_all_whatever_the_partitions() {
        for (partitions, shards, connections) in [(1, 1, 4), (1024, 2, 4), (7, 2, 6)] {
            let lanes = topic(partitions, shards).lanes(connections, 256, false);
            assert_eq!(lanes.len(), connections);
            assert_eq!(lanes.iter().map(|lane| lane.in_flight).sum::<usize>(), 256);
        }
    }
}

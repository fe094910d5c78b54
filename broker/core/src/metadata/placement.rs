//! Where partitions live: a pure function of the image. The partition -> shard table is data written by shard 0, never
//! a hash of the core count, so another number of cores strands nothing.

use std::collections::BTreeMap;

use ouzel_protocol::{NodeId, PartitionId, ShardIndex, TopicId};

use super::record::{Placement, ShardMove};
use super::{MetadataImage, Topic};

/// Places `count` new partitions of a topic: spread its own partitions first, then even out the cluster.
///
/// Ids are the next `count` from `first`. The caller made sure that there is a node.
pub(super) fn place(image: &MetadataImage, topic: Option<&Topic>, first: PartitionId, count: u32) -> Vec<Placement> {
    // (partitions of this topic, partitions of all topics) per place; ties go to the lowest node and shard.
    let mut load: BTreeMap<(NodeId, ShardIndex), (usize, usize)> = image
        .nodes()
        .flat_map(|(node, state)| (0..state.shards).map(move |shard| ((node, ShardIndex(shard)), (0, 0))))
        .collect();
    assert!(!load.is_empty(), "proposals without a node are refused before placement");
    for (owner, _, partition) in image.partitions() {
        let Some(leader) = partition.leader else { continue };
        if let Some((of_topic, of_all)) = load.get_mut(&(leader, partition.shard)) {
            *of_all += 1;
            *of_topic += usize::from(topic.is_some_and(|topic| topic.topic_id == owner.topic_id));
        }
    }
    let mut placements = Vec::with_capacity(count as usize);
    for partition_id in (first.0..).map(PartitionId).take(count as usize) {
        let (place, counts) =
            load.iter_mut().min_by_key(|(place, counts)| (**counts, **place)).expect("there is a place");
        counts.0 += 1;
        counts.1 += 1;
        placements.push(Placement { partition_id, shard: place.1, leader: Some(place.0) });
    }
    placements
}

/// The moves that spread the partitions of `node` evenly over `shards`, topic by topic; none when the number of shards
/// is what it was. A move at start costs nothing: recovery has drained every journal to segments (rule J7).
pub(super) fn rebalance(image: &MetadataImage, node: NodeId, shards: u16) -> Vec<ShardMove> {
    let Some(known) = image.node(node) else { return Vec::new() };
    if known.shards == shards {
        return Vec::new();
    }
    // Topics in the order of their ids, so that equal images are balanced alike on every node.
    let mut order: Vec<(TopicId, PartitionId, ShardIndex)> = Vec::with_capacity(image.partition_count());
    for (topic, _, partition) in image.partitions() {
        if partition.leader == Some(node) {
            order.push((topic.topic_id, partition.partition_id, partition.shard));
        }
    }
    let targets = (0..shards).map(ShardIndex).cycle();
    order
        .into_iter()
        .zip(targets)
        .filter(|((_, _, shard), target)| shard != target)
        .map(|((_, partition_id, _), shard)| ShardMove { partition_id, shard })
        .collect()
}

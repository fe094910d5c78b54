//! The topics of a verification run, where their partitions are now, and a reading of everything they hold. Owns no
//! state of its own beyond what it was told; never sends a batch. On tokio.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use ouzel_protocol::native::{
    Api, CreateTopicReply, CreateTopicRequest, FetchPartition, FetchReply, FetchRequest, ListOffsetsPartition,
    ListOffsetsReply, ListOffsetsRequest, MetadataReply, MetadataRequest, OffsetSpec,
};
use ouzel_protocol::{Durability, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::ledger::{Fault, Ledger, Loss, Lost};
use super::load::{for_each_record, lock};
use crate::topic::DURABILITY_KEY;
use crate::wire::Wire;

/// One topic for each durability level.
pub(super) const TOPICS: [(&str, Durability); 2] =
    [("verify-disk", Durability::Disk), ("verify-written", Durability::Written)];
/// Largest batch of these topics: the largest shape of `content` fits, and so does a quarter of the smallest journal.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Given to the topics, so that nobody's default decides how much a power cut may take at level `written`.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_millis(20);
/// A segment is rolled often, so that reading crosses from one to the next.
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;
/// Bytes that one fetch of a pass asks for.
const PASS_FETCH_BYTES: u32 = 4 * 1024 * 1024;

/// A partition as the present run of the broker has it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) topic_id: TopicId,
    pub(super) partition: PartitionIndex,
    pub(super) leader_epoch: LeaderEpoch,
    /// The port of the shard that owns it.
    pub(super) address: String,
}

/// Where everything is. Partitions stand in the same order in every run: by topic, then by index.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) bootstrap: String,
    pub(super) partitions: Vec<Target>,
}

/// The partitions of all topics, by name and durability, in the order of [`Layout::partitions`].
pub(super) fn partition_names(partitions_per_topic: u32) -> Vec<(String, Durability)> {
    let of_topic =
        |(topic, durability)| (0..partitions_per_topic).map(move |index| (format!("{topic}/{index}"), durability));
    TOPICS.into_iter().flat_map(of_topic).collect()
}

/// Creates the topics.
///
/// # Errors
/// The broker refused one.
pub(super) async fn create_topics(bootstrap: &str, partitions_per_topic: u32) -> Result<()> {
    let mut wire = Wire::connect(bootstrap).await?;
    for (topic, durability) in TOPICS {
        let request = CreateTopicRequest {
            name: topic.to_owned(),
            partitions: partitions_per_topic,
            replication_factor: 0,
            configs: vec![
                (DURABILITY_KEY.to_owned(), durability.to_string()),
                ("ouzel.flush.interval.ms".to_owned(), FLUSH_INTERVAL.as_millis().to_string()),
                ("max.message.bytes".to_owned(), BATCH_BYTES_MAX.to_string()),
                ("segment.bytes".to_owned(), SEGMENT_BYTES.to_string()),
            ],
        };
        let reply = CreateTopicReply::decode(&wire.call(Api::CreateTopic, |out| request.encode(out)).await?)?;
        ensure!(reply.error.is_none(), "cannot create {topic}: {} ({})", reply.error, reply.message);
    }
    Ok(())
}

/// Asks where everything is.
///
/// # Errors
/// A topic, a partition or a leader is missing.
pub(super) async fn discover(bootstrap: &str, partitions_per_topic: u32) -> Result<Layout> {
    let mut wire = Wire::connect(bootstrap).await?;
    let request = MetadataRequest { topics: Some(TOPICS.iter().map(|(topic, _)| (*topic).to_owned()).collect()) };
    let reply = MetadataReply::decode(&wire.call(Api::Metadata, |out| request.encode(out)).await?)?;
    let mut partitions = Vec::new();
    for (topic, _) in TOPICS {
        let info = reply.topics.iter().find(|info| info.name == topic && info.error.is_none());
        let info = info.ok_or_else(|| Fault(format!("topic {topic} is gone")))?;
        for index in (0..partitions_per_topic).map(PartitionIndex) {
            let name = format!("{topic}/{index}");
            let row = info.partitions.iter().find(|row| row.index == index);
            let row = row.ok_or_else(|| Fault(format!("partition {name} is gone")))?;
            let leader = row.leader.ok_or_else(|| Fault(format!("partition {name} has no leader")))?;
            let node =
                reply.nodes.iter().find(|node| node.node == leader).context("metadata names an unknown leader")?;
            let port = node.shard_ports.get(usize::from(row.shard.0)).context("metadata names an unknown shard")?;
            partitions.push(Target {
                name,
                topic_id: info.topic_id,
                partition: index,
                leader_epoch: row.leader_epoch,
                address: format!("{}:{port}", node.host),
            });
        }
    }
    Ok(Layout { bootstrap: bootstrap.to_owned(), partitions })
}

/// Reads every partition from its log start to its high watermark, from the shards that own them, and holds it against
/// the ledger, which is told what may be missing. Nothing may be produced meanwhile. Returns the high watermarks, and what
/// is missing.
///
/// # Errors
/// A [`Fault`] if a rule of the ledger does not hold; any other error if the broker did not answer.
pub(super) async fn check_everything(
    layout: &Layout,
    ledger: &Mutex<Ledger>,
    loss: Loss,
) -> Result<(Vec<Offset>, Lost)> {
    let mut wires: HashMap<&str, Wire> = HashMap::new();
    let mut ends = Vec::new();
    lock(ledger).begin_pass();
    for (partition_index, target) in layout.partitions.iter().enumerate() {
        let address = target.address.as_str();
        if !wires.contains_key(address) {
            wires.insert(address, Wire::connect(address).await?);
        }
        let wire = wires.get_mut(address).context("it was opened above")?;
        let start = list_offset(wire, target, OffsetSpec::Earliest).await?;
        ensure!(
            start == Offset::ZERO,
            Fault(format!("{}: the log starts at {start}, nothing was deleted", target.name))
        );
        let end = list_offset(wire, target, OffsetSpec::Latest).await?;
        let mut position = start;
        while position < end {
            let before = position;
            let (pieces, high_watermark) = fetch(wire, target, position).await?;
            ensure!(
                high_watermark == end,
                Fault(format!("{}: the high watermark moved from {end} to {high_watermark} without load", target.name))
            );
            for_each_record(&pieces, |epoch, record| {
                // The first batch may begin in front of the offset that was asked for.
                if record.offset < position {
                    return Ok(());
                }
                position = record.offset.next();
                lock(ledger).passed(partition_index, epoch, record)
            })?;
            if position == before {
                bail!(Fault(format!(
                    "{}: nothing can be read at offset {position}, the high watermark is {end}",
                    target.name
                )));
            }
        }
        ends.push(end);
    }
    let lost = lock(ledger).end_pass(&ends, loss)?;
    Ok((ends, lost))
}

/// Reads the beginning of every partition that holds something, while others may produce.
///
/// # Errors
/// A partition cannot be read, or holds something else than before.
pub(super) async fn read_starts(layout: &Layout, ledger: &Mutex<Ledger>) -> Result<()> {
    for (partition_index, target) in layout.partitions.iter().enumerate() {
        let mut wire = Wire::connect(&target.address).await?;
        let (pieces, high_watermark) = fetch(&mut wire, target, Offset::ZERO).await?;
        let mut count = 0;
        for_each_record(&pieces, |epoch, record| {
            count += 1;
            lock(ledger).observed(partition_index, epoch, record)
        })?;
        ensure!(
            count > 0 || high_watermark == Offset::ZERO,
            Fault(format!("{}: nothing can be read at offset 0, the high watermark is {high_watermark}", target.name))
        );
    }
    Ok(())
}

async fn list_offset(wire: &mut Wire, target: &Target, at: OffsetSpec) -> Result<Offset> {
    let row = ListOffsetsPartition { topic_id: target.topic_id, partition: target.partition, at };
    let request = ListOffsetsRequest { partitions: vec![row] };
    let reply = ListOffsetsReply::decode(&wire.call(Api::ListOffsets, |out| request.encode(out)).await?)?;
    let row = reply.partitions.first().ok_or_else(|| anyhow!("an empty reply to a question for offsets"))?;
    ensure!(row.error.is_none(), Fault(format!("{}: no offsets: {}", target.name, row.error)));
    Ok(row.offset)
}

async fn fetch(wire: &mut Wire, target: &Target, offset: Offset) -> Result<(Vec<bytes::Bytes>, Offset)> {
    let row =
        FetchPartition { topic_id: target.topic_id, partition: target.partition, offset, max_bytes: PASS_FETCH_BYTES };
    let request = FetchRequest { max_wait_ms: 0, min_bytes: 1, max_bytes: PASS_FETCH_BYTES, partitions: vec![row] };
    let mut reply = FetchReply::decode(wire.call(Api::Fetch, |out| request.encode(out)).await?)?;
    let row = reply.partitions.pop().ok_or_else(|| anyhow!("an empty reply to a fetch"))?;
    ensure!(row.error.is_none(), Fault(format!("{}: cannot read at offset {offset}: {}", target.name, row.error)));
    Ok((row.records, row.high_watermark))
}

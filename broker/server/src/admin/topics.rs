//! Topics and partitions as JSON, in the shapes of `ouzel topic list --json` and `ouzel topic describe --json`.

use std::sync::Arc;

use axum::extract::State;
use ouzel_broker_core::Topic;
use ouzel_protocol::ShardIndex;
use serde_json::{Map, Value, json};

use super::Admin;
use super::answer::{Answer, Named, Refusal, json_of};
use super::lane::AdminQuestion;
use super::shards::Asking;
use crate::lanes::{PartitionRef, PartitionStatus};
use crate::limits::ADMIN_ROW_COUNT_MAX;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let image = admin.shards.asking().image().await?;
    let topics: Vec<Value> = image
        .topics()
        .take(ADMIN_ROW_COUNT_MAX)
        .map(|topic| {
            json!({
                "topic": topic.name,
                "topic_id": topic.topic_id.to_string(),
                "partitions": topic.partitions.len(),
            })
        })
        .collect();
    let left_out = image.topics().count() - topics.len();
    Ok(json_of(&json!({ "topics": topics, "left_out": left_out })))
}

pub(super) async fn describe(State(admin): State<Arc<Admin>>, Named(name): Named<String>) -> Answer {
    let mut asking = admin.shards.asking();
    let image = asking.image().await?;
    let topic = image.topic_named(&name).ok_or_else(|| {
        Refusal::not_found(format!("there is no topic {name}"), "the metadata has no topic of this name")
    })?;
    let rows: Vec<PartitionRef> =
        topic.indexed().map(|(partition, _)| PartitionRef { topic_id: topic.topic_id, partition }).collect();
    let of_shards = topic.partitions.iter().map(|partition| partition.shard);
    let statuses = statuses(&mut asking, rows.into_iter().zip(of_shards)).await;
    let partitions = topic.indexed().zip(statuses).map(|((index, partition), status)| {
        json!({
            "partition": index.0,
            "shard": partition.shard.0,
            "leader": partition.leader.map(|node| node.0),
            "leader_epoch": partition.leader_epoch.0,
            "log_start_offset": status.log_start.0,
            "end_offset": status.end_offset.0,
            "bytes": status.bytes,
            "state": status.state,
        })
    });
    Ok(json_of(&json!({
        "topic": topic.name,
        "topic_id": topic.topic_id.to_string(),
        "configs": configs(topic),
        "partitions": partitions.collect::<Vec<_>>(),
    })))
}

fn configs(topic: &Topic) -> Map<String, Value> {
    topic.config.describe().into_iter().map(|entry| (entry.key.to_owned(), entry.value.into())).collect()
}

/// What the owner of each partition says of it, in the order of the rows; one whose owner does not answer is offline.
pub(super) async fn statuses(
    asking: &mut Asking<'_>,
    rows: impl Iterator<Item = (PartitionRef, ShardIndex)>,
) -> Vec<PartitionStatus> {
    let mut of_shards: Vec<(Vec<usize>, Vec<PartitionRef>)> =
        vec![Default::default(); asking.shards().addresses().len()];
    let mut statuses = Vec::new();
    for (index, (at, shard)) in rows.enumerate() {
        statuses.push(PartitionStatus::OFFLINE);
        if let Some((indices, rows)) = of_shards.get_mut(usize::from(shard.0)) {
            indices.push(index);
            rows.push(at);
        }
    }
    let mut indices_of = Vec::new();
    let mut questions = Vec::new();
    for (shard, (indices, rows)) in (0..).map(ShardIndex).zip(of_shards) {
        if !rows.is_empty() {
            indices_of.push(indices);
            questions.push((shard, |reply| AdminQuestion::Partitions { rows, reply }));
        }
    }
    let answers = asking.each(questions).await;
    for (indices, answer) in indices_of.into_iter().zip(answers) {
        for (index, status) in indices.into_iter().zip(answer.unwrap_or_default()) {
            if let Some(place) = statuses.get_mut(index) {
                *place = status;
            }
        }
    }
    statuses
}

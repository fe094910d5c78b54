//! Groups as JSON, in the shapes of `ouzel group list --json` and `ouzel group describe --json`, and how far they lag. Owns the
//! computation of lag: what is committed is the coordinators', where a partition ends its owner's.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use ouzel_broker_core::MetadataImage;
use ouzel_protocol::native::{AssignedTopic, DescribedMember};
use ouzel_protocol::{Offset, PartitionIndex, ShardIndex};
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Refusal, json_of};
use super::lane::{AdminQuestion, CommittedAt, GroupDetail, GroupSnapshot};
use super::shards::Shards;
use super::topics::statuses;
use crate::groups::{OFFSETS_TOPIC, Unavailable, partition_of};
use crate::lanes::PartitionRef;
use crate::limits::ADMIN_ROW_COUNT_MAX;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let question = |reply| AdminQuestion::Groups { count_max: ADMIN_ROW_COUNT_MAX, offset_count_max: 0, reply };
    let answers = admin.shards.ask_all(question).await;
    let mut groups = Vec::new();
    let (mut group_count, mut unread_count) = (0, 0);
    for (shard, answer) in (0..).map(ShardIndex).zip(answers) {
        let of_shard = answer.map_err(|why| Refusal::by_shard(shard, why))?;
        groups.extend(of_shard.groups);
        group_count += of_shard.group_count;
        unread_count += of_shard.unread_count;
    }
    groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    groups.truncate(ADMIN_ROW_COUNT_MAX);
    let left_out = group_count - groups.len();
    let groups: Vec<Value> = groups.iter().map(in_short).collect();
    Ok(json_of(&json!({ "groups": groups, "left_out": left_out, "coordinators_not_loaded": unread_count })))
}

fn in_short(group: &GroupSnapshot) -> Value {
    json!({
        "group": group.group_id,
        "kind": group.kind,
        "protocol_type": group.protocol_type,
        "state": group.state,
        "members": group.members,
    })
}

pub(super) async fn describe(State(admin): State<Arc<Admin>>, Path(group_id): Path<String>) -> Answer {
    let image = admin.shards.image().await?;
    let unknown =
        || Refusal::not_found(format!("there is no group {group_id}"), "its coordinator has none of this name");
    let topic = image.topic_named(OFFSETS_TOPIC).ok_or_else(unknown)?;
    let shard = topic.partition(partition_of(topic, &group_id).partition).ok_or_else(unknown)?.shard;
    let asked = group_id.clone();
    let answer = admin.shards.ask(shard, |reply| AdminQuestion::Group { group_id: asked, reply }).await;
    let looked = answer.map_err(|why| Refusal::by_shard(shard, why))?;
    let unread =
        |why: Unavailable| Refusal::unavailable(format!("group {group_id} cannot be shown now"), why.sentence());
    let group = looked.map_err(unread)?.ok_or_else(unknown)?;
    let GroupDetail { described, committed } = *group;
    let rows = rows(&described.members, &committed);
    let ends = ends(&admin.shards, &image, rows.keys().copied()).await;
    let offsets: Vec<Value> = rows
        .iter()
        .zip(ends)
        .map(|((&(topic, partition), &committed), end)| {
            let member = described.members.iter().find(|member| has(member, topic, partition));
            json!({
                "topic": topic,
                "partition": partition.0,
                "committed_offset": committed.map(|offset| offset.0),
                "end_offset": end.map(|end| end.0),
                "lag": committed.zip(end).map(|(committed, end)| lag(committed, end)),
                "member": member.map(|member| &member.member_id),
            })
        })
        .collect();
    let members: Vec<Value> = described.members.iter().map(member).collect();
    Ok(json_of(&json!({
        "group": group_id,
        "kind": described.kind,
        "state": described.state,
        "protocol_type": described.protocol_type,
        "assignor": described.assignor,
        "epoch": described.epoch.0,
        "assignment_epoch": described.assignment_epoch.0,
        "members": members,
        "offsets": offsets,
    })))
}

/// The partitions that a group has offsets of, and those that a member has without, with what is committed.
fn rows<'a>(
    members: &'a [DescribedMember],
    committed: &'a [CommittedAt],
) -> BTreeMap<(&'a str, PartitionIndex), Option<Offset>> {
    let assigned = members.iter().flat_map(|member| &member.assignment);
    let assigned = assigned.flat_map(|topic| topic.partitions.iter().map(|partition| (&*topic.name, *partition)));
    let mut rows: BTreeMap<_, _> = assigned.map(|at| (at, None)).collect();
    rows.extend(committed.iter().map(|row| (row.at(), Some(row.offset))));
    rows
}

fn has(member: &DescribedMember, topic: &str, partition: PartitionIndex) -> bool {
    member.assignment.iter().any(|assigned| assigned.name == topic && assigned.partitions.contains(&partition))
}

fn member(member: &DescribedMember) -> Value {
    json!({
        "member": member.member_id,
        "instance": member.instance_id,
        "client": member.client_id,
        "host": member.host,
        "epoch": member.epoch.0,
        "topics": member.topics,
        "pattern": member.pattern,
        "assignment": assigned(&member.assignment),
        "target": assigned(&member.target),
    })
}

fn assigned(topics: &[AssignedTopic]) -> Vec<Value> {
    let numbers = |topic: &AssignedTopic| topic.partitions.iter().map(|partition| partition.0).collect::<Vec<_>>();
    topics.iter().map(|topic| json!({ "topic": topic.name, "partitions": numbers(topic) })).collect()
}

/// Records that are not read yet.
pub(super) fn lag(committed: Offset, end: Offset) -> u64 {
    end.0.saturating_sub(committed.0)
}

/// Where the partitions of the rows end, which is as far as consumers may read; `None` where that is not known.
pub(super) async fn ends(
    shards: &Shards,
    image: &MetadataImage,
    rows: impl Iterator<Item = (&str, PartitionIndex)>,
) -> Vec<Option<Offset>> {
    let nobody = ShardIndex(u16::MAX);
    let placed = rows.map(|(topic, partition)| {
        let topic = image.topic_named(topic);
        let shard = topic.and_then(|topic| topic.partition(partition)).map_or(nobody, |partition| partition.shard);
        let topic_id = topic.map(|topic| topic.topic_id).unwrap_or_default();
        (PartitionRef { topic_id, partition }, shard)
    });
    let placed: Vec<_> = placed.collect();
    let statuses = statuses(shards, placed.into_iter()).await;
    statuses.into_iter().map(|status| status.is_known().then_some(status.end_offset)).collect()
}

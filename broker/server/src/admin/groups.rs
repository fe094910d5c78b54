//! Groups as JSON, in the shapes of `ouzel group list --json` and `ouzel group describe --json`, and how far they lag. Owns the
//! computation of lag: what is committed is the coordinators', where a partition ends its owner's.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use ouzel_broker_core::MetadataImage;
use ouzel_protocol::native::{AssignedTopic, DescribedMember};
use ouzel_protocol::{Offset, PartitionIndex, ShardIndex};
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Named, Refusal, json_of};
use super::lane::{AdminQuestion, CommittedAt, GroupDetail, GroupSnapshot};
use super::shards::Asking;
use super::topics::statuses;
use crate::groups::{OFFSETS_TOPIC, Unavailable, partition_of};
use crate::lanes::PartitionRef;
use crate::limits::ADMIN_ROW_COUNT_MAX;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let question = |reply| AdminQuestion::Groups { count_max: ADMIN_ROW_COUNT_MAX, offset_count_max: 0, reply };
    let answers = admin.shards.asking().all(question).await;
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

pub(super) async fn describe(State(admin): State<Arc<Admin>>, Named(group_id): Named<String>) -> Answer {
    let mut asking = admin.shards.asking();
    let image = asking.image().await?;
    let unknown =
        || Refusal::not_found(format!("there is no group {group_id}"), "its coordinator has none of this name");
    let topic = image.topic_named(OFFSETS_TOPIC).ok_or_else(unknown)?;
    let shard = topic.partition(partition_of(topic, &group_id).partition).ok_or_else(unknown)?.shard;
    let asked = group_id.clone();
    let answer = asking.one(shard, |reply| AdminQuestion::Group { group_id: asked, reply }).await;
    let looked = answer.map_err(|why| Refusal::by_shard(shard, why))?;
    let unread =
        |why: Unavailable| Refusal::unavailable(format!("group {group_id} cannot be shown now"), why.sentence());
    let group = looked.map_err(unread)?.ok_or_else(unknown)?;
    let GroupDetail { describe, committed, committed_count } = *group;
    let (described, members_left_out) = describe(&image, ADMIN_ROW_COUNT_MAX);
    let (rows, left_out) = rows(&described.members, &committed, committed_count);
    let ends = ends(&mut asking, &image, rows.keys().copied()).await;
    let offsets: Vec<Value> = rows
        .iter()
        .zip(ends)
        .map(|((&(topic, partition), &Row { committed, member }), end)| {
            json!({
                "topic": topic,
                "partition": partition.0,
                "committed_offset": committed.map(|offset| offset.0),
                "end_offset": end.map(|end| end.0),
                "lag": committed.zip(end).map(|(committed, end)| lag(committed, end)),
                "member": member,
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
        "members_left_out": members_left_out,
        "offsets": offsets,
        "left_out": left_out,
    })))
}

/// What is known of one partition of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row<'a> {
    committed: Option<Offset>,
    /// Who has it: the first, where the leader of a classic group gave it to several.
    member: Option<&'a str>,
}

type Rows<'a> = BTreeMap<(&'a str, PartitionIndex), Row<'a>>;

/// The partitions that a group has offsets of, and those that a member has without; with them, how many are left out. Those that
/// are `committed` are the first of `committed_count`.
fn rows<'a>(members: &'a [DescribedMember], committed: &'a [CommittedAt], committed_count: usize) -> (Rows<'a>, usize) {
    let mut rows: Rows<'_> =
        committed.iter().map(|row| (row.at(), Row { committed: Some(row.offset), member: None })).collect();
    for member in members {
        for topic in &member.assignment {
            for partition in &topic.partitions {
                rows.entry((&topic.name, *partition)).or_default().member.get_or_insert(&member.member_id);
            }
        }
    }
    let unknown_count = committed_count - committed.len();
    let behind = rows.keys().nth(ADMIN_ROW_COUNT_MAX).copied().map(|first| rows.split_off(&first));
    (rows, unknown_count + behind.map_or(0, |behind| behind.len()))
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
    asking: &mut Asking<'_>,
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
    let statuses = statuses(asking, placed.into_iter()).await;
    statuses.into_iter().map(|status| status.is_known().then_some(status.end_offset)).collect()
}

#[cfg(test)]
mod tests {
    use ouzel_broker_core::group::TopicName;
    use ouzel_protocol::{MemberEpoch, TopicId};

    use super::*;

    fn committed(topic: &str, partition: u32) -> CommittedAt {
        CommittedAt { topic: TopicName::from(topic), partition: PartitionIndex(partition), offset: Offset(7) }
    }

    fn reader(member_id: &str, partitions: std::ops::Range<u32>) -> DescribedMember {
        let partitions = partitions.map(PartitionIndex).collect();
        let assignment = vec![AssignedTopic { topic_id: TopicId(1), name: "m".to_owned(), partitions }];
        DescribedMember {
            member_id: member_id.to_owned(),
            instance_id: None,
            client_id: String::new(),
            host: String::new(),
            epoch: MemberEpoch(1),
            topics: Vec::new(),
            pattern: None,
            target: Vec::new(),
            assignment,
        }
    }

    #[test]
    fn rows_are_the_first_of_what_is_committed_or_assigned_and_the_others_are_counted() {
        let most = u32::try_from(ADMIN_ROW_COUNT_MAX).expect("a small number");
        let members = [reader("one", 0..3), reader("two", 2..most)];
        let offsets = [committed("a", 0), committed("m", 1), committed("z", 0)];
        let (found, left_out) = rows(&members, &offsets, 3);
        // All but one of topic m, since "a" comes first; behind them is what was committed of "z".
        assert_eq!((found.len(), left_out), (ADMIN_ROW_COUNT_MAX, 2));
        let row = |topic, partition| found.get(&(topic, PartitionIndex(partition))).copied();
        assert_eq!(row("a", 0), Some(Row { committed: Some(Offset(7)), member: None }));
        assert_eq!(row("m", 1), Some(Row { committed: Some(Offset(7)), member: Some("one") }));
        assert_eq!(row("m", 2), Some(Row { committed: None, member: Some("one") }));
        assert_eq!(row("m", 3), Some(Row { committed: None, member: Some("two") }));
        assert_eq!((row("m", most - 1), row("z", 0)), (None, None));
        let (found, left_out) = rows(&[], &offsets, 1_000);
        assert_eq!((found.len(), left_out), (3, 997));
    }
}

//! `ouzel group`: lists, describes, resets and deletes groups of consumers. Owns how they are shown, and that a reset is shown
//! before it is done; the library decides to where. Runs on the CLI's main thread.

use std::collections::BTreeMap;

use anyhow::Result;
use ouzel_client::protocol::native::{AssignedTopic, DescribeGroupReply, DescribedMember, OffsetSpec, TopicOffsets};
use ouzel_client::{Admin, ErrorCode, Offset, OffsetReset, PartitionIndex, ResetTo};
use serde_json::{Value, json};

use crate::args::GlobalArgs;
use crate::connect::{block_on, connect};
use crate::group_args::{GroupCommand, GroupListArgs, GroupResetArgs};
use crate::output::{print_json, print_line, table};
use crate::printable::printable;

/// Does one thing to groups.
pub(crate) fn run(command: GroupCommand, global: &GlobalArgs) -> Result<()> {
    block_on(async {
        let admin = connect(global).await?.admin();
        match command {
            GroupCommand::List(args) => list(&admin, &args, global.json).await,
            GroupCommand::Describe(args) => describe(&admin, &args.group, global.json).await,
            GroupCommand::ResetOffsets(args) => reset(&admin, &args, global.json).await,
            GroupCommand::Delete(args) => delete(&admin, &args.group, global.json).await,
        }
    })
}

async fn list(admin: &Admin, args: &GroupListArgs, json: bool) -> Result<()> {
    let states: Vec<&str> = args.states.iter().map(String::as_str).collect();
    let kinds: Vec<&str> = args.kinds.iter().map(String::as_str).collect();
    let groups = admin.list_groups(&states, &kinds).await?;
    if json {
        let groups: Vec<Value> = groups
            .iter()
            .map(|group| {
                json!({
                    "group": group.group_id,
                    "kind": group.kind,
                    "protocol_type": group.protocol_type,
                    "state": group.state,
                })
            })
            .collect();
        return print_json(&json!({ "groups": groups }));
    }
    let or_dash = |text: String| if text.is_empty() { "-".to_string() } else { text };
    let rows =
        groups.into_iter().map(|group| vec![group.group_id, group.kind, group.state, or_dash(group.protocol_type)]);
    print_line(&table(&["group", "kind", "state", "protocol"], &[], rows))
}

/// How far a group has read one partition, and who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Progress {
    topic: String,
    partition: PartitionIndex,
    committed: Option<Offset>,
    /// None where the topic is gone.
    end: Option<Offset>,
    member: Option<String>,
}

impl Progress {
    /// Records that are not read yet; none where it is not known how far it has read.
    fn lag(&self) -> Option<u64> {
        Some(self.end?.0.saturating_sub(self.committed?.0))
    }
}

async fn describe(admin: &Admin, group: &str, json: bool) -> Result<()> {
    let described = admin.describe_group(group).await?;
    let mut progress = progress(&described.members, &admin.committed_offsets(group).await?);
    for rows in progress.chunk_by_mut(|a, b| a.topic == b.topic) {
        let wanted: Vec<_> = rows.iter().map(|row| (row.partition, OffsetSpec::Latest)).collect();
        match admin.list_offsets(&rows[0].topic, &wanted).await {
            Ok(ends) => rows.iter_mut().zip(ends).for_each(|(row, end)| row.end = Some(end.offset)),
            // Its offsets outlive a topic for a moment.
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if json {
        return print_json(&as_json(group, &described, &progress));
    }
    print_line(&as_text(group, &described, &progress))
}

/// Partitions that the group has offsets of or that a member has, by topic and number.
fn progress(members: &[DescribedMember], committed: &[TopicOffsets]) -> Vec<Progress> {
    let mut rows: BTreeMap<(String, PartitionIndex), Progress> = BTreeMap::new();
    let row = |topic: &str, partition: PartitionIndex| {
        let key = (topic.to_string(), partition);
        let blank = Progress { topic: topic.to_string(), partition, committed: None, end: None, member: None };
        (key, blank)
    };
    for topic in committed {
        for offset in &topic.partitions {
            let (key, blank) = row(&topic.name, offset.partition);
            rows.entry(key).or_insert(blank).committed = Some(offset.offset);
        }
    }
    for member in members {
        for topic in &member.assignment {
            for partition in &topic.partitions {
                let (key, blank) = row(&topic.name, *partition);
                rows.entry(key).or_insert(blank).member = Some(member.member_id.clone());
            }
        }
    }
    rows.into_values().collect()
}

fn as_json(group: &str, described: &DescribeGroupReply, progress: &[Progress]) -> Value {
    let assigned = |topics: &[AssignedTopic]| -> Vec<Value> {
        let numbers = |topic: &AssignedTopic| topic.partitions.iter().map(|partition| partition.0).collect::<Vec<_>>();
        topics.iter().map(|topic| json!({ "topic": topic.name, "partitions": numbers(topic) })).collect()
    };
    let members: Vec<Value> = described
        .members
        .iter()
        .map(|member| {
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
        })
        .collect();
    let offsets: Vec<Value> = progress
        .iter()
        .map(|row| {
            json!({
                "topic": row.topic,
                "partition": row.partition.0,
                "committed_offset": row.committed.map(|offset| offset.0),
                "end_offset": row.end.map(|offset| offset.0),
                "lag": row.lag(),
                "member": row.member,
            })
        })
        .collect();
    json!({
        "group": group,
        "kind": described.kind,
        "state": described.state,
        "protocol_type": described.protocol_type,
        "assignor": described.assignor,
        "epoch": described.epoch.0,
        "assignment_epoch": described.assignment_epoch.0,
        "members": members,
        "offsets": offsets,
    })
}

fn as_text(group: &str, described: &DescribeGroupReply, progress: &[Progress]) -> String {
    let or_dash = |text: &str| if text.is_empty() { "-".to_string() } else { text.to_string() };
    let head = format!(
        "group {}: {} ({}), epoch {}, assignor {}, {} members",
        printable(group),
        described.state,
        described.kind,
        described.epoch,
        printable(&or_dash(&described.assignor)),
        described.members.len()
    );
    let members = described.members.iter().map(|member| {
        vec![
            member.member_id.clone(),
            or_dash(member.instance_id.as_deref().unwrap_or_default()),
            or_dash(&member.client_id),
            member.host.clone(),
            member.epoch.to_string(),
            or_dash(&member.assignment.iter().map(topic_text).collect::<Vec<_>>().join(" ")),
        ]
    });
    let members = table(&["member", "instance", "client", "host", "epoch", "assignment"], &[4], members);
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_string(), |value| value.to_string());
    let rows = progress.iter().map(|row| {
        vec![
            row.topic.clone(),
            row.partition.to_string(),
            number(row.committed.map(|offset| offset.0)),
            number(row.end.map(|offset| offset.0)),
            number(row.lag()),
            or_dash(row.member.as_deref().unwrap_or_default()),
        ]
    });
    let offsets = table(&["topic", "partition", "committed", "end", "lag", "member"], &[1, 2, 3, 4], rows);
    let tables = [(!described.members.is_empty(), members), (!progress.is_empty(), offsets)];
    tables.into_iter().filter(|(has_rows, _)| *has_rows).fold(head, |text, (_, table)| format!("{text}\n\n{table}"))
}

/// A topic and its partitions in one word: `orders:0,1,2`.
fn topic_text(topic: &AssignedTopic) -> String {
    let numbers: Vec<String> = topic.partitions.iter().map(ToString::to_string).collect();
    format!("{}:{}", topic.name, numbers.join(","))
}

async fn reset(admin: &Admin, args: &GroupResetArgs, json: bool) -> Result<()> {
    let to = match args {
        GroupResetArgs { to_offset: Some(offset), .. } => ResetTo::Offset(Offset(*offset)),
        GroupResetArgs { to_time: Some(timestamp_ms), .. } => ResetTo::Timestamp(*timestamp_ms),
        GroupResetArgs { shift_by: Some(by), .. } => ResetTo::Shift(*by),
        GroupResetArgs { to_latest: true, .. } => ResetTo::Latest,
        _ => ResetTo::Earliest,
    };
    let topics: Vec<&str> = args.topics.iter().map(String::as_str).collect();
    let resets = admin.plan_offset_reset(&args.group, &topics, to).await?;
    if args.execute {
        admin.reset_offsets(&args.group, &resets).await?;
    }
    if json {
        let offsets: Vec<Value> = resets
            .iter()
            .map(|OffsetReset { at, from, to }| {
                json!({
                    "topic": &*at.topic,
                    "partition": at.partition.0,
                    "from": from.map(|offset| offset.0),
                    "to": to.0,
                })
            })
            .collect();
        return print_json(&json!({ "group": args.group, "executed": args.execute, "offsets": offsets }));
    }
    let rows = resets.iter().map(|OffsetReset { at, from, to }| {
        let from = from.map_or_else(|| "-".to_string(), |offset| offset.to_string());
        vec![at.topic.to_string(), at.partition.to_string(), from, to.to_string()]
    });
    let rows = table(&["topic", "partition", "from", "to"], &[1, 2, 3], rows);
    let done = match (resets.is_empty(), args.execute) {
        (true, _) => format!("group {} has no offsets; name the topics with --topic", args.group),
        (false, true) => format!("reset offsets of group {}", args.group),
        (false, false) => "nothing was changed; add --execute to do it".to_string(),
    };
    print_line(&format!("{rows}\n\n{done}"))
}

async fn delete(admin: &Admin, group: &str, json: bool) -> Result<()> {
    admin.delete_group(group).await?;
    if json {
        return print_json(&json!({ "group": group, "deleted": true }));
    }
    print_line(&format!("deleted group {group}"))
}

#[cfg(test)]
mod tests {
    use ouzel_client::TopicId;
    use ouzel_client::protocol::MemberEpoch;
    use ouzel_client::protocol::native::CommittedRow;

    use super::*;

    fn member() -> DescribedMember {
        let partitions = vec![PartitionIndex(1), PartitionIndex(2)];
        DescribedMember {
            member_id: "m-1".to_string(),
            instance_id: None,
            client_id: "c".to_string(),
            host: "/h".to_string(),
            epoch: MemberEpoch(4),
            topics: Vec::new(),
            pattern: None,
            assignment: vec![AssignedTopic { topic_id: TopicId(1), name: "orders".to_string(), partitions }],
            target: Vec::new(),
        }
    }

    #[test]
    fn what_is_read_and_what_is_committed_stand_in_one_row() {
        let row = |partition, offset| CommittedRow {
            partition: PartitionIndex(partition),
            offset: Offset(offset),
            leader_epoch: None,
            metadata: String::new(),
        };
        let committed =
            [TopicOffsets { topic_id: TopicId(1), name: "orders".to_string(), partitions: vec![row(0, 5), row(1, 6)] }];
        let mut rows = progress(&[member()], &committed);
        rows.iter_mut().for_each(|row| row.end = Some(Offset(10)));
        let shown: Vec<_> = rows.iter().map(|row| (row.partition.0, row.lag(), row.member.is_some())).collect();
        assert_eq!(shown, [(0, Some(5), false), (1, Some(4), true), (2, None, true)]);
        let described = DescribeGroupReply {
            kind: "Consumer".to_string(),
            state: "Stable".to_string(),
            protocol_type: "consumer".to_string(),
            assignor: "uniform".to_string(),
            epoch: MemberEpoch(4),
            assignment_epoch: MemberEpoch(4),
            members: vec![member()],
        };
        let text = as_text("g", &described, &rows);
        assert!(text.starts_with("group g: Stable (Consumer), epoch 4, assignor uniform, 1 members"), "{text}");
        assert!(text.contains("orders:1,2"), "{text}");
        let forged = DescribeGroupReply { assignor: "a\u{1b}[8m".to_string(), ..described.clone() };
        assert!(as_text("g", &forged, &rows).contains("assignor a?[8m,"));
        let json = as_json("g", &described, &rows);
        assert_eq!((&json["offsets"][1]["lag"], &json["offsets"][2]["lag"]), (&json!(4), &Value::Null));
    }
}

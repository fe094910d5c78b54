//! Groups over the native protocol, by hand: what a member is told at each step, on whichever shard its group is; groups of
//! Kafka's clients as native tools see them; and members of both protocols in one group.

mod support;

use std::net::SocketAddr;
use std::path::Path;

use ouzel_broker::RunningBroker;
use ouzel_protocol::kafka::{
    ConsumerGroupHeartbeatReply, ConsumerGroupHeartbeatRequest, JoinGroupReply, JoinGroupRequest, JoinProtocol,
    KafkaError, MemberTopic, SyncAssignment, SyncGroupReply, SyncGroupRequest,
};
use ouzel_protocol::native::{
    Api, CommitRow, DeleteGroupRequest, DeleteOffsetsReply, DeleteOffsetsRequest, DescribeGroupReply,
    DescribeGroupRequest, ErrorReply, GroupHeartbeatReply, GroupHeartbeatRequest, GroupMember, GroupPartition,
    ListGroupsReply, ListGroupsRequest, OffsetCommitReply, OffsetCommitRequest, OffsetFetchReply, OffsetFetchRequest,
    OwnedTopic, StatusReply,
};
use ouzel_protocol::{ErrorCode, LeaderEpoch, MemberEpoch, Offset, PartitionIndex, TopicId};
use support::kafka::KafkaClient;
use support::{Client, directory};

fn start(data_dir: &Path, shards: u16) -> RunningBroker {
    let mut config = support::config(data_dir, shards);
    config.kafka = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.groups.initial_rebalance_delay_ms = 0;
    support::try_start(config).expect("the broker starts")
}

/// A request and its reply, or the code of the refusal.
fn ask<R>(
    client: &mut Client,
    api: Api,
    encode: impl FnOnce(&mut Vec<u8>),
    decode: impl FnOnce(&[u8]) -> R,
) -> Result<R, ErrorCode> {
    client.send(api, encode);
    let (header, body) = client.receive();
    assert_eq!(header.api, api);
    if header.error.is_none() {
        return Ok(decode(&body));
    }
    let reason = ErrorReply::decode(&body).expect("a sentence").message;
    assert!(!reason.is_empty(), "{:?} without a sentence", header.error);
    Err(header.error)
}

fn joining(group: &str, member: &str) -> GroupHeartbeatRequest {
    GroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id: member.to_owned(),
        member_epoch: MemberEpoch::JOIN,
        instance_id: None,
        rebalance_timeout_ms: Some(60_000),
        topics: Some(vec!["orders".to_owned()]),
        pattern: None,
        assignor: None,
        owned: Some(Vec::new()),
    }
}

fn living(group: &str, member: &str, epoch: MemberEpoch, owned: Option<(TopicId, &[u32])>) -> GroupHeartbeatRequest {
    let partitions = |numbers: &[u32]| numbers.iter().copied().map(PartitionIndex).collect();
    GroupHeartbeatRequest {
        member_epoch: epoch,
        rebalance_timeout_ms: None,
        topics: None,
        owned: owned.map(|(topic_id, numbers)| vec![OwnedTopic { topic_id, partitions: partitions(numbers) }]),
        ..joining(group, member)
    }
}

/// What a member was told: its epoch, and the partitions of its one topic where they changed.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    epoch: MemberEpoch,
    partitions: Option<Vec<u32>>,
}

fn heartbeat(client: &mut Client, request: &GroupHeartbeatRequest) -> Result<Told, ErrorCode> {
    let decode = |body: &[u8]| GroupHeartbeatReply::decode(body).expect("a reply");
    let reply = ask(client, Api::GroupHeartbeat, |out| request.encode(out), decode)?;
    let partitions = reply.assignment.map(|topics| {
        assert!(topics.iter().all(|topic| topic.name == "orders"));
        topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.0).collect()
    });
    Ok(Told { epoch: reply.member_epoch, partitions })
}

fn commit(
    client: &mut Client,
    group: &str,
    member: Option<(&str, MemberEpoch)>,
    rows: &[(TopicId, u32, u64)],
) -> Result<Vec<ErrorCode>, ErrorCode> {
    let row = |(topic_id, partition, offset): &(TopicId, u32, u64)| CommitRow {
        topic_id: *topic_id,
        partition: PartitionIndex(*partition),
        offset: Offset(*offset),
        leader_epoch: Some(LeaderEpoch(2)),
        metadata: "noted".to_owned(),
    };
    let member =
        member.map(|(member_id, epoch)| GroupMember { member_id: member_id.to_owned(), epoch, instance_id: None });
    let request =
        OffsetCommitRequest { group_id: group.to_owned(), member, partitions: rows.iter().map(row).collect() };
    let decode = |body: &[u8]| OffsetCommitReply::decode(body).expect("a reply");
    let reply = ask(client, Api::OffsetCommit, |out| request.encode(out), decode)?;
    assert!(
        reply.partitions.iter().zip(rows).all(|(row, asked)| (row.topic_id, row.partition.0) == (asked.0, asked.1))
    );
    Ok(reply.partitions.iter().map(|row| row.error).collect())
}

/// Names, partitions and offsets; of all partitions where none is named.
fn committed(client: &mut Client, group: &str, asked: Option<&[(TopicId, u32)]>) -> Vec<(String, u32, u64)> {
    let row = |(topic_id, partition): &(TopicId, u32)| GroupPartition {
        topic_id: *topic_id,
        partition: PartitionIndex(*partition),
    };
    let partitions = asked.map(|rows| rows.iter().map(row).collect());
    let request = OffsetFetchRequest { group_id: group.to_owned(), partitions };
    let decode = |body: &[u8]| OffsetFetchReply::decode(body).expect("a reply");
    let reply = ask(client, Api::OffsetFetch, |out| request.encode(out), decode).expect("offsets");
    let rows = reply.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |row| (&topic.name, row)));
    rows.map(|(name, row)| {
        assert_eq!((row.leader_epoch, row.metadata.as_str()), (Some(LeaderEpoch(2)), "noted"));
        (name.clone(), row.partition.0, row.offset.0)
    })
    .collect()
}

fn describe(client: &mut Client, group: &str) -> Result<DescribeGroupReply, ErrorCode> {
    let request = DescribeGroupRequest { group_id: group.to_owned() };
    let decode = |body: &[u8]| DescribeGroupReply::decode(body).expect("a reply");
    ask(client, Api::DescribeGroup, |out| request.encode(out), decode)
}

fn list(client: &mut Client, states: &[&str], kinds: &[&str]) -> Vec<(String, String, String)> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let request = ListGroupsRequest { states: owned(states), kinds: owned(kinds) };
    let decode = |body: &[u8]| ListGroupsReply::decode(body).expect("a reply");
    let reply = ask(client, Api::ListGroups, |out| request.encode(out), decode).expect("a list");
    let mut groups: Vec<_> = reply.groups.into_iter().map(|group| (group.group_id, group.kind, group.state)).collect();
    groups.sort();
    groups
}

fn delete(client: &mut Client, group: &str) -> ErrorCode {
    let request = DeleteGroupRequest { group_id: group.to_owned() };
    let body = client.call(Api::DeleteGroup, |out| request.encode(out));
    StatusReply::decode(&body).expect("a status").error
}

fn delete_offsets(client: &mut Client, group: &str, rows: &[(TopicId, u32)]) -> Result<Vec<ErrorCode>, ErrorCode> {
    let row = |(topic_id, partition): &(TopicId, u32)| GroupPartition {
        topic_id: *topic_id,
        partition: PartitionIndex(*partition),
    };
    let request = DeleteOffsetsRequest { group_id: group.to_owned(), partitions: rows.iter().map(row).collect() };
    let decode = |body: &[u8]| DeleteOffsetsReply::decode(body).expect("a reply");
    let reply = ask(client, Api::DeleteOffsets, |out| request.encode(out), decode)?;
    Ok(reply.partitions.iter().map(|row| row.error).collect())
}

#[test]
fn offsets_of_a_group_without_members_are_kept_moved_and_forgotten() {
    let dir = directory();
    let topic = {
        let broker = start(dir.path(), 3);
        let mut client = Client::connect(broker.addresses().native);
        let topic = client.created("orders", 3, &[]);
        // Nothing was ever committed: there is not even a topic for it.
        assert_eq!(committed(&mut client, "g", None), []);
        assert_eq!(list(&mut client, &[], &[]), []);
        assert_eq!(describe(&mut client, "g"), Err(ErrorCode::GroupIdNotFound));
        assert_eq!(delete(&mut client, "g"), ErrorCode::GroupIdNotFound);
        assert_eq!(delete_offsets(&mut client, "g", &[(topic, 0)]), Err(ErrorCode::GroupIdNotFound));
        assert_eq!(client.metadata(None).topics.len(), 1, "a question creates nothing");
        // From whichever shard, whichever shard has the group: each row has its own answer.
        for (number, address) in broker.addresses().shards.iter().cycle().take(12).enumerate() {
            let mut client = Client::connect(*address);
            let group = format!("group-{number}");
            let rows = [(topic, 2, 7), (TopicId(9), 0, 1), (topic, 3, 1), (topic, 0, number as u64)];
            let expected =
                [ErrorCode::None, ErrorCode::UnknownTopicId, ErrorCode::UnknownTopicOrPartition, ErrorCode::None];
            assert_eq!(commit(&mut client, &group, None, &rows), Ok(expected.to_vec()));
        }
        broker.stop().expect("a clean stop");
        topic
    };
    let broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().native);
    for number in 0..12_u64 {
        let group = format!("group-{number}");
        let all = [("orders".to_owned(), 0, number), ("orders".to_owned(), 2, 7)];
        assert_eq!(committed(&mut client, &group, None), all);
        let asked = [(topic, 2), (topic, 1), (TopicId(9), 0)];
        assert_eq!(committed(&mut client, &group, Some(&asked)), [("orders".to_owned(), 2, 7)]);
    }
    assert_eq!(list(&mut client, &["empty"], &["classic"]).len(), 12);
    assert_eq!(list(&mut client, &["stable"], &[]), []);
    let described = describe(&mut client, "group-3").expect("a group");
    assert_eq!((described.kind.as_str(), described.state.as_str(), described.members.len()), ("Classic", "Empty", 0));
    let codes = delete_offsets(&mut client, "group-3", &[(topic, 0), (TopicId(9), 0), (topic, 1)]);
    assert_eq!(codes, Ok(vec![ErrorCode::None, ErrorCode::UnknownTopicId, ErrorCode::None]));
    assert_eq!(committed(&mut client, "group-3", None), [("orders".to_owned(), 2, 7)]);
    assert_eq!(delete(&mut client, "group-3"), ErrorCode::None);
    assert_eq!(committed(&mut client, "group-3", None), []);
    assert_eq!(commit(&mut client, "", None, &[(topic, 0, 1)]), Ok(vec![ErrorCode::None]), "as Kafka lets it");
    let long = "g".repeat(2000);
    assert_eq!(commit(&mut client, &long, None, &[(topic, 0, 1)]), Err(ErrorCode::InvalidGroupId));
    broker.stop().expect("a clean stop");
}

#[test]
fn two_members_share_a_topic_and_nothing_is_given_before_it_is_given_back() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let (mut one, mut two) =
        (Client::connect(broker.addresses().shards[0]), Client::connect(broker.addresses().shards[1]));
    let topic = one.created("orders", 4, &[]);
    let first = heartbeat(&mut one, &joining("g", "a")).expect("it joins");
    assert_eq!(first.partitions, Some(vec![0, 1, 2, 3]));
    assert_eq!(
        heartbeat(&mut one, &living("g", "a", first.epoch, Some((topic, &[0, 1, 2, 3])))).unwrap().partitions,
        None
    );
    assert_eq!(commit(&mut one, "g", Some(("a", first.epoch)), &[(topic, 0, 5)]), Ok(vec![ErrorCode::None]));

    let second = heartbeat(&mut two, &joining("g", "b")).expect("it joins");
    assert_eq!(second.partitions, Some(Vec::new()), "everything is still the other's");
    let told = heartbeat(&mut one, &living("g", "a", first.epoch, None)).expect("it lives");
    let kept = told.partitions.expect("another assignment");
    assert_eq!((kept.len(), told.epoch), (2, first.epoch), "it has half to give back, and its epoch until it has");
    let nothing = heartbeat(&mut two, &living("g", "b", second.epoch, Some((topic, &[])))).expect("it lives");
    assert!(nothing.partitions.is_none_or(|partitions| partitions.is_empty()), "not given back yet");
    let told = heartbeat(&mut one, &living("g", "a", told.epoch, Some((topic, &kept)))).expect("it lives");
    assert!(told.epoch > first.epoch);
    let given = heartbeat(&mut two, &living("g", "b", second.epoch, None)).expect("it lives");
    let mut all = [kept, given.partitions.expect("the other half")].concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);

    // Who may commit, and who may not.
    assert_eq!(commit(&mut one, "g", Some(("a", first.epoch)), &[(topic, 0, 6)]), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(commit(&mut one, "g", Some(("c", told.epoch)), &[(topic, 0, 6)]), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut one, "g", None, &[(topic, 0, 6)]), Err(ErrorCode::UnknownMemberId));
    assert_eq!(commit(&mut one, "g", Some(("a", told.epoch)), &[(topic, 0, 6)]), Ok(vec![ErrorCode::None]));
    assert_eq!(delete(&mut one, "g"), ErrorCode::NonEmptyGroup);
    assert_eq!(delete_offsets(&mut one, "g", &[(topic, 0)]), Ok(vec![ErrorCode::GroupSubscribedToTopic]));
    assert_eq!(list(&mut one, &[], &["consumer"]).len(), 1);
    let described = describe(&mut two, "g").expect("a group");
    let names: Vec<_> = described.members.iter().map(|member| member.member_id.as_str()).collect();
    assert_eq!((described.kind.as_str(), names), ("Consumer", vec!["a", "b"]));
    let member = &described.members[0];
    assert_eq!(
        (member.client_id.as_str(), member.host.as_str(), &member.topics[..]),
        ("test", "/127.0.0.1", &["orders".to_owned()][..])
    );
    assert_eq!(member.assignment[0].partitions.len(), 2);

    // One leaves, and the other gets everything.
    let left = heartbeat(&mut two, &living("g", "b", MemberEpoch::LEAVE, None)).expect("it leaves");
    assert_eq!(left.epoch, MemberEpoch::LEAVE);
    let told = heartbeat(&mut one, &living("g", "a", told.epoch, None)).expect("it lives");
    assert_eq!(told.partitions, Some(vec![0, 1, 2, 3]));
    assert_eq!(heartbeat(&mut two, &living("g", "b", given.epoch, None)), Err(ErrorCode::UnknownMemberId));
    let wrong = MemberEpoch(told.epoch.0 + 7);
    assert_eq!(heartbeat(&mut one, &living("g", "a", wrong, None)), Err(ErrorCode::FencedMemberEpoch));
    broker.stop().expect("a clean stop");
}

#[test]
fn what_cannot_join_is_told_why() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    client.created("orders", 1, &[]);
    let cases = [
        (joining("", "m"), ErrorCode::InvalidGroupId),
        (joining("g", ""), ErrorCode::InvalidRequest),
        (GroupHeartbeatRequest { topics: None, ..joining("g", "m") }, ErrorCode::InvalidRequest),
        (GroupHeartbeatRequest { assignor: Some("mine".into()), ..joining("g", "m") }, ErrorCode::UnsupportedAssignor),
        (GroupHeartbeatRequest { pattern: Some("(".into()), ..joining("g", "m") }, ErrorCode::InvalidRegularExpression),
        (living("none", "m", MemberEpoch(1), None), ErrorCode::UnknownMemberId),
    ];
    for (request, code) in cases {
        assert_eq!(heartbeat(&mut client, &request), Err(code), "{request:?}");
    }
    let pattern = GroupHeartbeatRequest { topics: None, pattern: Some("ord.*".into()), ..joining("g", "m") };
    assert_eq!(heartbeat(&mut client, &pattern).expect("it joins").partitions, Some(vec![0]));
    broker.stop().expect("a clean stop");
}

#[test]
fn a_classic_group_shows_the_partitions_that_its_leader_assigned() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut native = Client::connect(broker.addresses().native);
    let topic = native.created("orders", 4, &[]);
    assert_eq!(commit(&mut native, "g", None, &[(topic, 0, 1)]), Ok(vec![ErrorCode::None]));
    let mut kafka = KafkaClient::connect(&broker);
    let subscription = b"\x00\x01\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff\x00\x00\x00\x00";
    let asked = |member_id| JoinGroupRequest {
        group_id: "g",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id,
        protocol_type: "consumer",
        protocols: [JoinProtocol { name: "range", metadata: subscription }].into_iter().collect(),
        ..JoinGroupRequest::default()
    };
    let reply = kafka.ask(9, &asked(""));
    let member_id = reply.decode::<JoinGroupReply<'_>>().member_id.to_owned();
    let reply = kafka.ask(9, &asked(&member_id));
    let joined: JoinGroupReply<'_> = reply.decode();
    assert_eq!(joined.error_code, KafkaError::NONE);
    let assignment = b"\x00\x01\x00\x00\x00\x01\x00\x06orders\x00\x00\x00\x03\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x03\xff\xff\xff\xff";
    let sync = SyncGroupRequest {
        group_id: "g",
        generation_id: joined.generation_id,
        member_id: &member_id,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments: [SyncAssignment { member_id: &member_id, assignment }].into_iter().collect(),
        ..SyncGroupRequest::default()
    };
    assert_eq!(kafka.ask(5, &sync).decode::<SyncGroupReply<'_>>().error_code, KafkaError::NONE);
    let described = describe(&mut native, "g").expect("a group");
    assert_eq!((described.kind.as_str(), described.state.as_str()), ("Classic", "Stable"));
    assert_eq!((described.assignor.as_str(), described.epoch.0), ("range", joined.generation_id));
    let member = &described.members[0];
    assert_eq!((member.member_id.as_str(), &member.topics[..]), (member_id.as_str(), &["orders".to_owned()][..]));
    let assigned = &member.assignment[0];
    assert_eq!((assigned.topic_id, assigned.name.as_str()), (topic, "orders"));
    assert_eq!(assigned.partitions, [PartitionIndex(1), PartitionIndex(3)], "in order, none twice");
    broker.stop().expect("a clean stop");
}

#[test]
fn members_of_both_protocols_are_in_one_group() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut native = Client::connect(broker.addresses().native);
    let topic = native.created("orders", 2, &[]);
    let mut kafka = KafkaClient::connect(&broker);
    let first = heartbeat(&mut native, &joining("g", "native")).expect("it joins");
    assert_eq!(first.partitions, Some(vec![0, 1]));
    let mut epoch = 0;
    let mut kafka_heartbeat = |owned: Option<&[i32]>| {
        let rows = owned.map(|numbers| {
            let topics = if epoch == 0 {
                None
            } else {
                Some(MemberTopic { topic_id: topic, partitions: numbers.iter().copied().collect() })
            };
            topics.into_iter().collect()
        });
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g",
            member_id: "kafka",
            member_epoch: epoch,
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(["orders"].into_iter().collect()),
            topic_partitions: rows,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let reply = kafka.ask(1, &request);
        let reply: ConsumerGroupHeartbeatReply<'_> = reply.decode();
        assert_eq!(reply.error_code, KafkaError::NONE);
        epoch = reply.member_epoch;
        let topics = reply.assignment.map(|assignment| assignment.topic_partitions);
        topics.map(|topics| {
            topics.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>()).collect::<Vec<_>>()
        })
    };
    assert_eq!(kafka_heartbeat(Some(&[])), Some(Vec::new()));
    let told = heartbeat(&mut native, &living("g", "native", first.epoch, None)).expect("it lives");
    let kept = told.partitions.expect("half of it");
    assert_eq!(kept.len(), 1);
    heartbeat(&mut native, &living("g", "native", told.epoch, Some((topic, &kept)))).expect("it gives back");
    let given = kafka_heartbeat(None).expect("the other half");
    assert_eq!(given.len(), 1);
    assert_ne!(u32::try_from(given[0]).ok(), kept.first().copied());
    let described = describe(&mut native, "g").expect("a group");
    let names: Vec<_> = described.members.iter().map(|member| member.member_id.as_str()).collect();
    assert_eq!(names, ["kafka", "native"]);
    broker.stop().expect("a clean stop");
}

//! Groups of consumers over the Kafka protocol, by hand: what a member is told at each step, on whichever shard its group is,
//! and what is still true after a restart.

mod support;

use std::net::SocketAddr;
use std::path::Path;

use ouzel_broker::RunningBroker;
use ouzel_protocol::Codec;
use ouzel_protocol::TopicId;
use ouzel_protocol::kafka::{
    ApiKey, ConsumerGroupDescribeReply, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatReply,
    ConsumerGroupHeartbeatRequest, CreatableTopic, CreateTopicsRequest, DeleteGroupsReply, DeleteGroupsRequest,
    DeleteTopicsRequest, DescribeGroupsReply, DescribeGroupsRequest, FindCoordinatorReply, FindCoordinatorRequest,
    HeartbeatReply, HeartbeatRequest, JoinGroupReply, JoinGroupRequest, JoinProtocol, KafkaError, LeaveGroupReply,
    LeaveGroupRequest, LeavingMember, ListGroupsReply, ListGroupsRequest, MemberTopic, MetadataReply, MetadataRequest,
    OffsetCommitPartition, OffsetCommitReply, OffsetCommitRequest, OffsetCommitTopic, OffsetDeletePartition,
    OffsetDeleteReply, OffsetDeleteRequest, OffsetDeleteTopic, OffsetFetchGroup, OffsetFetchReply, OffsetFetchRequest,
    OffsetFetchTopic, SyncAssignment, SyncGroupReply, SyncGroupRequest,
};
use support::directory;
use support::kafka::{KafkaClient, batch};

fn start(data_dir: &Path, shards: u16) -> RunningBroker {
    let mut config = support::config(data_dir, shards);
    config.kafka = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    config.groups.initial_rebalance_delay_ms = 0;
    support::try_start(config).expect("the broker starts")
}

fn find(client: &mut KafkaClient, groups: &[&str]) -> Vec<KafkaError> {
    let asked = FindCoordinatorRequest {
        coordinator_keys: groups.iter().copied().collect(),
        ..FindCoordinatorRequest::default()
    };
    let reply = client.ask(4, &asked);
    let rows = reply.decode::<FindCoordinatorReply<'_>>().coordinators;
    rows.iter().map(|row| row.error_code).collect()
}

fn join_request<'a>(group_id: &'a str, member_id: &'a str) -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id,
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id,
        protocol_type: "consumer",
        protocols: [JoinProtocol { name: "range", metadata: b"what I read" }].into_iter().collect(),
        ..JoinGroupRequest::default()
    }
}

#[derive(Clone, Default)]
struct Joined {
    error: KafkaError,
    member_id: String,
    leader: String,
    generation: i32,
    members: usize,
}

fn join(client: &mut KafkaClient, group_id: &str, member_id: &str) -> Joined {
    let reply = client.ask(9, &join_request(group_id, member_id));
    joined(&reply.decode())
}

fn joined(reply: &JoinGroupReply<'_>) -> Joined {
    Joined {
        error: reply.error_code,
        member_id: reply.member_id.to_owned(),
        leader: reply.leader.to_owned(),
        generation: reply.generation_id,
        members: reply.members.len(),
    }
}

/// Joins a group that nobody else is in, and assigns.
fn join_alone(client: &mut KafkaClient, group_id: &str) -> Joined {
    let first = join(client, group_id, "");
    assert_eq!(first.error, KafkaError::MEMBER_ID_REQUIRED);
    let second = join(client, group_id, &first.member_id);
    assert_eq!((second.error, &second.leader, second.members), (KafkaError::NONE, &first.member_id, 1));
    let assignment = SyncAssignment { member_id: &second.member_id, assignment: b"all of it" };
    let asked = SyncGroupRequest {
        group_id,
        generation_id: second.generation,
        member_id: &second.member_id,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments: [assignment].into_iter().collect(),
        ..SyncGroupRequest::default()
    };
    let reply = client.ask(5, &asked);
    let reply: SyncGroupReply<'_> = reply.decode();
    assert_eq!((reply.error_code, reply.assignment), (KafkaError::NONE, &b"all of it"[..]));
    second
}

fn heartbeat(client: &mut KafkaClient, group_id: &str, member: &Joined) -> KafkaError {
    let asked = HeartbeatRequest {
        group_id,
        generation_id: member.generation,
        member_id: &member.member_id,
        ..HeartbeatRequest::default()
    };
    client.ask(4, &asked).decode::<HeartbeatReply>().error_code
}

fn commit(
    client: &mut KafkaClient,
    group_id: &str,
    member: Option<&Joined>,
    topic: &str,
    rows: &[(i32, i64, &str)],
) -> Vec<KafkaError> {
    commit_in(8, client, group_id, member, topic, rows)
}

/// As [`commit`], in a version of the message.
fn commit_in<'a>(
    version: i16,
    client: &mut KafkaClient,
    group_id: &str,
    member: Option<&Joined>,
    topic: &str,
    rows: &[(i32, i64, &'a str)],
) -> Vec<KafkaError> {
    let row = |(partition_index, committed_offset, note): &(i32, i64, &'a str)| OffsetCommitPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        committed_leader_epoch: 3,
        committed_metadata: Some(*note),
    };
    let topics = OffsetCommitTopic { name: topic, partitions: rows.iter().map(row).collect() };
    let asked = OffsetCommitRequest {
        group_id,
        generation_id_or_member_epoch: member.map_or(-1, |member| member.generation),
        member_id: member.map_or("", |member| &member.member_id),
        topics: [topics].into_iter().collect(),
        ..OffsetCommitRequest::default()
    };
    let reply = client.ask(version, &asked);
    let topic = reply.decode::<OffsetCommitReply<'_>>().topics.iter().next().expect("one topic");
    topic.partitions.iter().map(|row| row.error_code).collect()
}

/// Offset, epoch and note of each partition asked for; of all partitions where none is.
fn fetch(client: &mut KafkaClient, group_id: &str, asked: Option<(&str, &[i32])>) -> Vec<(i32, i64, i32, String)> {
    let topics = asked.map(|(name, partitions)| {
        let topic = OffsetFetchTopic { name, partition_indexes: partitions.iter().copied().collect() };
        [topic].into_iter().collect()
    });
    let group = OffsetFetchGroup { group_id, topics, ..OffsetFetchGroup::default() };
    let asked = OffsetFetchRequest { groups: [group].into_iter().collect(), ..OffsetFetchRequest::default() };
    let reply = client.ask(8, &asked);
    let group = reply.decode::<OffsetFetchReply<'_>>().groups.iter().next().expect("one group");
    assert_eq!(group.error_code, KafkaError::NONE);
    let topics = group.topics.iter();
    topics
        .flat_map(|topic| {
            let row = |row: ouzel_protocol::kafka::OffsetFetchPartitionReply<'_>| {
                let note = row.metadata.unwrap_or("null").to_owned();
                (row.partition_index, row.committed_offset, row.committed_leader_epoch, note)
            };
            topic.partitions.iter().map(row).collect::<Vec<_>>()
        })
        .collect()
}

fn describe(client: &mut KafkaClient, group_id: &str) -> (KafkaError, String, usize) {
    let asked = DescribeGroupsRequest { groups: [group_id].into_iter().collect(), ..DescribeGroupsRequest::default() };
    let reply = client.ask(5, &asked);
    let row = reply.decode::<DescribeGroupsReply<'_>>().groups.iter().next().expect("one group");
    (row.error_code, row.group_state.to_owned(), row.members.len())
}

fn list(client: &mut KafkaClient, states: &[&str]) -> Vec<(String, String)> {
    let asked = ListGroupsRequest { states_filter: states.iter().copied().collect(), ..ListGroupsRequest::default() };
    let reply = client.ask(5, &asked);
    let reply: ListGroupsReply<'_> = reply.decode();
    assert_eq!(reply.error_code, KafkaError::NONE);
    let mut listed: Vec<_> =
        reply.groups.iter().map(|group| (group.group_id.to_owned(), group.group_state.to_owned())).collect();
    listed.sort();
    listed
}

#[test]
fn a_group_is_made_joined_committed_to_and_is_there_after_a_restart() {
    let dir = directory();
    // Enough names that every shard has some of them.
    let names: Vec<String> = (0..12).map(|number| format!("group-{number}")).collect();
    let members: Vec<Joined> = {
        let broker = start(dir.path(), 3);
        let mut client = KafkaClient::connect(&broker);
        client.create("orders");
        assert_eq!(describe(&mut client, "group-0"), (KafkaError::NONE, "Dead".to_owned(), 0), "before there was any");
        assert_eq!(list(&mut client, &[]), []);
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(find(&mut client, &asked), vec![KafkaError::NONE; names.len()]);
        let members: Vec<Joined> = names.iter().map(|name| join_alone(&mut client, name)).collect();
        for (number, (name, member)) in names.iter().zip(&members).enumerate() {
            assert_eq!(heartbeat(&mut client, name, member), KafkaError::NONE);
            let rows = [(0, 40 + number as i64, "mine"), (7, 1, ""), (0, -5, "")];
            let outcome = commit(&mut client, name, Some(member), "orders", &rows);
            let expected = [KafkaError::NONE, KafkaError::UNKNOWN_TOPIC_OR_PARTITION, KafkaError::INVALID_REQUEST];
            assert_eq!(outcome, expected, "each row has its own answer");
            assert_eq!(commit(&mut client, name, None, "orders", &[(0, 1, "")]), [KafkaError::UNKNOWN_MEMBER_ID]);
            let stale = Joined { generation: member.generation + 1, ..member.clone() };
            assert_eq!(
                commit(&mut client, name, Some(&stale), "orders", &[(0, 1, "")]),
                [KafkaError::ILLEGAL_GENERATION]
            );
            assert_eq!(describe(&mut client, name), (KafkaError::NONE, "Stable".to_owned(), 1));
        }
        assert_eq!(list(&mut client, &["stable"]).len(), names.len());
        assert_eq!(list(&mut client, &["Empty"]), []);
        members
    };
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    for (number, (name, member)) in names.iter().zip(&members).enumerate() {
        assert_eq!(heartbeat(&mut client, name, member), KafkaError::NONE, "{name}: a member outlives a restart");
        let expected = (0, 40 + number as i64, 3, "mine".to_owned());
        assert_eq!(fetch(&mut client, name, None), std::slice::from_ref(&expected));
        let nothing = (3, -1, -1, String::new());
        assert_eq!(fetch(&mut client, name, Some(("orders", &[0, 3]))), [expected, nothing]);
    }
}

#[test]
fn a_member_of_a_group_that_is_not_there_commits_nothing() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    find(&mut client, &["gone"]);
    let member = Joined {
        error: KafkaError::NONE,
        member_id: "somebody".to_owned(),
        leader: String::new(),
        generation: 3,
        members: 0,
    };
    for (version, expected) in [(8, KafkaError::ILLEGAL_GENERATION), (9, KafkaError::GROUP_ID_NOT_FOUND)] {
        let outcome = commit_in(version, &mut client, "gone", Some(&member), "orders", &[(0, 1, "")]);
        assert_eq!(outcome, [expected], "version {version}");
    }
    assert_eq!(list(&mut client, &[]), []);
}

#[test]
fn two_members_share_and_the_one_that_stays_takes_over() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let (mut one, mut two) = (KafkaClient::connect(&broker), KafkaClient::connect(&broker));
    find(&mut one, &["shared"]);
    let first = join_alone(&mut one, "shared");
    let given = join(&mut two, "shared", "");
    assert_eq!(given.error, KafkaError::MEMBER_ID_REQUIRED);
    // The join of the second waits for the first one, which is told by its heartbeat.
    two.send(9, &join_request("shared", &given.member_id));
    while heartbeat(&mut one, "shared", &first) != KafkaError::REBALANCE_IN_PROGRESS {
        std::thread::yield_now();
    }
    let leader = join(&mut one, "shared", &first.member_id);
    assert_eq!((leader.error, leader.generation, leader.members), (KafkaError::NONE, first.generation + 1, 2));
    let follower = two.receive(ApiKey::JoinGroup, 9);
    let follower = joined(&follower.decode());
    assert_eq!((follower.generation, follower.members), (leader.generation, 0), "only the leader is told who is there");
    let follower_asks = SyncGroupRequest {
        group_id: "shared",
        generation_id: follower.generation,
        member_id: &follower.member_id,
        ..SyncGroupRequest::default()
    };
    two.send(5, &follower_asks);
    let parts = [
        SyncAssignment { member_id: &leader.member_id, assignment: b"0" },
        SyncAssignment { member_id: &follower.member_id, assignment: b"1" },
    ];
    let leader_assigns = SyncGroupRequest {
        member_id: &leader.member_id,
        assignments: parts.into_iter().collect(),
        ..follower_asks.clone()
    };
    assert_eq!(one.ask(5, &leader_assigns).decode::<SyncGroupReply<'_>>().assignment, b"0");
    assert_eq!(two.receive(ApiKey::SyncGroup, 5).decode::<SyncGroupReply<'_>>().assignment, b"1");
    let leaving = LeavingMember { member_id: &leader.member_id, ..LeavingMember::default() };
    let asked =
        LeaveGroupRequest { group_id: "shared", members: [leaving].into_iter().collect(), ..Default::default() };
    let reply = one.ask(5, &asked);
    let reply: LeaveGroupReply<'_> = reply.decode();
    assert_eq!(
        (reply.error_code, reply.members.iter().next().map(|row| row.error_code)),
        (KafkaError::NONE, Some(KafkaError::NONE))
    );
    assert_eq!(heartbeat(&mut two, "shared", &follower), KafkaError::REBALANCE_IN_PROGRESS);
    let alone = join(&mut two, "shared", &follower.member_id);
    assert_eq!((alone.leader, alone.members), (follower.member_id, 1));
}

#[test]
fn offsets_without_members_are_kept_deleted_and_do_not_outlive_their_topic() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    find(&mut client, &["reader"]);
    client.create("orders");
    client.create("bills");
    assert_eq!(commit(&mut client, "reader", None, "orders", &[(0, 7, "x")]), [KafkaError::NONE]);
    assert_eq!(commit(&mut client, "reader", None, "bills", &[(0, 8, "")]), [KafkaError::NONE]);
    assert_eq!(list(&mut client, &[]), [("reader".to_owned(), "Empty".to_owned())]);
    let long = "n".repeat(4_097);
    assert_eq!(
        commit(&mut client, "reader", None, "orders", &[(0, 9, &long)]),
        [KafkaError::OFFSET_METADATA_TOO_LARGE]
    );
    // A topic of the same name is another topic.
    let asked = DeleteTopicsRequest { topic_names: ["orders"].into_iter().collect(), ..Default::default() };
    client.ask(5, &asked);
    client.create("orders");
    assert_eq!(fetch(&mut client, "reader", Some(("orders", &[0]))), [(0, -1, -1, String::new())]);
    let row = OffsetDeletePartition { partition_index: 0 };
    let topics = OffsetDeleteTopic { name: "bills", partitions: [row].into_iter().collect() };
    let asked = OffsetDeleteRequest { group_id: "reader", topics: [topics].into_iter().collect() };
    let reply = client.ask(0, &asked);
    let reply: OffsetDeleteReply<'_> = reply.decode();
    let row = reply.topics.iter().next().and_then(|topic| topic.partitions.iter().next()).expect("one row");
    assert_eq!((reply.error_code, row.error_code), (KafkaError::NONE, KafkaError::NONE));
    assert_eq!(fetch(&mut client, "reader", None), []);
    assert_eq!(commit(&mut client, "reader", None, "bills", &[(0, 9, "")]), [KafkaError::NONE]);
    let delete = |client: &mut KafkaClient| {
        let asked = DeleteGroupsRequest { groups_names: ["reader", "nobody"].into_iter().collect() };
        let reply = client.ask(2, &asked);
        let rows = reply.decode::<DeleteGroupsReply<'_>>().results;
        rows.iter().map(|row| row.error_code).collect::<Vec<_>>()
    };
    assert_eq!(delete(&mut client), [KafkaError::NONE, KafkaError::GROUP_ID_NOT_FOUND]);
    assert_eq!(delete(&mut client), [KafkaError::GROUP_ID_NOT_FOUND, KafkaError::GROUP_ID_NOT_FOUND]);
    assert_eq!(list(&mut client, &[]), []);
}

#[test]
fn the_topic_of_groups_is_internal_and_takes_nothing_from_clients() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    find(&mut client, &["any"]);
    let reply = client.ask(12, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let topic = reply.decode::<MetadataReply<'_>>().topics.iter().next().expect("one topic");
    assert_eq!((topic.name, topic.is_internal, topic.partitions.len()), (Some("__consumer_offsets"), true, 50));
    assert_ne!(topic.topic_id, TopicId(0));
    let row = client.produce("__consumer_offsets", 0, &batch(Codec::None, &["not yours"]));
    assert_eq!(row.error_code, KafkaError::INVALID_TOPIC_EXCEPTION);
}

/// A member of a group whose broker assigns, as a client keeps it.
struct Assigned {
    error: KafkaError,
    epoch: i32,
    /// Numbers of partitions of the one topic; `None` where nothing was said of them.
    partitions: Option<Vec<i32>>,
}

/// A heartbeat: with everything when it joins, else with what the member has.
fn beat(client: &mut KafkaClient, member_id: &str, epoch: i32, topic_id: TopicId, owned: Option<&[i32]>) -> Assigned {
    let rows = owned
        .filter(|owned| !owned.is_empty())
        .map(|owned| MemberTopic { topic_id, partitions: owned.iter().copied().collect() });
    let asked = ConsumerGroupHeartbeatRequest {
        group_id: "assigned",
        member_id,
        member_epoch: epoch,
        rebalance_timeout_ms: if epoch == 0 { 30_000 } else { -1 },
        subscribed_topic_names: (epoch == 0).then(|| ["orders"].into_iter().collect()),
        topic_partitions: owned.map(|_| rows.into_iter().collect()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let reply = client.ask(1, &asked);
    let reply: ConsumerGroupHeartbeatReply<'_> = reply.decode();
    let partitions = reply.assignment.as_ref().map(|assignment| {
        assignment.topic_partitions.iter().flat_map(|row| row.partitions.iter().collect::<Vec<_>>()).collect()
    });
    Assigned { error: reply.error_code, epoch: reply.member_epoch, partitions }
}

fn topic_id(client: &mut KafkaClient, name: &str) -> TopicId {
    let reply = client.ask(12, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let topics = reply.decode::<MetadataReply<'_>>().topics;
    topics.iter().find(|topic| topic.name == Some(name)).expect("it is there").topic_id
}

#[test]
fn the_broker_assigns_partitions_change_hands_and_a_restart_is_no_rebalance() {
    let dir = directory();
    let (one_epoch, one_has) = {
        let broker = start(dir.path(), 2);
        let mut client = KafkaClient::connect(&broker);
        find(&mut client, &["assigned"]);
        let row =
            CreatableTopic { name: "orders", num_partitions: 4, replication_factor: -1, ..CreatableTopic::default() };
        client.ask(7, &CreateTopicsRequest { topics: [row].into_iter().collect(), ..CreateTopicsRequest::default() });
        let orders = topic_id(&mut client, "orders");
        let alone = beat(&mut client, "one", 0, orders, Some(&[]));
        assert_eq!((alone.error, alone.partitions.as_deref()), (KafkaError::NONE, Some(&[0, 1, 2, 3][..])));
        let quiet = beat(&mut client, "one", alone.epoch, orders, None);
        assert_eq!((quiet.error, quiet.epoch, quiet.partitions), (KafkaError::NONE, alone.epoch, None), "nothing new");
        let second = beat(&mut client, "two", 0, orders, Some(&[]));
        assert_eq!(
            (second.error, second.partitions.as_deref()),
            (KafkaError::NONE, Some(&[][..])),
            "all are the first one's"
        );
        let less = beat(&mut client, "one", alone.epoch, orders, Some(&[0, 1, 2, 3]));
        let kept = less.partitions.expect("it is told what to give back");
        assert_eq!((less.error, kept.len()), (KafkaError::NONE, 2));
        let none_yet = beat(&mut client, "two", second.epoch, orders, None);
        assert_eq!(none_yet.partitions, None, "not before the first one has given them back");
        let given_back = beat(&mut client, "one", less.epoch, orders, Some(&kept));
        assert_eq!((given_back.error, given_back.epoch), (KafkaError::NONE, second.epoch));
        let taken = beat(&mut client, "two", second.epoch, orders, Some(&[]));
        let got = taken.partitions.expect("they are free now");
        let mut all = [kept.clone(), got].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
        let fenced = beat(&mut client, "two", 77, orders, None);
        assert_eq!(fenced.error, KafkaError::FENCED_MEMBER_EPOCH);
        let late = Joined { member_id: "two".to_owned(), generation: 77, ..Joined::default() };
        let refused = commit(&mut client, "assigned", Some(&late), "orders", &[(0, 1, "")]);
        assert_eq!(refused, [KafkaError::UNSUPPORTED_VERSION], "version 8 has no error for it");
        let asked = ConsumerGroupDescribeRequest {
            group_ids: ["assigned", "nobody"].into_iter().collect(),
            ..ConsumerGroupDescribeRequest::default()
        };
        let reply = client.ask(1, &asked);
        let groups = reply.decode::<ConsumerGroupDescribeReply<'_>>().groups;
        let rows: Vec<_> =
            groups.iter().map(|group| (group.error_code, group.group_state, group.members.len())).collect();
        assert_eq!(rows, [(KafkaError::NONE, "Stable", 2), (KafkaError::GROUP_ID_NOT_FOUND, "", 0)]);
        (given_back.epoch, kept)
    };
    let broker = start(dir.path(), 3);
    let mut client = KafkaClient::connect(&broker);
    let orders = topic_id(&mut client, "orders");
    let after = beat(&mut client, "one", one_epoch, orders, Some(&one_has));
    assert_eq!(
        (after.error, after.epoch, after.partitions),
        (KafkaError::NONE, one_epoch, None),
        "it goes on as it was"
    );
    assert_eq!(list(&mut client, &[]), [("assigned".to_owned(), "Stable".to_owned())]);
}

/// Lets a second member wait for the first one, which does not come.
fn wait_for_the_first(broker: &RunningBroker) -> (KafkaClient, KafkaClient, Joined) {
    let (mut one, mut two) = (KafkaClient::connect(broker), KafkaClient::connect(broker));
    find(&mut one, &["shared"]);
    let first = join_alone(&mut one, "shared");
    let given = join(&mut two, "shared", "");
    two.send(9, &join_request("shared", &given.member_id));
    while heartbeat(&mut one, "shared", &first) != KafkaError::REBALANCE_IN_PROGRESS {
        std::thread::yield_now();
    }
    (one, two, first)
}

#[test]
fn a_member_that_waits_for_others_is_told_that_the_broker_stops() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let (_one, mut two, _) = wait_for_the_first(&broker);
    let stopping = std::thread::spawn(move || broker.stop());
    let told = joined(&two.receive(ApiKey::JoinGroup, 9).decode());
    assert_eq!(told.error, KafkaError::COORDINATOR_NOT_AVAILABLE);
    stopping.join().expect("it stops").expect("in good order");
}

#[test]
fn groups_end_with_the_topic_that_they_are_kept_in() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let (mut one, mut two, first) = wait_for_the_first(&broker);
    let asked = DeleteTopicsRequest { topic_names: ["__consumer_offsets"].into_iter().collect(), ..Default::default() };
    one.ask(5, &asked);
    let told = joined(&two.receive(ApiKey::JoinGroup, 9).decode());
    assert_eq!(told.error, KafkaError::COORDINATOR_NOT_AVAILABLE, "nobody is left to wait for");
    assert_eq!(heartbeat(&mut one, "shared", &first), KafkaError::NOT_COORDINATOR);
    assert_eq!(find(&mut one, &["shared"]), [KafkaError::NONE], "it is made again");
    assert_eq!(heartbeat(&mut one, "shared", &first), KafkaError::UNKNOWN_MEMBER_ID);
    assert_eq!(list(&mut one, &[]), []);
}

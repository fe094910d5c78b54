//! What groups whose broker assigns cost: a steady heartbeat takes no memory and writes nothing, whatever the group's size; large
//! groups are assigned and loaded in a time that is printed.

use std::sync::Arc;
use std::time::Instant;

use ouzel_broker_core::group::{
    Caller, Effects, Generation, GroupConfig, GroupCoordinator, HeartbeatCaller, JoinRequest, MonotonicMs, Now,
    PartitionSet, Reply, TopicView, Topics, Waiter, WallMs,
};
use ouzel_broker_core::group::{ClassicProtocol, GroupRecord, HeartbeatOutcome};
use ouzel_protocol::kafka::{Array, ConsumerGroupHeartbeatRequest, MemberTopic};
use ouzel_protocol::{MetadataVersion, TopicId};

const PARTITIONS: u32 = 10_000;

#[derive(Debug)]
struct OneTopic;

impl Topics for OneTopic {
    fn version(&self) -> MetadataVersion {
        MetadataVersion(1)
    }

    fn find(&self, name: &str) -> Option<TopicView> {
        (name == "orders").then_some(TopicView { topic_id: TopicId(1), partition_count: PARTITIONS })
    }

    fn name(&self, _: TopicId) -> Option<&str> {
        Some("orders")
    }

    fn each(&self, each: &mut dyn FnMut(&str)) {
        each("orders");
    }
}

fn at(ms: u64) -> Now {
    Now { monotonic: MonotonicMs(ms), wall: WallMs(ms as i64) }
}

fn hear(
    groups: &mut GroupCoordinator,
    log: &mut Vec<GroupRecord>,
    request: &ConsumerGroupHeartbeatRequest<'_>,
) -> HeartbeatOutcome {
    let mut effects = Effects::new();
    let caller = HeartbeatCaller { client_id: "c", client_host: "/h", drawn: 0, makes_its_id: true };
    groups.consumer_heartbeat(at(0), Waiter(0), request, caller, &mut effects);
    log.append(&mut effects.records);
    match effects.replies.pop() {
        Some((_, Reply::ConsumerHeartbeat(Ok(outcome)))) => outcome,
        other => panic!("{other:?}"),
    }
}

fn beat<'a>(member_id: &'a str, epoch: i32, owned: Option<&PartitionSet>) -> ConsumerGroupHeartbeatRequest<'a> {
    let numbers = |set: &PartitionSet| set.iter().map(|partition| partition.partition.0 as i32).collect();
    let row = |set| [MemberTopic { topic_id: TopicId(1), partitions: numbers(set) }].into();
    let topic_partitions = owned.map(row);
    ConsumerGroupHeartbeatRequest {
        group_id: "g",
        member_id,
        member_epoch: epoch,
        topic_partitions,
        ..Default::default()
    }
}

#[test]
fn a_group_of_many_settles_and_its_heartbeats_take_no_memory() {
    const MEMBERS: usize = 200;
    let mut groups = GroupCoordinator::new(GroupConfig::default());
    groups.set_topics(Arc::new(OneTopic));
    let mut log = Vec::new();
    let ids: Vec<String> = (0..MEMBERS).map(|number| format!("member-{number}")).collect();
    let start = Instant::now();
    let mut told: Vec<HeartbeatOutcome> = Vec::new();
    for id in &ids {
        let first = ConsumerGroupHeartbeatRequest {
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(["orders"].into()),
            topic_partitions: Some(Array::EMPTY),
            ..beat(id, 0, None)
        };
        told.push(hear(&mut groups, &mut log, &first));
    }
    println!(
        "{MEMBERS} members of {PARTITIONS} partitions have joined in {:?}, {} records",
        start.elapsed(),
        log.len()
    );
    let start = Instant::now();
    for _ in 0..4 {
        for (id, last) in ids.iter().zip(&mut told) {
            let owned = last.assignment.clone();
            let outcome = hear(&mut groups, &mut log, &beat(id, last.epoch.0, owned.as_ref()));
            last.epoch = outcome.epoch;
            last.assignment = outcome.assignment.or(owned);
        }
    }
    println!("they have settled in {:?}, {} records", start.elapsed(), log.len());
    assert_eq!(groups.list(&["Stable"], &["Consumer"]).len(), 1);
    assert!(told.iter().all(|outcome| outcome.assignment.as_ref().unwrap().len() == PARTITIONS as usize / MEMBERS));

    let mut effects = Effects::new();
    effects.replies.reserve(MEMBERS);
    let caller = HeartbeatCaller { client_id: "c", client_host: "/h", drawn: 0, makes_its_id: true };
    let requests: Vec<_> = ids.iter().zip(&told).map(|(id, last)| beat(id, last.epoch.0, None)).collect();
    let start = Instant::now();
    let taken = allocation_counter::measure(|| {
        for request in &requests {
            groups.consumer_heartbeat(at(5_000), Waiter(0), request, caller, &mut effects);
        }
    });
    println!("{MEMBERS} steady heartbeats: {:?}", start.elapsed());
    assert_eq!((taken.count_total, effects.records.len(), effects.replies.len()), (0, 0, MEMBERS));

    let start = Instant::now();
    let mut loaded = GroupCoordinator::new(GroupConfig::default());
    loaded.set_topics(Arc::new(OneTopic));
    log.into_iter().for_each(|record| loaded.apply(record).unwrap());
    let _ = loaded.start(at(0));
    println!("loaded in {:?}", start.elapsed());
    assert_eq!(loaded.describe_consumer("g"), groups.describe_consumer("g"));
}

#[test]
fn a_heartbeat_of_the_classic_protocol_takes_no_memory_either() {
    let mut groups = GroupCoordinator::new(GroupConfig::default());
    groups.set_topics(Arc::new(OneTopic));
    let first = ConsumerGroupHeartbeatRequest {
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(["orders"].into()),
        topic_partitions: Some(Array::EMPTY),
        ..beat("new", 0, None)
    };
    hear(&mut groups, &mut Vec::new(), &first);
    let metadata: Arc<[u8]> = Arc::from(*b"\x00\x00\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff");
    let request = JoinRequest {
        member_id: "old",
        instance_id: None,
        client_id: "c",
        client_host: "/h",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer",
        protocols: vec![ClassicProtocol { name: Arc::from("range"), metadata }],
        drawn: 0,
        takes_id_first: true,
        skips_assignment: true,
    };
    let mut effects = groups.join(at(0), Waiter(1), "g", request);
    let generation = match effects.replies.pop() {
        Some((_, Reply::Join(Ok(outcome)))) => outcome.generation,
        other => panic!("{other:?}"),
    };
    let caller = Caller { member_id: "old", instance_id: None, generation };
    let mut outcome = Ok(());
    let taken = allocation_counter::measure(|| outcome = groups.heartbeat(at(1), "g", caller));
    assert_eq!((taken.count_total, outcome, generation), (0, Ok(()), Generation(2)));
}

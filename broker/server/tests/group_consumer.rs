//! The client's members of groups against a real broker: records shared and handed over, offsets that are found again, partitions
//! lost and taken back.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ouzel_broker::{RunningBroker, StartError};
use ouzel_client::protocol::MemberEpoch;
use ouzel_client::protocol::native::{Api, GroupHeartbeatRequest};
use ouzel_client::{
    Calling, Client, ClientConfig, ErrorCode, GroupConsumer, GroupConsumerConfig, NewTopic, Offset, OffsetCommitter,
    OutOfRange, PartitionIndex, ProducerConfig, RebalanceListener, Record, Subscription, TopicPartition,
};
use support::directory;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// Long enough for any machine: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn start_at(data_dir: &Path, native: SocketAddr) -> RunningBroker {
    let mut config = support::config(data_dir, 2);
    config.native = native;
    config.groups.consumer.heartbeat_interval_ms = 50;
    loop {
        match support::try_start(config.clone()) {
            Ok(broker) => return broker,
            // The threads of one that was dropped have not let go yet.
            Err(StartError::Locked { .. } | StartError::PortInUse { .. }) => {}
            Err(error) => panic!("the broker starts: {error}"),
        }
    }
}

fn start(data_dir: &Path) -> RunningBroker {
    start_at(data_dir, SocketAddr::from(([127, 0, 0, 1], 0)))
}

async fn connect(broker: &RunningBroker) -> Client {
    let address = broker.addresses().native.to_string();
    Client::connect(address.as_str(), ClientConfig::default()).await.expect("the broker answers")
}

async fn create(client: &Client, topic: &str, partitions: u32) {
    client.admin().create_topic(NewTopic::named(topic).partitions(partitions)).await.expect("created");
}

/// Produces values to the partitions of a topic in turn.
async fn produce(client: &Client, topic: &str, partitions: u32, values: std::ops::Range<u32>) {
    let producer = client.producer(ProducerConfig::default()).expect("a producer");
    for value in values {
        let text = value.to_string();
        let record = Record::to(topic).value(text.as_bytes()).partition(PartitionIndex(value % partitions));
        producer.enqueue(record).await.expect("room");
    }
    producer.flush().await.expect("acknowledged");
}

fn config(group: &str) -> GroupConsumerConfig {
    GroupConsumerConfig {
        offset_reset: OutOfRange::Earliest,
        ..GroupConsumerConfig::new(group, Subscription::topics(["orders"]))
    }
}

async fn value(consumer: &mut GroupConsumer) -> u32 {
    let record = timeout(PATIENCE, consumer.recv()).await.expect("a record in time").expect("a record");
    std::str::from_utf8(&record.value.expect("a value")).expect("text").parse().expect("a number")
}

async fn values(consumer: &mut GroupConsumer, count: usize) -> BTreeSet<u32> {
    let mut values = BTreeSet::new();
    while values.len() < count {
        assert!(values.insert(value(consumer).await), "nothing is given out twice");
    }
    values
}

/// Lets members make their calls until `is_so`.
async fn until(consumers: &mut [&mut GroupConsumer], mut is_so: impl FnMut(&[&mut GroupConsumer]) -> bool) {
    let settled = async {
        while !is_so(consumers) {
            for consumer in consumers.iter_mut() {
                // No record is due: whatever comes is one too many.
                if let Ok(record) = timeout(Duration::from_millis(20), consumer.recv()).await {
                    panic!("unexpected: {record:?}");
                }
            }
        }
    };
    timeout(PATIENCE, settled).await.expect("it comes to be so");
}

fn numbers(consumer: &GroupConsumer) -> Vec<u32> {
    consumer.assignment().map(|at| at.partition.0).collect()
}

/// One call of a listener, in a word, and its partitions.
type Call = (&'static str, Vec<u32>);

/// What a listener was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Call>>>);

impl Told {
    fn note(&self, what: &'static str, partitions: &[TopicPartition]) {
        let numbers = partitions.iter().map(|at| at.partition.0).collect();
        self.0.lock().expect("a list").push((what, numbers));
    }

    fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().expect("a list"))
    }
}

impl RebalanceListener for Told {
    fn assigned<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Calling<'a> {
        self.note("assigned", partitions);
        Box::pin(std::future::ready(()))
    }

    fn revoked<'a>(&'a mut self, partitions: &'a [TopicPartition], _: &'a OffsetCommitter) -> Calling<'a> {
        self.note("revoked", partitions);
        Box::pin(std::future::ready(()))
    }

    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Calling<'a> {
        self.note("lost", partitions);
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_member_takes_its_share_and_gives_it_back_when_it_leaves() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders", 4).await;
    produce(&client, "orders", 4, 0..40).await;
    let told = Told::default();
    let mut one = client.group_consumer(config("g")).expect("a member");
    one.set_listener(told.clone());
    assert_eq!(values(&mut one, 40).await, (0..40).collect());
    assert_eq!(told.take(), [("assigned", vec![0, 1, 2, 3])]);

    // What the first has read is committed before it is given back: the second reads none of it.
    let mut two = client.group_consumer(config("g")).expect("a member");
    until(&mut [&mut one, &mut two], |members| members.iter().all(|member| numbers(member).len() == 2)).await;
    let all: BTreeSet<u32> = [numbers(&one), numbers(&two)].concat().into_iter().collect();
    assert_eq!(all, (0..4).collect());
    assert_eq!(told.take(), [("revoked", numbers(&two))]);
    produce(&client, "orders", 4, 40..80).await;
    let (of_one, of_two) = (values(&mut one, 20).await, values(&mut two, 20).await);
    assert_eq!(of_one.union(&of_two).copied().collect::<BTreeSet<_>>(), (40..80).collect());

    let of_second = numbers(&two);
    two.close().await.expect("it leaves");
    until(&mut [&mut one], |members| numbers(members[0]).len() == 4).await;
    assert_eq!(told.take(), [("assigned", of_second)]);
    produce(&client, "orders", 4, 80..120).await;
    assert_eq!(values(&mut one, 40).await, (80..120).collect());
    one.close().await.expect("it leaves");
    assert_eq!(told.take(), [("revoked", vec![0, 1, 2, 3])]);
    let described = client.admin().describe_group("g").await.expect("a group");
    assert_eq!((described.state.as_str(), described.members.len()), ("Empty", 0));
    broker.stop().expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_by_hand_is_where_the_next_one_begins() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders", 1).await;
    produce(&client, "orders", 1, 0..30).await;
    let by_hand = || GroupConsumerConfig { auto_commit_interval: None, ..config("g") };
    let at = TopicPartition::new("orders", PartitionIndex(0));
    let committed = async || {
        let topics = client.admin().committed_offsets("g").await.expect("offsets");
        topics.iter().flat_map(|topic| &topic.partitions).map(|row| row.offset.0).collect::<Vec<_>>()
    };
    {
        let mut first = client.group_consumer(by_hand()).expect("a member");
        values(&mut first, 10).await;
        first.close().await.expect("it leaves");
        assert!(committed().await.is_empty(), "nobody said so");
    }
    {
        let mut second = client.group_consumer(by_hand()).expect("a member");
        assert_eq!(values(&mut second, 10).await, (0..10).collect(), "again");
        second.commit().await.expect("committed");
        assert_eq!(committed().await, [10]);
        values(&mut second, 5).await;
        second.commit_in_background().await.expect("the task ends").expect("committed");
        assert_eq!((committed().await, second.position(&at)), (vec![15], Some(Offset(15))));
        second.committer().commit(&[(at.clone(), Offset(12))]).await.expect("committed");
        values(&mut second, 5).await;
        // Dropped: it leaves without a commit.
    }
    let mut third = client.group_consumer(by_hand()).expect("a member");
    assert_eq!(values(&mut third, 18).await, (12..30).collect());
    third.close().await.expect("it leaves");
    let resets = client.admin().plan_offset_reset("g", &[], ouzel_client::ResetTo::Shift(-2)).await.expect("a plan");
    assert_eq!((resets[0].from, resets[0].to), (Some(Offset(12)), Offset(10)));
    broker.stop().expect("a clean stop");
}

/// A listener whose answer to a revocation the test gives.
struct Slow {
    asked: mpsc::UnboundedSender<(Vec<TopicPartition>, OffsetCommitter)>,
    answer: Arc<Notify>,
}

impl RebalanceListener for Slow {
    fn revoked<'a>(&'a mut self, partitions: &'a [TopicPartition], offsets: &'a OffsetCommitter) -> Calling<'a> {
        Box::pin(async move {
            self.asked.send((partitions.to_vec(), offsets.clone())).expect("the test listens");
            self.answer.notified().await;
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_nobody_elses_before_the_program_has_let_go_of_it() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders", 2).await;
    produce(&client, "orders", 2, 0..20).await;
    let (asked, mut revocations) = mpsc::unbounded_channel();
    let answer = Arc::new(Notify::new());
    let mut one =
        client.group_consumer(GroupConsumerConfig { auto_commit_interval: None, ..config("g") }).expect("a member");
    one.set_listener(Slow { asked, answer: Arc::clone(&answer) });
    values(&mut one, 20).await;
    let mut two = client.group_consumer(config("g")).expect("a member");
    let one = tokio::spawn(async move {
        let record = one.recv().await;
        (one, record)
    });
    let (partitions, offsets) = timeout(PATIENCE, revocations.recv()).await.expect("in time").expect("a revocation");
    assert_eq!(partitions.len(), 1);
    // Many heartbeats go by.
    assert!(timeout(Duration::from_millis(600), two.recv()).await.is_err(), "nothing is given out");
    assert!(numbers(&two).is_empty());
    let described = client.admin().describe_group("g").await.expect("a group");
    assert_eq!((described.state.as_str(), described.members.len()), ("Reconciling", 2), "both live");
    // The program knows better how far it got.
    offsets.commit(&[(partitions[0].clone(), Offset(7))]).await.expect("it is still its own");
    answer.notify_one();
    // Offsets 7 to 9.
    values(&mut two, 3).await;
    assert_eq!(numbers(&two), [partitions[0].partition.0]);
    let late = offsets.commit(&[(partitions[0].clone(), Offset(9))]).await.expect_err("it is the other's");
    assert_eq!(late.code(), Some(ErrorCode::UnknownMemberId));
    one.abort();
    broker.stop().expect("a clean stop");
}

/// Takes a member out of its group behind its back.
async fn throw_out(broker: &RunningBroker, group: &str, member_id: String) {
    let mut raw = support::Client::connect(broker.addresses().native);
    let request = GroupHeartbeatRequest {
        group_id: group.to_owned(),
        member_id,
        member_epoch: MemberEpoch::LEAVE,
        instance_id: None,
        rebalance_timeout_ms: None,
        topics: None,
        pattern: None,
        assignor: None,
        owned: None,
    };
    raw.call(Api::GroupHeartbeat, |out| request.encode(out));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_was_shut_out_has_lost_its_partitions_and_joins_again() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders", 2).await;
    produce(&client, "orders", 2, 0..10).await;
    let told = Told::default();
    let mut one = client.group_consumer(config("g")).expect("a member");
    one.set_listener(told.clone());
    values(&mut one, 10).await;
    one.commit().await.expect("committed");
    let before = one.committer();
    assert_eq!(told.take(), [("assigned", vec![0, 1])]);
    throw_out(&broker, "g", one.member_id()).await;
    until(&mut [&mut one], |_| told.0.lock().expect("a list").len() == 2).await;
    assert_eq!(told.take(), [("lost", vec![0, 1]), ("assigned", vec![0, 1])]);
    let late = before.commit(&[(TopicPartition::new("orders", PartitionIndex(0)), Offset(1))]).await;
    assert_eq!(late.expect_err("of another life").code(), Some(ErrorCode::UnknownMemberId));
    produce(&client, "orders", 2, 10..20).await;
    assert_eq!(values(&mut one, 10).await, (10..20).collect(), "from where it had committed");
    broker.stop().expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_of_a_topic_is_not_committed_to_a_later_one_of_its_name() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders", 2).await;
    create(&client, "others", 1).await;
    produce(&client, "orders", 2, 0..10).await;
    let both = GroupConsumerConfig {
        offset_reset: OutOfRange::Earliest,
        ..GroupConsumerConfig::new("g", Subscription::topics(["orders", "others"]))
    };
    let mut one = client.group_consumer(both).expect("a member");
    assert_eq!(values(&mut one, 10).await, (0..10).collect());
    let before = one.committer();
    produce(&client, "others", 1, 50..60).await;
    client.admin().delete_topic("orders").await.expect("deleted");
    create(&client, "orders", 2).await;
    produce(&client, "orders", 2, 100..120).await;
    let (orders, others) =
        (TopicPartition::new("orders", PartitionIndex(0)), TopicPartition::new("others", PartitionIndex(0)));
    let late = before.commit(&[(orders, Offset(5)), (others, Offset(0))]).await.expect_err("that topic is gone");
    assert!(matches!(late, ouzel_client::ClientError::UnknownTopic { .. }), "{late}");
    let all = (50..60).chain(100..120).collect();
    assert_eq!(values(&mut one, 30).await, all, "all of the new topic, and none of it twice");
    one.close().await.expect("committed");
    broker.stop().expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_asks_for_nothing_leaves_until_it_does() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders", 2).await;
    produce(&client, "orders", 2, 0..10).await;
    let told = Told::default();
    let impatient = GroupConsumerConfig { poll_interval_max: Duration::from_millis(300), ..config("g") };
    let mut one = client.group_consumer(impatient).expect("a member");
    one.set_listener(told.clone());
    values(&mut one, 10).await;
    one.commit().await.expect("committed");
    let mut two = client.group_consumer(config("g")).expect("a member");
    // It works, and works, and does not ask.
    until(&mut [&mut two], |members| numbers(members[0]).len() == 2).await;
    assert_eq!(told.take(), [("assigned", vec![0, 1])], "it is told when it asks");
    two.close().await.expect("it leaves");
    until(&mut [&mut one], |_| told.0.lock().expect("a list").len() == 2).await;
    assert_eq!(told.take(), [("lost", vec![0, 1]), ("assigned", vec![0, 1])]);
    broker.stop().expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_that_is_back_in_time_has_what_it_had() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders", 4).await;
    let named = |name: &str| GroupConsumerConfig { instance_id: Some(name.to_owned()), ..config("g") };
    let mut one = client.group_consumer(named("one")).expect("a member");
    let mut two = client.group_consumer(named("two")).expect("a member");
    until(&mut [&mut one, &mut two], |members| members.iter().all(|member| numbers(member).len() == 2)).await;
    let (of_one, epoch) = (numbers(&one), client.admin().describe_group("g").await.expect("a group").epoch);
    one.close().await.expect("it is away");
    assert_eq!(client.admin().describe_group("g").await.expect("a group").members.len(), 2);
    let mut again = client.group_consumer(named("one")).expect("a member");
    until(&mut [&mut again, &mut two], |members| numbers(members[0]).len() == 2).await;
    assert_eq!(numbers(&again), of_one);
    assert_eq!(client.admin().describe_group("g").await.expect("a group").epoch, epoch, "nobody else noticed");
    two.close().await.expect("it is away");
    broker.stop().expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_broker_is_a_wait() {
    let dir = directory();
    let broker = start(dir.path());
    let native = broker.addresses().native;
    let client = connect(&broker).await;
    create(&client, "orders", 2).await;
    produce(&client, "orders", 2, 0..10).await;
    let told = Told::default();
    let mut one = client.group_consumer(config("g")).expect("a member");
    one.set_listener(told.clone());
    values(&mut one, 10).await;
    drop(broker);
    let committing = tokio::spawn({
        let committer = one.committer();
        async move { committer.commit(&[(TopicPartition::new("orders", PartitionIndex(0)), Offset(3))]).await }
    });
    let broker = start_at(dir.path(), native);
    committing.await.expect("the task ends").expect("committed once it could be");
    produce(&client, "orders", 2, 10..20).await;
    assert_eq!(values(&mut one, 10).await, (10..20).collect());
    one.commit().await.expect("committed");
    assert_eq!(told.take(), [("assigned", vec![0, 1])], "it is still the same member");
    broker.stop().expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_finds_topics_that_come_later_and_one_that_is_none_is_an_error() {
    let dir = directory();
    let broker = start(dir.path());
    let client = connect(&broker).await;
    create(&client, "orders-1", 1).await;
    produce(&client, "orders-1", 1, 0..3).await;
    let of = |pattern: &str| GroupConsumerConfig { subscription: Subscription::pattern(pattern), ..config("g") };
    let mut one = client.group_consumer(of("orders-.*")).expect("a member");
    assert_eq!(values(&mut one, 3).await, (0..3).collect());
    create(&client, "orders-2", 1).await;
    create(&client, "payments", 1).await;
    produce(&client, "orders-2", 1, 3..6).await;
    produce(&client, "payments", 1, 6..9).await;
    assert_eq!(values(&mut one, 3).await, (3..6).collect());
    one.subscribe(Subscription::topics(["payments"])).expect("a subscription");
    assert_eq!(values(&mut one, 3).await, (6..9).collect());
    assert!(one.assignment().all(|at| &*at.topic == "payments"));
    one.close().await.expect("it leaves");
    let mut wrong = client.group_consumer(of("(")).expect("the broker judges patterns");
    let error = timeout(PATIENCE, wrong.recv()).await.expect("in time").expect_err("no pattern");
    assert_eq!(error.code(), Some(ErrorCode::InvalidRegularExpression));
    broker.stop().expect("a clean stop");
}

//! The life of topics: created, altered, described, deleted, and what is refused.

mod support;

use ouzel_protocol::ErrorCode;
use ouzel_protocol::native::{Api, ListTopicsReply, ListTopicsRequest};
use support::{Client, batch, directory, fetch_one, numbered, start};

#[test]
fn a_topic_is_known_on_every_shard_when_its_creation_is_answered() {
    let dir = directory();
    let broker = start(dir.path(), 3);
    let mut clients: Vec<Client> = broker.addresses().shards.iter().map(|address| Client::connect(*address)).collect();
    for round in 0..10 {
        let name = format!("topic-{round}");
        let which = round % clients.len();
        let topic = clients[which].created(&name, 3, &[]);
        for client in &mut clients {
            assert_eq!(client.topic(&name).topic_id, topic);
            for partition in 0..3 {
                client.produced(topic, partition, &["at once"]);
            }
        }
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn altering_adds_partitions_and_changes_settings_without_touching_records() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 1, &[]);
    client.produced(topic, 0, &["old"]);
    let reply =
        client.alter("orders", Some(3), &[("ouzel.durability", Some("written")), ("segment.bytes", Some("1048576"))]);
    assert_eq!((reply.error, reply.message.as_str()), (ErrorCode::None, ""));
    client.produced(topic, 2, &["new"]);
    assert_eq!(client.read_all(topic, 0, 0), numbered(0, &["old"]));
    // At `written` a record is acknowledged before readers see it: wait until they do.
    assert_eq!(client.fetch(&fetch_one(topic, 2, 0, 60_000, 1)).partitions[0].high_watermark.0, 1);
    let described = client.describe("orders");
    let config = |key: &str| described.configs.iter().find(|(name, _, _)| name == key).cloned();
    assert_eq!(config("ouzel.durability"), Some(("ouzel.durability".into(), "written".into(), false)));
    assert_eq!(config("max.message.bytes"), Some(("max.message.bytes".into(), "1048588".into(), true)));
    let ends: Vec<u64> = described.partitions.iter().map(|partition| partition.end_offset.0).collect();
    assert_eq!(ends, [1, 0, 1]);
    assert!(described.partitions.iter().all(|partition| partition.state == "online" && partition.leader.is_some()));
    assert!(described.partitions[0].bytes >= batch(&["old"]).len() as u64);
    let reset = client.alter("orders", None, &[("ouzel.durability", None)]);
    assert_eq!(reset.error, ErrorCode::None);
    assert!(client.describe("orders").configs.iter().any(|entry| entry.0 == "ouzel.durability" && entry.2));
    broker.stop().expect("a clean stop");
}

#[test]
fn a_deleted_topic_is_unknown_everywhere_and_its_name_starts_anew() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut clients: Vec<Client> = broker.addresses().shards.iter().map(|address| Client::connect(*address)).collect();
    let old = clients[0].created("orders", 2, &[]);
    for partition in 0..2 {
        clients[0].produced(old, partition, &["gone"]);
    }
    assert_eq!(clients[1].delete("orders").error, ErrorCode::None);
    for client in &mut clients {
        for partition in 0..2 {
            let refused = client.produce(1, &[(old, partition, &batch(&["x"]))]).remove(0);
            assert_eq!(refused.error, ErrorCode::UnknownTopicId);
            let unread = client.fetch(&fetch_one(old, partition, 0, 60_000, 1)).partitions.remove(0);
            assert_eq!(unread.error, ErrorCode::UnknownTopicId);
        }
        assert_eq!(client.topic("orders").error, ErrorCode::UnknownTopicOrPartition);
    }
    let new = clients[0].created("orders", 2, &[]);
    assert_ne!(new, old);
    assert_eq!(clients[1].read_all(new, 1, 0), []);
    assert_eq!(clients[1].produced(new, 1, &["again"]), 0);
    broker.stop().expect("a clean stop");
}

#[test]
fn a_long_poll_on_a_topic_that_is_deleted_says_so() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut waiter = Client::connect(broker.addresses().shards[0]);
    let mut other = Client::connect(broker.addresses().shards[1]);
    for partition in 0..2 {
        let topic = other.created("orders", 2, &[]);
        waiter.send_fetch(&fetch_one(topic, partition, 0, 60_000, 1));
        assert_eq!(waiter.topic("orders").topic_id, topic, "the poll holds up nothing");
        assert_eq!(other.delete("orders").error, ErrorCode::None);
        assert_eq!(waiter.receive_fetch().partitions.remove(0).error, ErrorCode::UnknownTopicId);
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn what_cannot_be_is_refused_with_its_code_and_a_sentence() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    client.created("orders", 2, &[]);
    let too_long = "x".repeat(250);
    for name in ["", ".", "..", "a b", "a/b", "täglich", &too_long] {
        let reply = client.create(name, 1, &[]);
        assert_eq!((reply.error, reply.error.is_retriable()), (ErrorCode::InvalidTopic, false), "{name:?}");
        assert!(!reply.message.is_empty());
    }
    let cases = [
        (client.create("orders", 1, &[]).error, ErrorCode::TopicAlreadyExists),
        (client.create("new", 10_001, &[]).error, ErrorCode::InvalidPartitions),
        (client.create("new", 1, &[("ouzel.durability", "maybe")]).error, ErrorCode::InvalidConfig),
        (client.create("new", 1, &[("no.such.key", "1")]).error, ErrorCode::InvalidConfig),
        (client.delete("bills").error, ErrorCode::UnknownTopicOrPartition),
        (client.alter("bills", Some(2), &[]).error, ErrorCode::UnknownTopicOrPartition),
        (client.alter("orders", Some(2), &[]).error, ErrorCode::InvalidPartitions),
        (client.alter("orders", None, &[("segment.bytes", Some("1"))]).error, ErrorCode::InvalidConfig),
        (client.describe("bills").error, ErrorCode::UnknownTopicOrPartition),
        (client.topic("bills").error, ErrorCode::UnknownTopicOrPartition),
        (client.topic("a/b").error, ErrorCode::InvalidTopic),
    ];
    for (index, (got, expected)) in cases.into_iter().enumerate() {
        assert_eq!(got, expected, "case {index}");
    }
    let body = client.call(Api::ListTopics, |out| ListTopicsRequest {}.encode(out));
    let names: Vec<_> =
        ListTopicsReply::decode(&body).expect("a reply").topics.into_iter().map(|row| (row.0, row.2)).collect();
    assert_eq!(names, [("orders".to_owned(), 2)], "nothing that was refused exists");
    broker.stop().expect("a clean stop");
}

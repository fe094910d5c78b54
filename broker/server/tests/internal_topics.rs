//! The topic that groups are kept in is the broker's own: clients of both protocols may read it, and neither write to it, nor take
//! records away, nor change its shape, on which every group's place depends.

mod support;

use ouzel_protocol::kafka::{
    CreatableConfig, CreatableTopic, CreatePartitionsReply, CreatePartitionsRequest, CreatePartitionsTopic,
    CreateTopicsReply, CreateTopicsRequest, DeleteRecordsPartition, DeleteRecordsReply, DeleteRecordsRequest,
    DeleteRecordsTopic, FindCoordinatorReply, FindCoordinatorRequest, KafkaError, MetadataReply, MetadataRequest,
};
use ouzel_protocol::native::{Api, GroupHeartbeatRequest};
use ouzel_protocol::{Codec, ErrorCode, MemberEpoch};
use support::kafka::{KafkaClient, batch, start};
use support::{Client, directory};

const OFFSETS: &str = "__consumer_offsets";

/// Looks for a coordinator, so that there is one.
fn find(client: &mut KafkaClient) {
    let asked = FindCoordinatorRequest { coordinator_keys: ["any"].into_iter().collect(), ..Default::default() };
    let reply = client.ask(4, &asked);
    let row = reply.decode::<FindCoordinatorReply<'_>>().coordinators.iter().next().expect("one coordinator");
    assert_eq!(row.error_code, KafkaError::NONE);
}

fn create(client: &mut KafkaClient, name: &str, partitions: i32, config: Option<(&str, &str)>) -> KafkaError {
    let topic = CreatableTopic {
        name,
        num_partitions: partitions,
        replication_factor: -1,
        configs: config.iter().map(|(name, value)| CreatableConfig { name, value: Some(value) }).collect(),
        ..CreatableTopic::default()
    };
    let reply = client.ask(7, &CreateTopicsRequest { topics: [topic].into_iter().collect(), ..Default::default() });
    reply.decode::<CreateTopicsReply<'_>>().topics.iter().next().expect("one topic").error_code
}

fn partition_count(client: &mut KafkaClient) -> usize {
    let reply = client.ask(12, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let metadata: MetadataReply<'_> = reply.decode();
    metadata.topics.iter().find(|topic| topic.name == Some(OFFSETS)).expect("it is there").partitions.len()
}

#[test]
fn nobody_gives_it_another_shape_before_it_is_there() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    assert_eq!(create(&mut client, OFFSETS, 1, None), KafkaError::INVALID_TOPIC_EXCEPTION);
    assert_eq!(create(&mut client, OFFSETS, 50, None), KafkaError::INVALID_TOPIC_EXCEPTION);
    let written = Some(("ouzel.durability", "written"));
    assert_eq!(create(&mut client, OFFSETS, 50, written), KafkaError::INVALID_TOPIC_EXCEPTION);
    assert_eq!(create(&mut client, "__transaction_state", 50, None), KafkaError::INVALID_TOPIC_EXCEPTION);
    assert_eq!(create(&mut client, "__not_ours", 1, None), KafkaError::NONE);
    find(&mut client);
    assert_eq!(partition_count(&mut client), 50);
}

#[test]
fn its_shape_and_its_settings_stay_as_they_are() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    find(&mut client);
    let row = CreatePartitionsTopic { name: OFFSETS, count: 60, assignments: None };
    let reply = client.ask(3, &CreatePartitionsRequest { topics: [row].into_iter().collect(), ..Default::default() });
    let row = reply.decode::<CreatePartitionsReply<'_>>().results.iter().next().expect("one topic");
    assert_eq!(row.error_code, KafkaError::INVALID_TOPIC_EXCEPTION);
    assert!(row.error_message.expect("a reason").contains("never change"), "{:?}", row.error_message);

    let mut native = Client::connect(broker.addresses().native);
    for (partitions, configs) in [
        (Some(60), &[][..]),
        (None, &[("ouzel.durability", Some("written"))][..]),
        (None, &[("max.message.bytes", Some("128"))][..]),
        (None, &[("max.message.bytes", None)][..]),
    ] {
        let reply = native.alter(OFFSETS, partitions, configs);
        assert_eq!(reply.error, ErrorCode::InvalidTopic, "{partitions:?} {configs:?}");
    }
    let described = native.describe(OFFSETS);
    assert_eq!(described.partitions.len(), 50);
    assert!(described.configs.iter().any(|(key, value, _)| key == "ouzel.durability" && value == "disk"));
}

#[test]
fn nobody_writes_to_it_or_takes_records_from_it() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    find(&mut client);
    let row = client.produce(OFFSETS, 0, &batch(Codec::None, &["not yours"]));
    assert_eq!(row.error_code, KafkaError::INVALID_TOPIC_EXCEPTION);

    let mut native = Client::connect(broker.addresses().native);
    let topic_id = native.topic(OFFSETS).topic_id;
    let forged = support::batch(&["not yours"]);
    // One request for each shard's partitions and one across both: the quick way and the long one.
    for rows in [vec![0], vec![1], vec![0, 1]] {
        let rows: Vec<_> = rows.into_iter().map(|partition| (topic_id, partition, &*forged)).collect();
        for row in native.produce(1, &rows) {
            assert_eq!(row.error, ErrorCode::InvalidTopic);
        }
    }

    for partition_index in [0, 1] {
        let row = DeleteRecordsPartition { partition_index, offset: -1 };
        let topic = DeleteRecordsTopic { name: OFFSETS, partitions: [row].into_iter().collect() };
        let asked = DeleteRecordsRequest { topics: [topic].into_iter().collect(), timeout_ms: 1000 };
        let reply = client.ask(2, &asked);
        let topic = reply.decode::<DeleteRecordsReply<'_>>().topics.iter().next().expect("one topic");
        let row = topic.partitions.iter().next().expect("one partition");
        assert_eq!(row.error_code, KafkaError::INVALID_TOPIC_EXCEPTION);
    }
}

/// A native string may be longer than one of Kafka's, in which groups are written.
#[test]
fn a_subscription_with_a_name_that_no_record_holds_is_refused_and_the_broker_goes_on() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut kafka = KafkaClient::connect(&broker);
    find(&mut kafka);
    let mut client = Client::connect(broker.addresses().native);
    let mut join = |topic: String| {
        let request = GroupHeartbeatRequest {
            group_id: "readers".to_owned(),
            member_id: "one".to_owned(),
            member_epoch: MemberEpoch::JOIN,
            instance_id: None,
            rebalance_timeout_ms: Some(60_000),
            topics: Some(vec![topic]),
            pattern: None,
            assignor: None,
            owned: Some(Vec::new()),
        };
        client.send(Api::GroupHeartbeat, |out| request.encode(out));
        client.receive().0.error
    };
    for length in [4_097, 32_768, 40_000, 65_535] {
        assert_eq!(join("t".repeat(length)), ErrorCode::InvalidRequest, "{length}");
    }
    assert_eq!(join("orders".to_owned()), ErrorCode::None);
}

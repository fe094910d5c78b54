//! The administration of topics by Kafka's clients: what they create, change and delete holds on every shard and after a restart,
//! and what they may not do has Kafka's number.

mod support;

use ouzel_broker::RunningBroker;
use ouzel_protocol::kafka::{
    AlterConfigsReply, AlterConfigsRequest, AlterConfigsResource, AlterableConfig, CreatableAssignment,
    CreatableConfig, CreatableTopic, CreatePartitionsReply, CreatePartitionsRequest, CreatePartitionsTopic,
    CreateTopicsReply, CreateTopicsRequest, DeletableTopic, DeleteRecordsPartition, DeleteRecordsReply,
    DeleteRecordsRequest, DeleteRecordsTopic, DeleteTopicsReply, DeleteTopicsRequest, DescribeClusterReply,
    DescribeClusterRequest, DescribeConfigsReply, DescribeConfigsRequest, DescribeConfigsResource,
    DescribeLogDirsReply, DescribeLogDirsRequest, IncrementalAlterConfigsReply, IncrementalAlterConfigsRequest,
    IncrementalConfig, IncrementalResource, KafkaError, LeaderEpochPartition, LeaderEpochTopic,
    ListPartitionReassignmentsReply, ListPartitionReassignmentsRequest, OffsetForLeaderEpochReply,
    OffsetForLeaderEpochRequest, config_operation, config_source, resource_type,
};
use ouzel_protocol::{Codec, TopicId};
use support::directory;
use support::kafka::{KafkaClient, batch, start};

fn topic(name: &str, partitions: i32) -> CreatableTopic<'_> {
    CreatableTopic { name, num_partitions: partitions, replication_factor: -1, ..CreatableTopic::default() }
}

/// The error and the number of partitions of each row.
fn create(client: &mut KafkaClient, topics: Vec<CreatableTopic<'_>>, validate_only: bool) -> Vec<(KafkaError, i32)> {
    let asked = CreateTopicsRequest { topics: topics.into(), validate_only, ..CreateTopicsRequest::default() };
    let reply = client.ask(7, &asked);
    let reply: CreateTopicsReply<'_> = reply.decode();
    reply.topics.iter().map(|row| (row.error_code, row.num_partitions)).collect()
}

fn configs(client: &mut KafkaClient, kind: i8, name: &str) -> Result<Vec<(String, String, i8)>, KafkaError> {
    let resource = DescribeConfigsResource { resource_type: kind, resource_name: name, configuration_keys: None };
    let asked = DescribeConfigsRequest { resources: [resource].into_iter().collect(), ..Default::default() };
    let reply = client.ask(4, &asked);
    let row = reply.decode::<DescribeConfigsReply<'_>>().results.iter().next().expect("one resource");
    if row.error_code != KafkaError::NONE {
        return Err(row.error_code);
    }
    let entry = |config: ouzel_protocol::kafka::DescribedConfig<'_>| {
        (config.name.to_owned(), config.value.unwrap_or_default().to_owned(), config.config_source)
    };
    Ok(row.configs.iter().map(entry).collect())
}

fn config(client: &mut KafkaClient, topic: &str, key: &str) -> (String, i8) {
    let all = configs(client, resource_type::TOPIC, topic).expect("a topic");
    all.into_iter().find(|(name, ..)| name == key).map(|(_, value, source)| (value, source)).expect("a known key")
}

fn change(client: &mut KafkaClient, topic: &str, changes: &[(&str, i8, Option<&str>)]) -> KafkaError {
    let change = |(name, operation, value): &(&'static str, i8, Option<&'static str>)| IncrementalConfig {
        name,
        config_operation: *operation,
        value: *value,
    };
    let changes: Vec<_> = changes
        .iter()
        .map(|(name, operation, value)| {
            let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
            change(&(leak(name), *operation, value.map(leak)))
        })
        .collect();
    let resource =
        IncrementalResource { resource_type: resource_type::TOPIC, resource_name: topic, configs: changes.into() };
    let asked = IncrementalAlterConfigsRequest { resources: [resource].into_iter().collect(), validate_only: false };
    let reply = client.ask(1, &asked);
    reply.decode::<IncrementalAlterConfigsReply<'_>>().responses.iter().next().expect("one resource").error_code
}

#[test]
fn topics_are_created_as_asked_and_refused_as_kafka_does() {
    let dir = directory();
    let broker = start(dir.path(), 3);
    let mut client = KafkaClient::connect(&broker);
    assert_eq!(create(&mut client, vec![topic("only-asked", 3)], true), [(KafkaError::NONE, 3)]);
    assert_eq!(
        create(&mut client, vec![topic("orders", 6), topic("defaults", -1)], false),
        [(KafkaError::NONE, 6), (KafkaError::NONE, 1)]
    );
    let placed =
        |partition_index, node: i32| CreatableAssignment { partition_index, broker_ids: [node].into_iter().collect() };
    let by_hand =
        |rows: Vec<CreatableAssignment<'static>>| CreatableTopic { assignments: rows.into(), ..topic("by-hand", -1) };
    let with = |name, key, value| CreatableTopic {
        configs: [CreatableConfig { name: key, value: Some(value) }].into_iter().collect(),
        ..topic(name, 1)
    };
    let refused = [
        (topic("orders", 1), KafkaError::TOPIC_ALREADY_EXISTS),
        (topic("not/legal", 1), KafkaError::INVALID_TOPIC_EXCEPTION),
        (topic("zero", 0), KafkaError::INVALID_PARTITIONS),
        (topic("too-many", 1_000_000), KafkaError::INVALID_PARTITIONS),
        (CreatableTopic { replication_factor: 3, ..topic("three", 1) }, KafkaError::INVALID_REPLICATION_FACTOR),
        (by_hand(vec![placed(0, 7)]), KafkaError::INVALID_REPLICA_ASSIGNMENT),
        (by_hand(vec![placed(1, 0)]), KafkaError::INVALID_REPLICA_ASSIGNMENT),
        (with("unknown", "no.such.key", "1"), KafkaError::INVALID_CONFIG),
        (with("compacted", "cleanup.policy", "compact"), KafkaError::INVALID_CONFIG),
        (with("old", "retention.ms", "1000"), KafkaError::INVALID_CONFIG),
    ];
    for (asked, expected) in refused {
        assert_eq!(create(&mut client, vec![asked.clone()], false), [(expected, -1)], "{}", asked.name);
    }
    let twice = create(&mut client, vec![topic("twice", 1), topic("twice", 2), topic("once", 1)], false);
    assert_eq!(
        twice.iter().map(|(error, _)| *error).collect::<Vec<_>>(),
        [KafkaError::INVALID_REQUEST, KafkaError::INVALID_REQUEST, KafkaError::NONE]
    );
    assert_eq!(create(&mut client, vec![by_hand(vec![placed(1, 0), placed(0, 0)])], false), [(KafkaError::NONE, 2)]);
    for partition in 0..6 {
        let row = client.produce("orders", partition, &batch(Codec::None, &["at once"]));
        assert_eq!(row.error_code, KafkaError::NONE, "every shard has opened its partitions");
    }
    assert_eq!(
        client.produce("only-asked", 0, &batch(Codec::None, &["x"])).error_code,
        KafkaError::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[test]
fn topics_go_by_name_and_by_id() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("one", 1), topic("two", 1)], false);
    let asked = DeleteTopicsRequest { topic_names: ["one", "none"].into_iter().collect(), ..Default::default() };
    let reply = client.ask(5, &asked);
    let errors = |reply: &DeleteTopicsReply<'_>| reply.responses.iter().map(|row| row.error_code).collect::<Vec<_>>();
    assert_eq!(errors(&reply.decode()), [KafkaError::NONE, KafkaError::UNKNOWN_TOPIC_OR_PARTITION]);
    let metadata = client.ask(12, &ouzel_protocol::kafka::MetadataRequest { topics: None, ..Default::default() });
    let metadata: ouzel_protocol::kafka::MetadataReply<'_> = metadata.decode();
    let two = metadata.topics.iter().next().expect("the other topic");
    assert_eq!(two.name, Some("two"));
    let by_id = |topic_id| DeletableTopic { name: None, topic_id };
    let rows = [by_id(two.topic_id), by_id(TopicId(7))];
    let reply = client.ask(6, &DeleteTopicsRequest { topics: rows.into_iter().collect(), ..Default::default() });
    let reply: DeleteTopicsReply<'_> = reply.decode();
    assert_eq!(errors(&reply), [KafkaError::NONE, KafkaError::UNKNOWN_TOPIC_ID]);
    assert_eq!(reply.responses.iter().next().and_then(|row| row.name), Some("two"));
    assert_eq!(client.fetch("two", 0, 0).0.error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 2)], false);
    client.produce("orders", 1, &batch(Codec::None, &["stays"]));
    let grow = |client: &mut KafkaClient, count, validate_only| {
        let row = CreatePartitionsTopic { name: "orders", count, assignments: None };
        let asked =
            CreatePartitionsRequest { topics: [row].into_iter().collect(), validate_only, ..Default::default() };
        let reply = client.ask(3, &asked);
        reply.decode::<CreatePartitionsReply<'_>>().results.iter().next().expect("one topic").error_code
    };
    assert_eq!(grow(&mut client, 4, true), KafkaError::NONE);
    assert_eq!(
        client.produce("orders", 3, &batch(Codec::None, &["x"])).error_code,
        KafkaError::UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(grow(&mut client, 4, false), KafkaError::NONE);
    assert_eq!(client.produce("orders", 3, &batch(Codec::None, &["new"])).base_offset, 0);
    assert_eq!(client.fetch("orders", 1, 0).0.high_watermark, 1);
    for count in [4, 3, -1] {
        assert_eq!(grow(&mut client, count, false), KafkaError::INVALID_PARTITIONS);
    }
}

#[test]
fn settings_are_described_and_changed_in_both_ways() {
    let dir = directory();
    let mut broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 1)], false);
    assert_eq!(config(&mut client, "orders", "cleanup.policy"), ("delete".to_owned(), config_source::DEFAULT));
    let set = |key, value| [(key, config_operation::SET, Some(value))];
    assert_eq!(change(&mut client, "orders", &set("max.message.bytes", "2000")), KafkaError::NONE);
    assert_eq!(change(&mut client, "orders", &set("segment.bytes", "2097152")), KafkaError::NONE);
    assert_eq!(change(&mut client, "orders", &set("segment.bytes", "1")), KafkaError::INVALID_CONFIG);
    assert_eq!(change(&mut client, "orders", &set("no.such.key", "1")), KafkaError::INVALID_CONFIG);
    assert_eq!(
        change(&mut client, "nowhere", &set("segment.bytes", "2097152")),
        KafkaError::UNKNOWN_TOPIC_OR_PARTITION
    );
    let append = |key, value| [(key, config_operation::APPEND, Some(value))];
    assert_eq!(change(&mut client, "orders", &append("cleanup.policy", "delete")), KafkaError::NONE);
    assert_eq!(change(&mut client, "orders", &append("cleanup.policy", "compact")), KafkaError::INVALID_CONFIG);
    assert_eq!(change(&mut client, "orders", &append("segment.bytes", "1")), KafkaError::INVALID_CONFIG);
    let large = batch(Codec::None, &[&"x".repeat(3000)]);
    assert_eq!(client.produce("orders", 0, &large).error_code, KafkaError::MESSAGE_TOO_LARGE, "it holds at once");
    broker.stop().expect("a clean stop");
    broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    assert_eq!(config(&mut client, "orders", "max.message.bytes"), ("2000".to_owned(), config_source::TOPIC));
    assert_eq!(
        change(&mut client, "orders", &[("max.message.bytes", config_operation::DELETE, None)]),
        KafkaError::NONE
    );
    assert_eq!(config(&mut client, "orders", "max.message.bytes").1, config_source::DEFAULT);
    assert_eq!(config(&mut client, "orders", "segment.bytes").1, config_source::TOPIC);
    // The older way replaces everything.
    let given = AlterableConfig { name: "max.message.bytes", value: Some("5000") };
    let resource = AlterConfigsResource {
        resource_type: resource_type::TOPIC,
        resource_name: "orders",
        configs: [given].into_iter().collect(),
    };
    let asked = AlterConfigsRequest { resources: [resource].into_iter().collect(), validate_only: false };
    let reply = client.ask(2, &asked);
    assert_eq!(
        reply.decode::<AlterConfigsReply<'_>>().responses.iter().next().expect("one").error_code,
        KafkaError::NONE
    );
    assert_eq!(config(&mut client, "orders", "max.message.bytes"), ("5000".to_owned(), config_source::TOPIC));
    assert_eq!(config(&mut client, "orders", "segment.bytes").1, config_source::DEFAULT);
    let of_node = configs(&mut client, resource_type::BROKER, "0").expect("this node");
    assert!(of_node.contains(&("num.partitions".to_owned(), "1".to_owned(), config_source::DEFAULT)), "{of_node:?}");
    assert_eq!(configs(&mut client, resource_type::BROKER, "9"), Err(KafkaError::INVALID_REQUEST));
    assert_eq!(configs(&mut client, resource_type::TOPIC, "nowhere"), Err(KafkaError::UNKNOWN_TOPIC_OR_PARTITION));
}

fn delete_records(client: &mut KafkaClient, partition_index: i32, offset: i64) -> (KafkaError, i64) {
    let row = DeleteRecordsPartition { partition_index, offset };
    let topic = DeleteRecordsTopic { name: "orders", partitions: [row].into_iter().collect() };
    let asked = DeleteRecordsRequest { topics: [topic].into_iter().collect(), timeout_ms: 1000 };
    let reply = client.ask(2, &asked);
    let topic = reply.decode::<DeleteRecordsReply<'_>>().topics.iter().next().expect("one topic");
    let row = topic.partitions.iter().next().expect("one partition");
    (row.error_code, row.low_watermark)
}

#[test]
fn deleted_records_stay_deleted() {
    let dir = directory();
    let restart = |broker: RunningBroker, shards| {
        broker.stop().expect("a clean stop");
        start(dir.path(), shards)
    };
    let mut broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 2)], false);
    for _ in 0..5 {
        client.produce("orders", 1, &batch(Codec::None, &["a", "b"]));
    }
    assert_eq!(delete_records(&mut client, 1, 11), (KafkaError::OFFSET_OUT_OF_RANGE, -1));
    assert_eq!(delete_records(&mut client, 7, 0), (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, -1));
    assert_eq!(delete_records(&mut client, 1, 5), (KafkaError::NONE, 5));
    assert_eq!(delete_records(&mut client, 1, 3), (KafkaError::NONE, 5), "never back");
    for shards in [1, 3] {
        broker = restart(broker, shards);
        let mut client = KafkaClient::connect(&broker);
        assert_eq!(client.fetch("orders", 1, 4).0.error_code, KafkaError::OFFSET_OUT_OF_RANGE);
        let (row, records) = client.fetch("orders", 1, 5);
        assert_eq!((row.error_code, row.log_start_offset, row.high_watermark), (KafkaError::NONE, 5, 10));
        assert!(!records.is_empty());
    }
    let mut client = KafkaClient::connect(&broker);
    assert_eq!(delete_records(&mut client, 1, -1), (KafkaError::NONE, 10));
    assert_eq!(client.produce("orders", 1, &batch(Codec::None, &["after"])).base_offset, 10);
}

#[test]
fn the_cluster_its_disk_and_its_epochs_are_described() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 2)], false);
    client.produce("orders", 0, &batch(Codec::None, &["a", "b"]));
    let reply = client.ask(1, &DescribeClusterRequest::default());
    let cluster: DescribeClusterReply<'_> = reply.decode();
    let node = cluster.brokers.iter().next().expect("a broker");
    assert_eq!((cluster.error_code, cluster.controller_id), (KafkaError::NONE, node.broker_id));
    let reply = client.ask(1, &DescribeClusterRequest { endpoint_type: 2, ..DescribeClusterRequest::default() });
    assert_eq!(reply.decode::<DescribeClusterReply<'_>>().error_code, KafkaError::MISMATCHED_ENDPOINT_TYPE);
    let reply = client.ask(4, &DescribeLogDirsRequest { topics: None });
    let directory = reply.decode::<DescribeLogDirsReply<'_>>().results.iter().next().expect("a directory");
    let orders = directory.topics.iter().next().expect("a topic");
    let sizes: Vec<_> = orders.partitions.iter().map(|row| row.partition_size).collect();
    assert!(sizes[0] > 0 && sizes[1] == 0, "{sizes:?}");
    let reply = client.ask(0, &ListPartitionReassignmentsRequest::default());
    let moving: ListPartitionReassignmentsReply<'_> = reply.decode();
    assert!(moving.error_code == KafkaError::NONE && moving.topics.is_empty());
    let mut end_of = |leader_epoch, current_leader_epoch| {
        let row = LeaderEpochPartition { partition: 0, current_leader_epoch, leader_epoch };
        let topic = LeaderEpochTopic { topic: "orders", partitions: [row].into_iter().collect() };
        let asked = OffsetForLeaderEpochRequest { topics: [topic].into_iter().collect(), ..Default::default() };
        let reply = client.ask(4, &asked);
        let topic = reply.decode::<OffsetForLeaderEpochReply<'_>>().topics.iter().next().expect("one topic");
        let row = topic.partitions.iter().next().expect("one partition");
        (row.error_code, row.end_offset)
    };
    assert_eq!(end_of(0, -1), (KafkaError::NONE, 2));
    assert_eq!(end_of(99, -1), (KafkaError::NONE, -1), "an epoch that has not been");
    assert_eq!(end_of(0, 99), (KafkaError::UNKNOWN_LEADER_EPOCH, -1));
}

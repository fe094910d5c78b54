//! The administration of topics by Kafka's clients: what they create, change and delete holds on every shard and after a restart,
//! and what they may not do has Kafka's number.

mod support;

use ouzel_broker::RunningBroker;
use ouzel_protocol::kafka::{
    AUTHORIZED_OPERATIONS_NONE, AlterConfigsReply, AlterConfigsRequest, ApiKey, CreatableAssignment, CreatableConfig,
    CreatableTopic, CreatePartitionsAssignment, CreatePartitionsReply, CreatePartitionsRequest, CreatePartitionsTopic,
    CreateTopicsReply, CreateTopicsRequest, DeletableTopic, DeleteRecordsPartition, DeleteRecordsReply,
    DeleteRecordsRequest, DeleteRecordsTopic, DeleteTopicsReply, DeleteTopicsRequest, DescribeClusterReply,
    DescribeClusterRequest, DescribeConfigsReply, DescribeConfigsRequest, DescribeLogDirsReply, DescribeLogDirsRequest,
    IncrementalAlterConfigsReply, IncrementalAlterConfigsRequest, KafkaError, LeaderEpochPartition, LeaderEpochTopic,
    ListOffsetsPartition, ListOffsetsReply, ListOffsetsRequest, ListOffsetsTopic, ListPartitionReassignmentsReply,
    ListPartitionReassignmentsRequest, LogDirsTopic, MetadataReply, MetadataRequest, OffsetForLeaderEpochReply,
    OffsetForLeaderEpochRequest, config_source,
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
    let all = DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() };
    let operations =
        |reply: &support::kafka::Raw| reply.decode::<DescribeClusterReply<'_>>().cluster_authorized_operations;
    assert_eq!(operations(&client.ask(0, &all)), 8096, "what a cluster without authorization allows in Kafka");
    assert_eq!(operations(&client.ask(0, &DescribeClusterRequest::default())), AUTHORIZED_OPERATIONS_NONE);
}

#[test]
fn disk_space_is_told_of_what_is_asked_for_and_there() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 4), topic("bills", 1)], false);
    for partition in [1, 2] {
        client.produce("orders", partition, &batch(Codec::None, &["a"]));
    }
    let rows = [
        LogDirsTopic { topic: "orders", partitions: [2, 1, 2, 9, -1].into_iter().collect() },
        LogDirsTopic { topic: "nowhere", partitions: [0].into_iter().collect() },
    ];
    for version in 1..=4 {
        let asked = DescribeLogDirsRequest { topics: Some(rows.clone().into_iter().collect()) };
        let reply = client.ask(version, &asked);
        let reply: DescribeLogDirsReply<'_> = reply.decode();
        let found = reply.results.iter().next().expect("a directory");
        assert_eq!((reply.error_code, found.error_code, reply.results.len()), (KafkaError::NONE, KafkaError::NONE, 1));
        assert_eq!(std::path::Path::new(found.log_dir), dir.path(), "from the root");
        let topics: Vec<_> = found.topics.iter().map(|topic| topic.name).collect();
        assert_eq!(topics, ["orders"]);
        let sizes = |row: ouzel_protocol::kafka::LogDirPartition| (row.partition_index, row.partition_size > 0);
        let partitions: Vec<_> =
            found.topics.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>()).collect();
        assert_eq!(partitions.into_iter().map(sizes).collect::<Vec<_>>(), [(1, true), (2, true)]);
        assert_eq!(found.usable_bytes > 0, version == 4);
    }
    let none = client.ask(4, &DescribeLogDirsRequest { topics: Some([].into_iter().collect()) });
    let none: DescribeLogDirsReply<'_> = none.decode();
    assert!(none.results.iter().next().expect("a directory").topics.is_empty());
    let all = client.ask(4, &DescribeLogDirsRequest { topics: None });
    let all: DescribeLogDirsReply<'_> = all.decode();
    let all = all.results.iter().next().expect("a directory");
    let counts: Vec<_> = all.topics.iter().map(|topic| (topic.name, topic.partitions.len())).collect();
    assert_eq!(counts, [("bills", 1), ("orders", 4)]);
}

/// Error, epoch and end.
fn epoch_end(client: &mut KafkaClient, partition: i32, current: i32, epoch: i32) -> (KafkaError, i32, i64) {
    let row = LeaderEpochPartition { partition, current_leader_epoch: current, leader_epoch: epoch };
    let topic = LeaderEpochTopic { topic: "orders", partitions: [row].into_iter().collect() };
    let asked = OffsetForLeaderEpochRequest { topics: [topic].into_iter().collect(), ..Default::default() };
    let reply = client.ask(4, &asked);
    let topic = reply.decode::<OffsetForLeaderEpochReply<'_>>().topics.iter().next().expect("one topic");
    let row = topic.partitions.iter().next().expect("one partition");
    (row.error_code, row.leader_epoch, row.end_offset)
}

#[test]
fn an_epoch_ends_where_the_next_one_begins() {
    let dir = directory();
    for (start_count, shards) in [2u16, 1, 2, 2].into_iter().enumerate() {
        let broker = start(dir.path(), shards);
        let mut client = KafkaClient::connect(&broker);
        match start_count {
            0 => {
                create(&mut client, vec![topic("orders", 2)], false);
                for partition in [0, 1, 1] {
                    client.produce("orders", partition, &batch(Codec::None, &["a", "b"]));
                }
                assert_eq!(epoch_end(&mut client, 1, -1, 0), (KafkaError::NONE, 0, 4));
                assert_eq!(epoch_end(&mut client, 2, -1, 0), (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, -1, -1));
            }
            // Nothing is written under epoch 1.
            1 => assert_eq!(epoch_end(&mut client, 1, 1, 0), (KafkaError::NONE, 0, 4)),
            2 => {
                for _ in 0..20 {
                    client.produce("orders", 1, &batch(Codec::None, &["c"]));
                }
            }
            _ => {
                let ends = [
                    ((-1, -1), (KafkaError::NONE, -1, -1)),
                    ((-1, 0), (KafkaError::NONE, 0, 4)),
                    ((3, 1), (KafkaError::NONE, 0, 4)),
                    ((3, 2), (KafkaError::NONE, 2, 24)),
                    ((3, 3), (KafkaError::NONE, 3, 24)),
                    ((3, 4), (KafkaError::NONE, -1, -1)),
                    ((2, 0), (KafkaError::FENCED_LEADER_EPOCH, -1, -1)),
                    ((4, 0), (KafkaError::UNKNOWN_LEADER_EPOCH, -1, -1)),
                ];
                for ((current, epoch), expected) in ends {
                    assert_eq!(epoch_end(&mut client, 1, current, epoch), expected, "{current} {epoch}");
                }
                assert_eq!(epoch_end(&mut client, 0, -1, 2), (KafkaError::NONE, 0, 2), "on the other shard");
                assert_eq!(delete_records(&mut client, 1, 10), (KafkaError::NONE, 10));
                assert_eq!(
                    epoch_end(&mut client, 1, -1, 0),
                    (KafkaError::NONE, 0, 10),
                    "what is gone has no other end"
                );
            }
        }
        broker.stop().expect("a clean stop");
    }
}

#[test]
fn every_version_that_is_offered_is_answered_in_it() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    macro_rules! each_version {
        ($($request:ty => $reply:ty;)*) => {$(
            for version in <$request as ouzel_protocol::kafka::Message<'_>>::API.api().offered.clone().expect("offered") {
                let reply = client.ask(version, &<$request>::default());
                let _: $reply = reply.decode();
            }
        )*};
    }
    each_version! {
        CreateTopicsRequest<'_> => CreateTopicsReply<'_>;
        DeleteTopicsRequest<'_> => DeleteTopicsReply<'_>;
        DeleteRecordsRequest<'_> => DeleteRecordsReply<'_>;
        OffsetForLeaderEpochRequest<'_> => OffsetForLeaderEpochReply<'_>;
        DescribeConfigsRequest<'_> => DescribeConfigsReply<'_>;
        AlterConfigsRequest<'_> => AlterConfigsReply<'_>;
        DescribeLogDirsRequest<'_> => DescribeLogDirsReply<'_>;
        CreatePartitionsRequest<'_> => CreatePartitionsReply<'_>;
        IncrementalAlterConfigsRequest<'_> => IncrementalAlterConfigsReply<'_>;
        ListPartitionReassignmentsRequest<'_> => ListPartitionReassignmentsReply<'_>;
        DescribeClusterRequest => DescribeClusterReply<'_>;
    }
    for version in ApiKey::CreateTopics.api().offered.clone().expect("offered") {
        let name = format!("v{version}");
        let asked = CreateTopicsRequest { topics: [topic(&name, 2)].into_iter().collect(), ..Default::default() };
        let reply = client.ask(version, &asked);
        let row = reply.decode::<CreateTopicsReply<'_>>().topics.iter().next().expect("one topic");
        assert_eq!((row.name, row.error_code), (name.as_str(), KafkaError::NONE), "{:?}", row.error_message);
        let counts = if version >= 5 { (2, 1) } else { (-1, -1) };
        assert_eq!((row.num_partitions, row.replication_factor), counts);
        assert_eq!(row.topic_id != TopicId(0), version >= 7);
        let configs = row.configs.expect("nothing is hidden");
        assert_eq!(configs.is_empty(), version < 5);
        assert!(configs.iter().all(|config| config.config_source == config_source::DEFAULT && !config.read_only));
    }
}

#[test]
fn what_a_client_may_do_is_told_when_asked() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 1)], false);
    for (is_asked, of_topic, of_cluster) in
        [(true, 3576, 8096), (false, AUTHORIZED_OPERATIONS_NONE, AUTHORIZED_OPERATIONS_NONE)]
    {
        let asked = MetadataRequest {
            topics: None,
            include_topic_authorized_operations: is_asked,
            include_cluster_authorized_operations: is_asked,
            ..Default::default()
        };
        let reply = client.ask(8, &asked);
        let reply: MetadataReply<'_> = reply.decode();
        let row = reply.topics.iter().next().expect("a topic");
        assert_eq!((row.topic_authorized_operations, reply.cluster_authorized_operations), (of_topic, of_cluster));
    }
}

#[test]
fn a_refusal_has_a_sentence_that_is_not_too_long() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 1)], false);
    let long = "ü".repeat(16_000);
    let null = CreatableTopic {
        configs: [CreatableConfig { name: "segment.bytes", value: None }].into_iter().collect(),
        ..topic("null", 1)
    };
    let placed = |nodes: &[i32]| CreatableTopic {
        assignments: [CreatableAssignment { partition_index: 0, broker_ids: nodes.iter().copied().collect() }]
            .into_iter()
            .collect(),
        ..topic("placed", -1)
    };
    let with_counts = CreatableTopic { num_partitions: 1, ..placed(&[0]) };
    let unknown = CreatableTopic {
        configs: [CreatableConfig { name: &long, value: Some("1") }].into_iter().collect(),
        ..topic("unknown", 1)
    };
    let cases = [
        (topic(&long, 1), KafkaError::INVALID_TOPIC_EXCEPTION, ""),
        (topic("orders", 1), KafkaError::TOPIC_ALREADY_EXISTS, "Topic 'orders' already exists."),
        (unknown, KafkaError::INVALID_CONFIG, "unknown topic config"),
        (null, KafkaError::INVALID_CONFIG, "Null value not supported for topic configs: segment.bytes"),
        (placed(&[]), KafkaError::INVALID_REPLICA_ASSIGNMENT, "empty replica list"),
        (placed(&[0, 0]), KafkaError::INVALID_REPLICA_ASSIGNMENT, "more than once"),
        (with_counts, KafkaError::INVALID_REQUEST, "numPartitions was not set to -1"),
        (CreatableTopic { replication_factor: 0, ..topic("none", 1) }, KafkaError::INVALID_REPLICATION_FACTOR, "-1 to"),
    ];
    for (asked, error, words) in cases {
        // The oldest version whose strings have a length of 16 bits as well.
        for version in [4, 7] {
            let asked = CreateTopicsRequest { topics: [asked.clone()].into_iter().collect(), ..Default::default() };
            let reply = client.ask(version, &asked);
            let row = reply.decode::<CreateTopicsReply<'_>>().topics.iter().next().expect("one topic");
            let message = row.error_message.expect("a sentence");
            assert_eq!(row.error_code, error, "{message}");
            assert!(message.contains(words) && (1..=512).contains(&message.len()), "{message}");
        }
    }
}

#[test]
fn topics_that_are_named_twice_or_in_two_ways_are_not_deleted() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("a", 1), topic("b", 1), topic("c", 1)], false);
    let metadata = client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    let metadata: MetadataReply<'_> = metadata.decode();
    let ids: Vec<_> = metadata.topics.iter().map(|row| row.topic_id).collect();
    let named = |name| DeletableTopic { name: Some(name), topic_id: TopicId(0) };
    let by_id = |topic_id| DeletableTopic { name: None, topic_id };
    let rows = [
        named("a"),
        by_id(ids[0]),
        by_id(ids[1]),
        DeletableTopic { name: Some("c"), topic_id: ids[2] },
        by_id(TopicId(0)),
        named("nowhere"),
    ];
    let reply = client.ask(6, &DeleteTopicsRequest { topics: rows.into_iter().collect(), ..Default::default() });
    let reply: DeleteTopicsReply<'_> = reply.decode();
    let rows: Vec<_> = reply.responses.iter().map(|row| (row.name, row.error_code, row.error_message)).collect();
    let invalid = KafkaError::INVALID_REQUEST;
    assert_eq!(
        rows,
        [
            (Some("a"), invalid, Some("Duplicate topic name.")),
            (None, invalid, Some("Duplicate topic id.")),
            (Some("b"), KafkaError::NONE, None),
            (Some("c"), invalid, Some("You may not specify both topic name and topic id.")),
            (None, invalid, Some("Neither topic name nor id were specified.")),
            (Some("nowhere"), KafkaError::UNKNOWN_TOPIC_OR_PARTITION, Some("This server does not host this topic.")),
        ]
    );
    let metadata = client.ask(12, &MetadataRequest { topics: None, ..Default::default() });
    let metadata: MetadataReply<'_> = metadata.decode();
    assert_eq!(metadata.topics.iter().filter_map(|row| row.name).collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn new_partitions_may_be_placed_on_this_node_only() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 1), topic("bills", 1)], false);
    let mut grow = |rows: Vec<(&str, Option<&[&[i32]]>)>| {
        let row = |(name, nodes): (&'static str, Option<&[&[i32]]>)| CreatePartitionsTopic {
            name,
            count: 3,
            assignments: nodes.map(|nodes| {
                let row = |nodes: &&[i32]| CreatePartitionsAssignment { broker_ids: nodes.iter().copied().collect() };
                nodes.iter().map(row).collect()
            }),
        };
        let named = |name: &str| {
            if name == "orders" {
                "orders"
            } else if name == "bills" {
                "bills"
            } else {
                "nowhere"
            }
        };
        let topics = rows.into_iter().map(|(name, nodes)| row((named(name), nodes))).collect();
        let reply = client.ask(3, &CreatePartitionsRequest { topics, ..Default::default() });
        let reply: CreatePartitionsReply<'_> = reply.decode();
        reply.results.iter().map(|row| row.error_code).collect::<Vec<_>>()
    };
    assert_eq!(grow(vec![("orders", Some(&[&[0]]))]), [KafkaError::INVALID_REPLICA_ASSIGNMENT], "one of two");
    assert_eq!(grow(vec![("orders", Some(&[&[0], &[7]]))]), [KafkaError::INVALID_REPLICA_ASSIGNMENT]);
    assert_eq!(
        grow(vec![("bills", None), ("nowhere", None), ("bills", None), ("orders", Some(&[&[0], &[0]]))]),
        [
            KafkaError::INVALID_REQUEST,
            KafkaError::UNKNOWN_TOPIC_OR_PARTITION,
            KafkaError::INVALID_REQUEST,
            KafkaError::NONE
        ]
    );
    assert_eq!(grow(vec![("orders", None), ("bills", None)]), [KafkaError::INVALID_PARTITIONS, KafkaError::NONE]);
}

#[test]
fn records_deleted_twice_in_one_request_are_gone_as_far_as_either_said() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    create(&mut client, vec![topic("orders", 2)], false);
    for partition in [0, 1] {
        client.produce("orders", partition, &batch(Codec::None, &["a", "b", "c", "d", "e", "f"]));
    }
    let rows = [(0, 2), (1, 5), (1, 3), (1, 4), (0, -2), (9, 0)];
    let rows = rows.map(|(partition_index, offset)| DeleteRecordsPartition { partition_index, offset });
    let topic = DeleteRecordsTopic { name: "orders", partitions: rows.into_iter().collect() };
    let nowhere = DeleteRecordsPartition { partition_index: 0, offset: 0 };
    let nowhere = DeleteRecordsTopic { name: "nowhere", partitions: [nowhere].into_iter().collect() };
    let reply =
        client.ask(2, &DeleteRecordsRequest { topics: [topic, nowhere].into_iter().collect(), timeout_ms: 1000 });
    let reply: DeleteRecordsReply<'_> = reply.decode();
    let rows: Vec<_> = reply
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>())
        .map(|row| (row.error_code, row.low_watermark))
        .collect();
    let unknown = (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, -1);
    assert_eq!(
        rows,
        [
            (KafkaError::NONE, 2),
            (KafkaError::NONE, 5),
            (KafkaError::NONE, 5),
            (KafkaError::NONE, 5),
            (KafkaError::OFFSET_OUT_OF_RANGE, -1),
            unknown,
            unknown
        ]
    );
    for (partition, timestamp, expected) in [(0, -2, 2), (1, -2, 5), (1, 1000, 5), (1, -1, 6)] {
        let row = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
        let topic = ListOffsetsTopic { name: "orders", partitions: [row].into_iter().collect() };
        let reply = client.ask(7, &ListOffsetsRequest { topics: [topic].into_iter().collect(), ..Default::default() });
        let topic = reply.decode::<ListOffsetsReply<'_>>().topics.iter().next().expect("one topic");
        let row = topic.partitions.iter().next().expect("one partition");
        assert_eq!((row.error_code, row.offset), (KafkaError::NONE, expected), "{partition} {timestamp}");
    }
}

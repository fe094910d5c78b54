//! Requests of as many rows as one may have, from a client of Kafka's protocol: each is answered row by row, in memory that comes
//! back, and whoever behaves is served meanwhile and after.

mod support;

use ouzel_protocol::Codec;
use ouzel_protocol::kafka::{
    AlterConfigsReply, AlterConfigsRequest, AlterConfigsResource, Array, CreatableTopic, CreateTopicsReply,
    CreateTopicsRequest, DescribeConfigsReply, DescribeConfigsRequest, DescribeConfigsResource, FetchPartition,
    FetchReply, FetchRequest, FetchTopic, ListOffsetsPartition, ListOffsetsReply, ListOffsetsRequest, ListOffsetsTopic,
    Message, ProducePartition, ProduceReply, ProduceRequest, ProduceTopic, Records, resource_type,
};
use support::kafka::{KafkaClient, Raw, batch};
use support::scene::{Scene, patient};

/// Rows of requests for data and of administrative ones; either may have somewhat more.
const DATA_ROWS: usize = 200_000;
const ADMIN_ROWS: usize = 60_000;

/// Sends a request, has whoever behaves served while it is answered, and takes the answer.
fn asked<'a, M: Message<'a>>(scene: &mut Scene, version: i16, request: &M) -> Raw {
    let mut client = KafkaClient::connect(&scene.broker);
    client.send(version, request);
    scene.serves();
    let reply = client.receive(M::API, version);
    drop(client);
    scene.recovers();
    reply
}

fn rows<'a, T: Clone>(row: &T, count: usize) -> Array<'a, T> {
    (0..count).map(|_| row.clone()).collect()
}

#[test]
fn a_fetch_of_one_partition_again_and_again_is_answered_within_its_limit() {
    let mut scene = Scene::start(patient());
    scene.honest.create("orders");
    for _ in 0..20 {
        scene.honest.produce("orders", 0, &batch(Codec::None, &[&"x".repeat(100_000)]));
    }
    let row = FetchPartition { partition: 0, partition_max_bytes: i32::MAX, ..FetchPartition::default() };
    let topic = FetchTopic { topic: "orders", partitions: rows(&row, DATA_ROWS), ..FetchTopic::default() };
    let request = FetchRequest {
        max_bytes: i32::MAX,
        min_bytes: i32::MAX,
        topics: [topic].into_iter().collect(),
        ..FetchRequest::default()
    };
    let reply = asked(&mut scene, 11, &request);
    let topic = reply.decode::<FetchReply<'_>>().responses.iter().next().expect("one topic");
    let bytes: usize = topic.partitions.iter().map(|row| row.records.bytes().unwrap_or_default().len()).sum();
    assert!(topic.partitions.len() == DATA_ROWS && bytes > 100_000 && bytes < 64 << 20, "{bytes} bytes of records");
    scene.ends();
}

#[test]
fn a_produce_of_nothing_at_all_is_refused_row_by_row() {
    let mut scene = Scene::start(patient());
    scene.honest.create("orders");
    let row = ProducePartition { index: 0, records: Records::Here(b"") };
    let topic = ProduceTopic { name: "orders", partition_data: rows(&row, DATA_ROWS), ..ProduceTopic::default() };
    let request = ProduceRequest { acks: -1, topic_data: [topic].into_iter().collect(), ..ProduceRequest::default() };
    let reply = asked(&mut scene, 8, &request);
    let topic = reply.decode::<ProduceReply<'_>>().responses.iter().next().expect("one topic");
    assert_eq!(topic.partition_responses.len(), DATA_ROWS);
    scene.ends();
}

#[test]
fn offsets_by_time_are_looked_up_while_others_are_served() {
    let mut scene = Scene::start(patient());
    scene.honest.create("orders");
    scene.honest.produce("orders", 0, &batch(Codec::Zstd, &[&"x".repeat(1000), "two"]));
    let row = ListOffsetsPartition { partition_index: 0, timestamp: 1001, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: "orders", partitions: rows(&row, DATA_ROWS / 10) };
    let request =
        ListOffsetsRequest { replica_id: -1, topics: [topic].into_iter().collect(), ..ListOffsetsRequest::default() };
    let reply = asked(&mut scene, 5, &request);
    let topic = reply.decode::<ListOffsetsReply<'_>>().topics.iter().next().expect("one topic");
    assert_eq!(topic.partitions.len(), DATA_ROWS / 10);
    scene.ends();
}

#[test]
fn administrative_requests_for_everything_are_refused_row_by_row() {
    let mut scene = Scene::start(patient());
    let bad = CreatableTopic { name: "a/b", num_partitions: 1, replication_factor: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: rows(&bad, ADMIN_ROWS), ..CreateTopicsRequest::default() };
    let reply = asked(&mut scene, 5, &request);
    assert!(reply.decode::<CreateTopicsReply<'_>>().topics.len() <= ADMIN_ROWS);

    let row = DescribeConfigsResource {
        resource_type: resource_type::TOPIC,
        resource_name: "honest",
        ..DescribeConfigsResource::default()
    };
    let request = DescribeConfigsRequest {
        resources: rows(&row, ADMIN_ROWS),
        include_documentation: true,
        include_synonyms: true,
    };
    let reply = asked(&mut scene, 4, &request);
    assert_eq!(reply.decode::<DescribeConfigsReply<'_>>().results.len(), ADMIN_ROWS);

    let row = AlterConfigsResource {
        resource_type: resource_type::TOPIC,
        resource_name: "honest",
        ..AlterConfigsResource::default()
    };
    let request = AlterConfigsRequest { resources: rows(&row, ADMIN_ROWS), ..AlterConfigsRequest::default() };
    let reply = asked(&mut scene, 2, &request);
    assert_eq!(reply.decode::<AlterConfigsReply<'_>>().responses.len(), ADMIN_ROWS);
    scene.ends();
}

//! The Kafka listener: what a client of that protocol sends is stored and comes back byte for byte, in the order asked.

mod support;

use std::io::Write;

use ouzel_protocol::kafka::{
    ApiKey, ApiVersionsReply, ApiVersionsRequest, InitProducerIdReply, InitProducerIdRequest, KafkaError,
    ListOffsetsPartition, ListOffsetsReply, ListOffsetsRequest, ListOffsetsTopic, MetadataReply, MetadataRequest,
    MetadataRequestTopic,
};
use ouzel_protocol::{BatchBuilder, Codec, DecodeLimits, DecodedBatch, Dialect, batches};
use support::kafka::{
    KafkaClient, as_sent, batch, fetch_request, produce_request, read_frame, row_of_fetch, row_of_produce, start,
};
use support::{Client, directory, ends};

fn list_offset(client: &mut KafkaClient, version: i16, topic: &str, timestamp: i64) -> (KafkaError, i64, i64) {
    let row = ListOffsetsPartition { partition_index: 0, timestamp, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: topic, partitions: [row].into_iter().collect() };
    let asked = ListOffsetsRequest { replica_id: -1, topics: [topic].into_iter().collect(), ..Default::default() };
    let reply = client.ask(version, &asked);
    let topic = reply.decode::<ListOffsetsReply<'_>>().topics.iter().next().expect("one topic");
    let row = topic.partitions.iter().next().expect("one partition");
    (row.error_code, row.offset, row.timestamp)
}

#[test]
fn versions_are_told_to_whoever_asks_in_any_version() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    for version in 0..=4 {
        let asked = ApiVersionsRequest { client_software_name: "test", client_software_version: "1.0" };
        let reply = client.ask(version, &asked);
        let versions: ApiVersionsReply<'_> = reply.decode();
        assert_eq!(versions.error_code, KafkaError::NONE);
        let produce = versions.api_keys.iter().find(|row| row.api_key == 0).expect("produce");
        assert_eq!(produce.min_version, 0, "librdkafka before 2.11.1 asks for no less");
    }
    let nameless = client.ask(3, &ApiVersionsRequest { client_software_name: "-", client_software_version: "1" });
    assert_eq!(nameless.decode::<ApiVersionsReply<'_>>().error_code, KafkaError::INVALID_REQUEST);
    // A version of the future is answered in the oldest one.
    client.stream.write_all(&[0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 77, 255, 255, 0]).expect("the broker reads");
    let reply = read_frame(&mut client.stream);
    assert_eq!(reply[..6], [0, 0, 0, 77, 0, 35]);
    // What stands behind a message is nobody's business: librdkafka leaves bytes there.
    client
        .stream
        .write_all(&[0, 0, 0, 16, 0, 3, 0, 1, 0, 0, 0, 78, 255, 255, 0, 0, 0, 0, 9, 9])
        .expect("the broker reads");
    assert_eq!(read_frame(&mut client.stream)[..4], [0, 0, 0, 78]);
    // And the connection goes on.
    client.create("orders");
}

#[test]
fn a_batch_comes_back_byte_for_byte_in_every_codec_and_after_a_restart() {
    let dir = directory();
    let mut broker = start(dir.path(), 2);
    let long = "x".repeat(400);
    let sent: Vec<Vec<u8>> = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd]
        .iter()
        .map(|codec| batch(*codec, &["one", &long, "three"]))
        .collect();
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    for (count, bytes) in (0..).zip(&sent) {
        let row = client.produce("orders", 0, bytes);
        assert_eq!((row.error_code, row.base_offset, row.log_append_time_ms), (KafkaError::NONE, count * 3, -1));
    }
    for _ in 0..2 {
        let mut client = KafkaClient::connect(&broker);
        let (row, records) = client.fetch("orders", 0, 0);
        assert_eq!((row.error_code, row.high_watermark, row.log_start_offset), (KafkaError::NONE, 15, 0));
        let stored: Vec<_> = batches(&records).map(|batch| as_sent(batch.expect("a batch").1)).collect();
        let expected: Vec<_> = sent.iter().map(|bytes| as_sent(bytes)).collect();
        assert_eq!(stored, expected);
        // An offset within a batch gives the whole batch.
        let (_, records) = client.fetch("orders", 0, 4);
        assert_eq!(batches(&records).next().expect("a batch").expect("whole").0.base_offset.0, 3);
        broker.stop().expect("a clean stop");
        broker = start(dir.path(), 1);
    }
}

#[test]
fn each_protocol_reads_what_the_other_wrote() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut native = Client::connect(broker.addresses().native);
    let mut client = KafkaClient::connect(&broker);
    let topic = native.created("orders", 1, &[]);
    native.produced(topic, 0, &["first", "second"]);
    assert_eq!(client.produce("orders", 0, &batch(Codec::None, &["third"])).base_offset, 2);
    native.produced(topic, 0, &["fourth"]);
    let values = ["first", "second", "third", "fourth"];
    assert_eq!(native.read_all(topic, 0, 0), support::numbered(0, &values));
    let (_, records) = client.fetch("orders", 0, 0);
    let mut read = Vec::new();
    for batch in batches(&records) {
        let (header, bytes) = batch.expect("a batch");
        assert_eq!(header.magic as u8, 2, "Kafka's clients know no other");
        let decoded = DecodedBatch::decode(bytes, &DecodeLimits::default()).expect("its checksum fits");
        read.extend(decoded.records().map(|record| {
            let record = record.expect("a record");
            (record.offset.0, String::from_utf8(record.value.expect("a value").to_vec()).expect("text"))
        }));
    }
    let expected: Vec<_> = (0..).zip(values.map(str::to_owned)).collect();
    assert_eq!(read, expected);
}

#[test]
fn replies_leave_in_the_order_of_the_requests_even_behind_a_long_poll() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    let poll = client.send(11, &fetch_request("orders", 0, 0, 30_000));
    let produce = client.send(8, &produce_request("orders", 0, &batch(Codec::None, &["wakes it"]), -1));
    let again = client.send(11, &fetch_request("orders", 0, 0, 30_000));
    let metadata = client.send(9, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let polled = client.receive(ApiKey::Fetch, 11);
    assert_eq!(polled.correlation_id(), poll);
    assert!(!row_of_fetch(&polled).1.is_empty(), "the batch behind it woke it");
    assert_eq!(client.receive(ApiKey::Produce, 8).correlation_id(), produce);
    assert_eq!(client.receive(ApiKey::Fetch, 11).correlation_id(), again);
    assert_eq!(client.receive(ApiKey::Metadata, 9).correlation_id(), metadata);
}

#[test]
fn acks_0_is_answered_with_nothing_or_with_the_end() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    client.send(8, &produce_request("orders", 0, &batch(Codec::None, &["silent"]), 0));
    assert_eq!(client.produce("orders", 0, &batch(Codec::None, &["heard"])).base_offset, 1, "the only reply");
    client.send(8, &produce_request("orders", 0, b"no batch", 0));
    assert!(ends(&mut client.stream), "an error without a reply ends the connection");
    let mut client = KafkaClient::connect(&broker);
    let refused = row_of_produce(&client.ask(8, &produce_request("orders", 0, &batch(Codec::None, &["x"]), 7)));
    assert_eq!(refused.error_code, KafkaError::INVALID_REQUIRED_ACKS);
}

#[test]
fn what_a_client_gets_wrong_has_kafkas_number() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    let good = batch(Codec::None, &["one", "two"]);
    let mut damaged = good.clone();
    *damaged.last_mut().expect("a byte") ^= 1;
    let mut control = good.clone();
    control[22] |= 0x20;
    let crc = ouzel_protocol::batch::batch_crc(&control);
    control[17..21].copy_from_slice(&crc.to_be_bytes());
    let too_large = batch(Codec::None, &[&"x".repeat(1_100_000)]);
    let refused = [
        (0, damaged, KafkaError::CORRUPT_MESSAGE),
        (0, control, KafkaError::INVALID_RECORD),
        (0, [&good[..], &good].concat(), KafkaError::INVALID_RECORD),
        (0, too_large, KafkaError::MESSAGE_TOO_LARGE),
        (1, good.clone(), KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
        (-1, good.clone(), KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
    ];
    for (partition, bytes, expected) in refused {
        let row = client.produce("orders", partition, &bytes);
        assert_eq!((row.error_code, row.base_offset), (expected, -1));
    }
    assert_eq!(client.produce("nowhere", 0, &good).error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(client.produce("orders", 0, &good).base_offset, 0, "nothing of that was stored");
    assert_eq!(client.fetch("orders", 0, 3).0.error_code, KafkaError::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("orders", 0, -5).0.error_code, KafkaError::OFFSET_OUT_OF_RANGE);
    assert_eq!(client.fetch("nowhere", 0, 0).0.error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    let mut ahead = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    ahead.push(i64::MAX / 2, None, Some(b"from the far future"), &[]);
    let ahead = client.produce("orders", 0, &ahead.build().expect("a batch"));
    assert_eq!(ahead.error_code, KafkaError::INVALID_TIMESTAMP);
    let zstd = batch(Codec::Zstd, &[&"z".repeat(500)]);
    let old = row_of_produce(&client.ask(6, &produce_request("orders", 0, &zstd, -1)));
    assert_eq!(old.error_code, KafkaError::UNSUPPORTED_COMPRESSION_TYPE);
}

#[test]
fn frames_that_lie_end_their_connection_and_no_other() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut witness = KafkaClient::connect(&broker);
    witness.create("orders");
    let frames: [&[u8]; 6] = [
        &[0x80, 0, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0],
        &[0, 0, 0, 2, 0, 0],
        // An api and a version that nobody knows.
        &[0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff],
        // Metadata with a count of topics that is not there.
        &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
    ];
    for frame in frames {
        let mut client = KafkaClient::connect(&broker);
        client.stream.write_all(frame).expect("the broker reads");
        assert!(ends(&mut client.stream), "{frame:?}");
    }
    assert_eq!(witness.produce("orders", 0, &batch(Codec::None, &["still here"])).base_offset, 0);
}

#[test]
fn topics_are_created_when_asked_for_and_only_then() {
    let dir = directory();
    let broker = start(dir.path(), 3);
    let mut client = KafkaClient::connect(&broker);
    let ask = |client: &mut KafkaClient, name: &str, may_create| {
        let row = MetadataRequestTopic { name: Some(name), ..MetadataRequestTopic::default() };
        let asked = MetadataRequest {
            topics: Some([row].into_iter().collect()),
            allow_auto_topic_creation: may_create,
            ..MetadataRequest::default()
        };
        let reply = client.ask(12, &asked);
        let topic = reply.decode::<MetadataReply<'_>>().topics.iter().next().expect("one topic");
        (topic.error_code, topic.partitions.len())
    };
    assert_eq!(ask(&mut client, "orders", false), (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, 0));
    assert_eq!(ask(&mut client, "not/legal", true), (KafkaError::INVALID_TOPIC_EXCEPTION, 0));
    // Many at once create it once.
    let address = support::kafka::address(&broker);
    let found: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..8).map(|_| scope.spawn(|| ask(&mut KafkaClient::connect_to(address), "orders", true))).collect();
        asking.into_iter().map(|asking| asking.join().expect("answered")).collect()
    });
    assert_eq!(found, vec![(KafkaError::NONE, 1); 8]);
    let reply = client.ask(12, &MetadataRequest { topics: None, ..MetadataRequest::default() });
    let metadata: MetadataReply<'_> = reply.decode();
    let node = metadata.brokers.iter().next().expect("a broker");
    assert_eq!((node.host, node.port), ("127.0.0.1", i32::from(support::kafka::address(&broker).port())));
    assert_eq!(metadata.controller_id, node.node_id, "clients look for it among the brokers");
    assert_eq!(
        metadata.topics.iter().filter_map(|topic| topic.name.map(str::to_owned)).collect::<Vec<_>>(),
        ["orders"]
    );
}

#[test]
fn offsets_are_found_by_time_within_a_batch() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    assert_eq!(list_offset(&mut client, 7, "orders", -3), (KafkaError::NONE, -1, -1), "nothing has a timestamp");
    client.produce("orders", 0, &batch(Codec::None, &["a", "b", "c"]));
    client.produce("orders", 0, &batch(Codec::Gzip, &["d", "e"]));
    for version in 1..=7 {
        assert_eq!(list_offset(&mut client, version, "orders", -2), (KafkaError::NONE, 0, -1));
        assert_eq!(list_offset(&mut client, version, "orders", -1), (KafkaError::NONE, 5, -1));
        assert_eq!(list_offset(&mut client, version, "orders", 1001), (KafkaError::NONE, 1, 1001));
        assert_eq!(list_offset(&mut client, version, "orders", 5000), (KafkaError::NONE, -1, -1));
    }
    assert_eq!(list_offset(&mut client, 7, "orders", -3), (KafkaError::NONE, 2, 1002));
    assert_eq!(
        list_offset(&mut client, 6, "orders", -3).0,
        KafkaError::UNSUPPORTED_VERSION,
        "KIP-734 begins with version 7"
    );
    assert_eq!(list_offset(&mut client, 7, "nowhere", -1).0, KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
}

#[test]
fn an_idempotent_producer_is_judged_by_its_sequence_through_a_restart() {
    let dir = directory();
    let stamped = |id: i64, sequence: i32, values: &[&str]| {
        let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
        builder.set_producer(id, 0, sequence);
        for value in values {
            builder.push(1000, None, Some(value.as_bytes()), &[]);
        }
        builder.build().expect("a batch")
    };
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    let reply = client.ask(4, &InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() });
    let InitProducerIdReply { error_code, producer_id: id, producer_epoch, .. } = reply.decode();
    assert_eq!((error_code, producer_epoch), (KafkaError::NONE, 0));
    assert_eq!(client.produce("orders", 0, &stamped(id, 0, &["a", "b"])).base_offset, 0);
    let gap = client.produce("orders", 0, &stamped(id, 5, &["no"]));
    assert_eq!(gap.error_code, KafkaError::OUT_OF_ORDER_SEQUENCE_NUMBER);
    broker.stop().expect("a clean stop");
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    let again = client.produce("orders", 0, &stamped(id, 0, &["a", "b"]));
    assert_eq!((again.error_code, again.base_offset), (KafkaError::NONE, 0), "its first place");
    assert_eq!(client.produce("orders", 0, &stamped(id, 2, &["c"])).base_offset, 2);
    assert_eq!(client.fetch("orders", 0, 0).0.high_watermark, 3, "nothing twice");
}

#[test]
fn a_topic_may_want_the_brokers_time() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut native = Client::connect(broker.addresses().native);
    let topic = native.created("events", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let mut client = KafkaClient::connect(&broker);
    let row = client.produce("events", 0, &batch(Codec::None, &["a", "b"]));
    assert!(row.error_code == KafkaError::NONE && row.log_append_time_ms > 1_700_000_000_000, "{row:?}");
    native.produced(topic, 0, &["c"]);
    let (_, records) = client.fetch("events", 0, 0);
    for batch in batches(&records) {
        let (header, bytes) = batch.expect("a batch");
        assert!(header.is_log_append_time());
        let decoded = DecodedBatch::decode(bytes, &DecodeLimits::default()).expect("its checksum was taken again");
        assert!(decoded.records().all(|record| record.expect("a record").timestamp == header.max_timestamp));
    }
    assert_eq!(
        list_offset(&mut client, 7, "events", row.log_append_time_ms),
        (KafkaError::NONE, 0, row.log_append_time_ms)
    );
}

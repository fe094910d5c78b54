//! Produce and fetch through real sockets, on the owner's port and across shards.

mod support;

use bytes::Bytes;
use ouzel_protocol::native::{
    Api, FetchPartition, FetchRequest, OffsetSpec, ProducePartition, ProduceReply, ProduceRequest,
};
use ouzel_protocol::{Durability, ErrorCode, Offset, PartitionIndex, TopicId};
use support::{Client, batch, directory, ends, fetch_one, numbered, start, values};

#[test]
fn records_come_back_from_every_partition_whichever_shard_is_asked() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let ports: Vec<_> = broker.addresses().shards.clone();
    let mut clients: Vec<Client> = ports.iter().map(|address| Client::connect(*address)).collect();
    let topic = clients[0].created("orders", 4, &[]);
    for partition in 0..4 {
        for (which, client) in clients.iter_mut().enumerate() {
            let base = client.produced(topic, partition, &["a", "b"]);
            assert_eq!(base, 2 * which as u64, "the owner numbers, whoever asks");
        }
    }
    for client in &mut clients {
        for partition in 0..4 {
            assert_eq!(client.read_all(topic, partition, 0), numbered(0, &["a", "b", "a", "b"]));
            assert_eq!(client.read_all(topic, partition, 3), numbered(3, &["b"]));
            assert_eq!(client.read_all(topic, partition, 4), []);
        }
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn the_public_port_serves_from_any_shard_and_metadata_names_the_owners_port() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let addresses = broker.addresses().clone();
    let (mut client, hello) = Client::hello(addresses.native);
    assert_eq!(hello.shards, 2);
    client.created("orders", 4, &[]);
    let metadata = client.metadata(None);
    let node = &metadata.nodes[0];
    assert_eq!((node.host.as_str(), node.port), ("127.0.0.1", addresses.native.port()));
    let topic = &metadata.topics[0];
    let mut shards_seen = Vec::new();
    for partition in &topic.partitions {
        let port = node.shard_ports[usize::from(partition.shard.0)];
        let (_, hello) = Client::hello((addresses.native.ip(), port).into());
        assert_eq!(hello.shard, partition.shard, "the port leads to the owner");
        shards_seen.push(partition.shard.0);
    }
    assert_eq!(shards_seen, [0, 1, 0, 1]);
    broker.stop().expect("a clean stop");
}

#[test]
fn acks_one_and_all_say_what_holds_and_acks_zero_says_nothing() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    let disk = client.created("disk", 1, &[]);
    let written = client.created("written", 1, &[("ouzel.durability", "written")]);
    for acks in [1, -1] {
        for (topic, durability) in [(disk, Durability::Disk), (written, Durability::Written)] {
            let result = client.produce(acks, &[(topic, 0, &batch(&["x"]))]).remove(0);
            assert_eq!((result.error, result.durability), (ErrorCode::None, durability));
        }
    }
    client.send_produce(0, &[(disk, 0, &batch(&["quiet"]))]);
    // The next reply belongs to the next request: the produce before it got none, and kept its place.
    let result = client.produce(-1, &[(disk, 0, &batch(&["loud"]))]).remove(0);
    assert_eq!(result.base_offset, Offset(3));
    assert_eq!(client.read_all(disk, 0, 2), numbered(2, &["quiet", "loud"]));
    broker.stop().expect("a clean stop");
}

#[test]
fn an_unacknowledged_produce_that_fails_closes_its_connection() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    client.send_produce(0, &[(TopicId(404), 0, &batch(&["x"]))]);
    assert!(ends(client.stream()));
    Client::connect(broker.addresses().native).created("still", 1, &[]);
    broker.stop().expect("a clean stop");
}

#[test]
fn pipelined_produces_keep_their_order_on_the_owner_and_across_shards() {
    const REQUESTS: u64 = 300;
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().shards[0]);
    let topic = client.created("orders", 2, &[]);
    let mut writer = client.stream().try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        for number in 0..REQUESTS {
            let value = number.to_string();
            let rows = (0..2).map(|partition| ProducePartition {
                topic_id: topic,
                partition: PartitionIndex(partition),
                batch: Bytes::from(batch(&[&value])),
            });
            let request = ProduceRequest { acks: 1, timeout_ms: 0, timings: false, partitions: rows.collect() };
            let correlation = ouzel_protocol::CorrelationId(1000 + number);
            let frame = ouzel_protocol::native::request_frame(Api::Produce, correlation, |out| request.encode(out));
            std::io::Write::write_all(&mut writer, &frame).expect("the broker reads on while replies are due");
        }
    });
    for _ in 0..REQUESTS {
        let (header, body) = client.receive();
        let number = header.correlation.0 - 1000;
        let reply = ProduceReply::decode(&body).expect("a produce reply");
        for row in reply.partitions {
            assert_eq!((row.error, row.base_offset.0), (ErrorCode::None, number));
        }
    }
    sender.join().expect("the sender ends");
    let expected: Vec<_> = (0..REQUESTS).map(|number| (number, number.to_string())).collect();
    for partition in 0..2 {
        assert_eq!(client.read_all(topic, partition, 0), expected);
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn a_long_poll_is_woken_by_a_produce_on_its_own_and_on_another_shard() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut waiter = Client::connect(broker.addresses().shards[0]);
    let mut producer = Client::connect(broker.addresses().shards[1]);
    let topic = producer.created("orders", 2, &[]);
    for partition in 0..2 {
        waiter.send_fetch(&fetch_one(topic, partition, 0, 60_000, 1));
        // Another request on the same connection is answered meanwhile: the poll holds up nothing.
        assert_eq!(waiter.topic_via_metadata("orders"), topic);
        producer.produced(topic, partition, &["awake"]);
        let result = waiter.receive_fetch().partitions.remove(0);
        assert_eq!(values(&result.records, 0), numbered(0, &["awake"]));
        assert_eq!(result.high_watermark, Offset(1));
    }
    broker.stop().expect("a clean stop");
}

trait ViaMetadata {
    fn topic_via_metadata(&mut self, name: &str) -> TopicId;
}

impl ViaMetadata for Client {
    fn topic_via_metadata(&mut self, name: &str) -> TopicId {
        self.topic(name).topic_id
    }
}

#[test]
fn a_long_poll_waits_for_min_bytes_and_answers_at_its_deadline_with_what_there_is() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 1, &[]);
    let empty = client.fetch(&fetch_one(topic, 0, 0, 20, 1)).partitions.remove(0);
    assert_eq!((empty.error, empty.records.len()), (ErrorCode::None, 0));

    let one = batch(&["x"]);
    let mut waiter = Client::connect(broker.addresses().native);
    waiter.send_fetch(&fetch_one(topic, 0, 0, 60_000, 2 * one.len() as u32));
    client.produced(topic, 0, &["x"]);
    client.produced(topic, 0, &["y"]);
    let both = waiter.receive_fetch().partitions.remove(0);
    assert_eq!(values(&both.records, 0), numbered(0, &["x", "y"]));

    let late = client.fetch(&fetch_one(topic, 0, 0, 20, 1_000_000)).partitions.remove(0);
    assert_eq!(values(&late.records, 0).len(), 2, "the deadline answers with what there is");
    broker.stop().expect("a clean stop");
}

#[test]
fn a_fetch_stops_at_max_bytes_but_always_brings_one_batch() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 2, &[]);
    let large = "x".repeat(100_000);
    for partition in 0..2 {
        for _ in 0..3 {
            client.produced(topic, partition, &[&large]);
        }
    }
    let row = |partition| FetchPartition {
        topic_id: topic,
        partition: PartitionIndex(partition),
        offset: Offset(0),
        max_bytes: 1_000_000,
    };
    for (max_bytes, batches_expected) in [(1, 1), (250_000, 2), (10_000_000, 6)] {
        let request = FetchRequest { max_wait_ms: 0, min_bytes: 1, max_bytes, partitions: vec![row(0), row(1)] };
        let reply = client.fetch(&request);
        let counts: Vec<usize> = reply.partitions.iter().map(|result| values(&result.records, 0).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), batches_expected, "max_bytes {max_bytes} gave {counts:?}");
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn large_bodies_travel_whole_and_the_limit_of_the_topic_holds() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("large", 1, &[("max.message.bytes", "4000000")]);
    let small = client.created("small", 1, &[("max.message.bytes", "1000")]);
    let value = "y".repeat(3_000_000);
    assert_eq!(client.produced(topic, 0, &[&value]), 0);
    assert_eq!(client.read_all(topic, 0, 0), [(0, value.clone())]);
    let results = client.produce(-1, &[(small, 0, &batch(&[&value])), (topic, 0, &batch(&["fits"]))]);
    assert_eq!(results[0].error, ErrorCode::MessageTooLarge);
    assert!(!results[0].error.is_retriable());
    assert_eq!((results[1].error, results[1].base_offset), (ErrorCode::None, Offset(1)));
    broker.stop().expect("a clean stop");
}

#[test]
fn offsets_are_found_by_place_and_by_time() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().shards[0]);
    let topic = client.created("orders", 2, &[]);
    for partition in 0..2 {
        client.produced(topic, partition, &["a", "b", "c"]);
        let found = |client: &mut Client, at| {
            let result = client.offset(topic, partition, at);
            (result.error, result.offset.0, result.timestamp)
        };
        assert_eq!(found(&mut client, OffsetSpec::Earliest), (ErrorCode::None, 0, -1));
        assert_eq!(found(&mut client, OffsetSpec::Latest), (ErrorCode::None, 3, -1));
        assert_eq!(found(&mut client, OffsetSpec::Timestamp(1001)), (ErrorCode::None, 1, 1001));
        assert_eq!(found(&mut client, OffsetSpec::Timestamp(0)), (ErrorCode::None, 0, 1000));
        assert_eq!(found(&mut client, OffsetSpec::Timestamp(5000)), (ErrorCode::None, 3, -1));
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn what_is_no_batch_is_refused_and_its_neighbours_are_taken() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 1, &[]);
    let sound = batch(&["sound"]);
    let mut damaged = sound.clone();
    *damaged.last_mut().expect("a batch has bytes") ^= 1;
    let results = client.produce(
        -1,
        &[(topic, 0, &damaged), (topic, 0, &sound), (topic, 0, b""), (topic, 7, &sound), (TopicId(404), 0, &sound)],
    );
    let errors: Vec<_> = results.iter().map(|result| (result.error, result.error.is_retriable())).collect();
    let expected = [
        (ErrorCode::CorruptMessage, true),
        (ErrorCode::None, false),
        (ErrorCode::CorruptMessage, true),
        (ErrorCode::UnknownTopicOrPartition, true),
        (ErrorCode::UnknownTopicId, true),
    ];
    assert_eq!(errors, expected);
    assert_eq!(client.read_all(topic, 0, 0), numbered(0, &["sound"]));
    let beyond = client.fetch(&fetch_one(topic, 0, 9, 60_000, 1)).partitions.remove(0);
    assert_eq!((beyond.error, beyond.error.is_retriable()), (ErrorCode::OffsetOutOfRange, false));
    broker.stop().expect("a clean stop");
}

#[test]
fn a_reader_that_catches_up_from_disk_gets_little_at_once_and_everything_in_the_end() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("old", 1, &[]);
    let value = "v".repeat(60_000);
    // Twice the memory of the shard: the beginning is on the disk alone.
    let count = 2200;
    for _ in 0..count {
        client.produced(topic, 0, &[&value]);
    }
    let fetched = client.fetch(&fetch_one(topic, 0, 0, 0, 1)).partitions.remove(0);
    let bytes: usize = fetched.records.iter().map(Bytes::len).sum();
    assert!((60_000..=256 * 1024).contains(&bytes), "{bytes} bytes in one reply");
    let (mut at, mut replies) = (0, 0);
    while at < count {
        let result = client.fetch(&fetch_one(topic, 0, at, 0, 1)).partitions.remove(0);
        let (last, _) = values(&result.records, at).pop().expect("records below the high watermark");
        at = last + 1;
        replies += 1;
    }
    assert!(replies > 100, "{replies} replies");
    broker.stop().expect("a clean stop");
}

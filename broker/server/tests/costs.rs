//! What the steady paths cost: allocations a request and a record, and how often user space copies a byte of payload.
//! The client's thread is exempt; everything else in the process is the broker, its background work included. On the own
//! executor, whatever the default is: glommio allocates some twenty times for each sleep.

mod support;

use std::alloc::System;
use std::net::SocketAddr;

use bytes::Bytes;
use ouzel_broker::BrokerConfig;
use ouzel_protocol::native::{Api, FetchPartition, FetchRequest, ProducePartition, ProduceRequest, request_frame};
use ouzel_protocol::{BatchBuilder, Codec, CorrelationId, Dialect, Offset, PartitionIndex, TopicId};
use ouzel_runtime::ExecutorKind;
use ouzel_runtime::counting::{CountingAllocator, Counts, counts, exempt_this_thread};
use support::kafka::{self, KafkaClient};
use support::{Client, config, directory, try_start};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

/// Requests before the counting: buffers reach their sizes, the journal wraps.
const WARM_COUNT: u64 = 600;
const COUNT: u64 = 400;

/// What a request cost, on average.
#[derive(Clone, Copy, Debug)]
struct Cost {
    allocations: f64,
    copies: f64,
}

fn per_request(before: Counts, after: Counts, payload_bytes: u64) -> Cost {
    Cost {
        allocations: (after.allocations - before.allocations) as f64 / COUNT as f64,
        copies: (after.copied_bytes - before.copied_bytes) as f64 / payload_bytes as f64,
    }
}

fn batch(record_count: usize, record_bytes: usize) -> Vec<u8> {
    let value = vec![b'v'; record_bytes];
    let mut builder = BatchBuilder::new(Dialect::Native, Codec::None, None);
    for timestamp in 0..record_count {
        builder.push(timestamp as i64, None, Some(&value), &[]);
    }
    builder.build().expect("a legal batch")
}

/// One request after the other: every one has a commit of its own, which is the most that a request can cost.
fn produce(client: &mut Client, topic: TopicId, record_count: usize, record_bytes: usize) -> Cost {
    let batch = Bytes::from(batch(record_count, record_bytes));
    let row = ProducePartition { topic_id: topic, partition: PartitionIndex(0), batch: batch.clone() };
    let request = ProduceRequest { acks: -1, timeout_ms: 1000, timings: false, partitions: vec![row] };
    let frame = request_frame(Api::Produce, CorrelationId(7), |out| request.encode(out));
    exchange(client, &frame, batch.len() as u64, |body| {
        assert_eq!(body.get(5 + 16 + 4..5 + 16 + 4 + 2), Some(&[0, 0][..]), "the batch was appended");
    })
}

/// The same offset again and again, from the tail in memory.
fn fetch(client: &mut Client, topic: TopicId, partition: u32, bytes: usize) -> Cost {
    let row = FetchPartition {
        topic_id: topic,
        partition: PartitionIndex(partition),
        offset: Offset(0),
        max_bytes: bytes as u32,
    };
    let request = FetchRequest { max_wait_ms: 1000, min_bytes: 1, max_bytes: bytes as u32, partitions: vec![row] };
    let frame = request_frame(Api::Fetch, CorrelationId(7), |out| request.encode(out));
    exchange(client, &frame, bytes as u64, |body| assert!(body.len() >= bytes / 2, "records came"))
}

/// The same offset again and again through the Kafka protocol, in no session: copies for each byte of records that was sent.
fn fetch_by_kafka(client: &mut KafkaClient, topic: &str, bytes: usize) -> f64 {
    let mut before = counts();
    for round in 0..WARM_COUNT + COUNT {
        if round == WARM_COUNT {
            before = counts();
        }
        let (_, records) = client.fetch(topic, 0, 0);
        assert_eq!(records.len(), bytes, "the whole batch came");
    }
    per_request(before, counts(), COUNT * bytes as u64).copies
}

fn exchange(client: &mut Client, frame: &[u8], payload_bytes: u64, check: impl Fn(&[u8])) -> Cost {
    let mut before = counts();
    for round in 0..WARM_COUNT + COUNT {
        if round == WARM_COUNT {
            before = counts();
        }
        client.send_frame(frame);
        let (_, body) = client.receive();
        check(&body);
    }
    per_request(before, counts(), COUNT * payload_bytes)
}

#[test]
fn the_steady_paths_neither_allocate_for_records_nor_copy_more_than_they_must() {
    exempt_this_thread();
    let dir = directory();
    // Files of the journal are given back several times meanwhile, but not after every few requests, as in a tiny one, where
    // remainders that are carried forward would be a share of all copies.
    let journal_bytes_max = 2 * 64 * 1024 * 1024;
    let kafka = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let on_own = BrokerConfig { executor: ExecutorKind::Own, journal_bytes_max, kafka, ..config(dir.path(), 2) };
    let broker = try_start(on_own).expect("the broker starts");
    let ports = broker.addresses().shards.clone();
    let mut owner = Client::connect(ports[0]);
    let mut other = Client::connect(ports[1]);
    let topic = owner.created("costs", 2, &[]);
    let small = produce(&mut owner, topic, 8, 100);
    let few = produce(&mut owner, topic, 1, 60 * 1024);
    let many = produce(&mut owner, topic, 60, 1024);
    let read = owner.created("read", 1, &[]);
    let whole = batch(60, 1024);
    let row = [(read, 0, whole.as_slice())];
    owner.produce(-1, &row);
    let fetch_bytes = whole.len();
    let fetched = fetch(&mut owner, read, 0, fetch_bytes);
    let across = fetch(&mut other, read, 0, fetch_bytes);
    // Two connections, for whichever shards take them: the owner sends what it keeps, another one what it was given.
    let wire = kafka::batch(Codec::None, &["v".repeat(60 * 1024).as_str()]);
    let mut readers = [KafkaClient::connect(&broker), KafkaClient::connect(&broker)];
    readers[0].create("wire");
    readers[0].produce("wire", 0, &wire);
    let by_kafka =
        readers.map(|mut reader| fetch_by_kafka(&mut reader, "wire", wire.len())).into_iter().fold(0.0, f64::max);
    let per_record = (many.allocations - few.allocations).max(0.0) / 59.0;
    println!(
        "costs {{\"allocations_per_record\":{per_record:.3},\"allocations_produce_small\":{:.2},\
         \"allocations_produce\":{:.2},\"allocations_fetch\":{:.2},\"copies_produce_small\":{:.2},\"copies_produce\":{:.2},\
         \"copies_fetch\":{:.2},\"copies_fetch_across\":{:.2},\"copies_fetch_by_kafka\":{by_kafka:.2}}}",
        small.allocations,
        many.allocations,
        fetched.allocations,
        small.copies,
        many.copies,
        fetched.copies,
        across.copies
    );
    broker.stop().expect("a clean stop");
    // Whatever the machine does meanwhile, these hold: background work is small beside the requests.
    assert!(
        small.allocations <= 2.0 && many.allocations <= 2.0 && few.allocations <= 2.0,
        "{small:?} {few:?} {many:?}"
    );
    assert!(per_record <= 0.01, "{per_record} allocations a record");
    assert!(fetched.allocations <= 2.0, "{fetched:?}");
    assert!(small.copies <= 2.02 && few.copies <= 2.02 && many.copies <= 2.02, "{small:?} {few:?} {many:?}");
    assert!(by_kafka <= 1.0, "{by_kafka} copies of each byte that Kafka's clients are sent");
    assert!(fetched.copies <= 0.0 && across.copies <= 1.0, "{fetched:?} {across:?}");
}

//! Peers that are idle, silent, slow or too many: they are closed, cost little, and hold up nobody else.

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use ouzel_broker::{Broker, BrokerConfig, PeerLimits, RunningBroker};
use ouzel_protocol::native::{Api, FRAME_HEADER_BYTES, FetchRequest, OffsetSpec, request_frame};
use ouzel_protocol::{CorrelationId, ErrorCode, Offset, TopicId};
use support::{Client, batch, config, directory, ends, fetch_one, raw, values};

const MIB: usize = 1024 * 1024;
/// A limit that a test does not wait for.
const NEVER_MS: u64 = 3_600_000;
/// A limit that a test waits for.
const SOON_MS: u64 = 100;

fn patient() -> PeerLimits {
    PeerLimits { hello_ms: NEVER_MS, idle_ms: NEVER_MS, wait_ms: NEVER_MS, ..PeerLimits::default() }
}

/// A broker of one shard with these limits and 64 MiB.
fn start(dir: &std::path::Path, peers: PeerLimits) -> RunningBroker {
    Broker::start(BrokerConfig { peers, ..config(dir, 1) }).expect("the broker starts")
}

/// A frame of `bytes` bytes that asks to produce, cut after `sent`.
fn part_of_a_frame(bytes: usize, sent: usize) -> Vec<u8> {
    let mut frame = request_frame(Api::Produce, CorrelationId(9), |out| out.resize(out.len() + bytes, 0));
    frame.truncate(sent);
    frame
}

/// Connections that have said hello and then sent a part of a large frame.
fn stalled(address: SocketAddr, count: usize, sent: usize) -> Vec<Client> {
    let part = part_of_a_frame(8 * MIB, sent);
    let connect = |_| {
        let mut client = Client::connect(address);
        client.stream().write_all(&part).expect("the broker reads this much");
        client
    };
    (0..count).map(connect).collect()
}

/// Fills a topic with `count` batches of about 100 KiB.
fn filled(client: &mut Client, count: usize) -> TopicId {
    let topic = client.created("orders", 1, &[]);
    let value = "x".repeat(100 * 1024);
    for _ in 0..count {
        client.produced(topic, 0, &[&value]);
    }
    topic
}

/// Asks for everything again and again, and reads nothing of it.
fn reads_nothing(address: SocketAddr, topic: TopicId, requests: usize) -> Client {
    let mut client = Client::connect(address);
    for _ in 0..requests {
        client.send_fetch(&fetch_one(topic, 0, 0, 0, 1));
    }
    client
}

#[test]
fn a_connection_that_asks_nothing_is_closed_and_a_long_poll_is_not() {
    let dir = directory();
    let broker = start(dir.path(), PeerLimits { idle_ms: SOON_MS, ..patient() });
    let address = broker.addresses().native;
    let topic = Client::connect(address).created("orders", 1, &[]);
    let mut poller = Client::connect(address);
    poller.send_fetch(&FetchRequest { max_wait_ms: 60_000, ..fetch_one(topic, 0, 0, 0, 1) });
    let mut idle = Client::connect(address);
    assert!(ends(idle.stream()));
    assert_eq!(Client::connect(address).produced(topic, 0, &["late"]), 0);
    assert_eq!(values(&poller.receive_fetch().partitions[0].records, 0), [(0, "late".to_owned())]);
    broker.stop().expect("a clean stop");
}

#[test]
fn whoever_stops_before_the_hello_or_within_a_frame_is_closed() {
    let dir = directory();
    let broker = start(dir.path(), PeerLimits { hello_ms: SOON_MS, wait_ms: SOON_MS, ..patient() });
    let address = broker.addresses().native;
    assert!(ends(&mut raw(address)), "a peer that says nothing");
    for (what, sent) in [
        ("within a header", 3),
        ("after a header", FRAME_HEADER_BYTES),
        ("within the beginning of a body", FRAME_HEADER_BYTES + 1),
        ("within the rest of a body", FRAME_HEADER_BYTES + 100 * 1024),
    ] {
        for mut client in stalled(address, 1, sent) {
            assert!(ends(client.stream()), "a peer that stops {what}");
        }
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn frames_that_stop_after_their_header_hold_up_no_honest_producer() {
    let dir = directory();
    let broker = start(dir.path(), patient());
    let address = broker.addresses().native;
    let mut honest = Client::connect(address);
    let topic = honest.created("orders", 1, &[]);
    // Without a limit that could close them: they hold nothing at all.
    let _stalled = stalled(address, 100, FRAME_HEADER_BYTES);
    let large = "x".repeat(500 * 1024);
    assert_eq!(honest.produced(topic, 0, &["small"]), 0);
    assert_eq!(honest.produced(topic, 0, &[&large]), 1);
    broker.stop().expect("a clean stop");
}

#[test]
fn frames_that_stop_within_their_body_are_closed_when_others_need_the_memory() {
    for sent in [FRAME_HEADER_BYTES + 1, FRAME_HEADER_BYTES + 100 * 1024] {
        let dir = directory();
        let broker = start(dir.path(), PeerLimits { shortage_ms: SOON_MS, ..patient() });
        let address = broker.addresses().native;
        let mut honest = Client::connect(address);
        let topic = honest.created("orders", 1, &[]);
        let mut stalled = stalled(address, 100, sent);
        let large = "x".repeat(500 * 1024);
        assert_eq!(honest.produced(topic, 0, &[&large]), 0);
        assert!(ends(stalled[0].stream()), "the first held memory that others waited for");
        broker.stop().expect("a clean stop");
    }
}

#[test]
fn readers_that_take_nothing_are_closed_and_hold_up_no_honest_reader() {
    let dir = directory();
    let broker = start(dir.path(), PeerLimits { shortage_ms: SOON_MS, ..patient() });
    let address = broker.addresses().native;
    let mut honest = Client::connect(address);
    let topic = filled(&mut honest, 200);
    let _greedy: Vec<Client> = (0..20).map(|_| reads_nothing(address, topic, 60)).collect();
    assert_eq!(honest.read_all(topic, 0, 0).len(), 200);
    // Together they ask for more than there is memory for, so that some of them hold what others wait for.
    while connections(&mut honest) > 20 {}
    broker.stop().expect("a clean stop");
}

#[test]
fn a_reader_that_takes_nothing_has_its_time_and_is_closed() {
    let dir = directory();
    let broker = start(dir.path(), PeerLimits { wait_ms: SOON_MS, ..patient() });
    let address = broker.addresses().native;
    let topic = filled(&mut Client::connect(address), 100);
    let mut greedy = reads_nothing(address, topic, 60);
    // The broker counts its connections: this one's question is answered only when the greedy one is gone.
    let mut witness = Client::connect(address);
    while connections(&mut witness) > 1 {}
    assert!(ends(greedy.stream()));
    assert_eq!(witness.offset(topic, 0, OffsetSpec::Latest).offset, Offset(100));
    broker.stop().expect("a clean stop");
}

/// Connections that the broker has now.
fn connections(client: &mut Client) -> u64 {
    let node = client.describe_node();
    let named = |counter: &&ouzel_protocol::native::Counter| counter.name == "connections";
    node.shards.iter().flat_map(|shard| shard.counters.iter().find(named)).map(|counter| counter.value).sum()
}

#[test]
fn beyond_the_limit_connections_are_closed_as_they_come_and_those_that_go_make_room() {
    for (node, source) in [(2, usize::MAX), (100, 2)] {
        let dir = directory();
        let limits = PeerLimits { count_max: node, count_per_source_max: source, ..patient() };
        let broker = start(dir.path(), limits);
        let address = broker.addresses().native;
        let mut first = Client::connect(address);
        let second = Client::connect(address);
        assert!(ends(&mut raw(address)), "a third is one too many");
        assert_eq!(connections(&mut first), 2);
        drop(second);
        while connections(&mut first) > 1 {}
        let mut third = Client::connect(address);
        assert_eq!(connections(&mut third), 2);
        broker.stop().expect("a clean stop");
    }
}

#[test]
fn a_byte_at_a_time_is_a_frame_all_the_same() {
    let dir = directory();
    let broker = start(dir.path(), patient());
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 1, &[]);
    let stream: &TcpStream = client.stream();
    let mut stream = stream.try_clone().expect("a second handle");
    let batch = batch(&["slow"]);
    let request = ouzel_protocol::native::ProduceRequest {
        acks: -1,
        timeout_ms: 1000,
        timings: false,
        partitions: vec![ouzel_protocol::native::ProducePartition {
            topic_id: topic,
            partition: ouzel_protocol::PartitionIndex(0),
            batch: batch.into(),
        }],
    };
    for byte in request_frame(Api::Produce, CorrelationId(7), |out| request.encode(out)) {
        stream.write_all(&[byte]).expect("the broker reads");
    }
    assert_eq!(client.try_receive_produced(), Some(ErrorCode::None));
    broker.stop().expect("a clean stop");
}

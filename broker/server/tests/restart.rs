//! Starts and stops: what is kept, what is raised, what is refused.

mod support;

use ouzel_broker::{BrokerConfig, StartError, StartedAfter, StopError};
use ouzel_protocol::ErrorCode;
use support::{Client, batch, config, directory, fetch_one, numbered, start, try_start};

#[test]
fn a_restart_keeps_every_record_and_raises_every_epoch() {
    let dir = directory();
    let mut epochs = Vec::new();
    let mut topic = None;
    for round in 0..3u64 {
        let broker = start(dir.path(), 2);
        let mut client = Client::connect(broker.addresses().native);
        let topic = *topic.get_or_insert_with(|| client.created("orders", 3, &[]));
        for partition in 0..3 {
            assert_eq!(client.produced(topic, partition, &["a", "b"]), round * 2);
            assert_eq!(client.read_all(topic, partition, 0).len() as u64, (round + 1) * 2);
        }
        epochs.push(client.topic("orders").partitions.iter().map(|row| row.leader_epoch.0).collect::<Vec<_>>());
        broker.stop().expect("a clean stop");
    }
    assert_eq!(epochs, [[0; 3], [1; 3], [2; 3]]);
}

#[test]
fn another_number_of_shards_strands_nothing() {
    let dir = directory();
    let mut topic = None;
    for (round, shards) in [4, 1, 3, 2].into_iter().enumerate() {
        let broker = start(dir.path(), shards);
        let mut client = Client::connect(broker.addresses().native);
        let topic = *topic.get_or_insert_with(|| client.created("orders", 7, &[]));
        let owners: std::collections::BTreeSet<u16> =
            client.topic("orders").partitions.iter().map(|row| row.shard.0).collect();
        assert_eq!(owners, (0..shards).collect(), "every shard owns something");
        for partition in 0..7 {
            let values: Vec<&str> = vec!["v"; round];
            assert_eq!(client.read_all(topic, partition, 0), numbered(0, &values));
            client.produced(topic, partition, &["v"]);
        }
        broker.stop().expect("a clean stop");
    }
}

#[test]
fn the_recovery_summary_says_what_was_found() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    assert_eq!((broker.recovery().journals, broker.recovery().partitions), (0, 0));
    Client::connect(broker.addresses().native).created("orders", 5, &[]);
    broker.stop().expect("a clean stop");
    let broker = start(dir.path(), 1);
    let summary = broker.recovery().clone();
    assert_eq!((summary.journals, summary.partitions, summary.torn_tails, summary.unsealed), (2, 5, 0, 0));
    broker.stop().expect("a clean stop");
}

#[test]
fn a_second_broker_on_the_data_directory_is_refused_until_the_first_is_gone() {
    let dir = directory();
    let first = start(dir.path(), 1);
    let refusal = try_start(config(dir.path(), 1)).expect_err("the directory is locked");
    assert!(matches!(refusal, StartError::Locked { .. }), "{refusal}");
    assert_eq!(refusal.to_string().lines().count(), 1);
    Client::connect(first.addresses().native).created("unharmed", 1, &[]);
    first.stop().expect("a clean stop");
    start(dir.path(), 1).stop().expect("free again");
}

#[test]
fn a_port_in_use_and_a_journal_without_room_are_refused_and_leave_nothing_running() {
    let (dir, other) = (directory(), directory());
    let first = start(dir.path(), 1);
    let taken = BrokerConfig { native: first.addresses().native, ..config(other.path(), 1) };
    let refusal = try_start(taken).expect_err("the port is taken");
    assert!(matches!(refusal, StartError::PortInUse { .. }), "{refusal}");
    let shard_port = first.addresses().shards[0].port();
    let below =
        BrokerConfig { native: (first.addresses().native.ip(), shard_port - 1).into(), ..config(other.path(), 1) };
    let refusal = try_start(below).expect_err("the shard's port, or the one below, is taken");
    assert!(matches!(refusal, StartError::PortInUse { .. }), "{refusal}");
    let greedy = BrokerConfig { journal_bytes_max: 1 << 60, ..config(other.path(), 1) };
    let refusal = try_start(greedy).expect_err("no disk is that large");
    assert!(matches!(refusal, StartError::NoSpace { missing, .. } if missing > 0), "{refusal}");
    start(other.path(), 1).stop().expect("nothing was left behind");
    first.stop().expect("a clean stop");
}

#[test]
fn a_directory_that_cannot_be_one_is_refused() {
    let dir = directory();
    let file = dir.path().join("a-file");
    std::fs::write(&file, b"x").expect("a file");
    let refusal = try_start(config(&file.join("data"), 1)).expect_err("a file is no directory");
    assert!(matches!(refusal, StartError::DataDir { .. }), "{refusal}");
}

#[test]
fn the_ready_line_names_the_real_ports() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let expected = format!("ouzel ready kafka=- native={} admin=- shards=2", broker.addresses().native);
    assert_eq!(broker.ready_line(), expected);
    assert_ne!(broker.addresses().native.port(), 0);
    broker.stop().expect("a clean stop");
}

#[test]
fn a_stop_answers_what_is_in_flight_and_loses_nothing() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut producer = Client::connect(broker.addresses().shards[0]);
    let mut waiter = Client::connect(broker.addresses().shards[1]);
    let topic = producer.created("orders", 2, &[]);
    waiter.send_fetch(&fetch_one(topic, 0, 1000, 60_000, 1));
    assert_eq!(waiter.receive_fetch().partitions[0].error, ErrorCode::OffsetOutOfRange);
    waiter.send_fetch(&fetch_one(topic, 0, 0, 60_000, 1));
    assert_eq!(waiter.topic("orders").topic_id, topic);
    let sender = std::thread::spawn(move || {
        let mut acknowledged = 0u64;
        loop {
            if !producer.try_send_produce(topic, 1, &batch(&["x"])) {
                return acknowledged;
            }
            match producer.try_receive_produced() {
                Some(ErrorCode::None) => acknowledged += 1,
                Some(refused) => {
                    assert_eq!(refused, ErrorCode::ShuttingDown);
                    return acknowledged;
                }
                None => return acknowledged,
            }
        }
    });
    while waiter.offset(topic, 1, ouzel_protocol::native::OffsetSpec::Latest).offset.0 < 20 {}
    broker.stop().expect("a clean stop");
    let polled = waiter.receive_fetch().partitions.remove(0);
    assert_eq!((polled.error, polled.records.len()), (ErrorCode::None, 0), "a long poll is answered at a stop");
    let acknowledged = sender.join().expect("the sender ends");
    assert!(acknowledged >= 20);
    let broker = start(dir.path(), 2);
    assert_eq!(broker.recovery().torn_tails, 0);
    let kept = Client::connect(broker.addresses().native).read_all(topic, 1, 0).len() as u64;
    assert!(kept >= acknowledged, "{kept} records are left of {acknowledged}");
    broker.stop().expect("a clean stop");
}

#[test]
fn a_start_knows_whether_it_follows_a_clean_stop_or_a_crash() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    assert_eq!(broker.recovery().after, StartedAfter::Nothing);
    broker.stop().expect("a clean stop");
    let broker = start(dir.path(), 2);
    assert_eq!(broker.recovery().after, StartedAfter::CleanStop);
    // Dropped without a stop: the mark of the stop before says nothing any more.
    drop(broker);
    let broker = start_when_free(dir.path());
    assert_eq!(broker.recovery().after, StartedAfter::Crash);
    broker.stop().expect("a clean stop");
    std::fs::write(dir.path().join("clean-stop"), b"noise").expect("the file is ours");
    let broker = start(dir.path(), 2);
    assert_eq!(broker.recovery().after, StartedAfter::Crash, "a damaged mark is none");
    broker.stop().expect("a clean stop");
}

/// Starts once the threads of a broker that was dropped have let go of their ports and files.
fn start_when_free(path: &std::path::Path) -> ouzel_broker::RunningBroker {
    loop {
        match try_start(config(path, 2)) {
            Ok(broker) => return broker,
            Err(StartError::Locked { .. } | StartError::PortInUse { .. }) => {}
            Err(error) => panic!("the broker starts: {error}"),
        }
    }
}

#[test]
fn a_shard_that_ends_by_itself_is_named_to_those_who_need_it_and_spoils_the_stop() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().shards[0]);
    let topic = client.created("orders", 2, &[]);
    let partitions = client.topic("orders").partitions;
    let of_shard = |shard: u16| {
        let owned = partitions.iter().find(|partition| partition.shard.0 == shard);
        owned.expect("each shard owns one").index.0
    };
    let (alive, gone) = (of_shard(0), of_shard(1));
    broker.fail_shard(1);
    let mut produce = |partition: u32| client.produce(-1, &[(topic, partition, &batch(&["x"]))]).remove(0).error;
    // It ends when it gets to it; until then it answers.
    while produce(gone) == ErrorCode::None {}
    assert_eq!(produce(gone), ErrorCode::ShardUnavailable);
    assert_eq!(produce(alive), ErrorCode::None);
    assert!(std::net::TcpStream::connect(broker.addresses().shards[1]).is_err(), "it takes nobody in any more");
    let refusal = broker.stop().expect_err("a shard was lost");
    assert!(matches!(refusal, StopError::ShardEnded { shard: 1, .. }), "{refusal}");
    let broker = start(dir.path(), 2);
    assert_eq!(broker.recovery().after, StartedAfter::Crash);
    broker.stop().expect("a clean stop");
}

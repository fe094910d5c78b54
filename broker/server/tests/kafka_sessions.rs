//! Fetch sessions of Kafka's protocol (KIP-227): what was named once is read again and again, and only news is told.

mod support;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use ouzel_broker::RunningBroker;
use ouzel_protocol::Codec;
use ouzel_protocol::kafka::{
    ApiKey, DeleteRecordsPartition, DeleteRecordsReply, DeleteRecordsRequest, DeleteRecordsTopic, FetchPartition,
    FetchRequest, FetchTopic, KafkaError, append_request,
};
use support::kafka::{
    Fetched, KafkaClient, as_sent, batch, fetch_request, fetched, produce_request, row_of_fetch, row_of_produce,
    session_request, start,
};
use support::{Client, directory};

/// The last version without topic ids.
const VERSION: i16 = 12;
const NEW: i32 = 0;
const FINAL: i32 = -1;
/// The longest poll that a broker keeps.
const LONG_MS: i32 = 60_000;
/// Less than that, and long enough for any machine: who waits for so long was not woken.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker with topics of so many partitions each.
fn broker_with(dir: &tempfile::TempDir, shards: u16, topics: &[(&str, u32)]) -> RunningBroker {
    let broker = start(dir.path(), shards);
    let mut native = Client::connect(broker.addresses().native);
    for (topic, partitions) in topics {
        native.created(topic, *partitions, &[]);
    }
    broker
}

fn ask(client: &mut KafkaClient, request: &FetchRequest<'_>) -> Fetched {
    fetched(&client.ask(VERSION, request))
}

/// Makes a session that reads these rows; returns its id.
fn opened(client: &mut KafkaClient, rows: &[(&str, i32, i64)]) -> i32 {
    let reply = ask(client, &session_request((0, NEW), rows, &[]));
    assert_eq!((reply.error, reply.rows.len()), (KafkaError::NONE, rows.len()));
    assert!(reply.session_id > 0);
    reply.session_id
}

fn refusal(error: KafkaError) -> Fetched {
    Fetched { error, session_id: 0, rows: Vec::new() }
}

#[test]
fn a_session_tells_what_is_new_of_what_it_was_asked_for() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("orders", 3), ("lines", 1)]);
    let mut client = KafkaClient::connect(&broker);
    let sent = batch(Codec::None, &["one", "two"]);
    for version in 7..=VERSION {
        let start = i64::from(version - 7) * 2;
        let ask = |client: &mut KafkaClient, request: FetchRequest<'_>| fetched(&client.ask(version, &request));
        let rows = [("orders", 0, 0), ("orders", 1, start), ("orders", 2, 0), ("lines", 0, 0)];
        let first = ask(&mut client, session_request((0, NEW), &rows, &[]));
        assert!(first.error.is_none() && first.session_id > 0, "{first:?}");
        assert_eq!(first.rows.len(), 4, "all of it the first time");
        let id = first.session_id;
        let nothing = Fetched { error: KafkaError::NONE, session_id: id, rows: Vec::new() };
        assert_eq!(ask(&mut client, session_request((id, 1), &[], &[])), nothing);
        client.produce("orders", 1, &sent);
        let news = ask(&mut client, session_request((id, 2), &[], &[]));
        assert_eq!((news.session_id, news.rows.len()), (id, 1));
        let row = &news.rows[0];
        assert_eq!((row.topic.as_str(), row.partition, row.high_watermark), ("orders", 1, start + 2));
        assert_eq!(as_sent(&row.records), as_sent(&sent));
        // What was read and not passed over comes again.
        assert_eq!(ask(&mut client, session_request((id, 3), &[], &[])).with_records(), [("orders", 1)]);
        assert_eq!(ask(&mut client, session_request((id, 4), &[("orders", 1, start + 2)], &[])), nothing);
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn before_version_7_there_are_no_sessions() {
    let dir = directory();
    let broker = broker_with(&dir, 1, &[("orders", 1)]);
    let mut client = KafkaClient::connect(&broker);
    let id = opened(&mut client, &[("orders", 0, 0)]);
    for version in 4..7 {
        let reply = fetched(&client.ask(version, &fetch_request("orders", 0, 0, 0)));
        assert_eq!((reply.error, reply.session_id, reply.rows.len()), (KafkaError::NONE, 0, 1));
    }
    assert_eq!(ask(&mut client, &session_request((id, 1), &[], &[])).session_id, id, "it is not touched by them");
}

#[test]
fn partitions_come_and_go_in_a_session() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("orders", 2), ("lines", 1)]);
    let mut client = KafkaClient::connect(&broker);
    let id = opened(&mut client, &[("orders", 0, 0), ("orders", 1, 0)]);
    let added = ask(&mut client, &session_request((id, 1), &[("lines", 0, 0)], &[("orders", 0)]));
    assert_eq!(added.errors(), [(0, KafkaError::NONE)]);
    assert_eq!(added.rows[0].topic, "lines", "what is added is told");
    for (topic, partition) in [("orders", 0), ("orders", 1), ("lines", 0)] {
        client.produce(topic, partition, &batch(Codec::None, &["news"]));
    }
    let news = ask(&mut client, &session_request((id, 2), &[], &[]));
    assert_eq!(news.with_records(), [("orders", 1), ("lines", 0)], "not what was forgotten");
    let nothing = ask(&mut client, &session_request((id, 3), &[], &[("orders", 1), ("lines", 0)]));
    assert_eq!(nothing, Fetched { error: KafkaError::NONE, session_id: 0, rows: Vec::new() }, "nothing is left of it");
    let gone = ask(&mut client, &session_request((id, 4), &[], &[]));
    assert_eq!(gone, refusal(KafkaError::FETCH_SESSION_ID_NOT_FOUND));
}

#[test]
fn a_request_that_does_not_fit_the_session_is_refused_as_a_whole() {
    let dir = directory();
    let broker = broker_with(&dir, 1, &[("orders", 1)]);
    let (mut client, mut other) = (KafkaClient::connect(&broker), KafkaClient::connect(&broker));
    client.produce("orders", 0, &batch(Codec::None, &["one"]));
    let row = [("orders", 0, 0)];
    let id = opened(&mut client, &row);
    let told = |session, client: &mut KafkaClient| ask(client, &session_request(session, &row, &[]));
    let invalid = refusal(KafkaError::INVALID_FETCH_SESSION_EPOCH);
    let not_found = refusal(KafkaError::FETCH_SESSION_ID_NOT_FOUND);
    for (session, expected) in [((id, 2), &invalid), ((id, -2), &invalid), ((id ^ 1, 1), &not_found)] {
        assert_eq!(told(session, &mut client), *expected, "{session:?}");
    }
    assert_eq!(told((id, 1), &mut other), not_found, "a session is its connection's");
    assert_eq!(told((id, 1), &mut client).session_id, id, "none of that moved it on");
    assert_eq!(told((id, 1), &mut client), invalid, "the same again");
    // Outside of any session, whatever is named; the one that is named is over.
    for (named, next) in [(0, (id, 2)), (-1, (id, 3)), (id, (id, 4))] {
        let outside = told((named, FINAL), &mut client);
        assert_eq!((outside.error, outside.session_id), (KafkaError::NONE, 0));
        assert_eq!(outside.with_records(), [("orders", 0)]);
        let expected = if named == id { KafkaError::FETCH_SESSION_ID_NOT_FOUND } else { KafkaError::NONE };
        assert_eq!(told(next, &mut client).error, expected, "after {named} was named");
    }
    // A new one takes the place of the one before, whether that is named or not.
    let mut ids = BTreeSet::from([id]);
    let mut last = id;
    for named in [0, last] {
        let made = told((named, NEW), &mut client);
        assert!(made.error.is_none() && ids.insert(made.session_id), "{made:?}");
        assert_eq!(told((last, 1), &mut client), not_found);
        assert_eq!(told((made.session_id, 1), &mut client).session_id, made.session_id);
        last = made.session_id;
    }
}

#[test]
fn requests_of_a_session_that_are_sent_at_once_are_taken_one_after_the_other() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("orders", 2)]);
    let mut client = KafkaClient::connect(&broker);
    let id = opened(&mut client, &[("orders", 0, 0), ("orders", 1, 0)]);
    let poll = FetchRequest { max_wait_ms: LONG_MS, ..session_request((id, 1), &[], &[]) };
    client.send(VERSION, &poll);
    client.send(8, &produce_request("orders", 1, &batch(Codec::None, &["wakes it"]), -1));
    client.send(VERSION, &session_request((id, 2), &[("orders", 1, 1)], &[]));
    client.send(VERSION, &session_request((id, 2), &[], &[]));
    client.send(VERSION, &session_request((id, 3), &[], &[]));
    assert_eq!(fetched(&client.receive(ApiKey::Fetch, VERSION)).with_records(), [("orders", 1)]);
    assert!(row_of_produce(&client.receive(ApiKey::Produce, 8)).error_code.is_none());
    let [second, again, third] = [(); 3].map(|()| fetched(&client.receive(ApiKey::Fetch, VERSION)));
    let nothing = Fetched { error: KafkaError::NONE, session_id: id, rows: Vec::new() };
    assert_eq!(second, nothing, "it had passed over what the first one read");
    assert_eq!(again, refusal(KafkaError::INVALID_FETCH_SESSION_EPOCH));
    assert_eq!(third, nothing);
}

#[test]
fn one_record_wakes_a_long_poll_over_thousands_of_partitions() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("many", 2000)]);
    let mut client = KafkaClient::connect(&broker);
    client.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let rows: Vec<_> = (0..2000).map(|partition| ("many", partition, 0)).collect();
    let id = opened(&mut client, &rows);
    let mut passed = Vec::new();
    for (epoch, partition) in (1..).zip([1234, 7, 1999]) {
        client.send(VERSION, &FetchRequest { max_wait_ms: LONG_MS, ..session_request((id, epoch), &passed, &[]) });
        KafkaClient::connect(&broker).produce("many", partition, &batch(Codec::None, &["wakes it"]));
        let woken = fetched(&client.receive(ApiKey::Fetch, VERSION));
        assert_eq!((woken.with_records(), woken.rows.len()), (vec![("many", partition)], 1));
        passed = vec![("many", partition, 1)];
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn under_a_limit_of_bytes_every_partition_has_its_turn() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("orders", 4)]);
    let mut client = KafkaClient::connect(&broker);
    for partition in 0..4 {
        client.produce("orders", partition, &batch(Codec::None, &["one", "two"]));
    }
    let rows: Vec<_> = (0..4).map(|partition| ("orders", partition, 0)).collect();
    let narrow = |request| FetchRequest { max_bytes: 1, ..request };
    let first = ask(&mut client, &narrow(session_request((0, NEW), &rows, &[])));
    let mut served = Vec::from_iter(first.with_records().iter().map(|row| row.1));
    for epoch in 1..8 {
        let next = ask(&mut client, &narrow(session_request((first.session_id, epoch), &[], &[])));
        served.extend(next.with_records().iter().map(|row| row.1));
    }
    assert_eq!(served, [0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn another_log_start_is_news_without_records() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("orders", 2)]);
    let mut client = KafkaClient::connect(&broker);
    client.produce("orders", 1, &batch(Codec::None, &["one", "two"]));
    let id = opened(&mut client, &[("orders", 0, 0), ("orders", 1, 2)]);
    let partitions = [DeleteRecordsPartition { partition_index: 1, offset: 1 }].into();
    let topics = [DeleteRecordsTopic { name: "orders", partitions }].into();
    let reply = client.ask(2, &DeleteRecordsRequest { topics, timeout_ms: 1000 });
    assert_eq!(reply.decode::<DeleteRecordsReply<'_>>().topics.len(), 1);
    let news = ask(&mut client, &session_request((id, 1), &[], &[]));
    let rows: Vec<_> = news.rows.iter().map(|row| (row.partition, row.log_start, row.records.len())).collect();
    assert_eq!(rows, [(1, 1, 0)]);
    assert_eq!(ask(&mut client, &session_request((id, 2), &[], &[])).rows, []);
}

#[test]
fn an_error_comes_with_every_reply_until_it_is_gone() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("orders", 2)]);
    let mut native = Client::connect(broker.addresses().native);
    let mut client = KafkaClient::connect(&broker);
    let unknown = KafkaError::UNKNOWN_TOPIC_OR_PARTITION;
    let rows = [("orders", 0, 0), ("orders", 2, 0), ("later", 0, 0), ("orders", 1, 7)];
    let first = ask(&mut client, &session_request((0, NEW), &rows, &[]));
    let out_of_range = (1, KafkaError::OFFSET_OUT_OF_RANGE);
    assert_eq!(first.errors(), [(0, KafkaError::NONE), (2, unknown), (0, unknown), out_of_range]);
    let next = |client: &mut KafkaClient, epoch, rows: &[(&'static str, i32, i64)]| {
        // It does not wait where there is an error to tell.
        ask(client, &FetchRequest { max_wait_ms: LONG_MS, ..session_request((first.session_id, epoch), rows, &[]) })
    };
    client.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    assert_eq!(next(&mut client, 1, &[]).errors(), [(2, unknown), (0, unknown), out_of_range]);
    native.created("later", 1, &[]);
    let found = next(&mut client, 2, &[("orders", 1, 0)]);
    assert_eq!(found.errors(), [(2, unknown), (0, KafkaError::NONE), (1, KafkaError::NONE)], "both went away");
    // A topic that is deleted is unknown, and another one of its name is read from then on.
    client.produce("orders", 0, &batch(Codec::None, &["of the first"]));
    assert_eq!(next(&mut client, 3, &[("orders", 0, 1)]).errors(), [(0, KafkaError::NONE), (2, unknown)]);
    assert!(native.delete("orders").error.is_none());
    assert_eq!(next(&mut client, 4, &[]).errors(), [(0, unknown), (2, unknown), (1, unknown)]);
    native.created("orders", 3, &[]);
    client.produce("orders", 2, &batch(Codec::None, &["of the second"]));
    let again = next(&mut client, 5, &[]);
    assert_eq!(again.errors(), [(0, KafkaError::OFFSET_OUT_OF_RANGE), (2, KafkaError::NONE), (1, KafkaError::NONE)]);
    assert_eq!(again.with_records(), [("orders", 2)]);
}

#[test]
fn a_topic_that_is_deleted_ends_a_long_poll_for_it() {
    let dir = directory();
    let broker = broker_with(&dir, 2, &[("orders", 1), ("lines", 1)]);
    let mut native = Client::connect(broker.addresses().native);
    let mut client = KafkaClient::connect(&broker);
    client.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let id = opened(&mut client, &[("orders", 0, 0), ("lines", 0, 0)]);
    client.send(VERSION, &FetchRequest { max_wait_ms: LONG_MS, ..session_request((id, 1), &[], &[]) });
    assert!(native.delete("lines").error.is_none());
    let woken = fetched(&client.receive(ApiKey::Fetch, VERSION));
    assert_eq!(woken.errors(), [(0, KafkaError::UNKNOWN_TOPIC_OR_PARTITION)]);
    assert_eq!(woken.rows[0].topic, "lines");
}

#[test]
fn a_session_that_would_take_too_much_memory_is_not_made_or_ends() {
    let dir = directory();
    let broker = broker_with(&dir, 1, &[("orders", 1)]);
    let mut client = KafkaClient::connect(&broker);
    // Names that no topic has take memory all the same.
    let names: Vec<String> = (0..10_000).map(|number| format!("{number:0>200}")).collect();
    let row = || [FetchPartition::default()].into();
    let topic = |name| FetchTopic { topic: name, partitions: row(), ..FetchTopic::default() };
    let all = |session_id, session_epoch| FetchRequest {
        session_id,
        session_epoch,
        topics: names.iter().map(|name| topic(name)).collect(),
        ..fetch_request("", 0, 0, 0)
    };
    let reply = ask(&mut client, &all(0, NEW));
    assert_eq!((reply.error, reply.session_id, reply.rows.len()), (KafkaError::NONE, 0, 10_000));
    let id = opened(&mut client, &[("orders", 0, 0)]);
    assert_eq!(ask(&mut client, &all(id, 1)), refusal(KafkaError::FETCH_SESSION_ID_NOT_FOUND));
    assert_eq!(ask(&mut client, &session_request((id, 2), &[], &[])).error, KafkaError::FETCH_SESSION_ID_NOT_FOUND);
    // What sessions took came back with their ends: the same connection again, and with others one after the other.
    for _ in 0..10 {
        let mut client = KafkaClient::connect(&broker);
        let some = FetchRequest { topics: names[..2000].iter().map(|name| topic(name)).collect(), ..all(0, NEW) };
        assert!((0..1000).any(|_| ask(&mut client, &some).session_id > 0), "the one before has ended");
        assert!(ask(&mut client, &some).session_id > 0, "the next one takes its place");
    }
}

/// A fetch whose frame is as large as the memory that one shard has for bodies, nearly.
fn large_frame(request: &FetchRequest<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    append_request(&mut frame, VERSION, 1, Some("test"), request).expect("the version carries it");
    // What stands behind a message is nobody's business.
    frame.resize(33 << 19, 0);
    let length = i32::try_from(frame.len() - 4).expect("a frame");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Sends a fetch with a large frame that waits for records, and then, on another connection, a batch that does not fit beside it.
fn beside_a_large_frame(broker: &RunningBroker, poller: &mut KafkaClient, request: FetchRequest<'_>) -> KafkaClient {
    let mut native = Client::connect(broker.addresses().native);
    let fetches = |native: &mut Client| native.describe_node().shard_total("requests.fetch");
    let before = fetches(&mut native);
    poller.stream.write_all(&large_frame(&FetchRequest { max_wait_ms: LONG_MS, ..request })).expect("the broker reads");
    while fetches(&mut native) == before {}
    let mut producer = KafkaClient::connect(broker);
    producer.stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let value = "x".repeat(1_000_000);
    producer.send(8, &produce_request("lines", 0, &batch(Codec::None, &[&value]), -1));
    producer
}

#[test]
fn a_long_poll_holds_the_memory_of_its_frame_outside_of_a_session_only() {
    let dir = directory();
    let broker = broker_with(&dir, 1, &[("orders", 1), ("lines", 1)]);
    let (mut poller, mut other) = (KafkaClient::connect(&broker), KafkaClient::connect(&broker));
    let outside = fetch_request("orders", 0, 0, 0);
    let mut producer = beside_a_large_frame(&broker, &mut poller, outside);
    for _ in 0..20 {
        assert!(other.produce("lines", 0, &batch(Codec::None, &["small"])).error_code.is_none());
    }
    producer.stream.set_nonblocking(true).expect("it can be set");
    let early = producer.stream.peek(&mut [0]).expect_err("the batch waits for the memory of the frame");
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    producer.stream.set_nonblocking(false).expect("it can be set");
    other.produce("orders", 0, &batch(Codec::None, &["wakes it"]));
    assert!(!row_of_fetch(&poller.receive(ApiKey::Fetch, VERSION)).1.is_empty());
    assert!(row_of_produce(&producer.receive(ApiKey::Produce, 8)).error_code.is_none());

    let within = session_request((0, NEW), &[("orders", 0, 1)], &[]);
    let mut producer = beside_a_large_frame(&broker, &mut poller, within);
    assert!(row_of_produce(&producer.receive(ApiKey::Produce, 8)).error_code.is_none(), "it waits for nobody");
    other.produce("orders", 0, &batch(Codec::None, &["wakes it"]));
    let woken = fetched(&poller.receive(ApiKey::Fetch, VERSION));
    assert!(woken.session_id > 0 && woken.with_records() == [("orders", 0)]);
    broker.stop().expect("a clean stop");
}

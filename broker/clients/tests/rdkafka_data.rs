//! Records through librdkafka: what it writes it reads back, whatever a record may be, through restarts of the broker, and in either
//! direction between it and the native client.

mod support;

use ouzel_client::{ConsumerConfig, PartitionIndex, Partitions, ProducerConfig, Record, StartAt};
use rdkafka::consumer::Consumer;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::{Offset, TopicPartitionList};
use support::{PATIENCE, Writer, directory, read, reader, start, start_anywhere};

const MOMENT_MS: i64 = 1_700_000_000_000;

/// A record as bytes: key, value, headers, time.
type Told = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, i64);

/// Whatever a record may be: no key and an empty one, no value and an empty one, headers that repeat, are empty or are not there.
fn every_kind() -> Vec<Told> {
    let mut kinds = Vec::new();
    for key in [None, Some(&b""[..]), Some(b"key"), Some(b"\xff\x00")] {
        for value in [None, Some(Vec::new()), Some(b"value".to_vec()), Some(vec![b'x'; 2000])] {
            let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
            let headers = match kinds.len() % 3 {
                0 => vec![],
                1 => vec![header("trace", Some(b"1")), header("trace", Some(b"2"))],
                _ => vec![header("none", None), header("empty", Some(b"")), header("", Some(b"nameless"))],
            };
            kinds.push((key.map(<[u8]>::to_vec), value, headers, MOMENT_MS + kinds.len() as i64));
        }
    }
    kinds
}

fn send(writer: &Writer, topic: &str, (key, value, headers, timestamp): &Told) {
    let mut record = BaseRecord::to(topic).partition(0).timestamp(*timestamp);
    if let Some(key) = key {
        record = record.key(key.as_slice());
    }
    if let Some(value) = value {
        record = record.payload(value.as_slice());
    }
    let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
        headers.insert(Header { key: name, value: value.as_deref() })
    });
    writer.send(record.headers(headers));
}

fn told(message: &impl Message) -> Told {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    let timestamp = message.timestamp().to_millis().expect("a time");
    (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec), headers, timestamp)
}

#[test]
fn the_first_message_of_a_newcomer_makes_its_topic_and_comes_back() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let writer = Writer::new(&broker, &[]);
    writer.send(BaseRecord::to("letters").payload(&b"hello"[..]));
    assert_eq!(writer.delivered(), [(0, 0)]);
    let records = read(&broker, "letters", 0, 0, 1);
    assert_eq!(records[0].payload(), Some(&b"hello"[..]));
    broker.stop().expect("a clean stop");
}

#[test]
fn every_kind_of_record_comes_back_as_it_was_in_every_codec() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        // One batch for them all, worth compressing.
        let writer = Writer::new(&broker, &[("compression.codec", codec), ("linger.ms", "100")]);
        let kinds = every_kind();
        kinds.iter().for_each(|kind| send(&writer, codec, kind));
        assert_eq!(writer.delivered().len(), kinds.len());
        let records = read(&broker, codec, 0, 0, kinds.len());
        assert_eq!(records.iter().map(told).collect::<Vec<_>>(), kinds, "{codec}");
        assert!(records.iter().map(Message::offset).eq(0..kinds.len() as i64), "{codec}");
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn an_idempotent_producer_loses_doubles_and_reorders_nothing_through_restarts() {
    const RECORDS: usize = 10_000;
    let dir = directory();
    let first = start_anywhere(dir.path());
    let address = first.addresses().kafka.expect("it listens");
    // Small batches: many are under way when the broker goes.
    let settings = [("enable.idempotence", "true"), ("linger.ms", "0"), ("batch.num.messages", "10")];
    let writer = Writer::new(&first, &settings);
    let mut broker = Some(first);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..RECORDS {
                let value = number.to_string();
                writer.send(BaseRecord::to("numbers").partition(0).payload(value.as_bytes()));
            }
        });
        for (part, in_good_order) in [(RECORDS / 10, true), (RECORDS / 4, false), (RECORDS / 2, true)] {
            let limit = std::time::Instant::now() + PATIENCE;
            while writer.settled_count() < part {
                assert!(std::time::Instant::now() < limit, "{} records were settled", writer.settled_count());
                std::thread::yield_now();
            }
            let old = broker.take().expect("it runs");
            if in_good_order {
                old.stop().expect("a clean stop")
            } else {
                drop(old)
            }
            broker = Some(start(dir.path(), address));
        }
    });
    let broker = broker.expect("it runs");
    let mut delivered = writer.delivered();
    delivered.sort_unstable();
    assert_eq!(delivered, (0..RECORDS as i64).map(|offset| (0, offset)).collect::<Vec<_>>());
    let records = read(&broker, "numbers", 0, 0, RECORDS);
    for (number, record) in records.iter().enumerate() {
        assert_eq!(record.payload(), Some(number.to_string().as_bytes()), "at offset {}", record.offset());
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn offsets_are_found_by_time_and_the_ends_are_told() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let writer = Writer::new(&broker, &[("compression.codec", "lz4")]);
    for number in 0..100 {
        let value = number.to_string();
        let record = BaseRecord::to("times").partition(0).timestamp(MOMENT_MS + number * 10).payload(value.as_bytes());
        writer.send(record);
    }
    assert_eq!(writer.delivered().len(), 100);
    let consumer = reader(&broker);
    assert_eq!(consumer.fetch_watermarks("times", 0, PATIENCE).expect("the ends"), (0, 100));
    for (time, expected) in [
        (0, Offset::Offset(0)),
        (MOMENT_MS, Offset::Offset(0)),
        (MOMENT_MS + 1, Offset::Offset(1)),
        (MOMENT_MS + 990, Offset::Offset(99)),
        (MOMENT_MS + 991, Offset::End),
    ] {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset("times", 0, Offset::Offset(time)).expect("a time");
        let found = consumer.offsets_for_times(asked, PATIENCE).expect("offsets");
        let found = found.find_partition("times", 0).expect("the partition asked for");
        found.error().expect("no error");
        assert_eq!(found.offset(), expected, "{}", time - MOMENT_MS);
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn a_key_has_the_same_partition_and_a_record_is_the_same_whichever_client_writes_it() {
    const PARTITIONS: u32 = 7;
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}-{}", "x".repeat(number % 9))).collect();
    let writer = Writer::new(&broker, &[("partitioner", "murmur2_random"), ("compression.codec", "zstd")]);
    let bootstrap = broker.addresses().native.to_string();
    let native = runtime.block_on(ouzel_client::Client::connect(bootstrap, Default::default())).expect("connected");
    let ours: Vec<(i32, String)> = runtime.block_on(async {
        let topic = ouzel_client::NewTopic::named("mixed").partitions(PARTITIONS);
        native.admin().create_topic(topic).await.expect("created");
        let producer = native.producer(ProducerConfig::default()).expect("legal settings");
        let mut placed = Vec::new();
        for key in &keys {
            let record = Record::to("mixed").key(key.as_bytes()).value(b"native");
            placed.push((producer.send(record).await.expect("delivered").partition.0 as i32, key.clone()));
        }
        placed
    });
    for key in &keys {
        writer.send(BaseRecord::to("mixed").key(key.as_bytes()).payload(&b"rdkafka"[..]));
    }
    assert_eq!(writer.delivered().len(), keys.len());
    // Every key twice in one partition: once by each client.
    for partition in 0..PARTITIONS as i32 {
        let here: Vec<&str> = ours.iter().filter(|(at, _)| *at == partition).map(|(_, key)| key.as_str()).collect();
        assert!(!here.is_empty(), "the keys are spread");
        let records = read(&broker, "mixed", partition, 0, 2 * here.len());
        for (writer, value) in [&b"native"[..], b"rdkafka"].into_iter().enumerate() {
            let half = &records[writer * here.len()..(writer + 1) * here.len()];
            assert!(half.iter().all(|record| record.payload() == Some(value)), "one client after the other");
            assert!(half.iter().map(|record| record.key().expect("a key")).eq(here.iter().map(|key| key.as_bytes())));
        }
    }
    // And the native client reads all of them.
    runtime.block_on(async {
        let mut consumer = native.consumer(ConsumerConfig::default()).expect("legal settings");
        consumer.assign("mixed", Partitions::All, StartAt::Earliest).await.expect("assigned");
        let mut read = Vec::new();
        while read.len() < 2 * keys.len() {
            let record = consumer.next().await.expect("a record");
            read.push((
                record.partition.0 as i32,
                String::from_utf8(record.key.expect("a key").to_vec()).expect("text"),
            ));
        }
        let mut expected: Vec<_> = ours.iter().chain(&ours).cloned().collect();
        read.sort_unstable();
        expected.sort_unstable();
        assert_eq!(read, expected);
    });
    broker.stop().expect("a clean stop");
}

#[test]
fn every_kind_of_record_is_the_same_to_the_client_that_did_not_write_it() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let bootstrap = broker.addresses().native.to_string();
    let native = runtime.block_on(ouzel_client::Client::connect(bootstrap, Default::default())).expect("connected");
    let kinds = every_kind();
    let writer = Writer::new(&broker, &[]);
    kinds.iter().for_each(|kind| send(&writer, "theirs", kind));
    assert_eq!(writer.delivered().len(), kinds.len());
    let read_by_native: Vec<Told> = runtime.block_on(async {
        native.admin().create_topic(ouzel_client::NewTopic::named("ours").partitions(1)).await.expect("created");
        let producer = native.producer(ProducerConfig::default()).expect("legal settings");
        for (key, value, headers, timestamp) in &kinds {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let mut record = Record::to("ours").partition(PartitionIndex(0)).headers(&headers).timestamp(*timestamp);
            if let Some(key) = key {
                record = record.key(key);
            }
            if let Some(value) = value {
                record = record.value(value);
            }
            producer.send(record).await.expect("delivered");
        }
        let mut consumer = native.consumer(ConsumerConfig::default()).expect("legal settings");
        consumer.assign("theirs", Partitions::All, StartAt::Earliest).await.expect("assigned");
        let mut read = Vec::new();
        while read.len() < kinds.len() {
            let record = consumer.next().await.expect("a record");
            let header = |header: &ouzel_client::ConsumedHeader| {
                (header.key_str().expect("text").to_owned(), header.value.as_ref().map(|value| value.to_vec()))
            };
            let headers = record.headers.iter().map(header).collect();
            let (key, value) = (record.key.map(|key| key.to_vec()), record.value.map(|value| value.to_vec()));
            read.push((key, value, headers, record.timestamp));
        }
        read
    });
    assert_eq!(read_by_native, kinds);
    assert_eq!(read(&broker, "ours", 0, 0, kinds.len()).iter().map(told).collect::<Vec<_>>(), kinds);
    broker.stop().expect("a clean stop");
}

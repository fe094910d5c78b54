//! What the tests with librdkafka share: a broker on free ports, a producer that knows what became of its records, a reader of
//! one partition.
#![allow(dead_code, unreachable_pub, reason = "a module of several test crates, each of which uses a part of it")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ouzel_broker::{Broker, BrokerConfig, RunningBroker, StartError};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tempfile::TempDir;

/// Long enough for any machine: a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1024 * 1024;

/// A directory on a real file system, gone with the value.
pub fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// A broker of two shards; `kafka` with port 0 is any free port.
pub fn start(data_dir: &Path, kafka: SocketAddr) -> RunningBroker {
    let config = BrokerConfig {
        native: SocketAddr::from(([127, 0, 0, 1], 0)),
        kafka: Some(kafka),
        shards: 2,
        memory_bytes_max: 2 * 64 * MIB,
        journal_bytes_max: 2 * 16 * MIB,
        ..BrokerConfig::new(data_dir)
    };
    let limit = Instant::now() + PATIENCE;
    loop {
        match Broker::start(config.clone()) {
            Ok(broker) => return broker,
            // The threads of one that was dropped have not let go yet.
            Err(StartError::Locked { .. } | StartError::PortInUse { .. }) if Instant::now() < limit => {}
            Err(error) => panic!("the broker starts: {error}"),
        }
    }
}

pub fn start_anywhere(data_dir: &Path) -> RunningBroker {
    start(data_dir, SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// Settings of a client of this broker.
pub fn client(broker: &RunningBroker, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker.addresses().kafka.expect("it listens for Kafka's clients").to_string());
    // Whoever is thrown out by a restart is back soon.
    config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "100");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config
}

/// Notes what became of each record: its partition and offset, or why it was not delivered.
#[derive(Default)]
pub struct Deliveries(Mutex<Vec<Result<(i32, i64), KafkaError>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
    }
}

/// A producer that knows what became of its records.
pub struct Writer(ThreadedProducer<Deliveries>);

impl Writer {
    pub fn new(broker: &RunningBroker, settings: &[(&str, &str)]) -> Self {
        Self(client(broker, settings).create_with_context(Deliveries::default()).expect("legal settings"))
    }

    /// Hands a record over; waits while the queue is full.
    pub fn send(&self, record: BaseRecord<'_, [u8], [u8]>) {
        let limit = Instant::now() + PATIENCE;
        let mut left = record;
        loop {
            match self.0.send(left) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) => left = record,
                Err((error, _)) => panic!("a record is not taken: {error}"),
            }
            assert!(Instant::now() < limit, "the queue stays full");
            std::thread::yield_now();
        }
    }

    /// How many records something has become of.
    pub fn settled_count(&self) -> usize {
        self.0.context().0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for every record; returns where each is, in the order in which they were told.
    pub fn delivered(&self) -> Vec<(i32, i64)> {
        self.0.flush(PATIENCE).expect("everything is settled in time");
        let settled = std::mem::take(&mut *self.0.context().0.lock().unwrap_or_else(PoisonError::into_inner));
        settled.into_iter().map(|outcome| outcome.expect("delivered")).collect()
    }
}

/// A consumer without a group: it is given its partitions.
pub fn reader(broker: &RunningBroker) -> BaseConsumer {
    let settings = [("group.id", "unused"), ("enable.auto.commit", "false"), ("fetch.wait.max.ms", "50")];
    client(broker, &settings).create().expect("legal settings")
}

/// The records of one partition from an offset on, as many as there must be.
pub fn read(broker: &RunningBroker, topic: &str, partition: i32, from: i64, count: usize) -> Vec<OwnedMessage> {
    let consumer = reader(broker);
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(topic, partition, Offset::Offset(from)).expect("an offset");
    consumer.assign(&assigned).expect("no group is needed");
    let limit = Instant::now() + PATIENCE;
    let mut read = Vec::with_capacity(count);
    while read.len() < count {
        assert!(Instant::now() < limit, "{} of {count} records came", read.len());
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => read.push(message.detach()),
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => {}
        }
    }
    read
}

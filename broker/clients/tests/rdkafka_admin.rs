//! The administration of topics through librdkafka: what it asks for is done, what it cannot have is refused by the number that it
//! knows, and it sees what it did.

mod support;

use ouzel_broker::RunningBroker;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::Consumer;
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use support::{PATIENCE, Writer, client, directory, read, reader, start_anywhere};

/// An administrator, and where its futures run.
struct Office {
    admin: AdminClient<DefaultClientContext>,
    options: AdminOptions,
    runtime: tokio::runtime::Runtime,
}

impl Office {
    fn new(broker: &RunningBroker) -> Self {
        let admin = client(broker, &[]).create().expect("legal settings");
        let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        Self { admin, options, runtime: tokio::runtime::Runtime::new().expect("a runtime") }
    }

    fn create(&self, topic: NewTopic<'_>) -> Result<String, (String, RDKafkaErrorCode)> {
        let created = self.runtime.block_on(self.admin.create_topics([&topic], &self.options));
        created.expect("an answer").remove(0)
    }

    fn delete(&self, topic: &str) -> Result<String, (String, RDKafkaErrorCode)> {
        let deleted = self.runtime.block_on(self.admin.delete_topics(&[topic], &self.options));
        deleted.expect("an answer").remove(0)
    }

    fn grow(&self, topic: &str, partitions: usize) -> Result<String, (String, RDKafkaErrorCode)> {
        let grown = NewPartitions::new(topic, partitions);
        let grown = self.runtime.block_on(self.admin.create_partitions([&grown], &self.options));
        grown.expect("an answer").remove(0)
    }

    /// The value of a setting, and whether it was set for the topic.
    fn setting(&self, of: ResourceSpecifier<'_>, key: &str) -> (String, bool) {
        let described = self.runtime.block_on(self.admin.describe_configs([&of], &self.options));
        let resource = described.expect("an answer").remove(0).expect("the resource is known");
        let entry = resource.get(key).unwrap_or_else(|| panic!("{key} is not told"));
        (entry.value.clone().expect("a value"), entry.source == ConfigSource::DynamicTopic)
    }

    /// The crate does not pass on what the broker thinks of the change: only looking tells.
    fn alter(&self, topic: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        let altered = self.runtime.block_on(self.admin.alter_configs([&change], &self.options));
        assert_eq!(altered.expect("an answer").len(), 1);
    }
}

fn topic(name: &str, partitions: i32) -> NewTopic<'_> {
    NewTopic::new(name, partitions, TopicReplication::Fixed(1))
}

/// Partitions of a topic as its clients see them; `None` where there is no such topic.
fn partition_count(broker: &RunningBroker, name: &str) -> Option<usize> {
    let metadata = reader(broker).fetch_metadata(None, PATIENCE).expect("metadata");
    let found = metadata.topics().iter().find(|topic| topic.name() == name);
    found.map(|topic| topic.partitions().len())
}

#[test]
fn topics_are_created_grown_and_deleted() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let office = Office::new(&broker);
    assert_eq!(office.create(topic("orders", 3)), Ok("orders".to_owned()));
    assert_eq!(partition_count(&broker, "orders"), Some(3));
    let refused = |outcome: Result<String, (String, RDKafkaErrorCode)>| outcome.expect_err("a refusal").1;
    assert_eq!(refused(office.create(topic("orders", 3))), RDKafkaErrorCode::TopicAlreadyExists);
    assert_eq!(refused(office.create(topic("a/b", 3))), RDKafkaErrorCode::InvalidTopic);
    let twofold = NewTopic::new("bills", 1, TopicReplication::Fixed(2));
    assert_eq!(refused(office.create(twofold)), RDKafkaErrorCode::InvalidReplicationFactor);
    assert_eq!(office.grow("orders", 5), Ok("orders".to_owned()));
    assert_eq!(partition_count(&broker, "orders"), Some(5));
    assert_eq!(refused(office.grow("orders", 5)), RDKafkaErrorCode::InvalidPartitions);
    assert_eq!(refused(office.grow("bills", 5)), RDKafkaErrorCode::UnknownTopicOrPartition);
    // The new partitions take records.
    let writer = Writer::new(&broker, &[]);
    writer.send(BaseRecord::to("orders").partition(4).payload(&b"last"[..]));
    assert_eq!(writer.delivered(), [(4, 0)]);
    assert_eq!(office.delete("orders"), Ok("orders".to_owned()));
    assert_eq!(partition_count(&broker, "orders"), None);
    assert_eq!(refused(office.delete("orders")), RDKafkaErrorCode::UnknownTopicOrPartition);
    broker.stop().expect("a clean stop");
}

#[test]
fn settings_are_told_with_their_sources_and_changed() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let office = Office::new(&broker);
    assert!(office.create(topic("orders", 1).set("segment.bytes", "2097152")).is_ok());
    let orders = || ResourceSpecifier::Topic("orders");
    assert_eq!(office.setting(orders(), "segment.bytes"), ("2097152".to_owned(), true));
    assert_eq!(office.setting(orders(), "max.message.bytes"), ("1048588".to_owned(), false));
    // As Kafka does with this api: what is not named any more is not set any more.
    office.alter("orders", "max.message.bytes", "2000");
    assert_eq!(office.setting(orders(), "max.message.bytes"), ("2000".to_owned(), true));
    assert!(!office.setting(orders(), "segment.bytes").1);
    let writer = Writer::new(&broker, &[]);
    writer.send(BaseRecord::to("orders").payload(&b"small"[..]));
    assert_eq!(writer.delivered(), [(0, 0)]);
    for (key, value) in [("cleanup.policy", "compact"), ("no.such.key", "1"), ("max.message.bytes", "x")] {
        office.alter("orders", key, value);
        assert_eq!(office.setting(orders(), "max.message.bytes"), ("2000".to_owned(), true), "{key}={value} was taken");
        assert_eq!(office.setting(orders(), "cleanup.policy"), ("delete".to_owned(), false));
    }
    assert_eq!(office.setting(ResourceSpecifier::Broker(0), "num.partitions").0, "1");
    broker.stop().expect("a clean stop");
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let office = Office::new(&broker);
    let writer = Writer::new(&broker, &[("linger.ms", "0"), ("batch.num.messages", "1")]);
    for number in 0..10 {
        writer.send(BaseRecord::to("orders").partition(0).payload(format!("{number}").as_bytes()));
    }
    assert_eq!(writer.delivered().len(), 10);
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset("orders", 0, Offset::Offset(4)).expect("an offset");
    let deleted = office.runtime.block_on(office.admin.delete_records(&upto, &office.options)).expect("an answer");
    let row = deleted.find_partition("orders", 0).expect("the partition asked for");
    row.error().expect("no error");
    assert_eq!(row.offset(), Offset::Offset(4));
    assert_eq!(reader(&broker).fetch_watermarks("orders", 0, PATIENCE).expect("the ends"), (4, 10));
    assert_eq!(read(&broker, "orders", 0, 4, 6).len(), 6);
    broker.stop().expect("a clean stop");
}

#[test]
fn the_cluster_has_the_name_that_it_has_for_native_clients() {
    let dir = directory();
    let broker = start_anywhere(dir.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let native = broker.addresses().native.to_string();
    let native = runtime.block_on(ouzel_client::Client::connect(native, Default::default())).expect("connected");
    let name = runtime.block_on(native.admin().cluster_id()).expect("an answer").to_string();
    let consumer = reader(&broker);
    assert_eq!(consumer.client().fetch_cluster_id(PATIENCE), Some(name));
    broker.stop().expect("a clean stop");
}

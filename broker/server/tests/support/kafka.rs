//! A plain client of the Kafka protocol over a `std` socket, for the broker's tests. Speaks real frames; every message in any
//! version.
#![allow(dead_code, unreachable_pub, reason = "a module of several test crates, each of which uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use ouzel_broker::RunningBroker;
use ouzel_protocol::batch::parse_header;
use ouzel_protocol::kafka::{
    ApiKey, FetchPartition, FetchPartitionReply, FetchReply, FetchRequest, FetchTopic, ForgottenTopic, KafkaError,
    Message, MetadataReply, MetadataRequest, MetadataRequestTopic, ProducePartition, ProducePartitionReply,
    ProduceReply, ProduceRequest, ProduceTopic, Records, append_request, decode_reply_header,
};
use ouzel_protocol::{BatchBuilder, Codec, Dialect};

/// A broker with a Kafka listener on a free port.
pub fn start(data_dir: &Path, shards: u16) -> RunningBroker {
    let config = ouzel_broker::BrokerConfig {
        kafka: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..super::config(data_dir, shards)
    };
    super::try_start(config).expect("the broker starts")
}

/// Where its Kafka listener is.
pub fn address(broker: &RunningBroker) -> SocketAddr {
    broker.addresses().kafka.expect("it listens for Kafka's clients")
}

/// One connection.
pub struct KafkaClient {
    pub stream: TcpStream,
    next: i32,
}

/// A reply as it came: to be decoded in the version of its request.
pub struct Raw {
    api: ApiKey,
    version: i16,
    frame: Vec<u8>,
}

impl Raw {
    pub fn correlation_id(&self) -> i32 {
        decode_reply_header(self.api, self.version, &self.frame).expect("a reply header").0
    }

    pub fn decode<'a, M: Message<'a>>(&'a self) -> M {
        let (_, body) = decode_reply_header(self.api, self.version, &self.frame).expect("a reply header");
        M::decode(body, self.version).expect("a reply of the version asked for")
    }
}

impl KafkaClient {
    pub fn connect(broker: &RunningBroker) -> Self {
        Self::connect_to(address(broker))
    }

    pub fn connect_to(address: SocketAddr) -> Self {
        Self { stream: super::raw(address), next: 0 }
    }

    /// Sends a request; returns its correlation id.
    pub fn send<'a>(&mut self, version: i16, request: &impl Message<'a>) -> i32 {
        self.next += 1;
        let mut frame = Vec::new();
        append_request(&mut frame, version, self.next, Some("test"), request).expect("the version carries it");
        self.stream.write_all(&frame).expect("the broker reads");
        self.next
    }

    /// The next reply, to a request of this api and version.
    pub fn receive(&mut self, api: ApiKey, version: i16) -> Raw {
        Raw { api, version, frame: read_frame(&mut self.stream) }
    }

    /// Sends a request and takes its reply.
    pub fn ask<'a, M: Message<'a>>(&mut self, version: i16, request: &M) -> Raw {
        let correlation_id = self.send(version, request);
        let reply = self.receive(M::API, version);
        assert_eq!(reply.correlation_id(), correlation_id);
        reply
    }

    /// Asks for a topic by its name, which creates it.
    pub fn create(&mut self, topic: &str) {
        let row = MetadataRequestTopic { name: Some(topic), ..MetadataRequestTopic::default() };
        let asked = MetadataRequest { topics: Some([row].into_iter().collect()), ..MetadataRequest::default() };
        let reply = self.ask(9, &asked);
        let found = reply.decode::<MetadataReply<'_>>().topics.iter().next().expect("one topic");
        assert_eq!(found.error_code, KafkaError::NONE);
    }

    /// Appends one batch; returns the row of the reply.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: &[u8]) -> ProducePartitionReply<'static> {
        let reply = self.ask(8, &produce_request(topic, partition, batch, -1));
        row_of_produce(&reply)
    }

    /// Fetches one partition from an offset on; returns the row without its records, and them.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> (FetchPartitionReply<'static>, Vec<u8>) {
        let reply = self.ask(11, &fetch_request(topic, partition, offset, 0));
        row_of_fetch(&reply)
    }
}

pub fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).expect("a reply");
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
    stream.read_exact(&mut frame).expect("a whole reply");
    frame
}

pub fn produce_request<'a>(topic: &'a str, partition: i32, batch: &'a [u8], acks: i16) -> ProduceRequest<'a> {
    let row = ProducePartition { index: partition, records: Records::Here(batch) };
    let topic = ProduceTopic { name: topic, partition_data: [row].into_iter().collect(), ..ProduceTopic::default() };
    ProduceRequest { acks, timeout_ms: 1000, topic_data: [topic].into_iter().collect(), ..ProduceRequest::default() }
}

pub fn row_of_produce(reply: &Raw) -> ProducePartitionReply<'static> {
    let topic = reply.decode::<ProduceReply<'_>>().responses.iter().next().expect("one topic");
    let row = topic.partition_responses.iter().next().expect("one partition");
    ProducePartitionReply {
        index: row.index,
        error_code: row.error_code,
        base_offset: row.base_offset,
        log_append_time_ms: row.log_append_time_ms,
        log_start_offset: row.log_start_offset,
        ..ProducePartitionReply::default()
    }
}

pub fn fetch_request(topic: &str, partition: i32, offset: i64, max_wait_ms: i32) -> FetchRequest<'_> {
    let row =
        FetchPartition { partition, fetch_offset: offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic = FetchTopic { topic, partitions: [row].into_iter().collect(), ..FetchTopic::default() };
    FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: [topic].into_iter().collect(),
        ..FetchRequest::default()
    }
}

pub fn row_of_fetch(reply: &Raw) -> (FetchPartitionReply<'static>, Vec<u8>) {
    let topic = reply.decode::<FetchReply<'_>>().responses.iter().next().expect("one topic");
    let row = topic.partitions.iter().next().expect("one partition");
    let records = row.records.bytes().unwrap_or_default().to_vec();
    let row = FetchPartitionReply {
        partition_index: row.partition_index,
        error_code: row.error_code,
        high_watermark: row.high_watermark,
        last_stable_offset: row.last_stable_offset,
        log_start_offset: row.log_start_offset,
        ..FetchPartitionReply::default()
    };
    (row, records)
}

/// A fetch that does not wait, in a session: what it adds or changes there (topic, number, offset), and what it forgets.
pub fn session_request<'a>(
    session: (i32, i32),
    rows: &[(&'a str, i32, i64)],
    forgotten: &[(&'a str, i32)],
) -> FetchRequest<'a> {
    let asked = |rows: &[(&'a str, i32, i64)]| FetchTopic {
        topic: rows[0].0,
        partitions: rows
            .iter()
            .map(|&(_, partition, fetch_offset)| FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            })
            .collect(),
        ..FetchTopic::default()
    };
    let gone = |&(topic, partition): &(&'a str, i32)| ForgottenTopic {
        topic,
        partitions: [partition].into(),
        ..ForgottenTopic::default()
    };
    let (session_id, session_epoch) = session;
    FetchRequest {
        session_id,
        session_epoch,
        topics: rows.chunk_by(|one, next| one.0 == next.0).map(asked).collect(),
        forgotten_topics_data: forgotten.iter().map(gone).collect(),
        ..fetch_request("", 0, 0, 0)
    }
}

/// What a fetch in a session was told.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched {
    pub error: KafkaError,
    pub session_id: i32,
    pub rows: Vec<FetchedRow>,
}

/// What it was told of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedRow {
    pub topic: String,
    pub partition: i32,
    pub error: KafkaError,
    pub high_watermark: i64,
    pub log_start: i64,
    pub records: Vec<u8>,
}

impl Fetched {
    /// Which partitions have records.
    pub fn with_records(&self) -> Vec<(&str, i32)> {
        let has_records = |row: &&FetchedRow| !row.records.is_empty();
        self.rows.iter().filter(has_records).map(|row| (row.topic.as_str(), row.partition)).collect()
    }

    /// Which partitions it tells of, and with which error.
    pub fn errors(&self) -> Vec<(i32, KafkaError)> {
        self.rows.iter().map(|row| (row.partition, row.error)).collect()
    }
}

pub fn fetched(reply: &Raw) -> Fetched {
    let fetched: FetchReply<'_> = reply.decode();
    let mut rows = Vec::new();
    for topic in &fetched.responses {
        rows.extend(topic.partitions.iter().map(|row| FetchedRow {
            topic: topic.topic.to_owned(),
            partition: row.partition_index,
            error: row.error_code,
            high_watermark: row.high_watermark,
            log_start: row.log_start_offset,
            records: row.records.bytes().unwrap_or_default().to_vec(),
        }));
    }
    Fetched { error: fetched.error_code, session_id: fetched.session_id, rows }
}

/// A batch of Kafka's dialect with these values, at timestamps from 1000 on.
pub fn batch(codec: Codec, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, codec, None);
    for (timestamp, value) in (1000..).zip(values) {
        builder.push(timestamp, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build().expect("a batch")
}

/// The bytes that a broker may change of a batch, made equal: base offset and leader epoch.
pub fn as_sent(stored: &[u8]) -> Vec<u8> {
    let mut bytes = stored.to_vec();
    assert!(parse_header(&bytes).is_ok(), "a whole batch");
    bytes[..8].fill(0);
    bytes[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    bytes
}

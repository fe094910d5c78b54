//! What the broker's tests share: a real broker on free ports in a directory of a real file system, and a plain client
//! over `std` sockets that speaks real frames. Each test crate uses a part of it.
#![allow(dead_code, unreachable_pub, reason = "a module of several test crates, each of which uses a part of it")]

pub mod http;
pub mod kafka;
pub mod log;
pub mod scene;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ouzel_broker::{Broker, BrokerConfig, RunningBroker, StartError};
use ouzel_protocol::native::{
    AlterTopicRequest, Api, CreateTopicReply, CreateTopicRequest, DeleteTopicRequest, DescribeNodeReply,
    DescribeNodeRequest, DescribeTopicReply, DescribeTopicRequest, FRAME_HEADER_BYTES, FetchPartition, FetchReply,
    FetchRequest, FrameHeader, HelloReply, HelloRequest, ListOffsetsPartition, ListOffsetsReply, ListOffsetsRequest,
    ListOffsetsResult, MetadataReply, MetadataRequest, OffsetSpec, PROTOCOL_VERSION, ProducePartition, ProduceReply,
    ProduceRequest, ProduceResult, StatusReply, TopicInfo, request_frame,
};
use ouzel_protocol::{
    BatchBuilder, Codec, CorrelationId, DecodeLimits, DecodedBatch, Dialect, ErrorCode, Offset, PartitionIndex,
    TopicId, batches,
};
use tempfile::TempDir;

/// Long enough for any machine: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: u64 = 1024 * 1024;

/// A directory on a real file system, gone with the value.
pub fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

pub fn config(data_dir: &Path, shards: u16) -> BrokerConfig {
    BrokerConfig {
        native: SocketAddr::from(([127, 0, 0, 1], 0)),
        shards,
        memory_bytes_max: u64::from(shards) * 64 * MIB,
        journal_bytes_max: u64::from(shards) * 16 * MIB,
        ..BrokerConfig::new(data_dir)
    }
}

pub fn start(data_dir: &Path, shards: u16) -> RunningBroker {
    try_start(config(data_dir, shards)).expect("the broker starts")
}

pub fn try_start(config: BrokerConfig) -> Result<RunningBroker, StartError> {
    Broker::start(config)
}

/// One connection that has said Hello.
pub struct Client {
    stream: TcpStream,
    next: u64,
}

/// A connection that has said nothing yet.
pub fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream.set_nodelay(true).expect("nodelay can be set");
    stream
}

/// Whether the broker ends this connection: reads until it does.
pub fn ends(stream: &mut TcpStream) -> bool {
    let mut sink = Vec::new();
    match stream.read_to_end(&mut sink) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::hello(address).0
    }

    pub fn hello(address: SocketAddr) -> (Self, HelloReply) {
        let mut client = Self { stream: raw(address), next: 1 };
        let hello = HelloRequest {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            features: 0,
            client: "test".to_owned(),
        };
        let body = client.call(Api::Hello, |out| hello.encode(out));
        let reply = HelloReply::decode(&body).expect("a hello reply");
        (client, reply)
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub fn send(&mut self, api: Api, body: impl FnOnce(&mut Vec<u8>)) -> CorrelationId {
        let correlation = CorrelationId(self.next);
        self.next += 1;
        self.stream.write_all(&request_frame(api, correlation, body)).expect("the broker reads");
        correlation
    }

    /// Sends a whole frame as it is.
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).expect("the broker reads");
    }

    pub fn receive(&mut self) -> (FrameHeader, Bytes) {
        let mut header = [0; FRAME_HEADER_BYTES];
        self.stream.read_exact(&mut header).expect("a reply header");
        let header = FrameHeader::parse(&header).expect("a legal header");
        assert!(header.is_reply());
        let mut body = vec![0; header.body_bytes()];
        self.stream.read_exact(&mut body).expect("a reply body");
        (header, Bytes::from(body))
    }

    pub fn call(&mut self, api: Api, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let correlation = self.send(api, body);
        let (header, body) = self.receive();
        assert_eq!((header.api, header.correlation, header.error), (api, correlation, ErrorCode::None));
        body
    }

    pub fn create(&mut self, name: &str, partitions: u32, configs: &[(&str, &str)]) -> CreateTopicReply {
        let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let request = CreateTopicRequest { name: name.to_owned(), partitions, replication_factor: 0, configs };
        CreateTopicReply::decode(&self.call(Api::CreateTopic, |out| request.encode(out))).expect("a reply")
    }

    /// Creates a topic that must not be refused.
    pub fn created(&mut self, name: &str, partitions: u32, configs: &[(&str, &str)]) -> TopicId {
        let reply = self.create(name, partitions, configs);
        assert_eq!((reply.error, reply.message.as_str()), (ErrorCode::None, ""));
        reply.topic_id
    }

    pub fn delete(&mut self, name: &str) -> StatusReply {
        let request = DeleteTopicRequest { name: name.to_owned() };
        StatusReply::decode(&self.call(Api::DeleteTopic, |out| request.encode(out))).expect("a reply")
    }

    pub fn alter(&mut self, name: &str, partitions: Option<u32>, configs: &[(&str, Option<&str>)]) -> StatusReply {
        let owned = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
        let configs = configs.iter().map(owned).collect();
        let request = AlterTopicRequest { name: name.to_owned(), partitions, configs };
        StatusReply::decode(&self.call(Api::AlterTopic, |out| request.encode(out))).expect("a reply")
    }

    pub fn describe_node(&mut self) -> DescribeNodeReply {
        let body = self.call(Api::DescribeNode, |out| DescribeNodeRequest {}.encode(out));
        DescribeNodeReply::decode(&body).expect("a reply")
    }

    pub fn describe(&mut self, name: &str) -> DescribeTopicReply {
        let request = DescribeTopicRequest { name: name.to_owned() };
        DescribeTopicReply::decode(&self.call(Api::DescribeTopic, |out| request.encode(out))).expect("a reply")
    }

    pub fn metadata(&mut self, topics: Option<&[&str]>) -> MetadataReply {
        let topics = topics.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let request = MetadataRequest { topics };
        MetadataReply::decode(&self.call(Api::Metadata, |out| request.encode(out))).expect("a reply")
    }

    pub fn topic(&mut self, name: &str) -> TopicInfo {
        self.metadata(Some(&[name])).topics.remove(0)
    }

    pub fn send_produce(&mut self, acks: i8, rows: &[(TopicId, u32, &[u8])]) -> CorrelationId {
        let partitions = rows.iter().map(|(topic_id, partition, batch)| ProducePartition {
            topic_id: *topic_id,
            partition: PartitionIndex(*partition),
            batch: Bytes::copy_from_slice(batch),
        });
        let request = ProduceRequest { acks, timeout_ms: 1000, timings: true, partitions: partitions.collect() };
        self.send(Api::Produce, |out| request.encode(out))
    }

    pub fn produce(&mut self, acks: i8, rows: &[(TopicId, u32, &[u8])]) -> Vec<ProduceResult> {
        let correlation = self.send_produce(acks, rows);
        let (header, body) = self.receive();
        assert_eq!((header.correlation, header.error), (correlation, ErrorCode::None));
        let reply = ProduceReply::decode(&body).expect("a produce reply");
        assert!(reply.timings.is_some(), "timings were asked for");
        reply.partitions
    }

    /// Produces one batch of these values, which must not be refused, and returns its base offset.
    pub fn produced(&mut self, topic_id: TopicId, partition: u32, values: &[&str]) -> u64 {
        let result = self.produce(-1, &[(topic_id, partition, &batch(values))]).remove(0);
        assert_eq!(result.error, ErrorCode::None);
        result.base_offset.0
    }

    /// Sends one batch; `false` when the broker has ended the connection.
    pub fn try_send_produce(&mut self, topic_id: TopicId, partition: u32, batch: &[u8]) -> bool {
        let row =
            ProducePartition { topic_id, partition: PartitionIndex(partition), batch: Bytes::copy_from_slice(batch) };
        let request = ProduceRequest { acks: -1, timeout_ms: 1000, timings: false, partitions: vec![row] };
        let correlation = CorrelationId(self.next);
        self.next += 1;
        self.stream.write_all(&request_frame(Api::Produce, correlation, |out| request.encode(out))).is_ok()
    }

    /// The code of the next produce reply's only row; `None` when the broker ended the connection.
    pub fn try_receive_produced(&mut self) -> Option<ErrorCode> {
        let mut header = [0; FRAME_HEADER_BYTES];
        self.stream.read_exact(&mut header).ok()?;
        let mut body = vec![0; FrameHeader::parse(&header).expect("a legal header").body_bytes()];
        self.stream.read_exact(&mut body).ok()?;
        Some(ProduceReply::decode(&body).expect("a produce reply").partitions.remove(0).error)
    }

    pub fn send_fetch(&mut self, fetch: &FetchRequest) -> CorrelationId {
        self.send(Api::Fetch, |out| fetch.encode(out))
    }

    pub fn receive_fetch(&mut self) -> FetchReply {
        let (header, body) = self.receive();
        assert_eq!((header.api, header.error), (Api::Fetch, ErrorCode::None));
        FetchReply::decode(body).expect("a fetch reply")
    }

    pub fn fetch(&mut self, fetch: &FetchRequest) -> FetchReply {
        self.send_fetch(fetch);
        self.receive_fetch()
    }

    /// Every value of a partition from an offset up to the high watermark, with its offset.
    pub fn read_all(&mut self, topic_id: TopicId, partition: u32, from: u64) -> Vec<(u64, String)> {
        let mut at = from;
        let mut all = Vec::new();
        loop {
            let result = self.fetch(&fetch_one(topic_id, partition, at, 0, 1)).partitions.remove(0);
            assert_eq!(result.error, ErrorCode::None);
            let read = values(&result.records, at);
            let Some((last, _)) = read.last() else {
                assert_eq!(result.high_watermark.0, at, "nothing was read below the high watermark");
                return all;
            };
            at = last + 1;
            all.extend(read);
        }
    }

    pub fn offset(&mut self, topic_id: TopicId, partition: u32, at: OffsetSpec) -> ListOffsetsResult {
        let row = ListOffsetsPartition { topic_id, partition: PartitionIndex(partition), at };
        let request = ListOffsetsRequest { partitions: vec![row] };
        let body = self.call(Api::ListOffsets, |out| request.encode(out));
        ListOffsetsReply::decode(&body).expect("a reply").partitions.remove(0)
    }
}

/// A batch of these values at timestamps 1000, 1001, ...
pub fn batch(values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    for (timestamp, value) in (1000..).zip(values) {
        builder.push(timestamp, None, Some(value.as_bytes()), &[]);
    }
    builder.build().expect("a legal batch")
}

pub fn fetch_one(topic_id: TopicId, partition: u32, offset: u64, max_wait_ms: u32, min_bytes: u32) -> FetchRequest {
    let max_bytes = 16 * 1024 * 1024;
    let row = FetchPartition { topic_id, partition: PartitionIndex(partition), offset: Offset(offset), max_bytes };
    FetchRequest { max_wait_ms, min_bytes, max_bytes, partitions: vec![row] }
}

/// Offsets and values of fetched records from an offset on.
pub fn values(records: &[Bytes], from: u64) -> Vec<(u64, String)> {
    let records: Vec<u8> = records.concat();
    let mut found = Vec::new();
    for entry in batches(&records) {
        let (_, bytes) = entry.expect("whole batches");
        let batch = DecodedBatch::decode(bytes, &DecodeLimits::default()).expect("a sound batch");
        for record in batch.records() {
            let record = record.expect("a sound record");
            if record.offset.0 >= from {
                let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                found.push((record.offset.0, value));
            }
        }
    }
    found
}

/// Values numbered from an offset on, as `read_all` returns them.
pub fn numbered(from: u64, values: &[&str]) -> Vec<(u64, String)> {
    (from..).zip(values.iter().map(|value| (*value).to_owned())).collect()
}

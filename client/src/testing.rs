//! Peers for the tests of this crate, on real sockets and with real frames: one that follows a script, and a small broker
//! in memory that can be told to misbehave. Owns no promise of the client; tests only.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ouzel_protocol::native::{
    Api, FetchReply, FetchRequest, FetchResult, FrameHeader, HelloReply, HelloRequest, InitProducerIdReply,
    InitProducerIdRequest, ListOffsetsReply, ListOffsetsRequest, ListOffsetsResult, MetadataReply, MetadataRequest,
    NodeInfo, OffsetSpec, PartitionInfo, ProduceReply, ProduceRequest, ProduceResult, TopicInfo, reply_frame,
};
use ouzel_protocol::{
    BatchHeader, Durability, ErrorCode, LeaderEpoch, MetadataVersion, NodeId, Offset, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence, ShardIndex, TopicId, check_produced, patched_prefix,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::address::Address;
use crate::config::ClientConfig;
use crate::inbound::next_frame;

/// A configuration whose waits are short, so that what must fail fails soon.
pub(crate) fn config() -> ClientConfig {
    ClientConfig {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..ClientConfig::default()
    }
}

/// Something that listens on a free port.
pub(crate) struct Peer {
    address: Address,
}

impl Peer {
    /// A peer that answers Hello and leaves the rest of its one connection to `script`.
    pub(crate) fn start<F>(script: impl FnOnce(PeerStream) -> F + Send + 'static) -> Peer
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Peer::start_raw(|mut stream| async move {
            stream.hello(&hello_reply(1)).await;
            script(stream).await;
        })
    }

    /// A peer that leaves all of its one connection to `script`.
    pub(crate) fn start_raw<F>(script: impl FnOnce(PeerStream) -> F + Send + 'static) -> Peer
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (listener, address) = listen();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            script(PeerStream::new(stream)).await;
        });
        Peer { address }
    }

    pub(crate) async fn address(&self) -> Address {
        self.address.clone()
    }
}

fn listen() -> (TcpListener, Address) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    (TcpListener::from_std(listener).unwrap(), Address::new("127.0.0.1", port))
}

fn hello_reply(shards: u16) -> HelloReply {
    HelloReply {
        version: 1,
        features: 0,
        node: NodeId(1),
        shard: ShardIndex(0),
        shards,
        frame_bytes_max: 128 * 1024 * 1024,
        broker: "test peer".into(),
    }
}

/// The peer's end of a connection.
pub(crate) struct PeerStream {
    stream: TcpStream,
    buf: BytesMut,
}

impl PeerStream {
    fn new(stream: TcpStream) -> PeerStream {
        stream.set_nodelay(true).unwrap();
        PeerStream { stream, buf: BytesMut::new() }
    }

    /// The next request; none when the client went away.
    pub(crate) async fn request(&mut self) -> Option<(FrameHeader, Bytes)> {
        loop {
            if let Some(frame) = next_frame(&mut self.buf).unwrap() {
                return Some(frame);
            }
            match self.stream.read_buf(&mut self.buf).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, frame: Vec<u8>) {
        // A client that went away meanwhile is part of some tests.
        let _ = self.stream.write_all(&frame).await;
    }

    /// Waits until the client goes away, answering nothing.
    pub(crate) async fn until_closed(&mut self) {
        while self.request().await.is_some() {}
    }

    async fn hello(&mut self, reply: &HelloReply) {
        let Some((header, body)) = self.request().await else { return };
        assert_eq!(header.api, Api::Hello);
        HelloRequest::decode(&body).unwrap();
        self.send(reply_frame(Api::Hello, header.correlation, |out| reply.encode(out))).await;
    }
}

/// What the small broker does wrong with one produce request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Refuses every partition with this code.
    Refuse(ErrorCode),
    /// Closes the connection instead of looking at the request.
    CloseBefore,
    /// Appends, and closes the connection instead of answering.
    CloseAfter,
    /// Forgets every producer, and answers as usual.
    ForgetProducers,
}

#[derive(Default)]
struct Log {
    batches: Vec<(Offset, Offset, Bytes)>,
    start: Offset,
    /// The last batch of each producer: its epoch, sequence, records and offset.
    producers: HashMap<ProducerId, (ProducerEpoch, Sequence, u32, Offset)>,
}

impl Log {
    fn end(&self) -> Offset {
        self.batches.last().map_or(self.start, |(_, end, _)| *end)
    }

    /// Judges a batch as a broker does, as far as a client with one batch in flight can tell: where it is already, or why
    /// it is refused.
    fn judge(&mut self, header: &BatchHeader, lost: bool) -> Result<Option<Offset>, ErrorCode> {
        let Some(stamp) = header.producer() else { return Ok(None) };
        if lost {
            // What a broker does that has lost the batches in front of this one.
            return if stamp.base_sequence == Sequence::ZERO { Ok(None) } else { Err(ErrorCode::OutOfOrderSequence) };
        }
        let Some((epoch, sequence, records, offset)) = self.producers.get(&stamp.id).copied() else { return Ok(None) };
        if stamp.epoch < epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if stamp.epoch == epoch && stamp.base_sequence == sequence && header.record_count == records {
            return Ok(Some(offset));
        }
        let due = if stamp.epoch > epoch { Sequence::ZERO } else { sequence.after(records) };
        if stamp.base_sequence == due { Ok(None) } else { Err(ErrorCode::OutOfOrderSequence) }
    }
}

struct State {
    topics: HashMap<String, TopicId>,
    logs: HashMap<(TopicId, PartitionIndex), Log>,
    faults: VecDeque<Fault>,
    ports: Vec<u16>,
    requests: HashMap<Api, usize>,
    /// Shard that owns everything, whatever the number of a partition says.
    moved_to: Option<u16>,
    next_producer: u64,
}

/// A broker of two shards in memory. Each shard takes requests for its own partitions only, so that a client which routes
/// wrongly sees NotLeader.
pub(crate) struct MiniBroker {
    state: Arc<Mutex<State>>,
    appended: Arc<Notify>,
    stopping: Arc<Notify>,
    pub(crate) bootstrap: String,
}

const SHARDS: u16 = 2;

impl MiniBroker {
    /// Starts it with these topics and partition counts.
    pub(crate) fn start(topics: &[(&str, u32)]) -> MiniBroker {
        let mut state = State {
            topics: HashMap::new(),
            logs: HashMap::new(),
            faults: VecDeque::new(),
            ports: Vec::new(),
            requests: HashMap::new(),
            moved_to: None,
            next_producer: 100,
        };
        for (number, (name, partitions)) in topics.iter().enumerate() {
            let id = TopicId(number as u128 + 1);
            state.topics.insert((*name).to_owned(), id);
            for partition in 0..*partitions {
                state.logs.insert((id, PartitionIndex(partition)), Log::default());
            }
        }
        let listeners: Vec<_> = (0..SHARDS).map(|_| listen()).collect();
        state.ports = listeners.iter().map(|(_, address)| address.port).collect();
        let broker = MiniBroker {
            bootstrap: listeners[0].1.to_string(),
            state: Arc::new(Mutex::new(state)),
            appended: Arc::new(Notify::new()),
            stopping: Arc::new(Notify::new()),
        };
        for (shard, (listener, _)) in (0..).zip(listeners) {
            tokio::spawn(serve(
                listener,
                shard,
                Arc::clone(&broker.state),
                Arc::clone(&broker.appended),
                Arc::clone(&broker.stopping),
            ));
        }
        broker
    }

    /// What to do wrong with the next produce requests, one each.
    pub(crate) fn misbehave(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// Faults that were not used up.
    pub(crate) fn faults_left(&self) -> usize {
        self.state.lock().unwrap().faults.len()
    }

    /// Requests of an api so far.
    pub(crate) fn requests(&self, api: Api) -> usize {
        self.state.lock().unwrap().requests.get(&api).copied().unwrap_or(0)
    }

    /// Moves all partitions to one shard; the other answers NotLeader from now on.
    pub(crate) fn move_all_to(&self, shard: u16) {
        self.state.lock().unwrap().moved_to = Some(shard);
    }

    /// Closes every connection, as a restart does; new ones are accepted.
    pub(crate) fn drop_connections(&self) {
        self.stopping.notify_waiters();
    }

    /// Deletes records below `offset`, which must be the start of a batch.
    pub(crate) fn delete_below(&self, topic: &str, partition: u32, offset: u64) {
        let mut state = self.state.lock().unwrap();
        let id = state.topics[topic];
        let log = state.logs.get_mut(&(id, PartitionIndex(partition))).unwrap();
        log.batches.retain(|(base, _, _)| base.0 >= offset);
        log.start = Offset(offset);
    }

    /// Forgets a topic.
    pub(crate) fn delete_topic(&self, topic: &str) {
        let mut state = self.state.lock().unwrap();
        let id = state.topics.remove(topic).unwrap();
        state.logs.retain(|(topic_id, _), _| *topic_id != id);
        drop(state);
        self.appended.notify_waiters();
    }

    /// Flips a bit in the last byte of the partition's last batch.
    pub(crate) fn damage(&self, topic: &str, partition: u32) {
        let mut state = self.state.lock().unwrap();
        let id = state.topics[topic];
        let log = state.logs.get_mut(&(id, PartitionIndex(partition))).unwrap();
        let batch = &mut log.batches.last_mut().unwrap().2;
        let mut damaged = batch.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        *batch = damaged.into();
    }

    /// Sizes of the batches of a partition, in records.
    pub(crate) fn batch_sizes(&self, topic: &str, partition: u32) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        let log = &state.logs[&(state.topics[topic], PartitionIndex(partition))];
        log.batches.iter().map(|(base, end, _)| end.0 - base.0).collect()
    }
}

async fn serve(
    listener: TcpListener,
    shard: u16,
    state: Arc<Mutex<State>>,
    appended: Arc<Notify>,
    stopping: Arc<Notify>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (state, appended) = (Arc::clone(&state), Arc::clone(&appended));
        let stopping = Arc::clone(&stopping);
        tokio::spawn(async move {
            tokio::select! {
                () = connection(PeerStream::new(stream), shard, state, appended) => {}
                () = stopping.notified() => {}
            }
        });
    }
}

async fn connection(mut stream: PeerStream, shard: u16, state: Arc<Mutex<State>>, appended: Arc<Notify>) {
    stream.hello(&hello_reply(SHARDS)).await;
    // Long polls must not hold up what comes behind them on the same connection.
    let (replies, mut outgoing) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    loop {
        tokio::select! {
            request = stream.request() => {
                let Some((header, body)) = request else { return };
                *state.lock().unwrap().requests.entry(header.api).or_default() += 1;
                if header.api == Api::Fetch {
                    let request = FetchRequest::decode(&body).unwrap();
                    let (state, appended) = (Arc::clone(&state), Arc::clone(&appended));
                    let replies = replies.clone();
                    tokio::spawn(async move {
                        let reply = fetch(&request, shard, &state, &appended).await;
                        let parts = reply.encode_parts(header.correlation);
                        let _ = replies.send(parts.concat());
                    });
                    continue;
                }
                match answer(&header, body, shard, &mut state.lock().unwrap()) {
                    Answer::Reply(frame) => drop(replies.send(frame)),
                    Answer::Nothing => {}
                    Answer::Close => return,
                }
                appended.notify_waiters();
            }
            Some(frame) = outgoing.recv() => stream.send(frame).await,
        }
    }
}

enum Answer {
    Reply(Vec<u8>),
    Nothing,
    Close,
}

fn answer(header: &FrameHeader, body: Bytes, shard: u16, state: &mut State) -> Answer {
    Answer::Reply(match header.api {
        Api::Metadata => {
            let reply = metadata(&MetadataRequest::decode(&body).unwrap(), state);
            reply_frame(Api::Metadata, header.correlation, |out| reply.encode(out))
        }
        Api::ListOffsets => {
            let request = ListOffsetsRequest::decode(&body).unwrap();
            let reply = list_offsets(&request, shard, state);
            reply_frame(Api::ListOffsets, header.correlation, |out| reply.encode(out))
        }
        Api::Produce => {
            let request = ProduceRequest::decode(body).unwrap();
            let fault = state.faults.pop_front();
            if matches!(fault, Some(Fault::CloseBefore)) {
                return Answer::Close;
            }
            let reply = produce(&request, shard, state, fault);
            if matches!(fault, Some(Fault::CloseAfter)) {
                return Answer::Close;
            }
            if request.acks == 0 {
                return Answer::Nothing;
            }
            reply_frame(Api::Produce, header.correlation, |out| reply.encode(out))
        }
        Api::InitProducerId => {
            InitProducerIdRequest::decode(&body).unwrap();
            state.next_producer += 1;
            let reply = InitProducerIdReply {
                error: ErrorCode::None,
                message: String::new(),
                producer_id: ProducerId(state.next_producer),
                producer_epoch: ProducerEpoch(0),
            };
            reply_frame(Api::InitProducerId, header.correlation, |out| reply.encode(out))
        }
        api => panic!("the small broker does not know {api:?}"),
    })
}

fn owner(partition: PartitionIndex, state: &State) -> u16 {
    state.moved_to.unwrap_or((partition.0 % u32::from(SHARDS)) as u16)
}

fn metadata(request: &MetadataRequest, state: &State) -> MetadataReply {
    let node =
        NodeInfo { node: NodeId(1), host: "0.0.0.0".into(), port: state.ports[0], shard_ports: state.ports.clone() };
    let topics = request.topics.iter().flatten().map(|name| match state.topics.get(name) {
        Some(id) => {
            let mut partitions: Vec<PartitionInfo> = state
                .logs
                .keys()
                .filter(|(topic_id, _)| topic_id == id)
                .map(|(_, index)| PartitionInfo {
                    index: *index,
                    leader: Some(NodeId(1)),
                    shard: ShardIndex(owner(*index, state)),
                    leader_epoch: LeaderEpoch(1),
                })
                .collect();
            partitions.sort_unstable_by_key(|partition| partition.index);
            TopicInfo { error: ErrorCode::None, name: name.clone(), topic_id: *id, partitions }
        }
        None => TopicInfo {
            error: ErrorCode::UnknownTopicOrPartition,
            name: name.clone(),
            topic_id: TopicId(0),
            partitions: Vec::new(),
        },
    });
    MetadataReply { version: MetadataVersion(1), nodes: vec![node], topics: topics.collect() }
}

fn refusal(topic_id: TopicId, partition: PartitionIndex, shard: u16, state: &State) -> ErrorCode {
    if !state.logs.contains_key(&(topic_id, partition)) {
        ErrorCode::UnknownTopicId
    } else if owner(partition, state) != shard {
        ErrorCode::NotLeader
    } else {
        ErrorCode::None
    }
}

fn produce(request: &ProduceRequest, shard: u16, state: &mut State, fault: Option<Fault>) -> ProduceReply {
    let mut partitions = Vec::new();
    for row in &request.partitions {
        let header = check_produced(&row.batch).unwrap();
        let mut error = match fault {
            Some(Fault::Refuse(code)) => code,
            _ => refusal(row.topic_id, row.partition, shard, state),
        };
        let mut base_offset = Offset::ZERO;
        if error.is_none() {
            let log = state.logs.get_mut(&(row.topic_id, row.partition)).unwrap();
            match log.judge(&header, matches!(fault, Some(Fault::ForgetProducers))) {
                Ok(Some(first)) => base_offset = first,
                Ok(None) => base_offset = append(log, &header, &row.batch),
                Err(code) => error = code,
            }
        }
        partitions.push(ProduceResult {
            topic_id: row.topic_id,
            partition: row.partition,
            error,
            base_offset,
            leader_epoch: LeaderEpoch(1),
            durability: Durability::Disk,
            log_start: Offset::ZERO,
        });
    }
    ProduceReply { partitions, timings: None }
}

fn append(log: &mut Log, header: &BatchHeader, batch: &[u8]) -> Offset {
    let base_offset = log.end();
    let mut batch = batch.to_vec();
    batch[..16].copy_from_slice(&patched_prefix(header, base_offset, LeaderEpoch(1)));
    let end = base_offset + u64::from(header.record_count);
    log.batches.push((base_offset, end, batch.into()));
    if let Some(stamp) = header.producer() {
        log.producers.insert(stamp.id, (stamp.epoch, stamp.base_sequence, header.record_count, base_offset));
    }
    base_offset
}

fn list_offsets(request: &ListOffsetsRequest, shard: u16, state: &State) -> ListOffsetsReply {
    let partitions = request.partitions.iter().map(|row| {
        let error = refusal(row.topic_id, row.partition, shard, state);
        let log = state.logs.get(&(row.topic_id, row.partition));
        let offset = log.map_or(Offset::ZERO, |log| match row.at {
            OffsetSpec::Earliest => log.start,
            OffsetSpec::Latest | OffsetSpec::Timestamp(_) | OffsetSpec::MaxTimestamp => log.end(),
        });
        ListOffsetsResult {
            topic_id: row.topic_id,
            partition: row.partition,
            error,
            offset,
            timestamp: -1,
            leader_epoch: LeaderEpoch(1),
        }
    });
    ListOffsetsReply { partitions: partitions.collect() }
}

async fn fetch(request: &FetchRequest, shard: u16, state: &Mutex<State>, appended: &Notify) -> FetchReply {
    let wait = tokio::time::sleep(Duration::from_millis(request.max_wait_ms.into()));
    tokio::pin!(wait);
    loop {
        let more = appended.notified();
        tokio::pin!(more);
        more.as_mut().enable();
        let reply = read(request, shard, &state.lock().unwrap());
        let rows = reply.partitions.iter();
        if rows.into_iter().any(|row| !row.error.is_none() || !row.records.is_empty()) {
            return reply;
        }
        tokio::select! {
            () = &mut wait => return reply,
            () = more => {}
        }
    }
}

fn read(request: &FetchRequest, shard: u16, state: &State) -> FetchReply {
    let mut left = request.max_bytes as usize;
    let mut partitions = Vec::new();
    for row in &request.partitions {
        let mut result = FetchResult {
            topic_id: row.topic_id,
            partition: row.partition,
            error: refusal(row.topic_id, row.partition, shard, state),
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
            records: Vec::new(),
        };
        if result.error.is_none() {
            let log = &state.logs[&(row.topic_id, row.partition)];
            result.high_watermark = log.end();
            result.log_start = log.start;
            if row.offset < log.start || row.offset > log.end() {
                result.error = ErrorCode::OffsetOutOfRange;
            } else {
                let mut row_left = row.max_bytes as usize;
                for (_, _, batch) in log.batches.iter().filter(|(_, end, _)| *end > row.offset) {
                    let is_first = left == request.max_bytes as usize;
                    if !is_first && (batch.len() > left || batch.len() > row_left) {
                        break;
                    }
                    left = left.saturating_sub(batch.len());
                    row_left = row_left.saturating_sub(batch.len());
                    result.records.push(batch.clone());
                }
            }
        }
        partitions.push(result);
    }
    FetchReply { partitions }
}

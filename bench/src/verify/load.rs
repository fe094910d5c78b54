//! The load of a verification run: producers with many batches in flight, and one consumer that watches. Owns their
//! tasks and connections; what they saw goes into the ledger, and no task ever sends a batch again. On tokio.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use ouzel_protocol::native::{
    Api, FetchPartition, FetchReply, FetchRequest, FrameHeader, ProducePartition, ProduceReply, ProduceRequest,
};
use ouzel_protocol::{
    BatchBuilder, Codec, CorrelationId, DecodeLimits, DecodedBatch, Dialect, ErrorCode, LeaderEpoch, Offset, Record,
    batches,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::content::{Identity, batch_shape};
use super::layout::Layout;
use super::ledger::{BatchKey, Fault, Ledger};
use crate::wire::{FrameReader, FrameWriter, Wire};

/// Requests of one connection that may be unanswered.
const IN_FLIGHT_MAX: usize = 24;
/// Rows of one produce request at most.
const ROWS_MAX: usize = 3;
/// One request in this many asks for no answer, one for the leader's alone.
const ACKS_NONE_EVERY: u32 = 40;
const ACKS_LEADER_EVERY: u32 = 8;
const PRODUCE_TIMEOUT_MS: u32 = 30_000;
/// What the watching consumer asks for.
const FETCH_WAIT_MS: u32 = 100;
const FETCH_BYTES: u32 = 4 * 1024 * 1024;
const FETCH_PARTITION_BYTES: u32 = 512 * 1024;
/// How long the tasks may take to notice that the broker is gone.
const END_WAIT: Duration = Duration::from_secs(20);

/// What all tasks of a load share.
#[derive(Debug)]
struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    layout: Layout,
    seed: u64,
    /// Whether every request asks for an answer: a broker that refuses one which wants none can only end the connection.
    is_always_answered: bool,
    /// Bytes that may still be sent in this round; may pass below zero by what is being built.
    bytes_left: AtomicI64,
    /// Set before the broker is killed or stopped: from here on a lost connection is what was asked for.
    ending: AtomicBool,
    /// Set before the power of the disk is cut: from here on the broker may say that its storage failed.
    disk_dying: AtomicBool,
    failure: Mutex<Option<anyhow::Error>>,
}

/// A load that runs until the broker is gone.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// Locks what only short, panic-free sections hold; a poisoned lock means a bug that has already been reported.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Starts `producer_count` producers and the consumer, which begins at `starts` (by partition). Must be called within
    /// a runtime. `seed` is this round's; `content_seed` that of the whole run. A load that meets faults is always answered.
    pub(super) fn start(
        ledger: Arc<Mutex<Ledger>>,
        layout: Layout,
        (seed, content_seed): (u64, u64),
        producer_count: u32,
        bytes_max: u64,
        starts: Vec<Offset>,
        is_always_answered: bool,
    ) -> Load {
        let shared = Arc::new(Shared {
            ledger,
            layout,
            seed: content_seed,
            is_always_answered,
            bytes_left: AtomicI64::new(i64::try_from(bytes_max).unwrap_or(i64::MAX)),
            ending: AtomicBool::new(false),
            disk_dying: AtomicBool::new(false),
            failure: Mutex::new(None),
        });
        let mut tasks = JoinSet::new();
        for producer in 0..producer_count {
            let producer = Producer::new(shared.clone(), producer, seed.wrapping_add(u64::from(producer)));
            tasks.spawn(producer.run());
        }
        let watching = shared.clone();
        tasks.spawn(async move { watching.note(watch(&watching, starts).await) });
        Load { shared, tasks }
    }

    /// Whether something is wrong already, so that there is no point in waiting for the kill.
    pub(super) fn has_failed(&self) -> bool {
        lock(&self.shared.failure).is_some()
    }

    /// What is wrong, if [`Load::has_failed`]; only once.
    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        lock(&self.shared.failure).take()
    }

    /// Tells the tasks that the broker is about to go. They go on until it is gone.
    pub(super) fn ending(&self) {
        self.shared.ending.store(true, Ordering::SeqCst);
    }

    /// Tells the tasks that the disk of the broker is about to lose its power.
    pub(super) fn disk_dying(&self) {
        self.shared.disk_dying.store(true, Ordering::SeqCst);
    }

    /// Waits until every task has seen the end of its connection, so that no answer that arrived is overlooked.
    ///
    /// # Errors
    /// What the tasks found wrong.
    pub(super) async fn join(mut self) -> Result<()> {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        tokio::time::timeout(END_WAIT, all).await.context("a connection did not notice that the broker is gone")?;
        match lock(&self.shared.failure).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Keeps the first failure. A fault of the ledger counts at any time, a lost connection only while none is expected.
    fn note(&self, result: Result<()>) {
        let Err(error) = result else { return };
        if error.is::<Fault>() || !self.is_ending() {
            lock(&self.failure).get_or_insert(error);
        }
    }
}

/// The rows of one produce request: which partition, and which batch of the ledger.
type Keys = Vec<(usize, BatchKey)>;
/// Requests of one connection that are not answered, by correlation id.
type Pending = Arc<Mutex<HashMap<u64, Keys>>>;

/// One open connection of a producer.
struct Line {
    writer: FrameWriter,
    pending: Pending,
    permits: Arc<Semaphore>,
    correlation_next: u64,
}

/// Sends batches of every shape to every partition. Producers with an even number speak to the public port, whatever
/// shard answers there; the others to the port of the shard that owns the partition.
struct Producer {
    shared: Arc<Shared>,
    number: u32,
    rng: SmallRng,
    lines: HashMap<String, Line>,
    readers: JoinSet<()>,
    value: Vec<u8>,
}

impl Producer {
    fn new(shared: Arc<Shared>, number: u32, seed: u64) -> Producer {
        let rng = SmallRng::seed_from_u64(seed);
        Producer { shared, number, rng, lines: HashMap::new(), readers: JoinSet::new(), value: Vec::new() }
    }

    /// Runs until the broker is gone; the readers then drain what it had answered.
    async fn run(mut self) {
        let mut result = Ok(());
        while result.is_ok() && self.shared.bytes_left.load(Ordering::Relaxed) > 0 {
            result = self.send_one().await;
        }
        self.shared.note(result);
        // Dropping the write halves would end the connections; they stay until the broker closes them.
        while self.readers.join_next().await.is_some() {}
    }

    async fn send_one(&mut self) -> Result<()> {
        let partition_indexes = self.pick_partitions();
        let address = self.address(partition_indexes[0]);
        if !self.lines.contains_key(&address) {
            self.open(&address).await?;
        }
        let wants_none = self.rng.random_ratio(1, ACKS_NONE_EVERY) && !self.shared.is_always_answered;
        let acks = if wants_none {
            0
        } else if self.rng.random_ratio(1, ACKS_LEADER_EVERY) {
            1
        } else {
            -1
        };
        let permits = self.lines[&address].permits.clone();
        // The reader gives it back with the answer; without an answer it is given back here.
        let permit = permits.acquire_owned().await?;
        let (rows, keys) = self.build(&partition_indexes)?;
        let request = ProduceRequest { acks, timeout_ms: PRODUCE_TIMEOUT_MS, timings: false, partitions: rows };
        let line = self.lines.get_mut(&address).context("the line was opened above")?;
        let correlation = CorrelationId(line.correlation_next);
        line.correlation_next += 1;
        if acks != 0 {
            lock(&line.pending).insert(correlation.0, keys);
            permit.forget();
        }
        let parts = request.encode_parts(correlation);
        let sent_bytes: usize = parts.iter().map(Bytes::len).sum();
        self.shared.bytes_left.fetch_sub(sent_bytes as i64, Ordering::Relaxed);
        line.writer.send(parts).await
    }

    /// One to three different partitions that one address takes.
    fn pick_partitions(&mut self) -> Vec<usize> {
        let count = self.shared.layout.partitions.len();
        let mut picked = vec![self.rng.random_range(0..count)];
        for _ in 1..self.rng.random_range(1..=ROWS_MAX) {
            let other = self.rng.random_range(0..count);
            if !picked.contains(&other) && self.address(other) == self.address(picked[0]) {
                picked.push(other);
            }
        }
        picked
    }

    fn address(&self, partition_index: usize) -> String {
        let layout = &self.shared.layout;
        if self.number.is_multiple_of(2) {
            layout.bootstrap.clone()
        } else {
            layout.partitions[partition_index].address.clone()
        }
    }

    async fn open(&mut self, address: &str) -> Result<()> {
        let Wire { reader, writer, .. } = Wire::connect(address).await?;
        let line = Line {
            writer,
            pending: Pending::default(),
            permits: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            // Not 0, so that an answer to the Hello can never be taken for one of ours.
            correlation_next: 1000,
        };
        let (shared, pending, permits) = (self.shared.clone(), line.pending.clone(), line.permits.clone());
        self.readers.spawn(async move {
            let result = read_answers(&shared, reader, &pending, &permits).await;
            shared.note(result);
            // A sender that waits for a permit must not wait for ever.
            permits.close();
        });
        self.lines.insert(address.to_owned(), line);
        Ok(())
    }

    /// Enters one batch for each partition into the ledger and builds it.
    fn build(&mut self, partition_indexes: &[usize]) -> Result<(Vec<ProducePartition>, Keys)> {
        let mut rows = Vec::new();
        let mut keys = Vec::new();
        for &partition_index in partition_indexes {
            let (size, record_count) = batch_shape(&mut self.rng);
            let dialect = if self.rng.random() { Dialect::Kafka2 } else { Dialect::Native };
            let codec = [Codec::None, Codec::None, Codec::Lz4, Codec::Zstd, Codec::Snappy, Codec::Gzip]
                [self.rng.random_range(0..6)];
            let (key, first) = lock(&self.shared.ledger).sending(self.number, partition_index, size, record_count);
            let mut builder = BatchBuilder::new(dialect, codec, None);
            for at in 0..record_count {
                let identity = Identity { sequence: first.sequence + u64::from(at), ..first };
                identity.value_into(self.shared.seed, size, &mut self.value);
                let key = identity.key();
                builder.push(
                    identity.timestamp(),
                    key.as_ref().map(|key| key.as_slice()),
                    Some(&self.value),
                    identity.headers(),
                );
            }
            let batch = Bytes::from(builder.build()?);
            let target = &self.shared.layout.partitions[partition_index];
            rows.push(ProducePartition { topic_id: target.topic_id, partition: target.partition, batch });
            keys.push((partition_index, key));
        }
        Ok((rows, keys))
    }
}

/// Enters every answer of one connection into the ledger, until the broker closes it.
async fn read_answers(shared: &Shared, mut reader: FrameReader, pending: &Pending, permits: &Semaphore) -> Result<()> {
    while let Some((header, body)) = reader.next().await? {
        let Some(keys) = lock(pending).remove(&header.correlation.0) else {
            bail!("the broker answered a request that nobody made, or twice: {header:?}");
        };
        permits.add_permits(1);
        enter_answer(shared, &header, &body, keys)?;
    }
    bail!("the broker closed a connection under load")
}

fn enter_answer(shared: &Shared, header: &FrameHeader, body: &[u8], keys: Keys) -> Result<()> {
    if !header.error.is_none() {
        for (_, key) in keys {
            refuse(shared, key, header.error)?;
        }
        return Ok(());
    }
    let reply = ProduceReply::decode(body)?;
    let arrived_at = Instant::now();
    let mut ledger = lock(&shared.ledger);
    for (partition_index, key) in keys {
        let target = &shared.layout.partitions[partition_index];
        let mut rows =
            reply.partitions.iter().filter(|row| (row.topic_id, row.partition) == (target.topic_id, target.partition));
        let row = rows.next().ok_or_else(|| anyhow!("a produce reply leaves out partition {}", target.partition))?;
        if row.error.is_none() {
            ledger.acked(key, row.base_offset, row.leader_epoch, row.durability, arrived_at)?;
        } else {
            drop(ledger);
            refuse(shared, key, row.error)?;
            ledger = lock(&shared.ledger);
        }
    }
    Ok(())
}

/// A broker may refuse for want of room or time, or because it is going; any other refusal of a sound batch is a fault.
fn refuse(shared: &Shared, key: BatchKey, error: ErrorCode) -> Result<()> {
    match error {
        ErrorCode::Overloaded
        | ErrorCode::RequestTimedOut
        | ErrorCode::DiskFull
        | ErrorCode::ShuttingDown
        | ErrorCode::ShardUnavailable => {
            lock(&shared.ledger).refused(key, error);
            Ok(())
        }
        ErrorCode::StorageError if shared.disk_dying.load(Ordering::SeqCst) => {
            lock(&shared.ledger).refused(key, error);
            Ok(())
        }
        other => bail!(Fault(format!("the broker refused a sound batch: {} ({other})", other.name()))),
    }
}

/// Follows all partitions through the public port and enters what it sees: none of that may ever change (docs/rules.md J10).
async fn watch(shared: &Shared, mut positions: Vec<Offset>) -> Result<()> {
    let mut wire = Wire::connect(&shared.layout.bootstrap).await?;
    // Until the connection breaks, over the death of a disk too: what is shown then must stay as well.
    loop {
        let rows = shared.layout.partitions.iter().zip(&positions).map(|(target, &offset)| FetchPartition {
            topic_id: target.topic_id,
            partition: target.partition,
            offset,
            max_bytes: FETCH_PARTITION_BYTES,
        });
        let request = FetchRequest {
            max_wait_ms: FETCH_WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES,
            partitions: rows.collect(),
        };
        let reply = FetchReply::decode(wire.call(Api::Fetch, |out| request.encode(out)).await?)?;
        for (partition_index, row) in reply.partitions.iter().enumerate() {
            if !row.error.is_none() {
                bail!("fetch from {} refused: {}", shared.layout.partitions[partition_index].name, row.error);
            }
            let position = &mut positions[partition_index];
            for_each_record(&row.records, |epoch, record| {
                if record.offset < *position {
                    return Ok(());
                }
                *position = record.offset.next();
                lock(&shared.ledger).observed(partition_index, epoch, record)
            })?;
        }
    }
}

/// Calls `visit` with every record of the whole batches in `pieces`, and the leader epoch of its batch.
///
/// # Errors
/// The bytes are no sound batches, or `visit` found a fault.
pub(super) fn for_each_record(
    pieces: &[Bytes],
    mut visit: impl FnMut(LeaderEpoch, &Record<'_>) -> Result<(), Fault>,
) -> Result<()> {
    let unsound = |error| Fault(format!("the broker served a batch that is not sound: {error}"));
    for piece in pieces {
        for batch in batches(piece) {
            let (header, bytes) = batch.map_err(unsound)?;
            let decoded = DecodedBatch::decode(bytes, &DecodeLimits::default()).map_err(unsound)?;
            for record in decoded.records() {
                visit(header.leader_epoch, &record.map_err(unsound)?)?;
            }
        }
    }
    Ok(())
}

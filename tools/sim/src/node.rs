//! One life of a simulated node up to the moment it serves: metadata log, recovery, stores of every shard, the switch to
//! the new incarnation; then the read-back of everything. The order is that of the broker. All shards' stores run in one
//! simulated run. Owns no promise: what is found goes to the ledger.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ouzel_broker_core::{Command, MetadataImage, Record};
use ouzel_protocol::{
    BatchHeader, Incarnation, NodeId, Offset, PartitionId, ProducerId, Sequence, ShardIndex, batches, check_batch,
};
use ouzel_runtime::Shard;
use ouzel_storage::metadata_log::{MetadataLog, MetadataLogError};
use ouzel_storage::producers::ProducerState;
use ouzel_storage::{AssignedIds, CommittedStart, PartitionConfig, RecoveryReport, StorageError, Store, StoreStats};

use rand::Rng;
use rand::rngs::SmallRng;

use crate::ledger::{Ledger, Seen};
use crate::payload;
use crate::plan::RoundPlan;

pub(crate) const NODE: NodeId = NodeId(1);

/// How far a life has come; what a cut then interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Starting,
    Recovering,
    Creating,
    Serving,
    Closing,
}

/// What outlives the lives of a round: the ledger and what the harness knows for certain about metadata.
pub(crate) struct World {
    pub(crate) plan: RoundPlan,
    pub(crate) ledger: RefCell<Ledger>,
    pub(crate) phase: Cell<Phase>,
    /// Metadata records whose append returned, and those that were asked for.
    pub(crate) metadata_durable: Cell<u64>,
    pub(crate) metadata_asked: Cell<u64>,
    pub(crate) reports: RefCell<Vec<RecoveryReport>>,
    /// The newest counters of each shard in this life.
    pub(crate) stats: RefCell<Vec<StoreStats>>,
    pub(crate) next_topic: Cell<u64>,
    pub(crate) journal_ids: RefCell<SmallRng>,
    /// The disk was told to fail in this life: what it refuses breaks no promise.
    pub(crate) disk_fails: Cell<bool>,
    /// Nobody will free space: a producer who is told that the disk is full gives up.
    pub(crate) disk_stays_full: Cell<bool>,
}

/// A partition as the load sees it.
pub(crate) struct Open {
    pub(crate) partition: PartitionId,
    pub(crate) topic: String,
    pub(crate) shard_index: usize,
    pub(crate) store: Store,
    /// The epoch of the metadata leaves room for the truncations of this life: each starts an epoch of its own, as a
    /// new leader would.
    pub(crate) epoch: Cell<u32>,
    pub(crate) config: RefCell<PartitionConfig>,
    /// A truncation is under way: nothing may be appended.
    pub(crate) busy: Cell<bool>,
    pub(crate) gone: Cell<bool>,
    /// What each idempotent producer sends next here.
    pub(crate) sequences: RefCell<BTreeMap<ProducerId, Sequence>>,
}

/// A node that serves.
pub(crate) struct Node {
    pub(crate) shard: Shard,
    pub(crate) world: Rc<World>,
    pub(crate) stores: Vec<Store>,
    pub(crate) open: RefCell<BTreeMap<PartitionId, Rc<Open>>>,
    pub(crate) image: RefCell<MetadataImage>,
    /// Taken by whoever appends; there is one task that does.
    pub(crate) log: RefCell<Option<MetadataLog>>,
}

pub(crate) fn data_dir() -> PathBuf {
    PathBuf::from("/data")
}

/// A partition as its readers see it.
pub(crate) struct Visible {
    /// Where it starts.
    pub(crate) log_start: Offset,
    /// Its batches, in order.
    pub(crate) seen: Vec<Seen>,
    /// What those say of idempotent producers.
    producers: ProducerState,
}

impl Node {
    /// Starts a node with `shards` shards on whatever the disk holds, and reads everything back.
    pub(crate) async fn start(shard: Shard, world: Rc<World>, shards: u16) -> Result<Rc<Node>, String> {
        let dir = data_dir();
        world.phase.set(Phase::Starting);
        let fs = shard.fs();
        fs.create_dir_all(&dir).await.map_err(|error| format!("create {}: {error}", dir.display()))?;
        fs.sync_dir(Path::new("/"))
            .await
            .map_err(|error| format!("sync the directory of {}: {error}", dir.display()))?;
        let (mut log, loaded) =
            MetadataLog::open(&fs, &dir.join("metadata")).await.map_err(|error| error.to_string())?;
        let mut image = match &loaded.snapshot {
            Some(snapshot) => MetadataImage::decode_snapshot(snapshot).map_err(|error| error.to_string())?,
            None => MetadataImage::new(),
        };
        for entry in &loaded.entries {
            let record = Record::decode(entry).map_err(|error| error.to_string())?;
            image.apply(&record).map_err(|error| error.to_string())?;
        }
        world.check_metadata(&image);

        world.phase.set(Phase::Recovering);
        let committed =
            image.node(NODE).map(|node| CommittedStart { incarnation: node.incarnation, shards: node.shards });
        let live: BTreeMap<PartitionId, PartitionConfig> = image
            .partitions()
            .map(|(topic, _, partition)| (partition.partition_id, world.partition_config(&topic.config)))
            .collect();
        let assigned = AssignedIds { next: image.next_partition_id() };
        let recovered = ouzel_storage::recover(&shard, &dir, &world.plan.store, committed, &live, assigned)
            .await
            .map_err(|error| format!("recovery refused: {error}"))?;
        world.ledger.borrow().tell(|| format!("recovered {:?}", recovered.report));
        world.reports.borrow_mut().push(recovered.report.clone());

        world.phase.set(Phase::Creating);
        let incarnation = next_incarnation(&shard, &image).await?;
        let started = image
            .propose(Command::NodeStarted { node: NODE, incarnation, shards })
            .map_err(|error| error.to_string())?;
        let mut next = image.clone();
        next.apply(&started).map_err(|error| error.to_string())?;
        let mut parts: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
        let mut recovered_partitions = recovered.partitions;
        for (topic, _, partition) in next.partitions() {
            let id = partition.partition_id;
            let config = world.partition_config(&topic.config);
            if let Some(recovered) = recovered_partitions.remove(&id) {
                parts[usize::from(partition.shard.0)].push((recovered, config));
            }
        }
        if let Some(id) = recovered_partitions.keys().next() {
            return Err(format!("recovery brought back partition {id}, which is not live"));
        }
        let mut stores = Vec::new();
        for (index, parts) in (0..).zip(parts) {
            let (index, journal_id, config) = (ShardIndex(index), world.next_journal_id(), world.plan.store.clone());
            let store = Store::create(&shard, &dir, index, incarnation, journal_id, config, parts);
            stores.push(store.await.map_err(|error| format!("create store {index}: {error}"))?);
        }
        world.metadata_asked.set(next.version().0);
        log.append(&started.encode()).await.map_err(|error| error.to_string())?;
        world.metadata_durable.set(next.version().0);

        let mut node = Node {
            shard,
            world,
            stores,
            open: RefCell::default(),
            image: RefCell::new(next),
            log: RefCell::new(Some(log)),
        };
        node.serve(&live, incarnation).await?;
        Ok(Rc::new(node))
    }

    async fn serve(
        &mut self,
        known: &BTreeMap<PartitionId, PartitionConfig>,
        incarnation: Incarnation,
    ) -> Result<(), String> {
        // Before anything is created, so that no new partition is taken for what an earlier start left behind.
        let retired = ouzel_storage::retire_old(&self.shard, &data_dir(), incarnation, known).await;
        retired.map_err(|error| format!("retire old starts: {error}"))?;
        for store in &self.stores {
            store.begin();
        }
        let image = self.image.borrow().clone();
        for (topic, _, partition) in image.partitions() {
            self.adopt(&topic.name, partition, &topic.config);
        }
        let all: Vec<Rc<Open>> = self.open.borrow().values().cloned().collect();
        for open in all {
            self.read_back(&open).await?;
        }
        self.world.phase.set(Phase::Serving);
        Ok(())
    }

    /// Makes a partition of the image known to the load.
    pub(crate) fn adopt(
        &self,
        topic: &str,
        partition: &ouzel_broker_core::Partition,
        config: &ouzel_broker_core::TopicConfig,
    ) {
        let open = Open {
            partition: partition.partition_id,
            topic: topic.to_owned(),
            shard_index: usize::from(partition.shard.0),
            store: self.stores[usize::from(partition.shard.0)].clone(),
            epoch: Cell::new(partition.leader_epoch.0 * 1000),
            config: RefCell::new(self.world.partition_config(config)),
            busy: Cell::new(false),
            gone: Cell::new(false),
            sequences: RefCell::default(),
        };
        open.learn_sequences();
        self.world.ledger.borrow_mut().created(open.partition);
        self.open.borrow_mut().insert(open.partition, Rc::new(open));
    }

    /// Reads a partition from its log start to its end, after a start.
    async fn read_back(&self, open: &Open) -> Result<(), String> {
        let (id, store) = (open.partition, &open.store);
        let (visible, end) = (store.durable_end(id), store.end_offset(id));
        let (Ok(visible), Ok(end)) = (visible, end) else { return Err(format!("partition {id} is not open")) };
        if visible != end {
            return Err(format!("partition {id} after a restart: readers see {visible}, the log ends at {end}"));
        }
        let Visible { log_start, seen, producers } = self.read_visible(open).await?;
        check_producers(open, log_start, &producers)?;
        self.world.ledger.borrow_mut().recovered(id, log_start, end, &seen);
        Ok(())
    }

    /// Everything of a partition that readers may see.
    pub(crate) async fn read_visible(&self, open: &Open) -> Result<Visible, String> {
        let (id, store) = (open.partition, &open.store);
        let positions = || Ok::<_, StorageError>((store.log_start(id)?, store.durable_end(id)?));
        let (log_start, end) = positions().map_err(|error| format!("read back: {error}"))?;
        let mut seen = Vec::new();
        let mut producers = ProducerState::default();
        let mut from = log_start;
        while from < end {
            let plan =
                store.plan_read(id, from, 100_000, true).map_err(|error| format!("plan to read back: {error}"))?;
            let parts = store.read(plan).await.map_err(|error| format!("read back: {error}"))?;
            let batches = parse(&parts).map_err(|what| format!("partition {id}: read back at {from}: {what}"))?;
            for part in &parts {
                for (header, _) in batches_of(part) {
                    producers.replay(&header, 0, self.world.plan.store.producers);
                }
            }
            let Some(last) = batches.last() else {
                return Err(format!("partition {id}: read back at {from} of {end} found nothing"));
            };
            if last.end <= from {
                return Err(format!("partition {id}: read back at {from} stopped at {}", last.end));
            }
            from = last.end;
            seen.extend(batches);
        }
        Ok(Visible { log_start, seen, producers })
    }

    /// Makes one command durable and applies it. Only one task at a time calls this.
    pub(crate) async fn commit(&self, command: Command) -> Result<MetadataImage, String> {
        let record = self.image.borrow().propose(command).map_err(|error| error.to_string())?;
        let mut next = self.image.borrow().clone();
        next.apply(&record).map_err(|error| error.to_string())?;
        let mut log = self.log.borrow_mut().take().ok_or("two tasks change metadata at once")?;
        self.world.metadata_asked.set(next.version().0);
        let result = log.append(&record.encode()).await;
        result.map_err(|error| error.to_string())?;
        self.world.metadata_durable.set(next.version().0);
        if next.version().0.is_multiple_of(7) {
            match log.compact(&next.encode_snapshot()).await {
                // It can wait.
                Err(MetadataLogError::DiskFull { .. }) if self.world.disk_fails.get() => {}
                other => other.map_err(|error| error.to_string())?,
            }
        }
        *self.log.borrow_mut() = Some(log);
        *self.image.borrow_mut() = next.clone();
        Ok(next)
    }
}

impl World {
    /// A world in which nothing has happened.
    pub(crate) fn new(plan: RoundPlan, verbose: bool, journal_ids: SmallRng) -> World {
        World {
            plan,
            ledger: RefCell::new(Ledger::new(verbose)),
            phase: Cell::new(Phase::Starting),
            metadata_durable: Cell::new(0),
            metadata_asked: Cell::new(0),
            reports: RefCell::default(),
            stats: RefCell::default(),
            next_topic: Cell::new(0),
            journal_ids: RefCell::new(journal_ids),
            disk_fails: Cell::new(false),
            disk_stays_full: Cell::new(false),
        }
    }

    /// The same world, to go on differently: with a snapshot of its disk, a recorded run can be played many times.
    pub(crate) fn fork(&self) -> World {
        World {
            plan: self.plan.clone(),
            ledger: self.ledger.clone(),
            phase: self.phase.clone(),
            metadata_durable: self.metadata_durable.clone(),
            metadata_asked: self.metadata_asked.clone(),
            reports: RefCell::default(),
            stats: RefCell::default(),
            next_topic: self.next_topic.clone(),
            journal_ids: self.journal_ids.clone(),
            disk_fails: Cell::new(false),
            disk_stays_full: Cell::new(false),
        }
    }

    /// Whether an error is what a failing disk may answer: it is one of its own, not a claim about the bytes.
    pub(crate) fn excuses(&self, error: &StorageError) -> bool {
        self.disk_fails.get()
            && matches!(error, StorageError::Poisoned { .. } | StorageError::Io { .. } | StorageError::DiskFull { .. })
    }

    /// A journal id that no journal on the disk has.
    fn next_journal_id(&self) -> u64 {
        self.journal_ids.borrow_mut().random()
    }

    pub(crate) fn violate(&self, what: String) {
        self.ledger.borrow_mut().violate(what);
    }

    /// The image's settings, with segments far smaller than a broker would accept.
    pub(crate) fn partition_config(&self, config: &ouzel_broker_core::TopicConfig) -> PartitionConfig {
        PartitionConfig {
            durability: config.durability(),
            flush_interval_ms: config.flush_interval_ms(),
            segment_bytes: self.plan.segment_bytes,
            batch_bytes_max: u32::try_from(self.plan.store.batch_bytes_max()).unwrap_or(u32::MAX),
        }
    }

    fn check_metadata(&self, image: &MetadataImage) {
        let (version, durable, asked) = (image.version().0, self.metadata_durable.get(), self.metadata_asked.get());
        if version < durable || version > asked {
            self.violate(format!("metadata is at version {version}; {durable} was durable, {asked} asked for"));
        }
        self.metadata_durable.set(version);
        self.metadata_asked.set(version);
    }
}

/// Above the committed one, and above every start that died before it was committed.
async fn next_incarnation(shard: &Shard, image: &MetadataImage) -> Result<Incarnation, String> {
    let latest = match shard.fs().read_dir(&data_dir().join("journals")).await {
        Ok(entries) => entries.iter().filter_map(|entry| u64::from_str_radix(entry.name.get(..16)?, 16).ok()).max(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(format!("list /data/journals: {error}")),
    };
    Ok(Incarnation(image.next_incarnation(NODE).0.max(latest.unwrap_or(0) + 1)))
}

fn batches_of(part: &[u8]) -> impl Iterator<Item = (BatchHeader, &[u8])> {
    batches(part).flatten()
}

/// What a partition remembers of its producers is what its log says, as far as the log goes back.
fn check_producers(open: &Open, log_start: Offset, log: &ProducerState) -> Result<(), String> {
    let found = open.store.producers(open.partition).map_err(|error| error.to_string())?;
    for (id, producer) in &found.producers {
        let mut held = producer.batches().iter().filter(|batch| batch.last_offset() >= log_start).peekable();
        let known = log.producer(*id);
        if held.peek().is_some() && known.is_none() {
            return Err(format!(
                "partition {}: remembers {producer:?} of {id}, which its log does not hold",
                open.partition
            ));
        }
        let Some(known) = known else { continue };
        let same = known.epoch == producer.epoch
            && known.batches().iter().rev().zip(producer.batches().iter().rev()).all(|(log, found)| log == found)
            && known.batches().len() <= producer.batches().len();
        if !same {
            return Err(format!(
                "partition {}: remembers {producer:?} of {id}, its log says {known:?}",
                open.partition
            ));
        }
    }
    if found.producers.len() < log.len() {
        return Err(format!("partition {}: remembers {found:?}, its log says {log:?}", open.partition));
    }
    Ok(())
}

impl Open {
    /// Producers go on where the partition says that they are.
    pub(crate) fn learn_sequences(&self) {
        let known = self.store.producers(self.partition).map(|known| known.producers).unwrap_or_default();
        let next = known.iter().map(|(id, producer)| (*id, producer.last().last_sequence().after(1)));
        *self.sequences.borrow_mut() = next.collect();
    }
}

/// The batches of a read, each checked whole.
pub(crate) fn parse(parts: &[impl AsRef<[u8]>]) -> Result<Vec<Seen>, String> {
    let joined: Vec<u8> = parts.iter().flat_map(|part| part.as_ref()).copied().collect();
    let mut seen = Vec::new();
    let mut bytes = 0;
    for batch in batches(&joined) {
        let (_, batch) = batch.map_err(|error| error.to_string())?;
        let header = check_batch(batch).map_err(|error| error.to_string())?;
        bytes += batch.len();
        seen.push(Seen {
            base: header.base_offset,
            end: header.end_offset(),
            epoch: header.leader_epoch,
            id: payload::id(&header),
            hash: payload::hash(batch),
        });
    }
    if bytes == joined.len() {
        Ok(seen)
    } else {
        Err(format!("{} bytes after the last whole batch", joined.len() - bytes))
    }
}

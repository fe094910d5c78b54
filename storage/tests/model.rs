//! The store against a `Vec`: random appends, reads, truncations, log starts, drops and restarts, with limits so small
//! that commits are cut into fragments, segments roll, tails are carried and the journal comes round many times.
//! Runs on real files with O_DIRECT and, far more often, on the simulated disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ouzel_protocol::batch::{BatchHeader, batches, parse_header};
use ouzel_protocol::producer::restamp;
use ouzel_protocol::records::{BatchBuilder, Dialect};
use ouzel_protocol::{
    Codec, Durability, Incarnation, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ProducerStamp,
    Sequence, ShardIndex,
};
use ouzel_runtime::sim::{SimDisk, SimOutcome, run_sim};
use ouzel_runtime::{RunConfig, Shard};
use ouzel_storage::format::producers::{ProducerSnapshot, RememberedBatch};
use ouzel_storage::producers::ProducerState;
use ouzel_storage::{
    AssignedIds, CommittedStart, PartitionConfig, ProducerLimits, StorageError, Store, StoreConfig, recover, retire_old,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

fn small_config() -> StoreConfig {
    StoreConfig {
        journal_bytes_max: 1024 * 1024,
        journal_file_bytes: 256 * 1024,
        commit_bytes_max: 32 * 1024,
        dirty_bytes_max: 384 * 1024,
        cache_bytes_max: 512 * 1024,
        segments_open_max: 4,
        syncs_apart_max: 2,
        seal_after_ms: 20,
        producers_max: 1024,
        producers: ProducerLimits { partition_producers_max: 6, ..ProducerLimits::default() },
    }
}

fn partition_config(id: u64) -> PartitionConfig {
    PartitionConfig {
        durability: if id.is_multiple_of(3) { Durability::Written } else { Durability::Disk },
        flush_interval_ms: 5,
        segment_bytes: 64 * 1024,
        batch_bytes_max: 300 * 1024,
    }
}

/// What one partition must hold: batches as stored, by base offset.
#[derive(Clone, Default)]
struct Model {
    log_start: Offset,
    batches: Vec<(Offset, Offset, Vec<u8>)>,
    /// What is remembered of producers, if it cannot be told from `headers` alone.
    base: Option<ProducerSnapshot>,
    /// Headers of all batches since then that were not truncated, those below the log start too.
    headers: Vec<BatchHeader>,
}

impl Model {
    fn end(&self) -> Offset {
        self.batches.last().map_or(self.log_start, |batch| batch.1)
    }

    /// After a cut of a log that does not begin at its beginning: what the log still holds of a producer must be known;
    /// what went with the log start need not be, and the model goes on with what is.
    fn adopt(&mut self, found: ProducerSnapshot) {
        let mut held = ProducerState::default();
        for (_, _, bytes) in &self.batches {
            held.replay(&parse_header(bytes).expect("own batch"), 0, small_config().producers);
        }
        let end = self.end().max(self.log_start);
        for (id, producer) in &held.snapshot(end, 0, small_config().producers).producers {
            let known = found.producers.iter().find(|(found, _)| found == id).map(|(_, producer)| *producer);
            let known = known.unwrap_or_else(|| panic!("producer {id} is forgotten"));
            let newest = producer.batches().iter().rev().zip(known.batches().iter().rev());
            assert!(known.epoch == producer.epoch && known.batches().len() >= producer.batches().len());
            assert!(
                newest.clone().all(|(held, known)| held.base_offset == known.base_offset),
                "{known:?}, {producer:?}"
            );
        }
        self.base = Some(found);
        self.headers.clear();
    }

    fn producers(&self) -> ProducerState {
        let mut producers = self.base.clone().map(ProducerState::from_snapshot).unwrap_or_default();
        for header in &self.headers {
            producers.replay(header, 0, small_config().producers);
        }
        producers
    }
}

/// What a snapshot says but for the times, which replay takes from the journal.
fn without_times(snapshot: ProducerSnapshot) -> ProducerSnapshot {
    let mut snapshot = ProducerSnapshot::decode(&snapshot.encode()).expect("our own bytes");
    snapshot.producers.iter_mut().for_each(|(_, producer)| producer.last_used_ms = 0);
    snapshot
}

struct Node {
    shard: Shard,
    data_dir: PathBuf,
    rng: SmallRng,
    models: BTreeMap<PartitionId, Model>,
    next: PartitionId,
    incarnation: Incarnation,
    committed: Option<CommittedStart>,
    appended: u64,
}

fn batch_of(rng: &mut SmallRng, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    let records = rng.random_range(1..4);
    for _ in 0..records {
        let value: Vec<u8> = (0..bytes / records).map(|_| rng.random()).collect();
        builder.push(rng.random_range(1_000..1_000_000), None, Some(&value), &[]);
    }
    builder.build().expect("a small batch")
}

impl Node {
    async fn start(&mut self) -> Result<Vec<Store>, StorageError> {
        let live: BTreeMap<_, _> = self.models.keys().map(|id| (*id, partition_config(id.0))).collect();
        let assigned = AssignedIds { next: self.next };
        let recovered = recover(&self.shard, &self.data_dir, &small_config(), self.committed, &live, assigned).await?;
        self.incarnation = Incarnation(self.incarnation.0 + 1);
        let shards = self.rng.random_range(1..4u16);
        let mut per_shard: Vec<Vec<_>> = (0..shards).map(|_| Vec::new()).collect();
        for (id, partition) in recovered.partitions {
            per_shard[(id.0 % u64::from(shards)) as usize].push((partition, partition_config(id.0)));
        }
        let mut stores = Vec::new();
        for (index, partitions) in per_shard.into_iter().enumerate() {
            let index = ShardIndex(index as u16);
            let journal_id = self.rng.random();
            stores.push(
                Store::create(
                    &self.shard,
                    &self.data_dir,
                    index,
                    self.incarnation,
                    journal_id,
                    small_config(),
                    partitions,
                )
                .await?,
            );
        }
        self.committed = Some(CommittedStart { incarnation: self.incarnation, shards });
        for store in &stores {
            store.begin();
        }
        retire_old(&self.shard, &self.data_dir, self.incarnation, &live).await?;
        Ok(stores)
    }

    async fn append(&mut self, store: &Store, id: PartitionId) {
        let bytes = match self.rng.random_range(0..20) {
            0 => self.rng.random_range(40_000..250_000),
            1..5 => self.rng.random_range(2_000..20_000),
            _ => self.rng.random_range(1..1_500),
        };
        let mut batch = batch_of(&mut self.rng, bytes);
        if self.rng.random_ratio(2, 3) {
            // Eight producers, of which a partition remembers six.
            let producer = ProducerId(self.rng.random_range(0..8));
            let known = self.models[&id].producers().producer(producer).copied();
            let next = known.map_or(Sequence::ZERO, |known| known.last().last_sequence().after(1));
            let epoch = known.map_or(ProducerEpoch(0), |known| known.epoch);
            let begins_again = self.rng.random_ratio(1, 30);
            let (epoch, next) = if begins_again { (epoch.next().expect("few"), Sequence::ZERO) } else { (epoch, next) };
            restamp(&mut batch, ProducerStamp { id: producer, epoch, base_sequence: next });
        }
        let header = parse_header(&batch).expect("own batch");
        let reservation = store.reserve(batch.len()).await.expect("room");
        let epoch = LeaderEpoch(self.incarnation.0 as u32);
        let appended = store.append(reservation, id, epoch, &header, &batch).expect("append");
        let model = self.models.get_mut(&id).expect("live");
        assert_eq!(appended.base_offset, model.end(), "offsets are dense");
        let mut stored = batch.clone();
        let prefix = ouzel_protocol::batch::patched_prefix(&header, appended.base_offset, epoch);
        stored[..prefix.len()].copy_from_slice(&prefix);
        model.headers.push(parse_header(&stored).expect("own batch"));
        model.batches.push((appended.base_offset, Offset(appended.last_offset.0 + 1), stored));
        self.appended += 1;
        if self.rng.random_bool(0.5) {
            appended.ack.await.expect("acknowledged");
        }
    }

    /// Sends a batch again that a producer sent before, or one that leaves a gap: the log must not change.
    async fn repeat(&mut self, store: &Store, id: PartitionId) {
        let model = &self.models[&id];
        if model.batches.is_empty() {
            return;
        }
        let (_, _, mut batch) = model.batches[self.rng.random_range(0..model.batches.len())].clone();
        let stored = parse_header(&batch).expect("own batch");
        let Some(stamp) = stored.producer() else { return };
        let Some(known) = model.producers().producer(stamp.id).copied() else { return };
        let next = known.last().last_sequence().after(1);
        if stamp.epoch > known.epoch || stamp.base_sequence == next {
            return; // Of a time when the producer was known, before it was forgotten and met anew.
        }
        let is_it = |known: &&RememberedBatch| {
            known.base_sequence == stamp.base_sequence && known.last_offset_delta == stored.last_offset_delta
        };
        let first = known.batches().iter().filter(|_| known.epoch == stamp.epoch).find(is_it);
        let leaves_gap = self.rng.random_ratio(1, 4);
        if leaves_gap {
            let base_sequence = known.last().last_sequence().after(2);
            restamp(&mut batch, ProducerStamp { base_sequence, epoch: known.epoch, ..stamp });
        }
        let header = parse_header(&batch).expect("own batch");
        let reservation = store.reserve(batch.len()).await.expect("room");
        match store.append(reservation, id, LeaderEpoch(self.incarnation.0 as u32), &header, &batch) {
            Ok(again) => {
                let first = first.filter(|_| !leaves_gap).unwrap_or_else(|| panic!("{stamp:?} in {known:?}"));
                assert_eq!((again.base_offset, again.last_offset), (first.base_offset, first.last_offset()));
                if self.rng.random_bool(0.5) {
                    again.ack.await.expect("acknowledged");
                }
            }
            // Which of the two is for the tests of the pure state; here it must not be one that is remembered.
            Err(StorageError::OutOfOrderSequence { .. } | StorageError::DuplicateSequence { .. }) => {
                assert!(leaves_gap || first.is_none(), "{stamp:?} in {known:?}");
            }
            Err(StorageError::ProducerFenced { .. }) => assert!(stamp.epoch < known.epoch),
            Err(other) => panic!("{other}"),
        }
    }

    fn check_producers(&self, store: &Store, id: PartitionId) {
        let found = without_times(store.producers(id).expect("open"));
        let model = &self.models[&id];
        let all = model.producers();
        let expected = without_times(all.snapshot(model.end(), 0, small_config().producers));
        assert_eq!(found, expected, "producers of {id}, log start {}", model.log_start);
    }

    async fn settle(&self, store: &Store, id: PartitionId) {
        let end = self.models[&id].end();
        if end > Offset::ZERO {
            store.wait_durable(id, Offset(end.0 - 1)).await;
        }
    }

    async fn check_all(&mut self, store: &Store, id: PartitionId) {
        self.settle(store, id).await;
        let model = self.models[&id].clone();
        assert_eq!(store.end_offset(id).expect("open"), model.end(), "end of {id}");
        assert_eq!(store.log_start(id).expect("open"), model.log_start, "log start of {id}");
        self.check_producers(store, id);
        let mut at = model.log_start;
        let mut expected = model.batches.iter().skip_while(|batch| batch.1 <= model.log_start);
        while at < model.end() {
            let bytes_max = self.rng.random_range(1..100_000);
            let plan = store.plan_read(id, at, bytes_max, true).expect("in range");
            let parts = store.read(plan).await.expect("readable");
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            assert!(!joined.is_empty(), "no bytes at {at} of {id}, end {}", model.end());
            for batch in batches(&joined) {
                let (header, stored) = batch.expect("whole batches");
                let (base, end, bytes) = expected.next().expect("not more than was appended");
                assert_eq!((header.base_offset, header.end_offset()), (*base, *end), "at {at} of {id}");
                assert!(stored == bytes, "bytes at {base} of {id}");
                at = *end;
            }
        }
        assert!(expected.next().is_none(), "everything was read");
    }

    async fn check_somewhere(&mut self, store: &Store, id: PartitionId) {
        self.settle(store, id).await;
        let model = self.models[&id].clone();
        if model.end() == model.log_start {
            return;
        }
        let from = Offset(self.rng.random_range(model.log_start.0..model.end().0));
        let plan = store.plan_read(id, from, 1, true).expect("in range");
        let parts = store.read(plan).await.expect("readable");
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let header = parse_header(&joined).expect("a batch");
        assert!(header.base_offset <= from && from < header.end_offset(), "the batch that holds {from}");
        let (_, _, bytes) = model.batches.iter().find(|batch| batch.0 == header.base_offset).expect("appended");
        assert!(&joined == bytes, "bytes at {from} of {id}");
    }

    async fn truncate(&mut self, store: &Store, id: PartitionId) {
        let model = self.models[&id].clone();
        let to = Offset(self.rng.random_range(model.log_start.0..=model.end().0));
        let end = store.truncate(id, to).await.expect("truncated");
        let model = self.models.get_mut(&id).expect("live");
        model.batches.retain(|batch| batch.1 <= to);
        model.headers.retain(|header| header.end_offset() <= to);
        assert_eq!(end, model.end().max(model.log_start), "truncating {id} to {to}");
        self.settle(store, id).await;
        let model = self.models.get_mut(&id).expect("live");
        if model.log_start > Offset::ZERO {
            model.adopt(without_times(store.producers(id).expect("open")));
        }
        self.check_producers(store, id);
    }

    async fn step(&mut self, stores: &[Store]) {
        let ids: Vec<PartitionId> = self.models.keys().copied().collect();
        let id = ids[self.rng.random_range(0..ids.len())];
        let store = &stores[(id.0 % stores.len() as u64) as usize];
        match self.rng.random_range(0..100) {
            0..2 => self.truncate(store, id).await,
            2..4 => {
                self.settle(store, id).await;
                let model = self.models.get_mut(&id).expect("live");
                // Along a batch boundary: the model keeps whole batches.
                let at = self.rng.random_range(0..=model.batches.len());
                let to = model.batches.get(at).map_or(model.end(), |batch| batch.0).max(model.log_start);
                store.advance_log_start(id, to).await.expect("moved");
                model.log_start = to;
                model.batches.retain(|batch| batch.1 > to);
            }
            4 => {
                store.drop_partition(id).await.expect("dropped");
                self.models.remove(&id);
                let fresh = self.next;
                self.next = PartitionId(fresh.0 + 1);
                let owner = &stores[(fresh.0 % stores.len() as u64) as usize];
                owner.open_partition(fresh, partition_config(fresh.0));
                self.models.insert(fresh, Model::default());
            }
            5..20 => self.check_somewhere(store, id).await,
            20..35 => self.repeat(store, id).await,
            _ => self.append(store, id).await,
        }
    }
}

async fn scenario(shard: Shard, data_dir: PathBuf, seed: u64, starts: usize, steps: usize) -> (u64, u64, u64) {
    let mut node = Node {
        shard: shard.clone(),
        data_dir,
        rng: SmallRng::seed_from_u64(seed),
        models: (0..5).map(|id| (PartitionId(id), Model::default())).collect(),
        next: PartitionId(5),
        incarnation: Incarnation(0),
        committed: None,
        appended: 0,
    };
    let (mut wraps, mut carries) = (0, 0);
    for _ in 0..starts {
        let stores = node.start().await.expect("start");
        for id in node.models.keys().copied().collect::<Vec<_>>() {
            node.check_all(&stores[(id.0 % stores.len() as u64) as usize], id).await;
        }
        for _ in 0..steps {
            node.step(&stores).await;
        }
        for id in node.models.keys().copied().collect::<Vec<_>>() {
            node.check_all(&stores[(id.0 % stores.len() as u64) as usize], id).await;
        }
        for store in &stores {
            wraps += store.stats().wraps;
            carries += store.stats().carries;
            assert!(store.poisoned().is_none());
            store.close().await.expect("closed");
        }
    }
    (node.appended, wraps, carries)
}

#[test]
fn the_store_is_a_vec_on_the_simulated_disk() {
    let seeds: u64 = std::env::var("OUZEL_MODEL_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(12);
    let first: u64 = std::env::var("OUZEL_MODEL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (mut appended, mut wraps, mut carries) = (0, 0, 0);
    for seed in first..first + seeds {
        println!("OUZEL_MODEL_SEED={seed} OUZEL_MODEL_SEEDS=1");
        match run_sim(seed, SimDisk::new(seed), |shard| scenario(shard, PathBuf::from("/data"), seed, 4, 300)) {
            SimOutcome::Done(counts) => {
                appended += counts.0;
                wraps += counts.1;
                carries += counts.2;
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    println!("{appended} batches, {wraps} wraps, {carries} carries");
    assert!(wraps > 0 && carries > 0, "the limits were small enough to matter");
}

#[test]
fn the_store_is_a_vec_on_real_files() {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = tempfile::tempdir_in(base).expect("temporary directory");
    let data_dir = dir.path().to_owned();
    let (appended, ..) =
        ouzel_runtime::run(RunConfig::default(), |shard| scenario(shard, data_dir, 7, 3, 300)).expect("runtime");
    assert!(appended > 100);
}

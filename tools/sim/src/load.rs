//! What a serving node is put under: producers that keep several batches in flight, readers, tailing readers, and one
//! task that changes things (topics, truncations, log starts). Every answer goes to the ledger. Owns no promise.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ouzel_broker_core::{Command, MetadataImage};
use ouzel_protocol::{
    Durability, LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerStamp, TopicId, patched_prefix,
};
use ouzel_runtime::sync::Semaphore;
use ouzel_storage::StorageError;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::ledger::Seen;
use crate::node::{Node, Open, parse};
use crate::payload;
use crate::plan::{LifePlan, PARTITIONS_MAX};

/// The load of one life.
pub(crate) struct Load {
    node: Rc<Node>,
    plan: LifePlan,
    batches_left: Cell<u32>,
    changes_done: Cell<bool>,
}

impl Load {
    /// Runs the load to its end: every batch sent and answered, every change made.
    pub(crate) async fn run(node: Rc<Node>, plan: LifePlan) {
        let shard = node.shard.clone();
        let load = Rc::new(Load { node, plan, batches_left: Cell::new(plan.batches), changes_done: Cell::new(false) });
        let mut rng = SmallRng::seed_from_u64(plan.seed);
        let mut tasks = Vec::new();
        // The first change creates the first topic, so that producers have where to send.
        let (changer, changer_rng) = (load.clone(), fork(&mut rng));
        tasks.push(shard.spawn(async move { changer.change(changer_rng).await }));
        for number in 0..u64::from(plan.producers) {
            let (producer, producer_rng) = (load.clone(), fork(&mut rng));
            tasks.push(shard.spawn(async move { producer.produce(ProducerId(number), producer_rng).await }));
        }
        let mut readers = Vec::new();
        for _ in 0..plan.readers {
            let (reader, reader_rng) = (load.clone(), fork(&mut rng));
            readers.push(shard.spawn(async move { reader.read(reader_rng).await }));
            let (tailer, tailer_rng) = (load.clone(), fork(&mut rng));
            readers.push(shard.spawn(async move { tailer.tail(tailer_rng).await }));
        }
        for task in tasks {
            let _ = task.join().await;
        }
        for reader in readers {
            reader.cancel();
        }
    }

    fn failed(&self) -> bool {
        self.node.world.ledger.borrow().violation().is_some()
    }

    fn violate(&self, what: String) {
        self.node.world.violate(what);
    }

    fn pick(&self, rng: &mut SmallRng) -> Option<Rc<Open>> {
        let open = self.node.open.borrow();
        let index = rng.random_range(0..open.len().max(1));
        open.values().nth(index).cloned()
    }

    async fn produce(self: &Rc<Self>, producer: ProducerId, mut rng: SmallRng) {
        let permits = Semaphore::new(self.plan.in_flight);
        while self.batches_left.get() > 0 && !self.failed() {
            if self.plan.pause_us_max > 0 {
                self.pause(&mut rng, self.plan.pause_us_max).await;
            }
            let Some(open) = self.pick(&mut rng) else {
                if self.changes_done.get() {
                    return;
                }
                self.pause(&mut rng, 1_000).await;
                continue;
            };
            let permit = permits.acquire(1).await;
            let world = &self.node.world;
            let bytes = world.plan.batch_bytes(&mut rng);
            let records = rng.random_range(1..=40);
            let reservation = match open.store.reserve(bytes).await {
                Ok(reservation) => reservation,
                Err(error) if self.node.world.excuses(&error) => {
                    self.refused(&mut rng, &error).await;
                    continue;
                }
                Err(error) => return self.violate(format!("reserve of {bytes} bytes failed: {error}")),
            };
            if open.busy.get() || open.gone.get() {
                drop(reservation);
                if self.changes_done.get() {
                    // A failing disk left it half-way through a change: only a restart opens it again.
                    self.batches_left.set(self.batches_left.get().saturating_sub(1));
                }
                self.pause(&mut rng, 300).await;
                continue;
            }
            self.batches_left.set(self.batches_left.get().saturating_sub(1));
            let id = world.ledger.borrow_mut().next_id();
            let stamp = rng.random_bool(0.7).then(|| open.stamp(producer, records));
            let (header, batch) = payload::build(id, open.partition, stamp, records, bytes);
            let epoch = LeaderEpoch(open.epoch.get());
            let appended = match open.store.append(reservation, open.partition, epoch, &header, &batch) {
                Ok(appended) => appended,
                Err(error) if self.node.world.excuses(&error) => {
                    self.refused(&mut rng, &error).await;
                    continue;
                }
                Err(error) => return self.violate(format!("append failed: {error}")),
            };
            let base = appended.base_offset;
            // What is stored differs from what was sent in its first 16 bytes only, and the hash leaves those out.
            debug_assert_eq!(patched_prefix(&header, base, epoch).len(), 16);
            let seen = Seen { base, end: appended.last_offset.next(), epoch, id, hash: payload::hash(&batch) };
            if seen.end.0 - base.0 != u64::from(records) {
                self.violate(format!("{records} records were given offsets {base}..{}", seen.end));
            }
            world.ledger.borrow_mut().appended(open.partition, seen);
            let load = self.clone();
            let ack = appended.ack;
            let asked = open.config.borrow().durability;
            self.node.shard.spawn(async move {
                load.settle(&open, &seen, asked, ack.await);
                drop(permit);
            });
        }
        // All acknowledged: every permit is back.
        drop(permits.acquire(self.plan.in_flight).await);
    }

    /// A failing disk refused a batch. A full one is waited for, because that is a state; another shard may still work.
    async fn refused(&self, rng: &mut SmallRng, error: &StorageError) {
        if matches!(error, StorageError::DiskFull { .. }) && !self.node.world.disk_stays_full.get() {
            return self.pause(rng, 1_000_000).await;
        }
        self.batches_left.set(self.batches_left.get().saturating_sub(1));
    }

    fn settle(&self, open: &Open, seen: &Seen, asked: Durability, ack: Result<Durability, StorageError>) {
        self.node.world.note_stats(open.shard_index, open.store.stats());
        match ack {
            Ok(level) => {
                if asked == Durability::Disk && level == Durability::Written && open.config.borrow().durability == asked
                {
                    self.violate(format!("partition {}: asked for disk, answered at written", open.partition));
                }
                let visible = open.visible();
                let mut ledger = self.node.world.ledger.borrow_mut();
                ledger.acked(open.partition, seen.base, seen.id, level, visible);
            }
            // A truncation or drop may overtake an acknowledgement.
            Err(_) if open.gone.get() || open.epoch.get() != seen.epoch.0 || open.busy.get() => {}
            Err(error) if self.node.world.excuses(&error) => {}
            Err(error) => self.violate(format!("partition {}: batch at {} failed: {error}", open.partition, seen.base)),
        }
    }

    async fn read(self: &Rc<Self>, mut rng: SmallRng) {
        while !self.failed() {
            self.pause(&mut rng, 5_000).await;
            let Some(open) = self.pick(&mut rng) else { continue };
            let (start, end) = (open.log_start(), open.visible());
            if start < end && !open.gone.get() {
                let from = Offset(rng.random_range(start.0..end.0));
                let bytes = rng.random_range(1..200_000);
                self.read_at(&open, from, bytes).await;
            }
        }
    }

    async fn tail(self: &Rc<Self>, mut rng: SmallRng) {
        while !self.failed() {
            self.pause(&mut rng, 2_000).await;
            let Some(open) = self.pick(&mut rng) else { continue };
            if open.gone.get() {
                continue;
            }
            let from = open.visible();
            open.store.wait_durable(open.partition, from).await;
            if !open.gone.get() && open.visible() > from {
                self.read_at(&open, from, rng.random_range(1..100_000)).await;
            }
        }
    }

    async fn read_at(&self, open: &Open, from: Offset, bytes_max: usize) {
        let id = open.partition;
        let visible = open.visible();
        let expected = self.node.world.ledger.borrow_mut().expect(id, from, visible);
        let plan = match open.store.plan_read(id, from, bytes_max, true) {
            Ok(plan) => plan,
            Err(error) => {
                return self.violate(format!("partition {id}: plan at {from}, visible to {visible}: {error}"));
            }
        };
        match open.store.read(plan).await {
            Ok(parts) => match parse(&parts) {
                Ok(seen) => self.node.world.ledger.borrow_mut().shown(id, from, &expected, &seen),
                Err(what) => self.violate(format!("partition {id}: read at {from}: {what}")),
            },
            Err(error) => {
                // What a reader was about to get may be truncated or dropped under it; it may then be refused.
                let overtaken = self.node.world.ledger.borrow().overtaken(id, &expected);
                if !overtaken && !self.node.world.excuses(&error) {
                    self.violate(format!("partition {id}: read at {from}: {error}"));
                }
            }
        }
    }

    async fn change(self: &Rc<Self>, mut rng: SmallRng) {
        let mut result = Ok(());
        let wanted = self.node.world.plan.topics as usize;
        let present = self.node.image.borrow().topics().count();
        for _ in present..wanted {
            if result.is_ok() {
                result = self.create_topic(&mut rng).await;
            }
        }
        for _ in 0..self.plan.changes {
            if result.is_err() || self.failed() {
                break;
            }
            self.pause(&mut rng, 20_000).await;
            result = match rng.random_range(0..10u32) {
                0 => self.create_topic(&mut rng).await,
                1 => self.drop_topic(&mut rng).await,
                2 => self.alter_topic(&mut rng).await,
                3..=6 => self.truncate(&mut rng).await,
                _ => self.move_log_start(&mut rng).await,
            };
        }
        match result {
            // Whoever changes things gives up at the first error of a failing disk; damage is never excused.
            Err(what) if !self.node.world.disk_fails.get() || what.contains("corrupt") => self.violate(what),
            _ => {}
        }
        self.changes_done.set(true);
    }

    async fn create_topic(&self, rng: &mut SmallRng) -> Result<(), String> {
        let world = &self.node.world;
        let room = PARTITIONS_MAX.saturating_sub(self.node.open.borrow().len());
        if room == 0 {
            return Ok(());
        }
        let number = world.next_topic.get();
        world.next_topic.set(number + 1);
        let name = format!("topic-{number}");
        let level = if rng.random_range(0..8) < world.plan.written_of_8 { "written" } else { "disk" };
        let command = Command::CreateTopic {
            name: name.clone(),
            topic_id: TopicId(u128::from(number) + 1),
            partitions: rng.random_range(1..=3).min(room as u32),
            replication_factor: 1,
            configs: vec![("ouzel.durability".to_owned(), level.to_owned())],
        };
        let image = self.node.commit(command).await?;
        self.open_new(&image, &name)
    }

    fn open_new(&self, image: &MetadataImage, name: &str) -> Result<(), String> {
        let topic = image.topic_named(name).ok_or("a topic that was created is not there")?;
        for partition in &topic.partitions {
            let config = self.node.world.partition_config(&topic.config);
            let store = &self.node.stores[usize::from(partition.shard.0)];
            store.open_partition(partition.partition_id, config);
            self.node.adopt(name, partition, &topic.config);
        }
        Ok(())
    }

    async fn drop_topic(&self, rng: &mut SmallRng) -> Result<(), String> {
        let Some(open) = self.pick(rng) else { return Ok(()) };
        self.node.drop_topic(&open.topic).await
    }

    async fn alter_topic(&self, rng: &mut SmallRng) -> Result<(), String> {
        let Some(open) = self.pick(rng) else { return Ok(()) };
        let level = if rng.random_bool(0.5) { "written" } else { "disk" };
        let command = Command::AlterTopic {
            name: open.topic.clone(),
            partitions: None,
            configs: vec![("ouzel.durability".to_owned(), Some(level.to_owned()))],
        };
        let image = self.node.commit(command).await?;
        let topic = image.topic_named(&open.topic).ok_or("a topic that was altered is not there")?;
        let all: Vec<Rc<Open>> = self.node.open.borrow().values().cloned().collect();
        for open in all.iter().filter(|open| open.topic == topic.name) {
            let config = self.node.world.partition_config(&topic.config);
            open.store.set_config(open.partition, config.clone()).map_err(|error| error.to_string())?;
            *open.config.borrow_mut() = config;
        }
        Ok(())
    }

    async fn truncate(&self, rng: &mut SmallRng) -> Result<(), String> {
        let Some(open) = self.pick(rng) else { return Ok(()) };
        let id = open.partition;
        let (start, end) = (open.log_start(), open.end());
        let Some(to) = self.node.world.ledger.borrow().boundary(id, start, rng.random_range(start.0..=end.0)) else {
            return Ok(());
        };
        open.busy.set(true);
        self.node.world.ledger.borrow_mut().truncating(id, to);
        let truncated = open.store.truncate(id, to).await;
        truncated.map_err(|error| format!("truncation of partition {id} to {to}: {error}"))?;
        self.node.world.ledger.borrow_mut().truncated(id, to);
        let after = open.end();
        if after < end {
            open.learn_sequences();
        }
        open.epoch.set(open.epoch.get() + 1);
        open.busy.set(false);
        if after == to { Ok(()) } else { Err(format!("partition {id} was truncated to {to} and ends at {after}")) }
    }

    async fn move_log_start(&self, rng: &mut SmallRng) -> Result<(), String> {
        let Some(open) = self.pick(rng) else { return Ok(()) };
        let id = open.partition;
        let (start, end) = (open.log_start(), open.visible());
        let to = Offset(rng.random_range(start.0..=end.0));
        self.node.world.ledger.borrow_mut().moving_log_start(id, to);
        let moved = open.store.advance_log_start(id, to).await;
        moved.map_err(|error| format!("log start of partition {id} to {to}: {error}"))?;
        self.node.world.ledger.borrow_mut().moved_log_start(id, to);
        Ok(())
    }

    async fn pause(&self, rng: &mut SmallRng, us_max: u64) {
        self.node.shard.sleep(Duration::from_micros(rng.random_range(1..=us_max))).await;
    }
}

impl Node {
    /// Deletes a topic, and its partitions with their files.
    pub(crate) async fn drop_topic(&self, name: &str) -> Result<(), String> {
        let going: Vec<Rc<Open>> = {
            let mut all = self.open.borrow_mut();
            let going = all.values().filter(|open| open.topic == name).cloned().collect();
            all.retain(|_, open| open.topic != name);
            going
        };
        for open in &going {
            open.gone.set(true);
            self.world.ledger.borrow_mut().dropping(open.partition);
        }
        self.commit(Command::DeleteTopic { name: name.to_owned() }).await?;
        for open in &going {
            self.world.ledger.borrow_mut().dropped(open.partition);
            let dropped = open.store.drop_partition(open.partition).await;
            dropped.map_err(|error| format!("drop of partition {}: {error}", open.partition))?;
        }
        Ok(())
    }
}

impl Open {
    /// What the next batch of a producer says, which has to be sent now.
    fn stamp(&self, id: ProducerId, records: u32) -> ProducerStamp {
        let mut sequences = self.sequences.borrow_mut();
        let next = sequences.entry(id).or_default();
        let base_sequence = std::mem::replace(next, next.after(records));
        ProducerStamp { id, epoch: ProducerEpoch(0), base_sequence }
    }

    /// Where the log starts; zero once it is gone.
    fn log_start(&self) -> Offset {
        self.store.log_start(self.partition).unwrap_or(Offset::ZERO)
    }

    /// Where readers stop; zero once the partition is gone.
    fn visible(&self) -> Offset {
        self.store.durable_end(self.partition).unwrap_or(Offset::ZERO)
    }

    /// Where the next batch goes; zero once the partition is gone.
    fn end(&self) -> Offset {
        self.store.end_offset(self.partition).unwrap_or(Offset::ZERO)
    }
}

fn fork(rng: &mut SmallRng) -> SmallRng {
    SmallRng::seed_from_u64(rng.random())
}

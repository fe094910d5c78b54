//! The disk has no space left from the Nth operation on that needs some, for N = 1, 2, 3, ..., and nobody frees any. What was
//! accepted must still be moved and kept (rule J13): nothing is poisoned, everything durable is read, the store closes, the
//! next start succeeds on the full disk, and deleting topics brings appends back. Owns these rules; the promises are the
//! ledger's.

use std::rc::Rc;
use std::time::Duration;

use ouzel_protocol::LeaderEpoch;
use ouzel_runtime::sim::{SimOutcome, run_sim};
use ouzel_runtime::{Shard, timeout_at};
use ouzel_storage::StorageError;

use crate::io_errors::read_all;
use crate::ledger::Seen;
use crate::load::Load;
use crate::node::{Node, Open, Phase, World};
use crate::payload;
use crate::plan::LifePlan;
use crate::recorded::{Fork, Recorded};

/// A life that has not ended after this much fake time never will.
const LIFE_MAX: Duration = Duration::from_secs(300);
/// So soon after a topic is deleted, appends are accepted.
const RESUMES_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of the batch that must get through.
const PROBE_BYTES: usize = 1_000;

/// Fills the disk at operation `first`, `first + stride`, ... of the recorded run of `seed`, up to `last`. Returns how often.
///
/// # Errors
/// N, seed and the first promise or rule found broken.
pub(crate) fn play(seed: u64, first: u64, stride: u64, last: u64) -> Result<u64, String> {
    let recorded = Recorded::record(seed)?;
    let mut n = first.max(1);
    let mut played = 0;
    while n <= last {
        let mut fork = recorded.fork(n);
        let broken = |what: String| format!("disk full from operation {n} on, seed {seed}: {what}");
        if !fill(&mut fork, recorded.life, n).map_err(broken)? {
            break;
        }
        played += 1;
        n += stride.max(1);
    }
    Ok(played)
}

/// False once the run has fewer operations than `n`.
fn fill(fork: &mut Fork, life: LifePlan, n: u64) -> Result<bool, String> {
    let faults = fork.disk.stats().faults;
    fork.disk.fill_at_nth(n);
    fork.world.disk_fails.set(true);
    fork.world.disk_stays_full.set(true);
    // Every other life ends in the middle, every fourth with the power.
    let closes = !n.is_multiple_of(2);
    run(fork, life.seed, async |shard, world| loaded_life(shard, world, life, closes).await)?;
    if fork.disk.stats().faults == faults {
        return Ok(false);
    }
    if n.is_multiple_of(4) {
        fork.disk.cut_power();
        fork.world.ledger.borrow_mut().power_cut();
    }
    let shards = life.shards;
    run(fork, life.seed ^ n, async |shard, world| freed_life(shard, world, shards).await)
        .map_err(|what| format!("started again: {what}"))?;
    fork.disk.heal();
    fork.world.disk_fails.set(false);
    fork.world.disk_stays_full.set(false);
    fork.settle()?;
    Ok(true)
}

fn run(fork: &Fork, seed: u64, life: impl AsyncFnOnce(&Shard, &Rc<World>) -> Result<(), String>) -> Result<(), String> {
    let world = fork.world.clone();
    let outcome = run_sim(seed, fork.disk.clone(), |shard| async move {
        let deadline = shard.now() + LIFE_MAX;
        let ended = timeout_at(&shard, deadline, life(&shard, &world)).await;
        ended.unwrap_or_else(|_| Err(format!("stuck: no end after {} s of fake time", LIFE_MAX.as_secs())))
    });
    match outcome {
        SimOutcome::Done(ended) => ended?,
        other => return Err(format!("{other:?}: no task is ready, no timer set, no operation in flight")),
    }
    fork.verdict()
}

/// The recorded life, on a disk that gets full in it.
async fn loaded_life(shard: &Shard, world: &Rc<World>, life: LifePlan, closes: bool) -> Result<(), String> {
    let node = Node::start(shard.clone(), world.clone(), life.shards).await.map_err(|what| format!("start: {what}"))?;
    Load::run(node.clone(), life).await;
    shard.sleep(Duration::from_secs(2)).await;
    check_sound(&node)?;
    read_all(&node).await?;
    if closes { close(&node).await } else { Ok(()) }
}

/// A start on the full disk, and topics deleted until appends are accepted again.
async fn freed_life(shard: &Shard, world: &Rc<World>, shards: u16) -> Result<(), String> {
    let node = Node::start(shard.clone(), world.clone(), shards).await.map_err(|what| format!("start: {what}"))?;
    shard.sleep(Duration::from_secs(2)).await;
    check_sound(&node)?;
    loop {
        let open = node.open.borrow().values().next().cloned();
        let Some(open) = open else { break };
        match timeout_at(shard, shard.now() + RESUMES_WITHIN, probe(shard, world, &open)).await {
            Ok(result) => {
                result?;
                break;
            }
            Err(_) => node.drop_topic(&open.topic).await?,
        }
        if node.open.borrow().is_empty() && node.stores.iter().any(|store| store.stats().disk_full) {
            shard.sleep(RESUMES_WITHIN).await;
            let full = node.stores.iter().filter(|store| store.stats().disk_full).count();
            if full > 0 {
                return Err(format!("every topic is deleted, and the disk is full for {full} shards"));
            }
        }
    }
    check_sound(&node)?;
    read_all(&node).await?;
    close(&node).await
}

/// Appends one batch as soon as it is accepted.
async fn probe(shard: &Shard, world: &World, open: &Open) -> Result<(), String> {
    let reservation = loop {
        match open.store.reserve(PROBE_BYTES).await {
            Ok(reservation) => break reservation,
            Err(StorageError::DiskFull { .. }) => shard.sleep(Duration::from_millis(100)).await,
            Err(error) => return Err(format!("reserve: {error}")),
        }
    };
    let id = world.ledger.borrow_mut().next_id();
    let (header, batch) = payload::build(id, open.partition, None, 1, PROBE_BYTES);
    let epoch = LeaderEpoch(open.epoch.get());
    let appended = open.store.append(reservation, open.partition, epoch, &header, &batch);
    let appended = appended.map_err(|error| format!("append: {error}"))?;
    let (base, end) = (appended.base_offset, appended.last_offset.next());
    let seen = Seen { base, end, epoch, id, hash: payload::hash(&batch) };
    world.ledger.borrow_mut().appended(open.partition, seen);
    let level = appended.ack.await.map_err(|error| format!("acknowledgement: {error}"))?;
    // At level `written` readers see it later than its producer.
    open.store.wait_durable(open.partition, base).await;
    let visible = open.store.durable_end(open.partition).map_err(|error| error.to_string())?;
    world.ledger.borrow_mut().acked(open.partition, base, id, level, visible);
    Ok(())
}

/// A full disk is a state, and poisons nothing.
fn check_sound(node: &Node) -> Result<(), String> {
    match node.stores.iter().find_map(|store| store.poisoned()) {
        Some(error) => Err(error.to_string()),
        None => Ok(()),
    }
}

/// Everything that is dirty goes into segments, and a checkpoint says so.
async fn close(node: &Node) -> Result<(), String> {
    node.world.phase.set(Phase::Closing);
    for store in &node.stores {
        store.close().await.map_err(|error| format!("close: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_stays_full_costs_nothing_acknowledged_and_a_deleted_topic_brings_appends_back() {
        for seed in [1, 2] {
            let played = play(seed, 1, 7, u64::MAX).unwrap();
            assert!(played > 20, "seed {seed}: {played}");
        }
    }
}

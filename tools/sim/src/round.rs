//! One round: a node on one simulated disk through several lives, each ended by a power cut, a kill or an orderly stop,
//! and after each everything read back. Owns the world of the round; the same seed gives the same round.

use std::rc::Rc;
use std::time::Duration;

use ouzel_runtime::sim::{DiskStats, SimDisk, SimOutcome, run_sim};
use ouzel_runtime::{Shard, timeout_at};
use ouzel_storage::{RecoveryReport, StoreStats};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::ledger::Counts;
use crate::load::Load;
use crate::node::{Node, Phase, World};
use crate::plan::{End, LifePlan, RoundPlan};

/// A life that has not ended after this much fake time never will.
const LIFE_MAX: Duration = Duration::from_secs(3_600);

/// What one round went through.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoundReport {
    pub(crate) counts: Counts,
    pub(crate) disk: DiskStats,
    pub(crate) lives: u64,
    pub(crate) recoveries_cut: u64,
    pub(crate) torn_tails: u64,
    pub(crate) unsealed: u64,
    pub(crate) wraps: u64,
    pub(crate) carries: u64,
    pub(crate) checkpoints: u64,
    pub(crate) trace: u64,
}

impl RoundReport {
    /// Adds what world and disk know at the end.
    pub(crate) fn finish(&mut self, world: &World, disk: &SimDisk) {
        for recovery in world.reports.borrow().iter() {
            add_recovery(self, recovery);
        }
        self.counts = world.ledger.borrow().counts;
        self.disk = disk.stats();
        self.trace = disk.trace_hash();
    }
}

/// Plays the round of `seed`.
///
/// # Errors
/// The first promise found broken, as a sentence.
pub(crate) fn play(seed: u64, verbose: bool) -> Result<RoundReport, String> {
    let plan = RoundPlan::draw(seed);
    if verbose {
        println!("{plan:#?}");
    }
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x5eed);
    let disk = SimDisk::new(rng.random());
    let mut lives = plan.lives.clone();
    let shards = rng.random_range(1..=3);
    // Whatever the last life left behind is read back, and read back again after an orderly stop.
    lives.push(LifePlan::last(rng.random(), shards));
    lives.push(LifePlan::last(rng.random(), shards));
    let world = Rc::new(World::new(plan, verbose, SmallRng::seed_from_u64(rng.random())));
    let mut report = RoundReport::default();
    for (number, life) in lives.iter().enumerate() {
        world.ledger.borrow().tell(|| format!("life {} {life:?}", number + 1));
        live(&world, &disk, *life, &mut report);
        if let Some(what) = world.ledger.borrow().violation() {
            let (number, count, phase) = (number + 1, lives.len(), world.phase.get());
            return Err(format!("{what} [{phase:?} in life {number} of {count}: {life:?}]"));
        }
    }
    report.finish(&world, &disk);
    Ok(report)
}

/// One life, and what its end does to disk and promises.
pub(crate) fn live(world: &Rc<World>, disk: &SimDisk, life: LifePlan, report: &mut RoundReport) {
    match life.end {
        End::PowerCut(event) => disk.cut_power_after(event),
        End::Kill(event) => disk.kill_after(event),
        End::Close => {}
    }
    let main_world = world.clone();
    let outcome = run_sim(life.seed, disk.clone(), |shard| async move {
        let deadline = shard.now() + LIFE_MAX;
        let ended = timeout_at(&shard, deadline, life_of(&shard, &main_world, life)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(what)) => main_world.violate(what),
            Err(_) => main_world.violate(format!("stuck: no end after {} s of fake time", LIFE_MAX.as_secs())),
        }
    });
    disk.spare();
    let started = world.phase.get() >= Phase::Serving;
    world.ledger.borrow().tell(|| format!("ended {outcome:?} in {:?}, {:?}", world.phase.get(), disk.stats()));
    let cut = match (&outcome, life.end) {
        (SimOutcome::PowerCut, _) => true,
        (SimOutcome::Done(()), End::PowerCut(_)) => {
            disk.cut_power();
            true
        }
        (SimOutcome::Stalled, _) => {
            world.violate("stalled: no task is ready, no timer set, no operation in flight".to_owned());
            false
        }
        _ => false,
    };
    report.lives += 1;
    report.recoveries_cut += u64::from(!started);
    for stats in world.stats.take() {
        report.wraps += stats.wraps;
        report.carries += stats.carries;
        report.checkpoints += stats.checkpoints;
    }
    if cut {
        world.ledger.borrow_mut().power_cut();
    }
}

async fn life_of(shard: &Shard, world: &Rc<World>, life: LifePlan) -> Result<(), String> {
    let node = Node::start(shard.clone(), world.clone(), life.shards).await?;
    Load::run(node.clone(), life).await;
    // Long enough, sometimes, for idle seals and lazy syncs.
    let idle_ms = SmallRng::seed_from_u64(life.seed).random_range(0..300);
    shard.sleep(Duration::from_millis(idle_ms)).await;
    for (index, store) in node.stores.iter().enumerate() {
        world.note_stats(index, store.stats());
    }
    if life.end == End::Close {
        world.phase.set(Phase::Closing);
        for store in &node.stores {
            store.close().await.map_err(|error| format!("close: {error}"))?;
        }
    }
    Ok(())
}

impl World {
    /// Keeps the newest counters of a shard: after a cut there is nobody left to ask.
    pub(crate) fn note_stats(&self, shard: usize, stats: StoreStats) {
        let mut all = self.stats.borrow_mut();
        if all.len() <= shard {
            all.resize_with(shard + 1, StoreStats::default);
        }
        all[shard] = stats;
    }
}

fn add_recovery(report: &mut RoundReport, recovery: &RecoveryReport) {
    report.torn_tails += recovery.torn_tails() as u64;
    report.unsealed += recovery.unsealed as u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_the_same_round_every_time() {
        for seed in 0..3 {
            let (first, second) = (play(seed, false).unwrap(), play(seed, false).unwrap());
            assert_eq!(first.trace, second.trace, "seed {seed}");
            assert_eq!(first.disk, second.disk);
        }
    }
}

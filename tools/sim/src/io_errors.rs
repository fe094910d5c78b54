//! The Nth I/O of a recorded run fails, for N = 1, 2, 3, ... until the run has fewer: a write, a short write, a sync, a
//! read, or anything that needs space. Afterwards the disk is healthy again and everything promised must be there.
//! Owns the rules of a failing disk (what a store may answer); the promises are the ledger's.

use std::rc::Rc;
use std::time::Duration;

use ouzel_protocol::Offset;
use ouzel_runtime::sim::{Fault, OpClass, SimOutcome, run_sim};
use ouzel_runtime::{Shard, timeout_at};
use ouzel_storage::StorageError;

use crate::load::Load;
use crate::node::{Node, Phase, Visible, World};
use crate::plan::LifePlan;
use crate::recorded::{Fork, Recorded};

/// A life that has not ended after this much fake time never will.
const LIFE_MAX: Duration = Duration::from_secs(300);

/// A way for an operation to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Failure {
    /// A write fails with EIO, perhaps in part.
    Write,
    /// A write is short.
    ShortWrite,
    /// An fdatasync, or the sync of a directory, fails and drops some of what it covered.
    Sync,
    /// A read fails with EIO.
    Read,
    /// A write, an allocation or a creation finds the disk full.
    Full,
}

impl Failure {
    /// Every way there is.
    pub(crate) const ALL: [Failure; 5] =
        [Failure::Write, Failure::ShortWrite, Failure::Sync, Failure::Read, Failure::Full];

    fn fault(self) -> (OpClass, Fault) {
        match self {
            Failure::Write => (OpClass::Write, Fault::Eio),
            Failure::ShortWrite => (OpClass::Write, Fault::Short),
            Failure::Sync => (OpClass::Sync, Fault::Eio),
            Failure::Read => (OpClass::Read, Fault::Eio),
            Failure::Full => (OpClass::Space, Fault::Enospc),
        }
    }
}

/// What came of the failures of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Operations that failed, one a run.
    pub(crate) failed: u64,
    /// Starts that were refused.
    pub(crate) refused: u64,
    /// Runs in which a log was poisoned.
    pub(crate) poisoned: u64,
}

/// Fails operation `first`, `first + stride`, ... of the recorded run of `seed`, up to `last`.
///
/// # Errors
/// Kind, N, seed and the first promise or rule found broken.
pub(crate) fn play(failure: Failure, seed: u64, first: u64, stride: u64, last: u64) -> Result<Tally, String> {
    let recorded = Recorded::record(seed)?;
    let mut tally = Tally::default();
    let mut n = first.max(1);
    while n <= last {
        let mut fork = recorded.fork(n);
        let is_over = fail_one(&mut fork, recorded.life, failure, n, &mut tally)
            .map_err(|what| format!("failure {failure:?} of operation {n}, seed {seed}: {what}"))?;
        if is_over {
            break;
        }
        n += stride.max(1);
    }
    Ok(tally)
}

/// True once the run has fewer operations than `n`.
fn fail_one(fork: &mut Fork, life: LifePlan, failure: Failure, n: u64, tally: &mut Tally) -> Result<bool, String> {
    let (class, fault) = failure.fault();
    let faults = fork.disk.stats().faults;
    fork.disk.fail_nth(class, n, fault);
    fork.world.disk_fails.set(failure != Failure::ShortWrite);
    let ended = faulty_life(fork, life, failure)?;
    fork.verdict()?;
    let happened = fork.disk.stats().faults > faults;
    fork.disk.heal();
    fork.world.disk_fails.set(false);
    if happened {
        tally.failed += 1;
        tally.refused += u64::from(ended == Ended::Refused);
        tally.poisoned += u64::from(ended == Ended::Poisoned);
    } else if ended != Ended::Well {
        return Err(format!("{ended:?} although nothing failed"));
    }
    if n.is_multiple_of(2) {
        fork.disk.cut_power();
    }
    if n.is_multiple_of(2) || (failure == Failure::Sync && happened) {
        // A failed sync may have dropped what only `written` was promised about, as a power cut may.
        fork.world.ledger.borrow_mut().power_cut();
    }
    fork.settle()?;
    Ok(!happened)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Well,
    /// The start was refused.
    Refused,
    Poisoned,
}

fn faulty_life(fork: &Fork, life: LifePlan, failure: Failure) -> Result<Ended, String> {
    let world = fork.world.clone();
    let outcome = run_sim(life.seed, fork.disk.clone(), |shard| async move {
        let deadline = shard.now() + LIFE_MAX;
        let ended = timeout_at(&shard, deadline, life_of(&shard, &world, life, failure)).await;
        ended.unwrap_or_else(|_| Err(format!("stuck: no end after {} s of fake time", LIFE_MAX.as_secs())))
    });
    match outcome {
        SimOutcome::Done(ended) => ended,
        other => Err(format!("{other:?}: no task is ready, no timer set, no operation in flight")),
    }
}

async fn life_of(shard: &Shard, world: &Rc<World>, life: LifePlan, failure: Failure) -> Result<Ended, String> {
    let node = match Node::start(shard.clone(), world.clone(), life.shards).await {
        Ok(node) => node,
        // The refusal of a disk that fails names the file; a claim that bytes are damaged would be false.
        Err(what) if world.disk_fails.get() && what.contains("/data") && !what.contains("corrupt") => {
            return Ok(Ended::Refused);
        }
        Err(what) => return Err(format!("start: {what}")),
    };
    Load::run(node.clone(), life).await;
    shard.sleep(Duration::from_secs(2)).await;
    let mut ended = Ended::Well;
    for store in &node.stores {
        let Some(error) = store.poisoned() else { continue };
        ended = Ended::Poisoned;
        if failure == Failure::Read {
            return Err(format!("a failed read poisoned the log: {error}"));
        }
        match store.reserve(100).await {
            Err(StorageError::Poisoned { .. }) => {}
            other => return Err(format!("a poisoned log answers a producer with {other:?}")),
        }
    }
    read_all(&node).await?;
    if ended == Ended::Well && !node.stores.iter().any(|store| store.stats().disk_full) {
        world.phase.set(Phase::Closing);
        for store in &node.stores {
            match store.close().await {
                Err(error) if !world.excuses(&error) => return Err(format!("close: {error}")),
                _ => {}
            }
        }
    } else if failure == Failure::Full && ended == Ended::Well {
        return Err("the disk has space again and the store does not know".to_owned());
    }
    Ok(ended)
}

/// What was durable is readable, whatever happened to the log.
pub(crate) async fn read_all(node: &Node) -> Result<(), String> {
    let all: Vec<_> = node.open.borrow().values().cloned().collect();
    for open in all {
        if open.busy.get() || open.gone.get() {
            continue;
        }
        let visible = open.store.durable_end(open.partition).unwrap_or(Offset::ZERO);
        let from = open.store.log_start(open.partition).unwrap_or(Offset::ZERO);
        let expected = node.world.ledger.borrow_mut().expect(open.partition, from, visible);
        // The failure may still be to come, and meet one of these reads: the next one is not met.
        let mut read = node.read_visible(&open).await;
        if read.as_ref().is_err_and(|what| !what.contains("corrupt")) {
            read = node.read_visible(&open).await;
        }
        let Visible { seen, .. } = read.map_err(|what| format!("what was durable cannot be read: {what}"))?;
        node.world.ledger.borrow_mut().shown(open.partition, from, &expected, &seen);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acknowledged_is_lost_whichever_operation_fails() {
        for failure in Failure::ALL {
            let tally = play(failure, 2, 1, 13, u64::MAX).unwrap();
            println!("{failure:?}: {tally:?}");
            assert!(tally.failed > 3, "{failure:?}: {tally:?}");
        }
    }
}

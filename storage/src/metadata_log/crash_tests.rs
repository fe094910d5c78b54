//! The metadata log on a simulated disk: power cuts, kills and failing operations at every place, against a ledger of
//! what was answered. A failing seed is printed; running it alone replays the same run.

use std::cell::RefCell;
use std::rc::Rc;

use ouzel_runtime::Shard;
use ouzel_runtime::sim::{Fault, SimDisk, SimOutcome, run_sim};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

const DIR: &str = "/metadata";
const FIRST: &str = "/metadata/0000000000000001.log";

/// What was answered, and what may have happened besides.
#[derive(Clone, Debug, Default)]
struct Ledger {
    /// Every payload that was answered or read, in order: it must be there for ever.
    certain: Vec<Vec<u8>>,
    /// Payloads on their way: a prefix of them may follow the certain ones.
    possible: Vec<Vec<u8>>,
    next: u32,
}

impl Ledger {
    fn payload(&mut self, filler_bytes: usize) -> Vec<u8> {
        self.next += 1;
        let mut payload = self.next.to_le_bytes().to_vec();
        payload.resize(4 + filler_bytes, self.next as u8);
        payload
    }

    /// Compares what opening returned with what must and may be there, and makes it certain.
    fn check(&mut self, loaded: &LoadedLog) {
        let mut history = loaded.snapshot.as_deref().map_or_else(Vec::new, history_of);
        assert_eq!(history.len() as u64, loaded.snapshot_index);
        history.extend(loaded.entries.iter().cloned());
        assert!(history.len() >= self.certain.len(), "answered changes are lost: {loaded:?}");
        let (certain, rest) = history.split_at(self.certain.len());
        assert!(certain == self.certain, "answered changes are not what they were");
        assert!(self.possible.starts_with(rest), "changes that nobody made: {rest:?}");
        self.certain = history;
        self.possible.clear();
    }
}

/// A snapshot of the test: all payloads so far, each behind its length.
fn snapshot_of(history: &[Vec<u8>]) -> Vec<u8> {
    let mut snapshot = b"all:".to_vec();
    for payload in history {
        snapshot.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        snapshot.extend_from_slice(payload);
    }
    snapshot
}

fn history_of(snapshot: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = snapshot.strip_prefix(b"all:").unwrap();
    let mut history = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (payload, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        history.push(payload.to_vec());
        rest = after;
    }
    history
}

/// Opens the log, checks it, and works on it until `steps` are done or something fails.
async fn work(shard: Shard, ledger: Rc<RefCell<Ledger>>, seed: u64, steps: u32) -> Result<(), MetadataLogError> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut log, loaded) = MetadataLog::open(&shard.fs(), Path::new(DIR)).await?;
    ledger.borrow_mut().check(&loaded);
    for _ in 0..steps {
        if rng.random_ratio(1, 6) && log.last_index() > 0 {
            let snapshot = snapshot_of(&ledger.borrow().certain);
            log.compact(&snapshot).await?;
            continue;
        }
        let count = if rng.random_ratio(1, 2) { 1 } else { rng.random_range(2..5) };
        let payloads: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let filler_bytes = if rng.random_ratio(1, 3) { rng.random_range(0..4 * BLOCK) } else { 10 };
                ledger.borrow_mut().payload(filler_bytes)
            })
            .collect();
        ledger.borrow_mut().possible.clone_from(&payloads);
        let parts: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let result = log.append_batch(&parts).await;
        let mut ledger = ledger.borrow_mut();
        match result {
            Ok(index) => {
                let mut appended = std::mem::take(&mut ledger.possible);
                ledger.certain.append(&mut appended);
                assert_eq!(index, ledger.certain.len() as u64);
            }
            Err(MetadataLogError::DiskFull { .. }) => ledger.possible.clear(),
            Err(error) => {
                drop(ledger);
                let again = log.append(b"after a failure").await;
                assert!(matches!(again, Err(MetadataLogError::Poisoned { .. })), "{error} and then {again:?}");
                return Err(error);
            }
        }
    }
    Ok(())
}

fn reopen(disk: &SimDisk, seed: u64, ledger: &Rc<RefCell<Ledger>>) -> Result<(), MetadataLogError> {
    let ledger = ledger.clone();
    match run_sim(seed, disk.clone(), |shard| work(shard, ledger, seed, 0)) {
        SimOutcome::Done(result) => result,
        other => panic!("the run did not end: {other:?}"),
    }
}

#[test]
fn whatever_was_answered_survives_power_cuts_and_kills_at_any_event() {
    let mut torn = 0;
    for seed in 0..40 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        for round in 0..15 {
            let events = rng.random_range(1..60);
            if rng.random_ratio(2, 3) {
                disk.cut_power_after(events)
            } else {
                disk.kill_after(events)
            };
            let run_seed = rng.random();
            let run_ledger = ledger.clone();
            let outcome = run_sim(run_seed, disk.clone(), |shard| work(shard, run_ledger, run_seed, 40));
            assert!(!matches!(outcome, SimOutcome::Stalled), "seed {seed} round {round}");
            if let SimOutcome::Done(result) = outcome {
                result.unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            }
        }
        disk.spare();
        disk.cut_power();
        reopen(&disk, seed, &ledger).unwrap_or_else(|error| panic!("seed {seed}, at the end: {error}"));
        torn += disk.stats().torn;
    }
    assert!(torn > 0, "no write was ever torn: nothing was tested");
}

#[test]
fn when_the_nth_operation_fails_the_log_stops_and_nothing_answered_is_lost() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::Short] {
        for n in 1.. {
            let disk = SimDisk::new(n);
            let ledger = Rc::new(RefCell::new(Ledger::default()));
            disk.fail_op(n, fault);
            let ops_before = disk.stats().ops;
            let run_ledger = ledger.clone();
            let outcome = run_sim(n, disk.clone(), |shard| work(shard, run_ledger, 7, 12));
            let SimOutcome::Done(result) = outcome else { panic!("{fault:?} {n}: {outcome:?}") };
            match (&result, fault) {
                (Ok(()), _) | (Err(MetadataLogError::Io { .. } | MetadataLogError::Poisoned { .. }), _) => {}
                (Err(MetadataLogError::DiskFull { .. }), Fault::Enospc) => {}
                (Err(error), _) => panic!("{fault:?} {n}: {error}"),
            }
            assert!(fault != Fault::Short || result.is_ok(), "a short transfer is continued: {result:?}");
            if disk.stats().ops - ops_before < n {
                assert!(n > 40, "{fault:?}: the script has only {n} operations");
                break;
            }
            disk.cut_power();
            reopen(&disk, n, &ledger).unwrap_or_else(|error| panic!("{fault:?} {n}: {error}"));
        }
    }
}

#[test]
fn a_full_disk_is_met_with_room_for_many_more_changes_and_poisons_nothing() {
    let disk = SimDisk::new(1);
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    reopen(&disk, 1, &ledger).unwrap();
    disk.set_capacity(STEP as u64);
    let run_ledger = ledger.clone();
    let outcome = run_sim(1, disk.clone(), |shard| async move {
        let (mut log, _) = MetadataLog::open(&shard.fs(), Path::new(DIR)).await.unwrap();
        assert!(matches!(log.compact(b"all:").await, Err(MetadataLogError::DiskFull { .. })));
        loop {
            let payload = run_ledger.borrow_mut().payload(0);
            match log.append(&payload).await {
                Ok(_) => run_ledger.borrow_mut().certain.push(payload),
                Err(error) => return (log.last_index(), error),
            }
        }
    });
    let SimOutcome::Done((last_index, error)) = outcome else { panic!("the run ends") };
    assert!(matches!(error, MetadataLogError::DiskFull { .. }), "{error}");
    assert_eq!(last_index as usize, STEP / BLOCK - 2);
    disk.cut_power();
    reopen(&disk, 2, &ledger).unwrap();
    disk.set_capacity(u64::MAX);
    let run_ledger = ledger.clone();
    let outcome = run_sim(3, disk.clone(), |shard| work(shard, run_ledger, 3, 10));
    assert!(matches!(outcome, SimOutcome::Done(Ok(()))), "{outcome:?}");
}

#[test]
fn bit_rot_of_any_synced_byte_is_refused_or_reported() {
    let disk = SimDisk::new(1);
    let ledger = Rc::new(RefCell::new(Ledger::default()));
    let run_ledger = ledger.clone();
    let outcome = run_sim(1, disk.clone(), |shard| async move {
        let (mut log, _) = MetadataLog::open(&shard.fs(), Path::new(DIR)).await?;
        for _ in 0..2 {
            let payload = run_ledger.borrow_mut().payload(0);
            log.append(&payload).await?;
            run_ledger.borrow_mut().certain.push(payload);
        }
        Ok::<_, MetadataLogError>(())
    });
    assert!(matches!(outcome, SimOutcome::Done(Ok(()))), "{outcome:?}");
    // Snapshot, two entries, the seal, a blank block: every bit of what is not padding, then a bit here and there.
    for at in (0..5 * BLOCK).filter(|at| at % BLOCK < 68 || at % 997 == 0) {
        for mask in (0..8).map(|bit| 1 << bit) {
            let disk = disk.snapshot();
            disk.corrupt(Path::new(FIRST), at as u64, mask).unwrap();
            let ledger = Rc::new(RefCell::new(ledger.borrow().clone()));
            let result = reopen(&disk, 1, &ledger);
            if at < 3 * BLOCK {
                let position = (at / BLOCK * BLOCK) as u64;
                let refused = matches!(&result, Err(MetadataLogError::Corrupt { position: p, .. }) if *p == position);
                assert!(refused, "byte {at} mask {mask}: {result:?}");
            } else {
                result.unwrap_or_else(|error| panic!("byte {at} mask {mask}: {error}"));
            }
        }
    }
}

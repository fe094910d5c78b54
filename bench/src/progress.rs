//! The live counters of a run. Owns four atomics that the load loops raise and a watcher reads; never prints and never
//! slows a loop down. Shared between the generator's thread and whoever draws the progress line.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a run has done so far. Cheap to raise, read by a watcher a few times a second.
#[derive(Debug, Default)]
pub struct Progress {
    records: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    cancelled: AtomicBool,
    phase: AtomicU64,
}

/// The part of a run that is under way, for the progress line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The broker is being started, the topic created.
    Starting,
    /// Records are being written that a consume run will read.
    Filling,
    /// The load runs but is not measured yet.
    WarmingUp,
    /// The load runs and is measured.
    Measuring,
}

impl Phase {
    /// The word the progress line shows.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Filling => "filling",
            Phase::WarmingUp => "warming up",
            Phase::Measuring => "measuring",
        }
    }
}

/// One reading of a [`Progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Records acknowledged or received.
    pub records: u64,
    /// Payload bytes of those records.
    pub bytes: u64,
    /// Requests refused, records lost, doubled or out of order.
    pub errors: u64,
    /// What the run is doing.
    pub phase: Phase,
}

impl Progress {
    /// Counts records that were acknowledged or received.
    pub fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts failures.
    pub fn add_errors(&self, errors: u64) {
        self.errors.fetch_add(errors, Ordering::Relaxed);
    }

    /// Enters a phase; the counters of records and bytes start again at zero.
    pub fn enter(&self, phase: Phase) {
        self.records.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.phase.store(phase as u64, Ordering::Relaxed);
    }

    /// Asks the run to stop early: it sends no more, waits for what is outstanding and reports.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked the run to stop early.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Reads all counters. They are read one after the other: good for a display, not for arithmetic.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            records: self.records.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            phase: match self.phase.load(Ordering::Relaxed) {
                0 => Phase::Starting,
                1 => Phase::Filling,
                2 => Phase::WarmingUp,
                _ => Phase::Measuring,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entering_a_phase_starts_the_counters_again() {
        let progress = Progress::default();
        assert_eq!(progress.snapshot().phase, Phase::Starting);
        progress.add(3, 300);
        progress.add_errors(1);
        progress.enter(Phase::Measuring);
        let snapshot = progress.snapshot();
        assert_eq!((snapshot.records, snapshot.bytes, snapshot.errors), (0, 0, 1));
        assert_eq!(snapshot.phase, Phase::Measuring);
    }
}

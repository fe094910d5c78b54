//! Snapshots that are taken a few records at a time while a schedule goes on, and what must hold of each: loaded, with what was
//! written since its start, it is what the whole log is.

use std::sync::Arc;

use ouzel_broker_core::group::{GroupConfig, GroupCoordinator, GroupRecord, Now, SnapshotCursor, Topics};
use rand::Rng;
use rand::rngs::SmallRng;

/// Snapshots of one coordinator.
pub struct Snapshots {
    config: GroupConfig,
    topics: Arc<dyn Topics>,
    under_way: Option<Snapshot>,
    taken: Vec<Snapshot>,
    pub compared: usize,
}

#[derive(Default)]
struct Snapshot {
    /// How long the log was when it was begun.
    start: usize,
    cursor: SnapshotCursor,
    records: Vec<GroupRecord>,
}

impl Snapshots {
    pub fn new(config: GroupConfig, topics: Arc<dyn Topics>) -> Self {
        Self { config, topics, under_way: None, taken: Vec::new(), compared: 0 }
    }

    /// Something of a snapshot, or nothing, between two events. All that the coordinator has led to is in the log.
    pub fn step(&mut self, rng: &mut SmallRng, coordinator: &GroupCoordinator, log: &[GroupRecord], now: Now) {
        match &mut self.under_way {
            None if rng.random_ratio(1, 8) => {
                self.under_way = Some(Snapshot { start: log.len(), ..Snapshot::default() });
            }
            None => {}
            Some(snapshot) if !snapshot.cursor.is_done() => {
                let records = coordinator.snapshot_slice(&mut snapshot.cursor, rng.random_range(1..6));
                snapshot.records.extend(records);
            }
            Some(_) => {
                self.taken.extend(self.under_way.take());
                self.check(log, now);
            }
        }
    }

    /// The coordinator ends: the snapshot that is under way is given up.
    pub fn restarted(&mut self) {
        self.under_way = None;
    }

    /// Holds the last snapshots against the whole log.
    pub fn check(&mut self, log: &[GroupRecord], now: Now) {
        for snapshot in self.taken.iter().rev().take(3) {
            let tail = &log[snapshot.start..];
            let (ours, whole) = (self.load(&[&snapshot.records, tail]), self.load(&[log]));
            assert_same(ours, whole, now);
            self.compared += 1;
        }
    }

    fn load(&self, logs: &[&[GroupRecord]]) -> GroupCoordinator {
        let mut coordinator = GroupCoordinator::new(self.config);
        coordinator.set_topics(Arc::clone(&self.topics));
        for record in logs.iter().copied().flatten() {
            coordinator.apply(record.clone()).expect("what a coordinator wrote can be read");
        }
        coordinator
    }
}

fn assert_same(mut ours: GroupCoordinator, mut whole: GroupCoordinator, now: Now) {
    assert_eq!(all(&ours), all(&whole));
    assert_eq!(ours.start(now), whole.start(now), "a start leads to the same");
    ours.assert_invariants();
    whole.assert_invariants();
    assert_eq!(all(&ours), all(&whole), "after the start");
    assert_eq!((ours.group_count(), ours.offset_count()), (whole.group_count(), whole.offset_count()));
    for listed in whole.list(&[], &[]) {
        let group = |coordinator: &GroupCoordinator| {
            let group = coordinator.group(listed.group_id.as_str()).expect("both have it");
            format!("{:?}", group.kind())
        };
        assert_eq!(group(&ours), group(&whole));
    }
}

/// A snapshot that is taken in one go.
pub fn all(coordinator: &GroupCoordinator) -> Vec<GroupRecord> {
    let mut cursor = SnapshotCursor::new();
    let records = coordinator.snapshot_slice(&mut cursor, usize::MAX / 2);
    assert!(cursor.is_done());
    records
}

//! The checker: what was sent, where it was placed, what was promised and what a reader was shown; and whether what is
//! read back agrees. Black box: it sees only what a client of storage sees. Outlives every simulated run; the machine
//! under test never reads it. Work is linear in what is sent and read.
//!
//! A partition's *timeline* is what its log may hold: batches in offset order. A crash may shorten it, by a suffix that
//! nothing was promised about; a restart that was read back settles it, and what was then missing may never return.

use std::collections::BTreeMap;

use ouzel_protocol::{Durability, LeaderEpoch, Offset, PartitionId};

use crate::payload::BatchId;

/// For how long a batch has to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Must {
    /// Not acknowledged, not shown: it may be lost in a crash.
    No,
    /// Acknowledged at `written`: a power cut may take it, with everything after it.
    UntilPowerCut,
    /// Acknowledged at `disk`, or shown to a reader.
    Always,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: BatchId,
    epoch: LeaderEpoch,
    end: Offset,
    hash: u64,
    must: Must,
    shown: bool,
    acked: bool,
}

/// A batch as a reader got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) id: BatchId,
    pub(crate) hash: u64,
}

/// What a read that is being planned may return.
#[derive(Debug)]
pub(crate) struct Expected {
    visible_end: Offset,
    generation: u64,
    batches: BTreeMap<Offset, Seen>,
}

#[derive(Clone, Debug, Default)]
struct Log {
    timeline: BTreeMap<Offset, Entry>,
    end: Offset,
    log_start: Offset,
    /// The furthest log start that was asked for; equal to `log_start` when none is under way.
    log_start_asked: Offset,
    /// Raised whenever batches go away while readers run.
    generation: u64,
    /// What is promised at or beyond this offset is void: a truncation or drop is under way.
    void_from: Option<Offset>,
    dropped: bool,
}

/// What the checker has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) acked_disk: u64,
    pub(crate) acked_written: u64,
    pub(crate) read: u64,
    pub(crate) verified: u64,
    pub(crate) lost_unpromised: u64,
    pub(crate) lost_written: u64,
    pub(crate) truncations: u64,
    pub(crate) log_start_moves: u64,
    pub(crate) drops: u64,
}

/// All that is known about all partitions of one simulated node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    logs: BTreeMap<PartitionId, Log>,
    placed: BTreeMap<(PartitionId, LeaderEpoch, Offset), BatchId>,
    next_id: u64,
    violation: Option<String>,
    /// Print what happens as it happens, for whoever looks for a fault.
    verbose: bool,
    pub(crate) counts: Counts,
}

impl Ledger {
    /// Knows of nothing yet.
    pub(crate) fn new(verbose: bool) -> Ledger {
        Ledger { verbose, ..Ledger::default() }
    }

    /// Prints a line of the story of a round that was asked for in full.
    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{}", what());
        }
    }

    /// The first promise found broken.
    pub(crate) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Records a broken promise; the first one counts.
    pub(crate) fn violate(&mut self, what: String) {
        self.tell(|| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    /// An id that no batch has had.
    pub(crate) fn next_id(&mut self) -> BatchId {
        self.next_id += 1;
        BatchId(self.next_id)
    }

    /// The partition exists from now on, empty.
    pub(crate) fn created(&mut self, partition: PartitionId) {
        self.logs.entry(partition).or_default();
    }

    /// Storage fixed a batch's place. It has to be the next one.
    pub(crate) fn appended(&mut self, partition: PartitionId, seen: Seen) {
        self.tell(|| format!("{partition}: appended {seen:?}"));
        self.counts.sent += 1;
        let taken = self.place(partition, seen);
        let log = self.logs.entry(partition).or_default();
        let expected = log.end;
        let entry = Entry {
            id: seen.id,
            epoch: seen.epoch,
            end: seen.end,
            hash: seen.hash,
            must: Must::No,
            shown: false,
            acked: false,
        };
        log.timeline.insert(seen.base, entry);
        log.end = seen.end;
        if let Some(taken) = taken {
            self.violate(taken);
        }
        if expected != seen.base {
            let at = seen.base;
            self.violate(format!("partition {partition}: append was given offset {at}, the next one is {expected}"));
        }
    }

    /// A batch was acknowledged at `level`; `visible_end` is where readers stop at this moment.
    pub(crate) fn acked(
        &mut self,
        partition: PartitionId,
        base: Offset,
        id: BatchId,
        level: Durability,
        visible_end: Offset,
    ) {
        self.tell(|| format!("{partition}: acked {} at {base}, {level:?}, visible to {visible_end}", id.0));
        let Some(log) = self.logs.get_mut(&partition) else { return };
        // A truncation or drop may have taken the batch meanwhile, or may still: then nothing is promised.
        if log.is_void(base) {
            return;
        }
        let Some(entry) = log.timeline.get_mut(&base).filter(|entry| entry.id == id) else { return };
        entry.acked = true;
        match level {
            Durability::Disk => {
                self.counts.acked_disk += 1;
                entry.must = Must::Always;
                if visible_end < entry.end {
                    let end = entry.end;
                    self.violate(format!(
                        "partition {partition}: batch at {base} was acked at disk while readers see only {visible_end} of {end}"
                    ));
                }
            }
            Durability::Written => {
                self.counts.acked_written += 1;
                entry.must = entry.must.max(Must::UntilPowerCut);
            }
        }
    }

    /// What a read planned now, at `from`, may return.
    pub(crate) fn expect(&mut self, partition: PartitionId, from: Offset, visible_end: Offset) -> Expected {
        let mut expected = Expected { visible_end, generation: 0, batches: BTreeMap::new() };
        let mut beyond = None;
        if let Some(log) = self.logs.get(&partition) {
            expected.generation = log.generation;
            let first = log.timeline.range(..=from).next_back().map_or(from, |(base, _)| *base);
            let visible = log.timeline.range(first..).take_while(|(_, entry)| entry.end <= visible_end);
            expected.batches = visible.map(|(base, entry)| (*base, entry.seen(*base))).collect();
            if visible_end > log.end {
                beyond = Some(log.end);
            }
        }
        if let Some(end) = beyond {
            self.violate(format!("partition {partition}: readers see up to {visible_end}, the log ends at {end}"));
        }
        expected
    }

    /// What that read returned. A read overtaken by a truncation or drop may fall short, never differ.
    pub(crate) fn shown(&mut self, partition: PartitionId, from: Offset, expected: &Expected, seen: &[Seen]) {
        self.tell(|| {
            format!("{partition}: shown from {from}: {:?}", seen.iter().map(|seen| seen.base.0).collect::<Vec<_>>())
        });
        // A read that a truncation overtook may show what was appended since.
        let newer = self.logs.get(&partition).filter(|_| self.overtaken(partition, expected));
        if let Err(what) = check_read(from, expected, seen, newer) {
            self.violate(format!("partition {partition}: read from {from}: {what}"));
            return;
        }
        self.counts.read += seen.len() as u64;
        for batch in seen {
            if let Some(taken) = self.place(partition, *batch) {
                self.violate(taken);
            }
            if let Some(log) = self.logs.get_mut(&partition)
                && !log.is_void(batch.base)
                && let Some(entry) = log.timeline.get_mut(&batch.base)
                && entry.id == batch.id
            {
                entry.must = Must::Always;
                entry.shown = true;
            }
        }
    }

    /// Whether batches went away since a read was planned, or are going away now.
    pub(crate) fn overtaken(&self, partition: PartitionId, expected: &Expected) -> bool {
        self.logs.get(&partition).is_none_or(|log| {
            log.generation != expected.generation || log.void_from.is_some() || log.log_start_asked > log.log_start
        })
    }

    /// The first place at or after `from` where a batch begins or the log ends, if the log starts at or before it.
    pub(crate) fn boundary(&self, partition: PartitionId, log_start: Offset, from: u64) -> Option<Offset> {
        let log = self.logs.get(&partition)?;
        let next = log.timeline.range(Offset(from)..).next().map_or(log.end, |(base, _)| *base);
        (next >= log_start).then_some(next)
    }

    /// A truncation to `to` begins: what it takes is promised no longer.
    pub(crate) fn truncating(&mut self, partition: PartitionId, to: Offset) {
        self.tell(|| format!("{partition}: truncating to {to}"));
        let Some(log) = self.logs.get_mut(&partition) else { return };
        log.generation += 1;
        log.void_from = Some(to);
        for (_, entry) in log.timeline.range_mut(to..) {
            (entry.must, entry.acked) = (Must::No, false);
        }
    }

    /// The truncation returned: nothing at or beyond `to` may ever be read again.
    pub(crate) fn truncated(&mut self, partition: PartitionId, to: Offset) {
        self.tell(|| format!("{partition}: truncated to {to}"));
        let Some(log) = self.logs.get_mut(&partition) else { return };
        log.generation += 1;
        drop(log.timeline.split_off(&to));
        (log.end, log.void_from) = (to, None);
        self.counts.truncations += 1;
    }

    /// Moving the log start begins.
    pub(crate) fn moving_log_start(&mut self, partition: PartitionId, to: Offset) {
        self.tell(|| format!("{partition}: moving log start to {to}"));
        let Some(log) = self.logs.get_mut(&partition) else { return };
        log.generation += 1;
        log.log_start_asked = log.log_start_asked.max(to);
    }

    /// It returned.
    pub(crate) fn moved_log_start(&mut self, partition: PartitionId, to: Offset) {
        self.tell(|| format!("{partition}: moved log start to {to}"));
        let Some(log) = self.logs.get_mut(&partition) else { return };
        log.generation += 1;
        log.log_start = log.log_start.max(to);
        self.counts.log_start_moves += 1;
    }

    /// The partition is being dropped: nothing is promised about it any more.
    pub(crate) fn dropping(&mut self, partition: PartitionId) {
        self.tell(|| format!("{partition}: dropping"));
        let Some(log) = self.logs.get_mut(&partition) else { return };
        log.generation += 1;
        log.log_start_asked = Offset::MAX;
        log.void_from = Some(Offset::ZERO);
        for entry in log.timeline.values_mut() {
            (entry.must, entry.acked) = (Must::No, false);
        }
    }

    /// The drop is durable: the partition may never be seen again.
    pub(crate) fn dropped(&mut self, partition: PartitionId) {
        self.tell(|| format!("{partition}: dropped"));
        let Some(log) = self.logs.get_mut(&partition) else { return };
        *log = Log { dropped: true, generation: log.generation + 1, ..Log::default() };
        self.counts.drops += 1;
    }

    /// The power went: `written` promises are void.
    pub(crate) fn power_cut(&mut self) {
        self.tell(|| "power cut".to_owned());
        for log in self.logs.values_mut() {
            for entry in log.timeline.values_mut() {
                if entry.must == Must::UntilPowerCut {
                    entry.must = Must::No;
                }
            }
        }
    }

    /// After a restart the whole of a partition was read: `seen` from `log_start` to `end`. Settles its timeline.
    pub(crate) fn recovered(&mut self, partition: PartitionId, log_start: Offset, end: Offset, seen: &[Seen]) {
        self.tell(|| format!("{partition}: recovered {log_start}..{end}, {} batches", seen.len()));
        self.counts.verified += seen.len() as u64;
        for batch in seen {
            if let Some(taken) = self.place(partition, *batch) {
                self.violate(taken);
            }
        }
        let log = self.logs.entry(partition).or_default();
        if log.dropped {
            self.violate(format!("partition {partition} is live after a restart, its drop was durable"));
            return;
        }
        match log.settle(log_start, end, seen) {
            Ok(lost) => {
                let acked = lost.values().filter(|entry| entry.acked).count();
                self.counts.lost_written += acked as u64;
                self.counts.lost_unpromised += (lost.len() - acked) as u64;
            }
            Err(what) => self.violate(format!("partition {partition} after a restart: {what}")),
        }
    }

    /// One (partition, epoch, offset) holds one batch, for ever. Returns what is wrong otherwise.
    fn place(&mut self, partition: PartitionId, seen: Seen) -> Option<String> {
        let Seen { base, epoch, id, .. } = seen;
        let before = *self.placed.entry((partition, epoch, base)).or_insert(id);
        (before != id).then(|| {
            format!(
                "partition {partition}: two batches at epoch {epoch}, offset {base}: number {} and number {}",
                before.0, id.0
            )
        })
    }
}

impl Entry {
    fn seen(&self, base: Offset) -> Seen {
        Seen { base, end: self.end, epoch: self.epoch, id: self.id, hash: self.hash }
    }
}

impl Log {
    fn is_void(&self, base: Offset) -> bool {
        self.void_from.is_some_and(|from| base >= from)
    }

    /// Compares a whole log after a restart with the timeline, then makes it the timeline. Returns what was lost, of
    /// which nothing (any more) was promised.
    fn settle(&mut self, log_start: Offset, end: Offset, seen: &[Seen]) -> Result<BTreeMap<Offset, Entry>, String> {
        if log_start < self.log_start || log_start > self.log_start_asked {
            return Err(format!(
                "the log starts at {log_start}, it was moved to {} and asked to {}",
                self.log_start, self.log_start_asked
            ));
        }
        for (base, entry) in self.timeline.range(end..) {
            if entry.must != Must::No {
                return Err(format!("the log ends at {end}: lost {}", describe(*base, entry)));
            }
        }
        let is_boundary = end == Offset::ZERO
            || end == log_start
            || self.timeline.range(..end).next_back().is_some_and(|(_, entry)| entry.end == end);
        if !is_boundary {
            return Err(format!("the log ends at {end}, which is the end of no batch that was sent"));
        }
        let mut next = None;
        for batch in seen {
            if next.is_some_and(|next| next != batch.base) || batch.end <= log_start || batch.end > end {
                return Err(format!("{batch:?} does not follow {next:?} within {log_start}..{end}"));
            }
            match self.timeline.get(&batch.base) {
                Some(entry) if entry.seen(batch.base) == *batch => {}
                Some(entry) => {
                    let was = describe(batch.base, entry);
                    return Err(format!("read {batch:?} where there was {was}"));
                }
                None => return Err(format!("read {batch:?}, which is not part of the log")),
            }
            next = Some(batch.end);
        }
        let first_wanted = self.timeline.range(..end).find(|(_, entry)| entry.end > log_start).map(|(base, _)| *base);
        if first_wanted != seen.first().map(|batch| batch.base) || next.unwrap_or(end) != end {
            return Err(format!(
                "read {:?}..{next:?} of the log {log_start}..{end} whose first batch is at {first_wanted:?}",
                seen.first().map(|batch| batch.base)
            ));
        }
        let lost = self.timeline.split_off(&end);
        for entry in self.timeline.values_mut() {
            (entry.must, entry.shown) = (Must::Always, true);
        }
        (self.end, self.log_start, self.log_start_asked) = (end, log_start, log_start);
        self.void_from = None;
        self.generation += 1;
        Ok(lost)
    }
}

fn describe(base: Offset, entry: &Entry) -> String {
    let promise = match (entry.must, entry.shown) {
        (_, true) => "shown to a reader",
        (Must::Always, _) => "acked at disk",
        (Must::UntilPowerCut, _) => "acked at written, and the power stayed on",
        (Must::No, _) => "promised to nobody",
    };
    format!("batch {} at {base}..{} of epoch {}, {promise}", entry.id.0, entry.end, entry.epoch)
}

fn check_read(from: Offset, expected: &Expected, seen: &[Seen], newer: Option<&Log>) -> Result<(), String> {
    let mut next = None;
    for batch in seen {
        if next.is_some_and(|next| next != batch.base) {
            return Err(format!("{batch:?} does not follow {next:?}"));
        }
        let now = newer.and_then(|log| log.timeline.get(&batch.base)).map(|entry| entry.seen(batch.base));
        match expected.batches.get(&batch.base) {
            Some(wanted) if wanted == batch => {}
            _ if now == Some(*batch) => {}
            Some(wanted) => return Err(format!("got {batch:?} where {wanted:?} stands")),
            None => {
                let end = expected.visible_end;
                return Err(format!("got {batch:?}, which is no visible batch (readers see up to {end})"));
            }
        }
        next = Some(batch.end);
    }
    match seen.first() {
        Some(first) if first.base > from || first.end <= from => Err(format!("it starts with {first:?}")),
        None if from < expected.visible_end && newer.is_none() => {
            Err(format!("it is empty although readers see up to {}", expected.visible_end))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITION: PartitionId = PartitionId(7);

    /// A ledger with `count` batches of ten records in epoch 1, none acknowledged.
    fn ledger_with(count: u64) -> (Ledger, Vec<Seen>) {
        let mut ledger = Ledger::default();
        ledger.created(PARTITION);
        let seen: Vec<Seen> = (0..count).map(|index| batch(index, 1)).collect();
        for seen in &seen {
            assert_eq!(ledger.next_id(), seen.id);
            ledger.appended(PARTITION, *seen);
        }
        assert_eq!(ledger.violation(), None);
        (ledger, seen)
    }

    fn batch(index: u64, epoch: u32) -> Seen {
        Seen {
            base: Offset(index * 10),
            end: Offset(index * 10 + 10),
            epoch: LeaderEpoch(epoch),
            id: BatchId(index + 1),
            hash: index * 31,
        }
    }

    fn ack(ledger: &mut Ledger, seen: &Seen, level: Durability) {
        ledger.acked(PARTITION, seen.base, seen.id, level, seen.end);
    }

    fn restart(ledger: &mut Ledger, seen: &[Seen]) {
        let end = seen.last().map_or(Offset::ZERO, |batch| batch.end);
        ledger.recovered(PARTITION, Offset::ZERO, end, seen);
    }

    #[test]
    fn what_nobody_was_promised_may_be_lost_and_may_not_return() {
        let (mut ledger, seen) = ledger_with(3);
        ack(&mut ledger, &seen[0], Durability::Disk);
        ledger.power_cut();
        restart(&mut ledger, &seen[..1]);
        assert_eq!((ledger.violation(), ledger.counts.lost_unpromised), (None, 2));
        restart(&mut ledger, &seen[..2]);
        assert!(ledger.violation().unwrap().contains("lost") || ledger.violation().unwrap().contains("no batch"));
    }

    #[test]
    fn a_batch_acked_at_disk_may_not_be_lost() {
        let (mut ledger, seen) = ledger_with(3);
        ack(&mut ledger, &seen[1], Durability::Disk);
        ledger.power_cut();
        restart(&mut ledger, &seen[..1]);
        assert!(ledger.violation().unwrap().contains("acked at disk"));
    }

    #[test]
    fn a_batch_acked_at_written_survives_a_kill_and_not_a_cut() {
        for cut in [false, true] {
            let (mut ledger, seen) = ledger_with(1);
            ack(&mut ledger, &seen[0], Durability::Written);
            if cut {
                ledger.power_cut();
            }
            restart(&mut ledger, &[]);
            assert_eq!(ledger.violation().is_none(), cut);
        }
    }

    #[test]
    fn a_batch_shown_to_a_reader_may_not_be_lost() {
        let (mut ledger, seen) = ledger_with(2);
        let expected = ledger.expect(PARTITION, Offset(3), Offset(10));
        ledger.shown(PARTITION, Offset(3), &expected, &seen[..1]);
        ledger.power_cut();
        assert_eq!(ledger.violation(), None);
        restart(&mut ledger, &[]);
        assert!(ledger.violation().unwrap().contains("shown to a reader"));
    }

    #[test]
    fn a_read_shows_whole_visible_batches_from_the_one_asked_for() {
        let cases: [(&str, &[usize], u64, bool); 5] = [
            ("all that is visible", &[0, 1], 0, true),
            ("from the middle of a batch", &[1], 15, true),
            ("nothing", &[], 0, false),
            ("beyond the visible end", &[0, 1, 2], 0, false),
            ("with a hole", &[0, 2], 0, false),
        ];
        for (name, indices, from, good) in cases {
            let (mut ledger, seen) = ledger_with(3);
            let expected = ledger.expect(PARTITION, Offset(from), Offset(20));
            let read: Vec<Seen> = indices.iter().map(|index| seen[*index]).collect();
            ledger.shown(PARTITION, Offset(from), &expected, &read);
            assert_eq!(ledger.violation().is_none(), good, "{name}: {:?}", ledger.violation());
        }
    }

    #[test]
    fn other_bytes_at_a_place_are_noticed() {
        let (mut ledger, mut seen) = ledger_with(1);
        seen[0].hash += 1;
        restart(&mut ledger, &seen);
        assert!(ledger.violation().unwrap().contains("where there was"));
    }

    #[test]
    fn one_epoch_and_offset_never_holds_two_batches() {
        let (mut ledger, _) = ledger_with(1);
        restart(&mut ledger, &[]);
        assert_eq!(ledger.violation(), None);
        let mut again = batch(0, 1);
        again.id = ledger.next_id();
        ledger.appended(PARTITION, again);
        assert!(ledger.violation().unwrap().contains("two batches"));
    }

    #[test]
    fn a_truncation_that_returned_holds_and_one_under_way_may_or_may_not() {
        let (mut ledger, seen) = ledger_with(3);
        for seen in &seen {
            ack(&mut ledger, seen, Durability::Disk);
        }
        ledger.truncating(PARTITION, Offset(20));
        let expected = ledger.expect(PARTITION, Offset(0), Offset(30));
        ledger.shown(PARTITION, Offset(0), &expected, &seen);
        restart(&mut ledger, &seen[..2]);
        assert_eq!(ledger.violation(), None);
        ledger.truncating(PARTITION, Offset(10));
        ledger.truncated(PARTITION, Offset(10));
        restart(&mut ledger, &seen[..2]);
        assert!(ledger.violation().is_some());
    }

    #[test]
    fn a_log_start_stays_between_what_was_reached_and_what_was_asked() {
        for (start, good) in [(0, false), (10, true), (20, true), (30, false)] {
            let (mut ledger, seen) = ledger_with(3);
            ledger.moving_log_start(PARTITION, Offset(10));
            ledger.moved_log_start(PARTITION, Offset(10));
            ledger.moving_log_start(PARTITION, Offset(20));
            let first = start as usize / 10;
            ledger.recovered(PARTITION, Offset(start), Offset(30), &seen[first..]);
            assert_eq!(ledger.violation().is_none(), good, "{start}: {:?}", ledger.violation());
        }
    }

    #[test]
    fn offsets_are_dense() {
        let (mut ledger, _) = ledger_with(1);
        ledger.appended(PARTITION, batch(2, 1));
        assert!(ledger.violation().unwrap().contains("the next one is 10"));
    }

    #[test]
    fn a_dropped_partition_never_comes_back() {
        let (mut ledger, seen) = ledger_with(1);
        ledger.dropping(PARTITION);
        restart(&mut ledger, &seen);
        assert_eq!(ledger.violation(), None);
        ledger.dropped(PARTITION);
        restart(&mut ledger, &[]);
        assert!(ledger.violation().unwrap().contains("drop was durable"));
    }
}

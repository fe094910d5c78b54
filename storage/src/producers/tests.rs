//! Random schedules against a model that keeps every batch there ever was. A failure prints its seed; `OUZEL_SEED`
//! replays it.

use std::collections::BTreeMap;

use ouzel_protocol::LeaderEpoch;
use ouzel_protocol::batch::Magic;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::format::producers::REMEMBERED_BATCHES;

const LIMITS: ProducerLimits = ProducerLimits { partition_producers_max: 4, expiration_ms: 1000 };
const NEVER: ProducerLimits = ProducerLimits { expiration_ms: u64::MAX, ..LIMITS };

struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with OUZEL_SEED={}", self.0);
        }
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var("OUZEL_SEED") {
        Ok(seed) => vec![seed.parse().expect("OUZEL_SEED is a number")],
        Err(_) => (0..150).collect(),
    }
}

fn header(stamp: ProducerStamp, base_offset: Offset, last_offset_delta: u32) -> BatchHeader {
    let (producer_id, producer_epoch, base_sequence) = stamp.to_wire();
    BatchHeader {
        base_offset,
        batch_length: 49,
        leader_epoch: LeaderEpoch(0),
        magic: Magic::Kafka2,
        crc: 0,
        attributes: 0,
        last_offset_delta,
        base_timestamp: 0,
        max_timestamp: i64::from(stamp.base_sequence.0),
        producer_id,
        producer_epoch,
        base_sequence,
        record_count: last_offset_delta + 1,
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    stamp: ProducerStamp,
    base_offset: Offset,
    delta: u32,
    now_ms: i64,
}

impl Entry {
    fn next(&self) -> Sequence {
        self.stamp.base_sequence.after(self.delta).after(1)
    }

    fn end(&self) -> Offset {
        self.base_offset + u64::from(self.delta) + 1
    }

    fn header(&self) -> BatchHeader {
        header(self.stamp, self.base_offset, self.delta)
    }
}

/// Every batch that was appended.
#[derive(Clone, Default)]
struct Model(Vec<Entry>);

impl Model {
    fn end(&self) -> Offset {
        self.0.last().map_or(Offset::ZERO, Entry::end)
    }

    /// By producer: its batches since it was last met anew, all of them.
    fn known(&self, end_offset: Offset) -> BTreeMap<ProducerId, Vec<Entry>> {
        let mut known: BTreeMap<ProducerId, Vec<Entry>> = BTreeMap::new();
        for entry in self.0.iter().filter(|entry| entry.end() <= end_offset) {
            if !known.contains_key(&entry.stamp.id) && known.len() == LIMITS.partition_producers_max {
                let oldest = known.iter().min_by_key(|(_, run)| run.last().expect("not empty").base_offset);
                let oldest = *oldest.expect("full").0;
                known.remove(&oldest);
            }
            let run = known.entry(entry.stamp.id).or_default();
            let follows = run
                .last()
                .is_some_and(|last| last.stamp.epoch == entry.stamp.epoch && last.next() == entry.stamp.base_sequence);
            if !follows {
                run.clear();
            }
            run.push(*entry);
        }
        known
    }

    fn snapshot(&self, end_offset: Offset, now_ms: i64, limits: ProducerLimits) -> ProducerSnapshot {
        let of_run = |run: &Vec<Entry>| {
            let batch = |entry: &Entry| RememberedBatch {
                base_offset: entry.base_offset,
                max_timestamp: i64::from(entry.stamp.base_sequence.0),
                base_sequence: entry.stamp.base_sequence,
                last_offset_delta: entry.delta,
                journal_index: 0,
            };
            let mut producer = Producer::new(run[0].stamp.epoch, batch(&run[0]), run[0].now_ms);
            for entry in &run[1..] {
                producer.push(batch(entry));
                producer.last_used_ms = entry.now_ms;
            }
            producer
        };
        let known = self.known(end_offset);
        let producers = known.iter().map(|(id, run)| (*id, of_run(run)));
        let alive = |(_, producer): &(_, Producer)| ((now_ms - producer.last_used_ms) as u64) < limits.expiration_ms;
        ProducerSnapshot { end_offset, producers: producers.filter(alive).collect() }
    }

    fn verdict(&self, stamp: ProducerStamp, delta: u32, now_ms: i64) -> &'static str {
        let known = self.known(self.end());
        let Some(run) = known.get(&stamp.id) else { return "append" };
        let last = run.last().expect("not empty");
        let expired = now_ms - last.now_ms >= LIMITS.expiration_ms as i64;
        let refused = |why| if expired { "append" } else { why };
        if stamp.epoch < last.stamp.epoch {
            return refused("fenced");
        }
        if stamp.epoch > last.stamp.epoch {
            return if stamp.base_sequence.0 == 0 { "append" } else { refused("out of order") };
        }
        if stamp.base_sequence == last.next() {
            return "append";
        }
        let window = &run[run.len().saturating_sub(REMEMBERED_BATCHES)..];
        if window.iter().any(|entry| entry.stamp.base_sequence == stamp.base_sequence && entry.delta == delta) {
            return "duplicate";
        }
        let circle = i64::from(i32::MAX) + 1;
        let end = (i64::from(stamp.base_sequence.0) + i64::from(delta) + 1) % circle;
        let before = (i64::from(window[0].stamp.base_sequence.0) - end).rem_euclid(circle);
        let complete = run[0].stamp.base_sequence.0 == 0;
        refused(if complete && before < circle / 2 { "too old" } else { "out of order" })
    }

    /// A restart at `end_offset` knows of what is behind it no more than the snapshot says.
    fn expire(&mut self, end_offset: Offset, now_ms: i64) {
        let kept = self.snapshot(end_offset, now_ms, LIMITS);
        let mut known = self.known(end_offset);
        known.retain(|id, _| kept.producers.iter().any(|(kept, _)| kept == id));
        let is_known = |entry: &Entry| {
            known.get(&entry.stamp.id).is_some_and(|run| run.iter().any(|known| known.base_offset == entry.base_offset))
        };
        self.0.retain(|entry| entry.end() > end_offset || is_known(entry));
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Append => "append",
        Verdict::Duplicate(_) => "duplicate",
        Verdict::Refused(Refusal::OutOfOrder { .. }) => "out of order",
        Verdict::Refused(Refusal::TooOld { .. }) => "too old",
        Verdict::Refused(Refusal::Fenced { .. }) => "fenced",
    }
}

fn forget_indexes(mut snapshot: ProducerSnapshot) -> ProducerSnapshot {
    let bytes = snapshot.encode();
    snapshot = ProducerSnapshot::decode(&bytes).expect("our own bytes");
    assert_eq!(snapshot.encode(), bytes);
    snapshot
}

/// A batch that may be anything: the next one, a repetition, one far off, of another epoch.
fn random_batch(rng: &mut SmallRng, model: &Model) -> (ProducerStamp, u32) {
    let id = ProducerId(rng.random_range(0..6));
    let delta = [0, 1, 7, 700_000_000][rng.random_range(0..4)];
    let run = model.known(model.end()).remove(&id).unwrap_or_default();
    let epoch = run.last().map_or(ProducerEpoch(3), |last| last.stamp.epoch);
    let stamp = |epoch, base_sequence| ProducerStamp { id, epoch, base_sequence };
    match rng.random_range(0..20) {
        0 => (stamp(ProducerEpoch(epoch.0 - u16::from(epoch.0 > 0)), Sequence::ZERO), delta),
        1 => (stamp(ProducerEpoch(epoch.0 + 1), Sequence::ZERO), delta),
        2 => (stamp(ProducerEpoch(epoch.0 + 1), Sequence(1)), delta),
        3 => (stamp(epoch, Sequence(rng.random_range(0..=i32::MAX as u32))), delta),
        4 => (stamp(epoch, Sequence(i32::MAX as u32 - rng.random_range(0..3))), delta),
        5..11 if !run.is_empty() => {
            let back = rng.random_range(1..=run.len().min(8));
            let entry = run[run.len() - back];
            let odd = u32::from(rng.random_ratio(1, 6));
            (entry.stamp, entry.delta + odd)
        }
        _ => (stamp(epoch, run.last().map_or(Sequence::ZERO, Entry::next)), delta),
    }
}

#[test]
fn any_schedule_is_judged_and_remembered_as_by_one_who_forgets_nothing() {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds() {
        let _seed = SeedOnPanic(seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut model, mut state, mut settled, mut now_ms) =
            (Model::default(), ProducerState::default(), Offset(0), 0);
        let mut last = Offset::ZERO;
        for step in 1..300u64 {
            now_ms += [0, 1, 20, 1000][rng.random_range(0..4) * usize::from(rng.random_ratio(1, 3))];
            let (stamp, delta) = random_batch(&mut rng, &model);
            let placing = Placing { base_offset: last, journal_index: step, now_ms, may_grow: true };
            let expected = model.verdict(stamp, delta, now_ms);
            let verdict = state.admit(stamp, &header(stamp, Offset::ZERO, delta), placing, LIMITS);
            assert_eq!(word(verdict), expected, "step {step}: {stamp:?} of {delta} more");
            *seen.entry(expected).or_default() += 1;
            match verdict {
                Verdict::Append => model.0.push(Entry { stamp, base_offset: last, delta, now_ms }),
                Verdict::Duplicate(first) => {
                    let is_it = |entry: &&Entry| entry.base_offset == first.base_offset;
                    let entry = model.0.iter().find(is_it).expect("it was appended");
                    assert_eq!((entry.stamp, entry.delta), (stamp, delta), "the first place of that very batch");
                    assert!(first.journal_index < step);
                }
                Verdict::Refused(_) => {}
            }
            last = last.max(model.end());
            if rng.random_ratio(1, 4) {
                let ends: Vec<Offset> = model.0.iter().map(Entry::end).filter(|end| *end >= settled).collect();
                if !ends.is_empty() {
                    settled = ends[rng.random_range(0..ends.len())];
                    state.settle(settled);
                    assert_eq!(
                        forget_indexes(state.snapshot(settled, now_ms, LIMITS)),
                        model.snapshot(settled, now_ms, LIMITS),
                        "step {step}: at what is durable"
                    );
                }
            }
            if rng.random_ratio(1, 40) {
                // A restart: what is durable by a snapshot, then whatever the journal kept behind it.
                let snapshot = forget_indexes(state.snapshot(settled, now_ms, LIMITS));
                state = ProducerState::from_snapshot(snapshot);
                let lost = rng.random_range(0..3);
                let keep =
                    model.0.len().saturating_sub(lost).max(model.0.partition_point(|entry| entry.end() <= settled));
                model.0.truncate(keep);
                model.expire(settled, now_ms);
                for entry in model.0.iter().filter(|entry| entry.end() > settled) {
                    state.replay(&entry.header(), entry.now_ms, LIMITS);
                }
                settled = settled.max(model.end());
                last = settled;
                assert_eq!(
                    state.snapshot(last, now_ms, NEVER),
                    model.snapshot(last, now_ms, NEVER),
                    "step {step}: after a restart"
                );
            }
        }
    }
    println!("{seen:?}");
    for verdict in ["append", "duplicate", "out of order", "too old", "fenced"] {
        assert!(seen.get(verdict).copied().unwrap_or(0) > 20 || seeds().len() == 1, "{verdict}: {seen:?}");
    }
}

#[test]
fn a_cut_leaves_what_the_log_below_it_says() {
    for seed in seeds() {
        let _seed = SeedOnPanic(seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let (mut model, mut state) = (Model::default(), ProducerState::default());
        for step in 0..80 {
            let (stamp, delta) = random_batch(&mut rng, &model);
            let placing = Placing { base_offset: model.end(), journal_index: 0, now_ms: 0, may_grow: true };
            if state.admit(stamp, &header(stamp, Offset::ZERO, delta), placing, NEVER) == Verdict::Append {
                model.0.push(Entry { stamp, base_offset: model.end(), delta, now_ms: 0 });
            }
            state.settle(model.end());
            if step % 8 != 7 {
                continue;
            }
            let keep = rng.random_range(0..=model.0.len());
            let cut = model.0.get(keep).map_or(model.end(), |entry| entry.base_offset);
            let mut scanned = ProducerState::default();
            for entry in &model.0[..keep] {
                scanned.replay(&entry.header(), 0, NEVER);
            }
            let after = state.cut(scanned, cut);
            if let Some(untouched) = state.cut_without_log(cut) {
                assert_eq!(untouched, after, "what no cut reaches needs no log");
            }
            model.0.truncate(keep);
            state = after;
            assert_eq!(state.snapshot(cut, 0, NEVER), model.snapshot(cut, 0, NEVER));
        }
    }
}

#[test]
fn what_only_removed_segments_could_tell_is_kept_from_what_was_known() {
    let stamp =
        |id, sequence| ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: Sequence(sequence) };
    let mut state = ProducerState::default();
    for at in 0..6u32 {
        let id = u64::from(at % 2);
        state.replay(&header(stamp(id, at / 2), Offset(u64::from(at)), 0), 5, LIMITS);
    }
    // Everything below 4 went with the log start; the cut takes 5 away.
    let mut scanned = ProducerState::default();
    scanned.replay(&header(stamp(0, 2), Offset(4), 0), 9, LIMITS);
    let after = state.cut(scanned, Offset(5));
    for (id, batches) in [(0, 3), (1, 2)] {
        let producer = after.producer(ProducerId(id)).expect("known");
        assert_eq!((producer.batches().len(), producer.complete, producer.last_used_ms), (batches, true, 5));
    }
}

#[test]
fn a_full_shard_makes_a_partition_forget_one_of_its_own_but_never_its_first() {
    let mut state = ProducerState::default();
    for id in 0..3 {
        let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: Sequence(0) };
        let placing = Placing { base_offset: Offset(id), journal_index: 1, now_ms: 0, may_grow: false };
        assert_eq!(state.admit(stamp, &header(stamp, Offset::ZERO, 0), placing, LIMITS), Verdict::Append);
        assert_eq!(state.len(), 1);
    }
    assert!(state.producer(ProducerId(2)).is_some());
    assert_eq!(state.snapshot(Offset(2), 0, LIMITS).producers[0].0, ProducerId(1), "and takes even that back");
}

#[test]
fn a_batch_that_is_not_durable_is_not_in_the_snapshot() {
    let mut state = ProducerState::default();
    for at in 0..4u32 {
        let stamp = ProducerStamp { id: ProducerId(1), epoch: ProducerEpoch(0), base_sequence: Sequence(at) };
        let placing =
            Placing { base_offset: Offset(u64::from(at)), journal_index: u64::from(at) + 1, now_ms: 0, may_grow: true };
        state.admit(stamp, &header(stamp, Offset::ZERO, 0), placing, LIMITS);
    }
    state.settle(Offset(1));
    for end in 1..=4 {
        let snapshot = state.snapshot(Offset(end), 0, LIMITS);
        assert_eq!(snapshot.producers[0].1.last().base_offset, Offset(end - 1));
    }
}

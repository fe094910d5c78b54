//! What one partition remembers of its idempotent producers, and what it says to a batch of one (rule J11).
//!
//! Pure: no I/O, no clock, no runtime; `now` is an argument. Lives on the owner shard, inside the partition. One lookup
//! and no allocation for a batch of a known producer.
//!
//! The state stands at the end of the log, where appends are judged. A checkpoint needs it where the log is durable: a
//! batch that a power cut may take away must not be remembered. So each batch that is not durable yet leaves behind what
//! it changed, and [`ProducerState::snapshot`] takes that back. What a batch changes follows from the batches before it
//! alone, never from the clock, so that replay comes to the same state.

use std::collections::{HashMap, VecDeque};

use ouzel_protocol::batch::BatchHeader;
use ouzel_protocol::{Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence};

use crate::format::producers::{Producer, ProducerSnapshot, RememberedBatch};

/// How much is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerLimits {
    /// Producers of one partition; beyond it the one whose last batch is oldest is forgotten.
    pub partition_producers_max: usize,
    /// A producer that appended nothing for this long counts as unknown, in milliseconds.
    pub expiration_ms: u64,
}

impl Default for ProducerLimits {
    /// Kafka's day, and as many producers as share a partition anywhere.
    fn default() -> Self {
        Self { partition_producers_max: 1024, expiration_ms: 24 * 60 * 60 * 1000 }
    }
}

/// When and where a batch is about to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Placing {
    /// Offset that its first record gets.
    pub base_offset: Offset,
    /// Place in the journal that it gets; 0 in replay.
    pub journal_index: u64,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Whether one more producer may be remembered; else another one of this partition goes for it.
    pub may_grow: bool,
}

/// What is to be done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new and now remembered: it must be appended.
    Append,
    /// It is in the log already.
    Duplicate(RememberedBatch),
    /// It must not be appended.
    Refused(Refusal),
}

/// Why a batch must not be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not follow the last batch of its producer.
    OutOfOrder {
        /// Sequence that is due.
        expected: Sequence,
    },
    /// It is in the log, before the batches that are remembered.
    TooOld {
        /// Sequence that is due.
        expected: Sequence,
    },
    /// A higher epoch of its producer was here.
    Fenced {
        /// That epoch.
        current: ProducerEpoch,
    },
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerState {
    producers: HashMap<ProducerId, Producer>,
    /// Oldest first; of batches that are not durable.
    undo: VecDeque<Undo>,
}

/// What the batch that ends at `end_offset` changed about one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Undo {
    end_offset: Offset,
    id: ProducerId,
    before: Before,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Before {
    /// It was not known.
    Unknown,
    /// It had one batch fewer.
    Shorter { forgotten: Option<RememberedBatch>, last_used_ms: i64 },
    /// It was this.
    Was(Box<Producer>),
}

impl ProducerState {
    /// The state that a snapshot describes.
    pub fn from_snapshot(snapshot: ProducerSnapshot) -> Self {
        Self { producers: snapshot.producers.into_iter().collect(), undo: VecDeque::new() }
    }

    /// Producers known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// One producer, for tests and tools.
    pub fn producer(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.get(&id)
    }

    /// Judges a batch that a producer wants appended. If the answer is [`Verdict::Append`] it is remembered, and the
    /// caller appends it before anything else.
    pub fn admit(
        &mut self,
        stamp: ProducerStamp,
        header: &BatchHeader,
        placing: Placing,
        limits: ProducerLimits,
    ) -> Verdict {
        if let Some(producer) = self.producers.get_mut(&stamp.id) {
            match judge(producer, stamp, header.last_offset_delta) {
                Verdict::Refused(_) if is_expired(producer, placing.now_ms, limits) => {}
                Verdict::Append => {}
                answer => return answer,
            }
            let batch = remembered(stamp, header, placing);
            let before = extend(producer, stamp.epoch, batch, placing.now_ms);
            self.undo.push_back(Undo { end_offset: batch.last_offset().next(), id: stamp.id, before });
            return Verdict::Append;
        }
        self.insert(stamp, header, placing, limits);
        Verdict::Append
    }

    /// Remembers a batch that is in the log, in replay or in a walk over the log.
    pub fn replay(&mut self, header: &BatchHeader, now_ms: i64, limits: ProducerLimits) {
        let Some(stamp) = header.producer() else { return };
        let placing = Placing { base_offset: header.base_offset, journal_index: 0, now_ms, may_grow: true };
        match self.producers.get_mut(&stamp.id) {
            Some(producer) => drop(extend(producer, stamp.epoch, remembered(stamp, header, placing), now_ms)),
            None => self.insert(stamp, header, placing, limits),
        }
        self.undo.clear();
    }

    fn insert(&mut self, stamp: ProducerStamp, header: &BatchHeader, placing: Placing, limits: ProducerLimits) {
        let batch = remembered(stamp, header, placing);
        let end_offset = batch.last_offset().next();
        let full = self.producers.len() >= limits.partition_producers_max || !placing.may_grow;
        if full && let Some(oldest) = self.oldest() {
            let producer = self.producers.remove(&oldest).expect("found above");
            self.undo.push_back(Undo { end_offset, id: oldest, before: Before::Was(Box::new(producer)) });
        }
        self.producers.insert(stamp.id, Producer::new(stamp.epoch, batch, placing.now_ms));
        self.undo.push_back(Undo { end_offset, id: stamp.id, before: Before::Unknown });
    }

    /// The producer whose last batch is the oldest: an order that replay finds again.
    fn oldest(&self) -> Option<ProducerId> {
        self.producers.iter().min_by_key(|(_, producer)| producer.last().base_offset).map(|(id, _)| *id)
    }

    /// Everything below `durable_end` stays, whatever happens.
    pub fn settle(&mut self, durable_end: Offset) {
        while self.undo.front().is_some_and(|undo| undo.end_offset <= durable_end) {
            self.undo.pop_front();
        }
    }

    /// The state at `end_offset`, which is no lower than what was settled, as far as it is not expired.
    pub fn snapshot(&self, end_offset: Offset, now_ms: i64, limits: ProducerLimits) -> ProducerSnapshot {
        let mut producers: Vec<(ProducerId, Producer)> = if self.undo.is_empty() {
            self.producers.iter().map(|(id, producer)| (*id, *producer)).collect()
        } else {
            let mut producers = self.producers.clone();
            for undo in self.undo.iter().rev().take_while(|undo| undo.end_offset > end_offset) {
                take_back(&mut producers, undo);
            }
            producers.into_iter().collect()
        };
        producers.retain(|(_, producer)| !is_expired(producer, now_ms, limits));
        producers.sort_unstable_by_key(|(id, _)| *id);
        ProducerSnapshot { end_offset, producers }
    }

    /// The state at a cut below batches that are durable, if it can be told without the log.
    pub fn cut_without_log(&self, cut: Offset) -> Option<Self> {
        assert!(self.undo.is_empty(), "a log is cut when all of it is durable");
        let untouched = self.producers.values().all(|producer| producer.last().base_offset < cut);
        untouched.then(|| self.clone())
    }

    /// The state at a cut: `scanned` is what the log below it says by itself, `self` the state at the end that was. What
    /// only segments that are gone could tell is taken from the latter as far as it still knows it.
    pub fn cut(&self, scanned: ProducerState, cut: Offset) -> Self {
        assert!(self.undo.is_empty(), "a log is cut when all of it is durable");
        let mut producers = scanned.producers;
        for (id, before) in &self.producers {
            let kept = before.batches().partition_point(|batch| batch.base_offset < cut);
            let kept = &before.batches()[..kept];
            match producers.get_mut(id) {
                Some(found) => {
                    found.last_used_ms = before.last_used_ms;
                    if found.epoch == before.epoch && !kept.is_empty() {
                        let complete = found.complete || before.complete;
                        let all = found.batches().iter().chain(kept);
                        *found = of_batches(found, all.copied().collect(), complete);
                    }
                }
                None if kept.is_empty() => {}
                None => drop(producers.insert(*id, of_batches(before, kept.to_vec(), before.complete))),
            }
        }
        Self { producers, undo: VecDeque::new() }
    }
}

fn remembered(stamp: ProducerStamp, header: &BatchHeader, placing: Placing) -> RememberedBatch {
    RememberedBatch {
        base_offset: placing.base_offset,
        max_timestamp: header.max_timestamp,
        base_sequence: stamp.base_sequence,
        last_offset_delta: header.last_offset_delta,
        journal_index: placing.journal_index,
    }
}

fn is_expired(producer: &Producer, now_ms: i64, limits: ProducerLimits) -> bool {
    let idle_ms = now_ms.saturating_sub(producer.last_used_ms);
    u64::try_from(idle_ms).is_ok_and(|idle_ms| idle_ms >= limits.expiration_ms)
}

fn judge(producer: &Producer, stamp: ProducerStamp, last_offset_delta: u32) -> Verdict {
    if stamp.epoch < producer.epoch {
        return Verdict::Refused(Refusal::Fenced { current: producer.epoch });
    }
    if stamp.epoch > producer.epoch {
        let begins = stamp.base_sequence == Sequence::ZERO;
        return if begins {
            Verdict::Append
        } else {
            Verdict::Refused(Refusal::OutOfOrder { expected: Sequence::ZERO })
        };
    }
    let expected = producer.last().last_sequence().after(1);
    if stamp.base_sequence == expected {
        return Verdict::Append;
    }
    let is_same = |batch: &&RememberedBatch| {
        batch.base_sequence == stamp.base_sequence && batch.last_offset_delta == last_offset_delta
    };
    if let Some(batch) = producer.batches().iter().rev().find(is_same) {
        return Verdict::Duplicate(*batch);
    }
    let end = stamp.base_sequence.after(last_offset_delta).after(1);
    let is_older = end.is_at_most(producer.batches()[0].base_sequence);
    // Of a producer that was met in the middle nobody knows what the log holds of its beginning.
    Verdict::Refused(if is_older && producer.complete {
        Refusal::TooOld { expected }
    } else {
        Refusal::OutOfOrder { expected }
    })
}

/// Remembers a batch that is appended: behind the others if it follows them, else in their place.
fn extend(producer: &mut Producer, epoch: ProducerEpoch, batch: RememberedBatch, now_ms: i64) -> Before {
    if epoch == producer.epoch && batch.base_sequence == producer.last().last_sequence().after(1) {
        let last_used_ms = std::mem::replace(&mut producer.last_used_ms, now_ms);
        return Before::Shorter { forgotten: producer.push(batch), last_used_ms };
    }
    let was = std::mem::replace(producer, Producer::new(epoch, batch, now_ms));
    Before::Was(Box::new(was))
}

fn take_back(producers: &mut HashMap<ProducerId, Producer>, undo: &Undo) {
    match &undo.before {
        Before::Unknown => drop(producers.remove(&undo.id)),
        Before::Was(producer) => drop(producers.insert(undo.id, **producer)),
        Before::Shorter { forgotten, last_used_ms } => {
            let producer = producers.get_mut(&undo.id).expect("a batch was remembered of it");
            producer.unpush(*forgotten);
            producer.last_used_ms = *last_used_ms;
        }
    }
}

/// The producer with these batches of its epoch instead, at least one; one that is named twice counts once.
fn of_batches(like: &Producer, mut batches: Vec<RememberedBatch>, complete: bool) -> Producer {
    batches.sort_unstable_by_key(|batch| batch.base_offset);
    batches.dedup_by_key(|batch| batch.base_offset);
    let mut producer = Producer::new(like.epoch, batches[0], like.last_used_ms);
    for batch in batches.into_iter().skip(1) {
        drop(extend(&mut producer, like.epoch, batch, like.last_used_ms));
    }
    producer.complete = complete;
    producer
}

#[cfg(test)]
mod tests;

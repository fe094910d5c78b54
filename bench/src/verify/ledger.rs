//! The ledger of a verification run: every batch that was sent, every acknowledgement, every record that was ever read,
//! and the rules between them. Owns no connection and reads no clock; one fault is one sentence. Used under a lock by
//! the tasks of the generator.
//!
//! The rules, for a broker that may be killed at any moment:
//! - a record that is read was sent to that partition, and every byte of it is as it was sent;
//! - an acknowledged batch lies whole at its acknowledged offset, under its acknowledged leader epoch;
//! - a batch that was not acknowledged lies there whole or not at all, and never twice;
//! - the batches of one producer in one partition lie in the order in which they were sent, and none that the broker
//!   did not refuse is missing in front of a later one of the same run;
//! - offsets are dense, and what was seen once at an offset is there for ever (docs/rules.md J10, F4);
//! - a batch that was not there after its run had ended never comes back;
//! - once a partition was said to have failed, nothing that is sent to it later is acknowledged by the same run;
//! - the leader epoch of every partition rises with every start of the broker, and batches carry the epoch of the run
//!   they were sent in.
//!
//! A power cut loosens exactly one of them: an acknowledged batch of a topic at level `written` may be missing if its
//! offset lies behind all that is left, and if it was acknowledged within the flush interval before the broker ended.

use std::time::{Duration, Instant};

use ouzel_protocol::{Durability, ErrorCode, LeaderEpoch, Offset, Record};

use super::content::{Identity, Size};

/// A rule that does not hold: what lies where, and what should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Fault(pub(super) String);

macro_rules! fault {
    ($($part:tt)*) => { return Err(Fault(format!($($part)*))) };
}

/// Names a batch in the ledger: its producer and its place among the batches of that producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchKey {
    pub(super) producer: u32,
    pub(super) batch_index: usize,
}

/// What became of a batch, as far as its producer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// None: it may be in the log, whole, or not.
    Unknown,
    /// The broker said no; it may still be there if the broker gave up waiting after the append.
    Refused,
    Acked {
        base: Offset,
        epoch: LeaderEpoch,
        durability: Durability,
        at: Instant,
    },
}

/// What may be missing after the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing that was acknowledged.
    None,
    /// The power was cut and the broker ended at `ended_at`: what was acknowledged at `written` at most `age_max` before.
    Written { ended_at: Instant, age_max: Duration },
}

/// What a pass found missing that may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) records: u64,
    /// How long before the end of the broker the oldest of them was acknowledged.
    pub(super) age_max: Duration,
}

/// One batch that was handed to the broker.
#[derive(Clone, Debug)]
struct Sent {
    partition_index: usize,
    run_index: usize,
    first_sequence: u64,
    record_count: u32,
    size: Size,
    answer: Answer,
    /// Where its first record was seen, ever.
    found: Option<Offset>,
    /// Records of it seen in the present pass.
    seen_count: u32,
    /// A pass after the end of its run did not find it.
    is_gone: bool,
    /// It was sent after its partition had been said to have failed in this run.
    is_sent_to_failed: bool,
}

/// What is known of one partition.
#[derive(Debug)]
struct PartitionLog {
    name: String,
    durability: Durability,
    /// By offset: a number made of producer, sequence and leader epoch of the record seen there; 0 before any was.
    fingerprints: Vec<u64>,
    /// By run: the leader epoch the broker reported when it was ready.
    epochs: Vec<LeaderEpoch>,
    next_in_pass: Offset,
    /// A batch was refused in this run because storage failed.
    has_failed: bool,
}

/// Sums for the report.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) batches_sent: u64,
    pub(super) records_sent: u64,
    pub(super) records_acked: u64,
    pub(super) batches_refused: u64,
    /// Of these, for want of disk space, and because storage failed.
    pub(super) batches_disk_full: u64,
    pub(super) batches_storage_failed: u64,
    pub(super) records_read: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    seed: u64,
    partitions: Vec<PartitionLog>,
    /// By producer: its batches in the order sent, which is the order of their sequences.
    producers: Vec<Vec<Sent>>,
    totals: Totals,
    scratch: Vec<u8>,
}

impl Ledger {
    /// An empty ledger for partitions given by name and durability.
    pub(super) fn new(seed: u64, producer_count: u32, partitions: Vec<(String, Durability)>) -> Ledger {
        let empty = |(name, durability)| PartitionLog {
            name,
            durability,
            fingerprints: Vec::new(),
            epochs: Vec::new(),
            next_in_pass: Offset::ZERO,
            has_failed: false,
        };
        Ledger {
            seed,
            partitions: partitions.into_iter().map(empty).collect(),
            producers: (0..producer_count).map(|_| Vec::new()).collect(),
            totals: Totals::default(),
            scratch: Vec::new(),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Number of starts of the broker so far, minus one: the run that batches sent now belong to.
    fn run_index(&self) -> usize {
        self.partitions[0].epochs.len() - 1
    }

    /// The broker started: `epochs` by partition, as its metadata has them.
    ///
    /// # Errors
    /// A leader epoch did not rise.
    pub(super) fn started(&mut self, epochs: &[LeaderEpoch]) -> Result<(), Fault> {
        assert_eq!(epochs.len(), self.partitions.len());
        for (partition, &epoch) in self.partitions.iter_mut().zip(epochs) {
            if let Some(&earlier) = partition.epochs.last()
                && epoch <= earlier
            {
                fault!("{}: leader epoch {epoch} after a restart, {earlier} before it", partition.name);
            }
            partition.epochs.push(epoch);
            partition.has_failed = false;
        }
        Ok(())
    }

    /// A batch is about to be handed to the broker. Must be called before its first byte leaves.
    pub(super) fn sending(
        &mut self,
        producer: u32,
        partition_index: usize,
        size: Size,
        record_count: u32,
    ) -> (BatchKey, Identity) {
        let run_index = self.run_index();
        let batches = &mut self.producers[producer as usize];
        let first_sequence = batches.last().map_or(0, |last| last.first_sequence + u64::from(last.record_count));
        let key = BatchKey { producer, batch_index: batches.len() };
        batches.push(Sent {
            partition_index,
            run_index,
            first_sequence,
            record_count,
            size,
            answer: Answer::Unknown,
            found: None,
            seen_count: 0,
            is_gone: false,
            is_sent_to_failed: self.partitions[partition_index].has_failed,
        });
        self.totals.batches_sent += 1;
        self.totals.records_sent += u64::from(record_count);
        (key, Identity { producer, sequence: first_sequence })
    }

    /// The broker refused a batch, with this code.
    pub(super) fn refused(&mut self, key: BatchKey, error: ErrorCode) {
        let sent = &mut self.producers[key.producer as usize][key.batch_index];
        sent.answer = Answer::Refused;
        self.totals.batches_refused += 1;
        self.totals.batches_disk_full += u64::from(error == ErrorCode::DiskFull);
        if error == ErrorCode::StorageError {
            self.partitions[sent.partition_index].has_failed = true;
            self.totals.batches_storage_failed += 1;
        }
    }

    /// Whether the broker has said of this partition, in the present run, that its storage failed.
    pub(super) fn has_failed(&self, partition_index: usize) -> bool {
        self.partitions[partition_index].has_failed
    }

    /// The broker acknowledged a batch; the answer arrived at `at`.
    ///
    /// # Errors
    /// The acknowledgement cannot be true: a second one, less durability than the topic asks for, or an epoch of
    /// another run.
    pub(super) fn acked(
        &mut self,
        key: BatchKey,
        base: Offset,
        epoch: LeaderEpoch,
        durability: Durability,
        at: Instant,
    ) -> Result<(), Fault> {
        let sent = &mut self.producers[key.producer as usize][key.batch_index];
        let partition = &self.partitions[sent.partition_index];
        let name = &partition.name;
        if sent.answer != Answer::Unknown {
            fault!("{name}: the batch at offset {base} was answered twice: {:?} before", sent.answer);
        }
        if sent.is_sent_to_failed {
            fault!(
                "{name}: the batch at offset {base} was acknowledged after the partition had been said to have failed"
            );
        }
        if partition.durability == Durability::Disk && durability != Durability::Disk {
            fault!(
                "{name}: the batch at offset {base} was acknowledged at level {durability}, the topic asks for disk"
            );
        }
        if epoch != partition.epochs[sent.run_index] {
            fault!(
                "{name}: offset {base} acknowledged under leader epoch {epoch}, metadata has {}",
                partition.epochs[sent.run_index]
            );
        }
        sent.answer = Answer::Acked { base, epoch, durability, at };
        self.totals.records_acked += u64::from(sent.record_count);
        Ok(())
    }

    /// A record was read, by the consumer during the load or in a pass.
    ///
    /// # Errors
    /// One of the rules of the module does not hold for it.
    pub(super) fn observed(
        &mut self,
        partition_index: usize,
        epoch: LeaderEpoch,
        record: &Record<'_>,
    ) -> Result<(), Fault> {
        let Ledger { seed, partitions, producers, totals, scratch } = self;
        let partition = &mut partitions[partition_index];
        let (name, offset) = (&partition.name, record.offset);
        let Some(identity) = record.value.and_then(Identity::of_value) else {
            fault!("{name}: offset {offset} holds a record that no producer sent");
        };
        let sent = producers.get_mut(identity.producer as usize).and_then(|batches| {
            let after = batches.partition_point(|sent| sent.first_sequence <= identity.sequence);
            batches.get_mut(after.checked_sub(1)?)
        });
        let Some(sent) = sent.filter(|sent| identity.sequence < sent.first_sequence + u64::from(sent.record_count))
        else {
            fault!("{name}: offset {offset} holds {identity:?}, which was never sent");
        };
        if sent.partition_index != partition_index {
            fault!(
                "{name}: offset {offset} holds {identity:?}, which was sent to partition number {}",
                sent.partition_index
            );
        }
        if let Some(what) = identity.difference(*seed, sent.size, record, scratch) {
            fault!("{name}: offset {offset} holds {identity:?}, but {what} is not as it was sent");
        }
        if sent.is_gone {
            fault!("{name}: offset {offset} holds {identity:?}, which was not there after the end of its run");
        }
        let in_batch = identity.sequence - sent.first_sequence;
        let Some(base) = offset.0.checked_sub(in_batch).map(Offset) else {
            fault!("{name}: offset {offset} holds {identity:?}, record {in_batch} of its batch");
        };
        if *sent.found.get_or_insert(base) != base {
            fault!("{name}: the batch of {identity:?} lies at offset {base} and at {:?}", sent.found);
        }
        if epoch != partition.epochs[sent.run_index] {
            fault!(
                "{name}: offset {offset} carries leader epoch {epoch}, it was sent under {}",
                partition.epochs[sent.run_index]
            );
        }
        if let Answer::Acked { base: acked, .. } = sent.answer
            && acked != base
        {
            fault!("{name}: the batch of {identity:?} was acknowledged at offset {acked} and lies at {base}");
        }
        let place = offset.0 as usize;
        if partition.fingerprints.len() <= place {
            partition.fingerprints.resize(place + 1, 0);
        }
        let fingerprint = identity.mixed(u64::from(epoch.0)) | 1;
        let earlier = std::mem::replace(&mut partition.fingerprints[place], fingerprint);
        if earlier != 0 && earlier != fingerprint {
            fault!("{name}: offset {offset} held another record when it was read before; now {identity:?}");
        }
        sent.seen_count += 1;
        totals.records_read += 1;
        Ok(())
    }

    /// Begins a pass over everything that is stored; nothing else may call [`Ledger::observed`] until its end.
    pub(super) fn begin_pass(&mut self) {
        self.producers.iter_mut().flatten().for_each(|sent| sent.seen_count = 0);
        self.partitions.iter_mut().for_each(|partition| partition.next_in_pass = Offset::ZERO);
    }

    /// As [`Ledger::observed`], for the next record of a pass.
    ///
    /// # Errors
    /// As there, or the offset is not the one behind the record before it.
    pub(super) fn passed(
        &mut self,
        partition_index: usize,
        epoch: LeaderEpoch,
        record: &Record<'_>,
    ) -> Result<(), Fault> {
        let partition = &mut self.partitions[partition_index];
        if record.offset != partition.next_in_pass {
            fault!("{}: offset {} follows where {} is due", partition.name, record.offset, partition.next_in_pass);
        }
        partition.next_in_pass = record.offset.next();
        self.observed(partition_index, epoch, record)
    }

    /// Ends a pass: `ends` by partition, the high watermark up to which everything was read; `loss` is what the end of the
    /// last run allows to be missing. Returns what is.
    ///
    /// # Errors
    /// Something else is missing, or out of order.
    pub(super) fn end_pass(&mut self, ends: &[Offset], loss: Loss) -> Result<Lost, Fault> {
        for (partition, &end) in self.partitions.iter().zip(ends) {
            if partition.next_in_pass != end {
                fault!(
                    "{}: reading ended at offset {}, the high watermark is {end}",
                    partition.name,
                    partition.next_in_pass
                );
            }
            if partition.fingerprints.len() as u64 > end.0 {
                fault!(
                    "{}: offset {} was read before and is gone, the log ends at {end}",
                    partition.name,
                    partition.fingerprints.len() - 1
                );
            }
        }
        let mut lost = Lost::default();
        for (producer, batches) in self.producers.iter().enumerate() {
            self.check_order(producer, batches, (ends, loss), &mut lost)?;
        }
        // Their runs have ended: whatever is not there now may never be.
        self.producers.iter_mut().flatten().for_each(|sent| sent.is_gone |= sent.seen_count == 0);
        Ok(lost)
    }

    fn check_order(
        &self,
        producer: usize,
        batches: &[Sent],
        (ends, loss): (&[Offset], Loss),
        lost: &mut Lost,
    ) -> Result<(), Fault> {
        /// Per partition: where the last batch found ends, and the first of the present run that is missing.
        #[derive(Clone, Default)]
        struct Place {
            run_index: usize,
            end: u64,
            missing: Option<u64>,
        }
        let mut places = vec![Place::default(); self.partitions.len()];
        for sent in batches {
            let name = &self.partitions[sent.partition_index].name;
            let what = || {
                format!(
                    "{name}: batch of producer {producer}, sequences {} to {}",
                    sent.first_sequence,
                    sent.first_sequence + u64::from(sent.record_count) - 1
                )
            };
            let place = &mut places[sent.partition_index];
            if place.run_index != sent.run_index {
                *place = Place { run_index: sent.run_index, end: place.end, missing: None };
            }
            if sent.seen_count == 0 {
                if sent.answer != Answer::Refused {
                    place.missing = place.missing.or(Some(sent.first_sequence));
                }
                if !sent.is_gone {
                    sent.check_loss(ends[sent.partition_index], loss, lost)
                        .map_err(|Fault(why)| Fault(format!("{}, {why}", what())))?;
                }
                continue;
            }
            if sent.seen_count != sent.record_count {
                fault!("{}: only {} of its {} records are there", what(), sent.seen_count, sent.record_count);
            }
            let base = sent.found.map_or(0, |offset| offset.0);
            if base < place.end {
                fault!("{} lies at offset {base}, in front of an earlier batch that ends at {}", what(), place.end);
            }
            if let Some(missing) = place.missing {
                fault!("{} is there, but the batch in front of it that begins with sequence {missing} is not", what());
            }
            place.end = base + u64::from(sent.record_count);
        }
        Ok(())
    }
}

impl Sent {
    /// Judges a batch that a pass up to `end` did not find for the first time.
    fn check_loss(&self, end: Offset, loss: Loss, lost: &mut Lost) -> Result<(), Fault> {
        let Answer::Acked { base, epoch, durability, at } = self.answer else { return Ok(()) };
        let acked = format!("acknowledged at level {durability} at offset {base} under epoch {epoch}, is LOST");
        let Loss::Written { ended_at, age_max } = loss else { fault!("{acked}") };
        if durability != Durability::Written {
            fault!("{acked}");
        }
        if base < end {
            fault!("{acked}, and the log goes on behind it, to {end}");
        }
        let age = ended_at.saturating_duration_since(at);
        if age > age_max {
            fault!("{acked}, {} ms after the answer; {} ms are allowed", age.as_millis(), age_max.as_millis());
        }
        lost.records += u64::from(self.record_count);
        lost.age_max = lost.age_max.max(age);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Where a leader epoch of a partition ends: the question of clients that want to know whether what they read was taken back
//! (KIP-320). Owns the search; no table of epochs is kept. Every stored batch carries the epoch under which it was appended, and
//! epochs only rise along a log, so the end is searched for: backwards from the newest batch in growing steps, since most who ask
//! have read nearly everything and what they read last is in memory, and then by halves. Lives on the partition's owner.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ouzel_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader, parse_header};
use ouzel_protocol::{ErrorCode, LeaderEpoch, Offset, PartitionId, PartitionIndex, TopicId};
use ouzel_storage::StorageError;

use crate::error_map;
use crate::lanes::{EpochEnd, PartitionRef};
use crate::shard::ShardState;

/// Where these epochs end, in the order of the rows. Each is searched for once, however often it is asked for: a search may read
/// from disk, and rows are cheap.
pub(crate) async fn ends(state: &ShardState, rows: &[(PartitionRef, LeaderEpoch)]) -> Vec<EpochEnd> {
    let mut found: BTreeMap<(TopicId, PartitionIndex, LeaderEpoch), EpochEnd> = BTreeMap::new();
    let mut ends = Vec::with_capacity(rows.len());
    for (at, epoch) in rows {
        let end = match found.entry((at.topic_id, at.partition, *epoch)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(free) => *free.insert(end(state, *at, *epoch).await.unwrap_or_else(EpochEnd::refused)),
        };
        ends.push(end);
    }
    ends
}

async fn end(state: &ShardState, at: PartitionRef, epoch: LeaderEpoch) -> Result<EpochEnd, ErrorCode> {
    let partition = state.topics.owned(at)?;
    let (id, current) = (partition.partition_id, partition.leader_epoch);
    let code = |error: StorageError| error_map::of_storage(&error);
    let log_end = state.store.durable_end(id).map_err(code)?;
    let end = if epoch > current {
        // No epoch of that number has been.
        None
    } else if epoch == current {
        Some((epoch, log_end))
    } else {
        let mut search = Search::new(epoch, state.store.log_start(id).map_err(code)?, log_end);
        while let Some(offset) = search.next() {
            match batch_at(state, id, offset).await {
                Ok(Some(header)) => search.saw(&header),
                Ok(None) => {
                    tracing::error!(
                        shard = state.index.0,
                        partition = id.0,
                        offset = offset.0,
                        "no batch holds an offset of the log"
                    );
                    return Err(ErrorCode::StorageError);
                }
                Err(StorageError::OffsetOutOfRange { log_start, .. }) if log_start > offset => search.begins(log_start),
                Err(error) => {
                    tracing::error!(shard = state.index.0, partition = id.0, offset = offset.0, %error,
                        "the end of an epoch was not found");
                    return Err(code(error));
                }
            }
        }
        Some(search.end())
    };
    Ok(EpochEnd { error: ErrorCode::None, current, end })
}

/// The header of the batch that holds an offset. From disk in the lane of consumers that catch up, planned when its turn has come.
async fn batch_at(state: &ShardState, id: PartitionId, offset: Offset) -> Result<Option<BatchHeader>, StorageError> {
    let plan = state.store.plan_read(id, offset, 1, true)?;
    let pieces = if plan.needs_disk() {
        let _turn = state.catch_up.acquire(1).await;
        state.store.read(state.store.plan_read(id, offset, 1, true)?).await?
    } else {
        state.store.read(plan).await?
    };
    let head: Vec<u8> = pieces.iter().flatten().take(BATCH_HEADER_BYTES).copied().collect();
    Ok(parse_header(&head).ok())
}

/// The search for the first batch of a later epoch.
#[derive(Debug)]
struct Search {
    epoch: LeaderEpoch,
    /// What lies below is of this epoch or an earlier one, or is not there any more.
    from: Offset,
    /// What lies here and above is of later epochs.
    to: Offset,
    /// How far to go back next, until a batch that is not later was seen.
    step: u64,
    /// The epoch of the last batch below `from`.
    last: Option<LeaderEpoch>,
}

impl Search {
    fn new(epoch: LeaderEpoch, log_start: Offset, log_end: Offset) -> Self {
        Self { epoch, from: log_start, to: log_end, step: 1, last: None }
    }

    /// The offset whose batch is to be looked at next; `None` once the end is found.
    fn next(&self) -> Option<Offset> {
        let (from, to) = (self.from.0, self.to.0);
        if from >= to {
            return None;
        }
        let half = from + (to - from) / 2;
        let back = to.saturating_sub(self.step).max(from);
        Some(Offset(if self.last.is_some() { half } else { back }))
    }

    /// Takes what was seen at the offset that was to be looked at.
    fn saw(&mut self, batch: &BatchHeader) {
        if batch.leader_epoch > self.epoch {
            self.to = batch.base_offset.max(self.from);
            self.step = self.step.saturating_mul(2);
        } else {
            self.from = batch.end_offset().min(self.to);
            self.last = Some(batch.leader_epoch);
        }
    }

    /// The log begins later than it did.
    fn begins(&mut self, log_start: Offset) {
        self.from = self.from.max(log_start);
        self.to = self.to.max(self.from);
    }

    /// The last epoch up to the one asked for that has a batch, or that one where none has, and where it ends.
    fn end(&self) -> (LeaderEpoch, Offset) {
        (self.last.unwrap_or(self.epoch), self.to)
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{BatchBuilder, Codec, Dialect};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn header(base: u64, records: u64, epoch: u32) -> BatchHeader {
        let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
        (0..records).for_each(|_| builder.push(0, None, Some(b"v"), &[]));
        let batch = builder.build().expect("a legal batch");
        let header = parse_header(&batch).expect("a header");
        BatchHeader { base_offset: Offset(base), leader_epoch: LeaderEpoch(epoch), ..header }
    }

    fn random_log(rng: &mut SmallRng) -> Vec<BatchHeader> {
        let (mut base, mut epoch) = (0, 0);
        let mut log = Vec::new();
        for _ in 0..rng.random_range(0..40) {
            epoch += u32::from(rng.random_ratio(1, 4)) * rng.random_range(1..4);
            let records = rng.random_range(1..6);
            log.push(header(base, records, epoch));
            base += records;
        }
        log
    }

    /// Runs a search over a log and returns its result and how often it looked.
    fn run(log: &[BatchHeader], log_start: u64, epoch: u32) -> ((LeaderEpoch, Offset), usize) {
        let log_end = log.last().map_or(Offset(0), BatchHeader::end_offset);
        let mut search = Search::new(LeaderEpoch(epoch), Offset(log_start), log_end);
        let mut looks = 0;
        while let Some(offset) = search.next() {
            looks += 1;
            let holds = |batch: &&BatchHeader| batch.base_offset <= offset && offset < batch.end_offset();
            search.saw(log.iter().find(holds).expect("inside the log"));
        }
        (search.end(), looks)
    }

    #[test]
    fn any_epoch_of_any_log_ends_where_the_next_begins() {
        for seed in 0..300 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let log = random_log(&mut rng);
            let log_end = log.last().map_or(0, |batch| batch.end_offset().0);
            let log_start = rng.random_range(0..=log_end);
            for asked in 0..30 {
                let asked = LeaderEpoch(asked);
                let kept = || log.iter().filter(|batch| batch.end_offset().0 > log_start);
                let end = kept().find(|batch| batch.leader_epoch > asked).map_or(log_end, |batch| batch.base_offset.0);
                let last = kept().rfind(|batch| batch.leader_epoch <= asked).map_or(asked, |batch| batch.leader_epoch);
                let (found, looks) = run(&log, log_start, asked.0);
                assert_eq!(found, (last, Offset(end.max(log_start))), "seed {seed} epoch {asked}");
                assert!(looks <= 20, "seed {seed}: {looks} looks at a log of {log_end}");
            }
        }
    }

    #[test]
    fn a_log_that_lost_its_beginning_meanwhile_is_searched_from_there() {
        let mut search = Search::new(LeaderEpoch(0), Offset(0), Offset(8));
        search.saw(&header(6, 2, 1));
        search.begins(Offset(7));
        assert_eq!((search.next(), search.end()), (None, (LeaderEpoch(0), Offset(7))));
    }
}

//! Replaying accepted commits into the state of every partition: the second table of `recover.rs`, one arm for each row.
//! Runs during recovery only, on one shard. Memory stays inside the dirty budget: full blocks of large tails are written
//! into their segments as replay goes.

use std::collections::{BTreeMap, VecDeque};

use ouzel_protocol::batch::{batches, parse_header};
use ouzel_protocol::{LeaderEpoch, Offset, PartitionId};
use ouzel_runtime::{Shard, TailChunk};

use crate::block_checksums;
use crate::config::{BLOCK, CARRY_BYTES_MAX, PartitionConfig, SEGMENT_WRITE_BYTES_MAX, StoreConfig};
use crate::error::StorageError;
use crate::format::FormatError;
use crate::format::check::SegmentId;
use crate::format::checkpoint::{Checkpoint, PartitionCheckpoint};
use crate::format::commit::{EntryHeader, EntryKind, parse_commit};
use crate::format::producers::ProducerSnapshot;
use crate::partition::{BatchRef, Slices, align_up};
use crate::producers::{ProducerLimits, ProducerState};
use crate::recover::AssignedIds;
use crate::scan::CommitRef;
use crate::segment::{Growth, SegmentFiles};

/// One segment as recovery found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredSegment {
    /// Offset of its first record.
    pub base: Offset,
    /// Valid bytes in the file, whole blocks.
    pub bytes: u64,
    /// Offset after its last batch, the tail included for the last segment.
    pub end_offset: Offset,
    /// Largest timestamp of its batches, in milliseconds.
    pub max_timestamp: i64,
}

/// One partition as recovery found it; `Send`, to be handed to its owner shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredPartition {
    /// Which one.
    pub id: PartitionId,
    /// Raised whenever the partition changes its shard.
    pub ownership_epoch: u32,
    /// Epoch of its last batch.
    pub leader_epoch: LeaderEpoch,
    /// First offset kept.
    pub log_start: Offset,
    /// Offset after the last batch.
    pub end_offset: Offset,
    /// Its segments, oldest first.
    pub segments: Vec<RecoveredSegment>,
    /// Stored bytes behind the last segment's valid bytes.
    pub tail: Vec<u8>,
    /// Where the first batch that starts in the tail stands; the tail's length if none does.
    pub tail_first_batch: usize,
    /// What it remembers of idempotent producers, at `end_offset`.
    pub producers: ProducerState,
}

impl RecoveredPartition {
    /// A partition without a record.
    pub fn empty(id: PartitionId) -> Self {
        Self {
            id,
            ownership_epoch: 0,
            leader_epoch: LeaderEpoch(0),
            log_start: Offset::ZERO,
            end_offset: Offset::ZERO,
            segments: Vec::new(),
            tail: Vec::new(),
            tail_first_batch: 0,
            producers: ProducerState::default(),
        }
    }
}

/// A partition while entries are applied to it.
struct Replayed {
    state: RecoveredPartition,
    replay_from: u64,
    /// Commit in which the last carry, truncation or drop began. Entries in front of it in that same commit are as
    /// obsolete as those of earlier commits.
    begun: u64,
    /// Base of the first segment there is, known here or not: entries of earlier ones are settled or gone.
    first_base: Offset,
    /// Bases of the segments that the checkpoint knew without a byte.
    unwritten: Vec<Offset>,
    /// Batches that start in the tail, positions counted from the segment's first byte.
    batches: VecDeque<BatchRef>,
    /// An entry whose last fragment has not come yet.
    open: Option<(EntryHeader, Vec<u8>)>,
    /// Where `state.producers` stands: batches below it are in there.
    producers_end: Offset,
}

impl Replayed {
    fn empty(id: PartitionId, sequence: u64) -> Self {
        Self {
            state: RecoveredPartition::empty(id),
            replay_from: sequence,
            begun: sequence,
            first_base: Offset::ZERO,
            unwritten: Vec::new(),
            batches: VecDeque::new(),
            open: None,
            producers_end: Offset::ZERO,
        }
    }

    /// Rolls the producers forward by one batch of the log. A carry brings no batch that did not come as data.
    fn roll_producers(&mut self, payload: &[u8], written_at_ms: i64, limits: ProducerLimits) {
        let Ok(batch) = parse_header(payload) else { return };
        if batch.base_offset >= self.producers_end {
            self.state.producers.replay(&batch, written_at_ms, limits);
            self.producers_end = batch.end_offset();
        }
    }

    fn valid_bytes(&self) -> u64 {
        self.state.segments.last().map_or(0, |segment| segment.bytes)
    }

    /// A log that ends exactly where a segment was opened goes on in that segment: the one before may be padded to its
    /// block already, and nothing may ever be appended behind padding.
    fn reopen_unwritten(&mut self) {
        let state = &mut self.state;
        let last = state.segments.last().map(|segment| segment.base);
        if state.tail.is_empty()
            && last.is_some_and(|base| base < state.end_offset)
            && self.unwritten.contains(&state.end_offset)
        {
            let base = state.end_offset;
            state.segments.push(RecoveredSegment { base, bytes: 0, end_offset: base, max_timestamp: i64::MIN });
        }
    }

    fn tail_end(&self) -> u64 {
        self.valid_bytes() + self.state.tail.len() as u64
    }
}

/// See the module.
pub(crate) struct Replay<'a> {
    files: SegmentFiles,
    limits: ProducerLimits,
    tail_bytes_max: usize,
    tail_bytes: usize,
    live: &'a BTreeMap<PartitionId, PartitionConfig>,
    assigned: AssignedIds,
    truncated: &'a BTreeMap<PartitionId, u64>,
    partitions: BTreeMap<PartitionId, Replayed>,
}

impl<'a> Replay<'a> {
    /// Starts from a checkpoint.
    ///
    /// # Errors
    /// A producer snapshot in it is none.
    pub(crate) fn new(
        shard: &Shard,
        data_dir: &std::path::Path,
        config: &StoreConfig,
        checkpoint: &Checkpoint,
        live: &'a BTreeMap<PartitionId, PartitionConfig>,
        assigned: AssignedIds,
        truncated: &'a BTreeMap<PartitionId, u64>,
    ) -> Result<Self, FormatError> {
        let partitions: Result<_, FormatError> = checkpoint
            .partitions
            .iter()
            .filter(|partition| live.contains_key(&partition.partition))
            .map(|partition| Ok((partition.partition, restore(partition)?)))
            .collect();
        Ok(Self {
            limits: config.producers,
            files: SegmentFiles::new(shard, data_dir, config.segments_open_max),
            tail_bytes_max: (config.dirty_bytes_max / 2).min(config.journal_bytes_max as usize / 4),
            tail_bytes: 0,
            live,
            assigned,
            truncated,
            partitions: partitions?,
        })
    }

    /// Applies every entry of one commit. Returns how many there were.
    pub(crate) async fn apply_commit(
        &mut self,
        bytes: &[u8],
        commit: &CommitRef,
        path: &std::path::Path,
    ) -> Result<u64, StorageError> {
        let at = |detail: String| StorageError::Corrupt {
            what: "journal entry",
            path: path.to_owned(),
            position: commit.position,
            detail,
        };
        let parsed = parse_commit(bytes).map_err(|error| at(error.to_string()))?;
        let written_at_ms = parsed.header().fields.written_at_ms;
        let mut count = 0;
        for entry in parsed.entries() {
            let (header, payload) = entry.map_err(|error| at(error.to_string()))?;
            count += 1;
            let id = header.partition;
            if !self.live.contains_key(&id) {
                if id < self.assigned.next {
                    continue; // b
                }
                return Err(at(format!("partition {id} was never assigned")));
            }
            let partition = self.partitions.entry(id).or_insert_with(|| Replayed::empty(id, 0));
            // Before a truncation everything below its cut was synced and checkpointed; the rest is cut away.
            let truncated = self.truncated.get(&id).copied().unwrap_or(0);
            let replay_from = partition.replay_from.max(truncated);
            let begins_anew = match header.kind {
                EntryKind::Truncate => true,
                // One that was queued before the last truncation and shares its commit is cut away with the rest.
                EntryKind::Carry => truncated != commit.sequence || partition.begun == commit.sequence,
                _ => false,
            };
            if header.first_fragment && begins_anew {
                partition.begun = commit.sequence;
            }
            if commit.sequence < replay_from || (commit.sequence == replay_from && partition.begun < replay_from) {
                continue; // c
            }
            let before = partition.state.tail.len();
            let problem = match assemble(partition, &header, payload) {
                Assembled::Whole(header, payload) => {
                    let problem = apply(&self.files, partition, &header, &payload, commit.sequence).await?;
                    if problem.is_none() && header.kind == EntryKind::Data {
                        partition.roll_producers(&payload, written_at_ms, self.limits);
                    }
                    problem
                }
                Assembled::Partial => None,
                Assembled::Orphan => orphan(partition, &header, payload.len()), // d
            };
            if let Some(problem) = problem {
                let state = &partition.state;
                return Err(at(format!(
                    "{problem}: {header:?} of {} bytes after end offset {} in {:?} with a tail of {} bytes",
                    payload.len(),
                    state.end_offset,
                    state.segments.last(),
                    state.tail.len()
                )));
            }
            self.tail_bytes = self.tail_bytes + partition.state.tail.len() - before;
        }
        if self.tail_bytes > self.tail_bytes_max {
            self.flush_tails().await?;
        }
        Ok(count)
    }

    async fn flush_tails(&mut self) -> Result<(), StorageError> {
        self.tail_bytes = 0;
        for partition in self.partitions.values_mut() {
            flush_blocks(&self.files, partition).await?;
            self.tail_bytes += partition.state.tail.len();
        }
        Ok(())
    }

    /// Writes large tails into their segments, syncs everything and hands the partitions over.
    pub(crate) async fn finish(mut self) -> Result<Vec<(PartitionId, RecoveredPartition)>, StorageError> {
        for partition in self.partitions.values_mut() {
            if partition.state.tail.len() >= CARRY_BYTES_MAX {
                flush_blocks(&self.files, partition).await?;
            }
        }
        for segment in self.files.dirty(|_| true) {
            self.files.with_reserves_of_before(async || segment.sync().await).await?;
        }
        self.files.with_reserves_of_before(async || self.files.sync_directories().await).await?;
        let partitions = self.partitions.into_iter().map(|(id, mut partition)| {
            partition.reopen_unwritten();
            let valid = partition.valid_bytes();
            let tail_bytes = partition.state.tail.len();
            partition.state.tail_first_batch =
                partition.batches.front().map_or(tail_bytes, |batch| (batch.position - valid) as usize);
            (id, partition.state)
        });
        Ok(partitions.collect())
    }
}

fn restore(checkpoint: &PartitionCheckpoint) -> Result<Replayed, FormatError> {
    let mut segments: Vec<RecoveredSegment> = checkpoint
        .segments
        .iter()
        .map(|segment| RecoveredSegment {
            base: segment.base_offset,
            bytes: segment.bytes,
            end_offset: segment.record_end_offset,
            max_timestamp: segment.max_timestamp,
        })
        .collect();
    // Segments without a synced byte exist only in the journal; replay opens them again.
    let first_base = segments.first().map_or(Offset::ZERO, |segment| segment.base);
    let mut unwritten = Vec::new();
    while segments.last().is_some_and(|segment| segment.bytes == 0) {
        unwritten.extend(segments.pop().map(|segment| segment.base));
    }
    let (producers_end, producers) = match checkpoint.producers.as_slice() {
        [] => (Offset::ZERO, ProducerState::default()),
        bytes => {
            let snapshot = ProducerSnapshot::decode(bytes)?;
            (snapshot.end_offset, ProducerState::from_snapshot(snapshot))
        }
    };
    Ok(Replayed {
        state: RecoveredPartition {
            id: checkpoint.partition,
            ownership_epoch: checkpoint.ownership_epoch,
            leader_epoch: checkpoint.leader_epoch,
            log_start: checkpoint.log_start,
            end_offset: checkpoint.end_offset,
            segments,
            tail: Vec::new(),
            tail_first_batch: 0,
            producers,
        },
        replay_from: checkpoint.replay_from,
        first_base,
        unwritten,
        begun: 0,
        batches: VecDeque::new(),
        open: None,
        producers_end,
    })
}

enum Assembled<'a> {
    Whole(EntryHeader, std::borrow::Cow<'a, [u8]>),
    Partial,
    Orphan,
}

/// Joins fragments (rule J14): an entry exists only when its last fragment does.
fn assemble<'a>(partition: &mut Replayed, header: &EntryHeader, payload: &'a [u8]) -> Assembled<'a> {
    if header.first_fragment && header.last_fragment {
        partition.open = None;
        return Assembled::Whole(*header, payload.into());
    }
    if header.first_fragment {
        partition.open = Some((*header, payload.to_vec()));
        return Assembled::Partial;
    }
    match partition.open.take() {
        Some((first, mut bytes)) if first.kind == header.kind => {
            bytes.extend_from_slice(payload);
            if header.last_fragment {
                return Assembled::Whole(first, bytes.into());
            }
            partition.open = Some((first, bytes));
            Assembled::Partial
        }
        _ => Assembled::Orphan,
    }
}

fn orphan(partition: &Replayed, header: &EntryHeader, bytes: usize) -> Option<&'static str> {
    let segment = partition.state.segments.iter().find(|segment| segment.base == header.segment_base);
    let synced = segment.is_some_and(|segment| header.position + bytes as u64 <= segment.bytes);
    let newer = match partition.state.segments.last() {
        Some(last) => last.base > header.segment_base,
        None => partition.first_base > header.segment_base,
    };
    (header.kind == EntryKind::Data && !synced && !newer).then_some("fragment without its beginning")
}

/// One whole entry. Returns what is wrong with it, if anything.
async fn apply(
    files: &SegmentFiles,
    partition: &mut Replayed,
    header: &EntryHeader,
    payload: &[u8],
    sequence: u64,
) -> Result<Option<&'static str>, StorageError> {
    match header.kind {
        EntryKind::Data => apply_data(files, partition, header, payload).await,
        EntryKind::Carry => apply_carry(files, partition, header, payload).await, // j
        EntryKind::Truncate => {
            (partition.replay_from, partition.begun) = (sequence, sequence);
            apply_truncate(files, partition, header, payload).await // k
        }
        EntryKind::LogStart => {
            // l
            let state = &mut partition.state;
            state.log_start = state.log_start.max(header.base_offset);
            let keep = state.segments.iter().rposition(|segment| segment.base <= state.log_start).unwrap_or(0);
            state.segments.drain(..keep.min(state.segments.len().saturating_sub(1)));
            if let Some(first) = state.segments.first() {
                partition.first_base = partition.first_base.max(first.base);
            }
            Ok(None)
        }
        EntryKind::Drop => {
            // m
            *partition = Replayed::empty(partition.state.id, sequence);
            Ok(None)
        }
        EntryKind::Handoff => Ok(None),
    }
}

/// Makes the segment the last one, rolling into it if it is new. `None`: the entry belongs to an older, full segment.
async fn enter_segment(
    files: &SegmentFiles,
    partition: &mut Replayed,
    base: Offset,
) -> Result<Option<()>, StorageError> {
    match partition.state.segments.last().map(|last| last.base) {
        Some(last) if last == base => return Ok(Some(())),
        Some(last) if last > base => return Ok(None),
        None if partition.first_base > base => return Ok(None),
        _ => {}
    }
    // h: a rolled segment is padded to the block and leaves nothing behind.
    let padded = align_up(partition.tail_end()) - partition.valid_bytes();
    partition.state.tail.resize(padded as usize, 0);
    flush_blocks(files, partition).await?;
    partition.batches.clear();
    partition.state.segments.push(RecoveredSegment { base, bytes: 0, end_offset: base, max_timestamp: i64::MIN });
    Ok(Some(()))
}

async fn apply_data(
    files: &SegmentFiles,
    partition: &mut Replayed,
    header: &EntryHeader,
    payload: &[u8],
) -> Result<Option<&'static str>, StorageError> {
    let Ok(batch) = parse_header(payload) else { return Ok(Some("payload is no batch")) };
    if batch.base_offset != header.base_offset
        || batch.end_offset() != header.end_offset
        || batch.total_bytes() != payload.len()
    {
        return Ok(Some("batch and entry disagree"));
    }
    if enter_segment(files, partition, header.segment_base).await?.is_none() {
        return Ok(None); // e, in an older segment
    }
    let (valid, tail_end) = (partition.valid_bytes(), partition.tail_end());
    let end = header.position + payload.len() as u64;
    if end <= valid {
        // e
    } else if header.position < valid && partition.state.tail.is_empty() {
        partition.state.tail.extend_from_slice(&payload[(valid - header.position) as usize..]); // f
    } else if header.position == tail_end {
        if header.base_offset != partition.state.end_offset {
            return Ok(Some("offset does not follow the last one"));
        }
        partition.state.tail.extend_from_slice(payload); // g
        partition.batches.push_back(batch_ref(&batch, header.position));
    } else {
        return Ok(Some("position leaves a gap or an overlap")); // i
    }
    let state = &mut partition.state;
    state.end_offset = state.end_offset.max(header.end_offset);
    state.leader_epoch = state.leader_epoch.max(header.leader_epoch);
    state.ownership_epoch = state.ownership_epoch.max(header.ownership_epoch);
    if let Some(segment) = state.segments.last_mut() {
        segment.end_offset = segment.end_offset.max(header.end_offset);
        segment.max_timestamp = segment.max_timestamp.max(batch.max_timestamp);
    }
    Ok(None)
}

fn batch_ref(batch: &ouzel_protocol::batch::BatchHeader, position: u64) -> BatchRef {
    BatchRef {
        base_offset: batch.base_offset,
        end_offset: batch.end_offset(),
        position,
        bytes: batch.total_bytes() as u32,
        max_timestamp: batch.max_timestamp,
    }
}

/// The first bytes of the payload of carries and truncations: where in the stored bytes the first batch starts (u32), and
/// how long the producer snapshot is that stands before them (u32; carries have none).
pub(crate) fn carried_prefix(first_batch: u64, producer_bytes: usize) -> [u8; 8] {
    let whole = "segments are addressed by 32 bits";
    let mut prefix = [0; 8];
    prefix[..4].copy_from_slice(&u32::try_from(first_batch).expect(whole).to_le_bytes());
    prefix[4..].copy_from_slice(&u32::try_from(producer_bytes).expect("producers are limited").to_le_bytes());
    prefix
}

/// Splits such a payload: where the first batch starts, the producer snapshot, the stored bytes.
fn split_carried(payload: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (first_batch, rest) = payload.split_first_chunk::<4>()?;
    let (producer_bytes, rest) = rest.split_first_chunk::<4>()?;
    let first_batch = usize::try_from(u32::from_le_bytes(*first_batch)).ok()?;
    let producer_bytes = usize::try_from(u32::from_le_bytes(*producer_bytes)).ok()?;
    let (producers, bytes) = rest.split_at_checked(producer_bytes)?;
    (first_batch <= bytes.len()).then_some((first_batch, producers, bytes))
}

/// Puts `bytes` at byte `position` of the last segment, replacing whatever the tail holds from there on.
fn replace_tail(partition: &mut Replayed, position: u64, first_batch: usize, bytes: &[u8]) -> Option<&'static str> {
    let valid = partition.valid_bytes();
    let (skip, keep) = if position < valid { (valid - position, 0) } else { (0, position - valid) };
    if keep > partition.state.tail.len() as u64 {
        return Some("carried bytes leave a gap");
    }
    partition.state.tail.truncate(keep as usize);
    partition
        .batches
        .retain(|batch| batch.position + u64::from(batch.bytes) <= valid + keep || batch.position < position);
    let new = bytes.get(skip as usize..).unwrap_or_default();
    partition.state.tail.extend_from_slice(new);
    let mut at = position + first_batch as u64;
    for batch in batches(bytes.get(first_batch..).unwrap_or(&[])) {
        let Ok((batch, stored)) = batch else { return Some("carried bytes are no batches") };
        if at >= valid && partition.batches.back().is_none_or(|last| last.position < at) {
            partition.batches.push_back(batch_ref(&batch, at));
        }
        at += stored.len() as u64;
        if let Some(segment) = partition.state.segments.last_mut() {
            segment.max_timestamp = segment.max_timestamp.max(batch.max_timestamp);
        }
    }
    (at != position + bytes.len() as u64).then_some("carried bytes end inside a batch")
}

async fn apply_carry(
    files: &SegmentFiles,
    partition: &mut Replayed,
    header: &EntryHeader,
    payload: &[u8],
) -> Result<Option<&'static str>, StorageError> {
    let Some((first_batch, [], bytes)) = split_carried(payload) else { return Ok(Some("carry without its prefix")) };
    if enter_segment(files, partition, header.segment_base).await?.is_none() {
        return Ok(None);
    }
    if header.position + bytes.len() as u64 <= partition.valid_bytes() {
        return Ok(None);
    }
    let problem = replace_tail(partition, header.position, first_batch, bytes);
    let state = &mut partition.state;
    state.end_offset = header.end_offset;
    state.leader_epoch = state.leader_epoch.max(header.leader_epoch);
    state.ownership_epoch = state.ownership_epoch.max(header.ownership_epoch);
    if let Some(segment) = state.segments.last_mut() {
        segment.end_offset = header.end_offset;
    }
    Ok(problem)
}

async fn apply_truncate(
    files: &SegmentFiles,
    partition: &mut Replayed,
    header: &EntryHeader,
    payload: &[u8],
) -> Result<Option<&'static str>, StorageError> {
    let Some((first_batch, producers, bytes)) = split_carried(payload) else {
        return Ok(Some("truncation without its prefix"));
    };
    let producers = match producers {
        [] => ProducerSnapshot { end_offset: header.end_offset, producers: Vec::new() },
        bytes => match ProducerSnapshot::decode(bytes) {
            Ok(snapshot) if snapshot.end_offset == header.end_offset => snapshot,
            _ => return Ok(Some("truncation without its producers")),
        },
    };
    if partition.first_base > header.segment_base {
        // The log start has moved past the cut since: what the checkpoint knows was all appended after it.
        return Ok(None);
    }
    while partition.state.segments.last().is_some_and(|last| last.base > header.segment_base) {
        partition.state.segments.pop();
        partition.state.tail.clear();
        partition.batches.clear();
    }
    files.forget(partition.state.id, header.segment_base);
    enter_segment(files, partition, header.segment_base).await?;
    let segment = partition.state.segments.last_mut().expect("entered");
    if header.position > segment.bytes {
        return Ok(Some("truncation behind the checkpoint"));
    }
    // Ranges behind the cut may be gone or rewritten already: the side file is opened with the cut, never with more.
    segment.bytes = header.position;
    partition.state.tail.clear();
    partition.batches.clear();
    let problem = replace_tail(partition, header.position, first_batch, bytes);
    partition.producers_end = producers.end_offset;
    let state = &mut partition.state;
    state.producers = ProducerState::from_snapshot(producers);
    state.end_offset = header.end_offset;
    if let Some(segment) = state.segments.last_mut() {
        segment.end_offset = header.end_offset.max(segment.base);
    }
    Ok(problem)
}

/// Writes every whole block of the tail into the last segment; the rest stays.
async fn flush_blocks(files: &SegmentFiles, partition: &mut Replayed) -> Result<(), StorageError> {
    let whole = partition.state.tail.len() / BLOCK * BLOCK;
    if whole == 0 {
        return Ok(());
    }
    let segment = partition.state.segments.last().expect("a tail belongs to a segment");
    let id = SegmentId { partition: partition.state.id, base: segment.base };
    let extent = || Ok((segment.bytes, segment.max_timestamp));
    let open = files.with_reserves_of_before(async || files.get(id, extent).await).await?;
    let mut position = segment.bytes;
    for piece in partition.state.tail[..whole].chunks(SEGMENT_WRITE_BYTES_MAX) {
        let end = position + piece.len() as u64;
        let mut chunk = TailChunk::with_capacity(piece.len());
        chunk.append(piece);
        let starting: Vec<BatchRef> = partition
            .batches
            .iter()
            .filter(|batch| batch.position >= position && batch.position < end)
            .copied()
            .collect();
        let parts: Slices = [chunk.slice(0..piece.len())].into_iter().collect();
        let checksums = block_checksums::of_bytes(piece);
        // A disk may be full at a start as well, and others will need what is left.
        let write = async || open.write(position, parts.clone(), &checksums, 0, &starting, Growth::Exact).await;
        files.with_reserves_of_before(write).await?;
        position = end;
    }
    partition.state.tail.drain(..whole);
    partition.batches.retain(|batch| batch.position >= position);
    partition.state.segments.last_mut().expect("still there").bytes = position;
    Ok(())
}

#[cfg(test)]
mod tests;

//! One partition in memory: its segments, its tail chunks and every position of its log. Lives on the owner shard.
//! Does no I/O and never waits: the commit loop, the flusher and the readers move its positions.
//!
//! ## Positions
//!
//! A partition's stored bytes form one *log position* space: segment after segment, each starting on a block boundary
//! (a rolled segment is padded with zeros to the block). Positions are rebuilt at every start; on disk only
//! (segment base, byte in segment) exist. At all times
//!
//! ```text
//! synced <= written <= flush_floor(durable) <= durable <= appended
//! ```
//!
//! - `appended`: where the next batch goes. Readers never see this far.
//! - `durable`: end of the last batch whose journal commit is synced. The high watermark of a single node.
//! - `written`: bytes whose write into a segment file completed. Always a block boundary.
//! - `synced`: bytes whose segment and side file were fdatasynced. What a checkpoint may claim (rule J5).
//!
//! (A rolled segment's padding is written with it, so `written` may pass `durable` by less than a block.)
//! Bytes from `synced` on are in `chunks`, always; earlier ones are there while the cache keeps them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use ouzel_protocol::batch::BatchHeader;
use ouzel_protocol::{LeaderEpoch, Offset, PartitionId};
use ouzel_runtime::sync::Notify;
use ouzel_runtime::{ChunkLedger, SharedSlice, TailChunk, prefetch};
use smallvec::SmallVec;

use crate::block_checksums::BlockChecksums;
use crate::config::{BLOCK, CHUNK_BYTES_MAX, PartitionConfig, SEGMENT_WRITE_BYTES_MAX};
use crate::meter::PartitionTraffic;
use crate::producers::ProducerState;
use crate::ranks::Ranked;

/// Rounds up to the block.
pub(crate) fn align_up(position: u64) -> u64 {
    position.next_multiple_of(BLOCK as u64)
}

/// Rounds down to the block.
pub(crate) fn align_down(position: u64) -> u64 {
    position / BLOCK as u64 * BLOCK as u64
}

/// A range of the log as pieces of its chunks; most ranges lie in one chunk or cross one boundary.
pub(crate) type Slices = SmallVec<[SharedSlice; 2]>;

/// One segment file's place in the log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Offset of its first record; its file name.
    pub(crate) base: Offset,
    /// Log position of its first byte; a block boundary.
    pub(crate) start: u64,
    /// Log position after its last batch.
    pub(crate) end: u64,
    /// Offset after its last batch.
    pub(crate) end_offset: Offset,
    /// Largest timestamp of its batches, in milliseconds; `i64::MIN` while empty.
    pub(crate) max_timestamp: i64,
}

/// One batch whose bytes are in the chunks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchRef {
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) position: u64,
    pub(crate) bytes: u32,
    pub(crate) max_timestamp: i64,
}

struct Chunk {
    start: u64,
    bytes: TailChunk,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// Where a batch landed.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) base_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) segment_base: Offset,
    /// Byte position in the segment.
    pub(crate) position: u64,
    /// Log position after the batch.
    pub(crate) end: u64,
    /// The stored bytes, in order.
    pub(crate) parts: Slices,
}

/// A block-aligned piece of the log on its way into a segment file.
#[derive(Debug)]
pub(crate) struct FlushPiece {
    pub(crate) segment_base: Offset,
    /// Byte position in the segment.
    pub(crate) position: u64,
    /// Its bytes, chunk by chunk; each part is whole blocks.
    pub(crate) parts: Slices,
    /// Checksum of each of its blocks.
    pub(crate) checksums: Vec<u32>,
    /// Batches that start in the piece, for the index.
    pub(crate) batches: Vec<BatchRef>,
    /// Log position after the piece.
    pub(crate) end: u64,
}

/// The unsynced rest of a partition, to be journaled again.
#[derive(Debug)]
pub(crate) struct Carry {
    pub(crate) segment_base: Offset,
    /// Byte position in the segment; a block boundary.
    pub(crate) position: u64,
    /// Bytes before the first batch that starts in the carry.
    pub(crate) first_batch: u64,
    /// Log position after the carry.
    pub(crate) end: u64,
    pub(crate) end_offset: Offset,
    pub(crate) parts: Slices,
}

/// Why appends to a partition wait or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// A truncation is between its entry and its last effect; appends and flushes wait.
    Truncating,
    /// Dropped: nothing is accepted any more.
    Dropped,
}

pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) config: PartitionConfig,
    pub(crate) phase: Phase,
    pub(crate) ownership_epoch: u32,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) log_start: Offset,
    /// Offset the next batch gets.
    pub(crate) end_offset: Offset,
    /// Offset after the last durable batch.
    pub(crate) durable_end: Offset,
    /// Oldest first; the last one takes appends. Empty until the first batch.
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) appended: u64,
    pub(crate) durable: u64,
    pub(crate) written: u64,
    pub(crate) synced: u64,
    /// Entries of this partition in commits below this sequence are obsolete (truncated, or carried since).
    pub(crate) replay_from: u64,
    /// How often the log was cut: what was seen before a cut says nothing about the log after it.
    pub(crate) cuts: u64,
    /// A flush of this partition is in flight.
    pub(crate) flushing: bool,
    /// Which of the flush ranks name this partition (`ranks.rs`).
    pub(crate) ranked: Ranked,
    /// Largest chunk that its next ones grow to, in bytes; a power of two.
    pub(crate) chunk_bytes_max: usize,
    /// Journal files that cover log positions: (file number, position after the last byte it covers).
    coverage: VecDeque<(u64, u64)>,
    chunks: VecDeque<Chunk>,
    /// Counts the memory of the chunks.
    ledger: Arc<ChunkLedger>,
    /// Capacity of all chunks together, in bytes.
    cached_bytes: usize,
    batches: VecDeque<BatchRef>,
    /// Checksums of the bytes from `written` on.
    checksums: BlockChecksums,
    /// The idempotent producers of the log as it is appended.
    pub(crate) producers: ProducerState,
    /// What was appended since the start.
    pub(crate) traffic: PartitionTraffic,
    /// Fires whenever `durable_end` or the phase changes.
    pub(crate) moved: Rc<Notify>,
}

impl Partition {
    pub(crate) fn new(id: PartitionId, config: PartitionConfig, ledger: Arc<ChunkLedger>) -> Self {
        Self {
            ledger,
            id,
            config,
            phase: Phase::Open,
            ownership_epoch: 0,
            leader_epoch: LeaderEpoch(0),
            log_start: Offset::ZERO,
            end_offset: Offset::ZERO,
            durable_end: Offset::ZERO,
            segments: VecDeque::new(),
            appended: 0,
            durable: 0,
            written: 0,
            synced: 0,
            replay_from: 0,
            cuts: 0,
            flushing: false,
            ranked: Ranked::default(),
            chunk_bytes_max: CHUNK_BYTES_MAX,
            coverage: VecDeque::new(),
            chunks: VecDeque::new(),
            cached_bytes: 0,
            batches: VecDeque::new(),
            checksums: BlockChecksums::default(),
            producers: ProducerState::default(),
            traffic: PartitionTraffic::default(),
            moved: Rc::new(Notify::new()),
        }
    }

    /// Stored bytes, all segments, padding of rolled ones included.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.durable.saturating_sub(self.segments.front().map_or(0, |segment| segment.start))
    }

    /// Appended bytes that no segment file holds yet.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.appended - self.written
    }

    /// Bytes that could be written into segments now.
    pub(crate) fn flushable_bytes(&self) -> u64 {
        align_down(self.durable).saturating_sub(self.written)
    }

    /// Places one batch at the end of the log, rolling the segment first where it would outgrow its limit.
    /// Only bytes 0..16 (base offset, leader epoch) differ from what the producer sent.
    pub(crate) fn append(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        epoch: LeaderEpoch,
        segment_bytes: u64,
    ) -> Placed {
        let base_offset = self.end_offset;
        self.roll_if_needed(batch.len() as u64, segment_bytes);
        let prefix = ouzel_protocol::batch::patched_prefix(header, base_offset, epoch);
        let start = self.appended;
        self.push_bytes(&prefix);
        self.push_bytes(&batch[prefix.len()..]);
        let end_offset = base_offset + u64::from(header.last_offset_delta) + 1;
        self.leader_epoch = epoch;
        self.note_batch(BatchRef {
            base_offset,
            end_offset,
            position: start,
            bytes: batch.len() as u32,
            max_timestamp: header.max_timestamp,
        });
        let segment = self.segments.back().expect("roll_if_needed opened a segment");
        Placed {
            base_offset,
            end_offset,
            segment_base: segment.base,
            position: start - segment.start,
            end: self.appended,
            parts: self.slices(start, self.appended),
        }
    }

    /// Asks the core's cache for what an append of `bytes` is about to touch beside the partition itself.
    pub(crate) fn prefetch_append(&self, bytes: usize) {
        if let Some(chunk) = self.chunks.back() {
            chunk.bytes.prefetch_append(bytes);
        }
        if let Some(segment) = self.segments.back() {
            prefetch(segment);
        }
        if let Some(batch) = self.batches.back() {
            prefetch(batch);
        }
    }

    fn note_batch(&mut self, batch: BatchRef) {
        debug_assert_eq!(batch.base_offset, self.end_offset);
        self.end_offset = batch.end_offset;
        let segment = self.segments.back_mut().expect("a batch lies in a segment");
        segment.end = batch.position + u64::from(batch.bytes);
        segment.end_offset = batch.end_offset;
        segment.max_timestamp = segment.max_timestamp.max(batch.max_timestamp);
        self.batches.push_back(batch);
    }

    fn roll_if_needed(&mut self, batch_bytes: u64, segment_bytes: u64) {
        let roll = match self.segments.back() {
            None => true,
            Some(active) => active.end > active.start && active.end - active.start + batch_bytes > segment_bytes,
        };
        if roll {
            let padding = (align_up(self.appended) - self.appended) as usize;
            self.push_bytes(&[0; BLOCK][..padding]);
            self.segments.push_back(Segment {
                base: self.end_offset,
                start: self.appended,
                end: self.appended,
                end_offset: self.end_offset,
                max_timestamp: i64::MIN,
            });
        }
    }

    /// Copies bytes to the end of the log: the one payload copy between the request and the disk image.
    fn push_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.chunks.back().map_or(0, |chunk| chunk.bytes.remaining());
            if room == 0 {
                debug_assert!(self.appended.is_multiple_of(BLOCK as u64), "chunks begin on block boundaries");
                let last = self.chunks.back().map_or(0, |chunk| chunk.bytes.capacity());
                // Powers of two: memory of that size is reused.
                let capacity = bytes.len().max(last * 2).clamp(BLOCK, self.chunk_bytes_max).next_power_of_two();
                self.cached_bytes += capacity;
                self.chunks
                    .push_back(Chunk { start: self.appended, bytes: TailChunk::counted_in(capacity, &self.ledger) });
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            let chunk = self.chunks.back_mut().expect("a chunk with room exists");
            chunk.bytes.append(now);
            self.checksums.append(now);
            self.appended += now.len() as u64;
            bytes = later;
        }
    }

    /// Restores the unflushed tail after recovery: `tail` begins on the block boundary where the segment file ends.
    pub(crate) fn restore_tail(&mut self, tail: &[u8], batches: impl Iterator<Item = BatchRef>) {
        debug_assert_eq!(self.appended, self.written);
        self.push_bytes(tail);
        self.batches.extend(batches);
    }

    /// The bytes of `from..to` (log positions), which must be cached, as few slices as chunks.
    pub(crate) fn slices(&self, from: u64, to: u64) -> Slices {
        // Most ranges begin in the last chunk or the one before it: what was just appended.
        let recent = self.chunks.len().saturating_sub(2);
        let first = match self.chunks.get(recent) {
            Some(chunk) if chunk.start <= from => recent + usize::from(chunk.end() <= from),
            _ => self.chunks.partition_point(|chunk| chunk.end() <= from),
        };
        let mut slices = Slices::new();
        for chunk in self.chunks.range(first..) {
            if chunk.start >= to {
                break;
            }
            let begin = from.max(chunk.start) - chunk.start;
            let end = to.min(chunk.end()) - chunk.start;
            slices.push(chunk.bytes.slice(begin as usize..end as usize));
        }
        debug_assert_eq!(
            slices.iter().map(|slice| slice.len() as u64).sum::<u64>(),
            to - from,
            "cached bytes without a gap"
        );
        slices
    }

    /// Appends to `pieces` the cached batches from the one that holds `offset` on, as long as they are durable. `None`,
    /// and nothing appended, where the cache does not reach back that far. Takes at least one batch if `at_least_one`,
    /// else at most `bytes_max`.
    pub(crate) fn cached_from(
        &self,
        offset: Offset,
        bytes_max: usize,
        at_least_one: bool,
        pieces: &mut Vec<SharedSlice>,
    ) -> Option<()> {
        if self.batches.front()?.base_offset > offset {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.end_offset <= offset);
        let from = self.batches.get(first)?.position;
        let mut to = from;
        let mut piece_from = from;
        let mut taken = 0u64;
        for batch in self.batches.range(first..) {
            let batch_end = batch.position + u64::from(batch.bytes);
            let fits = taken + u64::from(batch.bytes) <= bytes_max as u64 || (taken == 0 && at_least_one);
            if batch_end > self.durable || !fits {
                break;
            }
            if batch.position != to {
                // A roll left padding between two batches; it is not part of any batch.
                pieces.extend(self.slices(piece_from, to));
                piece_from = batch.position;
            }
            to = batch_end;
            taken += u64::from(batch.bytes);
        }
        if to > piece_from {
            pieces.extend(self.slices(piece_from, to));
        }
        Some(())
    }

    /// Log position where the batch that straddles `synced` ends: what a disk read must add from memory to end
    /// on a whole batch.
    pub(crate) fn straddle_end(&self) -> u64 {
        let first = self.batches.partition_point(|batch| batch.position < self.synced);
        let end = match self.batches.get(first) {
            Some(batch) => batch.position,
            None => self.segments.back().map_or(self.synced, |segment| segment.end),
        };
        // A roll's padding also lies between `synced` and the next batch; it ends no batch.
        let segment_end =
            self.segments.iter().find(|segment| segment.end >= self.synced).map_or(end, |segment| segment.end);
        end.min(segment_end).min(self.durable).max(self.synced)
    }

    /// What a carry re-journals: everything that no synced segment holds, in the active segment. What is appended but
    /// not yet durable belongs to it: its entries stand in front of the carry in the journal's order, and replay takes
    /// the carry for all that was before it.
    pub(crate) fn carry(&self) -> Option<Carry> {
        let active = self.segments.back()?;
        if self.synced < active.start || self.appended <= self.synced {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.position < self.synced);
        let first_batch = self.batches.get(first).map_or(self.appended, |batch| batch.position);
        Some(Carry {
            segment_base: active.base,
            position: self.synced - active.start,
            first_batch: first_batch - self.synced,
            end: self.appended,
            end_offset: self.end_offset,
            parts: self.slices(self.synced, self.appended),
        })
    }

    /// Offset after the last batch that ends at or below a log position in the cache.
    pub(crate) fn end_offset_at(&self, position: u64) -> Offset {
        let after = self.batches.partition_point(|batch| batch.position + u64::from(batch.bytes) <= position);
        match after.checked_sub(1).and_then(|last| self.batches.get(last)) {
            Some(batch) => batch.end_offset,
            // Nothing cached ends there: the first batch of the cache starts the rest, or there is no rest.
            None => self.batches.front().map_or(self.end_offset, |batch| batch.base_offset),
        }
    }

    /// Whether every byte up to `durable` lies in segments or is carried by files after `number`.
    pub(crate) fn is_pinned_by(&self, number: u64) -> bool {
        self.coverage.front().is_some_and(|(file, _)| *file <= number)
    }

    /// The journal file that pins this partition, the oldest one.
    pub(crate) fn pinned_by(&self) -> Option<u64> {
        self.coverage.front().map(|(file, _)| *file)
    }

    /// Records that journal file `number` holds this partition's bytes up to `end` (log position).
    pub(crate) fn cover(&mut self, number: u64, end: u64) {
        match self.coverage.back_mut() {
            Some((file, position)) if *file == number => *position = (*position).max(end),
            _ => self.coverage.push_back((number, end)),
        }
    }

    /// A carry in `number` re-journaled everything between `synced` and `end`: older files no longer pin it.
    pub(crate) fn cover_by_carry(&mut self, number: u64, end: u64) {
        self.coverage.retain(|(_, position)| *position > end);
        self.coverage.push_front((number, end));
        debug_assert!(self.coverage.iter().is_sorted(), "files in order of use");
    }

    /// Moves `written`: a segment file holds everything before `end`, a block boundary.
    pub(crate) fn write_to(&mut self, end: u64) {
        debug_assert!(end >= self.written);
        self.written = end;
        self.checksums.forget(end);
    }

    /// Moves `synced`; journal files all of whose bytes lie below it are unpinned.
    pub(crate) fn sync_to(&mut self, position: u64) {
        debug_assert!(position <= self.written);
        self.synced = self.synced.max(position);
        while self.coverage.front().is_some_and(|(_, end)| *end <= self.synced) {
            self.coverage.pop_front();
        }
    }

    /// The next piece to write into a segment file: durable whole blocks, at most one segment write.
    pub(crate) fn next_flush(&self) -> Option<FlushPiece> {
        let segment = self.segments.iter().find(|segment| align_up(segment.end) > self.written)?;
        let segment_limit = align_up(segment.end);
        let sealed = segment.base != self.segments.back().expect("not empty").base;
        let limit = if sealed && self.durable >= segment.end && self.appended >= segment_limit {
            segment_limit
        } else {
            align_down(self.durable).min(segment_limit)
        };
        let end = align_down(limit.min(self.written + SEGMENT_WRITE_BYTES_MAX as u64));
        if end <= self.written {
            return None;
        }
        let from = self.batches.partition_point(|batch| batch.position < self.written);
        let to = self.batches.partition_point(|batch| batch.position < end);
        let batches = self.batches.range(from..to).copied().collect();
        Some(FlushPiece {
            segment_base: segment.base,
            position: self.written - segment.start,
            parts: self.slices(self.written, end),
            checksums: self.checksums.of(self.written, end),
            batches,
            end,
        })
    }

    /// Drops the oldest cached chunk if it is clean and not the one that takes appends. Returns its capacity.
    pub(crate) fn evict_one(&mut self) -> Option<usize> {
        let front = self.chunks.front()?;
        if front.end() > self.synced {
            return None;
        }
        let chunk = self.chunks.pop_front()?;
        self.cached_bytes -= chunk.bytes.capacity();
        let cached_from = self.chunks.front().map_or(self.appended, |next| next.start);
        while self.batches.front().is_some_and(|batch| batch.position < cached_from) {
            self.batches.pop_front();
        }
        Some(chunk.bytes.capacity())
    }

    /// Whether a chunk could be evicted.
    pub(crate) fn has_clean(&self) -> bool {
        self.chunks.front().is_some_and(|chunk| chunk.end() <= self.synced)
    }

    /// Memory held by the chunks, in bytes.
    pub(crate) fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Everything durable up to here (commit order).
    pub(crate) fn advance_durable(&mut self, position: u64, end_offset: Offset) {
        assert!(position >= self.durable && position <= self.appended, "durable moves forward within the log");
        assert!(end_offset >= self.durable_end && end_offset <= self.end_offset, "offsets follow positions");
        self.durable = position;
        self.durable_end = end_offset;
        self.producers.settle(end_offset);
        self.moved.notify_all();
    }

    /// Forgets everything in memory and stands at `state` instead: the last effect of a truncation.
    pub(crate) fn reset_to(&mut self, segments: VecDeque<Segment>, written: u64, end_offset: Offset) {
        self.cuts += 1;
        self.segments = segments;
        self.chunks.clear();
        self.cached_bytes = 0;
        self.batches.clear();
        self.coverage.clear();
        self.appended = written;
        self.durable = written;
        self.written = written;
        self.checksums = BlockChecksums::starting_at(written);
        self.synced = written;
        self.end_offset = end_offset;
        self.durable_end = end_offset;
    }
}

//! Segment files and their two side files: opened on demand, kept in an LRU, appended by the flushers, synced by the
//! recycler, read by fetches. Lives on the owner shard. Knows nothing of offsets beyond what the index says.
//!
//! The `.check` side file is evidence: it is written and synced with the segment, before a checkpoint may claim the
//! bytes (rules F1, J5). The `.index` is derived: it is written beside them, synced only over an
//! older content, and rebuilt where it is missing or damaged.

mod files;
mod side;

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use ouzel_protocol::batch::parse_header;
use ouzel_protocol::{Offset, PartitionId};
use ouzel_runtime::{AlignedBuf, File};

use side::Side;

use crate::config::{BLOCK, INDEX_INTERVAL_BYTES};
use crate::error::StorageError;
use crate::format::check::{CHECK_RANGE_BYTES_MAX, CheckMap, CheckSlot, RangeCrc, SegmentId};
use crate::format::index::{IndexMap, IndexSlot};
use crate::mutation::{self, Mutation};
use crate::partition::{BatchRef, Slices};

pub(crate) use files::SegmentFiles;

/// Segment files grow by this much at a time, at most; smaller steps at first so that small partitions stay small.
const GROW_BYTES_MAX: u64 = 16 * 1024 * 1024;
const GROW_BYTES_MIN: u64 = 256 * 1024;

/// Directory of one partition.
pub(crate) fn partition_dir(data_dir: &Path, partition: PartitionId) -> PathBuf {
    data_dir.join("partitions").join(format!("{:016x}", partition.0))
}

/// Path of one file of a segment; `kind` is `segment`, `check` or `index`.
pub(crate) fn segment_path(data_dir: &Path, id: SegmentId, kind: &str) -> PathBuf {
    partition_dir(data_dir, id.partition).join(format!("{:016x}.{kind}", id.base.0))
}

/// Polls a future that has not ended yet, and keeps what it ends with.
fn poll_into<F: Future>(future: Pin<&mut F>, result: &mut Option<F::Output>, ctx: &mut Context<'_>) {
    if result.is_none()
        && let Poll::Ready(output) = future.poll(ctx)
    {
        *result = Some(output);
    }
}

/// How a segment file gets space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// In steps, ahead of the writes.
    Steps,
    /// As much as the write needs: the rest is not ours to take.
    Exact,
}

/// What a sync covers beside the data: the side file, and an index that replaces an older content.
struct Sides {
    check: (File, PathBuf),
    index: Option<(File, PathBuf)>,
}

/// One open segment.
pub(crate) struct OpenSegment {
    pub(crate) id: SegmentId,
    pub(crate) path: PathBuf,
    pub(crate) data: File,
    pub(crate) check: RefCell<CheckMap>,
    pub(crate) index: RefCell<IndexMap>,
    check_side: RefCell<Option<Side>>,
    index_side: RefCell<Option<Side>>,
    /// Bytes of the data file that have space.
    allocated: Cell<u64>,
    /// Data was written since the last sync.
    dirty: Cell<bool>,
    max_timestamp: Cell<i64>,
}

impl OpenSegment {
    /// Writes one aligned piece at its place and notes its checksums, one for each block, and index slots in memory.
    pub(crate) async fn write(
        &self,
        position: u64,
        parts: Slices,
        checksums: &[u32],
        start: u64,
        batches: &[BatchRef],
        growth: Growth,
    ) -> Result<(), StorageError> {
        let end = position + parts.iter().map(|part| part.len() as u64).sum::<u64>();
        assert_eq!((end - position) as usize, checksums.len() * BLOCK, "whole blocks, each with its checksum");
        self.grow_to(end, growth).await?;
        let written = self.data.write_parts_at(parts.into_vec(), position).await;
        written.map_err(|error| StorageError::io("write segment", &self.path, error))?;
        // Only now: a sync that began meanwhile does not cover this write.
        self.dirty.set(true);
        self.note_check(position, checksums);
        for batch in batches {
            self.note_batch(batch.base_offset, batch.position - start, batch.max_timestamp);
        }
        Ok(())
    }

    async fn grow_to(&self, end: u64, growth: Growth) -> Result<(), StorageError> {
        let allocated = self.allocated.get();
        if end <= allocated {
            return Ok(());
        }
        let failed = |error| StorageError::io("allocate segment", &self.path, error);
        let step = allocated.clamp(GROW_BYTES_MIN, GROW_BYTES_MAX).max(end - allocated);
        if growth == Growth::Steps {
            match self.data.allocate(allocated, step).await {
                // The step is a convenience; what must fit is the piece itself. Some file systems keep what they found
                // before they had no more.
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    self.data.truncate(allocated).await.map_err(failed)?;
                }
                other => {
                    other.map_err(failed)?;
                    self.allocated.set(allocated + step);
                    return Ok(());
                }
            }
        }
        self.data.allocate(allocated, end - allocated).await.map_err(failed)?;
        self.allocated.set(end);
        Ok(())
    }

    /// Ranges as large as the format allows.
    fn note_check(&self, position: u64, checksums: &[u32]) {
        const RANGE_BLOCKS: usize = CHECK_RANGE_BYTES_MAX as usize / BLOCK;
        let mut check = self.check.borrow_mut();
        let mut at = position;
        for blocks in checksums.chunks(RANGE_BLOCKS) {
            let mut range = RangeCrc::new(self.id, at);
            blocks.iter().for_each(|block| range.update_block(*block));
            check.push(CheckSlot { position: at as u32, length: range.length() as u32, crc: range.finish() });
            at += range.length();
        }
    }

    fn note_batch(&self, offset: Offset, position: u64, max_timestamp: i64) {
        let mut index = self.index.borrow_mut();
        let far = index.slots().last().is_none_or(|last| position >= last.position + INDEX_INTERVAL_BYTES);
        if far && position > 0 {
            index.push(IndexSlot { offset, position, max_timestamp_before: self.max_timestamp.get() });
        }
        self.max_timestamp.set(self.max_timestamp.get().max(max_timestamp));
    }

    /// Makes everything written so far durable: side file, then both fdatasyncs. The index goes along, unsynced
    /// unless it replaces an older content. Returns how many fdatasyncs that took.
    pub(crate) async fn sync(&self) -> Result<u64, StorageError> {
        if !self.dirty.replace(false) {
            return Ok(0);
        }
        let synced = self.sync_all().await;
        if synced.is_err() {
            // Nothing of what was dirty is known to be durable: whoever tries again finds it dirty still.
            self.dirty.set(true);
        }
        synced
    }

    /// The first half of a [`sync`](Self::sync) whose second is the file system's: the side file is written, and what was
    /// written so far counts as synced once the file system is. Returns a file of it; `None` where nothing was written.
    pub(crate) async fn sync_with_file_system(&self) -> Result<Option<File>, StorageError> {
        if !self.dirty.replace(false) {
            return Ok(None);
        }
        match self.write_sides().await {
            Ok(_) => Ok(Some(self.data.clone())),
            Err(error) => {
                self.dirty.set(true);
                Err(error)
            }
        }
    }

    /// What [`sync_with_file_system`](Self::sync_with_file_system) said does not hold: the file system was not synced.
    pub(crate) fn not_synced(&self) {
        self.dirty.set(true);
    }

    /// Writes the side file and, where that is worth it, the index. Returns what is to be synced of the two.
    async fn write_sides(&self) -> Result<Sides, StorageError> {
        let check = self.check.borrow().to_bytes();
        let index = self.index.borrow().to_bytes();
        let mut check_side = self.check_side.take().expect("one sync at a time");
        let appended = check_side.append(&check).await;
        let check_file = check_side.created().await;
        let check_path = check_side.path.clone();
        *self.check_side.borrow_mut() = Some(check_side);
        appended?;
        let check_file = check_file?;
        let mut index_side = self.index_side.take().expect("one sync at a time");
        let appended = if index_side.is_worth_writing(index.len()) { index_side.append(&index).await } else { Ok(()) };
        // Slots of a content that is gone look as good as ours: they are overwritten for good before any checkpoint can
        // make the bytes they point at valid again.
        let is_stale = std::mem::take(&mut index_side.stale) > 0;
        let index = index_side.file.clone().filter(|_| is_stale).map(|file| (file, index_side.path.clone()));
        *self.index_side.borrow_mut() = Some(index_side);
        appended?;
        Ok(Sides { check: (check_file, check_path), index })
    }

    async fn sync_all(&self) -> Result<u64, StorageError> {
        let Sides { check: (check_file, check_path), index } = self.write_sides().await?;
        if mutation::is(Mutation::NoFdatasync) {
            return Ok(0);
        }
        let stale = index.is_some();
        if let Some((index_file, index_path)) = index {
            index_file.fdatasync().await.map_err(|error| StorageError::io("fdatasync index", &index_path, error))?;
        }
        // Both at once: the file system commits its own journal once for the two.
        let mut data = std::pin::pin!(self.data.fdatasync());
        let mut side = std::pin::pin!(check_file.fdatasync());
        let (mut data_result, mut side_result) = (None, None);
        std::future::poll_fn(|ctx| {
            poll_into(data.as_mut(), &mut data_result, ctx);
            poll_into(side.as_mut(), &mut side_result, ctx);
            if data_result.is_some() && side_result.is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let failed = |stage, path: &Path, result: Option<io::Result<()>>| {
            result.expect("polled to its end").map_err(|error| StorageError::io(stage, path, error))
        };
        failed("fdatasync segment", &self.path, data_result)?;
        failed("fdatasync side file", &check_path, side_result)?;
        Ok(2 + u64::from(stale))
    }

    /// Forgets everything from byte `position` on, a boundary of the side file's ranges.
    pub(crate) fn truncate(&self, position: u64, max_timestamp: i64) {
        let covered = self.check.borrow_mut().truncate(position);
        assert_eq!(covered, position, "truncation lands on a range boundary");
        self.index.borrow_mut().truncate(position);
        self.max_timestamp.set(max_timestamp);
        if let Some(side) = self.check_side.borrow_mut().as_mut() {
            side.on_disk = 0;
        }
        if let Some(side) = self.index_side.borrow_mut().as_mut() {
            side.stale = side.stale.max(side.on_disk);
            side.on_disk = 0;
        }
        self.dirty.set(true);
    }

    /// Reads and proves the stored bytes that cover `from..to`. Returns them with the position of their first byte.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] naming file and position if a range is not what its checksum says; nothing of it is
    /// returned.
    pub(crate) async fn read(&self, from: u64, to: u64) -> Result<(AlignedBuf, u64, usize), StorageError> {
        let slots: Vec<CheckSlot> = self.check.borrow().ranges_covering(from, to).to_vec();
        let (Some(first), Some(last)) = (slots.first(), slots.last()) else {
            return Err(self.corrupt(from, "no checksum covers these bytes".to_owned()));
        };
        let (start, end) = (u64::from(first.position), last.end());
        let bytes = (end - start) as usize;
        let read = self.data.read_new(bytes.next_multiple_of(BLOCK), start).await;
        let (read, buf) = read.map_err(|error| StorageError::io("read segment", &self.path, error))?;
        if read < bytes {
            return Err(self.corrupt(start + read as u64, format!("file ends {} bytes early", bytes - read)));
        }
        for slot in &slots {
            let at = (u64::from(slot.position) - start) as usize;
            let range = &buf[at..at + slot.length as usize];
            if let Err(error) = self.check.borrow().verify(slot, range) {
                return Err(self.corrupt(u64::from(slot.position), error.to_string()));
            }
        }
        Ok((buf, start, bytes))
    }

    pub(crate) fn corrupt(&self, position: u64, detail: String) -> StorageError {
        StorageError::Corrupt {
            what: "segment",
            path: self.path.clone(),
            position,
            detail: format!("partition {} segment {}: {detail}", self.id.partition, self.id.base),
        }
    }
}

impl OpenSegment {
    /// Scans the batches behind the last believable index slot. An index is derived: after a crash its end may be
    /// missing, and then only that end is read again.
    async fn complete_index(&self, valid_bytes: u64) -> Result<(), StorageError> {
        let last = self.index.borrow().slots().last().copied();
        let mut position = last.map_or(0, |slot| slot.position);
        self.max_timestamp.set(last.map_or(i64::MIN, |slot| slot.max_timestamp_before));
        if valid_bytes.saturating_sub(position) <= 2 * INDEX_INTERVAL_BYTES {
            return Ok(());
        }
        const SCAN_BYTES: u64 = 1024 * 1024;
        while position + ouzel_protocol::batch::BATCH_HEADER_BYTES as u64 <= valid_bytes {
            let (buf, start, bytes) = self.read(position, (position + SCAN_BYTES).min(valid_bytes)).await?;
            let window = &buf[..bytes];
            let mut advanced = false;
            while let Some(rest) = window.get((position - start) as usize..) {
                // Zeros are the padding of a rolled segment; a header cut by the window's end is read again.
                let Ok(header) = parse_header(rest) else { break };
                self.note_batch(header.base_offset, position, header.max_timestamp);
                position += header.total_bytes() as u64;
                advanced = true;
                if position >= valid_bytes {
                    return Ok(());
                }
            }
            if !advanced {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The whole content of a small file.
pub(crate) async fn read_all(file: &File, path: &Path) -> Result<Vec<u8>, StorageError> {
    let bytes = file.len().await.map_err(|error| StorageError::io("size file", path, error))? as usize;
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let padded = bytes.next_multiple_of(BLOCK);
    let (read, buf) = file.read_new(padded, 0).await.map_err(|error| StorageError::io("read file", path, error))?;
    Ok(buf[..read.min(bytes)].to_vec())
}

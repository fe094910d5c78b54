//! Segment files and their two side files: opened on demand, kept in an LRU, appended by the flushers, synced by the
//! recycler, read by fetches. Lives on the owner shard. Knows nothing of offsets beyond what the index says.
//!
//! The `.check` side file is evidence: it is written and synced with the segment, before a checkpoint may claim the
//! bytes (rules F1, J5). The `.index` is derived: it is written beside them, synced only over an
//! older content, and rebuilt where it is missing or damaged.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use ouzel_protocol::batch::parse_header;
use ouzel_protocol::{Offset, PartitionId};
use ouzel_runtime::sync::Notify;
use ouzel_runtime::{AlignedBuf, File, Fs, OpenMode, Shard};

use crate::config::{BLOCK, INDEX_INTERVAL_BYTES};
use crate::error::StorageError;
use crate::format::check::{CHECK_RANGE_BYTES_MAX, CheckMap, CheckSlot, RangeCrc, SegmentId};
use crate::format::index::{IndexMap, IndexSlot};
use crate::mutation::{self, Mutation};
use crate::partition::{BatchRef, Slices};
use crate::reserve::with_reserves_of_before;

/// Segment files grow by this much at a time, at most; smaller steps at first so that small partitions stay small.
const GROW_BYTES_MAX: u64 = 16 * 1024 * 1024;
const GROW_BYTES_MIN: u64 = 256 * 1024;
/// An index file may lack this many bytes of slots: one block, for about 5 MiB of the segment.
const INDEX_BEHIND_BYTES_MAX: u64 = BLOCK as u64;

/// Directory of one partition.
pub(crate) fn partition_dir(data_dir: &Path, partition: PartitionId) -> PathBuf {
    data_dir.join("partitions").join(format!("{:016x}", partition.0))
}

/// Path of one file of a segment; `kind` is `segment`, `check` or `index`.
pub(crate) fn segment_path(data_dir: &Path, id: SegmentId, kind: &str) -> PathBuf {
    partition_dir(data_dir, id.partition).join(format!("{:016x}.{kind}", id.base.0))
}

/// A side file in memory and how much of it the disk has.
struct Side {
    /// `None` before the first write of a derived file: small segments never need one.
    file: Option<File>,
    fs: Fs,
    path: PathBuf,
    /// Bytes that the file holds for certain (written, perhaps not synced).
    on_disk: u64,
    /// Bytes of the file that may hold slots of a content that is gone: cut away, or never checkpointed before a crash.
    stale: u64,
}

impl Side {
    /// Whether a derived file is worth a write: what is missing at its end is scanned again when the segment is opened, so
    /// a few blocks' worth may be. Stale bytes are overwritten at once.
    fn is_worth_writing(&self, content_bytes: usize) -> bool {
        self.stale > 0 || content_bytes as u64 >= self.on_disk + INDEX_BEHIND_BYTES_MAX
    }

    /// Writes what `content` has beyond `on_disk`, whole blocks, the last one padded with zeros; over stale bytes, all of
    /// it and zeros to their end.
    async fn append(&mut self, content: &[u8]) -> Result<(), StorageError> {
        if content.len() as u64 == self.on_disk && self.stale == 0 {
            return Ok(());
        }
        let from = match self.stale {
            0 => self.on_disk.min(content.len() as u64) / BLOCK as u64 * BLOCK as u64,
            _ => 0,
        };
        let rest = &content[from as usize..];
        // At least one zero slot ends the file: what an earlier content left behind is never read as ours.
        let mut image = AlignedBuf::zeroed((rest.len() + 1).max(self.stale as usize));
        image[..rest.len()].copy_from_slice(rest);
        let file = self.created().await?;
        let (written, _) = file.write_at(image, from).await;
        written.map_err(|error| StorageError::io("write side file", &self.path, error))?;
        self.on_disk = content.len() as u64;
        Ok(())
    }
}

impl Side {
    /// The file, created if it is not there yet.
    async fn created(&mut self) -> Result<File, StorageError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = create_file(&self.fs, &self.path).await?;
        Ok(self.file.insert(file).clone())
    }
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
        let (read, buf) = self.data.read_at(AlignedBuf::zeroed(bytes), bytes.next_multiple_of(BLOCK), start).await;
        let read = read.map_err(|error| StorageError::io("read segment", &self.path, error))?;
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

/// The open segments of a shard, least recently used first out.
pub(crate) struct SegmentFiles {
    shard: Shard,
    data_dir: PathBuf,
    open_max: usize,
    open: RefCell<BTreeMap<SegmentKey, (u64, Rc<OpenSegment>)>>,
    opening: RefCell<BTreeMap<SegmentKey, Wanted>>,
    opened: Notify,
    clock: Cell<u64>,
    /// Partitions whose directory exists for certain.
    directories: RefCell<BTreeSet<PartitionId>>,
    /// Directories with names that no sync covers yet.
    unsynced_directories: RefCell<BTreeSet<PathBuf>>,
}

type SegmentKey = (PartitionId, Offset);

/// Whether what is being opened is still the segment that the log means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Yes,
    /// It was forgotten meanwhile: what the opening found is of the time before a cut.
    Forgotten,
}

/// A segment being opened; ends however the opening ends.
struct Opening<'a> {
    files: &'a SegmentFiles,
    key: SegmentKey,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.files.opening.borrow_mut().remove(&self.key);
        self.files.opened.notify_all();
    }
}

impl SegmentFiles {
    pub(crate) fn new(shard: &Shard, data_dir: &Path, open_max: usize) -> Self {
        Self {
            shard: shard.clone(),
            data_dir: data_dir.to_owned(),
            open_max,
            open: RefCell::new(BTreeMap::new()),
            opening: RefCell::new(BTreeMap::new()),
            opened: Notify::new(),
            clock: Cell::new(0),
            directories: RefCell::new(BTreeSet::new()),
            unsynced_directories: RefCell::new(BTreeSet::new()),
        }
    }

    /// The segment, opened (or created, where no byte is valid) if it is not open. `extent` says how many bytes the log
    /// believes to be written and their largest timestamp; it is asked when the opening begins, because what was true
    /// before a wait may not be. One opening per segment at a time: the one in the table is the only one that counts.
    pub(crate) async fn get(
        &self,
        id: SegmentId,
        extent: impl Fn() -> Result<(u64, i64), StorageError>,
    ) -> Result<Rc<OpenSegment>, StorageError> {
        let key = (id.partition, id.base);
        loop {
            if let Some(segment) = self.touch(id) {
                return Ok(segment);
            }
            if self.opening.borrow().contains_key(&key) {
                self.opened.notified().await;
                continue;
            }
            self.opening.borrow_mut().insert(key, Wanted::Yes);
            let _opening = Opening { files: self, key };
            let (valid_bytes, max_timestamp) = extent()?;
            let opened = if valid_bytes == 0 {
                self.create(id).await
            } else {
                self.open_existing(id, valid_bytes, max_timestamp).await
            };
            if self.opening.borrow().get(&key) == Some(&Wanted::Forgotten) {
                continue;
            }
            let segment = Rc::new(opened?);
            self.open.borrow_mut().insert(key, (self.tick(), segment.clone()));
            self.shrink();
            return Ok(segment);
        }
    }

    /// See [`with_reserves_of_before`].
    pub(crate) async fn with_reserves_of_before<T>(
        &self,
        work: impl AsyncFn() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        with_reserves_of_before(&self.shard, &self.data_dir, work).await
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    fn touch(&self, id: SegmentId) -> Option<Rc<OpenSegment>> {
        let now = self.tick();
        let mut open = self.open.borrow_mut();
        let (used, segment) = open.get_mut(&(id.partition, id.base))?;
        *used = now;
        Some(segment.clone())
    }

    /// Closes what nobody uses and no sync waits for, once there are too many: an eighth more than necessary, so that the
    /// search is worth it.
    fn shrink(&self) {
        let mut open = self.open.borrow_mut();
        if open.len() <= self.open_max {
            return;
        }
        let is_idle = |segment: &Rc<OpenSegment>| Rc::strong_count(segment) == 1 && !segment.dirty.get();
        let idle = open.iter().filter(|(_, (_, segment))| is_idle(segment));
        let mut idle: Vec<(u64, SegmentKey)> = idle.map(|(key, (used, _))| (*used, *key)).collect();
        idle.sort_unstable();
        let surplus = open.len() - (self.open_max - self.open_max / 8);
        for (_, key) in idle.into_iter().take(surplus) {
            open.remove(&key);
        }
    }

    /// The segments that have to be synced before another one is opened, least recently used first; none where there is
    /// room. They are closed by [`close_synced`](Self::close_synced).
    pub(crate) fn crowding_out(&self) -> Vec<Rc<OpenSegment>> {
        let open = self.open.borrow();
        if open.len() < self.open_max {
            return Vec::new();
        }
        let dirty = open.values().filter(|(_, segment)| segment.dirty.get());
        let mut dirty: Vec<_> = dirty.map(|(used, segment)| (*used, segment.clone())).collect();
        if dirty.len() < self.open_max - self.open_max / 8 {
            return Vec::new();
        }
        dirty.sort_unstable_by_key(|(used, _)| *used);
        dirty.into_iter().take(self.open_max / 8 + 1).map(|(_, segment)| segment).collect()
    }

    /// Closes what was synced, as far as there are too many.
    pub(crate) fn close_synced(&self) {
        self.shrink();
    }

    /// Segments with unsynced writes of the wanted partitions, by partition and base.
    pub(crate) fn dirty(&self, wanted: impl Fn(PartitionId) -> bool) -> Vec<Rc<OpenSegment>> {
        self.open
            .borrow()
            .values()
            .filter(|(_, segment)| segment.dirty.get() && wanted(segment.id.partition))
            .map(|(_, segment)| segment.clone())
            .collect()
    }

    /// Forgets the open files of a partition from `base` on.
    pub(crate) fn forget(&self, partition: PartitionId, base: Offset) {
        self.open.borrow_mut().retain(|(id, segment_base), _| *id != partition || *segment_base < base);
        for (_, wanted) in
            self.opening.borrow_mut().range_mut((partition, base)..).take_while(|((id, _), _)| *id == partition)
        {
            *wanted = Wanted::Forgotten;
        }
    }

    /// Forgets that the partition's directory exists.
    pub(crate) fn forget_directory(&self, partition: PartitionId) {
        self.directories.borrow_mut().remove(&partition);
    }

    /// Forgets one segment.
    pub(crate) fn forget_one(&self, partition: PartitionId, base: Offset) {
        self.open.borrow_mut().remove(&(partition, base));
        if let Some(wanted) = self.opening.borrow_mut().get_mut(&(partition, base)) {
            *wanted = Wanted::Forgotten;
        }
    }

    async fn create(&self, id: SegmentId) -> Result<OpenSegment, StorageError> {
        let fs = self.shard.fs();
        let directory = partition_dir(&self.data_dir, id.partition);
        let path = segment_path(&self.data_dir, id, "segment");
        if !self.directories.borrow().contains(&id.partition) {
            let failed = |error| StorageError::io("create partition directory", &directory, error);
            fs.create_dir_all(&directory).await.map_err(failed)?;
            self.directories.borrow_mut().insert(id.partition);
            self.unsynced_directories.borrow_mut().insert(self.data_dir.join("partitions"));
        }
        let data = create_file(&fs, &path).await?;
        let check_path = segment_path(&self.data_dir, id, "check");
        let check = Side { file: Some(create_file(&fs, &check_path).await?), ..self.absent(id, "check") };
        // What an earlier start left would be taken for ours.
        let index = self.absent(id, "index");
        match fs.remove_file(&index.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StorageError::io("remove stale index", &index.path, error));
            }
            _ => {}
        }
        self.unsynced_directories.borrow_mut().insert(directory);
        Ok(OpenSegment {
            id,
            path,
            data,
            check: RefCell::new(CheckMap::new(id)),
            index: RefCell::new(IndexMap::new(id)),
            check_side: RefCell::new(Some(check)),
            index_side: RefCell::new(Some(index)),
            allocated: Cell::new(0),
            dirty: Cell::new(true),
            max_timestamp: Cell::new(i64::MIN),
        })
    }

    fn absent(&self, id: SegmentId, kind: &str) -> Side {
        let path = segment_path(&self.data_dir, id, kind);
        Side { file: None, fs: self.shard.fs(), path, on_disk: 0, stale: 0 }
    }

    /// Makes the names of new segments durable. Called after the segments themselves are synced and before a checkpoint
    /// may name them; many new files cost few syncs this way.
    pub(crate) async fn sync_directories(&self) -> Result<(), StorageError> {
        let directories = std::mem::take(&mut *self.unsynced_directories.borrow_mut());
        if mutation::is(Mutation::NoFdatasync) {
            return Ok(());
        }
        let mut directories = directories.into_iter();
        while let Some(directory) = directories.next() {
            match self.shard.fs().sync_dir(&directory).await {
                Ok(()) => {}
                // Dropped with its partition meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let error = StorageError::io("sync directory", &directory, error);
                    // Neither this one nor those behind it are safe: whoever tries again finds them here.
                    self.unsynced_directories.borrow_mut().extend(directories.chain([directory]));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The directories whose entries no sync covers yet; the caller syncs them with all else.
    pub(crate) fn take_unsynced_directories(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut *self.unsynced_directories.borrow_mut())
    }

    /// Puts back what [`take_unsynced_directories`](Self::take_unsynced_directories) gave and was not synced.
    pub(crate) fn put_unsynced_directories(&self, directories: BTreeSet<PathBuf>) {
        self.unsynced_directories.borrow_mut().extend(directories);
    }

    async fn side(&self, id: SegmentId, kind: &str) -> Result<Side, StorageError> {
        let side = self.absent(id, kind);
        let opened = side.fs.open(&side.path, OpenMode::ReadWrite).await;
        let file = opened.map_err(|error| StorageError::io("open side file", &side.path, error))?;
        Ok(Side { file: Some(file), ..side })
    }

    async fn open_existing(
        &self,
        id: SegmentId,
        valid_bytes: u64,
        max_timestamp: i64,
    ) -> Result<OpenSegment, StorageError> {
        let path = segment_path(&self.data_dir, id, "segment");
        let data = self
            .shard
            .fs()
            .open(&path, OpenMode::ReadWrite)
            .await
            .map_err(|error| StorageError::io("open segment", &path, error))?;
        let allocated = data.len().await.map_err(|error| StorageError::io("size segment", &path, error))?;
        let mut check_side = self.side(id, "check").await?;
        let bytes = read_all(&check_side.created().await?, &check_side.path).await?;
        let check = CheckMap::from_bytes(id, &bytes, valid_bytes).map_err(|error| StorageError::Corrupt {
            what: "side file",
            path: check_side.path.clone(),
            position: 0,
            detail: format!("partition {} segment {}: {error}", id.partition, id.base),
        })?;
        // Nothing is assumed of what lies behind the valid slots: the next sync rewrites from the last whole block.
        check_side.on_disk = check.file_bytes();
        let (index, index_side) = self.open_index(id, valid_bytes).await?;
        let segment = OpenSegment {
            id,
            path,
            data,
            check: RefCell::new(check),
            index: RefCell::new(index),
            check_side: RefCell::new(Some(check_side)),
            index_side: RefCell::new(Some(index_side)),
            allocated: Cell::new(allocated),
            dirty: Cell::new(false),
            max_timestamp: Cell::new(max_timestamp),
        };
        segment.complete_index(valid_bytes).await?;
        segment.max_timestamp.set(max_timestamp);
        Ok(segment)
    }

    async fn open_index(&self, id: SegmentId, valid_bytes: u64) -> Result<(IndexMap, Side), StorageError> {
        let mut side = match self.side(id, "index").await {
            Ok(side) => side,
            Err(StorageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok((IndexMap::new(id), self.absent(id, "index")));
            }
            Err(error) => return Err(error),
        };
        let bytes = read_all(&side.created().await?, &side.path).await?;
        let (index, _) = IndexMap::from_bytes(id, &bytes, valid_bytes);
        // What was read may be newer than what the disk holds for certain, so even a clean file is not trusted.
        (side.on_disk, side.stale) = (0, bytes.len() as u64);
        Ok((index, side))
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

/// A file of this name can only be what an earlier start wrote beyond its last checkpoint; it is replaced.
async fn create_file(fs: &Fs, path: &Path) -> Result<File, StorageError> {
    let mut created = fs.open(path, OpenMode::Create).await;
    if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        fs.remove_file(path).await.map_err(|error| StorageError::io("remove stale segment", path, error))?;
        created = fs.open(path, OpenMode::Create).await;
    }
    created.map_err(|error| StorageError::io("create segment", path, error))
}

/// The whole content of a small file.
pub(crate) async fn read_all(file: &File, path: &Path) -> Result<Vec<u8>, StorageError> {
    let bytes = file.len().await.map_err(|error| StorageError::io("size file", path, error))? as usize;
    if bytes == 0 {
        return Ok(Vec::new());
    }
    let padded = bytes.next_multiple_of(BLOCK);
    let (read, buf) = file.read_at(AlignedBuf::zeroed(padded), padded, 0).await;
    let read = read.map_err(|error| StorageError::io("read file", path, error))?;
    Ok(buf[..read.min(bytes)].to_vec())
}

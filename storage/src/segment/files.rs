//! The table of a shard's open segments: what is open, what is being opened, what has to be closed or synced first. Owns the
//! limit of open segments and the directories whose entries no sync covers yet; never reads or writes a segment's bytes.
//! Lives on the owner shard.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use ouzel_protocol::{Offset, PartitionId};
use ouzel_runtime::sync::Notify;
use ouzel_runtime::{OpenMode, Shard};

use super::side::{Side, create_file};
use super::{OpenSegment, partition_dir, read_all, segment_path};
use crate::error::StorageError;
use crate::format::check::{CheckMap, SegmentId};
use crate::format::index::IndexMap;
use crate::mutation::{self, Mutation};
use crate::reserve::with_reserves_of_before;

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
    pub(crate) fn shrink(&self) {
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
    /// room. They are closed by [`shrink`](Self::shrink).
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

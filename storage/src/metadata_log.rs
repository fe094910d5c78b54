//! The node's metadata log: every change of topics, partitions and epochs, durable before it is acted upon.
//!
//! Owns the directory `metadata/` and its files `<generation:016x>.log`; knows payloads as bytes only and never what a
//! topic is. Lives on the shard that opened it (shard 0), with one owner and one append at a time.
//!
//! A file starts with a snapshot and goes on with entries (`format::metadata`). A generation appears under its name
//! only when its snapshot is synced, and the one before it is gone for certain before anything is appended to it. So
//! a damaged snapshot is never a torn one, and a damaged newest generation beside an older one has lost nothing.
//!
//! After each sync a seal is written behind the last entry, without a sync of its own; the next entry overwrites it.
//! It makes damage to the last entry provable too. Space behind the tail is zeros: written ahead, so that appends
//! overwrite (cheaper to sync), and written again over a torn tail, so that no old entry can ever chain to a new one.

mod open;
mod reader;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ouzel_runtime::{AlignedBuf, File, Fs, OpenMode};

use crate::format::BLOCK;
pub use crate::format::metadata::METADATA_PAYLOAD_BYTES_MAX;
use crate::format::metadata::{MetadataHeader, MetadataKind, encode_metadata_entry, metadata_padded_bytes};

/// Largest file of one generation: what opening may have to hold in memory. Compact before it is reached.
pub const METADATA_GENERATION_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Files grow by zeros in steps of this many bytes; half a step is kept ready behind the tail.
pub const METADATA_STEP_BYTES: u64 = 1024 * 1024;

const STEP: usize = METADATA_STEP_BYTES as usize;
const BATCH_BYTES_MAX: usize = metadata_padded_bytes(METADATA_PAYLOAD_BYTES_MAX);

const _: () = assert!(STEP.is_multiple_of(2 * BLOCK));
const _: () = assert!(METADATA_GENERATION_BYTES_MAX >= 2 * (BATCH_BYTES_MAX + STEP) as u64);
const _: () = assert!(METADATA_GENERATION_BYTES_MAX.is_multiple_of(METADATA_STEP_BYTES));

/// Why the log refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataLogError {
    /// The disk failed an operation while opening. Opening again is safe.
    #[error("{stage} failed on {path}: {source}")]
    Io {
        /// Which operation failed.
        stage: &'static str,
        /// File it failed on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A write or sync failed, now or before: whether the last append is durable is unknown, and nothing more is
    /// appended until the process restarts.
    #[error("metadata log poisoned: {stage} failed on {path}: {source}")]
    Poisoned {
        /// Which operation failed.
        stage: &'static str,
        /// File it failed on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<io::Error>,
    },
    /// Bytes that were durable are damaged: refused, never cut.
    #[error("corrupt metadata log {path} at byte {position}, entry {index}: {detail}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damage is.
        position: u64,
        /// Index of the entry that should stand there.
        index: u64,
        /// What is wrong, and what proves that it was durable.
        detail: String,
    },
    /// The payload, or a batch of them, exceeds what one write may hold. Nothing was written.
    #[error("metadata payload of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The generation is full: compact first. Nothing was written.
    #[error("metadata generation of {bytes} bytes has no room below the limit of {limit} bytes: compact first")]
    Full {
        /// Bytes it holds.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The disk is full. Nothing was written; the log can be used on.
    #[error("disk full at {path}: metadata cannot grow until space is freed")]
    DiskFull {
        /// File that could not grow.
        path: PathBuf,
    },
}

impl MetadataLogError {
    fn io(stage: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { stage, path: path.to_owned(), source: Arc::new(source) }
    }
}

/// A tail that opening cut. Reported, because damage to the last entry cannot always be told from a torn write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The file.
    pub path: PathBuf,
    /// First byte that was cut.
    pub position: u64,
    /// Index of the next entry: the first one that was cut, if one was.
    pub index: u64,
    /// What was found there.
    pub detail: String,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedLog {
    /// The newest snapshot; `None` in a log that was never compacted.
    pub snapshot: Option<Vec<u8>>,
    /// Payloads of all entries after it, in order.
    pub entries: Vec<Vec<u8>>,
    /// Index of the last entry that the snapshot covers; the first of `entries` has the next one.
    pub snapshot_index: u64,
    /// The generation in use.
    pub generation: u64,
    /// Set if a torn tail was cut.
    pub cut: Option<CutTail>,
    /// Set if the newest generation was damaged while the one before it was still there: nothing was lost.
    pub discarded: Option<CutTail>,
}

/// The open log.
pub struct MetadataLog {
    fs: Fs,
    dir: PathBuf,
    path: PathBuf,
    file: File,
    generation: u64,
    last_index: u64,
    /// Checksum of the last entry; the next one names it.
    last_checksum: u32,
    /// Where the next entry goes; the seal stands there now.
    tail: u64,
    /// Bytes of the file; from `tail` on all zeros but for the seal.
    file_bytes: u64,
    snapshot_bytes: u64,
    poison: Option<MetadataLogError>,
    /// Set while an operation runs: still set at the next one if that one was dropped half-way.
    in_flight: bool,
}

impl MetadataLog {
    /// Opens the log in `dir`, which is created if missing. Everything returned is durable: what an earlier process
    /// wrote but did not sync is synced first (J3). A torn tail is cut, which is durable too, and reported.
    ///
    /// Not to be cancelled; opening again afterwards is safe.
    ///
    /// # Errors
    /// `Corrupt` if bytes that must have been durable are damaged: the operator must restore them. `Io` otherwise.
    pub async fn open(fs: &Fs, dir: &Path) -> Result<(Self, LoadedLog), MetadataLogError> {
        open::open(fs, dir).await
    }

    /// Appends one entry; it is durable when this returns. Returns its index. If cancelled, the log is poisoned.
    ///
    /// # Errors
    /// As [`MetadataLog::append_batch`].
    pub async fn append(&mut self, payload: &[u8]) -> Result<u64, MetadataLogError> {
        self.append_batch(&[payload]).await
    }

    /// Appends entries by one write and one sync; all are durable when this returns. Returns the index of the last.
    /// If cancelled, the log is poisoned. After a crash a prefix of them may be there.
    ///
    /// # Errors
    /// `TooLarge`, `Full` and `DiskFull` change nothing. `Poisoned`: the entries may or may not be durable.
    pub async fn append_batch(&mut self, payloads: &[&[u8]]) -> Result<u64, MetadataLogError> {
        self.check_usable()?;
        let bytes = batch_bytes(payloads)?;
        if bytes == 0 {
            return Ok(self.last_index);
        }
        // The seal needs a block behind the last entry.
        let end = self.tail + bytes as u64 + BLOCK as u64;
        if end > METADATA_GENERATION_BYTES_MAX {
            return Err(MetadataLogError::Full { bytes: self.tail, limit: METADATA_GENERATION_BYTES_MAX });
        }
        self.in_flight = true;
        if let Err(error) = self.grow(end).await {
            self.in_flight = !matches!(error, MetadataLogError::DiskFull { .. });
            return Err(error);
        }
        let (buf, index, checksum) = self.encode_batch(payloads, bytes);
        let (written, _) = self.file.write_at(buf, self.tail).await;
        written.map_err(|error| self.poison("write", error))?;
        self.file.fdatasync().await.map_err(|error| self.poison("fdatasync", error))?;
        self.tail += bytes as u64;
        self.last_index = index;
        self.last_checksum = checksum;
        self.write_seal().await?;
        self.in_flight = false;
        Ok(index)
    }

    /// Replaces everything up to the last entry by a snapshot: writes the file of the next generation, syncs it, gives
    /// it its name, and deletes the old one, each for certain before the next. If cancelled, the log is poisoned.
    ///
    /// # Errors
    /// `TooLarge` and `DiskFull` change nothing. `Poisoned`: the old or the new generation is complete on disk.
    pub async fn compact(&mut self, snapshot: &[u8]) -> Result<(), MetadataLogError> {
        self.check_usable()?;
        assert!(!snapshot.is_empty(), "an empty snapshot means that nothing has happened yet");
        if snapshot.len() > METADATA_PAYLOAD_BYTES_MAX {
            return Err(MetadataLogError::TooLarge { bytes: snapshot.len(), limit: METADATA_PAYLOAD_BYTES_MAX });
        }
        self.in_flight = true;
        let old_path = self.path.clone();
        let generation = self.generation + 1;
        let next = match Self::create(&self.fs, &self.dir, generation, self.last_index, snapshot).await {
            Ok(next) => next,
            Err(error @ MetadataLogError::DiskFull { .. }) => {
                self.in_flight = false;
                return Err(error);
            }
            Err(error) => return Err(self.poison_with(error)),
        };
        *self = Self { in_flight: true, ..next };
        self.fs.remove_file(&old_path).await.map_err(|error| self.poison("remove", error))?;
        self.fs.sync_dir(&self.dir).await.map_err(|error| self.poison("sync of directory", error))?;
        self.in_flight = false;
        Ok(())
    }

    /// Index of the last entry; 0 before the first.
    pub fn last_index(&self) -> u64 {
        self.last_index
    }

    /// Generation in use.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Bytes on disk of the snapshot.
    pub fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes
    }

    /// Bytes on disk of the entries since the snapshot.
    pub fn entry_bytes(&self) -> u64 {
        self.tail - self.snapshot_bytes
    }

    /// True when a new snapshot of about the size of the last one would save more than it costs.
    pub fn wants_compaction(&self) -> bool {
        self.entry_bytes() > 4 * METADATA_STEP_BYTES + self.snapshot_bytes
    }

    /// Writes a new generation under its name and returns it open. The older one is still there.
    async fn create(
        fs: &Fs,
        dir: &Path,
        generation: u64,
        index: u64,
        snapshot: &[u8],
    ) -> Result<Self, MetadataLogError> {
        let path = dir.join(log_name(generation));
        let unfinished = dir.join(unfinished_name(generation));
        let file =
            fs.open(&unfinished, OpenMode::Create).await.map_err(|e| MetadataLogError::io("create", &unfinished, e))?;
        let snapshot_bytes = metadata_padded_bytes(snapshot.len());
        let file_bytes = (snapshot_bytes + BLOCK + STEP / 2).next_multiple_of(STEP);
        if let Err(error) = file.allocate(0, file_bytes as u64).await {
            let full = error.kind() == io::ErrorKind::StorageFull;
            // Left behind, it would only be removed by the next opening: its removal needs no proof.
            let removed = fs.remove_file(&unfinished).await;
            removed.map_err(|error| MetadataLogError::io("remove", &unfinished, error))?;
            return Err(if full {
                MetadataLogError::DiskFull { path: unfinished }
            } else {
                MetadataLogError::io("allocate", &unfinished, error)
            });
        }
        let header = MetadataHeader {
            kind: MetadataKind::Snapshot,
            generation,
            index,
            term: 0,
            previous_checksum: 0,
            durable_index: index,
        };
        let mut buf = AlignedBuf::zeroed(snapshot_bytes + BLOCK);
        let last_checksum = encode_metadata_entry(&mut buf, &header, snapshot);
        // True from the moment that the file has its name, and nobody reads it before.
        encode_seal(&mut buf[snapshot_bytes..], generation, index, last_checksum);
        let (written, _) = file.write_at(buf, 0).await;
        written.map_err(|error| MetadataLogError::io("write", &unfinished, error))?;
        write_zeros(&file, (snapshot_bytes + BLOCK) as u64, file_bytes as u64)
            .await
            .map_err(|error| MetadataLogError::io("write", &unfinished, error))?;
        file.sync_all().await.map_err(|error| MetadataLogError::io("fsync", &unfinished, error))?;
        fs.rename(&unfinished, &path).await.map_err(|error| MetadataLogError::io("rename", &unfinished, error))?;
        fs.sync_dir(dir).await.map_err(|error| MetadataLogError::io("sync of directory", dir, error))?;
        Ok(Self {
            fs: fs.clone(),
            dir: dir.to_owned(),
            path,
            file,
            generation,
            last_index: index,
            last_checksum,
            tail: snapshot_bytes as u64,
            file_bytes: file_bytes as u64,
            snapshot_bytes: snapshot_bytes as u64,
            poison: None,
            in_flight: false,
        })
    }

    fn check_usable(&mut self) -> Result<(), MetadataLogError> {
        if self.in_flight && self.poison.is_none() {
            self.poison("an operation before this one", io::Error::other("dropped before it ended"));
        }
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// Makes the file long enough for an entry and its seal to end at `end`, with half a step to spare, so that a
    /// full disk is met with room for many more entries.
    async fn grow(&mut self, end: u64) -> Result<(), MetadataLogError> {
        let spare = METADATA_STEP_BYTES / 2;
        if end + spare <= self.file_bytes {
            return Ok(());
        }
        let grown = (end + spare).next_multiple_of(METADATA_STEP_BYTES).min(METADATA_GENERATION_BYTES_MAX);
        if grown <= self.file_bytes {
            return Ok(());
        }
        // Space first: a write that fails for want of it would poison the file.
        match self.file.allocate(self.file_bytes, grown - self.file_bytes).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull && end <= self.file_bytes => {
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                return Err(MetadataLogError::DiskFull { path: self.path.clone() });
            }
            Err(error) => return Err(self.poison("allocate", error)),
        }
        let zeroed = write_zeros(&self.file, self.file_bytes, grown).await;
        zeroed.map_err(|error| self.poison("write", error))?;
        self.file_bytes = grown;
        Ok(())
    }

    /// The bytes of a batch, the index and the checksum of its last entry.
    fn encode_batch(&self, payloads: &[&[u8]], bytes: usize) -> (AlignedBuf, u64, u32) {
        let mut buf = AlignedBuf::zeroed(bytes);
        let (mut at, mut index, mut checksum) = (0, self.last_index, self.last_checksum);
        for payload in payloads {
            index += 1;
            let header = MetadataHeader {
                kind: MetadataKind::Entry,
                generation: self.generation,
                index,
                term: 0,
                previous_checksum: checksum,
                // Not more: the entries of one batch become durable in any order.
                durable_index: self.last_index,
            };
            checksum = encode_metadata_entry(&mut buf[at..], &header, payload);
            at += metadata_padded_bytes(payload.len());
        }
        assert_eq!(at, bytes);
        (buf, index, checksum)
    }

    /// Says behind the last entry that it is durable. Only to be called when it is.
    async fn write_seal(&mut self) -> Result<(), MetadataLogError> {
        let mut buf = AlignedBuf::zeroed(BLOCK);
        encode_seal(&mut buf, self.generation, self.last_index, self.last_checksum);
        let (written, _) = self.file.write_at(buf, self.tail).await;
        written.map_err(|error| self.poison("write", error))
    }

    fn poison(&mut self, stage: &'static str, error: io::Error) -> MetadataLogError {
        let path = self.path.clone();
        self.poison_with(MetadataLogError::Io { stage, path, source: Arc::new(error) })
    }

    fn poison_with(&mut self, error: MetadataLogError) -> MetadataLogError {
        let error = match error {
            MetadataLogError::Io { stage, path, source } => MetadataLogError::Poisoned { stage, path, source },
            other => other,
        };
        tracing::error!(%error, "metadata log poisoned");
        self.poison.get_or_insert(error).clone()
    }
}

impl std::fmt::Debug for MetadataLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataLog")
            .field("path", &self.path)
            .field("last_index", &self.last_index)
            .field("tail", &self.tail)
            .field("file_bytes", &self.file_bytes)
            .field("poison", &self.poison)
            .finish_non_exhaustive()
    }
}

fn log_name(generation: u64) -> String {
    format!("{generation:016x}.log")
}

fn unfinished_name(generation: u64) -> String {
    format!("{generation:016x}.tmp")
}

/// Padded bytes of all entries; 0 for no payloads.
fn batch_bytes(payloads: &[&[u8]]) -> Result<usize, MetadataLogError> {
    let mut bytes = 0;
    for payload in payloads {
        if payload.len() > METADATA_PAYLOAD_BYTES_MAX {
            return Err(MetadataLogError::TooLarge { bytes: payload.len(), limit: METADATA_PAYLOAD_BYTES_MAX });
        }
        bytes += metadata_padded_bytes(payload.len());
        if bytes > BATCH_BYTES_MAX {
            return Err(MetadataLogError::TooLarge { bytes, limit: BATCH_BYTES_MAX });
        }
    }
    Ok(bytes)
}

fn encode_seal(out: &mut [u8], generation: u64, index: u64, previous_checksum: u32) {
    let kind = MetadataKind::Seal;
    let header = MetadataHeader { kind, generation, index, term: 0, previous_checksum, durable_index: index };
    encode_metadata_entry(out, &header, &[]);
}

/// Overwrites `from..to` with zeros; both are multiples of [`BLOCK`]. Nothing is synced.
async fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    let mut buf = AlignedBuf::zeroed((to.saturating_sub(from) as usize).clamp(BLOCK, STEP));
    while at < to {
        let bytes = (to - at).min(STEP as u64);
        buf.set_len(bytes as usize);
        let (written, back) = file.write_at(buf, at).await;
        written?;
        buf = back;
        at += bytes;
    }
    Ok(())
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

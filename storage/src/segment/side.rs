//! A file beside a segment's data: its checksums or its index. Owns how it is created, appended to and overwritten; never
//! knows what is in it. Lives on the owner shard.

use std::io;
use std::path::{Path, PathBuf};

use ouzel_runtime::{AlignedBuf, File, Fs, OpenMode};

use crate::config::BLOCK;
use crate::error::StorageError;

/// An index file may lack this many bytes of slots: one block, for about 5 MiB of the segment.
const INDEX_BEHIND_BYTES_MAX: u64 = BLOCK as u64;

/// A side file in memory and how much of it the disk has.
pub(super) struct Side {
    /// `None` before the first write of a derived file: small segments never need one.
    pub(super) file: Option<File>,
    pub(super) fs: Fs,
    pub(super) path: PathBuf,
    /// Bytes that the file holds for certain (written, perhaps not synced).
    pub(super) on_disk: u64,
    /// Bytes of the file that may hold slots of a content that is gone: cut away, or never checkpointed before a crash.
    pub(super) stale: u64,
}

impl Side {
    /// Whether a derived file is worth a write: what is missing at its end is scanned again when the segment is opened, so
    /// a few blocks' worth may be. Stale bytes are overwritten at once.
    pub(super) fn is_worth_writing(&self, content_bytes: usize) -> bool {
        self.stale > 0 || content_bytes as u64 >= self.on_disk + INDEX_BEHIND_BYTES_MAX
    }

    /// Writes what `content` has beyond `on_disk`, whole blocks, the last one padded with zeros; over stale bytes, all of
    /// it and zeros to their end.
    pub(super) async fn append(&mut self, content: &[u8]) -> Result<(), StorageError> {
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
    pub(super) async fn created(&mut self) -> Result<File, StorageError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = create_file(&self.fs, &self.path).await?;
        Ok(self.file.insert(file).clone())
    }
}

/// A file of this name can only be what an earlier start wrote beyond its last checkpoint; it is replaced.
pub(super) async fn create_file(fs: &Fs, path: &Path) -> Result<File, StorageError> {
    let mut created = fs.open(path, OpenMode::Create).await;
    if created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        fs.remove_file(path).await.map_err(|error| StorageError::io("remove stale segment", path, error))?;
        created = fs.open(path, OpenMode::Create).await;
    }
    created.map_err(|error| StorageError::io("create segment", path, error))
}

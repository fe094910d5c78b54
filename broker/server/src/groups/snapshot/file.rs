//! A snapshot of groups as a file: written block by block under another name until it is whole and durable, read batch by
//! batch. Owns names and order of writing; never knows what a batch tells. Lives on the shard that owns the partition.

use std::io;
use std::path::{Path, PathBuf};

use ouzel_protocol::crc;
use ouzel_protocol::{BatchError, Offset, PartitionId};
use ouzel_runtime::{AlignedBuf, File, Fs, OpenMode};
use ouzel_storage::format::{FormatError, padded_to_block};

use super::super::records::RecordError;
use super::format::{HEADER_BYTES, SnapshotHeader, equal};
use crate::limits;

/// Why a snapshot was not written, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::groups) enum SnapshotError {
    #[error("{stage} failed: {source}")]
    Io {
        stage: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("batch {batch} of the snapshot: {error}")]
    Batch { batch: u64, error: BatchError },
    #[error("a record cannot be written: {0}")]
    Record(RecordError),
    #[error("the groups are not served here any more")]
    Gone,
}

impl SnapshotError {
    fn io(stage: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { stage, source }
    }

    /// Whether there was no space for it.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// Where the snapshots of a node are.
pub(super) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("groups")
}

/// The snapshot of a partition.
pub(super) fn path(data_dir: &Path, partition_id: PartitionId) -> PathBuf {
    directory(data_dir).join(format!("{:016x}.snapshot", partition_id.0))
}

/// The same while it is written.
pub(super) fn unfinished_path(data_dir: &Path, partition_id: PartitionId) -> PathBuf {
    directory(data_dir).join(format!("{:016x}.new", partition_id.0))
}

/// The partition that a file of the directory is of; `None` for one that is not ours.
pub(super) fn partition_of(name: &str) -> Option<PartitionId> {
    let (id, kind) = name.split_once('.')?;
    let is_ours = id.len() == 16 && matches!(kind, "snapshot" | "new");
    is_ours.then(|| u64::from_str_radix(id, 16).ok().map(PartitionId)).flatten()
}

/// A snapshot that is written. Nobody sees it before it is finished.
pub(super) struct SnapshotWriter {
    fs: Fs,
    data_dir: PathBuf,
    partition_id: PartitionId,
    file: File,
    /// The blocks that are written next, `filled` bytes of them.
    buf: AlignedBuf,
    filled: usize,
    at: u64,
    body_bytes: u64,
    body_crc: u32,
}

impl SnapshotWriter {
    /// Begins one, in place of one that was begun before.
    ///
    /// # Errors
    /// The disk's.
    pub(super) async fn create(fs: &Fs, data_dir: &Path, partition_id: PartitionId) -> Result<Self, SnapshotError> {
        let directory = directory(data_dir);
        fs.create_dir_all(&directory).await.map_err(SnapshotError::io("creating the directory"))?;
        fs.sync_dir(data_dir).await.map_err(SnapshotError::io("sync of the data directory"))?;
        let path = unfinished_path(data_dir, partition_id);
        remove(fs, &path).await?;
        let file = fs.open(&path, OpenMode::Create).await.map_err(SnapshotError::io("create"))?;
        Ok(Self {
            fs: fs.clone(),
            data_dir: data_dir.to_owned(),
            partition_id,
            file,
            buf: AlignedBuf::zeroed(limits::GROUP_SNAPSHOT_BUFFER_BYTES),
            filled: 0,
            at: HEADER_BYTES as u64,
            body_bytes: 0,
            body_crc: 0,
        })
    }

    /// Appends a batch to the body. Not to be used again after an error or when dropped half-way.
    ///
    /// # Errors
    /// The disk's.
    pub(super) async fn write(&mut self, batch: &[u8]) -> Result<(), SnapshotError> {
        self.body_crc = crc::crc32c_append(self.body_crc, batch);
        self.body_bytes += batch.len() as u64;
        let mut rest = batch;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.buf.len() - self.filled));
            self.buf[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            rest = later;
            if self.filled == self.buf.len() {
                self.write_blocks().await?;
            }
        }
        Ok(())
    }

    async fn write_blocks(&mut self) -> Result<(), SnapshotError> {
        let bytes = padded_to_block(self.filled);
        if bytes == 0 {
            return Ok(());
        }
        self.buf[self.filled..bytes].fill(0);
        // Its place is taken by the least there is until it comes back.
        let mut buf = std::mem::replace(&mut self.buf, AlignedBuf::zeroed(1));
        buf.set_len(bytes);
        let (written, buf) = self.file.write_at(buf, self.at).await;
        written.map_err(SnapshotError::io("write"))?;
        self.buf = buf;
        self.at += bytes as u64;
        self.filled = 0;
        Ok(())
    }

    /// Gives it its name, durably. All that was written must be durable in the log by now, and all of the log before `offset`
    /// must be in it. Returns its bytes.
    ///
    /// # Errors
    /// The disk's; the snapshot before this one is there still, or this one is.
    pub(super) async fn finish(&mut self, offset: Offset) -> Result<u64, SnapshotError> {
        self.write_blocks().await?;
        let (partition_id, body_bytes, body_crc) = (self.partition_id, self.body_bytes, self.body_crc);
        let header = SnapshotHeader { partition_id, offset, body_bytes, body_crc };
        let mut block = AlignedBuf::zeroed(HEADER_BYTES);
        block.copy_from_slice(&header.encode());
        self.file.write_at(block, 0).await.0.map_err(SnapshotError::io("write"))?;
        self.file.fdatasync().await.map_err(SnapshotError::io("fdatasync"))?;
        let (from, to) = (unfinished_path(&self.data_dir, self.partition_id), path(&self.data_dir, self.partition_id));
        self.fs.rename(&from, &to).await.map_err(SnapshotError::io("rename"))?;
        let directory = directory(&self.data_dir);
        self.fs.sync_dir(&directory).await.map_err(SnapshotError::io("sync of the directory"))?;
        Ok(self.at)
    }

    /// Leaves nothing behind of one that cannot be finished.
    pub(super) async fn discard(self) {
        // What is left is overwritten by the next.
        let _ = remove(&self.fs, &unfinished_path(&self.data_dir, self.partition_id)).await;
    }
}

/// Removes a file that need not be there.
pub(super) async fn remove(fs: &Fs, path: &Path) -> Result<(), SnapshotError> {
    match fs.remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SnapshotError::io("remove")(error)),
        _ => Ok(()),
    }
}

/// A snapshot that is read. What it has given counts only when all of it has proved sound, at the end.
pub(in crate::groups) struct SnapshotReader {
    file: File,
    header: SnapshotHeader,
    file_bytes: u64,
    at: u64,
    crc: u32,
    /// What was read and not consumed.
    bytes: Vec<u8>,
}

impl SnapshotReader {
    /// Opens the snapshot of a partition; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or its header is not sound or that of another partition.
    pub(in crate::groups) async fn open(
        fs: &Fs,
        data_dir: &Path,
        partition_id: PartitionId,
    ) -> Result<Option<Self>, SnapshotError> {
        let file = match fs.open(&path(data_dir, partition_id), OpenMode::Read).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(SnapshotError::io("open"))?,
        };
        let file_bytes = file.len().await.map_err(SnapshotError::io("length"))?;
        let (count, block) = file.read_new(HEADER_BYTES, 0).await.map_err(SnapshotError::io("read"))?;
        let header = SnapshotHeader::decode(block.get(..count).unwrap_or_default(), file_bytes)?;
        equal("partition of a snapshot of groups", partition_id.0, header.partition_id.0)?;
        Ok(Some(Self { file, header, file_bytes, at: HEADER_BYTES as u64, crc: 0, bytes: Vec::new() }))
    }

    /// Where the log goes on.
    pub(in crate::groups) fn offset(&self) -> Offset {
        self.header.offset
    }

    /// Bytes of the file.
    pub(in crate::groups) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The bytes of the body that were not consumed yet, more of them than before; `None` behind the last, where all of it has
    /// proved sound. Cancel-safe.
    ///
    /// # Errors
    /// It cannot be read, is not sound, or ends inside a batch.
    pub(in crate::groups) async fn read(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        let left = (HEADER_BYTES as u64 + self.header.body_bytes).saturating_sub(self.at);
        if left == 0 {
            equal("CRC of a snapshot's body", self.header.body_crc.into(), self.crc.into())?;
            equal("bytes behind the last batch of a snapshot", 0, self.bytes.len() as u64)?;
            return Ok(None);
        }
        let wanted = limits::GROUP_SNAPSHOT_BUFFER_BYTES;
        let (count, read) = self.file.read_new(wanted, self.at).await.map_err(SnapshotError::io("read"))?;
        let of_body = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        let (body, padding) = read.get(..count).and_then(|read| read.split_at_checked(of_body)).unwrap_or_default();
        equal("bytes of a snapshot that were read", of_body as u64, body.len() as u64)?;
        equal("padding of a snapshot", 0, padding.iter().copied().max().unwrap_or(0).into())?;
        self.crc = crc::crc32c_append(self.crc, body);
        self.bytes.extend_from_slice(body);
        self.at += of_body as u64;
        Ok(Some(&self.bytes))
    }

    /// The first `count` bytes of what was read are done with.
    pub(in crate::groups) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count);
    }
}

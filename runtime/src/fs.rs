//! Operations on paths: they block, so they run on the node's helper thread (or in the simulator). Knows no layout of the
//! data directory. The handle stays on its core.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::driver::{Driver, FsOp, FsReply, SimDriver};
use crate::executor::Core;
use crate::file::File;
use crate::helper;
use crate::ring::RingDriver;
use crate::sync::oneshot;
use crate::sys;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file, for reading and writing; one that exists is an error (`AlreadyExists`).
    Create,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// File name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for directories.
    pub bytes: u64,
}

/// The file system, seen from a shard. Dropping a future does not stop the operation.
#[derive(Clone)]
pub struct Fs {
    core: Rc<Core>,
}

impl Fs {
    pub(crate) fn new(core: &Rc<Core>) -> Self {
        Self { core: Rc::clone(core) }
    }

    /// Opens a file for direct I/O. A new file's directory entry is durable after [`sync_dir`](Self::sync_dir).
    ///
    /// # Errors
    /// The file system's; `InvalidInput` where it has no direct I/O.
    pub async fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File> {
        let path = path.to_owned();
        match &self.core.driver {
            Driver::Ring(ring) => {
                let file = on_helper(ring, move || open_direct(&path, mode)).await?;
                Ok(File::on_ring(&self.core, ring, file))
            }
            Driver::Sim(sim) => match in_sim(sim, FsOp::Open { path, mode }).await? {
                FsReply::Opened(file) => Ok(File::in_sim(&self.core, file)),
                other => unreachable!("the simulator answered an open with {other:?}"),
            },
        }
    }

    /// Creates a directory and those above it.
    ///
    /// # Errors
    /// The file system's.
    pub async fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        match &self.core.driver {
            Driver::Ring(ring) => on_helper(ring, move || std::fs::create_dir_all(path)).await,
            Driver::Sim(sim) => in_sim(sim, FsOp::CreateDirAll(path)).await.map(drop),
        }
    }

    /// Unlinks a file.
    ///
    /// # Errors
    /// The file system's.
    pub async fn remove_file(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        match &self.core.driver {
            Driver::Ring(ring) => on_helper(ring, move || std::fs::remove_file(path)).await,
            Driver::Sim(sim) => in_sim(sim, FsOp::RemoveFile(path)).await.map(drop),
        }
    }

    /// Removes a directory with all that is in it.
    ///
    /// # Errors
    /// The file system's.
    pub async fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        match &self.core.driver {
            Driver::Ring(ring) => on_helper(ring, move || std::fs::remove_dir_all(path)).await,
            Driver::Sim(sim) => in_sim(sim, FsOp::RemoveDirAll(path)).await.map(drop),
        }
    }

    /// Renames a file or directory, replacing a file at the new name.
    ///
    /// # Errors
    /// The file system's.
    pub async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        match &self.core.driver {
            Driver::Ring(ring) => on_helper(ring, move || std::fs::rename(from, to)).await,
            Driver::Sim(sim) => in_sim(sim, FsOp::Rename { from, to }).await.map(drop),
        }
    }

    /// Makes the entries of a directory durable: files created, removed or renamed in it.
    ///
    /// # Errors
    /// The disk's.
    pub async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        match &self.core.driver {
            Driver::Ring(ring) => on_helper(ring, move || std::fs::File::open(path)?.sync_all()).await,
            Driver::Sim(sim) => in_sim(sim, FsOp::SyncDir(path)).await.map(drop),
        }
    }

    /// The entries of a directory, sorted by name.
    ///
    /// # Errors
    /// The file system's.
    pub async fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let path = path.to_owned();
        let mut entries = match &self.core.driver {
            Driver::Ring(ring) => on_helper(ring, move || list(&path)).await?,
            Driver::Sim(sim) => match in_sim(sim, FsOp::ReadDir(path)).await? {
                FsReply::Entries(entries) => entries,
                other => unreachable!("the simulator answered a listing with {other:?}"),
            },
        };
        entries.sort();
        Ok(entries)
    }

    /// Bytes that may still be written to the file system of `path`.
    ///
    /// # Errors
    /// The file system's.
    pub async fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let path = path.to_owned();
        match &self.core.driver {
            Driver::Ring(ring) => on_helper(ring, move || sys::free_bytes(&path)).await,
            Driver::Sim(sim) => match in_sim(sim, FsOp::FreeBytes(path)).await? {
                FsReply::Bytes(bytes) => Ok(bytes),
                other => unreachable!("the simulator answered the free space with {other:?}"),
            },
        }
    }
}

/// A file system as a whole, from the moment it was opened on.
pub struct FileSystem {
    core: Rc<Core>,
    /// On the ring. It learns of failures since it was opened, so it is kept.
    directory: Option<Arc<std::fs::File>>,
}

impl Fs {
    /// The file system that `directory` lies on.
    ///
    /// # Errors
    /// The file system's.
    pub async fn file_system(&self, directory: &Path) -> io::Result<FileSystem> {
        let path = directory.to_owned();
        let directory = match &self.core.driver {
            Driver::Ring(ring) => Some(Arc::new(on_helper(ring, move || std::fs::File::open(path)).await?)),
            Driver::Sim(_) => None,
        };
        Ok(FileSystem { core: Rc::clone(&self.core), directory })
    }
}

impl FileSystem {
    /// Makes every completed write and every entry of a directory durable (syncfs), those of other programs too: one call
    /// for many files, which takes as long as others have dirty pages. The cache of the device may have been left out where
    /// there was nothing to do: a file's own fdatasync flushes it. Dropping the future does not stop it.
    ///
    /// # Errors
    /// The disk's, also for writes of others.
    pub async fn sync(&self) -> io::Result<()> {
        match (&self.core.driver, &self.directory) {
            (Driver::Ring(ring), Some(directory)) => {
                let _busy = ring.count_disk();
                let directory = Arc::clone(directory);
                helper::call_apart(move || sys::sync_file_system(directory.as_fd())).await
            }
            (Driver::Sim(sim), _) => in_sim(sim, FsOp::SyncAll).await.map(drop),
            (Driver::Ring(_), None) => unreachable!("a file system outlives its driver's kind"),
        }
    }
}

impl fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSystem").finish_non_exhaustive()
    }
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fs").finish_non_exhaustive()
    }
}

/// On the helper thread; the shard does not spin meanwhile.
async fn on_helper<T: Send + 'static>(
    ring: &Rc<RingDriver>,
    action: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let _busy = ring.count_disk();
    helper::call(action).await
}

async fn in_sim(sim: &Rc<dyn SimDriver>, op: FsOp) -> io::Result<FsReply> {
    let (sender, receiver) = oneshot::channel();
    sim.fs(op, sender);
    receiver.await.unwrap_or_else(|_| unreachable!("the simulator forgot an operation"))
}

/// Opens with O_DIRECT (std adds O_CLOEXEC).
pub(crate) fn open_direct(path: &Path, mode: OpenMode) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(mode != OpenMode::Read).create_new(mode == OpenMode::Create);
    options.mode(0o644).custom_flags(libc::O_DIRECT).open(path)
}

fn list(path: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // Unlinked since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let is_dir = metadata.is_dir();
        let bytes = if is_dir { 0 } else { metadata.len() };
        entries.push(DirEntry { name: entry.file_name().to_string_lossy().into_owned(), is_dir, bytes });
    }
    Ok(entries)
}

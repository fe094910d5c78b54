//! The data directory: created, locked against a second broker, its parts named. Owns the lock file, whose lock lasts
//! as long as the process (or the [`DataDir`]) lives, whatever kills it. Used on the thread that starts the broker.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::error::StartError;

/// A data directory that is ours alone.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if it is missing and locks it.
    pub(crate) fn lock(path: &Path) -> Result<Self, StartError> {
        let unusable = |source| StartError::DataDir { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(unusable)?;
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock")).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(unusable(source)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Where the metadata log lives.
pub(crate) fn metadata_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("metadata")
}

/// Where the journals of all starts live, one directory a start and shard: `<incarnation:016x>-<shard:04x>`.
pub(crate) fn journals_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journals")
}

/// The incarnation in the name of a journal directory.
pub(crate) fn incarnation_of(name: &str) -> Option<u64> {
    let (incarnation, shard) = name.split_once('-')?;
    let is_ours = incarnation.len() == 16 && shard.len() == 4;
    is_ours.then(|| u64::from_str_radix(incarnation, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_once_and_free_again_after_the_drop() {
        let parent = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary directory");
        let path = parent.path().join("a/b");
        let first = DataDir::lock(&path).expect("free");
        assert!(matches!(DataDir::lock(&path), Err(StartError::Locked { .. })));
        drop(first);
        DataDir::lock(&path).expect("free again");
    }

    #[test]
    fn names_of_journal_directories_are_understood_and_others_are_not() {
        assert_eq!(incarnation_of("000000000000001f-0001"), Some(31));
        for name in ["", "x-0001", "1f-0001", "000000000000001f", "000000000000001g-0001"] {
            assert_eq!(incarnation_of(name), None, "{name}");
        }
    }
}

//! The reserve of a shard: space that it holds on the disk and does not use, so that a full disk finds it able to end what
//! it has begun (rule J13). Owns one file without contents, `reserve/<shard>`, and what a start does with those of the start
//! before. Decides nothing: how much must be held, and when it is taken again, is `space.rs`. Lives on the owner shard.
//!
//! Whoever meets a full disk takes a step of it and tries again. The file says nothing and is never read.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use ouzel_runtime::sync::Semaphore;
use ouzel_runtime::{File, OpenMode, Shard};

use crate::error::StorageError;

/// What a start frees at a time: the largest segment write.
const START_STEP_BYTES: u64 = 1024 * 1024;

/// Where the reserves of all shards are.
fn reserve_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("reserve")
}

/// Does work of a start that may need space, before any shard has a reserve of its own: those of the start before give way,
/// one step after another.
///
/// # Errors
/// What the work or the file system said.
pub(crate) async fn with_reserves_of_before<T>(
    shard: &Shard,
    data_dir: &Path,
    work: impl AsyncFn() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    loop {
        match work().await {
            Err(error) if error.is_disk_full() => {
                if !give_way_at_start(shard, data_dir).await? {
                    return Err(error);
                }
            }
            settled => return settled,
        }
    }
}

async fn give_way_at_start(shard: &Shard, data_dir: &Path) -> Result<bool, StorageError> {
    for (path, bytes) in list(shard, data_dir).await? {
        if bytes > 0 {
            let failed = |error| StorageError::io("shrink reserve", &path, error);
            let file = shard.fs().open(&path, OpenMode::ReadWrite).await.map_err(failed)?;
            file.truncate(bytes.saturating_sub(START_STEP_BYTES)).await.map_err(failed)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the reserves of shards that this start does not have.
///
/// # Errors
/// What the file system said; nothing depends on the removal.
pub(crate) async fn remove_reserves_but(shard: &Shard, data_dir: &Path, shards: &[u16]) -> Result<(), StorageError> {
    let kept: Vec<String> = shards.iter().map(|index| name(*index)).collect();
    for (path, _) in list(shard, data_dir).await? {
        if !kept.iter().any(|name| path.ends_with(name)) {
            shard.fs().remove_file(&path).await.map_err(|error| StorageError::io("remove reserve", &path, error))?;
        }
    }
    Ok(())
}

/// Every reserve and its size in bytes.
async fn list(shard: &Shard, data_dir: &Path) -> Result<Vec<(PathBuf, u64)>, StorageError> {
    let directory = reserve_dir(data_dir);
    match shard.fs().read_dir(&directory).await {
        Ok(entries) => Ok(entries.into_iter().map(|entry| (directory.join(entry.name), entry.bytes)).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StorageError::io("list reserve", &directory, error)),
    }
}

fn name(shard_index: u16) -> String {
    format!("{shard_index:04x}")
}

/// See the module.
pub(crate) struct Reserve {
    shard: Shard,
    path: PathBuf,
    /// Bytes given way at a time.
    step_bytes: u64,
    file: RefCell<Option<File>>,
    held: Cell<u64>,
    /// Its size is changed by one caller at a time.
    changing: Semaphore,
}

impl Reserve {
    pub(crate) fn new(shard: &Shard, data_dir: &Path, shard_index: u16, step_bytes: u64) -> Self {
        Self {
            shard: shard.clone(),
            path: reserve_dir(data_dir).join(name(shard_index)),
            step_bytes,
            file: RefCell::new(None),
            held: Cell::new(0),
            changing: Semaphore::new(1),
        }
    }

    /// Takes over what the start before held for a shard of this number.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) async fn adopt(&self) -> Result<(), StorageError> {
        let file = match self.shard.fs().open(&self.path, OpenMode::ReadWrite).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| self.failed("open reserve", error))?,
        };
        self.held.set(file.len().await.map_err(|error| self.failed("size reserve", error))?);
        *self.file.borrow_mut() = Some(file);
        Ok(())
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        self.held.get()
    }

    /// Holds at least `bytes`, or as many as before.
    ///
    /// # Errors
    /// What the file system said; a full disk is named as such.
    pub(crate) async fn grow_to(&self, bytes: u64) -> Result<(), StorageError> {
        let _one_at_a_time = self.changing.acquire(1).await;
        let held = self.held.get();
        if held >= bytes {
            return Ok(());
        }
        let file = self.open().await?;
        if let Err(error) = file.allocate(held, bytes - held).await {
            // Some file systems keep what they found before they had no more.
            file.truncate(held).await.map_err(|error| self.failed("shrink reserve", error))?;
            return Err(self.failed("grow reserve", error));
        }
        // After a power cut the space is ours or nobody's.
        file.sync_all().await.map_err(|error| self.failed("sync reserve", error))?;
        self.held.set(bytes);
        Ok(())
    }

    /// Frees one step for whoever needs space now. False if nothing is held.
    ///
    /// # Errors
    /// What the file system said.
    pub(crate) async fn give_way(&self) -> Result<bool, StorageError> {
        let _one_at_a_time = self.changing.acquire(1).await;
        let (held, file) = (self.held.get(), self.file.borrow().clone());
        let Some(file) = file.filter(|_| held > 0) else { return Ok(false) };
        let left = held.saturating_sub(self.step_bytes);
        file.truncate(left).await.map_err(|error| self.failed("shrink reserve", error))?;
        self.held.set(left);
        Ok(true)
    }

    async fn open(&self) -> Result<File, StorageError> {
        if let Some(file) = self.file.borrow().clone() {
            return Ok(file);
        }
        let fs = self.shard.fs();
        if let Some(directory) = self.path.parent() {
            fs.create_dir_all(directory).await.map_err(|error| self.failed("create reserve", error))?;
        }
        let file = fs.open(&self.path, OpenMode::Create).await.map_err(|error| self.failed("create reserve", error))?;
        for directory in self.path.ancestors().skip(1).take(2) {
            fs.sync_dir(directory).await.map_err(|error| self.failed("sync directory of reserve", error))?;
        }
        *self.file.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    fn failed(&self, stage: &'static str, error: std::io::Error) -> StorageError {
        StorageError::io(stage, &self.path, error)
    }
}

#[cfg(test)]
mod tests {
    use ouzel_runtime::sim::{SimDisk, SimOutcome, run_sim};

    use super::*;

    #[test]
    fn a_reserve_gives_way_by_steps_and_is_taken_again_when_there_is_space() {
        let disk = SimDisk::new(1);
        disk.set_capacity(100_000);
        let run_disk = disk.clone();
        let outcome = run_sim(1, disk, |shard| async move {
            let reserve = Reserve::new(&shard, Path::new("/data"), 3, 30_000);
            assert!(!reserve.give_way().await.expect("nothing to do"));
            reserve.grow_to(80_000).await.expect("space");
            assert!(reserve.grow_to(120_000).await.expect_err("no space").is_disk_full());
            assert_eq!(reserve.held(), 80_000, "what was held is held");
            for left in [50_000, 20_000, 0] {
                assert!(reserve.give_way().await.expect("truncated"));
                assert_eq!(reserve.held(), left);
            }
            assert!(!reserve.give_way().await.expect("nothing to do"));
            run_disk.set_capacity(200_000);
            reserve.grow_to(120_000).await.expect("space");
            let next = Reserve::new(&shard, Path::new("/data"), 3, 30_000);
            next.adopt().await.expect("there");
            assert_eq!(next.held(), 120_000, "the next start finds it");
            remove_reserves_but(&shard, Path::new("/data"), &[0, 3]).await.expect("nothing to do");
            let left = shard.fs().free_bytes(Path::new("/data")).await.expect("known");
            remove_reserves_but(&shard, Path::new("/data"), &[0, 1, 2]).await.expect("removed");
            (left, shard.fs().free_bytes(Path::new("/data")).await.expect("known"))
        });
        assert_eq!(outcome, SimOutcome::Done((80_000, 200_000)));
    }

    #[test]
    fn work_of_a_start_gets_what_the_start_before_held() {
        let disk = SimDisk::new(1);
        disk.set_capacity(4 * START_STEP_BYTES);
        let outcome = run_sim(1, disk, |shard| async move {
            let data_dir = Path::new("/data");
            for index in 0..2 {
                let reserve = Reserve::new(&shard, data_dir, index, START_STEP_BYTES);
                reserve.grow_to(2 * START_STEP_BYTES).await.expect("space");
            }
            let path = data_dir.join("needed");
            let file = shard.fs().open(&path, OpenMode::Create).await.expect("created");
            let need = async |bytes| {
                let allocate =
                    async || file.allocate(0, bytes).await.map_err(|error| StorageError::io("allocate", &path, error));
                with_reserves_of_before(&shard, data_dir, allocate).await
            };
            need(3 * START_STEP_BYTES).await.expect("three steps give way");
            assert!(need(5 * START_STEP_BYTES).await.expect_err("there are only four").is_disk_full());
        });
        assert_eq!(outcome, SimOutcome::Done(()));
    }
}

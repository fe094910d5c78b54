//! Recovery: from what the disk holds to the state of every partition, before anything is served. Runs once, on one
//! shard, at every start; no partition is open while it runs.
//!
//! It reads the checkpoints and the journals of the committed start, never the stored data: its time depends on the
//! journal, not on what is stored. Journals of other starts are not looked at: the metadata record `NodeStarted` is what
//! makes a start's journals count, so a start that died before it leaves nothing behind that is believed.
//!
//! ## Decision table
//!
//! For one journal, with `N` the first commit that replay cannot accept (first break of the chain, rule J1) and `D` the
//! highest `durable_sequence` that any valid commit of this journal, any valid checkpoint slot or any seal states:
//!
//! | # | Checkpoint slots | Commit `N` | `D` | Decision | Why |
//! |---|---|---|---|---|---|
//! | 1 | none valid | any | any | refuse | a committed start has synced slot 1 before its metadata record |
//! | 2 | one valid or both | - | `D >= N` | refuse, naming file and byte | `N` was acknowledged: damage, not a torn write (J4) |
//! | 3 | valid | blank or of an older lap | `D < N` | clean end | nothing was being written, or nothing of it arrived |
//! | 4 | valid | damaged, or a valid later commit exists | `D < N` | torn tail: cut, reported | `N` was never synced, so never acknowledged |
//! | 5 | valid | whole, but its chain is broken | `D < N` | torn tail: cut, reported | a survivor of an earlier cut (J1) |
//! | 6 | valid | other bytes, and no journal file was ever given back | `D < N` | torn tail: cut, reported | its first sector is lost; where files are used again, nothing tells its rest from older bytes (row 3) |
//! | 7 | valid | a whole commit of another version | any | refuse | a newer version of ouzel wrote it: it is not ours to cut |
//!
//! A damaged commit is known as `N` by two of magic, journal id and incarnation, and by its sequence or the checksum that
//! it follows: whatever single bit is flipped leaves those. What else it says is reported, never believed.
//!
//! The chain restarts nowhere: replay begins at the checkpoint's `replay_sequence` with the checksum it names. A newer
//! slot that is damaged leaves the older one, whose commits are then either all there (row 3 or 4) or recycled (row 2,
//! because the newer commits that overwrote them state a higher `D`).
//!
//! For one entry of an accepted commit, in order, rows as arms of `Replay::apply`:
//!
//! | # | Entry | Decision |
//! |---|---|---|
//! | a | partition neither live nor ever assigned | refuse (J6) |
//! | b | partition dropped | skip |
//! | c | commit below the partition's `replay_from` or its last truncation | skip: cut away, carried since, or checkpointed before the cut |
//! | d | fragment without its first | skip if its bytes are in synced segments, else refuse |
//! | e | data wholly below the segment's valid bytes | skip: already in the segment |
//! | f | data across that boundary | keep the part behind it |
//! | g | data at the end of the tail | append |
//! | h | data in the next segment | pad and flush the tail, then open the segment |
//! | i | data anywhere else | refuse: a gap |
//! | j | carry | it replaces the tail from its position on |
//! | k | truncate | segments and tail end where it says |
//! | l | log start | raised, never lowered; segments wholly below it are forgotten |
//! | m | drop | the partition's state is forgotten |
//!
//! Everything accepted is synced before recovery returns (J3): journals before they are read, segments at the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ouzel_protocol::{Incarnation, PartitionId};
use ouzel_runtime::Shard;

use crate::config::{PartitionConfig, StoreConfig};
use crate::error::StorageError;
use crate::replay::{RecoveredPartition, Replay};
use crate::reserve::remove_reserves_but;
use crate::scan::{JournalScan, scan_journal};

/// The start whose journals hold the log: what the metadata log says was committed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommittedStart {
    /// Its number.
    pub incarnation: Incarnation,
    /// How many shards, thus journals, it had.
    pub shards: u16,
}

/// Which partition ids the metadata ever assigned: every id below `next`. Those that are not live are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignedIds {
    /// The first id not assigned yet.
    pub next: PartitionId,
}

/// A tail that was cut because its commit was never synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutReport {
    /// Journal file.
    pub path: PathBuf,
    /// Byte where the cut commit starts.
    pub position: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Partitions and offsets as far as the damaged bytes can be believed.
    pub detail: String,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Journals replayed.
    pub journals: usize,
    /// Commits accepted.
    pub commits: u64,
    /// Journal bytes of these commits.
    pub bytes: u64,
    /// Entries applied.
    pub entries: u64,
    /// Tails cut.
    pub cut: Vec<CutReport>,
    /// Journals whose last commit no later one vouches for: the process died with a commit in flight.
    pub unsealed: usize,
    /// Times the journals came round before the stop.
    pub wraps: u64,
    /// Wall time.
    pub elapsed: Duration,
}

impl RecoveryReport {
    /// Number of torn tails.
    pub fn torn_tails(&self) -> usize {
        self.cut.len()
    }
}

/// Every partition's state, ready to be handed to its owner shard.
#[derive(Debug)]
pub struct Recovered {
    /// Live partitions, empty ones included.
    pub partitions: BTreeMap<PartitionId, RecoveredPartition>,
    /// What happened.
    pub report: RecoveryReport,
}

/// How far recovery is. Written by the shard that recovers and read by whoever tells people; nothing is decided by it.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    journals: AtomicU64,
    journals_total: AtomicU64,
    bytes: AtomicU64,
    bytes_max: AtomicU64,
}

impl RecoveryProgress {
    /// Sets what is to come, before recovery begins: how many journals, and the bytes of their files. Each journal is read twice at
    /// most: to its end to see what is there, and then the commits that are to be applied.
    pub fn expect(&self, journals: u64, file_bytes: u64) {
        self.journals_total.store(journals, Ordering::Relaxed);
        self.bytes_max.store(2 * file_bytes, Ordering::Relaxed);
    }

    /// Journals that are done.
    pub fn journals(&self) -> u64 {
        self.journals.load(Ordering::Relaxed)
    }

    /// Journals there are; 0 until it is known.
    pub fn journals_total(&self) -> u64 {
        self.journals_total.load(Ordering::Relaxed)
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that are read at most; 0 until it is known.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Directory of one journal.
pub(crate) fn journal_dir(data_dir: &Path, incarnation: Incarnation, shard: u16) -> PathBuf {
    data_dir.join("journals").join(format!("{:016x}-{shard:04x}", incarnation.0))
}

/// Replays the journals of the committed start. See the module.
///
/// # Errors
/// [`StorageError::Corrupt`] where acknowledged bytes are damaged: the operator decides, nothing is changed.
/// [`StorageError::Io`] where the disk fails.
pub async fn recover(
    shard: &Shard,
    data_dir: &Path,
    config: &StoreConfig,
    committed: Option<CommittedStart>,
    live: &BTreeMap<PartitionId, PartitionConfig>,
    assigned: AssignedIds,
) -> Result<Recovered, StorageError> {
    recover_watched(shard, data_dir, config, committed, live, assigned, &RecoveryProgress::default()).await
}

/// As [`recover`], and tells how far it is.
///
/// # Errors
/// As [`recover`].
pub async fn recover_watched(
    shard: &Shard,
    data_dir: &Path,
    config: &StoreConfig,
    committed: Option<CommittedStart>,
    live: &BTreeMap<PartitionId, PartitionConfig>,
    assigned: AssignedIds,
    progress: &RecoveryProgress,
) -> Result<Recovered, StorageError> {
    config.assert_sane();
    let started = shard.now();
    let mut report = RecoveryReport::default();
    let mut partitions = BTreeMap::new();
    if let Some(committed) = committed {
        for index in 0..committed.shards {
            let directory = journal_dir(data_dir, committed.incarnation, index);
            let scan = scan_journal(shard, &directory, committed.incarnation, progress).await?;
            note_scan(&mut report, &scan);
            let mut replay = Replay::new(shard, data_dir, config, &scan.checkpoint, live, assigned, &scan.truncated)
                .map_err(|error| StorageError::Corrupt {
                    what: "checkpoint",
                    path: directory.clone(),
                    position: 0,
                    detail: error.to_string(),
                })?;
            for commit in &scan.accepted {
                let bytes = scan.read(commit).await?;
                progress.read(commit.bytes);
                report.entries += replay.apply_commit(&bytes, commit, scan.path(commit)).await?;
            }
            for (id, recovered) in replay.finish().await? {
                if partitions.insert(id, recovered).is_some() {
                    return Err(StorageError::Corrupt {
                        what: "journal",
                        path: directory,
                        position: 0,
                        detail: format!("partition {id} stands in two journals of one start"),
                    });
                }
            }
            progress.journals.fetch_add(1, Ordering::Relaxed);
        }
    }
    for id in live.keys() {
        partitions.entry(*id).or_insert_with(|| RecoveredPartition::empty(*id));
    }
    report.elapsed = shard.now() - started;
    Ok(Recovered { partitions, report })
}

fn note_scan(report: &mut RecoveryReport, scan: &JournalScan) {
    report.journals += 1;
    report.commits += scan.accepted.len() as u64;
    report.bytes += scan.accepted.iter().map(|commit| commit.bytes as u64).sum::<u64>();
    report.unsealed += usize::from(scan.unsealed);
    report.wraps += scan.wraps;
    if let Some(cut) = &scan.cut {
        tracing::warn!(path = %cut.path.display(), position = cut.position, sequence = cut.sequence, detail = %cut.detail, "torn tail cut: this commit was never acknowledged");
        report.cut.push(cut.clone());
    }
}

/// Removes what earlier starts left behind: their journals, reserves of shards that are gone, and directories of partitions that no longer exist. Runs
/// after the start `current` is committed and before any partition is created, which it would take for a left-over; may
/// be cut short at any point and finishes at the next start.
///
/// # Errors
/// What the file system said; nothing depends on the removal.
pub async fn retire_old(
    shard: &Shard,
    data_dir: &Path,
    current: Incarnation,
    live: &BTreeMap<PartitionId, PartitionConfig>,
) -> Result<(), StorageError> {
    let fs = shard.fs();
    let journals = data_dir.join("journals");
    let failed = |path: &Path, error| StorageError::io("retire", path, error);
    let mut shards = Vec::new();
    for entry in fs.read_dir(&journals).await.map_err(|error| failed(&journals, error))? {
        let incarnation = entry.name.get(..16).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if entry.is_dir && incarnation.is_some_and(|incarnation| incarnation != current.0) {
            let path = journals.join(&entry.name);
            fs.remove_dir_all(&path).await.map_err(|error| failed(&path, error))?;
        } else if incarnation.is_some() {
            shards.extend(entry.name.get(17..).and_then(|hex| u16::from_str_radix(hex, 16).ok()));
        }
    }
    remove_reserves_but(shard, data_dir, &shards).await?;
    let partitions = data_dir.join("partitions");
    for entry in fs.read_dir(&partitions).await.map_err(|error| failed(&partitions, error))? {
        let id = u64::from_str_radix(&entry.name, 16).map(PartitionId);
        if entry.is_dir && id.is_ok_and(|id| !live.contains_key(&id)) {
            let path = partitions.join(&entry.name);
            fs.remove_dir_all(&path).await.map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

//! Scanning one journal: which commits are there, which of them replay accepts, and whether what follows is a torn tail
//! or damage (rule J4). Runs during recovery only. Applies nothing; `replay.rs` does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ouzel_protocol::{Incarnation, PartitionId};
use ouzel_runtime::{AlignedBuf, File, OpenMode, Shard};

use crate::config::BLOCK;
use crate::error::StorageError;
use crate::format::checkpoint::Checkpoint;
use crate::format::commit::{
    COMMIT_HEADER_BYTES, Commit, CommitError, CommitHeader, EntryKind, Salvage, parse_commit, peek_header, salvage,
};
use crate::format::is_blank;
use crate::mutation::{self, Mutation};
use crate::recover::{CutReport, RecoveryProgress};
use crate::segment::read_all;

const SCAN_BYTES: usize = 1024 * 1024;

/// A valid commit found in a journal file.
#[derive(Clone, Debug)]
pub(crate) struct CommitRef {
    pub(crate) file: usize,
    pub(crate) position: u64,
    pub(crate) bytes: usize,
    pub(crate) sequence: u64,
    durable_sequence: u64,
    previous_checksum: u32,
    checksum: u32,
    seal: bool,
    /// Fragments of truncations: partition, first, last.
    truncations: Vec<(PartitionId, bool, bool)>,
}

impl CommitRef {
    pub(crate) fn new(file: usize, position: u64, commit: &Commit<'_>) -> Self {
        let header = commit.header();
        Self {
            file,
            position,
            bytes: commit.padded_bytes(),
            sequence: header.fields.sequence,
            durable_sequence: header.fields.durable_sequence,
            previous_checksum: header.fields.previous_checksum,
            checksum: header.checksum,
            seal: header.seal,
            truncations: commit
                .entries()
                .flatten()
                .filter(|(entry, _)| entry.kind == EntryKind::Truncate)
                .map(|(entry, _)| (entry.partition, entry.first_fragment, entry.last_fragment))
                .collect(),
        }
    }
}

/// What is in the files beside whole commits.
#[derive(Default)]
struct Remains {
    /// Damaged commits of this journal: file, position, what they still say.
    damaged: Vec<(usize, u64, Salvage)>,
    /// The first block that is neither blank nor part of any commit of this journal.
    foreign: Option<(usize, u64)>,
}

struct ScanFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// What one journal holds.
pub(crate) struct JournalScan {
    pub(crate) checkpoint: Checkpoint,
    /// In order, from the checkpoint's replay sequence on.
    pub(crate) accepted: Vec<CommitRef>,
    pub(crate) cut: Option<CutReport>,
    pub(crate) unsealed: bool,
    pub(crate) wraps: u64,
    /// First commit of the last whole truncation of a partition: what stands before it is obsolete.
    pub(crate) truncated: BTreeMap<PartitionId, u64>,
    files: Vec<ScanFile>,
}

impl JournalScan {
    /// The file that holds a commit.
    pub(crate) fn path(&self, commit: &CommitRef) -> &Path {
        &self.files[commit.file].path
    }

    /// The bytes of an accepted commit, checked again.
    pub(crate) async fn read(&self, commit: &CommitRef) -> Result<AlignedBuf, StorageError> {
        let file = &self.files[commit.file];
        let read = file.file.read_new(commit.bytes, commit.position).await;
        let (read, buf) = read.map_err(|error| StorageError::io("read journal", &file.path, error))?;
        let same = matches!(parse_commit(&buf), Ok(parsed) if parsed.header().checksum == commit.checksum);
        if read < commit.bytes || !same {
            return Err(StorageError::Corrupt {
                what: "journal commit",
                path: file.path.clone(),
                position: commit.position,
                detail: format!("commit {} reads differently a second time", commit.sequence),
            });
        }
        Ok(buf)
    }
}

/// Reads the checkpoint and every file of a journal and decides, by the table in `recover.rs`, what replay accepts.
pub(crate) async fn scan_journal(
    shard: &Shard,
    directory: &Path,
    incarnation: Incarnation,
    progress: &RecoveryProgress,
) -> Result<JournalScan, StorageError> {
    let (checkpoint, problems) = read_checkpoint(shard, directory, incarnation).await?;
    let mut files = open_files(shard, directory).await?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut found = BTreeMap::new();
    let mut remains = Remains::default();
    for (index, file) in files.iter().enumerate() {
        scan_file(index, file, &checkpoint, &mut found, &mut remains, progress).await?;
    }
    // Where a slot is damaged, what it spoke of may be gone from the journal: then that is what is to blame.
    decide(checkpoint, files, &found, &remains).map_err(|error| match error {
        StorageError::Corrupt { what, path, position, detail } if !problems.is_empty() => {
            let detail = format!("{detail}; {}", problems.join("; "));
            StorageError::Corrupt { what, path, position, detail }
        }
        other => other,
    })
}

/// The newer valid slot, and what is wrong with the other one.
async fn read_checkpoint(
    shard: &Shard,
    directory: &Path,
    incarnation: Incarnation,
) -> Result<(Checkpoint, Vec<String>), StorageError> {
    let mut best: Option<Checkpoint> = None;
    let mut problems = Vec::new();
    for slot in 0..2 {
        let path = directory.join(format!("checkpoint.{slot}"));
        let file = match shard.fs().open(&path, OpenMode::ReadWrite).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StorageError::io("open checkpoint", &path, error)),
        };
        file.fdatasync().await.map_err(|error| StorageError::io("fdatasync checkpoint", &path, error))?;
        match Checkpoint::decode(&read_all(&file, &path).await?) {
            Ok(checkpoint) if checkpoint.incarnation != incarnation => {
                problems.push(format!("{} is of start {}", path.display(), checkpoint.incarnation));
            }
            Ok(checkpoint) if best.as_ref().is_none_or(|best| best.generation < checkpoint.generation) => {
                best = Some(checkpoint)
            }
            Ok(_) => {}
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    match best {
        Some(best) => Ok((best, problems)),
        None => Err(StorageError::Corrupt {
            what: "checkpoint",
            path: directory.to_owned(),
            position: 0,
            detail: format!("no valid slot; {}", problems.join("; ")),
        }),
    }
}

async fn open_files(shard: &Shard, directory: &Path) -> Result<Vec<ScanFile>, StorageError> {
    let mut files = Vec::new();
    let entries =
        shard.fs().read_dir(directory).await.map_err(|error| StorageError::io("list journal", directory, error))?;
    for entry in entries.into_iter().filter(|entry| entry.name.ends_with(".journal")) {
        let path = directory.join(&entry.name);
        let file = shard
            .fs()
            .open(&path, OpenMode::ReadWrite)
            .await
            .map_err(|error| StorageError::io("open journal", &path, error))?;
        // A killed process may have left bytes that only the drive's cache holds (rule J3).
        file.fdatasync().await.map_err(|error| StorageError::io("fdatasync journal", &path, error))?;
        let bytes = file.len().await.map_err(|error| StorageError::io("size journal", &path, error))? / BLOCK as u64
            * BLOCK as u64;
        files.push(ScanFile { path, file, bytes });
    }
    Ok(files)
}

/// A sliding window over one file, so that a commit across two reads is seen whole.
async fn scan_file(
    index: usize,
    file: &ScanFile,
    checkpoint: &Checkpoint,
    found: &mut BTreeMap<u64, CommitRef>,
    remains: &mut Remains,
    progress: &RecoveryProgress,
) -> Result<(), StorageError> {
    let mut position = 0;
    let mut wanted = BLOCK;
    let mut window = AlignedBuf::zeroed((file.bytes as usize).clamp(BLOCK, SCAN_BYTES));
    let (mut window_at, mut window_bytes) = (0, 0);
    while position < file.bytes {
        let remaining = (file.bytes - position) as usize;
        if position < window_at || position + wanted.min(remaining) as u64 > window_at + window_bytes as u64 {
            let size = wanted.max(SCAN_BYTES).min(remaining);
            if window.capacity() < size {
                window = AlignedBuf::zeroed(size);
            }
            let (read, buf) = file.file.read_at(window, size, position).await;
            window = buf;
            window_bytes = read.map_err(|error| StorageError::io("read journal", &file.path, error))? / BLOCK * BLOCK;
            window_at = position;
            if window_bytes < wanted.min(remaining) {
                return Ok(());
            }
        }
        let bytes = &window[(position - window_at) as usize..window_bytes];
        let step = match parse_commit(bytes) {
            Ok(commit) => {
                if is_ours(commit.header(), checkpoint) {
                    let reference = CommitRef::new(index, position, &commit);
                    found.insert(reference.sequence, reference);
                }
                commit.padded_bytes()
            }
            Err(CommitError::NeedMore { bytes: needed }) if bytes.len() < needed && needed <= remaining => {
                wanted = needed;
                continue;
            }
            Err(CommitError::UnknownVersion { got }) if peek_ours(bytes, checkpoint) => {
                return Err(StorageError::Corrupt {
                    what: "journal commit",
                    path: file.path.clone(),
                    position,
                    detail: format!("a whole commit of version {got}, which this version of ouzel does not know"),
                });
            }
            Err(_) => {
                remains.note(index, position, bytes, checkpoint);
                BLOCK
            }
        };
        position += step as u64;
        progress.read(step);
        wanted = BLOCK;
    }
    Ok(())
}

impl Remains {
    /// Looks at a block at which no whole commit starts.
    fn note(&mut self, file: usize, position: u64, bytes: &[u8], checkpoint: &Checkpoint) {
        match salvage(bytes, checkpoint.journal_id, checkpoint.incarnation) {
            Some(salvage) => self.damaged.push((file, position, salvage)),
            None if !is_blank(bytes.get(..BLOCK).unwrap_or(bytes)) => {
                self.foreign.get_or_insert((file, position));
            }
            None => {}
        }
    }
}

fn peek_ours(bytes: &[u8], checkpoint: &Checkpoint) -> bool {
    let header = bytes.first_chunk::<COMMIT_HEADER_BYTES>().and_then(|bytes| peek_header(bytes).ok());
    header.is_some_and(|header| is_ours(&header, checkpoint))
}

fn is_ours(header: &CommitHeader, checkpoint: &Checkpoint) -> bool {
    header.fields.journal_id == checkpoint.journal_id && header.fields.incarnation == checkpoint.incarnation
}

/// The commit that continues the chain: the one numbered `sequence`, or with the chain not checked whichever comes next.
fn next_commit(found: &BTreeMap<u64, CommitRef>, sequence: u64) -> Option<&CommitRef> {
    if mutation::is(Mutation::NoChainCheck) {
        return found.range(sequence..).next().map(|(_, commit)| commit);
    }
    found.get(&sequence)
}

fn decide(
    checkpoint: Checkpoint,
    files: Vec<ScanFile>,
    found: &BTreeMap<u64, CommitRef>,
    remains: &Remains,
) -> Result<JournalScan, StorageError> {
    let mut accepted: Vec<CommitRef> = Vec::new();
    let mut expected = (checkpoint.replay_sequence, checkpoint.replay_previous_checksum);
    while let Some(commit) = next_commit(found, expected.0) {
        if commit.previous_checksum != expected.1 && !mutation::is(Mutation::NoChainCheck) {
            break;
        }
        expected = (commit.sequence + 1, commit.checksum);
        accepted.push(commit.clone());
    }
    let next = expected.0;
    let vouched =
        found.values().map(|commit| commit.durable_sequence).max().unwrap_or(0).max(checkpoint.durable_sequence);
    let suspect = remains.damaged.iter().find(|(_, _, salvage)| salvage.continues(next, expected.1));
    // Until the journal has come round, nothing but zeros stands where no commit does. Later, old bytes do.
    let foreign = remains.foreign.filter(|_| checkpoint.replay_file <= 1);
    let (file, position) = match (suspect, found.get(&next), foreign, accepted.last()) {
        (Some((file, position, _)), ..) => (*file, *position),
        (None, Some(commit), ..) => (commit.file, commit.position),
        (None, None, Some(place), _) => place,
        (None, None, None, Some(last)) => (last.file, last.position + last.bytes as u64),
        (None, None, None, None) => (0, 0),
    };
    let path = files.get(file).map_or_else(PathBuf::new, |file| file.path.clone());
    let remains = suspect.map_or_else(String::new, |(_, _, salvage)| format!(": {salvage}"));
    if vouched >= next {
        return Err(StorageError::Corrupt {
            what: "journal commit",
            path,
            position,
            detail: format!(
                "commit {next} is damaged or missing, yet the journal vouches for everything up to {vouched}{remains}"
            ),
        });
    }
    let later = found.range(next..).next().map(|(sequence, _)| *sequence);
    let detail = match (suspect, later, foreign) {
        (Some(_), ..) => Some(format!("commit {next}{remains}")),
        (None, Some(later), _) => Some(format!("commit {next} is missing before commit {later}")),
        (None, None, Some(_)) => Some("bytes of a commit whose beginning is lost".to_owned()),
        (None, None, None) => None,
    };
    let cut = detail.map(|detail| CutReport { path, position, sequence: next, detail });
    let unsealed = accepted.last().is_some_and(|last| !last.seal);
    // Files are taken in turn and numbered as they are: beyond one use of each, the journal has come round.
    let wraps = u64::from(checkpoint.replay_file).saturating_sub(1) / files.len().max(1) as u64;
    let truncated = truncations(&accepted);
    Ok(JournalScan { checkpoint, accepted, truncated, cut, unsealed, wraps, files })
}

fn truncations(accepted: &[CommitRef]) -> BTreeMap<PartitionId, u64> {
    let mut begun = BTreeMap::new();
    let mut whole = BTreeMap::new();
    for commit in accepted {
        for (partition, first, last) in &commit.truncations {
            if *first {
                begun.insert(*partition, commit.sequence);
            }
            if *last && let Some(sequence) = begun.get(partition) {
                whole.insert(*partition, *sequence);
            }
        }
    }
    whole
}

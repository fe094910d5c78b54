//! Journals offline: the commits of a directory, the chain they make, its checkpoints. Owns the walk; the formats are
//! storage's. Applies nothing. Runs on the CLI's main thread.
//!
//! What is damage and what an old or torn write is told by rule J4: every commit from where replay starts to the highest
//! one known durable must be there, whole and chained. What lies beyond may be a write that was cut off.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ouzel_protocol::{Offset, PartitionId};
use ouzel_storage::format::BLOCK;
use ouzel_storage::format::checkpoint::Checkpoint;
use ouzel_storage::format::commit::{Commit, CommitError, CommitHeader, Salvage, parse_commit, salvage};
use serde_json::{Value, json};

use super::Inspection;
use super::findings::{Findings, Section, Window, list, read_file};
use crate::units::human_bytes;

/// Largest checkpoint that is read.
const CHECKPOINT_BYTES_MAX: u64 = 1 << 30;

/// One whole commit and where it stands.
#[derive(Clone, Debug)]
pub(super) struct FoundCommit {
    pub(super) file: PathBuf,
    pub(super) position: u64,
    pub(super) header: CommitHeader,
    pub(super) data_bytes: u64,
    /// End offset of each partition that it appends to.
    pub(super) ends: Vec<(PartitionId, Offset)>,
}

/// What one journal directory holds.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) directory: PathBuf,
    /// The newer valid slot.
    pub(super) checkpoint: Option<Checkpoint>,
    /// By sequence, of this journal only.
    pub(super) commits: BTreeMap<u64, FoundCommit>,
    pub(super) file_count: usize,
    pub(super) file_bytes: u64,
    pub(super) findings: Findings,
}

/// Reads a journal directory and decides what of it is damaged.
pub(super) fn read(directory: &Path) -> Result<Journal> {
    let mut findings = Findings::default();
    let checkpoint = read_checkpoints(directory, &mut findings)?;
    let mut journal = Journal {
        directory: directory.to_path_buf(),
        checkpoint,
        commits: BTreeMap::new(),
        file_count: 0,
        file_bytes: 0,
        findings,
    };
    let mut all = Vec::new();
    let mut broken = Vec::new();
    for name in list(directory)?.iter().filter(|name| name.ends_with(".journal")) {
        let path = directory.join(name);
        journal.file_count += 1;
        journal.file_bytes += std::fs::metadata(&path).map_or(0, |about| about.len());
        walk(&path, journal.checkpoint.as_ref(), &mut all, &mut broken)?;
    }
    // Without a checkpoint the journal is the one that most recent commit belongs to.
    let id = journal.checkpoint.as_ref().map(|checkpoint| checkpoint.journal_id).or_else(|| {
        all.iter().max_by_key(|commit| commit.header.fields.written_at_ms).map(|commit| commit.header.fields.journal_id)
    });
    all.retain(|commit| Some(commit.header.fields.journal_id) == id);
    for commit in all {
        journal.commits.insert(commit.header.fields.sequence, commit);
    }
    check_chain(&mut journal, &broken);
    Ok(journal)
}

/// What is left of a commit that is not whole.
struct Broken {
    file: PathBuf,
    position: u64,
    salvage: Salvage,
    why: String,
}

/// Finds every whole commit of a file, of this journal or of an older one, and what is left of this journal's others.
fn walk(
    path: &Path,
    checkpoint: Option<&Checkpoint>,
    found: &mut Vec<FoundCommit>,
    broken: &mut Vec<Broken>,
) -> Result<()> {
    let mut window = Window::open(path, u64::MAX)?;
    let (mut position, mut wanted) = (0, BLOCK);
    while position < window.end() {
        let bytes = window.get(position, wanted).with_context(|| format!("cannot read {}", path.display()))?;
        let at_hand = bytes.len();
        let step = match parse_commit(bytes) {
            Ok(commit) => {
                found.push(found_commit(path, position, &commit));
                commit.padded_bytes()
            }
            Err(CommitError::NeedMore { bytes: needed }) if at_hand >= wanted && needed > at_hand => {
                wanted = needed;
                continue;
            }
            Err(error) => {
                let salvage = checkpoint.and_then(|of| salvage(bytes, of.journal_id, of.incarnation));
                broken.extend(salvage.map(|salvage| Broken {
                    file: path.to_path_buf(),
                    position,
                    salvage,
                    why: error.to_string(),
                }));
                BLOCK
            }
        };
        position += step as u64;
        wanted = BLOCK;
    }
    Ok(())
}

fn found_commit(path: &Path, position: u64, commit: &Commit<'_>) -> FoundCommit {
    let mut found =
        FoundCommit { file: path.to_path_buf(), position, header: *commit.header(), data_bytes: 0, ends: Vec::new() };
    for (entry, payload) in commit.entries().flatten() {
        if entry.kind.carries_batches() {
            found.data_bytes += payload.len() as u64;
            if entry.last_fragment {
                found.ends.push((entry.partition, entry.end_offset));
            }
        }
    }
    found
}

/// Rule J4: from where replay starts to the highest sequence known durable, every commit must be there and chained.
fn check_chain(journal: &mut Journal, broken: &[Broken]) {
    let known = journal.commits.values().map(|commit| commit.header.fields.durable_sequence).max().unwrap_or(0);
    let checkpoint = journal.checkpoint.as_ref();
    let durable = known.max(checkpoint.map_or(0, |checkpoint| checkpoint.durable_sequence));
    let Some(first) =
        checkpoint.map(|checkpoint| checkpoint.replay_sequence).or_else(|| journal.commits.keys().next().copied())
    else {
        return;
    };
    let mut previous = checkpoint.map(|checkpoint| checkpoint.replay_previous_checksum);
    let mut last_place: Option<(PathBuf, u64)> = None;
    for sequence in first..=durable {
        let Some(commit) = journal.commits.get(&sequence) else {
            match remains_of(broken, sequence, previous) {
                Some(Broken { file, position, salvage, why }) => {
                    let what = format!("commit {sequence}, known durable: {why}: {salvage}");
                    journal.findings.damage(file, *position, what);
                }
                None => {
                    let (path, position) = last_place.clone().unwrap_or_else(|| (journal.directory.clone(), 0));
                    journal.findings.damage(&path, position, format!("commit {sequence}, known durable, is not there"));
                }
            }
            // One break says all: what follows cannot be replayed anyway.
            return;
        };
        if previous.is_some_and(|checksum| checksum != commit.header.fields.previous_checksum) {
            let what = format!("commit {sequence} does not continue the chain");
            journal.findings.damage(&commit.file, commit.position, what);
            return;
        }
        previous = Some(commit.header.checksum);
        last_place = Some((commit.file.clone(), commit.position + commit.header.padded_bytes() as u64));
    }
    let mut next = durable + 1;
    while let Some(commit) = journal.commits.get(&next)
        && previous.is_none_or(|checksum| checksum == commit.header.fields.previous_checksum)
    {
        previous = Some(commit.header.checksum);
        next += 1;
    }
    if let Some(Broken { file, position, salvage, .. }) = remains_of(broken, next, previous) {
        let file = file.display();
        journal.findings.notes.push(format!(
            "{file} at byte {position}: commit {next}: {salvage}; nothing vouches for it, so that a start cuts it, as after a crash"
        ));
    }
}

/// What is left of the commit with this sequence, which follows the one with this checksum.
fn remains_of(broken: &[Broken], sequence: u64, previous: Option<u32>) -> Option<&Broken> {
    broken.iter().find(|broken| match previous {
        Some(checksum) => broken.salvage.continues(sequence, checksum),
        None => broken.salvage.sequence == sequence,
    })
}

fn read_checkpoints(directory: &Path, findings: &mut Findings) -> Result<Option<Checkpoint>> {
    let mut best: Option<Checkpoint> = None;
    let mut problems = Vec::new();
    for slot in 0..2 {
        let path = directory.join(format!("checkpoint.{slot}"));
        if !path.exists() {
            continue;
        }
        let bytes = read_file(&path, CHECKPOINT_BYTES_MAX)?;
        match Checkpoint::decode(&bytes) {
            Ok(checkpoint) if best.as_ref().is_none_or(|best| best.generation < checkpoint.generation) => {
                best = Some(checkpoint)
            }
            Ok(_) => {}
            Err(_) if bytes.iter().all(|byte| *byte == 0) => {}
            Err(error) => problems.push((path, error.to_string())),
        }
    }
    for (path, error) in problems {
        if best.is_some() {
            let path = path.display();
            findings.notes.push(format!("{path}: {error}; the other checkpoint is whole and is the one in force"));
        } else {
            findings.damage(&path, 0, error);
        }
    }
    Ok(best)
}

/// Inspects one journal directory.
pub(super) fn inspect_directory(path: &Path, verify: bool) -> Result<Inspection> {
    let mut journal = read(path)?;
    let sections = vec![summary_section(std::slice::from_ref(&journal)), commits_section(journal.commits.values())];
    let mut object = summary_json(&journal);
    object["commits"] = journal.commits.values().map(commit_json).collect();
    let mut findings = std::mem::take(&mut journal.findings);
    if !verify {
        findings.damage.clear();
    }
    object["path"] = path.display().to_string().into();
    object["kind"] = "journal".into();
    Ok(Inspection { sections, json: object, findings })
}

/// Inspects one journal file: what its directory says of it.
pub(super) fn inspect_file(path: &Path, verify: bool) -> Result<Inspection> {
    let mut commits = Vec::new();
    walk(path, None, &mut commits, &mut Vec::new())?;
    let mut findings = Findings::default();
    if verify {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        findings = read(directory)?.findings;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        findings.damage.retain(|damage| damage.file.ends_with(&name));
    }
    let json = json!({
        "path": path.display().to_string(),
        "kind": "journal_file",
        "commits": commits.iter().map(commit_json).collect::<Vec<_>>(),
    });
    Ok(Inspection { sections: vec![commits_section(commits.iter())], json, findings })
}

/// Inspects one checkpoint slot.
pub(super) fn inspect_checkpoint(path: &Path) -> Result<Inspection> {
    let bytes = read_file(path, CHECKPOINT_BYTES_MAX)?;
    let mut findings = Findings::default();
    let (mut rows, mut json) = (Vec::new(), json!({}));
    let mut title = format!("{}: no checkpoint", path.display());
    match Checkpoint::decode(&bytes) {
        Ok(checkpoint) => {
            title = format!(
                "checkpoint {} of shard {}, start {}: replay from commit {} in file {:08x}",
                checkpoint.generation,
                checkpoint.shard,
                checkpoint.incarnation,
                checkpoint.replay_sequence,
                checkpoint.replay_file
            );
            json = checkpoint_json(&checkpoint);
            rows = checkpoint
                .partitions
                .iter()
                .map(|partition| {
                    vec![
                        partition.partition.to_string(),
                        partition.log_start.to_string(),
                        partition.end_offset.to_string(),
                        partition.segments.len().to_string(),
                        human_bytes(partition.segments.iter().map(|segment| segment.bytes).sum()),
                    ]
                })
                .collect();
        }
        Err(_) if bytes.iter().all(|byte| *byte == 0) => findings.notes.push("this slot was never written".to_string()),
        Err(error) => findings.damage(path, 0, error.to_string()),
    }
    json["path"] = path.display().to_string().into();
    json["kind"] = "checkpoint".into();
    let section = Section {
        title,
        header: vec!["partition id", "log start", "end", "segments", "bytes"],
        numbers: vec![0, 1, 2, 3, 4],
        rows,
    };
    Ok(Inspection { sections: vec![section], json, findings })
}

fn checkpoint_json(checkpoint: &Checkpoint) -> Value {
    json!({
        "generation": checkpoint.generation,
        "incarnation": checkpoint.incarnation.0,
        "shard": checkpoint.shard.0,
        "replay_sequence": checkpoint.replay_sequence,
        "durable_sequence": checkpoint.durable_sequence,
        "partitions": checkpoint.partitions.iter().map(|partition| json!({
            "partition_id": partition.partition.0,
            "log_start_offset": partition.log_start.0,
            "end_offset": partition.end_offset.0,
            "segments": partition.segments.len(),
            "bytes": partition.segments.iter().map(|segment| segment.bytes).sum::<u64>(),
        })).collect::<Vec<_>>(),
    })
}

/// The table of journals.
pub(super) fn summary_section(journals: &[Journal]) -> Section {
    let rows = journals.iter().map(|journal| {
        let checkpoint = journal.checkpoint.as_ref();
        let sequence = |sequence: Option<&u64>| sequence.map_or_else(|| "-".to_string(), ToString::to_string);
        vec![
            journal.directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            checkpoint.map_or_else(|| "-".to_string(), |checkpoint| checkpoint.generation.to_string()),
            checkpoint.map_or_else(|| "-".to_string(), |checkpoint| checkpoint.replay_sequence.to_string()),
            sequence(journal.commits.keys().next()),
            sequence(journal.commits.keys().next_back()),
            journal.file_count.to_string(),
            human_bytes(journal.file_bytes),
            human_bytes(journal.commits.values().map(|commit| commit.data_bytes).sum()),
        ]
    });
    Section {
        title: "Journals".to_string(),
        header: vec!["journal", "checkpoint", "replay from", "first commit", "last commit", "files", "bytes", "data"],
        numbers: (1..8).collect(),
        rows: rows.collect(),
    }
}

/// One journal for programs.
pub(super) fn summary_json(journal: &Journal) -> Value {
    json!({
        "journal": journal.directory.file_name().map(|name| name.to_string_lossy().into_owned()),
        "files": journal.file_count,
        "bytes": journal.file_bytes,
        "first_sequence": journal.commits.keys().next(),
        "last_sequence": journal.commits.keys().next_back(),
        "commits_count": journal.commits.len(),
        "data_bytes": journal.commits.values().map(|commit| commit.data_bytes).sum::<u64>(),
        "checkpoint": journal.checkpoint.as_ref().map(checkpoint_json),
    })
}

fn commits_section<'a>(commits: impl Iterator<Item = &'a FoundCommit>) -> Section {
    let rows = commits.map(|commit| {
        let fields = &commit.header.fields;
        let name = commit.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        vec![
            name,
            commit.position.to_string(),
            fields.sequence.to_string(),
            fields.durable_sequence.to_string(),
            fields.incarnation.to_string(),
            if commit.header.seal { "seal".to_string() } else { commit.header.entry_count.to_string() },
            human_bytes(commit.data_bytes),
        ]
    });
    Section {
        title: "Commits".to_string(),
        header: vec!["file", "byte", "sequence", "durable", "start", "entries", "data"],
        numbers: vec![1, 2, 3, 4, 5, 6],
        rows: rows.collect(),
    }
}

fn commit_json(commit: &FoundCommit) -> Value {
    json!({
        "file": commit.file.file_name().map(|name| name.to_string_lossy().into_owned()),
        "position": commit.position,
        "sequence": commit.header.fields.sequence,
        "durable_sequence": commit.header.fields.durable_sequence,
        "incarnation": commit.header.fields.incarnation.0,
        "seal": commit.header.seal,
        "entries": commit.header.entry_count,
        "data_bytes": commit.data_bytes,
        "written_at_ms": commit.header.fields.written_at_ms,
    })
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{Incarnation, LeaderEpoch, ShardIndex};
    use ouzel_storage::format::commit::{CommitHeaderFields, CommitWriter, EntryHeader, EntryKind};

    use super::*;

    fn commit(sequence: u64, previous_checksum: u32) -> (Vec<u8>, u32) {
        let mut bytes = vec![0; BLOCK];
        let fields = CommitHeaderFields {
            journal_id: 11,
            incarnation: Incarnation(1),
            sequence,
            durable_sequence: sequence - 1,
            previous_checksum,
            written_at_ms: 0,
        };
        let mut writer = CommitWriter::new(&mut bytes, fields);
        let header = EntryHeader {
            kind: EntryKind::Data,
            first_fragment: true,
            last_fragment: true,
            partition: PartitionId(5),
            base_offset: Offset(10 * sequence),
            end_offset: Offset(10 * sequence + 10),
            segment_base: Offset(0),
            position: 0,
            ownership_epoch: 0,
            leader_epoch: LeaderEpoch(0),
        };
        writer.push(&header, &[&[7; 100]]).expect("fits");
        let (_, checksum) = writer.finish();
        (bytes, checksum)
    }

    #[test]
    fn a_damaged_last_commit_is_a_note_and_one_before_it_is_damage_both_with_partitions_and_offsets() {
        let directory = tempfile::tempdir().expect("directory");
        let checkpoint = Checkpoint {
            generation: 1,
            journal_id: 11,
            incarnation: Incarnation(1),
            shard: ShardIndex(0),
            replay_sequence: 1,
            replay_previous_checksum: 0,
            replay_file: 1,
            durable_sequence: 0,
            partitions: Vec::new(),
        };
        let checkpoint = checkpoint.encode().expect("small");
        std::fs::write(directory.path().join("checkpoint.1"), checkpoint).expect("written");
        let (first, checksum) = commit(1, 0);
        let (second, _) = commit(2, checksum);
        let file = directory.path().join("00000000.journal");
        let sound = [first, second].concat();

        let mut damaged = sound.clone();
        damaged[BLOCK] ^= 1;
        std::fs::write(&file, &damaged).expect("written");
        let journal = read(directory.path()).expect("readable");
        let [note] = journal.findings.notes.as_slice() else { panic!("{:?}", journal.findings) };
        assert!(note.contains("at byte 4096: commit 2: ") && note.contains("partition 5 offsets 20..30"), "{note}");
        assert!(journal.findings.damage.is_empty());

        let mut damaged = sound;
        damaged[200] ^= 1;
        std::fs::write(&file, &damaged).expect("written");
        let journal = read(directory.path()).expect("readable");
        let [damage] = journal.findings.damage.as_slice() else { panic!("{:?}", journal.findings) };
        assert!(damage.what.contains("commit 1, known durable") && damage.what.contains("partition 5 offsets 10..20"));
    }
}

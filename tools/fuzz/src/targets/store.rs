//! Targets of the files of the store: each format alone, and recovery over a whole journal and a whole metadata log on
//! the simulated disk.
//!
//! A format is tried as it is and once more with its checksums made to fit. What parses is written again by the store's
//! own encoder and must be the same bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ouzel_protocol::{Incarnation, Offset, PartitionId};
use ouzel_runtime::sim::{SimDisk, SimOutcome, run_sim};
use ouzel_runtime::{AlignedBuf, OpenMode, Shard};
use ouzel_storage::format::check::{CheckMap, SegmentId};
use ouzel_storage::format::checkpoint::Checkpoint;
use ouzel_storage::format::commit::{CommitWriter, parse_commit};
use ouzel_storage::format::index::{IndexEnd, IndexMap};
use ouzel_storage::format::metadata::{encode_metadata_entry, parse_metadata_entry};
use ouzel_storage::format::{BLOCK, padded_to_block};
use ouzel_storage::metadata_log::{LoadedLog, MetadataLog};
use ouzel_storage::{AssignedIds, CommittedStart, PartitionConfig, RecoveredPartition, StoreConfig, recover};

use crate::oracle::{Heap, bounded};
use crate::reseal;

/// The segment that side files and indexes of the corpus speak of.
pub(crate) const SEGMENT: SegmentId = SegmentId { partition: PartitionId(0x1234), base: Offset(1000) };

/// The start whose journal the corpus holds.
pub(crate) const INCARNATION: Incarnation = Incarnation(9);

/// Partitions below this are live; up to [`PARTITIONS_ASSIGNED`] they are dropped.
const PARTITIONS_LIVE: u64 = 4;
const PARTITIONS_ASSIGNED: u64 = 8;

/// What all files of the simulated disk may take: a position that damage moved far away finds the disk full.
const DISK_BYTES: u64 = 16 * 1024 * 1024;

pub(super) fn commit(bytes: &[u8]) -> bool {
    let raw = one_commit(bytes);
    one_commit(&reseal::COMMIT.seal(bytes)) || raw
}

fn one_commit(bytes: &[u8]) -> bool {
    let Ok(commit) = bounded(Heap::NONE, bytes.len(), || parse_commit(bytes)) else { return false };
    let mut written = vec![0xaa; commit.padded_bytes()];
    let mut writer = CommitWriter::new(&mut written, commit.header().fields);
    for entry in commit.entries() {
        let (header, payload) = entry.expect("parsing walked every entry");
        writer.push(&header, &[payload]).expect("what fitted once fits again");
    }
    assert_eq!(writer.finish(), (commit.padded_bytes(), commit.header().checksum));
    assert!(bytes.starts_with(&written), "{:?} came back as other bytes", commit.header());
    true
}

pub(super) fn checkpoint(bytes: &[u8]) -> bool {
    let raw = one_checkpoint(bytes);
    one_checkpoint(&reseal::CHECKPOINT.seal(bytes)) || raw
}

fn one_checkpoint(bytes: &[u8]) -> bool {
    let needed = bounded(Heap::NONE, bytes.len(), || Checkpoint::padded_bytes(bytes));
    let Ok(checkpoint) = bounded(Heap::ROWS, bytes.len(), || Checkpoint::decode(bytes)) else { return false };
    let written = checkpoint.encode().expect("what was read is not too large");
    assert_eq!(needed, Ok(written.len()));
    assert!(bytes.starts_with(&written), "{checkpoint:?} came back as other bytes");
    true
}

/// The first four bytes say how many bytes of the segment are valid.
pub(super) fn check_file(bytes: &[u8]) -> bool {
    let Some((valid_bytes, file)) = bytes.split_first_chunk::<4>() else { return false };
    let valid_bytes = u64::from(u32::from_le_bytes(*valid_bytes));
    let raw = one_check_file(file, valid_bytes);
    one_check_file(&reseal::check_file(SEGMENT, file), valid_bytes) || raw
}

fn one_check_file(bytes: &[u8], valid_bytes: u64) -> bool {
    let Ok(mut map) = bounded(Heap::ROWS, bytes.len(), || CheckMap::from_bytes(SEGMENT, bytes, valid_bytes)) else {
        return false;
    };
    assert!(bytes.starts_with(&map.to_bytes()), "{map:?} came back as other bytes");
    assert_eq!(map.covered_bytes(), valid_bytes);
    let whole = map.ranges_covering(0, valid_bytes);
    assert_eq!(whole, map.slots());
    let half = map.truncate(valid_bytes / 2);
    assert!(half <= valid_bytes / 2 && half == map.covered_bytes());
    true
}

/// Likewise.
pub(super) fn index_file(bytes: &[u8]) -> bool {
    let Some((valid_bytes, file)) = bytes.split_first_chunk::<4>() else { return false };
    let valid_bytes = u64::from(u32::from_le_bytes(*valid_bytes));
    let raw = one_index_file(file, valid_bytes);
    one_index_file(&reseal::index_file(SEGMENT, file), valid_bytes) || raw
}

fn one_index_file(bytes: &[u8], valid_bytes: u64) -> bool {
    let (map, end) = bounded(Heap::ROWS, bytes.len(), || IndexMap::from_bytes(SEGMENT, bytes, valid_bytes));
    for slot in map.slots() {
        assert!(slot.position < valid_bytes && slot.offset >= SEGMENT.base, "{slot:?}");
        assert_eq!(map.floor_by_offset(slot.offset), Some(*slot));
    }
    if map.slots().is_empty() {
        return end == IndexEnd::Clean;
    }
    assert!(bytes.starts_with(&map.to_bytes()), "{map:?} came back as other bytes");
    let mut again = IndexMap::new(SEGMENT);
    for slot in map.slots() {
        again.push(*slot);
    }
    assert_eq!(again, map);
    end == IndexEnd::Clean
}

pub(super) fn metadata_entry(bytes: &[u8]) -> bool {
    let raw = one_metadata_entry(bytes);
    one_metadata_entry(&reseal::METADATA.seal(bytes)) || raw
}

fn one_metadata_entry(bytes: &[u8]) -> bool {
    let Ok(entry) = bounded(Heap::NONE, bytes.len(), || parse_metadata_entry(bytes)) else { return false };
    let mut written = vec![0xaa; entry.padded_bytes()];
    let checksum = encode_metadata_entry(&mut written, &entry.header, entry.payload);
    assert_eq!(checksum, entry.checksum);
    assert!(bytes.starts_with(&written), "{:?} came back as other bytes", entry.header);
    true
}

/// The first block is a checkpoint, the rest a journal file. Recovery takes or refuses it, and takes it the same way a
/// second time.
pub(super) fn journal(bytes: &[u8]) -> bool {
    let (checkpoint, file) = bytes.split_at_checked(BLOCK).unwrap_or((bytes, &[]));
    let checkpoint = reseal::CHECKPOINT.seal(checkpoint);
    let raw = one_journal(&checkpoint, file);
    one_journal(&checkpoint, &reseal::COMMIT.seal_chain(file)) || raw
}

fn one_journal(checkpoint: &[u8], file: &[u8]) -> bool {
    on_disk(|shard| async move {
        let directory = format!("/data/journals/{:016x}-0000", INCARNATION.0);
        put(&shard, &format!("{directory}/checkpoint.1"), checkpoint).await?;
        put(&shard, &format!("{directory}/00000001.journal"), file).await?;
        shard.fs().create_dir_all(Path::new("/data/partitions")).await?;
        let Some(first) = recovered(&shard).await else { return Ok(false) };
        let second = recovered(&shard).await;
        assert!(second.as_ref() == Some(&first), "recovered {first:?}, and the second time {second:?}");
        Ok(true)
    })
}

async fn recovered(shard: &Shard) -> Option<BTreeMap<PartitionId, RecoveredPartition>> {
    let config = StoreConfig::for_shard(8 * 1024 * 1024, 8 * 1024 * 1024);
    let live = (0..PARTITIONS_LIVE).map(|id| (PartitionId(id), PartitionConfig::default())).collect();
    let committed = CommittedStart { incarnation: INCARNATION, shards: 1 };
    let assigned = AssignedIds { next: PartitionId(PARTITIONS_ASSIGNED) };
    let done = recover(shard, Path::new("/data"), &config, Some(committed), &live, assigned).await;
    done.ok().map(|done| done.partitions)
}

/// A file of the metadata log. Opening takes or refuses it; what it takes is the same at the next opening, a cut tail
/// stays cut, and an entry appended behind it is there.
pub(super) fn metadata_log(bytes: &[u8]) -> bool {
    let raw = one_metadata_log(bytes);
    one_metadata_log(&reseal::METADATA.seal_chain(bytes)) || raw
}

fn one_metadata_log(bytes: &[u8]) -> bool {
    on_disk(|shard| async move {
        put(&shard, "/meta/0000000000000001.log", bytes).await?;
        let Ok((_, first)) = MetadataLog::open(&shard.fs(), Path::new("/meta")).await else { return Ok(false) };
        let (mut log, second) = MetadataLog::open(&shard.fs(), Path::new("/meta")).await.expect("it was taken once");
        assert_eq!(second, LoadedLog { cut: None, discarded: None, ..first.clone() });
        if log.append(b"appended").await.is_err() {
            return Ok(true);
        }
        let (_, third) = MetadataLog::open(&shard.fs(), Path::new("/meta")).await.expect("it was appended to");
        assert_eq!(third.entries.split_last(), Some((&b"appended".to_vec(), &first.entries[..])));
        Ok(true)
    })
}

/// Runs `main` on a fresh simulated disk. The operations of the simulation itself do not fail.
fn on_disk<F: Future<Output = io::Result<bool>>>(main: impl FnOnce(Shard) -> F) -> bool {
    let disk = SimDisk::new(1);
    disk.set_capacity(DISK_BYTES);
    match run_sim(1, disk, main) {
        SimOutcome::Done(done) => done.expect("the files of the input are written"),
        stopped => panic!("the simulated run did not end by itself: {stopped:?}"),
    }
}

async fn put(shard: &Shard, path: &str, bytes: &[u8]) -> io::Result<()> {
    let path = Path::new(path);
    if let Some(directory) = path.parent() {
        shard.fs().create_dir_all(directory).await?;
    }
    let file = shard.fs().open(path, OpenMode::Create).await?;
    if bytes.is_empty() {
        return Ok(());
    }
    let mut buf = AlignedBuf::zeroed(padded_to_block(bytes.len()));
    buf.get_mut(..bytes.len()).unwrap_or_default().copy_from_slice(bytes);
    file.write_at(buf, 0).await.0?;
    file.truncate(bytes.len() as u64).await
}

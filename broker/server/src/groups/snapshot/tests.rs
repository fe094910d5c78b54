//! Snapshots as files: what is written comes back, and nothing else is taken for one.

use std::fs;
use std::path::Path;

use ouzel_broker_core::group::{CommittedOffset, GroupRecord, WallMs};
use ouzel_protocol::batch::batches;
use ouzel_protocol::{LeaderEpoch, Offset, PartitionId, PartitionIndex};
use ouzel_runtime::{RunConfig, Shard};

use super::file::{SnapshotWriter, partition_of, path, unfinished_path};
use super::{SnapshotError, SnapshotReader};
use crate::groups::records;

const PARTITION: PartitionId = PartitionId(0x1f);
const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/group-snapshot-v1.bin");

fn on_a_shard<F: Future<Output = ()>>(test: impl FnOnce(Shard, tempfile::TempDir) -> F) {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary directory");
    ouzel_runtime::run(RunConfig::default(), |shard| test(shard, dir)).expect("runtime");
}

/// A few records as the groups write them.
fn a_few() -> Vec<Vec<u8>> {
    let commit = |partition: u32, metadata: &str| GroupRecord::OffsetCommit {
        group_id: "readers".into(),
        topic: "orders".into(),
        partition: PartitionIndex(partition),
        commit: CommittedOffset {
            offset: Offset(100 + u64::from(partition)),
            leader_epoch: Some(LeaderEpoch(3)),
            metadata: metadata.into(),
            committed_at: WallMs(1_700_000_000_000),
            expires_at: None,
            topic_id: None,
        },
    };
    let slice = |partitions: std::ops::Range<u32>| {
        let slice: Vec<_> = partitions.map(|partition| commit(partition, "note")).collect();
        records::batches(slice.iter(), WallMs(1_700_000_000_001)).expect("they fit")
    };
    [slice(0..2), slice(2..5)].concat()
}

async fn write(shard: &Shard, data_dir: &Path, batches: &[Vec<u8>], offset: Offset) {
    let mut writer = SnapshotWriter::create(&shard.fs(), data_dir, PARTITION).await.expect("it is begun");
    for batch in batches {
        writer.write(batch).await.expect("there is space");
    }
    let bytes = writer.finish(offset).await.expect("it is finished");
    assert_eq!(fs::metadata(path(data_dir, PARTITION)).expect("it has its name").len(), bytes);
}

/// The batches and the offset, if the file is sound to its end.
async fn read(shard: &Shard, data_dir: &Path) -> Result<Option<(Vec<Vec<u8>>, Offset)>, SnapshotError> {
    let Some(mut reader) = SnapshotReader::open(&shard.fs(), data_dir, PARTITION).await? else { return Ok(None) };
    let mut found = Vec::new();
    while let Some(bytes) = reader.read().await? {
        let mut consumed = 0;
        for batch in batches(bytes) {
            let (_, batch) = batch.map_err(|error| SnapshotError::Batch { batch: 0, error })?;
            consumed += batch.len();
            found.push(batch.to_vec());
        }
        reader.consume(consumed);
    }
    Ok(Some((found, reader.offset())))
}

#[test]
fn a_snapshot_comes_back_and_its_bytes_stay_what_they_are() {
    on_a_shard(|shard, dir| async move {
        assert!(read(&shard, dir.path()).await.expect("nothing is damaged").is_none());
        write(&shard, dir.path(), &a_few(), Offset(77)).await;
        let (found, offset) = read(&shard, dir.path()).await.expect("it is sound").expect("it is there");
        assert_eq!((found, offset), (a_few(), Offset(77)));
        let written = fs::read(path(dir.path(), PARTITION)).expect("it can be read");
        assert!(written == GOLDEN, "the bytes of version 1 changed");
        assert!(!unfinished_path(dir.path(), PARTITION).exists());
    });
}

#[test]
fn batches_lie_across_blocks_and_reads_and_none_is_a_snapshot_too() {
    on_a_shard(|shard, dir| async move {
        let batch = &a_few()[0];
        for count in [0, 1, 3, 2_000, 20_000] {
            write(&shard, dir.path(), &vec![batch.clone(); count], Offset(count as u64)).await;
            let (found, offset) = read(&shard, dir.path()).await.expect("it is sound").expect("it is there");
            assert!(found.iter().all(|found| found == batch));
            assert_eq!((found.len(), offset), (count, Offset(count as u64)));
        }
        let large = vec![records_of(700_000), batch.clone(), records_of(300_000)];
        write(&shard, dir.path(), &large, Offset(1)).await;
        let (found, _) = read(&shard, dir.path()).await.expect("it is sound").expect("it is there");
        assert!(found == large);
    });
}

/// A batch of about so many bytes.
fn records_of(bytes: usize) -> Vec<u8> {
    let mut builder =
        ouzel_protocol::BatchBuilder::new(ouzel_protocol::Dialect::Kafka2, ouzel_protocol::Codec::None, None);
    builder.push(0, Some(&vec![7; bytes]), None, &[]);
    builder.build().expect("it is no large one")
}

#[test]
fn no_flipped_bit_no_cut_and_no_other_partitions_file_is_taken_for_a_snapshot() {
    on_a_shard(|shard, dir| async move {
        write(&shard, dir.path(), &a_few(), Offset(77)).await;
        let path = path(dir.path(), PARTITION);
        let sound = fs::read(&path).expect("it can be read");
        let body = 4096..4096 + a_few().concat().len();
        // The header alone is tried whole where it is defined.
        let bits = (0..8 * sound.len()).filter(|bit| body.contains(&(bit / 8)) || bit % 61 == 0 || *bit < 400);
        for bit in bits {
            let mut damaged = sound.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &damaged).expect("it can be written");
            assert!(read(&shard, dir.path()).await.is_err(), "bit {bit}");
        }
        for bytes in (0..sound.len()).step_by(509).chain([4095, 4096, sound.len() - 1]) {
            fs::write(&path, &sound[..bytes]).expect("it can be written");
            assert!(read(&shard, dir.path()).await.is_err(), "{bytes} bytes");
        }
        fs::write(&path, [&sound[..], &[0; 4096]].concat()).expect("it can be written");
        assert!(read(&shard, dir.path()).await.is_err(), "a block too many");
        fs::write(super::file::path(dir.path(), PartitionId(0x20)), &sound).expect("it can be written");
        let other = SnapshotReader::open(&shard.fs(), dir.path(), PartitionId(0x20)).await;
        assert!(matches!(other, Err(SnapshotError::Format(_))), "that of another partition");
        fs::write(&path, &sound).expect("it can be written");
        assert!(read(&shard, dir.path()).await.expect("it is sound").is_some(), "and the sound one still is");
    });
}

#[test]
fn one_that_is_not_finished_is_none() {
    on_a_shard(|shard, dir| async move {
        write(&shard, dir.path(), &a_few(), Offset(1)).await;
        for _ in 0..2 {
            let mut writer = SnapshotWriter::create(&shard.fs(), dir.path(), PARTITION).await.expect("it is begun");
            writer.write(&vec![0; 1_000_000]).await.expect("there is space");
            let (_, offset) = read(&shard, dir.path()).await.expect("it is sound").expect("it is there");
            assert_eq!(offset, Offset(1), "the earlier one counts");
        }
        let writer = SnapshotWriter::create(&shard.fs(), dir.path(), PARTITION).await.expect("it is begun");
        writer.discard().await;
        assert!(!unfinished_path(dir.path(), PARTITION).exists());
        write(&shard, dir.path(), &a_few(), Offset(2)).await;
        let (_, offset) = read(&shard, dir.path()).await.expect("it is sound").expect("it is there");
        assert_eq!(offset, Offset(2));
    });
}

#[test]
fn names_of_snapshots_are_understood_and_others_are_not() {
    for path in [path(Path::new("."), PARTITION), unfinished_path(Path::new("."), PARTITION)] {
        let name = path.file_name().expect("a name").to_str().expect("UTF-8");
        assert_eq!(partition_of(name), Some(PARTITION), "{name}");
    }
    for name in ["", "1f.snapshot", "000000000000001f", "000000000000001f.tmp", "000000000000001g.snapshot"] {
        assert_eq!(partition_of(name), None, "{name}");
    }
}

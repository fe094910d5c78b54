//! Entries that share a commit, put together by hand: what a run produces too rarely to wait for.

use std::collections::BTreeMap;
use std::path::Path;

use ouzel_protocol::{Durability, Incarnation, ShardIndex};
use ouzel_runtime::sim::{SimDisk, SimOutcome, run_sim};

use super::*;
use crate::format::commit::{CommitHeaderFields, CommitWriter};

const PARTITION: PartitionId = PartitionId(1);
const SEQUENCE: u64 = 5;

fn entry(kind: EntryKind, end_offset: u64, segment_base: u64, position: u64) -> EntryHeader {
    EntryHeader {
        kind,
        first_fragment: true,
        last_fragment: true,
        partition: PARTITION,
        base_offset: Offset(end_offset),
        end_offset: Offset(end_offset),
        segment_base: Offset(segment_base),
        position,
        ownership_epoch: 0,
        leader_epoch: LeaderEpoch(0),
    }
}

/// A checkpoint that was written right after a truncation to offset 0 in commit [`SEQUENCE`].
fn checkpoint() -> Checkpoint {
    let partition = PartitionCheckpoint {
        partition: PARTITION,
        ownership_epoch: 0,
        leader_epoch: LeaderEpoch(0),
        log_start: Offset(0),
        end_offset: Offset(0),
        replay_from: SEQUENCE,
        segments: Vec::new(),
        producers: Vec::new(),
    };
    Checkpoint {
        generation: 1,
        journal_id: 1,
        incarnation: Incarnation(1),
        shard: ShardIndex(0),
        replay_sequence: SEQUENCE,
        replay_previous_checksum: 1,
        replay_file: 1,
        durable_sequence: SEQUENCE,
        partitions: vec![partition],
    }
}

#[test]
fn a_carry_in_front_of_a_truncation_in_one_commit_is_cut_away_with_the_rest() {
    let mut bytes = vec![0; BLOCK];
    let fields = CommitHeaderFields {
        journal_id: 1,
        incarnation: Incarnation(1),
        sequence: SEQUENCE,
        durable_sequence: SEQUENCE - 1,
        previous_checksum: 1,
        written_at_ms: 0,
    };
    let mut writer = CommitWriter::new(&mut bytes, fields);
    let carried = [&carried_prefix(0, 0)[..], &[1; 100]];
    writer.push(&entry(EntryKind::Carry, 70, 50, 4096), &carried).expect("fits");
    writer.push(&entry(EntryKind::Truncate, 0, 0, 0), &[&carried_prefix(0, 0)]).expect("fits");
    writer.finish();
    let config = PartitionConfig {
        durability: Durability::Disk,
        flush_interval_ms: 5,
        segment_bytes: 1024 * 1024,
        batch_bytes_max: 1024 * 1024,
    };
    let (live, truncated) = (BTreeMap::from([(PARTITION, config)]), BTreeMap::from([(PARTITION, SEQUENCE)]));
    let outcome = run_sim(1, SimDisk::new(1), |shard| async move {
        let assigned = AssignedIds { next: PartitionId(2) };
        let (data_dir, store) = (Path::new("/data"), StoreConfig::default());
        let mut replay = Replay::new(&shard, data_dir, &store, &checkpoint(), &live, assigned, &truncated)?;
        let commit = CommitRef::new(0, 0, &parse_commit(&bytes).expect("whole"));
        replay.apply_commit(&bytes, &commit, Path::new("/data/journal")).await.expect("applied");
        Ok::<_, FormatError>(replay.finish().await.expect("finished"))
    });
    let SimOutcome::Done(Ok(partitions)) = outcome else { panic!("the run ends well") };
    let [(_, found)] = partitions.as_slice() else { panic!("{partitions:?}") };
    assert_eq!((found.end_offset, found.tail.len()), (Offset(0), 0));
}

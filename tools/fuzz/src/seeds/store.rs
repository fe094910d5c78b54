//! Seeds of the store's files: a commit of every kind of entry, a journal of several commits behind its checkpoint, side
//! files, and a metadata log with a snapshot, entries and a seal.

use ouzel_protocol::{BatchBuilder, Codec, Dialect, LeaderEpoch, Offset, PartitionId, ShardIndex};
use ouzel_storage::format::BLOCK;
use ouzel_storage::format::check::{CheckMap, CheckSlot};
use ouzel_storage::format::checkpoint::{Checkpoint, PartitionCheckpoint, SegmentCheckpoint};
use ouzel_storage::format::commit::{CommitHeaderFields, CommitWriter, EntryHeader, EntryKind};
use ouzel_storage::format::index::{IndexMap, IndexSlot};
use ouzel_storage::format::metadata::{MetadataHeader, MetadataKind, encode_metadata_entry, metadata_padded_bytes};

use crate::targets::{INCARNATION, SEGMENT};

const JOURNAL_ID: u64 = 0x0102_0304_0506_0708;

pub(super) fn of(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "journal-commit" => vec![commit(7, 0xdead_beef, &every_entry()).0, commit(1, 0, &[]).0],
        "journal" => vec![
            [encoded(&checkpoint(Vec::new())), journal()].concat(),
            [encoded(&checkpoint(vec![partition(1), partition(2)])), commit(1, 0, &after_checkpoint()).0].concat(),
            [encoded(&checkpoint(vec![partition(0)])), vec![0; BLOCK]].concat(),
        ],
        "checkpoint" => vec![
            encoded(&checkpoint(Vec::new())),
            encoded(&checkpoint(vec![partition(1), partition(2), partition(u64::MAX)])),
        ],
        "segment-check" => vec![check_file(&[]), check_file(&[4096, 65_536, 8192])],
        "segment-index" => vec![index_file(0), index_file(5)],
        "metadata-entry" => vec![
            metadata_entry(MetadataKind::Snapshot, 0, 0, b"").0,
            metadata_entry(MetadataKind::Entry, 17, 0xdead_beef, &[7; 100]).0,
            metadata_entry(MetadataKind::Seal, 17, 0xdead_beef, b"").0,
        ],
        "metadata-log" => vec![metadata_log(0, false), metadata_log(2, true), metadata_log(3, false)],
        _ => return None,
    })
}

fn encoded(checkpoint: &Checkpoint) -> Vec<u8> {
    checkpoint.encode().expect("it is small")
}

fn checkpoint(partitions: Vec<PartitionCheckpoint>) -> Checkpoint {
    Checkpoint {
        generation: 1,
        journal_id: JOURNAL_ID,
        incarnation: INCARNATION,
        shard: ShardIndex(0),
        replay_sequence: 1,
        replay_previous_checksum: 0,
        replay_file: 1,
        durable_sequence: 0,
        partitions,
    }
}

fn partition(id: u64) -> PartitionCheckpoint {
    let segment = |base: u64, bytes| SegmentCheckpoint {
        base_offset: Offset(base),
        bytes,
        max_timestamp: 5,
        record_end_offset: Offset(base + 10),
    };
    PartitionCheckpoint {
        partition: PartitionId(id),
        ownership_epoch: 2,
        leader_epoch: LeaderEpoch(5),
        log_start: Offset(0),
        end_offset: Offset(20),
        replay_from: 1,
        segments: vec![segment(0, 8192), segment(10, 4096)],
        producers: Vec::new(),
    }
}

fn entry(kind: EntryKind, partition: u64, base: u64, end: u64, position: u64) -> EntryHeader {
    EntryHeader {
        kind,
        first_fragment: true,
        last_fragment: true,
        partition: PartitionId(partition),
        base_offset: Offset(base),
        end_offset: Offset(end),
        segment_base: Offset(0),
        position,
        ownership_epoch: 0,
        leader_epoch: LeaderEpoch(0),
    }
}

fn every_entry() -> Vec<(EntryHeader, Vec<u8>)> {
    [EntryKind::Carry, EntryKind::Truncate, EntryKind::LogStart, EntryKind::Handoff, EntryKind::Drop]
        .into_iter()
        .map(|kind| (entry(kind, 1, 0, 0, 0), Vec::new()))
        .chain([(entry(EntryKind::Data, 2, 20, 21, 4096), b"thirteen byte".to_vec())])
        .collect()
}

/// What may happen to partitions that a checkpoint knows: a cut, a log start, a drop, an append.
fn after_checkpoint() -> Vec<(EntryHeader, Vec<u8>)> {
    let batch = stored(20);
    let append = EntryHeader { segment_base: Offset(10), ..entry(EntryKind::Data, 2, 20, 21, 4096) };
    vec![
        (append, batch),
        (entry(EntryKind::LogStart, 2, 10, 0, 0), Vec::new()),
        (entry(EntryKind::Drop, 1, 0, 0, 0), Vec::new()),
    ]
}

/// The stored bytes of a batch of one record at an offset.
fn stored(offset: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    builder.push(offset as i64, Some(b"key"), Some(b"value"), &[]);
    let mut batch = builder.build().expect("one small record");
    batch[..8].copy_from_slice(&offset.to_be_bytes());
    batch
}

/// Commits 1 to 4: appends to two partitions, a batch in two fragments, a log start, a seal.
fn journal() -> Vec<u8> {
    let batch = stored(0);
    let bytes = batch.len() as u64;
    let (half, rest) = batch.split_at(40);
    let data = |partition, offset: u64| entry(EntryKind::Data, partition, offset, offset + 1, offset * bytes);
    let fragment = |first, at: u64| EntryHeader {
        first_fragment: first,
        last_fragment: !first,
        position: bytes + at,
        ..data(1, 1)
    };
    let second = stored(1);
    let commits = [
        vec![(data(1, 0), batch.clone()), (data(2, 0), batch.clone())],
        vec![(fragment(true, 0), second[..40].to_vec()), (data(2, 1), second.clone())],
        vec![(fragment(false, half.len() as u64), second[40..].to_vec())],
        vec![(entry(EntryKind::LogStart, 2, 1, 0, 0), Vec::new())],
        vec![],
    ];
    assert_eq!(half.len() + rest.len(), second.len());
    let mut file = Vec::new();
    let mut previous = 0;
    for (sequence, entries) in (1..).zip(commits) {
        let (bytes, checksum) = commit(sequence, previous, &entries);
        previous = checksum;
        file.extend(bytes);
    }
    file
}

fn commit(sequence: u64, previous_checksum: u32, entries: &[(EntryHeader, Vec<u8>)]) -> (Vec<u8>, u32) {
    let mut buf = vec![0; 2 * BLOCK];
    let fields = CommitHeaderFields {
        journal_id: JOURNAL_ID,
        incarnation: INCARNATION,
        sequence,
        durable_sequence: sequence - 1,
        previous_checksum,
        written_at_ms: 1_700_000_000_123,
    };
    let mut writer = CommitWriter::new(&mut buf, fields);
    for (header, payload) in entries {
        writer.push(header, &[payload]).expect("a few small entries fit");
    }
    let (padded, checksum) = writer.finish();
    buf.truncate(padded);
    (buf, checksum)
}

/// The valid bytes of the segment, then its side file.
fn check_file(lengths: &[u32]) -> Vec<u8> {
    let mut map = CheckMap::new(SEGMENT);
    for (length, crc) in lengths.iter().zip(1..) {
        map.push(CheckSlot { position: map.covered_bytes() as u32, length: *length, crc });
    }
    [&(map.covered_bytes() as u32).to_le_bytes()[..], &map.to_bytes()].concat()
}

/// Likewise.
fn index_file(slots: u64) -> Vec<u8> {
    let mut map = IndexMap::new(SEGMENT);
    for slot in 0..slots {
        let max_timestamp_before = if slot == 0 { i64::MIN } else { slot as i64 };
        map.push(IndexSlot { offset: Offset(1000 + slot), position: slot * 40_000, max_timestamp_before });
    }
    [&1_000_000_u32.to_le_bytes()[..], &map.to_bytes()].concat()
}

fn metadata_entry(kind: MetadataKind, index: u64, previous_checksum: u32, payload: &[u8]) -> (Vec<u8>, u32) {
    let durable_index = if kind == MetadataKind::Entry { index - 1 } else { index };
    let header = MetadataHeader { kind, generation: 1, index, term: 0, previous_checksum, durable_index };
    let mut out = vec![0; metadata_padded_bytes(payload.len())];
    let checksum = encode_metadata_entry(&mut out, &header, payload);
    (out, checksum)
}

fn metadata_log(entries: u64, seal: bool) -> Vec<u8> {
    let (mut file, mut previous) = metadata_entry(MetadataKind::Snapshot, 0, 0, b"");
    for index in 1..=entries {
        let (bytes, checksum) = metadata_entry(MetadataKind::Entry, index, previous, &[index as u8; 100]);
        previous = checksum;
        file.extend(bytes);
    }
    if seal {
        file.extend(metadata_entry(MetadataKind::Seal, entries, previous, b"").0);
    }
    file
}

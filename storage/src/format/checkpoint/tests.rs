//! The checkpoint's bytes: round trip, every flipped bit, every truncation, golden bytes.

use super::super::testing::for_every_flipped_bit;
use super::super::{BLOCK, FormatError};
use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/checkpoint-v1.bin");

fn segment(base: u64) -> SegmentCheckpoint {
    SegmentCheckpoint {
        base_offset: Offset(base),
        bytes: 8192,
        max_timestamp: -5,
        record_end_offset: Offset(base + 10),
    }
}

fn sample() -> Checkpoint {
    Checkpoint {
        generation: 12,
        journal_id: 0x0102_0304_0506_0708,
        incarnation: Incarnation(9),
        shard: ShardIndex(3),
        replay_sequence: 100,
        replay_previous_checksum: 0xdead_beef,
        replay_file: 7,
        durable_sequence: 120,
        partitions: vec![
            PartitionCheckpoint {
                partition: PartitionId(1),
                ownership_epoch: 2,
                leader_epoch: LeaderEpoch(5),
                log_start: Offset(10),
                end_offset: Offset(40),
                replay_from: 99,
                segments: vec![segment(10), segment(30)],
                producers: b"producers".to_vec(),
            },
            PartitionCheckpoint {
                partition: PartitionId(0x1_0000_0002),
                ownership_epoch: 0,
                leader_epoch: LeaderEpoch(0),
                log_start: Offset(0),
                end_offset: Offset(0),
                replay_from: 1,
                segments: Vec::new(),
                producers: Vec::new(),
            },
        ],
    }
}

/// Recomputes the checksum, so that the rules behind it are reached.
fn reseal(bytes: &mut [u8]) {
    let checksum = checksum_with_hole(bytes, CHECKSUM_AT).unwrap();
    bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn a_checkpoint_reads_back_as_it_was_written() {
    let bytes = sample().encode().unwrap();
    assert_eq!(Checkpoint::padded_bytes(&bytes[..CHECKPOINT_HEADER_BYTES]).unwrap(), bytes.len());
    assert_eq!(Checkpoint::decode(&bytes).unwrap(), sample());

    let mut large = sample();
    large.partitions = (0..300)
        .map(|id| PartitionCheckpoint { partition: PartitionId(id), ..sample().partitions[0].clone() })
        .collect();
    let bytes = large.encode().unwrap();
    assert!(bytes.len() > 8 * BLOCK && bytes.len().is_multiple_of(BLOCK));
    assert_eq!(Checkpoint::decode(&bytes).unwrap(), large);
}

#[test]
fn older_longer_content_behind_a_checkpoint_is_ignored() {
    let mut bytes = sample().encode().unwrap();
    bytes.extend_from_slice(&[0xff; BLOCK]);
    assert_eq!(Checkpoint::decode(&bytes).unwrap(), sample());
}

#[test]
fn partitions_are_written_in_order_of_their_ids() {
    let mut reversed = sample();
    reversed.partitions.reverse();
    assert_eq!(reversed.encode().unwrap(), sample().encode().unwrap());
}

#[test]
fn the_bytes_of_version_1_are_the_golden_ones() {
    assert_eq!(sample().encode().unwrap(), GOLDEN);
}

#[test]
fn every_flipped_bit_of_a_checkpoint_is_detected() {
    for_every_flipped_bit(&sample().encode().unwrap(), |position, copy| {
        assert!(Checkpoint::decode(copy).is_err(), "flipped bit at byte {position} was not detected");
    });
}

#[test]
fn every_truncated_checkpoint_is_refused() {
    let bytes = sample().encode().unwrap();
    for cut in 0..bytes.len() {
        assert!(Checkpoint::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(Checkpoint::decode(&[0; BLOCK]).is_err());
}

#[test]
fn every_rule_behind_the_checksum_is_checked() {
    let first = CHECKPOINT_HEADER_BYTES;
    let second = first + PARTITION_BYTES + 2 * SEGMENT_BYTES + 16;
    // (byte, value): each breaks one rule of a checkpoint that is otherwise sealed correctly.
    let broken: &[(usize, u8, &str)] = &[
        (4, 2, "unknown version"),
        (68, 1, "reserved bytes"),
        (56, 1, "a partition too few"),
        (56, 3, "a partition too many"),
        (59, 0xff, "billions of partitions"),
        (60, 0, "length inside a partition"),
        (first + 43, 0xff, "billions of segments"),
        (first + 47, 0xff, "gigabytes of producers"),
        (first + PARTITION_BYTES, 31, "order of segments"),
        (second + 4, 0, "order of partitions"),
        (second - 1, 1, "padding of producers"),
        (BLOCK - 1, 1, "padding of the slot"),
    ];
    for (position, value, rule) in broken {
        let mut bytes = sample().encode().unwrap();
        assert_ne!(bytes[*position], *value, "{rule}");
        bytes[*position] = *value;
        if *rule == "order of partitions" {
            bytes[second] = 1;
        }
        reseal(&mut bytes);
        assert!(Checkpoint::decode(&bytes).is_err(), "{rule}");
    }
}

#[test]
fn an_error_carries_what_was_expected_and_what_was_found() {
    let mut bytes = sample().encode().unwrap();
    bytes[4] = 2;
    reseal(&mut bytes);
    let expected = FormatError { what: "version of checkpoint", expected: 1, got: 2 };
    assert_eq!(Checkpoint::decode(&bytes).unwrap_err(), expected);
    assert_eq!(expected.to_string(), "version of checkpoint: expected 0x1, got 0x2");
}

#[test]
#[should_panic(expected = "stands twice")]
fn a_partition_that_stands_twice_is_a_bug_of_the_writer() {
    let mut twice = sample();
    twice.partitions[1].partition = twice.partitions[0].partition;
    let _ = twice.encode();
}

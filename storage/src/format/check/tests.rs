//! The side file's bytes: round trip, every flipped bit, every truncation, golden bytes.

use super::super::testing::for_every_flipped_bit;
use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/check-v1.bin");
const SEGMENT: SegmentId = SegmentId { partition: PartitionId(0x1234), base: Offset(1000) };

fn stored(position: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| ((position + at) * 7 % 251) as u8).collect()
}

/// Ranges of 4096, 65536 and 8192 bytes.
fn sample() -> CheckMap {
    let mut map = CheckMap::new(SEGMENT);
    let mut file = CheckMap::header_slot(SEGMENT).to_vec();
    for length in [4096, 65536, 8192] {
        let position = map.covered_bytes();
        let bytes = stored(position, length);
        let mut crc = RangeCrc::new(SEGMENT, position);
        bytes.chunks(1000).for_each(|part| crc.update(part));
        assert_eq!(crc.length(), length as u64);
        let slot = CheckSlot { position: position as u32, length: length as u32, crc: crc.finish() };
        assert_eq!(file.len() as u64, map.file_bytes());
        file.extend_from_slice(&map.push(slot));
    }
    assert_eq!(file, map.to_bytes());
    map
}

#[test]
fn a_side_file_reads_back_as_it_was_written() {
    let map = sample();
    assert_eq!(CheckMap::from_bytes(SEGMENT, &map.to_bytes(), 77824).unwrap(), map);
    let empty = CheckMap::new(SEGMENT);
    assert_eq!(CheckMap::from_bytes(SEGMENT, &empty.to_bytes(), 0).unwrap(), empty);
}

#[test]
fn slots_beyond_the_valid_bytes_are_not_read() {
    let mut bytes = sample().to_bytes();
    bytes[3 * CHECK_SLOT_BYTES] ^= 1;
    let map = CheckMap::from_bytes(SEGMENT, &bytes, 69632).unwrap();
    assert_eq!(map.slots(), &sample().slots()[..2]);
}

#[test]
fn a_side_file_that_does_not_end_at_the_valid_bytes_is_refused() {
    let bytes = sample().to_bytes();
    for valid_bytes in [1, 4095, 4097, 69631, 77823, 77825, u64::MAX] {
        assert!(CheckMap::from_bytes(SEGMENT, &bytes, valid_bytes).is_err(), "{valid_bytes}");
    }
}

#[test]
fn the_bytes_of_version_1_are_the_golden_ones() {
    assert_eq!(sample().to_bytes(), GOLDEN);
}

#[test]
fn every_flipped_bit_of_a_side_file_is_detected() {
    for_every_flipped_bit(&sample().to_bytes(), |position, copy| {
        let map = CheckMap::from_bytes(SEGMENT, copy, 77824);
        assert!(map.is_err(), "flipped bit at byte {position} was not detected");
    });
}

#[test]
fn every_truncated_side_file_is_refused() {
    let bytes = sample().to_bytes();
    for cut in 0..bytes.len() {
        assert!(CheckMap::from_bytes(SEGMENT, &bytes[..cut], 77824).is_err(), "{cut}");
    }
}

#[test]
fn a_side_file_of_another_segment_is_refused() {
    let bytes = sample().to_bytes();
    let other = SegmentId { partition: PartitionId(0x1235), ..SEGMENT };
    assert!(CheckMap::from_bytes(other, &bytes, 77824).is_err());
    let other = SegmentId { base: Offset(1001), ..SEGMENT };
    assert!(CheckMap::from_bytes(other, &bytes, 77824).is_err());
}

#[test]
fn a_slot_of_another_segment_a_lost_slot_and_a_doubled_slot_are_refused() {
    let bytes = sample().to_bytes();
    let slot = |index: usize| bytes[index * CHECK_SLOT_BYTES..(index + 1) * CHECK_SLOT_BYTES].to_vec();
    let lost = [slot(0), slot(1), slot(3)].concat();
    assert!(CheckMap::from_bytes(SEGMENT, &lost, 4096 + 8192).is_err());
    let doubled = [slot(0), slot(1), slot(1)].concat();
    assert!(CheckMap::from_bytes(SEGMENT, &doubled, 8192).is_err());
    let other = SegmentId { partition: PartitionId(1), ..SEGMENT };
    let mut map = CheckMap::new(other);
    let foreign = map.push(CheckSlot { position: 0, length: 4096, crc: 1 }).to_vec();
    assert!(CheckMap::from_bytes(SEGMENT, &[slot(0), foreign].concat(), 4096).is_err());
}

#[test]
fn slots_with_absurd_lengths_are_refused() {
    for length in [0, CHECK_RANGE_BYTES_MAX + 1, u32::MAX] {
        let slot = SlotBytes::of(CheckSlot { position: 0, length, crc: 0 }, SEGMENT.seed());
        let bytes = [CheckMap::header_slot(SEGMENT), slot].concat();
        assert!(CheckMap::from_bytes(SEGMENT, &bytes, u64::from(length).max(1)).is_err(), "{length}");
    }
}

#[test]
fn ranges_cover_what_is_asked_and_no_more() {
    let map = sample();
    let positions = |from, to| map.ranges_covering(from, to).iter().map(|slot| slot.position).collect::<Vec<_>>();
    assert_eq!(positions(0, 1), [0]);
    assert_eq!(positions(4095, 4096), [0]);
    assert_eq!(positions(4096, 4097), [4096]);
    assert_eq!(positions(4095, 4097), [0, 4096]);
    assert_eq!(positions(4096, 69632), [4096]);
    assert_eq!(positions(0, u64::MAX), [0, 4096, 69632]);
    assert_eq!(positions(69632, 69632), [0_u32; 0]);
    assert_eq!(positions(77824, 77825), [0_u32; 0]);
    assert_eq!(positions(5, 4), [0_u32; 0]);
}

#[test]
fn stored_bytes_verify_only_unchanged_whole_and_in_their_place() {
    let map = sample();
    let (first, last) = (map.slots()[0], map.slots()[2]);
    let bytes = stored(0, 4096);
    map.verify(&first, &bytes).unwrap();
    map.verify(&last, &stored(69632, 8192)).unwrap();
    assert!(map.verify(&first, &bytes[..4095]).is_err());
    for_every_flipped_bit(&bytes, |position, copy| assert!(map.verify(&first, copy).is_err(), "{position}"));

    // The same bytes at another position, base or partition have another checksum.
    let crc = |segment: SegmentId, position: u64| {
        let mut crc = RangeCrc::new(segment, position);
        crc.update(&bytes);
        crc.finish()
    };
    assert_eq!(crc(SEGMENT, 0), first.crc);
    assert_ne!(crc(SEGMENT, 4096), first.crc);
    assert_ne!(crc(SegmentId { base: Offset(0), ..SEGMENT }, 0), first.crc);
    assert_ne!(crc(SegmentId { partition: PartitionId(0), ..SEGMENT }, 0), first.crc);
}

#[test]
fn truncation_keeps_whole_ranges_only() {
    for (bytes, covered) in [(0, 0), (4095, 0), (4096, 4096), (69631, 4096), (77824, 77824), (u64::MAX, 77824)] {
        let mut map = sample();
        assert_eq!(map.truncate(bytes), covered, "{bytes}");
        assert_eq!(map.covered_bytes(), covered);
    }
}

//! The index's bytes: round trip, damage ends it quietly, golden bytes, searches.

use ouzel_protocol::PartitionId;

use super::super::testing::for_every_flipped_bit;
use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/index-v1.bin");
const SEGMENT: SegmentId = SegmentId { partition: PartitionId(0x1234), base: Offset(1000) };
const VALID_BYTES: u64 = 100_000;

fn slots() -> [IndexSlot; 3] {
    let slot =
        |offset, position, max_timestamp_before| IndexSlot { offset: Offset(offset), position, max_timestamp_before };
    [slot(1000, 0, i64::MIN), slot(1010, 32_768, 500), slot(1025, 65_600, 500)]
}

fn sample() -> IndexMap {
    let mut map = IndexMap::new(SEGMENT);
    let mut file = IndexMap::header_slot(SEGMENT).to_vec();
    for slot in slots() {
        assert_eq!(file.len() as u64, map.file_bytes());
        file.extend_from_slice(&map.push(slot));
    }
    assert_eq!(file, map.to_bytes());
    map
}

#[test]
fn an_index_reads_back_as_it_was_written() {
    let mut bytes = sample().to_bytes();
    assert_eq!(IndexMap::from_bytes(SEGMENT, &bytes, VALID_BYTES), (sample(), IndexEnd::Clean));
    bytes.resize(4096, 0);
    assert_eq!(IndexMap::from_bytes(SEGMENT, &bytes, VALID_BYTES), (sample(), IndexEnd::Clean));
}

#[test]
fn the_bytes_of_version_1_are_the_golden_ones() {
    assert_eq!(sample().to_bytes(), GOLDEN);
}

#[test]
fn a_flipped_bit_ends_the_index_at_its_slot_and_says_so() {
    for_every_flipped_bit(&sample().to_bytes(), |position, copy| {
        let bad = position / INDEX_SLOT_BYTES;
        let (map, end) = IndexMap::from_bytes(SEGMENT, copy, VALID_BYTES);
        assert_eq!(end, IndexEnd::BadSlot(bad), "flipped bit at byte {position}");
        assert_eq!(map.slots(), &slots()[..bad.saturating_sub(1)]);
    });
}

#[test]
fn a_truncated_index_keeps_its_whole_slots() {
    let bytes = sample().to_bytes();
    for cut in 0..bytes.len() {
        let (map, _) = IndexMap::from_bytes(SEGMENT, &bytes[..cut], VALID_BYTES);
        assert_eq!(map.slots(), &slots()[..(cut / INDEX_SLOT_BYTES).saturating_sub(1)]);
    }
    assert_eq!(IndexMap::from_bytes(SEGMENT, &[], VALID_BYTES).1, IndexEnd::Clean);
    assert_eq!(IndexMap::from_bytes(SEGMENT, &bytes[..40], VALID_BYTES).1, IndexEnd::BadSlot(1));
}

#[test]
fn slots_beyond_the_valid_bytes_are_left_out() {
    let bytes = sample().to_bytes();
    for (valid_bytes, count) in [(0, 0), (1, 1), (32_768, 1), (32_769, 2), (65_601, 3)] {
        let (map, end) = IndexMap::from_bytes(SEGMENT, &bytes, valid_bytes);
        assert_eq!((map.slots().len(), end), (count, IndexEnd::Clean), "{valid_bytes}");
    }
}

#[test]
fn an_index_of_another_segment_is_empty() {
    let other = SegmentId { base: Offset(1001), ..SEGMENT };
    let (map, end) = IndexMap::from_bytes(other, &sample().to_bytes(), VALID_BYTES);
    assert_eq!((map, end), (IndexMap::new(other), IndexEnd::BadSlot(0)));
}

#[test]
fn a_sound_slot_out_of_order_ends_the_index() {
    let [first, second, third] = slots();
    let older = IndexSlot { max_timestamp_before: 499, ..third };
    let same_position = IndexSlot { position: second.position, ..third };
    let below_base = IndexSlot { offset: Offset(999), ..first };
    for (row, bad) in [
        ([first, third, second], 3),
        ([first, second, older], 3),
        ([first, second, same_position], 3),
        ([below_base, second, third], 1),
    ] {
        let mut bytes = IndexMap::header_slot(SEGMENT).to_vec();
        row.iter().for_each(|slot| bytes.extend_from_slice(&SlotBytes::of(*slot, SEGMENT.seed())));
        assert_eq!(IndexMap::from_bytes(SEGMENT, &bytes, VALID_BYTES).1, IndexEnd::BadSlot(bad), "{row:?}");
    }
}

#[test]
fn a_search_by_offset_finds_the_last_slot_at_or_below_it() {
    let map = sample();
    let position = |offset| map.floor_by_offset(Offset(offset)).map(|slot| slot.position);
    assert_eq!(position(999), None);
    assert_eq!(position(1000), Some(0));
    assert_eq!(position(1009), Some(0));
    assert_eq!(position(1010), Some(32_768));
    assert_eq!(position(u64::MAX), Some(65_600));
}

#[test]
fn a_search_by_timestamp_skips_only_what_is_older() {
    let map = sample();
    let position = |timestamp| map.floor_by_timestamp(timestamp).map(|slot| slot.position);
    assert_eq!(position(i64::MIN), None);
    assert_eq!(position(500), Some(0));
    assert_eq!(position(501), Some(65_600));
    assert_eq!(IndexMap::new(SEGMENT).floor_by_timestamp(1), None);
}

#[test]
fn truncation_forgets_slots_at_or_beyond_the_cut() {
    for (bytes, count) in [(0, 0), (1, 1), (32_768, 1), (32_769, 2), (VALID_BYTES, 3)] {
        let mut map = sample();
        map.truncate(bytes);
        assert_eq!(map.slots().len(), count, "{bytes}");
    }
}

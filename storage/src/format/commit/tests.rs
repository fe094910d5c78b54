//! The commit's bytes: round trip, every flipped bit, every truncation, golden bytes.

use ouzel_protocol::{LeaderEpoch, Offset, PartitionId};

use super::super::testing::for_every_flipped_bit;
use super::*;

const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/commit-v1.bin");
const GOLDEN_SEAL: &[u8] = include_bytes!("../../../tests/golden/commit-seal-v1.bin");

fn fields() -> CommitHeaderFields {
    CommitHeaderFields {
        journal_id: 0x0102_0304_0506_0708,
        incarnation: Incarnation(9),
        sequence: 77,
        durable_sequence: 75,
        previous_checksum: 0xdead_beef,
        written_at_ms: 1_700_000_000_123,
    }
}

fn entry(kind: EntryKind) -> EntryHeader {
    EntryHeader {
        kind,
        first_fragment: true,
        last_fragment: false,
        partition: PartitionId(0x1111),
        base_offset: Offset(1000),
        end_offset: Offset(1010),
        segment_base: Offset(500),
        position: 0x2_0001,
        ownership_epoch: 3,
        leader_epoch: LeaderEpoch(4),
    }
}

fn truncate_entry() -> EntryHeader {
    let mut truncate = entry(EntryKind::Truncate);
    (truncate.first_fragment, truncate.last_fragment) = (true, true);
    (truncate.base_offset, truncate.end_offset) = (Offset(1005), Offset(0));
    truncate
}

/// Two entries: 13 payload bytes in two parts, and none.
fn sample() -> Vec<u8> {
    let mut buf = vec![0xaa; 2 * BLOCK];
    let mut writer = CommitWriter::new(&mut buf, fields());
    writer.push(&entry(EntryKind::Data), &[b"hello, ", b"ouzel!"]).unwrap();
    writer.push(&truncate_entry(), &[]).unwrap();
    let (padded_bytes, _) = writer.finish();
    buf.truncate(padded_bytes);
    buf
}

fn seal() -> Vec<u8> {
    let mut buf = vec![0xaa; BLOCK];
    assert_eq!(CommitWriter::new(&mut buf, fields()).finish().0, BLOCK);
    buf
}

fn entries(commit: &Commit<'_>) -> Vec<(EntryHeader, Vec<u8>)> {
    commit.entries().map(|entry| entry.unwrap()).map(|(header, payload)| (header, payload.to_vec())).collect()
}

/// Recomputes the checksum, so that the rules behind it are reached.
fn reseal(bytes: &mut [u8]) {
    let checksum = checksum_with_hole(bytes, CHECKSUM_AT).unwrap();
    bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn a_commit_reads_back_as_it_was_written() {
    let bytes = sample();
    assert_eq!(bytes.len(), BLOCK);
    let commit = parse_commit(&bytes).unwrap();
    assert_eq!(commit.header().fields, fields());
    assert!(!commit.header().seal);
    assert_eq!(commit.header().entry_count, 2);
    assert_eq!(commit.header().length, 64 + 56 + 16 + 56);
    let expected = vec![(entry(EntryKind::Data), b"hello, ouzel!".to_vec()), (truncate_entry(), Vec::new())];
    assert_eq!(entries(&commit), expected);
    assert_eq!(peek_header(bytes.first_chunk().unwrap()).unwrap(), *commit.header());
}

#[test]
fn a_commit_without_entries_is_a_seal() {
    let bytes = seal();
    let commit = parse_commit(&bytes).unwrap();
    assert!(commit.header().seal);
    assert_eq!(commit.entries().count(), 0);
}

#[test]
fn the_bytes_of_version_1_are_the_golden_ones() {
    assert_eq!(sample(), GOLDEN);
    assert_eq!(seal(), GOLDEN_SEAL);
}

#[test]
fn every_flipped_bit_of_a_commit_is_detected() {
    for bytes in [sample(), seal()] {
        for_every_flipped_bit(&bytes, |position, copy| {
            assert!(parse_commit(copy).is_err(), "flipped bit at byte {position} was not detected");
        });
    }
}

#[test]
fn a_truncated_commit_asks_for_more_bytes() {
    let mut buf = vec![0; 3 * BLOCK];
    let mut writer = CommitWriter::new(&mut buf, fields());
    let payload = vec![7; 2 * BLOCK];
    writer.push(&entry(EntryKind::Data), &[&payload]).unwrap();
    let (padded_bytes, _) = writer.finish();
    assert_eq!(padded_bytes, 3 * BLOCK);
    for cut in 0..padded_bytes {
        let bytes = if cut < COMMIT_HEADER_BYTES { BLOCK } else { padded_bytes };
        assert_eq!(parse_commit(&buf[..cut]).unwrap_err(), CommitError::NeedMore { bytes });
    }
    assert!(parse_commit(&buf).is_ok());
}

#[test]
fn bytes_after_a_commit_are_ignored() {
    let mut bytes = sample();
    bytes.extend_from_slice(&[0xff; 100]);
    assert_eq!(parse_commit(&bytes).unwrap().padded_bytes(), BLOCK);
}

#[test]
fn blank_and_foreign_blocks_are_told_apart() {
    assert_eq!(parse_commit(&[0; BLOCK]).unwrap_err(), CommitError::Blank);
    let mut foreign = [0; BLOCK];
    foreign[..4].copy_from_slice(b"OZML");
    assert_eq!(parse_commit(&foreign).unwrap_err(), CommitError::NotACommit { got: u32::from_le_bytes(*b"OZML") });
    foreign[0] = 0;
    assert!(matches!(parse_commit(&foreign).unwrap_err(), CommitError::NotACommit { .. }));
}

#[test]
fn an_unknown_version_is_named_only_when_the_checksum_holds() {
    let mut bytes = sample();
    bytes[4] = 2;
    assert!(matches!(parse_commit(&bytes).unwrap_err(), CommitError::Damaged(_)));
    reseal(&mut bytes);
    assert_eq!(parse_commit(&bytes).unwrap_err(), CommitError::UnknownVersion { got: 2 });
}

#[test]
fn every_rule_behind_the_checksum_is_checked() {
    // (byte, value): each breaks one rule of a commit that is otherwise sealed correctly.
    let broken: &[(usize, u8, &str)] = &[
        (6, 1, "seal flag with entries"),
        (6, 2, "unknown flag"),
        (24, 0, "sequence below durable sequence"),
        (32, 77, "durable sequence not below sequence"),
        (48, 200, "length past the last entry"),
        (48, 184, "length before the last entry ends"),
        (52, 1, "one entry too few"),
        (52, 3, "one entry too many"),
        (52, 0, "entries in a seal"),
        (64, 0, "entry kind 0"),
        (64, 7, "entry kind 7"),
        (65, 4, "unknown fragment flag"),
        (66, 1, "reserved byte of entry"),
        (67, 1, "reserved byte of entry"),
        (68, 255, "payload length"),
        (71, 255, "payload length of gigabytes"),
        (64 + 24 + 1, 0, "end offset below base offset"),
        (64 + 56 + 13, 1, "padding of entry"),
        (64 + 56 + 15, 1, "padding of entry"),
        (64 + 56 + 16 + 56, 1, "padding of commit"),
        (BLOCK - 1, 1, "padding of commit"),
    ];
    for (position, value, rule) in broken {
        let mut bytes = sample();
        assert_ne!(bytes[*position], *value, "{rule}");
        bytes[*position] = *value;
        reseal(&mut bytes);
        assert!(matches!(parse_commit(&bytes), Err(CommitError::Damaged(_))), "{rule}: {:?}", parse_commit(&bytes));
    }
    let mut first = sample();
    first[24..40].fill(0);
    first[24] = 1;
    reseal(&mut first);
    assert!(matches!(parse_commit(&first), Err(CommitError::Damaged(_))), "previous checksum in the first commit");
}

#[test]
fn room_is_exactly_what_fits() {
    let mut buf = vec![0; BLOCK];
    let mut writer = CommitWriter::new(&mut buf, fields());
    assert_eq!(writer.room(), BLOCK - 64 - 56);
    let payload = vec![1; BLOCK];
    assert_eq!(writer.push(&entry(EntryKind::Data), &[&payload[..writer.room() + 1]]), Err(NoRoom));
    assert_eq!(writer.entry_count(), 0);
    let room = writer.room();
    writer.push(&entry(EntryKind::Data), &[&payload[..room]]).unwrap();
    assert_eq!(writer.room(), 0);
    assert_eq!(writer.push(&entry(EntryKind::Drop), &[]), Err(NoRoom));
    assert_eq!(writer.finish().0, BLOCK);
    assert_eq!(parse_commit(&buf).unwrap().header().length as usize, BLOCK);
}

#[test]
fn an_entry_without_payload_fits_in_its_header_alone() {
    let mut buf = vec![0; BLOCK];
    let mut writer = CommitWriter::new(&mut buf, fields());
    let payload = vec![1; BLOCK];
    let almost = writer.room() - ENTRY_HEADER_BYTES;
    writer.push(&entry(EntryKind::Carry), &[&payload[..almost - 3]]).unwrap();
    assert_eq!(writer.room(), 0);
    writer.push(&entry(EntryKind::Drop), &[]).unwrap();
    let (padded_bytes, _) = writer.finish();
    assert_eq!(entries(&parse_commit(&buf[..padded_bytes]).unwrap()).len(), 2);
}

#[test]
fn the_checksum_returned_is_the_one_in_the_header() {
    let mut buf = vec![0; BLOCK];
    let (_, checksum) = CommitWriter::new(&mut buf, fields()).finish();
    assert_eq!(parse_commit(&buf).unwrap().header().checksum, checksum);
}

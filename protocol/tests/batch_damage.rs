//! Damaged and hostile batches: flipped bytes, cut bytes, lying lengths and counts.

mod batch_support;

use batch_support::{DIALECTS, build, golden, many_records, odd_records, read, reseal};
use ouzel_protocol::{
    BATCH_HEADER_BYTES, BatchError, Codec, DecodeLimits, DecodedBatch, Dialect, check_batch, check_produced,
    parse_header,
};
use proptest::prelude::*;

/// One batch of each dialect, a compressed one of each, and what others wrote.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = vec![golden("kafka2_none"), golden("native_wide"), golden("native_gaps")];
    for dialect in DIALECTS {
        samples.push(build(dialect, Codec::Zstd, &many_records()[..10]));
        samples.push(build(dialect, Codec::Snappy, &many_records()[..10]));
    }
    samples
}

/// Bytes 0..8 (base offset) and 12..16 (leader epoch) are what a broker changes on append, so the batch's own
/// CRC cannot vouch for them; the store's side files do. Every other byte is vouched for by the length, the
/// magic or the CRC.
#[test]
fn every_flipped_byte_is_noticed_but_for_base_offset_and_epoch() {
    for batch in samples() {
        for position in 0..batch.len() {
            for flip in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut damaged = batch.clone();
                damaged[position] ^= flip;
                match position {
                    0..8 => assert!(check_produced(&damaged).is_err(), "a client sends 0"),
                    12..16 => assert!(check_batch(&damaged).is_ok()),
                    _ => assert!(check_batch(&damaged).is_err(), "byte {position} ^ {flip:#x}"),
                }
            }
        }
    }
}

/// The one change of the magic byte that names the other dialect is not under the CRC; the layout version,
/// which no Kafka batch carries, and the archive's check stand against it.
#[test]
fn a_batch_under_the_other_magic_is_not_taken_for_one() {
    let mut kafka = golden("kafka2_none");
    kafka[16] = 79;
    assert_eq!(check_produced(&kafka), Err(BatchError::UnknownLayout { expected: 1, got: 0 }));
    let mut native = golden("native_wide");
    native[16] = 2;
    assert!(read(&native).is_err());
}

#[test]
fn a_batch_cut_at_any_length_is_an_error() {
    for batch in samples() {
        for cut in 0..batch.len() {
            let got = check_batch(&batch[..cut]);
            assert!(matches!(got, Err(BatchError::Truncated { .. })), "{cut}: {got:?}");
        }
        let longer = [&batch[..], &[0]].concat();
        assert!(matches!(check_batch(&longer), Err(BatchError::TrailingBytes { .. })));
    }
}

#[test]
fn a_batch_cut_at_any_length_and_sealed_again_is_an_error() {
    for batch in samples() {
        for cut in BATCH_HEADER_BYTES..batch.len() {
            let mut cut_batch = batch[..cut].to_vec();
            reseal(&mut cut_batch);
            assert!(check_batch(&cut_batch).is_ok(), "the seal is sound");
            assert!(read(&cut_batch).is_err(), "cut at {cut}");
        }
    }
}

#[test]
fn a_batch_with_any_byte_flipped_and_sealed_again_is_read_or_refused_but_never_more() {
    for batch in samples() {
        for position in 16..batch.len() {
            for flip in [0x01, 0x02, 0x40, 0x80, 0xff] {
                let mut damaged = batch.clone();
                damaged[position] ^= flip;
                reseal(&mut damaged);
                walk(&damaged);
            }
        }
    }
}

/// Reads whatever can be read: no panic, no endless walk, no memory beyond the batch.
fn walk(batch: &[u8]) {
    let _ = check_produced(batch);
    if let Ok(batch) = DecodedBatch::decode(batch, &DecodeLimits::default()) {
        let mut records = 0;
        let mut errors = 0;
        for record in batch.records() {
            match record {
                Ok(record) => assert_eq!(record.headers.len(), record.headers.count()),
                Err(_) => errors += 1,
            }
            records += 1;
        }
        assert!(errors <= 1 && records <= batch.header().record_count as usize + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_nobody_wrote_are_read_or_refused_but_never_more(
        body in proptest::collection::vec(any::<u8>(), 0..400),
        native in any::<bool>(),
        codec in 0_u8..6,
        count in 0_u32..20,
    ) {
        let mut batch = golden(if native { "native_wide" } else { "kafka2_none" });
        batch.truncate(if native { 64 } else { 61 });
        batch[22] = codec;
        batch[23..27].copy_from_slice(&count.saturating_sub(1).to_be_bytes());
        batch[57..61].copy_from_slice(&count.to_be_bytes());
        batch.extend(body);
        reseal(&mut batch);
        walk(&batch);
        let _ = parse_header(&batch[3..]);
    }
}

#[test]
fn lying_counts_and_lengths_allocate_nothing() {
    let limits = DecodeLimits::default();
    for name in ["kafka2_none", "native_wide"] {
        for at in [8, 23, 57] {
            for lie in [i32::MAX, i32::MAX - 1, 1 << 26, -1, i32::MIN] {
                let mut batch = golden(name);
                batch[at..at + 4].copy_from_slice(&lie.to_be_bytes());
                if at != 8 {
                    reseal(&mut batch);
                }
                let info = allocation_counter::measure(|| {
                    let _ = check_produced(&batch);
                    if let Ok(batch) = DecodedBatch::decode(&batch, &limits) {
                        let _ = batch.records().count();
                    }
                });
                assert_eq!(info.count_total, 0, "{name} {at} {lie}");
            }
        }
    }
}

#[test]
fn lying_lengths_inside_a_magic_2_record_are_errors() {
    let record = |body: &[u8]| {
        let mut batch = golden("kafka2_none");
        batch.truncate(61);
        batch[57..61].copy_from_slice(&1_u32.to_be_bytes());
        batch[23..27].copy_from_slice(&0_u32.to_be_bytes());
        batch.extend_from_slice(body);
        reseal(&mut batch);
        let info = allocation_counter::measure(|| {
            let batch = DecodedBatch::decode(&batch, &DecodeLimits::default()).unwrap();
            let _ = batch.records().count();
        });
        assert_eq!(info.count_total, 0);
        read(&batch)
    };
    // length, attributes, timestamp delta, offset delta, key, value, headers
    let sound = [14, 0, 0, 0, 1, 1, 0, 0];
    assert!(record(&[12, 0, 0, 0, 1, 1, 0]).is_ok());
    for (what, body) in [
        ("a record longer than the batch", &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0][..]),
        ("a negative length", &[1, 0, 0, 0, 1, 1, 0]),
        ("a key longer than the record", &[14, 0, 0, 0, 0xfe, 0x7f, 1, 0]),
        ("a value longer than the record", &[14, 0, 0, 0, 1, 0xfe, 0x7f, 0]),
        ("two billion headers", &[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]),
        ("a negative header count", &[12, 0, 0, 0, 1, 1, 1]),
        ("a header with a null key", &[16, 0, 0, 0, 1, 1, 2, 1, 1]),
        ("a byte behind the headers", &sound),
        ("an offset past the last", &[12, 0, 0, 2, 1, 1, 0]),
        ("a negative offset", &[12, 0, 0, 1, 1, 1, 0]),
        ("no record where one is counted", &[]),
        ("a second record where one is counted", &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 2, 1, 1, 0]),
    ] {
        assert!(record(body).is_err(), "{what}");
    }
}

#[test]
fn what_clients_may_not_send_is_refused() {
    for dialect in DIALECTS {
        let sound = build(dialect, Codec::None, &odd_records());
        type Damage = fn(&mut Vec<u8>);
        let cases: [(&str, Damage); 9] = [
            ("a base offset", |batch| batch[7] = 1),
            ("a control batch", |batch| batch[22] |= 0x20),
            ("log-append time", |batch| batch[22] |= 0x08),
            ("a delete horizon", |batch| batch[22] |= 0x40),
            ("codec 5", |batch| batch[22] |= 0x05),
            ("a last offset delta of 0", |batch| batch[26] = 0),
            ("a producer without a sequence", |batch| batch[43..51].fill(0)),
            ("a producer and a sequence without an epoch", |batch| {
                batch[43..51].fill(0);
                batch[53..57].fill(0);
            }),
            ("no record", |batch| batch[57..61].fill(0)),
        ];
        for (what, damage) in cases {
            let mut batch = sound.clone();
            damage(&mut batch);
            reseal(&mut batch);
            assert!(check_batch(&batch).is_ok(), "{what}: a sound batch all the same");
            assert!(check_produced(&batch).is_err(), "{what}");
        }
    }
}

#[test]
fn headers_no_batch_may_have_are_refused() {
    let sound = build(Dialect::Kafka2, Codec::None, &odd_records());
    assert_eq!(parse_header(&sound[..60]), Err(BatchError::Truncated { needed: 61, got: 60 }));
    for (at, bytes) in [
        (0, &(-1_i64).to_be_bytes()[..]),
        (0, &i64::MAX.to_be_bytes()),
        (0, &(i64::MAX - 3).to_be_bytes()),
        (8, &48_i32.to_be_bytes()),
        (8, &(-1_i32).to_be_bytes()),
        (8, &(64_i32 << 20).to_be_bytes()),
        (16, &[0]),
        (16, &[1]),
        (23, &(-1_i32).to_be_bytes()),
        (57, &(-1_i32).to_be_bytes()),
    ] {
        let mut batch = sound.clone();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        assert!(parse_header(&batch).is_err(), "{bytes:?} at {at}");
    }
}

//! What is pushed comes back: both dialects, every codec, any alignment; and what it costs.

mod batch_support;

use batch_support::{DIALECTS, Owned, TIMESTAMP, build, many_records, odd_records, push, read};
use ouzel_protocol::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use ouzel_protocol::{
    BatchBuilder, BatchError, Codec, DecodeLimits, DecodedBatch, Dialect, LeaderEpoch, Offset, batches, check_batch,
    check_produced, parse_header, patched_prefix,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn records() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || option::weighted(0.8, vec(any::<u8>(), 0..40));
    let headers = prop_oneof![
        3 => Just(Vec::new()),
        1 => vec(("[a-zé]{0,5}", option::of(vec(any::<u8>(), 0..10))), 0..4),
    ];
    let timestamp = prop_oneof![
        9 => TIMESTAMP - 1000..TIMESTAMP + 1000,
        1 => any::<i64>(),
    ];
    let record = (timestamp, bytes(), bytes(), headers);
    vec(record, 1..40).prop_map(|records| {
        let owned = |(offset, (timestamp, key, value, headers))| Owned {
            offset: offset as u64,
            timestamp,
            key,
            value,
            headers,
        };
        records.into_iter().enumerate().map(owned).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_come_back_from_either_dialect_and_every_codec(records in records()) {
        for dialect in DIALECTS {
            for codec in Codec::ALL {
                let batch = build(dialect, codec, &records);
                let header = check_produced(&batch).unwrap();
                prop_assert_eq!(header.record_count as usize, records.len());
                prop_assert_eq!(header.max_timestamp, records.iter().map(|r| r.timestamp).max().unwrap());
                prop_assert_eq!(&read(&batch).unwrap(), &records);
            }
        }
    }

    #[test]
    fn a_batch_converted_to_the_other_dialect_has_the_same_records(records in records()) {
        for (from, to) in [(Dialect::Native, Dialect::Kafka2), (Dialect::Kafka2, Dialect::Native)] {
            let batch = build(from, Codec::Lz4, &records);
            let batch = DecodedBatch::decode(&batch, &DecodeLimits::default()).unwrap();
            let mut builder = BatchBuilder::new(to, Codec::Zstd, None);
            for record in batch.records() {
                builder.push_record(&record.unwrap());
            }
            prop_assert_eq!(&read(&builder.build().unwrap()).unwrap(), &records);
        }
    }
}

#[test]
fn a_native_batch_is_read_at_any_alignment() {
    let batch = build(Dialect::Native, Codec::None, &odd_records());
    let mut bytes = vec![0; 16 + batch.len()];
    for start in 0..16 {
        bytes[start..start + batch.len()].copy_from_slice(&batch);
        let shifted = &bytes[start..start + batch.len()];
        assert!(check_produced(shifted).is_ok());
        assert_eq!(read(shifted).unwrap(), odd_records());
    }
}

#[test]
fn a_builder_used_again_writes_the_same_bytes() {
    for dialect in DIALECTS {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(dialect, codec, None);
            let mut out = Vec::new();
            for round in [odd_records(), many_records(), odd_records()] {
                round.iter().for_each(|record| push(&mut builder, record));
                assert_eq!(builder.len(), round.len());
                builder.build_into(&mut out).unwrap();
                assert_eq!(out, build(dialect, codec, &round));
                assert!(builder.is_empty());
            }
        }
    }
}

#[test]
fn the_estimate_is_the_size_without_compression() {
    for dialect in DIALECTS {
        let mut builder = BatchBuilder::new(dialect, Codec::None, None);
        for record in many_records() {
            push(&mut builder, &record);
        }
        let estimate = builder.bytes_estimate();
        assert_eq!(builder.build().unwrap().len(), estimate);
    }
}

#[test]
fn compression_that_does_not_shrink_is_left_out() {
    for dialect in DIALECTS {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(dialect, codec, None);
            builder.push(TIMESTAMP, None, Some(b"x"), &[]);
            let batch = builder.build().unwrap();
            assert_eq!(check_produced(&batch).unwrap().codec(), Ok(Codec::None));
        }
        let batch = build(dialect, Codec::Zstd, &many_records());
        assert_eq!(check_produced(&batch).unwrap().codec(), Ok(Codec::Zstd));
        assert!(batch.len() < 2000);
    }
}

#[test]
fn records_that_would_look_like_a_bomb_are_left_uncompressed() {
    let zeros = vec![0; 32 << 20];
    for dialect in DIALECTS {
        let mut builder = BatchBuilder::new(dialect, Codec::Zstd, None);
        builder.push(TIMESTAMP, None, Some(&zeros), &[]);
        let batch = builder.build().unwrap();
        assert_eq!(check_produced(&batch).unwrap().codec(), Ok(Codec::None));
        assert_eq!(read(&batch).unwrap()[0].value.as_ref(), Some(&zeros));
    }
}

#[test]
fn a_batch_past_its_limits_is_not_built() {
    let half = vec![7; BATCH_BYTES_MAX / 2];
    for dialect in DIALECTS {
        let mut builder = BatchBuilder::new(dialect, Codec::None, None);
        assert_eq!(builder.build_into(&mut Vec::new()), Err(BatchError::Field { field: "record count", got: 0 }));
        builder.push(TIMESTAMP, None, Some(&half), &[]);
        builder.push(TIMESTAMP, None, Some(&half), &[]);
        assert_eq!(builder.len(), 1);
        let error = builder.build_into(&mut Vec::new()).unwrap_err();
        assert!(matches!(error, BatchError::TooLarge { max: BATCH_BYTES_MAX, .. }), "{error}");
        builder.push(TIMESTAMP, None, Some(&half), &[]);
        assert!(builder.build_into(&mut Vec::new()).is_ok(), "an emptied builder is as new");
    }
    assert!(u64::from(BATCH_RECORDS_MAX) < u64::from(u32::MAX));
}

/// the goal: at most 16 bytes a record beyond keys and values, bitmaps included.
#[test]
fn a_thousand_native_records_cost_at_most_16_bytes_each() {
    const RECORDS: usize = 1000;
    let mut overheads = Vec::new();
    for dialect in DIALECTS {
        let mut builder = BatchBuilder::new(dialect, Codec::None, None);
        let mut payload = 0;
        for i in 0..RECORDS {
            // One null of each kind makes both bitmaps stand.
            let key = (i != 17).then_some([i as u8; 16]);
            let value = (i != 400).then_some([!i as u8; 100]);
            let (key, value) = (key.as_ref().map(|k| &k[..]), value.as_ref().map(|v| &v[..]));
            payload += key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
            builder.push(TIMESTAMP + i as i64, key, value, &[]);
        }
        let batch = builder.build().unwrap();
        let overhead = (batch.len() - payload) as f64 / RECORDS as f64;
        println!("{dialect:?}: {} bytes, {overhead:.3} bytes of overhead a record", batch.len());
        overheads.push(overhead);
    }
    assert!(overheads[1] <= 16.0, "{overheads:?}");
    assert!(overheads[1] <= 12.5, "three 4-byte columns, two bitmaps, header and root: {overheads:?}");
}

#[test]
fn neither_checking_nor_reading_allocates() {
    for dialect in DIALECTS {
        let batch = build(dialect, Codec::None, &many_records());
        let info = allocation_counter::measure(|| {
            check_produced(&batch).unwrap();
            let batch = DecodedBatch::decode(&batch, &DecodeLimits::default()).unwrap();
            let bytes: usize = batch
                .records()
                .map(|record| record.unwrap())
                .map(|record| record.headers.map(|h| h.key.len()).sum::<usize>())
                .sum();
            assert!(bytes > 0);
        });
        assert_eq!(info.count_total, 0, "{dialect:?}");
    }
}

#[test]
fn a_patched_batch_keeps_its_checksum_and_moves_its_offsets() {
    for dialect in DIALECTS {
        let mut batch = build(dialect, Codec::None, &odd_records());
        let header = parse_header(&batch).unwrap();
        assert_eq!(header.to_bytes(), batch[..61]);
        let prefix = patched_prefix(&header, Offset(500), LeaderEpoch(9));
        batch[..16].copy_from_slice(&prefix);
        let header = check_batch(&batch).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (Offset(500), LeaderEpoch(9)));
        assert_eq!((header.last_offset(), header.end_offset()), (Offset(503), Offset(504)));
        let offsets: Vec<u64> = read(&batch).unwrap().iter().map(|record| record.offset).collect();
        assert_eq!(offsets, [500, 501, 502, 503]);
    }
}

#[test]
fn batches_one_behind_the_other_are_walked_and_a_cut_one_ends_it() {
    let first = build(Dialect::Kafka2, Codec::None, &odd_records());
    let second = build(Dialect::Native, Codec::None, &odd_records());
    let both = [first.clone(), second.clone()].concat();
    for cut in 0..=both.len() {
        let bytes = &both[..cut];
        let mut walk = batches(bytes);
        let whole: Vec<&[u8]> = walk.by_ref().map(|item| item.unwrap().1).collect();
        let expected = usize::from(cut >= first.len()) + usize::from(cut == both.len());
        assert_eq!(whole.len(), expected, "{cut}");
        assert!(whole.iter().zip([&first, &second]).all(|(got, batch)| got == batch));
        let walked: usize = whole.iter().map(|batch| batch.len()).sum();
        assert_eq!(walk.rest().len(), cut - walked);
    }
    let mut broken = both;
    broken[first.len() + 16] = 1;
    let mut walk = batches(&broken);
    assert!(walk.next().unwrap().is_ok());
    assert_eq!(walk.next(), Some(Err(BatchError::UnknownMagic { got: 1 })));
    assert_eq!(walk.next(), None);
}

#[test]
fn log_append_time_is_every_records_timestamp() {
    for dialect in DIALECTS {
        let mut batch = build(dialect, Codec::None, &odd_records());
        batch[22] |= 0x08;
        batch[35..43].copy_from_slice(&77_i64.to_be_bytes());
        batch_support::reseal(&mut batch);
        assert!(read(&batch).unwrap().iter().all(|record| record.timestamp == 77));
        assert!(check_produced(&batch).is_err(), "only a broker sets it");
    }
}

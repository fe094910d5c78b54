//! Both dialects against bytes that others wrote.
//!
//! `kafka2_*.bin` are what `MemoryRecordsBuilder` of kafka-clients 3.9.0 (Java) wrote for the records of
//! `batch_support`; the `none` batch has producer 4242, epoch 7, sequence 99. `native_*.bin` were laid out by
//! a separate program from the layout table of `docs/formats/batches.md` alone, not by this crate.

mod batch_support;

use batch_support::{TIMESTAMP, golden, many_records, odd_records, owned, push, read};
use ouzel_protocol::{BatchBuilder, Codec, Dialect, LeaderEpoch, Magic, Offset, check_batch, check_produced};

#[test]
fn java_batches_of_every_codec_are_read() {
    for codec in Codec::ALL {
        let batch = golden(&format!("kafka2_{codec}"));
        let header = check_produced(&batch).unwrap();
        assert_eq!((header.magic, header.codec()), (Magic::Kafka2, Ok(codec)));
        assert_eq!(header.leader_epoch, LeaderEpoch::NONE);
        assert_eq!(header.base_timestamp, TIMESTAMP);
        assert_eq!(header.max_timestamp, TIMESTAMP + 10_000_000_000);
        let expected = if codec == Codec::None { odd_records() } else { many_records() };
        assert_eq!(read(&batch).unwrap(), expected, "{codec}");
    }
}

#[test]
fn our_magic_2_is_byte_for_byte_javas() {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    builder.set_producer(4242, 7, 99);
    for record in odd_records() {
        push(&mut builder, &record);
    }
    assert_eq!(builder.build().unwrap(), golden("kafka2_none"));
}

#[test]
fn our_snappy_framing_is_javas() {
    let java = golden("kafka2_snappy");
    let ours = batch_support::build(Dialect::Kafka2, Codec::Snappy, &many_records());
    // The header of the stream; behind it the two encoders may choose differently.
    assert_eq!(ours[61..77], java[61..77]);
}

#[test]
fn the_native_builder_writes_the_layout_table() {
    let mut builder = BatchBuilder::new(Dialect::Native, Codec::None, None);
    builder.set_producer(4242, 7, 99);
    for record in odd_records() {
        push(&mut builder, &record);
    }
    assert_eq!(builder.build().unwrap(), golden("native_wide"));
    let mut builder = BatchBuilder::new(Dialect::Native, Codec::None, None);
    for i in 0..3 {
        let (key, value) = (format!("key-{i}"), format!("value {i}"));
        builder.push(TIMESTAMP + i, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    assert_eq!(builder.build().unwrap(), golden("native_plain"));
}

#[test]
fn native_batches_of_layout_1_are_read() {
    let wide = golden("native_wide");
    let header = check_produced(&wide).unwrap();
    assert_eq!((header.magic, header.layout_version()), (Magic::Native, 1));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4242, 7, 99));
    assert_eq!(read(&wide).unwrap(), odd_records());
    let zstd = golden("native_zstd");
    assert_eq!(check_produced(&zstd).unwrap().codec(), Ok(Codec::Zstd));
    assert_eq!(read(&zstd).unwrap(), many_records());
}

#[test]
fn a_native_batch_with_gaps_keeps_its_offsets() {
    let batch = golden("native_gaps");
    let header = check_batch(&batch).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(1000), LeaderEpoch(3)));
    assert_eq!(header.end_offset(), Offset(1064));
    let deltas = [1, 2, 3, 5, 8, 13, 21, 34, 55, 60];
    let expected: Vec<_> = (0..10)
        .map(|i| {
            let key = format!("key-{i}");
            let value = if i == 9 { None } else { Some(&b"v"[..]) };
            let timestamp = TIMESTAMP + i as i64;
            owned(1000 + deltas[i], timestamp, Some(key.as_bytes()), value, &[])
        })
        .collect();
    assert_eq!(read(&batch).unwrap(), expected);
    // Only a compacted topic has gaps; a client does not send them.
    assert!(check_produced(&batch).is_err());
}

//! Codecs: round trips, caps, and bytes no encoder wrote.

use ouzel_protocol::codec::decompressed_bytes_max;
use ouzel_protocol::{Codec, CodecError};

const COMPRESSING: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    (0..bytes)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i % 3 == 0 { (state >> 24) as u8 } else { b'a' + (i % 7) as u8 }
        })
        .collect()
}

fn compress(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    codec.compress_into(bytes, None, &mut out).unwrap();
    assert_eq!(&out[..6], b"before", "{codec} appends");
    out.split_off(6)
}

#[test]
fn names_and_numbers_come_back() {
    for (number, codec) in Codec::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(codec.to_wire()), number);
        assert_eq!(Codec::from_wire(codec.to_wire()), Some(codec));
        assert_eq!(codec.to_string().parse(), Ok(codec));
    }
    assert_eq!(Codec::from_wire(5), None);
    assert!("GZIP".parse::<Codec>().is_err());
}

#[test]
fn bytes_come_back_at_every_size_around_the_block_sizes() {
    for codec in Codec::ALL {
        for bytes in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 64 * 1024, 64 * 1024 + 1, 300_000] {
            let plain = sample(bytes);
            let compressed = compress(codec, &plain);
            assert_eq!(codec.decompress(&compressed, bytes), Ok(plain), "{codec} {bytes}");
        }
    }
}

#[test]
fn levels_are_taken_or_refused_with_a_typed_error() {
    let plain = sample(10_000);
    for (codec, levels) in [(Codec::Gzip, [1, 9]), (Codec::Zstd, [-5, 19])] {
        for level in levels {
            let mut out = Vec::new();
            codec.compress_into(&plain, Some(level), &mut out).unwrap();
            assert_eq!(codec.decompress(&out, 10_000), Ok(plain.clone()));
        }
        let refused = codec.compress_into(&plain, Some(1000), &mut Vec::new());
        assert!(matches!(refused, Err(CodecError::Compress { .. })), "{refused:?}");
    }
}

#[test]
fn bare_snappy_and_repeated_stream_headers_are_read() {
    let plain = sample(1000);
    let bare = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert_eq!(Codec::Snappy.decompress(&bare, 1000), Ok(plain.clone()));
    let twice = [compress(Codec::Snappy, &plain), compress(Codec::Snappy, &plain)].concat();
    assert_eq!(Codec::Snappy.decompress(&twice, 2000), Ok([plain.clone(), plain].concat()));
}

#[test]
fn a_cap_of_one_byte_less_is_an_error() {
    let plain = sample(100_000);
    for codec in Codec::ALL {
        let compressed = compress(codec, &plain);
        assert_eq!(codec.decompress(&compressed, 99_999), Err(CodecError::TooLarge { codec, bytes_max: 99_999 }));
    }
}

#[test]
fn a_bomb_is_refused_without_the_memory_it_claims() {
    const PLAIN: usize = 64 << 20;
    const CAP: usize = 1 << 20;
    // The largest buffers a decoder may hold beside the output: two LZ4 blocks of 4 MiB.
    const BESIDE: u64 = 16 << 20;
    for codec in COMPRESSING {
        let bomb = compress(codec, &vec![0; PLAIN]);
        let info = allocation_counter::measure(|| {
            let got = codec.decompress(&bomb, CAP);
            assert_eq!(got, Err(CodecError::TooLarge { codec, bytes_max: CAP }));
        });
        assert!(info.bytes_max <= CAP as u64 + BESIDE, "{codec}: {} bytes", info.bytes_max);
    }
}

#[test]
fn a_snappy_block_that_claims_gigabytes_allocates_nothing_of_them() {
    // A varint length of 2^31 - 1 and no data.
    let bare = [0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
    let info = allocation_counter::measure(|| {
        assert!(Codec::Snappy.decompress(&bare, usize::MAX).is_err());
        assert!(Codec::Snappy.decompress(&bare, 1 << 20).is_err());
    });
    assert!(info.bytes_max < 64 * 1024, "{} bytes", info.bytes_max);
}

#[test]
fn a_zstd_frame_that_claims_gigabytes_allocates_nothing_of_them() {
    // Magic, a descriptor with an 8-byte content size and single segment, the size 2^40.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1_u64 << 40).to_le_bytes()].concat();
    let info = allocation_counter::measure(|| {
        assert_eq!(
            Codec::Zstd.decompress(&frame, 1 << 20),
            Err(CodecError::TooLarge { codec: Codec::Zstd, bytes_max: 1 << 20 })
        );
    });
    assert!(info.bytes_max < 64 * 1024, "{} bytes", info.bytes_max);
}

#[test]
fn compressed_bytes_cut_at_any_length_are_an_error() {
    let plain = sample(3000);
    for codec in COMPRESSING {
        let compressed = compress(codec, &plain);
        for cut in 0..compressed.len() {
            match codec.decompress(&compressed[..cut], 3000) {
                Err(CodecError::Malformed { .. } | CodecError::TooLarge { .. }) => {}
                // A stream of snappy blocks has no end mark: at a block's edge it is a shorter stream.
                Ok(got) if codec == Codec::Snappy => assert!(got.len() < plain.len()),
                other => panic!("{codec} cut at {cut}: {other:?}"),
            }
        }
    }
}

#[test]
fn compressed_bytes_with_any_byte_flipped_never_grow_past_the_cap() {
    let plain = sample(2000);
    for codec in COMPRESSING {
        let compressed = compress(codec, &plain);
        for position in 0..compressed.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = compressed.clone();
                damaged[position] ^= flip;
                if let Ok(got) = codec.decompress(&damaged, 4000) {
                    assert!(got.len() <= 4000);
                }
            }
        }
    }
}

#[test]
fn bytes_behind_an_lz4_frame_are_an_error() {
    let mut frame = compress(Codec::Lz4, b"abcabcabcabc");
    frame.push(0);
    assert!(matches!(Codec::Lz4.decompress(&frame, 100), Err(CodecError::Malformed { .. })));
}

#[test]
fn the_ratio_counts_past_the_free_allowance() {
    assert_eq!(decompressed_bytes_max(10, 1 << 30, 100), 1 << 20);
    assert_eq!(decompressed_bytes_max(100_000, 1 << 30, 100), 10_000_000);
    assert_eq!(decompressed_bytes_max(usize::MAX, 1 << 30, 100), 1 << 30);
    assert_eq!(decompressed_bytes_max(10, 1000, 100), 1000);
}

//! The native dialect's bytes as a user's workspace sees them. rkyv's byte order, alignment and pointer width are Cargo
//! features, unified over everything that is built together; this test fails where a feature has changed the format.

use ouzel_protocol::records::{DecodeLimits, DecodedBatch};

const GOLDEN: [&[u8]; 4] = [
    include_bytes!("../../protocol/tests/golden/native_plain.bin"),
    include_bytes!("../../protocol/tests/golden/native_wide.bin"),
    include_bytes!("../../protocol/tests/golden/native_gaps.bin"),
    include_bytes!("../../protocol/tests/golden/native_zstd.bin"),
];

#[test]
fn the_client_reads_the_golden_native_batches() {
    for bytes in GOLDEN {
        let batch = DecodedBatch::decode(bytes, &DecodeLimits::default()).expect("a valid batch");
        let count = batch.records().collect::<Result<Vec<_>, _>>().expect("valid records").len();
        assert_eq!(count, batch.header().record_count as usize);
        assert!(count > 0);
    }
}

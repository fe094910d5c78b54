//! Native archives that lie, field by field: every rule of the layout has a batch that breaks it.

mod batch_support;

use batch_support::{golden, reseal};
use ouzel_protocol::{BatchError, CodecError, DecodeLimits, DecodedBatch, check_produced};

/// Bytes of the archive's root, at the end of the batch.
const ROOT_BYTES: usize = 104;
/// The columns' places in the root.
const KEY_ENDS: usize = 8;
const VALUE_ENDS: usize = 16;
const TIMESTAMPS_WIDE: usize = 32;
const OFFSETS: usize = 40;
const KEY_NULLS: usize = 48;
const VALUE_NULLS: usize = 56;
const HEADER_ENDS: usize = 64;
const HEADER_KEY_ENDS: usize = 72;
const HEADER_VALUE_ENDS: usize = 80;
const HEADER_NULLS: usize = 88;
const BLOB: usize = 96;

struct Batch(Vec<u8>);

impl Batch {
    fn root(&self) -> usize {
        self.0.len() - ROOT_BYTES
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    /// Where a column's elements start.
    fn column(&self, field: usize) -> usize {
        let at = self.root() + field;
        at.checked_add_signed(self.u32(at).cast_signed() as isize).unwrap()
    }

    fn put(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn put_root(&mut self, field: usize, value: u32) {
        self.put(self.root() + field, value);
    }

    fn mark(&mut self, field: usize, bits: u8) {
        let at = self.column(field);
        self.0[at] |= bits;
    }

    fn put_element(&mut self, field: usize, index: usize, value: u32) {
        self.put(self.column(field) + 4 * index, value);
    }
}

fn check(name: &str, damage: impl FnOnce(&mut Batch)) -> Result<(), BatchError> {
    let mut batch = Batch(golden(name));
    damage(&mut batch);
    reseal(&mut batch.0);
    let decoded = DecodedBatch::decode(&batch.0, &DecodeLimits::default()).map(|_| ());
    // The gaps are no client's; every other batch is judged alike on the way in and on the way out.
    if name != "native_gaps" && !matches!(decoded, Err(BatchError::Codec(_))) {
        assert_eq!(check_produced(&batch.0).is_ok(), decoded.is_ok());
    }
    decoded
}

#[test]
fn every_rule_of_the_archive_is_held() {
    type Damage = fn(&mut Batch);
    let cases: &[(&str, Damage)] = &[
        ("padding that is not zero", |batch| batch.0[62] = 1),
        ("a present bit nobody knows", |batch| batch.put_root(0, batch.u32(batch.root()) | 64)),
        ("a present bit without its column", |batch| {
            batch.put_root(0, batch.u32(batch.root()) | 8);
        }),
        ("a column without its present bit", |batch| {
            batch.put_root(0, batch.u32(batch.root()) & !1);
        }),
        ("narrow timestamps where wide ones stand", |batch| {
            batch.put_root(0, batch.u32(batch.root()) & !4);
        }),
        ("headers not present but there", |batch| {
            batch.put_root(0, batch.u32(batch.root()) & !16);
        }),
        ("a blob of another size", |batch| batch.put_root(4, 1)),
        ("a column outside the archive", |batch| batch.put_root(KEY_ENDS, 0x8000_0000)),
        ("a column behind the root", |batch| batch.put_root(KEY_ENDS, 0x7fff_0000)),
        ("a column of four billion", |batch| batch.put_root(KEY_ENDS + 4, u32::MAX)),
        ("a column one too long", |batch| batch.put_root(KEY_ENDS + 4, 5)),
        ("a column one too short", |batch| batch.put_root(VALUE_ENDS + 4, 3)),
        ("two columns over each other", |batch| {
            batch.put_root(VALUE_ENDS, batch.u32(batch.root() + KEY_ENDS).wrapping_sub(8));
        }),
        ("a shorter blob", |batch| {
            batch.put_root(BLOB + 4, batch.u32(batch.root() + BLOB + 4) - 1);
        }),
        ("a byte before the columns that none of them has", |batch| batch.0.insert(64, 7)),
        ("a key end that falls", |batch| batch.put_element(KEY_ENDS, 0, 9)),
        ("a value end that falls", |batch| batch.put_element(VALUE_ENDS, 1, 1)),
        ("an end past the blob", |batch| batch.put_element(VALUE_ENDS, 3, 9999)),
        ("an end of four billion", |batch| batch.put_element(HEADER_VALUE_ENDS, 3, u32::MAX)),
        ("a header key end that falls", |batch| batch.put_element(HEADER_KEY_ENDS, 0, 0)),
        ("a header count that falls", |batch| batch.put_element(HEADER_ENDS, 1, 0)),
        ("a header count past the headers", |batch| batch.put_element(HEADER_ENDS, 3, 5)),
        ("a null key with bytes", |batch| batch.mark(KEY_NULLS, 1)),
        ("a null value with bytes", |batch| batch.mark(VALUE_NULLS, 1)),
        ("a null header value with bytes", |batch| batch.mark(HEADER_NULLS, 1)),
        ("a null beyond the records", |batch| batch.mark(KEY_NULLS, 16)),
        ("a null beyond the headers", |batch| batch.mark(HEADER_NULLS, 16)),
        ("a newest timestamp that is not the header's", |batch| {
            batch.put_element(TIMESTAMPS_WIDE, 6, 0);
        }),
        ("a header that says another newest timestamp", |batch| batch.0[42] ^= 1),
    ];
    assert_eq!(check("native_wide", |_| {}), Ok(()));
    for (what, damage) in cases {
        let got = check("native_wide", damage);
        assert!(matches!(got, Err(BatchError::Archive { .. })), "{what}: {got:?}");
    }
}

#[test]
fn offsets_must_rise_to_the_last_delta() {
    assert_eq!(check("native_gaps", |_| {}), Ok(()));
    for (index, value) in [(3, 3), (0, 2), (9, 64), (9, u32::MAX)] {
        let got = check("native_gaps", |batch| batch.put_element(OFFSETS, index, value));
        assert!(matches!(got, Err(BatchError::Archive { .. })), "{index} {value}: {got:?}");
    }
    let got = check("native_plain", |batch| batch.0[26] = 7);
    assert!(got.is_err(), "gaps without a column");
}

#[test]
fn layouts_nobody_knows_are_refused() {
    for layout in (0..16).filter(|&layout| layout != 1) {
        let got = check("native_plain", |batch| batch.0[21] = layout);
        assert_eq!(got, Err(BatchError::UnknownLayout { expected: 1, got: layout }));
    }
}

#[test]
fn no_native_batch_is_a_control_batch() {
    assert_eq!(check("native_plain", |batch| batch.0[22] |= 0x20), Err(BatchError::Control));
}

#[test]
fn a_compressed_blob_that_claims_too_much_is_refused_before_it_is_decompressed() {
    let claim = |bytes: u32| {
        check("native_zstd", |batch| {
            // Headers' ends stand last in the chain, so the claim and the last end rise together.
            batch.put_root(4, bytes);
            batch.put_element(HEADER_VALUE_ENDS, 3, bytes);
        })
    };
    let info = allocation_counter::measure(|| {
        assert!(matches!(claim(1 << 30), Err(BatchError::Archive { .. })));
    });
    assert!(info.bytes_max < 64 * 1024, "{} bytes", info.bytes_max);
    assert!(matches!(claim(1 << 20), Err(BatchError::Codec(CodecError::Length { .. }))));
}

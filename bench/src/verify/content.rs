//! What the records of a verification run hold: every byte of a record follows from the seed, its producer and its
//! sequence, so that the ledger need not keep a copy. Owns the making and the comparing; never sends, never reads a
//! clock. Any thread of the generator.

use std::ops::RangeInclusive;

use ouzel_protocol::Record;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

/// First bytes of every value, so that a foreign record is told from a damaged one.
const VALUE_MAGIC: [u8; 4] = *b"OUZV";
/// Magic, producer and sequence.
const VALUE_PREFIX_BYTES: usize = 16;
/// Timestamp of sequence 0, in milliseconds; each sequence is one millisecond later.
const TIMESTAMP_BASE_MS: i64 = 1_700_000_000_000;
/// One record in this many has no key, one in this many has a header.
const KEYLESS_EVERY: u64 = 3;
const HEADER_EVERY: u64 = 5;
const HEADER_NAME: &str = "verify";

/// How large the values of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// Little more than the prefix: many records in a small batch.
    Tiny,
    /// What events usually are.
    Small,
    /// A few of them reach past one journal commit.
    Large,
    /// One record alone is larger than 1 MiB, so its batch is cut into fragments (docs/rules.md J14).
    Huge,
}

impl Size {
    fn value_bytes(self) -> RangeInclusive<usize> {
        match self {
            Size::Tiny => VALUE_PREFIX_BYTES..=64,
            Size::Small => VALUE_PREFIX_BYTES..=1500,
            Size::Large => 64 * 1024..=300 * 1024,
            Size::Huge => 1024 * 1024..=1500 * 1024,
        }
    }
}

/// The shape of one batch: how many records, and how large.
pub(super) fn batch_shape(rng: &mut SmallRng) -> (Size, u32) {
    match rng.random_range(0..100) {
        0..20 => (Size::Tiny, 1),
        20..75 => (Size::Small, rng.random_range(2..=50)),
        75..97 => (Size::Tiny, rng.random_range(100..=1000)),
        97..99 => (Size::Large, rng.random_range(3..=6)),
        _ => (Size::Huge, 1),
    }
}

/// Who a record is: its producer and its place among the records of that producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) producer: u32,
    pub(super) sequence: u64,
}

impl Identity {
    /// Reads the identity a value claims; `None` if it is no value of a verification run.
    pub(super) fn of_value(value: &[u8]) -> Option<Identity> {
        let prefix = value.first_chunk::<VALUE_PREFIX_BYTES>()?;
        let (magic, rest) = prefix.split_first_chunk::<4>()?;
        let (producer, sequence) = rest.split_first_chunk::<4>()?;
        if *magic != VALUE_MAGIC {
            return None;
        }
        Some(Identity {
            producer: u32::from_le_bytes(*producer),
            sequence: u64::from_le_bytes(sequence.try_into().ok()?),
        })
    }

    /// One number for this identity and `salt`, with every bit mixed (the finaliser of splitmix64).
    pub(super) fn mixed(self, salt: u64) -> u64 {
        let mut mixed = salt ^ self.sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (u64::from(self.producer) << 40);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn timestamp(self) -> i64 {
        TIMESTAMP_BASE_MS + self.sequence as i64
    }

    pub(super) fn key(self) -> Option<[u8; 8]> {
        (!self.sequence.is_multiple_of(KEYLESS_EVERY)).then(|| self.sequence.to_be_bytes())
    }

    pub(super) fn headers(self) -> &'static [(&'static str, Option<&'static [u8]>)] {
        if self.sequence.is_multiple_of(HEADER_EVERY) { &[(HEADER_NAME, Some(b"1"))] } else { &[] }
    }

    /// Writes the value into `out`, which is cleared first. Half of the values are random, half are random only in a
    /// quarter of their bytes, so that a codec both helps and does not (and stays within the ratio a broker accepts).
    pub(super) fn value_into(self, seed: u64, size: Size, out: &mut Vec<u8>) {
        let mut rng = SmallRng::seed_from_u64(self.mixed(seed));
        let value_bytes = rng.random_range(size.value_bytes());
        out.clear();
        out.extend_from_slice(&VALUE_MAGIC);
        out.extend_from_slice(&self.producer.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.resize(value_bytes, 0);
        let body = &mut out[VALUE_PREFIX_BYTES..];
        if rng.random() {
            rng.fill_bytes(body);
        } else {
            let pattern: [u8; 24] = rng.random();
            for chunk in body.chunks_mut(pattern.len() + 8) {
                let (repeated, random) = chunk.split_at_mut(chunk.len().min(pattern.len()));
                repeated.copy_from_slice(&pattern[..repeated.len()]);
                rng.fill_bytes(random);
            }
        }
    }

    /// What of `record` is not as it was sent; `None` if every byte is.
    pub(super) fn difference(
        self,
        seed: u64,
        size: Size,
        record: &Record<'_>,
        scratch: &mut Vec<u8>,
    ) -> Option<&'static str> {
        self.value_into(seed, size, scratch);
        if record.value != Some(scratch.as_slice()) {
            return Some("its value");
        }
        if record.key != self.key().as_ref().map(|key| key.as_slice()) {
            return Some("its key");
        }
        if record.timestamp != self.timestamp() {
            return Some("its timestamp");
        }
        let wanted = self.headers();
        let got = record.headers.clone();
        let same = got.len() == wanted.len()
            && got.zip(wanted).all(|(header, (name, value))| header.key == name.as_bytes() && header.value == *value);
        (!same).then_some("its headers")
    }
}

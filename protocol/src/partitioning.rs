//! Which partition a key belongs to: the same for every client that hashes as Kafka's Java producer does.
//!
//! Owns murmur2 and the step from hash to partition. Never chooses for records without a key: that is the
//! producer's. Pure, any core.

use crate::ids::PartitionIndex;

/// MurmurHash2, 32 bits, seed `0x9747b28c`, as `org.apache.kafka.common.utils.Utils.murmur2`.
#[must_use]
pub fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's length is an `int`: for keys past 2 GiB, which no batch holds, the cut is Java's too.
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (position, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * position);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `count` partitions: `(murmur2(key) & 0x7fffffff) % count`.
///
/// A topic of no partitions has no answer; it gives partition 0, as a topic of one does.
#[must_use]
pub fn partition_for_key(key: &[u8], count: u32) -> PartitionIndex {
    PartitionIndex((murmur2(key) & 0x7fff_ffff) % count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_kafkas_own_tests() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    #[test]
    fn a_key_has_one_partition_within_the_count() {
        assert_eq!(partition_for_key(b"21", 12), PartitionIndex((-973_932_308_i32 as u32 & 0x7fff_ffff) % 12));
        assert_eq!(partition_for_key(b"any", 1), PartitionIndex(0));
        assert_eq!(partition_for_key(b"any", 0), PartitionIndex(0));
    }
}

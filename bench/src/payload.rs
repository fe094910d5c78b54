//! The bytes of the records a run sends. Owns a seeded generator; never reads a clock. Runs on the generator's thread.
//!
//! Payloads are half random, half repeated text, so that a codec finds about what it finds in real events: all random
//! would make compression pointless, all zero would make it a miracle.

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

/// Words the compressible half of a payload is made of.
const WORDS: &[&str] = &[
    "order",
    "customer",
    "\"status\":",
    "pending",
    "shipped",
    "2026-01-01T00:00:00Z",
    "\"amount\":",
    "EUR",
    "\"id\":",
    "true",
    "null",
    "river",
];

/// A source of payloads; the same seed gives the same bytes.
#[derive(Debug)]
pub struct Payloads {
    rng: SmallRng,
}

impl Payloads {
    /// A source that repeats itself for the same seed.
    pub fn new(seed: u64) -> Payloads {
        Payloads { rng: SmallRng::seed_from_u64(seed) }
    }

    /// Overwrites `out` with one payload of its length.
    pub fn fill(&mut self, out: &mut [u8]) {
        let random_bytes = out.len() / 2;
        let (random, text) = out.split_at_mut(random_bytes);
        self.rng.fill_bytes(random);
        let mut rest = text;
        while !rest.is_empty() {
            let word = WORDS[self.rng.random_range(0..WORDS.len())].as_bytes();
            let bytes = word.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(bytes);
            head.copy_from_slice(&word[..bytes]);
            rest = tail;
        }
    }

    /// One payload of `bytes` bytes.
    pub fn make(&mut self, bytes: usize) -> Vec<u8> {
        let mut payload = vec![0; bytes];
        self.fill(&mut payload);
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_payloads() {
        assert_eq!(Payloads::new(7).make(1024), Payloads::new(7).make(1024));
        assert_ne!(Payloads::new(7).make(1024), Payloads::new(8).make(1024));
    }

    #[test]
    fn every_length_is_filled() {
        for bytes in [0, 1, 2, 15, 16, 1023] {
            assert_eq!(Payloads::new(1).make(bytes).len(), bytes);
        }
    }
}

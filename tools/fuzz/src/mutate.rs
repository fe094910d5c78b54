//! Mutations: from one input of the corpus to one that nobody wrote.
//!
//! Owns the ways bytes are damaged. Draws from a generator that is handed in, so that a seed gives the same inputs for
//! ever. Never looks at a format: where lengths stand is found by trying. Any core.

use rand::Rng;
use rand::rngs::SmallRng;

/// The largest input a mutation makes.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;

/// Damages `input` in one to five ways; `other` is what a splice takes from.
pub fn mutate(rng: &mut SmallRng, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..rng.random_range(1..=5) {
        once(rng, &mut bytes, other);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn once(rng: &mut SmallRng, bytes: &mut Vec<u8>, other: &[u8]) {
    match rng.random_range(0..10) {
        0 | 1 => flip_bit(rng, bytes),
        2 => set_byte(rng, bytes),
        3..=5 => set_number(rng, bytes),
        6 => bytes.truncate(rng.random_range(0..=bytes.len())),
        7 => remove(rng, bytes),
        8 => insert(rng, bytes),
        _ => splice(rng, bytes, other),
    }
}

fn flip_bit(rng: &mut SmallRng, bytes: &mut [u8]) {
    let at = place(rng, bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.random_range(0..8);
    }
}

fn set_byte(rng: &mut SmallRng, bytes: &mut [u8]) {
    let at = place(rng, bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte = rng.random();
    }
}

/// Puts a number where a length or a count may stand: an extreme of 1, 2, 4 or 8 bytes, or one near what is there, in
/// either byte order.
fn set_number(rng: &mut SmallRng, bytes: &mut [u8]) {
    let width = [1, 2, 4, 4, 8][rng.random_range(0..5usize)];
    let bits = 8 * width as u32;
    let all = u64::MAX >> (64 - bits);
    let number = match rng.random_range(0..8) {
        0 => 0,
        1 => all,
        2 => all >> 1,
        3 => (all >> 1) + 1,
        4 => all - 1,
        5 => 1 << rng.random_range(0..bits),
        6 => (bytes.len() as u64).wrapping_add(rng.random_range(0..5)).wrapping_sub(2),
        _ => rng.random_range(0..=16),
    };
    let at = place(rng, bytes.len());
    let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..width)) else { return };
    match rng.random() {
        true => field.copy_from_slice(&number.to_le_bytes()[..width]),
        false => field.copy_from_slice(&number.to_be_bytes()[8 - width..]),
    }
}

fn remove(rng: &mut SmallRng, bytes: &mut Vec<u8>) {
    let from = place(rng, bytes.len());
    let to = bytes.len().min(from + length(rng));
    bytes.drain(from..to);
}

fn insert(rng: &mut SmallRng, bytes: &mut Vec<u8>) {
    let at = rng.random_range(0..=bytes.len());
    let fill: u8 = [0, 0xff, rng.random()][rng.random_range(0..3usize)];
    let added = vec![fill; length(rng)];
    bytes.splice(at..at, added);
}

/// Puts a piece of another input, or of this one, over or into the bytes.
fn splice(rng: &mut SmallRng, bytes: &mut Vec<u8>, other: &[u8]) {
    let source = if rng.random() { other.to_vec() } else { bytes.clone() };
    let from = place(rng, source.len());
    let piece = source.get(from..source.len().min(from + length(rng))).unwrap_or_default();
    let at = rng.random_range(0..=bytes.len());
    let over = if rng.random() { bytes.len().min(at + piece.len()) } else { at };
    bytes.splice(at..over, piece.iter().copied());
}

/// A place in the bytes, more often near the start, where headers are.
fn place(rng: &mut SmallRng, length: usize) -> usize {
    let end = if rng.random_ratio(1, 3) { length.min(64) } else { length };
    if end == 0 { 0 } else { rng.random_range(0..end) }
}

/// How many bytes to add, take or move: mostly few.
fn length(rng: &mut SmallRng) -> usize {
    match rng.random_range(0..8) {
        0..=4 => rng.random_range(1..=8),
        5 | 6 => rng.random_range(1..=64),
        _ => rng.random_range(1..=4096),
    }
}

//! The generator of the corpus: for every target, valid encodings of what its format can hold.
//!
//! Owns which values are encoded; the encoders are the formats' own. A seed is accepted by its parser, so that mutations
//! start behind the first check. `cargo run -p ouzel-fuzz --bin seeds` writes those that are missing. Any core.

mod batches;
mod groups;
mod kafka;
mod messages;
mod metadata;
mod store;

use crate::corpus::Input;

/// The seeds of a target, named `seed-0`, `seed-1` and so on; empty for a name that is no target's.
pub fn of(target: &str) -> Vec<Input> {
    let seeds = messages::of(target)
        .or_else(|| batches::of(target))
        .or_else(|| groups::of(target))
        .or_else(|| kafka::of(target))
        .or_else(|| store::of(target))
        .or_else(|| metadata::of(target))
        .unwrap_or_default();
    let named = |(index, bytes)| Input { name: format!("seed-{index}"), bytes };
    seeds.into_iter().enumerate().map(named).collect()
}

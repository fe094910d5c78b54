//! Hostile bytes for every parser of ouzel: the table of targets, the corpus, and the harness that runs one over the other.
//!
//! A target is a function over bytes that panics where a promise is broken: a parser that panics, one that takes more
//! memory than a stated multiple of its input, or bytes that do not come back as they were read. The same table is run in
//! two ways: on stable, over the corpus and seeded mutations of it (`tests/corpus.rs`), and guided by coverage under
//! libFuzzer (`src/bin/libfuzzer.rs`, started by `ci/fuzz`). Used by tests only; nothing links it. Any core.
#![forbid(unsafe_code)]

pub mod corpus;
pub mod harness;
pub mod mutate;
pub mod oracle;
mod reseal;
pub mod seeds;
pub mod targets;

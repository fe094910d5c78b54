//! The simulated machine: a disk that forgets what was not synced, and a run on a fake clock, both from a seed.
//! For tests and `tools/sim`; no production path enters here. No `unsafe`, no threads, no real time, no real file.

mod contents;
mod disk;
mod driver;
mod names;
mod state;
#[cfg(test)]
mod tests;
mod trace;

pub use disk::{DiskStats, Fault, OpClass, SimDisk, Stop};
pub use driver::{SimOutcome, run_sim};

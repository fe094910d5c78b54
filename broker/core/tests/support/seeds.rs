//! The seeds of random schedules. `OUZEL_SEED` replays one.

/// Prints the seed when a schedule panics.
pub(crate) struct SeedOnPanic(pub(crate) u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay with OUZEL_SEED={}", self.0);
        }
    }
}

/// The first `count` seeds, or the one that is to be replayed.
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("OUZEL_SEED") {
        Ok(seed) => vec![seed.parse().expect("OUZEL_SEED is a number")],
        Err(_) => (0..count).collect(),
    }
}

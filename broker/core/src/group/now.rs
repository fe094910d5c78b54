//! The time, as an argument. Owns the two kinds of it; never reads a clock. Plain values, any core.

/// Milliseconds of a clock that never goes back, from an arbitrary start: what deadlines are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MonotonicMs(pub u64);

impl MonotonicMs {
    /// A deadline that never comes.
    pub const NEVER: MonotonicMs = MonotonicMs(u64::MAX);

    /// So many milliseconds later.
    #[must_use]
    pub fn after(self, ms: u32) -> MonotonicMs {
        MonotonicMs(self.0.saturating_add(u64::from(ms)))
    }

    /// How long it is until then, in milliseconds; 0 when that is past.
    #[must_use]
    pub fn until(self, then: MonotonicMs) -> u64 {
        then.0.saturating_sub(self.0)
    }
}

/// Milliseconds since 1970 by the wall clock, as Kafka stores them: what records carry and retention counts by. It may
/// jump.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallMs(pub i64);

/// The time of an event by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For deadlines.
    pub monotonic: MonotonicMs,
    /// For what is stored.
    pub wall: WallMs,
}

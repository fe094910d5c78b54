//! How much work patterns of topic names may be. To read one and to hold it against every name there is takes longer than anything
//! else that a heartbeat may ask for, and a client may want another one each time.
//!
//! Owns the account of it: what was done is paid for with time, and who wants more comes back. Pure; one value a coordinator.

use super::limits::{PATTERN_NAME_COST, PATTERN_NAMES_BURST, PATTERN_NAMES_PER_S};
use super::now::MonotonicMs;

/// The account.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PatternPace {
    /// Until then the time is spent, in us.
    spent_until_us: u64,
}

impl PatternPace {
    /// Whether another pattern may be looked at now.
    pub(crate) fn has_room(self, now: MonotonicMs) -> bool {
        self.spent_until_us <= now_us(now).saturating_add(cost_us(PATTERN_NAMES_BURST))
    }

    /// A pattern was read and held against so many names.
    pub(crate) fn spend(&mut self, now: MonotonicMs, name_count: usize) {
        let cost = cost_us(name_count.saturating_add(PATTERN_NAME_COST));
        self.spent_until_us = self.spent_until_us.max(now_us(now)).saturating_add(cost);
    }
}

fn now_us(now: MonotonicMs) -> u64 {
    now.0.saturating_mul(1_000)
}

/// What so many names cost.
fn cost_us(name_count: usize) -> u64 {
    u64::try_from(name_count).unwrap_or(u64::MAX).saturating_mul(1_000_000) / PATTERN_NAMES_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_is_done_at_once_and_then_so_much_a_second() {
        let count = |pace: &mut PatternPace, at: u64, name_count: usize| {
            let mut count = 0;
            while pace.has_room(MonotonicMs(at)) {
                pace.spend(MonotonicMs(at), name_count);
                count += 1;
            }
            count
        };
        let mut pace = PatternPace::default();
        let per_s = usize::try_from(PATTERN_NAMES_PER_S).unwrap();
        assert_eq!(count(&mut pace, 5_000, 65_536 - PATTERN_NAME_COST), PATTERN_NAMES_BURST / 65_536 + 1);
        assert_eq!(count(&mut pace, 5_000, 0), 0);
        assert_eq!(count(&mut pace, 6_000, 65_536 - PATTERN_NAME_COST), per_s / 65_536);
        // One who comes late has no more than the others had.
        let mut late = PatternPace::default();
        assert_eq!(count(&mut late, 500_000, 65_536 - PATTERN_NAME_COST), PATTERN_NAMES_BURST / 65_536 + 1);
    }
}

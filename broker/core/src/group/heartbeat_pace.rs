//! How often members whose broker assigns are asked for a sign of life. A member learns of a change at its next one, so they are asked
//! as often as is cheap: a join settles at once while there are few members, and many cost no more than a bounded rate.
//!
//! Owns the estimate of how many there are, from what is heard and what they were told. Pure; one value a shard.

use super::limits::{HEARTBEAT_INTERVAL_MS_MIN, HEARTBEATS_PER_S};
use super::now::MonotonicMs;

/// For so long heartbeats are counted before the pace follows, in ms.
const WINDOW_MS: u32 = 2_000;
/// A member that waits for others is heard so many times as often.
const WAITING_FACTOR: u32 = 4;

/// The interval that members are told.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatPace {
    interval_ms: u32,
    window_begins: MonotonicMs,
    /// The intervals that members were told in this window, together.
    told_ms: u64,
}

impl HeartbeatPace {
    /// Nobody was heard yet.
    #[must_use]
    pub fn new() -> HeartbeatPace {
        HeartbeatPace { interval_ms: HEARTBEAT_INTERVAL_MS_MIN, window_begins: MonotonicMs(0), told_ms: 0 }
    }

    /// A member was heard; returns after how long it is to speak again, in ms. `is_waiting`: it waits for partitions that others
    /// have. `interval_ms_max` is the operator's.
    pub fn heard(&mut self, now: MonotonicMs, is_waiting: bool, interval_ms_max: u32) -> u32 {
        let elapsed_ms = now.0.saturating_sub(self.window_begins.0);
        if elapsed_ms >= u64::from(WINDOW_MS) {
            // Each is heard once in the interval that it was told: those of one member add up to the window.
            let member_count = self.told_ms / elapsed_ms;
            let interval_ms = member_count * 1000 / u64::from(HEARTBEATS_PER_S);
            self.interval_ms = u32::try_from(interval_ms).unwrap_or(u32::MAX).max(HEARTBEAT_INTERVAL_MS_MIN);
            self.window_begins = now;
            self.told_ms = 0;
        }
        let interval_ms = self.interval_ms.min(interval_ms_max);
        let told_ms = if is_waiting { (interval_ms / WAITING_FACTOR).max(1) } else { interval_ms };
        self.told_ms += u64::from(told_ms);
        told_ms
    }
}

impl Default for HeartbeatPace {
    fn default() -> Self {
        HeartbeatPace::new()
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;

    /// So many members, each of which speaks when it was asked to; heartbeats a second at the end, and the interval.
    fn settled(member_count: u64, are_waiting: bool, interval_ms_max: u32) -> (u64, u32) {
        let mut pace = HeartbeatPace::new();
        let mut due: BinaryHeap<_> = (0..member_count).map(|member| Reverse(10_000 + member % 997)).collect();
        let (mut last, mut heard) = (0, 0);
        while let Some(Reverse(now)) = due.pop().filter(|Reverse(now)| *now < 80_000) {
            last = pace.heard(MonotonicMs(now), are_waiting, interval_ms_max);
            due.push(Reverse(now + u64::from(last)));
            heard += u64::from(now >= 60_000);
        }
        (heard / 20, last)
    }

    #[test]
    fn few_members_are_heard_often_and_many_at_a_bounded_rate() {
        assert_eq!(settled(10, false, 5_000), (10, HEARTBEAT_INTERVAL_MS_MIN));
        let (rate, interval_ms) = settled(3_000, false, 5_000);
        assert!((800..=1_250).contains(&rate) && (2_400..=3_750).contains(&interval_ms), "{rate}, {interval_ms}");
        assert_eq!(settled(30_000, false, 5_000), (6_000, 5_000), "the operator's interval is the longest");
        assert_eq!(settled(10, false, 500).1, 500);
    }

    #[test]
    fn members_that_wait_are_counted_once_each() {
        let (_, interval_ms) = settled(800, true, 5_000);
        assert_eq!(interval_ms, HEARTBEAT_INTERVAL_MS_MIN / WAITING_FACTOR, "fewer than a thousand slow nobody down");
    }

    #[test]
    fn a_member_that_waits_is_heard_again_soon() {
        let mut pace = HeartbeatPace::new();
        assert_eq!(pace.heard(MonotonicMs(5), true, 5_000), HEARTBEAT_INTERVAL_MS_MIN / WAITING_FACTOR);
        assert_eq!(pace.heard(MonotonicMs(5), true, 100), 25);
        assert_eq!(pace.heard(MonotonicMs(5), false, 5_000), HEARTBEAT_INTERVAL_MS_MIN);
    }
}

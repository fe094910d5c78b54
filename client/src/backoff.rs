//! How long to wait before trying again. Owns the arithmetic; never sleeps and never draws a random number. Pure.

use std::time::Duration;

/// Doubling waits between two bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// The wait before attempt `attempt` (1 = the first retry). `jitter` in 0..1 spreads it over the upper half, so that
    /// clients that failed together do not come back together.
    pub(crate) fn delay(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let full = self.min.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    /// [`delay`](Self::delay) with jitter from the thread's generator.
    pub(crate) fn random_delay(&self, attempt: u32) -> Duration {
        self.delay(attempt, rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_jitter_takes_at_most_half() {
        let backoff = Backoff { min: Duration::from_millis(50), max: Duration::from_secs(1) };
        let full: Vec<u128> = (1..8).map(|n| backoff.delay(n, 1.0).as_millis()).collect();
        assert_eq!(full, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.delay(1, 0.0), Duration::from_millis(25));
        assert_eq!(backoff.delay(u32::MAX, 1.0), Duration::from_secs(1));
    }
}

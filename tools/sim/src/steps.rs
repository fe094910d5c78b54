//! The power goes at every step of a recorded run: after disk event 1, 2, 3, ... of a life, with what was not synced kept,
//! dropped, torn or reordered; then the node recovers, appends, and the power goes again. Owns no promise.

use rand::Rng;

use crate::plan::{End, LifePlan};
use crate::recorded::Recorded;
use crate::round::RoundReport;

/// Which steps of the run of a seed are played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    pub(crate) seed: u64,
    pub(crate) first: u64,
    /// Every so many steps.
    pub(crate) stride: u64,
    /// Stop after this one.
    pub(crate) last: u64,
}

/// Plays the steps until the life has fewer. Hands every step's report to `each` and returns how many there were.
///
/// # Errors
/// The step and the first promise found broken.
pub(crate) fn play(steps: Steps, mut each: impl FnMut(&RoundReport)) -> Result<u64, String> {
    let recorded = Recorded::record(steps.seed)?;
    let mut step = steps.first.max(1);
    let mut played = 0;
    while step <= steps.last {
        let mut fork = recorded.fork(step);
        let broken = |what: String| format!("power cut at step {step} of seed {}: {what}", steps.seed);
        let cuts = fork.disk.stats().cuts;
        let events = fork.disk.stats().events;
        fork.live(LifePlan { end: End::PowerCut(step), ..recorded.life }).map_err(broken)?;
        let is_over = fork.disk.stats().events - events < step;
        assert_eq!(fork.disk.stats().cuts, cuts + 1, "the power went once");
        let second = fork.rng.random_range(1..1_000);
        let again = LifePlan { end: End::PowerCut(second), seed: fork.rng.random(), ..recorded.life };
        fork.live(again).map_err(broken)?;
        fork.settle().map_err(broken)?;
        fork.finish();
        each(&fork.report);
        played += 1;
        if is_over {
            break;
        }
        step += steps.stride.max(1);
    }
    Ok(played)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_promised_is_lost_wherever_the_power_goes() {
        let mut recoveries_cut = 0;
        let steps = Steps { seed: 1, first: 1, stride: 29, last: u64::MAX };
        let played = play(steps, |report| recoveries_cut += report.recoveries_cut).unwrap();
        assert!(played > 20 && recoveries_cut > 3, "{played} steps, {recoveries_cut} recoveries cut");
    }
}

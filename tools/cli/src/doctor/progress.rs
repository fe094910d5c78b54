//! What is shown while the long measurement runs: one line on stderr with the seconds that are left. Owns the line; hides itself
//! where stderr is no terminal.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use ouzel_runtime::host::{FlushPlan, FlushStage};

use crate::units::human_bytes;

/// How often the line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);

/// The line.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// One that is shown, where stderr is a terminal.
    pub(super) fn shown() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(DRAW_EVERY);
        Self(bar)
    }

    /// One that is not.
    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Tells what is done now.
    pub(super) fn begins(&self, stage: FlushStage, plan: FlushPlan) {
        let (words, left) = match stage {
            FlushStage::Writing => (format!("writing {} to measure in", human_bytes(plan.file_bytes)), None),
            FlushStage::Small(time) => ("measuring small commits".to_owned(), Some(time + plan.large)),
            FlushStage::Large(time) => ("measuring large commits".to_owned(), Some(time)),
        };
        let countdown = move |state: &ProgressState, line: &mut dyn Write| {
            // Drawing fails where the terminal is gone; then nobody looks.
            let _ = line.write_str(&left_of(left, state.elapsed()));
        };
        let style = ProgressStyle::with_template("{spinner} {msg}{left}").expect("a constant template");
        self.0.set_style(style.with_key("left", countdown));
        self.0.reset_elapsed();
        self.0.set_message(words);
    }

    /// Takes the line away.
    pub(super) fn end(self) {
        self.0.finish_and_clear();
    }
}

/// The seconds that are left, where that is known; begun ones count.
fn left_of(left: Option<Duration>, elapsed: Duration) -> String {
    left.map_or_else(String::new, |left| format!(", {:.0} s left", left.saturating_sub(elapsed).as_secs_f64().ceil()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_counted_down_to_none() {
        let left = |ms| left_of(Some(Duration::from_secs(30)), Duration::from_millis(ms));
        assert_eq!(
            [0, 1, 1_000, 29_900, 30_000, 31_000].map(left),
            [", 30 s left", ", 30 s left", ", 29 s left", ", 1 s left", ", 0 s left", ", 0 s left"]
        );
        assert_eq!(left_of(None, Duration::ZERO), "");
    }
}

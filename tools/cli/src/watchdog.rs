//! Feeds systemd's watchdog for as long as every shard answers. Owns the interval and the thread; whether a shard is alive is the
//! broker's to know. Runs on a thread of its own, which ends with the process.

use std::time::Duration;

use ouzel_broker::{NoPulse, Pulse};

use crate::notify::notify;

/// Feeds within one watchdog period: one that is late by a busy host is no death.
const FEEDS_PER_PERIOD: u32 = 3;

/// Begins to feed where systemd has set a watchdog for this process.
pub(crate) fn start(pulse: Pulse) {
    let variable = |name| std::env::var(name).ok();
    let Some(period) = period(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id()) else { return };
    let thread = std::thread::Builder::new().name("watchdog".to_owned());
    if let Err(error) = thread.spawn(move || feed(pulse, period / FEEDS_PER_PERIOD)) {
        tracing::error!(%error, "the watchdog cannot be fed: systemd will restart the broker");
    }
}

/// How long systemd waits for a sign, if it waits for one of this process.
fn period(microseconds: Option<String>, for_process: Option<String>, process: u32) -> Option<Duration> {
    if for_process.is_some_and(|text| text.parse() != Ok(process)) {
        return None;
    }
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

fn feed(mut pulse: Pulse, interval: Duration) {
    loop {
        match pulse.beat(interval) {
            Ok(()) => {
                notify("WATCHDOG=1");
                std::thread::sleep(interval);
            }
            Err(silent @ NoPulse::Silent { .. }) => tracing::warn!(%silent, "the watchdog is not fed"),
            // The broker stops, and says why: its end is bounded by systemd's time for stops.
            Err(NoPulse::Ended { .. }) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_watchdog_that_is_meant_for_this_process_is_fed() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(period(text("30000000"), None, 7), Some(Duration::from_secs(30)));
        assert_eq!(period(text("30000000"), text("7"), 7), Some(Duration::from_secs(30)));
        assert_eq!(period(text("30000000"), text("8"), 7), None);
        for nothing in [None, text("0"), text("soon"), text("")] {
            assert_eq!(period(nothing, None, 7), None);
        }
    }
}

//! The node in a few words: what stands above the lists, on the screen and in the plain output. Pure.

use super::picture::{Overview, Picture};
use super::tables::percent;
use crate::units::{human_age, human_bytes, human_rate};

/// Who it is and how long it runs, as facts.
pub(super) fn identity(overview: &Overview) -> Vec<String> {
    vec![
        format!("ouzel {}", overview.version),
        format!("node {}", overview.node),
        overview.phase.clone(),
        format!("up {}", human_age(overview.uptime_ms)),
    ]
}

/// What goes through it, as facts; the most important first.
pub(super) fn traffic(overview: &Overview) -> Vec<String> {
    let bytes = |rate: Option<f64>| known(rate, |rate| format!("{}/s", human_bytes(rate as u64)));
    vec![
        format!("in {}", bytes(overview.bytes_in_per_s)),
        format!("out {}", bytes(overview.bytes_out_per_s)),
        format!("{} requests/s", known(overview.requests_per_s, human_rate)),
        format!("produce p99 {}", known(overview.produce_p99_ms, human_ms)),
    ]
}

/// What it holds, as facts.
pub(super) fn holdings(overview: &Overview) -> Vec<String> {
    vec![
        format!("connections {}", overview.connection_count),
        format!("cpu {}", known(overview.cpu_ratio, percent)),
        format!("memory {}", human_bytes(overview.rss_bytes)),
        format!("partitions {}", overview.partition_count),
    ]
}

/// What somebody should look at: shards that are not well, and what is missing.
pub(super) fn warnings(picture: &Picture) -> Vec<String> {
    let ill = picture.shards.iter().filter(|shard| !shard.reason.is_empty());
    let ill = ill.map(|shard| format!("shard {} is {}: {}", shard.shard, shard.state, shard.reason));
    ill.chain(picture.notes.iter().cloned()).collect()
}

fn known<T>(value: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_string(), shown)
}

fn human_ms(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0} us", ms * 1e3),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1e3 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn facts_are_short_and_what_is_not_known_is_a_dash() {
        let overview = fixture::picture().overview;
        assert_eq!(identity(&overview).join("  "), "ouzel 0.1.0  node 1  serving  up 1h 02m");
        let shown = traffic(&overview).join("  ");
        assert_eq!(shown, "in 3.0 MiB/s  out 0 B/s  200 requests/s  produce p99 2.0 ms");
        assert_eq!(holdings(&overview).join("  "), "connections 2  cpu 50 %  memory 64.0 MiB  partitions 6");
        let blank = traffic(&Overview::default()).join("  ");
        assert_eq!(blank, "in -  out -  - requests/s  produce p99 -");
    }

    #[test]
    fn a_time_has_the_unit_a_person_would_pick() {
        let shown = [0.0426, 0.85, 1.25, 99.9, 150.4, 2_500.0].map(human_ms);
        assert_eq!(shown, ["43 us", "850 us", "1.2 ms", "99.9 ms", "150 ms", "2.5 s"]);
    }

    #[test]
    fn a_shard_that_is_not_well_is_named_with_its_reason() {
        let mut picture = fixture::picture();
        picture.shards[1].state = "poisoned".to_string();
        picture.shards[1].reason = "journal write: no".to_string();
        picture.notes.push("3 more topics are not shown".to_string());
        assert_eq!(warnings(&picture), ["shard 1 is poisoned: journal write: no", "3 more topics are not shown"]);
    }
}

//! Two samples become a picture. Owns every division by time, and what is done where the broker was restarted in between. Pure.

use super::picture::{GroupRow, Overview, Picture, ShardRow, TopicRow};
use super::sample::{Group, Sample, Shard, Topic};

/// The quantile that is shown of produce requests.
const PRODUCE_QUANTILE: f64 = 0.99;

/// What to show of `now`, with rates since `before`.
pub(super) fn picture(before: Option<&Sample>, now: &Sample) -> Picture {
    // Counters begin at zero with every process.
    let before = before.filter(|before| before.started_s == now.started_s);
    let seconds = before.map_or(0.0, |before| now.at.saturating_duration_since(before.at).as_secs_f64());
    let shards = now.shards.iter().map(|shard| {
        let known = before.and_then(|before| before.shards.iter().find(|known| known.shard == shard.shard));
        shard_row(known, shard, seconds)
    });
    let topics = now.topics.iter().map(|(name, topic)| {
        let known = before.and_then(|before| before.topics.get(name));
        topic_row(name, known, topic, seconds)
    });
    let groups = now.groups.iter().map(|(name, group)| {
        let known = before.and_then(|before| before.groups.get(name));
        group_row(name, known, group, seconds)
    });
    Picture {
        overview: overview(before, now, seconds),
        shards: shards.collect(),
        topics: topics.collect(),
        groups: groups.collect(),
        connections: None,
        notes: now.notes.clone(),
    }
}

/// Growth of a counter in a second; none where it is not known twice, or began again.
fn rate(before: Option<f64>, now: Option<f64>, seconds: f64) -> Option<f64> {
    let grown = now? - before?;
    (grown >= 0.0 && seconds > 0.0).then(|| grown / seconds)
}

fn overview(before: Option<&Sample>, now: &Sample, seconds: f64) -> Overview {
    let rate = |of: fn(&Sample) -> f64| rate(before.map(of), Some(of(now)), seconds);
    let produce = before.and_then(|before| {
        let between = between(&before.produce_buckets, &now.produce_buckets);
        quantile(&between, PRODUCE_QUANTILE)
    });
    Overview {
        cluster_id: now.cluster_id.clone(),
        node: now.node.node,
        version: now.node.version.clone(),
        phase: now.node.phase.clone(),
        uptime_ms: now.node.uptime_ms,
        bytes_in_per_s: rate(|sample| sample.bytes_in),
        bytes_out_per_s: rate(|sample| sample.bytes_out),
        requests_per_s: rate(|sample| sample.requests),
        produce_p99_ms: produce.map(|seconds| seconds * 1e3),
        cpu_ratio: rate(|sample| sample.cpu_s),
        rss_bytes: now.rss_bytes as u64,
        connection_count: now.connections as u64,
        partition_count: now.partitions,
    }
}

fn shard_row(before: Option<&Shard>, now: &Shard, seconds: f64) -> ShardRow {
    let counter = |shard: &Shard, name| shard.counters.get(name).map(|value| *value as f64);
    let counted = |name| rate(before.and_then(|before| counter(before, name)), counter(now, name), seconds);
    let grown = |of: fn(&Shard) -> u64| before.map(|before| of(now).saturating_sub(of(before)));
    let hits = grown(|shard| shard.cache.hits).zip(grown(|shard| shard.cache.misses));
    let hits = hits.filter(|(hits, misses)| hits + misses > 0);
    ShardRow {
        shard: now.shard,
        state: now.state.clone(),
        reason: now.reason.clone(),
        busy_ratio: rate(before.map(|before| before.cpu_s), Some(now.cpu_s), seconds),
        payload_bytes_per_s: counted("payload_bytes"),
        commits_per_s: counted("journal_commits"),
        queued: now.queues.values().sum(),
        requests_in_flight: now.requests_in_flight,
        journal_ratio: now.journal.occupancy,
        dirty_bytes: now.memory.dirty_bytes,
        cache_bytes: now.memory.cache_bytes,
        connection_bytes: now.memory.connection_bytes,
        cache_hit_ratio: hits.map(|(hits, misses)| hits as f64 / (hits + misses) as f64),
        partitions: now.partitions,
        connections: now.counters.get("connections").copied().unwrap_or(0),
    }
}

fn topic_row(name: &str, before: Option<&Topic>, now: &Topic, seconds: f64) -> TopicRow {
    let rate = |of: fn(&Topic) -> Option<f64>| rate(before.and_then(of), of(now), seconds);
    TopicRow {
        topic: name.to_string(),
        partitions: now.partitions,
        bytes_in_per_s: rate(|topic| topic.bytes_in),
        records_in_per_s: rate(|topic| topic.records_in),
        bytes_out_per_s: rate(|topic| topic.bytes_out),
        stored_bytes: now.stored_bytes.map(|bytes| bytes as u64),
    }
}

fn group_row(name: &str, before: Option<&Group>, now: &Group, seconds: f64) -> GroupRow {
    let change = now.lag.zip(before.and_then(|before| before.lag)).map(|(now, before)| now - before);
    GroupRow {
        group: name.to_string(),
        kind: now.kind.clone(),
        state: now.state.clone(),
        members: now.members,
        lag: now.lag.map(|lag| lag as u64),
        lag_per_s: change.filter(|_| seconds > 0.0).map(|change| change / seconds),
    }
}

/// What was counted between two readings of a histogram. A series begins with its first value, so that one that was not there
/// had counted nothing.
fn between(before: &[(f64, f64)], now: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let counted = |bound: f64| before.iter().find(|(known, _)| *known == bound).map_or(0.0, |(_, count)| *count);
    now.iter().map(|(bound, count)| (*bound, count - counted(*bound))).collect()
}

/// The value below which this share of the counted lies, evenly spread within a bucket, as Prometheus computes it.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let (_, all) = *buckets.last()?;
    let wanted = all * share;
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in buckets.iter().copied().filter(|_| all > 0.0) {
        if count >= wanted {
            let is_last = bound.is_infinite() || count == below;
            return Some(if is_last { lower } else { lower + (bound - lower) * (wanted - below) / (count - below) });
        }
        (lower, below) = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use super::super::fixture;
    use super::*;

    #[test]
    fn counters_become_rates_of_the_time_between_the_samples() {
        let before = fixture::sample(Instant::now());
        let mut now = before.clone();
        now.at += Duration::from_millis(500);
        now.bytes_in += 1024.0;
        now.cpu_s += 0.25;
        now.shards[0].cpu_s += 0.4;
        *now.shards[0].counters.get_mut("payload_bytes").expect("a counter") += 100;
        now.shards[0].cache.hits += 3;
        now.shards[0].cache.misses += 1;
        now.topics.get_mut("orders").expect("a topic").records_in = Some(60.0);
        now.groups.get_mut("billing").expect("a group").lag = Some(3.0);
        let shown = picture(Some(&before), &now);
        assert_eq!((shown.overview.bytes_in_per_s, shown.overview.bytes_out_per_s), (Some(2048.0), Some(0.0)));
        assert_eq!(shown.overview.cpu_ratio, Some(0.5));
        let shard = &shown.shards[0];
        assert_eq!((shard.payload_bytes_per_s, shard.cache_hit_ratio), (Some(200.0), Some(0.75)));
        assert!(shard.busy_ratio.is_some_and(|busy| (busy - 0.8).abs() < 1e-9), "{shard:?}");
        assert_eq!(shown.topics[1].records_in_per_s, Some(100.0));
        assert_eq!((shown.groups[0].lag, shown.groups[0].lag_per_s), (Some(3), Some(-8.0)));
    }

    #[test]
    fn there_are_no_rates_without_a_sample_before_or_across_a_restart() {
        let before = fixture::sample(Instant::now());
        let mut now = before.clone();
        now.at += Duration::from_secs(1);
        now.started_s += 60.0;
        for shown in [picture(None, &now), picture(Some(&before), &now), picture(Some(&now), &now)] {
            assert_eq!((shown.overview.requests_per_s, shown.overview.produce_p99_ms), (None, None));
            assert_eq!((shown.shards[0].busy_ratio, shown.groups[0].lag_per_s), (None, None));
            assert_eq!(shown.groups[0].lag, Some(7));
        }
    }

    #[test]
    fn a_topic_that_is_new_or_was_made_again_has_no_rate_yet() {
        let mut before = fixture::sample(Instant::now());
        let mut now = before.clone();
        now.at += Duration::from_secs(1);
        now.topics.get_mut("orders").expect("a topic").bytes_in = Some(1.0);
        assert_eq!(picture(Some(&before), &now).topics[1].bytes_in_per_s, None);
        before.topics = BTreeMap::new();
        assert_eq!(picture(Some(&before), &now).topics[1].bytes_in_per_s, None);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket_and_below_the_last_bound() {
        let all = f64::INFINITY;
        assert_eq!(quantile(&[(0.1, 0.0), (0.2, 100.0), (all, 100.0)], 0.5), Some(0.15000000000000002));
        assert_eq!(quantile(&[(0.1, 1.0), (0.2, 1.0), (all, 100.0)], 0.99), Some(0.2));
        assert_eq!(quantile(&[(0.1, 0.0), (all, 0.0)], 0.99), None);
        assert_eq!(quantile(&[], 0.99), None);
        let (before, now) = ([(0.1, 9.0), (all, 10.0)], [(0.1, 9.0), (0.2, 12.0), (all, 14.0)]);
        assert_eq!(between(&before, &now), [(0.1, 0.0), (0.2, 12.0), (all, 4.0)]);
        assert_eq!(between(&[], &now), now);
    }
}

//! What a shard says of itself: its state in a word and its counters by name. Reads counters that others keep. Lives on every
//! shard.

use ouzel_protocol::ShardIndex;
use ouzel_protocol::native::{Counter, DescribedShard, counters};
use ouzel_storage::StoreStats;

use crate::shard::ShardState;

/// Milliseconds since the shard began to serve.
pub(crate) fn uptime_ms(state: &ShardState) -> u64 {
    let uptime = state.shard.now().saturating_duration_since(state.serving_since);
    u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
}

/// State of this shard's log in a word, which its partitions share, and why it is so.
pub(crate) fn log_state(stats: &StoreStats) -> (&'static str, String) {
    match &stats.poisoned {
        Some(reason) => ("poisoned", reason.clone()),
        None if stats.disk_full => ("disk-full", "appends are refused until there is space".to_owned()),
        None => ("online", String::new()),
    }
}

/// State and counters of this shard.
pub(crate) fn describe(state: &ShardState) -> DescribedShard {
    let stats = state.store.stats();
    let (word, reason) = log_state(&stats);
    let named = [
        (counters::PAYLOAD_BYTES, stats.payload_bytes),
        (counters::JOURNAL_BYTES, stats.journal_bytes),
        (counters::SEGMENT_BYTES, stats.segment_bytes),
        (counters::JOURNAL_COMMITS, stats.journal_commits),
        (counters::JOURNAL_SYNCS, stats.fdatasyncs),
        (counters::SEGMENT_SYNCS, stats.segment_fdatasyncs),
        (counters::JOURNAL_FILES_TAKEN, stats.wraps_files),
        (counters::JOURNAL_FILES, stats.journal_files),
        (counters::JOURNAL_USED_BYTES, stats.journal_used_bytes),
        (counters::JOURNAL_BYTES_MAX, stats.journal_bytes_max),
        (counters::CARRIES, stats.carries),
        (counters::CARRY_BYTES, stats.carry_bytes),
        (counters::CHECKPOINTS, stats.checkpoints),
        (counters::DIRTY_BYTES, stats.dirty_bytes),
        (counters::CACHE_BYTES, stats.cache_bytes),
        (counters::RESERVE_BYTES, stats.reserve_bytes),
        (counters::PARTITIONS, stats.partitions),
        (counters::CONNECTIONS, state.connection_count() as u64),
        (counters::CONNECTION_BYTES, state.memory.used_bytes() as u64),
        (counters::REQUESTS_IN_FLIGHT, state.request_in_flight_count() as u64),
    ];
    let mut counters: Vec<Counter> = named.into_iter().map(|(name, value)| Counter::new(name, value)).collect();
    counters.extend(state.meter.counters());
    DescribedShard { shard: state.index, state: word.to_owned(), reason, counters }
}

/// A shard that does not answer any more.
pub(crate) fn gone(shard: ShardIndex) -> DescribedShard {
    DescribedShard {
        shard,
        state: "gone".to_owned(),
        reason: "the shard does not run".to_owned(),
        counters: Vec::new(),
    }
}

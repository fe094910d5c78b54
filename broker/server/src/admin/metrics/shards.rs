//! What goes by shard: state, connections, journal, memory, cache. A shard that did not answer has only that said of it, and
//! the length of its queues, which nobody has to answer for.

use std::sync::Arc;

use super::super::lane::ShardSnapshot;
use super::super::shards::NoAnswer;
use super::table::{self, Metric};
use super::text::{Number, Text};
use crate::connection::Language;
use crate::lanes::ShardAddress;

/// The words for the state of a log.
const LOG_STATES: [&str; 3] = ["online", "disk-full", "poisoned"];

type Value = fn(&ShardSnapshot) -> Number;

/// Metrics with one value a shard.
static VALUES: &[(&Metric, Value)] = &[
    (&table::SHARD_UPTIME, |shard| (shard.uptime_ms as f64 / 1e3).into()),
    (&table::PARTITIONS, |shard| shard.stats.partitions.into()),
    (&table::CONNECTIONS_REFUSED, |shard| shard.requests.connections_refused.into()),
    (&table::REQUESTS_IN_FLIGHT, |shard| shard.requests_in_flight.into()),
    (&table::HOPS, |shard| shard.requests.hops.into()),
    (&table::CONNECTION_MEMORY, |shard| shard.connection_bytes.into()),
    (&table::PAYLOAD_BYTES, |shard| shard.stats.payload_bytes.into()),
    (&table::JOURNAL_BYTES, |shard| shard.stats.journal_bytes.into()),
    (&table::JOURNAL_COMMITS, |shard| shard.stats.journal_commits.into()),
    (&table::JOURNAL_SYNCS, |shard| shard.stats.fdatasyncs.into()),
    (&table::JOURNAL_USED, |shard| shard.stats.journal_used_bytes.into()),
    (&table::JOURNAL_LIMIT, |shard| shard.stats.journal_bytes_max.into()),
    (&table::JOURNAL_OCCUPANCY, |shard| shard.stats.journal_occupancy.into()),
    (&table::JOURNAL_WRAPS, |shard| shard.stats.wraps.into()),
    (&table::CARRIES, |shard| shard.stats.carries.into()),
    (&table::CARRY_BYTES, |shard| shard.stats.carry_bytes.into()),
    (&table::CHECKPOINTS, |shard| shard.stats.checkpoints.into()),
    (&table::SEGMENT_BYTES, |shard| shard.stats.segment_bytes.into()),
    (&table::SEGMENT_SYNCS, |shard| shard.stats.segment_fdatasyncs.into()),
    (&table::DIRTY_BYTES, |shard| shard.stats.dirty_bytes.into()),
    (&table::CACHE_BYTES, |shard| shard.stats.cache_bytes.into()),
    (&table::CACHE_HITS, |shard| shard.store.reads_memory.into()),
    (&table::CACHE_MISSES, |shard| shard.store.reads_disk.into()),
    (&table::RESERVE_BYTES, |shard| shard.stats.reserve_bytes.into()),
];

/// Metrics with one value a shard and protocol.
type OfLanguage = fn(&crate::meter::LanguageMeasures) -> u64;
static BY_PROTOCOL: &[(&Metric, OfLanguage)] = &[
    (&table::CONNECTIONS, |of_language| of_language.open),
    (&table::CONNECTIONS_OPENED, |of_language| of_language.opened),
    (&table::RECEIVED_BYTES, |of_language| of_language.received_bytes),
    (&table::SENT_BYTES, |of_language| of_language.sent_bytes),
];

pub(super) fn write(text: &mut Text, answers: &[Result<Arc<ShardSnapshot>, NoAnswer>], addresses: &[ShardAddress]) {
    let mut up = text.family(&table::SHARD_UP);
    for (shard, answer) in answers.iter().enumerate() {
        up.sample(&[&shard.to_string()], answer.is_ok());
    }
    let mut queues = text.family(&table::QUEUE_LENGTH);
    for (shard, address) in addresses.iter().enumerate() {
        for (lane, queued) in super::queues(address) {
            queues.sample(&[&shard.to_string(), lane], queued);
        }
    }
    let answered: Vec<(String, &ShardSnapshot)> = answers
        .iter()
        .enumerate()
        .filter_map(|(shard, answer)| Some((shard.to_string(), &**answer.as_ref().ok()?)))
        .collect();
    let mut states = text.family(&table::LOG_STATE);
    for (shard, snapshot) in &answered {
        for state in LOG_STATES {
            states.sample(&[shard, state], snapshot.described.state == state);
        }
    }
    for (metric, value) in VALUES {
        let mut family = text.family(metric);
        answered.iter().for_each(|(shard, snapshot)| family.sample(&[shard], value(snapshot)));
    }
    for (metric, value) in BY_PROTOCOL {
        let mut family = text.family(metric);
        for (shard, snapshot) in &answered {
            for (language, of_language) in Language::ALL.iter().zip(&snapshot.requests.languages) {
                family.sample(&[shard, language.name()], value(of_language));
            }
        }
    }
}

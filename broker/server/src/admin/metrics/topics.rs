//! What goes by topic, summed over the shards that own its partitions. What the others have counted stays theirs when one of them
//! is deleted or gets series of its own: a counter that fell would be taken for one that began anew.

use std::sync::Arc;

use super::super::lane::{KeptTopics, TopicTotals, TopicsSnapshot};
use super::table::{self, Metric};
use super::text::Text;

/// The label of all topics that have no series of their own; no topic can have this name.
const OTHERS: &str = "(other)";

type Value = fn(&TopicTotals) -> u64;

static VALUES: &[(&Metric, Value)] = &[
    (&table::TOPIC_PARTITIONS, |totals| totals.partitions),
    (&table::TOPIC_BYTES_IN, |totals| totals.bytes_in),
    (&table::TOPIC_RECORDS_IN, |totals| totals.records_in),
    (&table::TOPIC_BYTES_OUT, |totals| totals.bytes_out),
    (&table::TOPIC_STORED, |totals| totals.stored_bytes),
];

pub(super) fn write(text: &mut Text, kept: &KeptTopics, shards: &[Arc<TopicsSnapshot>]) {
    let mut rows: Vec<(&str, TopicTotals)> = Vec::with_capacity(kept.len() + 1);
    for (topic_id, name) in kept {
        let mut totals = TopicTotals::default();
        shards.iter().filter_map(|shard| shard.kept.get(topic_id)).for_each(|part| totals.add(part));
        rows.push((name, totals));
    }
    let mut others = TopicTotals::default();
    shards.iter().for_each(|shard| others.add(&shard.others));
    if others.partitions > 0 {
        rows.push((OTHERS, others));
    }
    for (metric, value) in VALUES {
        let mut family = text.family(metric);
        rows.iter().for_each(|(topic, totals)| family.sample(&[topic], value(totals)));
    }
}

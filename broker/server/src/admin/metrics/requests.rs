//! What is summed over shards: requests by api, where the time of acknowledgements went, refusals, the journal's times.

use std::collections::BTreeMap;
use std::sync::Arc;

use ouzel_protocol::ErrorCode;
use ouzel_runtime::HistogramCounts;

use super::super::lane::ShardSnapshot;
use super::table;
use super::text::Text;
use crate::meter::Stage;

pub(super) fn write(text: &mut Text, shards: &[Arc<ShardSnapshot>]) {
    by_api(text, shards);
    let mut stages = text.family(&table::PRODUCE_STAGE);
    for (index, stage) in Stage::ALL.iter().enumerate() {
        let of_stage = shards.iter().filter_map(|shard| shard.requests.stages.get(index));
        stages.histogram(&[stage.name()], &merged(of_stage));
    }
    let mut refused: BTreeMap<u16, u64> = BTreeMap::new();
    for (error, count) in shards.iter().flat_map(|shard| &shard.requests.refused) {
        *refused.entry(*error).or_default() += count;
    }
    let mut family = text.family(&table::PRODUCE_REFUSED);
    for (error, count) in refused {
        family.sample(&[ErrorCode::from_wire(error).name()], count);
    }
    let stores = || shards.iter().map(|shard| &shard.store);
    let batches = merged(stores().map(|store| &store.commit_batches));
    text.family(&table::COMMIT_BATCHES).histogram(&[], &batches);
    text.family(&table::JOURNAL_WRITE).histogram(&[], &merged(stores().map(|store| &store.journal_write)));
    text.family(&table::JOURNAL_SYNC).histogram(&[], &merged(stores().map(|store| &store.journal_sync)));
}

fn by_api(text: &mut Text, shards: &[Arc<ShardSnapshot>]) {
    let mut apis: BTreeMap<(&str, &str), (u64, HistogramCounts)> = BTreeMap::new();
    for (asked, taken, answered) in shards.iter().flat_map(|shard| &shard.requests.apis) {
        let (all_taken, all_answered) = apis.entry((asked.language().name(), asked.name())).or_default();
        *all_taken += taken;
        all_answered.merge(answered);
    }
    let mut taken = text.family(&table::REQUESTS);
    apis.iter().for_each(|((protocol, api), (count, _))| taken.sample(&[protocol, api], *count));
    let mut answered = text.family(&table::REQUEST_TIME);
    apis.iter().for_each(|((protocol, api), (_, times))| answered.histogram(&[protocol, api], times));
}

fn merged<'a>(parts: impl Iterator<Item = &'a HistogramCounts>) -> HistogramCounts {
    let mut merged = HistogramCounts::default();
    parts.for_each(|part| merged.merge(part));
    merged
}

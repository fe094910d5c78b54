//! What goes by group: its state, its members, and how far behind it is in each partition.

use std::collections::BTreeMap;

use ouzel_broker_core::MetadataImage;
use ouzel_protocol::Offset;

use super::super::groups::{ends, lag};
use super::super::lane::{AdminQuestion, CommittedAt, GroupSnapshot};
use super::super::shards::Asking;
use super::table;
use super::text::Text;
use crate::limits::{METRIC_GROUP_COUNT_MAX, METRIC_GROUP_PARTITION_COUNT_MAX};

/// Groups with where the partitions end that they have offsets of.
#[derive(Debug, Default)]
pub(super) struct Lagging {
    groups: Vec<GroupSnapshot>,
    /// Of each committed offset of each group above, in their order.
    ends: Vec<Option<Offset>>,
    group_count: usize,
    pub(super) offsets_left_out: usize,
    unread_count: usize,
}

impl Lagging {
    pub(super) fn groups_left_out(&self) -> usize {
        self.group_count - self.groups.len()
    }
}

/// Asks the coordinators, then the owners of the partitions. Each shard gives its share of what may be shown, so that no
/// group comes and goes with those of other shards.
pub(super) async fn ask(asking: &mut Asking<'_>, image: &MetadataImage) -> Lagging {
    let shard_count = asking.shards().addresses().len().max(1);
    let question = |reply| AdminQuestion::Groups {
        count_max: METRIC_GROUP_COUNT_MAX.div_ceil(shard_count),
        offset_count_max: METRIC_GROUP_PARTITION_COUNT_MAX.div_ceil(shard_count),
        reply,
    };
    let mut lagging = Lagging::default();
    for of_shard in asking.all(question).await.into_iter().flatten() {
        lagging.groups.extend(of_shard.groups);
        lagging.group_count += of_shard.group_count;
        lagging.offsets_left_out += of_shard.offsets_left_out;
        lagging.unread_count += of_shard.unread_count;
    }
    lagging.groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
    lagging.ends =
        ends(asking, image, lagging.groups.iter().flat_map(|group| &group.committed).map(CommittedAt::at)).await;
    lagging
}

pub(super) fn write(text: &mut Text, lagging: &Lagging) {
    text.family(&table::GROUPS).sample(&[], lagging.group_count);
    text.family(&table::GROUP_LOGS_UNREAD).sample(&[], lagging.unread_count);
    let mut states = text.family(&table::GROUP_STATE);
    lagging.groups.iter().for_each(|group| states.sample(&[&group.group_id, group.state], 1_u64));
    let mut members = text.family(&table::GROUP_MEMBERS);
    lagging.groups.iter().for_each(|group| members.sample(&[&group.group_id], group.members));
    let rows = lagging.groups.iter().flat_map(|group| group.committed.iter().map(|row| (&*group.group_id, row)));
    let mut offsets = text.family(&table::GROUP_OFFSET);
    for (group, row) in rows.clone() {
        offsets.sample(&[group, row.topic.as_str(), &row.partition.to_string()], row.offset.0);
    }
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    let mut lags = text.family(&table::GROUP_LAG);
    for ((group, row), end) in rows.zip(&lagging.ends) {
        let Some(end) = end else { continue };
        let lag = lag(row.offset, *end);
        lags.sample(&[group, row.topic.as_str(), &row.partition.to_string()], lag);
        *sums.entry(group).or_default() += lag;
    }
    let mut family = text.family(&table::GROUP_LAG_SUM);
    sums.into_iter().for_each(|(group, lag)| family.sample(&[group], lag));
}

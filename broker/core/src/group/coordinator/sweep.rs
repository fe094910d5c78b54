//! The search for offsets that nobody needs: expired ones, and those of deleted topics. Owns how far it has come; goes
//! through the groups in slices, so that a million offsets do not keep a heartbeat waiting. Lives on the shard that owns
//! the partition.

use std::ops::Bound;

use ouzel_protocol::TopicId;

use super::GroupCoordinator;
use crate::group::effects::Effects;
use crate::group::ids::{GroupId, TopicName};
use crate::group::limits::{SWEEP_COUNT_MAX, SWEEP_OFFSETS_MAX, SWEEP_TOMBSTONES_MAX};
use crate::group::now::{MonotonicMs, Now};
use crate::group::record::GroupRecord;

/// One way through all groups.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    what: Wanted,
    /// The last group that is done.
    done: Option<GroupId>,
}

/// What is looked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// Offsets beyond their retention, and groups that have neither members nor offsets any more.
    Expired,
    /// Offsets of a topic that was deleted.
    Topic { topic: TopicName, topic_id: Option<TopicId> },
}

impl GroupCoordinator {
    /// A topic was deleted: its offsets are forgotten, in the ticks that follow. Until then a fetch that knows the id of
    /// the topic that has the name now does not find them.
    pub fn drop_topic(&mut self, topic: &str, topic_id: Option<TopicId>) {
        if self.sweeps.len() < SWEEP_COUNT_MAX {
            let topic = self.shared_name(topic);
            self.sweeps.push_back(Sweep { what: Wanted::Topic { topic, topic_id }, done: None });
        }
        // Beyond that many they are left to their retention.
    }

    pub(super) fn sweep(&mut self, now: Now, effects: &mut Effects) {
        if self.expiry_at <= now.monotonic {
            self.expiry_at = MonotonicMs::NEVER;
            self.sweeps.push_back(Sweep { what: Wanted::Expired, done: None });
        }
        let mut offsets_left = SWEEP_OFFSETS_MAX;
        let mut tombstones_left = SWEEP_TOMBSTONES_MAX;
        while let Some(mut sweep) = self.sweeps.pop_front() {
            if offsets_left == 0 || tombstones_left == 0 {
                self.sweeps.push_front(sweep);
                return;
            }
            let from = sweep.done.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let Some((group_id, group)) = self.groups.range::<GroupId, _>((from, Bound::Unbounded)).next() else {
                self.finish_sweep(&sweep, now);
                continue;
            };
            let group_id = group_id.clone();
            // A group without offsets costs a look all the same.
            offsets_left = offsets_left.saturating_sub(group.offsets.count().max(1));
            let found = self.sweep_group(now, &sweep.what, &group_id, tombstones_left, effects);
            tombstones_left -= found;
            if tombstones_left > 0 {
                sweep.done = Some(group_id);
            }
            self.sweeps.push_front(sweep);
        }
    }

    fn finish_sweep(&mut self, sweep: &Sweep, now: Now) {
        if matches!(sweep.what, Wanted::Expired) {
            self.expiry_at = now.monotonic.after(self.config.offsets_retention_check_interval_ms);
            self.names.retain(TopicName::is_shared);
        }
    }

    /// Looks through one group; returns how many offsets it has forgotten.
    fn sweep_group(
        &mut self,
        now: Now,
        wanted: &Wanted,
        group_id: &GroupId,
        tombstones_max: usize,
        effects: &mut Effects,
    ) -> usize {
        let group = self.groups.get_mut(group_id).expect("it was found");
        let gone = match wanted {
            Wanted::Topic { topic, topic_id } => group.offsets.remove_topic(topic, *topic_id, tombstones_max),
            Wanted::Expired => {
                let (start, retention_ms) = (group.retention_start(), self.config.offsets_retention_ms);
                let mut offsets = std::mem::take(&mut group.offsets);
                let is_used = |topic: &str| group.is_subscribed_to(topic);
                let gone = offsets.remove_expired(now.wall, start, retention_ms, is_used, tombstones_max);
                group.offsets = offsets;
                gone
            }
        };
        let (count, is_over) = (gone.len(), group.offsets.count() == 0 && group.is_vacant());
        self.offset_count -= count;
        for (topic, partition) in gone {
            effects.record(GroupRecord::OffsetTombstone { group_id: group_id.clone(), topic, partition });
        }
        if is_over {
            self.remove_group(group_id, effects);
        }
        count
    }
}

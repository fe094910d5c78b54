//! The search for offsets that nobody needs: expired ones, and those of deleted topics. Owns how far it has come; goes
//! through the groups, and through the topics of each, in slices, so that a million offsets do not keep a heartbeat waiting. Lives on the shard that owns
//! the partition.

use std::ops::Bound;

use ouzel_protocol::TopicId;

use super::GroupCoordinator;
use crate::group::effects::Effects;
use crate::group::ids::{GroupId, TopicName};
use crate::group::limits::{SWEEP_COUNT_MAX, SWEEP_OFFSETS_MAX, SWEEP_TOMBSTONES_MAX};
use crate::group::now::{MonotonicMs, Now};
use crate::group::offsets::{Removed, Slice};
use crate::group::record::GroupRecord;

/// One way through all groups.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    what: Wanted,
    /// The last group that is done.
    done: Option<GroupId>,
    /// A group that is not, and the last topic of it that is.
    within: Option<(GroupId, TopicName)>,
}

impl Sweep {
    fn new(what: Wanted) -> Sweep {
        Sweep { what, done: None, within: None }
    }
}

/// What is looked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// Offsets beyond their retention, and groups that have neither members nor offsets any more.
    Expired,
    /// Offsets of a topic that was deleted.
    Topic { topic: TopicName, topic_id: Option<TopicId> },
    /// Offsets of topics that there are not any more.
    Unknown,
}

impl GroupCoordinator {
    /// A topic was deleted: its offsets are forgotten, in the ticks that follow. Until then a fetch that knows the id of
    /// the topic that has the name now does not find them.
    pub fn drop_topic(&mut self, topic: &str, topic_id: Option<TopicId>) {
        if self.sweeps.len() < SWEEP_COUNT_MAX {
            let topic = self.shared_name(topic);
            self.sweeps.push_back(Sweep::new(Wanted::Topic { topic, topic_id }));
        }
        // Beyond that many they are left to their retention.
    }

    /// The log was read, and topics may have been deleted whose offsets were not all forgotten before the coordinator ended: those of
    /// topics that there are not are forgotten, in the ticks that follow. [`GroupCoordinator::set_topics`] must have been called.
    pub fn drop_unknown_topics(&mut self) {
        self.sweeps.push_back(Sweep::new(Wanted::Unknown));
    }

    pub(super) fn sweep(&mut self, now: Now, effects: &mut Effects) {
        if self.expiry_at <= now.monotonic {
            self.expiry_at = MonotonicMs::NEVER;
            self.sweeps.push_back(Sweep::new(Wanted::Expired));
        }
        let mut offsets_left = SWEEP_OFFSETS_MAX;
        let mut tombstones_left = SWEEP_TOMBSTONES_MAX;
        while let Some(mut sweep) = self.sweeps.pop_front() {
            if offsets_left == 0 || tombstones_left == 0 {
                self.sweeps.push_front(sweep);
                return;
            }
            let from = sweep.done.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let Some((group_id, _)) = self.groups.range::<GroupId, _>((from, Bound::Unbounded)).next() else {
                self.finish_sweep(&sweep, now);
                continue;
            };
            let group_id = group_id.clone();
            let after = sweep.within.take().filter(|(within, _)| *within == group_id).map(|(_, topic)| topic);
            let slice = Slice { after: after.as_ref(), looked_max: offsets_left, gone_max: tombstones_left };
            let removed = self.sweep_group(now, &sweep.what, &group_id, slice, effects);
            // A group without offsets costs a look all the same.
            offsets_left = offsets_left.saturating_sub(removed.looked.max(1));
            tombstones_left -= removed.gone_count;
            if removed.is_done {
                sweep.done = Some(group_id);
            } else {
                sweep.within = removed.until.or(after).map(|topic| (group_id, topic));
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

    /// Looks through a slice of one group.
    fn sweep_group(
        &mut self,
        now: Now,
        wanted: &Wanted,
        group_id: &GroupId,
        slice: Slice<'_>,
        effects: &mut Effects,
    ) -> Swept {
        let group = self.groups.get_mut(group_id).expect("it was found");
        let removed = match wanted {
            Wanted::Topic { topic, topic_id } => group.offsets.remove_topic(topic, *topic_id, slice.gone_max),
            Wanted::Unknown => group.offsets.remove_unknown(|topic_id| self.topics.name(topic_id).is_some(), slice),
            Wanted::Expired => {
                let (start, retention_ms) = (group.retention_start(), self.config.offsets_retention_ms);
                let mut offsets = std::mem::take(&mut group.offsets);
                let is_used = |topic: &str| group.is_subscribed_to(topic);
                let removed = offsets.remove_expired(now.wall, start, retention_ms, is_used, slice);
                group.offsets = offsets;
                removed
            }
        };
        let is_over = group.offsets.count() == 0 && group.is_vacant();
        let Removed { gone, looked, until, is_done } = removed;
        let gone_count = gone.len();
        self.offset_count -= gone_count;
        for (topic, partition) in gone {
            effects.record(GroupRecord::OffsetTombstone { group_id: group_id.clone(), topic, partition });
        }
        if is_over {
            self.remove_group(group_id, effects);
        }
        Swept { gone_count, looked, until, is_done }
    }
}

/// What a slice of a group came to, once it is written.
struct Swept {
    gone_count: usize,
    looked: usize,
    until: Option<TopicName>,
    is_done: bool,
}

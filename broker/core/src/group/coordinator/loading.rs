//! From the log to groups. Owns what each record does to the state; decides nothing. Lives on the shard that owns the
//! partition.

use super::{Group, GroupCoordinator, GroupKind};
use crate::group::classic::{ClassicGroup, Context};
use crate::group::effects::Effects;
use crate::group::error::StoredGroupError;
use crate::group::ids::GroupId;
use crate::group::now::Now;
use crate::group::record::GroupRecord;

impl GroupCoordinator {
    /// Takes in a record of the log, in the log's order, before [`GroupCoordinator::start`]. The last one of a key counts;
    /// limits do not, for what is stored was accepted.
    ///
    /// # Errors
    /// The record's fault: it contradicts itself, and the group stays as it was.
    pub fn apply(&mut self, record: GroupRecord) -> Result<(), StoredGroupError> {
        match record {
            GroupRecord::OffsetCommit { group_id, topic, partition, commit } => {
                let topic = self.shared_name(topic.as_str());
                let is_new = self.loaded(&group_id).offsets.set(&topic, partition, commit);
                self.offset_count += usize::from(is_new);
            }
            GroupRecord::OffsetTombstone { group_id, topic, partition } => {
                if let Some(group) = self.groups.get_mut(&group_id)
                    && group.offsets.remove(topic.as_str(), partition)
                {
                    self.offset_count -= 1;
                    self.settle(group_id.as_str());
                }
            }
            GroupRecord::ClassicGroup { group_id, state } => {
                let kind = GroupKind::Classic(Box::new(ClassicGroup::from_record(group_id.clone(), &state)?));
                self.loaded(&group_id).kind = kind;
            }
            GroupRecord::ClassicGroupTombstone { group_id } => {
                if let Some(group) = self.groups.get_mut(&group_id)
                    && matches!(group.kind, GroupKind::Classic(_))
                {
                    group.kind = Group::new(&group_id, Now::default()).kind;
                    self.settle(group_id.as_str());
                }
            }
            GroupRecord::Consumer { group_id, record } => self.apply_consumer(&group_id, record),
        }
        Ok(())
    }

    pub(super) fn loaded(&mut self, group_id: &GroupId) -> &mut Group {
        self.groups.entry(group_id.clone()).or_insert_with(|| Group::new(group_id, Now::default()))
    }

    /// The log is read: members that were in it have a session's time to show that they live.
    pub fn start(&mut self, now: Now) -> Effects {
        let mut effects = Effects::new();
        let group_ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for group_id in group_ids {
            if let Some(group) = self.groups.get_mut(&group_id) {
                group.start(Context { now, config: &self.config }, &mut effects);
            }
            self.settle(group_id.as_str());
        }
        self.expiry_at = now.monotonic.after(self.config.offsets_retention_check_interval_ms);
        effects
    }
}

//! All groups as records, a slice at a time. Owns how far a snapshot has come; where it is kept is the shard's business. Lives
//! on the shard that owns the partition.
//!
//! Events go on between two slices, so a snapshot is of no one moment. It need not be: what it tells of a key is the state of
//! that key at some moment after its start, or nothing where there was nothing. Whoever loads it applies the log from its start
//! on over it, and every key that has changed since has its last record there. Three things see to it that the rest follows:
//!
//! - A group that changes its kind writes that the old one is gone before it writes the new one, whole. Applied over a state that
//!   has the new kind already, that leads through the old kind to the new one again.
//! - Of a classic group the last record is told, never a rebalance under way, which the log does not know either.
//! - What the log tells in no record (who waits, until when a member lives) is told in none here.

use std::ops::Bound;

use ouzel_protocol::PartitionIndex;

use super::{Group, GroupCoordinator, GroupKind};
use crate::group::consumer::ConsumerRecord;
use crate::group::ids::{GroupId, MemberId, TopicName};
use crate::group::record::GroupRecord;

/// How far a snapshot has come.
#[derive(Clone, Debug)]
pub struct SnapshotCursor(Place);

#[derive(Clone, Debug)]
enum Place {
    Start,
    /// In a group, which need not be there any more when it goes on.
    In(GroupId, Part),
    End,
}

/// What of a group comes next.
#[derive(Clone, Debug)]
enum Part {
    Own,
    /// Members of a group whose broker assigns, behind this one.
    Members(Option<MemberId>),
    /// Offsets, behind this one.
    Offsets(Option<(TopicName, PartitionIndex)>),
}

impl SnapshotCursor {
    /// At the start.
    pub fn new() -> Self {
        Self(Place::Start)
    }

    /// Whether there is nothing more.
    pub fn is_done(&self) -> bool {
        matches!(self.0, Place::End)
    }
}

impl Default for SnapshotCursor {
    fn default() -> Self {
        Self::new()
    }
}

impl GroupCoordinator {
    /// The next of the records from which these groups would be loaded, about `count_max` of them, by group. A few more where
    /// what belongs to one member is not divided; fewer, or none, where groups have none to give.
    ///
    /// Events may come between two slices. A coordinator to which all slices were applied, and then all records that were
    /// written since before the first one, is the same as one to which the whole log was.
    pub fn snapshot_slice(&self, cursor: &mut SnapshotCursor, count_max: usize) -> Vec<GroupRecord> {
        let mut slice = Slice { records: Vec::new(), left: count_max.max(1) };
        let (from, mut resumed) = match std::mem::replace(&mut cursor.0, Place::End) {
            Place::Start => (Bound::Unbounded, None),
            Place::In(group_id, part) => (Bound::Included(group_id.clone()), Some((group_id, part))),
            Place::End => return Vec::new(),
        };
        for (group_id, group) in self.groups.range::<GroupId, _>((from, Bound::Unbounded)) {
            let part = resumed.take().filter(|(resumed, _)| resumed == group_id).map_or(Part::Own, |(_, part)| part);
            if let Some(part) = slice.take(group_id, group, part) {
                cursor.0 = Place::In(group_id.clone(), part);
                break;
            }
        }
        slice.records
    }
}

struct Slice {
    records: Vec<GroupRecord>,
    /// Records that may still be taken; a group without any costs a look all the same.
    left: usize,
}

impl Slice {
    /// Takes records of a group from `part` on; returns what comes next of it when the slice is full.
    fn take(&mut self, group_id: &GroupId, group: &Group, part: Part) -> Option<Part> {
        if self.left == 0 {
            return Some(part);
        }
        self.left -= 1;
        let part = match part {
            Part::Own => self.take_own(group_id, group),
            part => part,
        };
        let part = match (part, &group.kind) {
            (Part::Members(after), GroupKind::Consumer(members)) => {
                for (member_id, records) in members.member_records(after.as_ref()) {
                    records.for_each(|record| self.push_consumer(group_id, record));
                    if self.left == 0 {
                        return Some(Part::Members(Some(member_id.clone())));
                    }
                }
                Part::Offsets(None)
            }
            // It was of the other kind when its members were begun with: the log tells of the change, and of all that follows.
            (Part::Members(_), GroupKind::Classic(_)) => Part::Offsets(None),
            (part, _) => part,
        };
        let Part::Offsets(after) = part else { unreachable!("offsets come last") };
        let after = after.as_ref().map(|(topic, partition)| (topic.as_str(), *partition));
        for (topic, partition, commit) in group.offsets.iter_after(after) {
            let (group_id, name) = (group_id.clone(), topic.clone());
            self.push(GroupRecord::OffsetCommit { group_id, topic: name, partition, commit });
            if self.left == 0 {
                return Some(Part::Offsets(Some((topic.clone(), partition))));
            }
        }
        None
    }

    fn take_own(&mut self, group_id: &GroupId, group: &Group) -> Part {
        match &group.kind {
            GroupKind::Classic(group) => {
                if let Some(state) = group.stored() {
                    self.push(GroupRecord::ClassicGroup { group_id: group_id.clone(), state: state.clone() });
                }
                Part::Offsets(None)
            }
            GroupKind::Consumer(group) => {
                group.own_records().for_each(|record| self.push_consumer(group_id, record));
                Part::Members(None)
            }
        }
    }

    fn push(&mut self, record: GroupRecord) {
        self.records.push(record);
        self.left = self.left.saturating_sub(1);
    }

    fn push_consumer(&mut self, group_id: &GroupId, record: ConsumerRecord) {
        self.push(GroupRecord::Consumer { group_id: group_id.clone(), record });
    }
}

//! The records from which a group whose broker assigns would be loaded as it is. Owns their order, in parts that can be taken one
//! after the other while members come and go. Lives on the shard that owns the group.

use std::ops::Bound;
use std::sync::Arc;

use super::{ConsumerGroup, ConsumerRecord, StoredConsumerGroup};
use crate::group::ids::MemberId;

impl ConsumerGroup {
    /// What is not of one member. Patterns carry the newest metadata that they were held against, which the log learns only
    /// with the next change of what they mean.
    pub(crate) fn own_records(&self) -> impl Iterator<Item = ConsumerRecord> {
        let (epoch, metadata_hash, created_at) = (self.epoch, self.metadata_hash, self.created_at);
        let group = ConsumerRecord::Group(Some(StoredConsumerGroup { epoch, metadata_hash, created_at }));
        let target_epoch = ConsumerRecord::TargetEpoch(Some(self.assignment_epoch));
        let patterns = self.patterns.iter();
        let patterns =
            patterns.map(|(pattern, resolved)| ConsumerRecord::Pattern(Arc::clone(pattern), Some(resolved.clone())));
        [group, target_epoch].into_iter().chain(patterns)
    }

    /// The records of each member behind `after`, which need not be one any more.
    pub(crate) fn member_records(
        &self,
        after: Option<&MemberId>,
    ) -> impl Iterator<Item = (&MemberId, impl Iterator<Item = ConsumerRecord>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range::<MemberId, _>((from, Bound::Unbounded)).map(|(member_id, member)| {
            let subscription = Some(Arc::clone(&member.subscription));
            let target = self.targets.get(member_id.as_str());
            let target = target.map(|target| ConsumerRecord::Target(member_id.clone(), Some(target.clone())));
            let current = ConsumerRecord::Current(member_id.clone(), Some(member.current.clone()));
            let records = [ConsumerRecord::Member(member_id.clone(), subscription)].into_iter();
            (member_id, records.chain(target).chain([current]))
        })
    }
}

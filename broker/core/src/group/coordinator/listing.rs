//! What tools are shown of groups. Owns the shapes of lists and descriptions, and their filters. Lives on the shard that
//! owns the partition.

use std::sync::Arc;

use ouzel_protocol::kafka::consumer_protocol::PROTOCOL_TYPE;

use super::{Group, GroupCoordinator, GroupKind};
use crate::group::classic::ClassicPhase;
use crate::group::ids::{Generation, GroupId};
use crate::group::record::ClassicMemberState;

/// One group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// The group.
    pub group_id: GroupId,
    /// What kind of group its members say it is; empty for one that only stores offsets.
    pub protocol_type: Arc<str>,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Kafka's name of its kind.
    pub kind: &'static str,
}

/// A classic group, as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Its generation.
    pub generation: Generation,
    /// What kind of group its members say it is; empty for one that only stores offsets.
    pub protocol_type: Arc<str>,
    /// The way to assign; empty unless it is stable.
    pub protocol: Arc<str>,
    /// Its members; what they say and have is shown of a stable group only.
    pub members: Vec<ClassicMemberState>,
}

impl Group {
    fn listing(&self, group_id: &GroupId) -> GroupListing {
        let (protocol_type, state, kind) = match &self.kind {
            GroupKind::Classic(group) => (group.protocol_type().cloned(), group.phase().name(), "Classic"),
            GroupKind::Consumer(group) => (Some(Arc::from(PROTOCOL_TYPE)), group.phase().name(), "Consumer"),
        };
        let protocol_type = protocol_type.unwrap_or_else(|| Arc::from(""));
        GroupListing { group_id: group_id.clone(), protocol_type, state, kind }
    }

    /// Whether it has no member; it may be about to have one.
    pub(super) fn has_no_member(&self) -> bool {
        match &self.kind {
            GroupKind::Classic(group) => group.phase() == ClassicPhase::Empty,
            GroupKind::Consumer(group) => group.is_vacant(),
        }
    }
}

/// Whether `filter` names `name`, in whatever case; an empty filter names everything.
fn names(filter: &[&str], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
}

impl GroupCoordinator {
    /// Groups by id, those in one of `states` and of one of `kinds`; an empty filter lets all through.
    pub fn list(&self, states: &[&str], kinds: &[&str]) -> Vec<GroupListing> {
        let listings = self.groups.iter().map(|(group_id, group)| group.listing(group_id));
        listings.filter(|group| names(states, group.state) && names(kinds, group.kind)).collect()
    }

    /// A classic group, or `None` where there is none: Kafka shows that as one that is dead.
    pub fn describe_classic(&self, group_id: &str) -> Option<GroupDescription> {
        let GroupKind::Classic(group) = &self.groups.get(group_id)?.kind else { return None };
        let is_stable = group.phase() == ClassicPhase::Stable;
        let nothing: Arc<[u8]> = Arc::from([]);
        let shown = |member: ClassicMemberState| match is_stable {
            true => member,
            false => {
                ClassicMemberState { subscription: Arc::clone(&nothing), assignment: Arc::clone(&nothing), ..member }
            }
        };
        Some(GroupDescription {
            state: group.phase().name(),
            generation: group.generation(),
            protocol_type: group.protocol_type().cloned().unwrap_or_else(|| Arc::from("")),
            protocol: group.protocol().filter(|_| is_stable).cloned().unwrap_or_else(|| Arc::from("")),
            members: group.members().map(shown).collect(),
        })
    }
}

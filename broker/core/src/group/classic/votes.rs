//! Which way to assign a group takes: one that every member has, and among those the one that most like best. Owns the
//! count of who has what. Lives on the shard that owns the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::member::Member;
use crate::group::request::ClassicProtocol;

/// How many members have each protocol.
#[derive(Clone, Debug, Default)]
pub(super) struct Votes {
    counts: BTreeMap<Arc<str>, usize>,
}

impl Votes {
    pub(super) fn add(&mut self, protocols: &[ClassicProtocol]) {
        for protocol in protocols {
            *self.counts.entry(Arc::clone(&protocol.name)).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, protocols: &[ClassicProtocol]) {
        for protocol in protocols {
            let count = self.counts.get_mut(&protocol.name).expect("what is removed was added");
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&protocol.name);
            }
        }
    }

    /// Whether all of `member_count` members have `name`.
    pub(super) fn is_common(&self, name: &str, member_count: usize) -> bool {
        self.counts.get(name).copied().unwrap_or(0) == member_count
    }

    /// The common protocol with the most votes, each member voting for the common one that it likes best. Between
    /// equals the first by name wins, so that the same members always come to the same.
    pub(super) fn winner<'a>(&self, members: impl ExactSizeIterator<Item = &'a Member>) -> Option<Arc<str>> {
        let member_count = members.len();
        let mut votes: BTreeMap<&'a Arc<str>, usize> = BTreeMap::new();
        for member in members {
            let vote = member.protocols.iter().find(|protocol| self.is_common(&protocol.name, member_count));
            if let Some(vote) = vote {
                *votes.entry(&vote.name).or_default() += 1;
            }
        }
        let winner = votes.into_iter().rev().max_by_key(|(_, count)| *count);
        winner.map(|(name, _)| Arc::clone(name))
    }
}

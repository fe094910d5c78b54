//! The broker's ways to assign the partitions of a group to its members (KIP-848).
//!
//! Owns the question and the shape of its answer. Names and ids stay outside: topics, partitions and members are small dense numbers
//! here, so that ten thousand partitions of a thousand members are a few arrays. Pure functions; never decides when partitions
//! change hands, which is the business of the group. Lives on the shard that owns the group.

mod general;
mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::sync::Arc;

/// A member's place in the question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MemberIndex(pub u32);

impl MemberIndex {
    /// Nobody.
    pub const NONE: MemberIndex = MemberIndex(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A topic's place in the question.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicIndex(pub u32);

impl TopicIndex {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A way to assign.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Assignor {
    /// Every member has as many partitions as any other, where what they read allows it, and keeps what it has.
    #[default]
    Uniform,
    /// Every member has a range of each topic; topics of equal size that all members read are cut at the same places, so that
    /// what belongs together by its key stays together.
    Range,
}

impl Assignor {
    /// All there are, the one that is taken when nobody asks for one first.
    pub const ALL: [Assignor; 2] = [Assignor::Uniform, Assignor::Range];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Assignor> {
        Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
    }

    /// Assigns: the owner of each partition, topic after topic, as in [`Question::previous`]. A partition has nobody
    /// only where nobody reads its topic.
    #[must_use]
    pub fn assign(self, question: &Question) -> Vec<MemberIndex> {
        question.assert_invariants();
        let owners = match self {
            Assignor::Uniform if question.is_homogeneous() => uniform::assign(question),
            Assignor::Uniform => general::assign(question),
            Assignor::Range => range::assign(question),
        };
        assert_eq!(owners.len(), question.partition_count());
        owners
    }
}

/// What is to be assigned, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// How many partitions each topic has.
    pub topics: Vec<u32>,
    /// What each member reads, ascending, nothing twice. Members that read the same may share the list. Their order matters to
    /// [`Assignor::Range`]: static members come first, by their instance ids, then the others by theirs, so that one that
    /// restarts has the same place.
    pub members: Vec<Arc<[TopicIndex]>>,
    /// Who was to have each partition, topic after topic; [`MemberIndex::NONE`] for nobody.
    pub previous: Vec<MemberIndex>,
}

impl Question {
    /// Partitions of all topics.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.topics.iter().map(|&count| count as usize).sum()
    }

    /// Where in a list of owners each topic starts, and behind the last one the end.
    #[must_use]
    pub fn starts(&self) -> Vec<usize> {
        let mut end = 0;
        let mut starts = vec![0];
        starts.extend(self.topics.iter().map(|&count| {
            end += count as usize;
            end
        }));
        starts
    }

    /// Whether all members read the same.
    fn is_homogeneous(&self) -> bool {
        self.members.windows(2).all(|pair| Arc::ptr_eq(&pair[0], &pair[1]) || pair[0] == pair[1])
    }

    /// Who reads each topic, in the order of the members.
    fn readers(&self) -> Vec<Vec<MemberIndex>> {
        let mut readers = vec![Vec::new(); self.topics.len()];
        for (member, topics) in (0..).map(MemberIndex).zip(&self.members) {
            for topic in topics.iter() {
                readers[topic.index()].push(member);
            }
        }
        readers
    }

    /// The caller builds the question from its own state: what does not fit is our mistake.
    fn assert_invariants(&self) {
        assert_eq!(self.previous.len(), self.partition_count(), "each partition has a previous owner or nobody");
        assert!(self.members.len() < MemberIndex::NONE.index(), "there is a number for nobody");
        for topics in &self.members {
            assert!(topics.is_sorted_by(|a, b| a < b), "topics are ascending, none twice");
            assert!(topics.last().is_none_or(|last| last.index() < self.topics.len()), "topics are known");
        }
        let known = |owner: &MemberIndex| *owner == MemberIndex::NONE || owner.index() < self.members.len();
        assert!(self.previous.iter().all(known), "previous owners are members");
    }
}

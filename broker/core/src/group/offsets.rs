//! The committed offsets of one group. Owns how they lie in memory, what is found, and when one has expired; who may
//! commit is the group's to say. Lives on the shard that owns the group's partition.
//!
//! A broker keeps a million of them, so each takes 32 bytes in a sorted array of its topic: names are shared between
//! groups, a topic's id stands once, and what few commits carry (a note, an expiry of their own, the id of a topic that
//! has since been created again) lies apart.

use std::collections::BTreeMap;
use std::ops::Bound;

use ouzel_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::ids::TopicName;
use super::now::WallMs;
use super::record::CommittedOffset;

/// How far one group has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOffsets {
    topics: BTreeMap<TopicName, TopicOffsets>,
    count: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TopicOffsets {
    /// What the topic was at the latest commit.
    topic_id: Option<TopicId>,
    /// Sorted by partition.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    partition: PartitionIndex,
    /// [`LeaderEpoch::NONE`] where it is not known.
    leader_epoch: LeaderEpoch,
    offset: Offset,
    committed_at: WallMs,
    rare: Option<Box<Rare>>,
}

const _: () = assert!(size_of::<Entry>() == 32, "a committed offset stays small");

/// What few commits carry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rare {
    metadata: Box<str>,
    expires_at: Option<WallMs>,
    /// What the topic was then, where that is not what it was at the latest commit.
    other_topic: Option<Option<TopicId>>,
}

impl Rare {
    fn is_needed(&self) -> bool {
        !self.metadata.is_empty() || self.expires_at.is_some() || self.other_topic.is_some()
    }
}

/// A part of the way through the offsets of a group, topic by topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice<'a> {
    /// The last topic that is done.
    pub(super) after: Option<&'a TopicName>,
    /// No further topic is looked at after so many commits.
    pub(super) looked_max: usize,
    /// No more are forgotten.
    pub(super) gone_max: usize,
}

/// What a slice came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Removed {
    pub(super) gone: Vec<(TopicName, PartitionIndex)>,
    /// How many commits were looked at.
    pub(super) looked: usize,
    /// The last topic that is done, if one is.
    pub(super) until: Option<TopicName>,
    /// Whether all topics are done.
    pub(super) is_done: bool,
}

/// From when the retention of a group's offsets counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetentionStart {
    /// The group is between generations, or may use any offset: none expires.
    Never,
    /// From each commit: nobody is known to use them, or nobody subscribes to their topic.
    Commit,
    /// From the moment in which the group lost its last member, or from a commit after it.
    Emptied(WallMs),
}

impl Entry {
    fn has_expired(&self, now: WallMs, start: RetentionStart, retention_ms: u64) -> bool {
        let start = match start {
            RetentionStart::Never => return false,
            RetentionStart::Commit => self.committed_at,
            RetentionStart::Emptied(since) => since.max(self.committed_at),
        };
        match self.rare.as_ref().and_then(|rare| rare.expires_at) {
            Some(expires_at) => now >= expires_at,
            None => u64::try_from(now.0.saturating_sub(start.0)).is_ok_and(|age_ms| age_ms >= retention_ms),
        }
    }
}

impl TopicOffsets {
    fn search(&self, partition: PartitionIndex) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&partition, |entry| entry.partition)
    }

    fn commit(&self, entry: &Entry) -> CommittedOffset {
        let rare = entry.rare.as_deref();
        CommittedOffset {
            offset: entry.offset,
            leader_epoch: Some(entry.leader_epoch).filter(|epoch| *epoch != LeaderEpoch::NONE),
            metadata: rare.map(|rare| rare.metadata.clone()).unwrap_or_default(),
            committed_at: entry.committed_at,
            expires_at: rare.and_then(|rare| rare.expires_at),
            topic_id: self.topic_of(entry),
        }
    }

    fn topic_of(&self, entry: &Entry) -> Option<TopicId> {
        entry.rare.as_ref().and_then(|rare| rare.other_topic).unwrap_or(self.topic_id)
    }

    /// The topic is another from now on: older commits keep what they were made to.
    fn set_topic(&mut self, topic_id: Option<TopicId>) {
        let old_id = std::mem::replace(&mut self.topic_id, topic_id);
        if old_id == topic_id {
            return;
        }
        for entry in &mut self.entries {
            let mut rare = entry.rare.take().map_or_else(Rare::none, |rare| *rare);
            let theirs = rare.other_topic.unwrap_or(old_id);
            rare.other_topic = (theirs != topic_id).then_some(theirs);
            entry.rare = rare.boxed();
        }
    }

    /// Takes out what `is_gone`, as long as there are fewer than `max` in `gone`.
    fn remove_where(
        &mut self,
        topic: &TopicName,
        max: usize,
        is_gone: impl Fn(Option<TopicId>, &Entry) -> bool,
        gone: &mut Vec<(TopicName, PartitionIndex)>,
    ) {
        let latest_id = self.topic_id;
        self.entries.retain(|entry| {
            let theirs = entry.rare.as_ref().and_then(|rare| rare.other_topic).unwrap_or(latest_id);
            let goes = gone.len() < max && is_gone(theirs, entry);
            if goes {
                gone.push((topic.clone(), entry.partition));
            }
            !goes
        });
    }
}

impl Rare {
    fn none() -> Self {
        Self { metadata: Box::default(), expires_at: None, other_topic: None }
    }

    fn boxed(self) -> Option<Box<Self>> {
        self.is_needed().then(|| Box::new(self))
    }
}

impl GroupOffsets {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there is a commit for a partition.
    pub(super) fn has(&self, topic: &TopicName, partition: PartitionIndex) -> bool {
        self.topics.get(topic.as_str()).is_some_and(|offsets| offsets.search(partition).is_ok())
    }

    /// The commit for a partition, if there is one.
    pub fn get(&self, topic: &str, partition: PartitionIndex) -> Option<CommittedOffset> {
        let offsets = self.topics.get(topic)?;
        let at = offsets.search(partition).ok()?;
        Some(offsets.commit(offsets.entries.get(at)?))
    }

    /// As [`GroupOffsets::get`], for the topic that has the name now: a commit to an earlier one of that name is not
    /// there. Where one of the two ids is not known the name decides.
    pub fn fetch(
        &self,
        topic: &str,
        present_id: Option<TopicId>,
        partition: PartitionIndex,
    ) -> Option<CommittedOffset> {
        let is_other =
            |commit: &CommittedOffset| commit.topic_id.zip(present_id).is_some_and(|(then, now)| then != now);
        self.get(topic, partition).filter(|commit| !is_other(commit))
    }

    /// Topics with a commit, by name.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> {
        self.topics.keys()
    }

    /// All commits of one topic, by partition.
    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = (PartitionIndex, CommittedOffset)> {
        let offsets = self.topics.get(topic);
        offsets
            .into_iter()
            .flat_map(|offsets| offsets.entries.iter().map(|entry| (entry.partition, offsets.commit(entry))))
    }

    /// All of them, by topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, PartitionIndex, CommittedOffset)> {
        self.topics.iter().flat_map(|(topic, offsets)| {
            offsets.entries.iter().map(move |entry| (topic, entry.partition, offsets.commit(entry)))
        })
    }

    /// Those behind one of them, which need not be there any more, or all of them.
    pub(super) fn iter_after(
        &self,
        after: Option<(&str, PartitionIndex)>,
    ) -> impl Iterator<Item = (&TopicName, PartitionIndex, CommittedOffset)> {
        let from = after.map_or(Bound::Unbounded, |(topic, _)| Bound::Included(topic));
        self.topics.range::<str, _>((from, Bound::Unbounded)).flat_map(move |(topic, offsets)| {
            let last = after.filter(|(name, _)| *name == topic.as_str()).map(|(_, partition)| partition);
            let start = last.map_or(0, |last| offsets.entries.partition_point(|entry| entry.partition <= last));
            offsets.entries[start..].iter().map(move |entry| (topic, entry.partition, offsets.commit(entry)))
        })
    }

    /// The name of `topic`, where it has a commit.
    pub(super) fn known_name(&self, topic: &str) -> Option<&TopicName> {
        self.topics.get_key_value(topic).map(|(name, _)| name)
    }

    /// Sets a commit, in place of an earlier one if there is one; `true` where there was none.
    pub(super) fn set(&mut self, topic: &TopicName, partition: PartitionIndex, commit: CommittedOffset) -> bool {
        let offsets = match self.topics.get_mut(topic.as_str()) {
            Some(offsets) => offsets,
            None => self.topics.entry(topic.clone()).or_default(),
        };
        offsets.set_topic(commit.topic_id);
        let rare = Rare { metadata: commit.metadata, expires_at: commit.expires_at, other_topic: None };
        let entry = Entry {
            partition,
            leader_epoch: commit.leader_epoch.unwrap_or(LeaderEpoch::NONE),
            offset: commit.offset,
            committed_at: commit.committed_at,
            rare: rare.boxed(),
        };
        match offsets.search(partition) {
            Ok(at) => {
                offsets.entries[at] = entry;
                false
            }
            Err(at) => {
                offsets.entries.insert(at, entry);
                self.count += 1;
                true
            }
        }
    }

    /// Forgets a commit; `false` where there is none.
    pub(super) fn remove(&mut self, topic: &str, partition: PartitionIndex) -> bool {
        let Some(offsets) = self.topics.get_mut(topic) else { return false };
        let Ok(at) = offsets.search(partition) else { return false };
        offsets.entries.remove(at);
        self.count -= 1;
        if offsets.entries.is_empty() {
            self.topics.remove(topic);
        }
        true
    }

    /// Forgets commits that have expired. Topics in `is_used` keep theirs.
    pub(super) fn remove_expired(
        &mut self,
        now: WallMs,
        start: RetentionStart,
        retention_ms: u64,
        is_used: impl Fn(&str) -> bool,
        slice: Slice<'_>,
    ) -> Removed {
        if start == RetentionStart::Never {
            return Removed { is_done: true, ..Removed::default() };
        }
        let is_gone = |_: Option<TopicId>, entry: &Entry| entry.has_expired(now, start, retention_ms);
        let is_wanted = |topic: &str, offsets: &TopicOffsets| {
            offsets.entries.iter().any(|entry| is_gone(None, entry)) && !is_used(topic)
        };
        self.remove_slice(slice, is_wanted, is_gone)
    }

    /// Forgets commits to topics whose ids `is_known` does not know. One that knows no id belongs to whatever has the name.
    pub(super) fn remove_unknown(&mut self, is_known: impl Fn(TopicId) -> bool, slice: Slice<'_>) -> Removed {
        let is_gone = |theirs: Option<TopicId>, _: &Entry| theirs.is_some_and(|theirs| !is_known(theirs));
        self.remove_slice(slice, |_, _| true, is_gone)
    }

    /// Forgets commits to the topic that had this name and id. A commit that knows no id is taken for one to that topic.
    pub(super) fn remove_topic(&mut self, topic: &TopicName, topic_id: Option<TopicId>, gone_max: usize) -> Removed {
        let mut removed = Removed { is_done: true, ..Removed::default() };
        if let Some(offsets) = self.topics.get_mut(topic.as_str()) {
            let is_gone = |theirs: Option<TopicId>, _: &Entry| {
                theirs.zip(topic_id).is_none_or(|(theirs, dropped)| theirs == dropped)
            };
            removed.looked = offsets.entries.len();
            offsets.remove_where(topic, gone_max, is_gone, &mut removed.gone);
            removed.is_done = removed.gone.len() < gone_max;
            self.forget_empty(removed.gone.len());
        }
        removed
    }

    /// Forgets what `is_gone` in the topics that are wanted, as far as the slice goes: at least one topic, for there are not so
    /// many partitions in one.
    fn remove_slice(
        &mut self,
        slice: Slice<'_>,
        is_wanted: impl Fn(&str, &TopicOffsets) -> bool,
        is_gone: impl Fn(Option<TopicId>, &Entry) -> bool,
    ) -> Removed {
        let mut removed = Removed { is_done: true, ..Removed::default() };
        let from = slice.after.map_or(Bound::Unbounded, |topic| Bound::Excluded(topic.as_str()));
        for (topic, offsets) in self.topics.range_mut::<str, _>((from, Bound::Unbounded)) {
            if removed.looked >= slice.looked_max {
                removed.is_done = false;
                break;
            }
            removed.looked += offsets.entries.len();
            if is_wanted(topic.as_str(), offsets) {
                offsets.remove_where(topic, slice.gone_max, &is_gone, &mut removed.gone);
            }
            if removed.gone.len() >= slice.gone_max {
                removed.is_done = false;
                break;
            }
            removed.until = Some(topic.clone());
        }
        self.forget_empty(removed.gone.len());
        removed
    }

    fn forget_empty(&mut self, gone_count: usize) {
        if gone_count > 0 {
            self.count -= gone_count;
            self.topics.retain(|_, offsets| !offsets.entries.is_empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(offset: u64, topic_id: Option<u128>) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(offset),
            leader_epoch: None,
            metadata: Box::default(),
            committed_at: WallMs(0),
            expires_at: None,
            topic_id: topic_id.map(TopicId),
        }
    }

    #[test]
    fn all_that_was_committed_is_found_again() {
        let mut offsets = GroupOffsets::default();
        let topic = TopicName::from("orders");
        let full = CommittedOffset {
            offset: Offset(7),
            leader_epoch: Some(LeaderEpoch(3)),
            metadata: "note".into(),
            committed_at: WallMs(11),
            expires_at: Some(WallMs(12)),
            topic_id: Some(TopicId(5)),
        };
        offsets.set(&topic, PartitionIndex(9), full.clone());
        offsets.set(&topic, PartitionIndex(2), commit(4, Some(5)));
        assert_eq!(offsets.get("orders", PartitionIndex(9)), Some(full.clone()));
        assert_eq!(offsets.get("orders", PartitionIndex(2)), Some(commit(4, Some(5))));
        assert_eq!(offsets.get("orders", PartitionIndex(3)), None);
        assert_eq!(offsets.get("bills", PartitionIndex(9)), None);
        let partitions: Vec<_> = offsets.of_topic("orders").map(|(partition, _)| partition.0).collect();
        assert_eq!((partitions, offsets.count()), (vec![2, 9], 2));
        assert!(offsets.remove("orders", PartitionIndex(9)) && !offsets.remove("orders", PartitionIndex(9)));
        assert!(offsets.remove("orders", PartitionIndex(2)));
        assert_eq!(offsets, GroupOffsets::default(), "nothing is left behind");
    }

    #[test]
    fn a_commit_to_an_earlier_topic_of_the_name_is_not_there() {
        let mut offsets = GroupOffsets::default();
        let topic = TopicName::from("orders");
        for partition in 0..3 {
            offsets.set(&topic, PartitionIndex(partition), commit(10, Some(1)));
        }
        offsets.set(&topic, PartitionIndex(1), commit(20, Some(2)));
        let fetch = |offsets: &GroupOffsets, present_id: Option<u128>, partition| {
            offsets.fetch("orders", present_id.map(TopicId), PartitionIndex(partition)).map(|commit| commit.offset.0)
        };
        assert_eq!([0, 1, 2].map(|at| fetch(&offsets, Some(2), at)), [None, Some(20), None]);
        assert_eq!([0, 1, 2].map(|at| fetch(&offsets, Some(1), at)), [Some(10), None, Some(10)]);
        assert_eq!([0, 1, 2].map(|at| fetch(&offsets, None, at)), [Some(10), Some(20), Some(10)]);
        // A commit that knew no id belongs to whatever has the name.
        offsets.set(&topic, PartitionIndex(2), commit(30, None));
        assert_eq!([0, 1, 2].map(|at| fetch(&offsets, Some(2), at)), [None, Some(20), Some(30)]);
        let gone = offsets.remove_topic(&topic, Some(TopicId(1)), 10).gone;
        assert_eq!(gone.iter().map(|(_, partition)| partition.0).collect::<Vec<_>>(), vec![0, 2]);
        assert_eq!([0, 1, 2].map(|at| fetch(&offsets, Some(2), at)), [None, Some(20), None]);
        assert_eq!(offsets.count(), 1);
    }

    #[test]
    fn offsets_expire_by_the_rule_of_their_group() {
        let mut offsets = GroupOffsets::default();
        let set = |offsets: &mut GroupOffsets, topic: &str, committed_at, expires_at: Option<i64>| {
            let times = (WallMs(committed_at), expires_at.map(WallMs));
            let commit = CommittedOffset { committed_at: times.0, expires_at: times.1, ..commit(1, None) };
            offsets.set(&TopicName::from(topic), PartitionIndex(0), commit);
        };
        set(&mut offsets, "a", 100, None);
        set(&mut offsets, "b", 500, None);
        set(&mut offsets, "c", 100, Some(5_000));
        set(&mut offsets, "used", 100, None);
        set(&mut offsets, "later", 4_500, None);
        let gone = |start, now, max| {
            let mut offsets = offsets.clone();
            let slice = Slice { after: None, looked_max: usize::MAX, gone_max: max };
            let gone = offsets.remove_expired(WallMs(now), start, 1_000, |topic| topic == "used", slice).gone;
            assert_eq!(offsets.count(), 5 - gone.len());
            gone.iter().map(|(topic, _)| topic.to_string()).collect::<Vec<_>>().concat()
        };
        assert_eq!(gone(RetentionStart::Never, i64::MAX, 9), "");
        assert_eq!(gone(RetentionStart::Commit, 1_099, 9), "");
        assert_eq!(gone(RetentionStart::Commit, 1_100, 9), "a");
        assert_eq!(gone(RetentionStart::Commit, 1_500, 9), "ab");
        assert_eq!(gone(RetentionStart::Commit, 1_500, 1), "a", "so many at a time");
        assert_eq!(gone(RetentionStart::Commit, 5_000, 9), "abc");
        assert_eq!(gone(RetentionStart::Commit, -5_000, 9), "", "a clock that went back");
        assert_eq!(gone(RetentionStart::Emptied(WallMs(2_000)), 2_999, 9), "");
        assert_eq!(
            gone(RetentionStart::Emptied(WallMs(2_000)), 3_000, 9),
            "ab",
            "and what was committed after that has its own time"
        );
        assert_eq!(gone(RetentionStart::Emptied(WallMs(2_000)), 5_500, 9), "abclater");
    }

    #[test]
    fn a_way_through_many_topics_goes_on_where_it_stopped() {
        let mut offsets = GroupOffsets::default();
        for topic in 0..10_u32 {
            for partition in 0..10 {
                let commit = commit(1, Some(u128::from(topic % 2)));
                offsets.set(&TopicName::from(format!("t{topic}")), PartitionIndex(partition), commit);
            }
        }
        let (mut after, mut steps) = (None, Vec::new());
        loop {
            let slice = Slice { after: after.as_ref(), looked_max: 25, gone_max: 12 };
            let removed = offsets.remove_unknown(|topic_id| topic_id == TopicId(1), slice);
            steps.push((removed.looked, removed.gone.len()));
            if removed.is_done {
                break;
            }
            after = removed.until.or(after);
        }
        // Three topics at most, and no more than may be forgotten at once.
        assert_eq!(steps, [(30, 12), (28, 12), (26, 12), (24, 12), (12, 2)]);
        assert_eq!(offsets.count(), 50);
        assert_eq!(offsets.topics().map(TopicName::as_str).collect::<Vec<_>>(), ["t1", "t3", "t5", "t7", "t9"]);
    }
}

//! Topics, heartbeats and logs for tests of groups whose broker assigns.

use std::collections::BTreeMap;

use ouzel_protocol::kafka::{Array, ConsumerGroupHeartbeatRequest, MemberTopic};
use ouzel_protocol::{MetadataVersion, PartitionIndex, TopicId};

use super::super::*;
use crate::group::topics::TopicView;

/// Topics that a test changes as it likes.
#[derive(Clone, Debug, Default)]
pub(super) struct TestTopics {
    pub(super) topics: BTreeMap<String, TopicView>,
    pub(super) version: u64,
    next_id: u128,
}

impl TestTopics {
    pub(super) fn new(topics: &[(&str, u32)]) -> TestTopics {
        let mut all = TestTopics::default();
        topics.iter().for_each(|(name, count)| all.set(name, *count));
        all
    }

    /// Creates a topic, or gives it other partitions.
    pub(super) fn set(&mut self, name: &str, partition_count: u32) {
        self.version += 1;
        self.next_id += 1;
        let topic_id = self.topics.get(name).map_or(TopicId(self.next_id), |view| view.topic_id);
        self.topics.insert(name.to_owned(), TopicView { topic_id, partition_count });
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.version += 1;
        self.topics.remove(name);
    }

    /// Partitions of a topic, by their numbers.
    pub(super) fn partitions(&self, name: &str, numbers: impl IntoIterator<Item = u32>) -> PartitionSet {
        let topic_id = self.topics[name].topic_id;
        numbers.into_iter().map(|n| TopicPartition { topic_id, partition: PartitionIndex(n) }).collect()
    }
}

impl Topics for TestTopics {
    fn version(&self) -> MetadataVersion {
        MetadataVersion(self.version)
    }

    fn find(&self, name: &str) -> Option<TopicView> {
        self.topics.get(name).copied()
    }

    fn name(&self, topic_id: TopicId) -> Option<&str> {
        self.topics.iter().find(|(_, view)| view.topic_id == topic_id).map(|(name, _)| name.as_str())
    }

    fn each(&self, each: &mut dyn FnMut(&str)) {
        self.topics.keys().filter(|name| !name.starts_with("__")).for_each(|name| each(name));
    }
}

pub(super) fn at(ms: u64) -> Now {
    Now { monotonic: MonotonicMs(ms), wall: WallMs(1_700_000_000_000 + ms as i64) }
}

/// Rows of the wire.
pub(super) fn rows(partitions: &PartitionSet) -> Array<'static, MemberTopic<'static>> {
    let numbers = |rows: &[TopicPartition]| rows.iter().map(|row| row.partition.0 as i32).collect();
    partitions.topics().map(|(topic_id, rows)| MemberTopic { topic_id, partitions: numbers(rows) }).collect()
}

pub(super) fn caller(drawn: u128) -> HeartbeatCaller<'static> {
    HeartbeatCaller { client_id: "client", client_host: "/host", drawn, makes_its_id: true }
}

/// The first heartbeat of a member.
pub(super) fn join<'a>(member_id: &'a str, names: &'a [&'a str]) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: "group",
        member_id,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(names.into()),
        topic_partitions: Some(Array::EMPTY),
        ..Default::default()
    }
}

/// A later one, in which nothing has changed.
pub(super) fn beat(member_id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest<'_> {
    ConsumerGroupHeartbeatRequest { group_id: "group", member_id, member_epoch: epoch, ..Default::default() }
}

/// A later one, which says what the member has.
pub(super) fn owning<'a>(member_id: &'a str, epoch: i32, owned: &PartitionSet) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest { topic_partitions: Some(rows(owned)), ..beat(member_id, epoch) }
}

/// A group and everything that it needs.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) group: ConsumerGroup,
    pub(super) topics: TestTopics,
    pub(super) config: ConsumerGroupConfig,
    pub(super) now: u64,
    pub(super) records: Vec<ConsumerRecord>,
    drawn: u128,
    pub(super) pattern_pace: Cell<PatternPace>,
}

impl Scene {
    pub(super) fn new(topics: &[(&str, u32)]) -> Scene {
        Scene {
            group: ConsumerGroup::new(GroupId::from("group"), at(0)),
            topics: TestTopics::new(topics),
            config: ConsumerGroupConfig::default(),
            now: 0,
            records: Vec::new(),
            drawn: 0,
            pattern_pace: Cell::default(),
        }
    }

    /// One heartbeat; its records are kept.
    pub(super) fn hear(&mut self, request: &ConsumerGroupHeartbeatRequest<'_>) -> Result<HeartbeatOutcome, GroupError> {
        let mut effects = Effects::new();
        self.drawn += 1;
        let before = self.group.clone();
        let outcome = self.hear_into(request, &mut effects);
        self.group.assert_invariants();
        assert_untouched(&before, &self.group);
        if outcome.is_err() {
            assert!(effects.is_empty(), "a refusal writes nothing");
            assert_eq!(format!("{before:?}"), format!("{:?}", self.group), "a refusal changes nothing");
        }
        self.keep(effects);
        outcome
    }

    pub(super) fn hear_into(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        effects: &mut Effects,
    ) -> Result<HeartbeatOutcome, GroupError> {
        let (config, topics) = (&self.config, &self.topics);
        let ctx = ConsumerContext { now: at(self.now), config, topics, pattern_pace: &self.pattern_pace };
        self.group.heartbeat(ctx, request, caller(self.drawn), effects)
    }

    pub(super) fn tick(&mut self) {
        let mut effects = Effects::new();
        self.group.tick(at(self.now), &mut effects);
        self.group.assert_invariants();
        self.keep(effects);
    }

    fn keep(&mut self, effects: Effects) {
        self.records.extend(effects.records.into_iter().map(|record| match record {
            GroupRecord::Consumer { record, .. } => record,
            record => panic!("{record:?}"),
        }));
    }

    /// Loads the group again from what it has written.
    pub(super) fn restart(&mut self) {
        self.group = loaded(&self.records);
        let mut effects = Effects::new();
        self.group.start(at(self.now), &self.config, &mut effects);
        self.group.assert_invariants();
        self.keep(effects);
    }

    /// Whether the member has all it is to have.
    pub(super) fn assigned(&self, member_id: &str) -> PartitionSet {
        self.group.members[member_id].current.assigned.clone()
    }
}

/// What a member has and is to have stays its own over an event, whatever else changes.
fn assert_untouched(before: &ConsumerGroup, after: &ConsumerGroup) {
    for (member_id, member) in &after.members {
        let of_instance = member.subscription.instance_id.as_ref().and_then(|id| before.instances.get(id.as_str()));
        let Some(was) = before.members.get(of_instance.unwrap_or(member_id).as_str()) else { continue };
        let Some(target) = after.targets.get(member_id.as_str()) else { continue };
        let untouched = was.current.assigned.and(target);
        let lost = untouched.minus(&member.current.assigned);
        assert!(lost.is_empty(), "{member_id} loses what it is to have: {lost:?}, {before:#?}, {after:#?}");
    }
}

/// A group from the last record of each key, in the order of those, as a compacted log has them.
pub(super) fn loaded(records: &[ConsumerRecord]) -> ConsumerGroup {
    let mut group = ConsumerGroup::loaded(GroupId::from("group"));
    let key = |record: &ConsumerRecord| match record {
        ConsumerRecord::Group(_) => "group".to_owned(),
        ConsumerRecord::TargetEpoch(_) => "target epoch".to_owned(),
        ConsumerRecord::Member(member_id, _) => format!("member {member_id}"),
        ConsumerRecord::Target(member_id, _) => format!("target {member_id}"),
        ConsumerRecord::Current(member_id, _) => format!("current {member_id}"),
        ConsumerRecord::Pattern(pattern, _) => format!("pattern {pattern}"),
    };
    let last: BTreeMap<String, usize> = records.iter().enumerate().map(|(at, record)| (key(record), at)).collect();
    let kept = records.iter().enumerate().filter(|(at, record)| last[&key(record)] == *at);
    kept.for_each(|(_, record)| group.apply(record.clone()));
    group
}

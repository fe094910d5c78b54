//! Random schedules of several groups of both kinds, with their offsets, while snapshots are taken of them. A failure prints its
//! seed; `OUZEL_SEED` replays it.

mod support;

use std::sync::Arc;

use ouzel_broker_core::group::{
    Caller, CommitPartition, CommitTopic, DeleteTopicOffsets, Effects, Generation, GroupConfig, GroupRecord,
    HeartbeatCaller, Leaving, OffsetCommitRequest, Reply, SnapshotCursor, SyncRequest, TopicView, Topics,
};
use ouzel_protocol::kafka::{Array, ConsumerGroupHeartbeatRequest, MemberTopic};
use ouzel_protocol::{MetadataVersion, Offset, PartitionIndex, TopicId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::seeds::{SeedOnPanic, seeds};
use support::snapshot::{Snapshots, all};
use support::{Joining, Scene, hasty, subscription};

const SCHEDULES: u64 = 400;
const EVENTS: usize = 300;
const GROUPS: [&str; 4] = ["a", "b", "c", "d"];
const TOPICS: [&str; 3] = ["bills", "orders", "orders-old"];

/// Three topics of four partitions.
#[derive(Debug)]
struct World;

impl Topics for World {
    fn version(&self) -> MetadataVersion {
        MetadataVersion(1)
    }

    fn find(&self, name: &str) -> Option<TopicView> {
        let at = TOPICS.iter().position(|topic| *topic == name)?;
        Some(TopicView { topic_id: TopicId(at as u128 + 1), partition_count: 4 })
    }

    fn name(&self, topic_id: TopicId) -> Option<&str> {
        TOPICS.get((topic_id.0 as usize).checked_sub(1)?).copied()
    }

    fn each(&self, each: &mut dyn FnMut(&str)) {
        TOPICS.iter().for_each(|topic| each(topic));
    }
}

/// A member as its client knows it.
#[derive(Clone, Debug)]
struct Member {
    group: &'static str,
    is_classic: bool,
    member_id: String,
    epoch: i32,
    owned: Vec<MemberTopic<'static>>,
}

struct Schedule {
    rng: SmallRng,
    scene: Scene,
    members: Vec<Member>,
    snapshots: Snapshots,
    names: u32,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let config =
            GroupConfig { offsets_retention_ms: 60_000, offsets_retention_check_interval_ms: 5_000, ..hasty() };
        let mut scene = Scene::new(config);
        scene.coordinator.set_topics(Arc::new(World));
        let snapshots = Snapshots::new(config, Arc::new(World));
        Self { rng: SmallRng::seed_from_u64(seed), scene, members: Vec::new(), snapshots, names: 0 }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())]
    }

    fn event(&mut self) {
        let group = self.pick(&GROUPS);
        match self.rng.random_range(0..100) {
            0..35 => self.commit(group),
            35..45 => self.join(group),
            45..70 if !self.members.is_empty() => self.go_on(),
            70..76 if !self.members.is_empty() => self.leave(),
            76..84 => self.heartbeat_of_new(group),
            84..87 => self.delete_offsets(group),
            87..89 => self.delete_group(group),
            89..90 => self.drop_topic(),
            90..91 => self.restart(),
            _ => {
                let ms = self.pick(&[100, 1_000, 5_000, 20_000]);
                self.scene.pass(ms);
            }
        }
        self.snapshots.step(&mut self.rng, &self.scene.coordinator, &self.scene.log, self.scene.now);
    }

    fn commit(&mut self, group: &'static str) {
        let waiter = self.scene.waiter();
        let members: Vec<_> = self.members.iter().filter(|member| member.group == group).cloned().collect();
        let member =
            if members.is_empty() { None } else { Some(members[self.rng.random_range(0..members.len())].clone()) };
        let caller = Caller {
            member_id: member.as_ref().map_or("", |member| &member.member_id),
            instance_id: None,
            generation: Generation(member.as_ref().map_or(-1, |member| member.epoch)),
        };
        let partition = CommitPartition {
            partition: PartitionIndex(self.rng.random_range(0..4)),
            offset: Offset(self.rng.random_range(0..1_000)),
            leader_epoch: None,
            metadata: if self.rng.random_ratio(1, 4) { "note" } else { "" },
        };
        let topic_id = self.pick(&[None, Some(TopicId(1)), Some(TopicId(2))]);
        let topics = vec![CommitTopic { topic: self.pick(&TOPICS), topic_id, partitions: vec![partition] }];
        let retention_ms = self.rng.random_ratio(1, 10).then_some(30_000);
        let request = OffsetCommitRequest { caller, retention_ms, topics };
        let effects = self.scene.coordinator.commit_offsets(self.scene.now, waiter, group, request);
        self.scene.take(effects);
    }

    /// A member of the classic protocol joins as a new one, or again.
    fn join(&mut self, group: &'static str) {
        let known = self.members.iter().position(|member| member.group == group && member.is_classic);
        let known = known.filter(|_| self.rng.random_bool(0.7));
        let member_id = known.map(|at| self.members[at].member_id.clone()).unwrap_or_default();
        let protocols = vec![("range", subscription(&[self.pick(&TOPICS)]))];
        let joining = Joining { group, member_id: &member_id, protocols, ..Joining::default() };
        self.scene.join_twice(&joining);
    }

    /// A member does what is next: a leader assigns, others sync, those of the other kind say what they have.
    fn go_on(&mut self) {
        let at = self.rng.random_range(0..self.members.len());
        let member = self.members[at].clone();
        if !member.is_classic {
            return self.heartbeat(member.group, &member.member_id, member.epoch, Some(at));
        }
        let caller = Caller { member_id: &member.member_id, instance_id: None, generation: Generation(member.epoch) };
        let waiter = self.scene.waiter();
        let assignments = vec![(member.member_id.as_str(), Arc::from(&b"its part"[..]))];
        let request = SyncRequest { caller, protocol_type: None, protocol: None, assignments };
        let effects = self.scene.coordinator.sync(self.scene.now, waiter, member.group, request);
        self.scene.take(effects);
    }

    fn heartbeat_of_new(&mut self, group: &'static str) {
        self.names += 1;
        let name = format!("new-{}", self.names);
        self.heartbeat(group, &name, 0, None);
    }

    fn heartbeat(&mut self, group: &'static str, member_id: &str, epoch: i32, known: Option<usize>) {
        let waiter = self.scene.waiter();
        let owned = known.map(|at| self.members[at].owned.clone()).unwrap_or_default();
        let names = [self.pick(&TOPICS)];
        let is_first = epoch == 0;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: group,
            member_id,
            member_epoch: epoch,
            rebalance_timeout_ms: 20_000,
            subscribed_topic_names: (is_first || self.rng.random_ratio(1, 4)).then(|| Array::from(names)),
            subscribed_topic_regex: if self.rng.random_ratio(1, 4) {
                Some(self.pick(&["", "orders.*", "b.*"]))
            } else {
                None
            },
            topic_partitions: Some(owned.iter().cloned().collect()),
            ..Default::default()
        };
        let caller = HeartbeatCaller { client_id: "new", client_host: "/host", drawn: 0, makes_its_id: true };
        let mut effects = Effects::new();
        self.scene.coordinator.consumer_heartbeat(self.scene.now, waiter, &request, caller, &mut effects);
        self.scene.take(effects);
        match self.scene.replies.remove(&waiter) {
            Some(Reply::ConsumerHeartbeat(Ok(outcome))) => {
                let rows: Option<Vec<MemberTopic<'static>>> = outcome.assignment.map(|set| {
                    let row = |of: TopicId| MemberTopic {
                        topic_id: of,
                        partitions: set.iter().filter(|p| p.topic_id == of).map(|p| p.partition.0 as i32).collect(),
                    };
                    [1, 2, 3].map(|id| row(TopicId(id))).into_iter().filter(|row| !row.partitions.is_empty()).collect()
                });
                let at = known.unwrap_or_else(|| {
                    let member_id = member_id.to_owned();
                    self.members.push(Member { group, is_classic: false, member_id, epoch: 0, owned: Vec::new() });
                    self.members.len() - 1
                });
                self.members[at].epoch = outcome.epoch.0;
                self.members[at].owned = rows.unwrap_or_else(|| self.members[at].owned.clone());
            }
            Some(Reply::ConsumerHeartbeat(Err(_))) => {
                if let Some(at) = known {
                    self.members.remove(at);
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self) {
        let at = self.rng.random_range(0..self.members.len());
        let member = self.members.remove(at);
        if !member.is_classic {
            self.heartbeat(member.group, &member.member_id, -1, None);
            self.members.pop();
            return;
        }
        let waiter = self.scene.waiter();
        let leaving = [Leaving { member_id: &member.member_id, instance_id: None }];
        let effects = self.scene.coordinator.leave(self.scene.now, waiter, member.group, &leaving);
        self.scene.take(effects);
    }

    fn delete_offsets(&mut self, group: &str) {
        let waiter = self.scene.waiter();
        let topic = self.pick(&TOPICS);
        let asked = [DeleteTopicOffsets { topic, partitions: (0..4).map(PartitionIndex).collect() }];
        let effects = self.scene.coordinator.delete_offsets(waiter, group, &asked);
        self.scene.take(effects);
    }

    fn delete_group(&mut self, group: &str) {
        let waiter = self.scene.waiter();
        let effects = self.scene.coordinator.delete_group(waiter, group);
        self.scene.take(effects);
    }

    fn drop_topic(&mut self) {
        let (topic, id) = (self.pick(&TOPICS), self.pick(&[None, Some(TopicId(1)), Some(TopicId(2))]));
        self.scene.coordinator.drop_topic(topic, id);
    }

    fn restart(&mut self) {
        self.scene.restart();
        self.scene.coordinator.set_topics(Arc::new(World));
        self.snapshots.restarted();
    }

    /// Members learn what became of their joins.
    fn learn(&mut self) {
        for (_, reply) in std::mem::take(&mut self.scene.replies) {
            let Reply::Join(Ok(outcome)) = reply else { continue };
            let group = GROUPS.into_iter().find(|group| {
                let described = self.scene.coordinator.describe_classic(group);
                described.is_some_and(|group| group.members.iter().any(|one| one.member_id == outcome.member_id))
            });
            let Some(group) = group else { continue };
            let (member_id, epoch) = (outcome.member_id.to_string(), outcome.generation.0);
            self.members.retain(|member| member.member_id != member_id);
            self.members.push(Member { group, is_classic: true, member_id, epoch, owned: Vec::new() });
        }
    }
}

#[test]
fn a_snapshot_and_what_was_written_since_its_start_are_the_whole_log() {
    let seeds = seeds(SCHEDULES);
    let (mut compared, mut kinds) = (0, [0_usize; 6]);
    let is_one = seeds.len() == 1;
    for seed in seeds {
        let _seed = SeedOnPanic(seed);
        let mut schedule = Schedule::new(seed);
        for _ in 0..EVENTS {
            schedule.event();
            schedule.learn();
        }
        schedule.snapshots.check(&schedule.scene.log, schedule.scene.now);
        compared += schedule.snapshots.compared;
        for record in &schedule.scene.log {
            kinds[match record {
                GroupRecord::OffsetCommit { .. } => 0,
                GroupRecord::OffsetTombstone { .. } => 1,
                GroupRecord::ClassicGroup { .. } => 2,
                GroupRecord::ClassicGroupTombstone { .. } => 3,
                GroupRecord::Consumer { record, .. } => 4 + usize::from(record.is_tombstone()),
            }] += 1;
        }
    }
    assert!(is_one || compared > 1_000 && kinds.iter().all(|count| *count > 100), "{compared} {kinds:?}");
}

#[test]
fn a_snapshot_is_what_the_log_says_last_however_it_is_sliced() {
    for seed in 0..50 {
        let mut schedule = Schedule::new(seed);
        for _ in 0..EVENTS {
            schedule.event();
            schedule.learn();
        }
        let whole = all(&schedule.scene.coordinator);
        let restarted = Scene::restarted(hasty(), schedule.scene.log.clone(), 0, 0);
        assert_eq!(all(&restarted.coordinator), whole, "seed {seed}: what is told is what is written");
        for count_max in [0, 1, 2, 7, 100] {
            let (mut cursor, mut records) = (SnapshotCursor::new(), Vec::new());
            while !cursor.is_done() {
                records.extend(schedule.scene.coordinator.snapshot_slice(&mut cursor, count_max));
            }
            assert_eq!(records, whole, "seed {seed}, {count_max} at a time");
        }
    }
}

//! A coordinator with its log and a clock that tests turn. Every effect passes through here: a waiter that is answered
//! twice fails the test, whatever it tests.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod consumer;
pub mod orders;
pub mod seeds;
pub mod shard;
pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ouzel_broker_core::group::{
    Caller, ClassicProtocol, CommitPartition, CommitTopic, DeleteTopicOffsets, Effects, Generation, GroupConfig,
    GroupCoordinator, GroupError, GroupRecord, JoinOutcome, JoinRefusal, JoinRequest, Leaving, LeftMember, MonotonicMs,
    Now, OffsetCommitRequest, Reply, SyncOutcome, SyncRequest, TopicOutcomes, Waiter, WallMs,
};
use ouzel_protocol::{Offset, PartitionIndex, TopicId};

/// The wall clock when the monotonic one shows 0.
pub const WALL_START: i64 = 1_700_000_000_000;

/// The group that tests use unless they say otherwise.
pub const GROUP: &str = "readers";

/// A coordinator, what it wrote, and whom it answered.
#[derive(Clone)]
pub struct Scene {
    pub coordinator: GroupCoordinator,
    pub now: Now,
    /// What was appended, batch by batch.
    pub log: Vec<GroupRecord>,
    /// Replies that no test has taken yet.
    pub replies: BTreeMap<Waiter, Reply>,
    asked: BTreeSet<Waiter>,
    answered: BTreeSet<Waiter>,
    config: GroupConfig,
    drawn: u128,
}

/// A join as a test says it: a consumer of version 5 that knows the protocol `range`.
#[derive(Clone, Debug)]
pub struct Joining<'a> {
    pub group: &'a str,
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub session_ms: i32,
    pub rebalance_ms: i32,
    pub protocol_type: &'a str,
    pub protocols: Vec<(&'a str, Vec<u8>)>,
    pub version: i16,
}

impl Default for Joining<'_> {
    fn default() -> Self {
        Self {
            group: GROUP,
            member_id: "",
            instance_id: None,
            session_ms: 10_000,
            rebalance_ms: 60_000,
            protocol_type: "consumer",
            protocols: vec![("range", subscription(&["orders"]))],
            version: 5,
        }
    }
}

/// A member with an id.
pub fn again<'a>(member_id: &'a str, joining: &Joining<'a>) -> Joining<'a> {
    Joining { member_id, ..joining.clone() }
}

/// A static member joins.
pub fn fixed(instance_id: &str) -> Joining<'_> {
    Joining { instance_id: Some(instance_id), ..Joining::default() }
}

/// A static member speaks.
pub fn instance<'a>(member_id: &'a str, instance_id: &'a str, generation: i32) -> Caller<'a> {
    Caller { instance_id: Some(instance_id), ..caller(member_id, generation) }
}

/// A topic, its id, and partitions with offsets and notes.
pub type Committing<'a> = (&'a str, Option<u128>, &'a [(u32, u64, &'a str)]);

/// What a consumer of these topics tells its leader.
pub fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&(topics.len() as u32).to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&[0xff; 4]);
    bytes
}

/// Settings under which the first member waits for nobody.
pub fn hasty() -> GroupConfig {
    GroupConfig { initial_rebalance_delay_ms: 0, ..GroupConfig::default() }
}

pub fn caller(member_id: &str, generation: i32) -> Caller<'_> {
    Caller { member_id, instance_id: None, generation: Generation(generation) }
}

impl Scene {
    pub fn new(config: GroupConfig) -> Self {
        Self::restarted(config, Vec::new(), 0, 0)
    }

    /// A coordinator that starts from `log` at `monotonic_ms`.
    pub fn restarted(config: GroupConfig, log: Vec<GroupRecord>, monotonic_ms: u64, drawn: u128) -> Self {
        let mut scene = Self {
            coordinator: GroupCoordinator::new(config),
            now: at(monotonic_ms),
            log: log.clone(),
            replies: BTreeMap::new(),
            asked: BTreeSet::new(),
            answered: BTreeSet::new(),
            config,
            drawn,
        };
        for record in log {
            scene.coordinator.apply(record).expect("what a coordinator wrote can be read");
        }
        let effects = scene.coordinator.start(scene.now);
        scene.take(effects);
        scene
    }

    /// The coordinator ends here, and another starts from the log. Its waiters are the shard's to answer.
    pub fn restart(&mut self) {
        self.restart_with(self.log.clone());
    }

    pub fn restart_with(&mut self, log: Vec<GroupRecord>) {
        *self = Self::restarted(self.config, log, self.now.monotonic.0, self.drawn);
    }

    /// Does what the shard does with effects.
    pub fn take(&mut self, effects: Effects) {
        self.log.extend(effects.records);
        for (waiter, reply) in effects.replies {
            assert!(self.asked.contains(&waiter), "{waiter:?} never asked");
            assert!(self.answered.insert(waiter), "{waiter:?} is answered twice: {reply:?}");
            self.replies.insert(waiter, reply);
        }
        self.coordinator.assert_invariants();
        let parked: BTreeSet<Waiter> = self.coordinator.parked().collect();
        let owed: BTreeSet<Waiter> = self.asked.difference(&self.answered).copied().collect();
        assert_eq!(parked, owed, "who is owed a reply is parked, and nobody else");
    }

    pub fn waiter(&mut self) -> Waiter {
        let waiter = Waiter(self.asked.len() as u64);
        self.asked.insert(waiter);
        waiter
    }

    /// Lets time pass, and the coordinator wake whenever it asks to.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now.monotonic.0 + ms;
        for _ in 0..100_000 {
            let next = self.coordinator.next_deadline();
            if next > MonotonicMs(end) {
                break;
            }
            self.now = at(next.0.max(self.now.monotonic.0));
            let effects = self.coordinator.tick(self.now);
            self.take(effects);
        }
        assert!(self.coordinator.next_deadline() > MonotonicMs(end), "ticks come to an end");
        self.now = at(end);
    }

    pub fn ask_join(&mut self, joining: &Joining<'_>) -> Waiter {
        let waiter = self.waiter();
        self.drawn += 1;
        let protocols = joining.protocols.iter().map(|(name, metadata)| ClassicProtocol {
            name: Arc::from(*name),
            metadata: Arc::from(metadata.as_slice()),
        });
        let request = JoinRequest {
            member_id: joining.member_id,
            instance_id: joining.instance_id,
            client_id: "client",
            client_host: "/127.0.0.1",
            session_timeout_ms: joining.session_ms,
            rebalance_timeout_ms: joining.rebalance_ms,
            protocol_type: joining.protocol_type,
            protocols: protocols.collect(),
            drawn: self.drawn,
            takes_id_first: joining.version >= 4,
            skips_assignment: joining.version >= 9,
        };
        let effects = self.coordinator.join(self.now, waiter, joining.group, request);
        self.take(effects);
        waiter
    }

    /// As `ask_join`; a client that is given an id comes back with it.
    pub fn join_twice(&mut self, joining: &Joining<'_>) -> Waiter {
        let waiter = self.ask_join(joining);
        match self.replies.get(&waiter) {
            Some(Reply::Join(Err(JoinRefusal { member_id: Some(given), error: GroupError::MemberIdRequired }))) => {
                let given = given.clone();
                self.replies.remove(&waiter);
                self.ask_join(&Joining { member_id: given.as_str(), ..joining.clone() })
            }
            _ => waiter,
        }
    }

    pub fn ask_sync(&mut self, caller: Caller<'_>, assignments: &[(&str, &[u8])]) -> Waiter {
        self.ask_sync_as(caller, None, None, assignments)
    }

    pub fn ask_sync_as(
        &mut self,
        caller: Caller<'_>,
        protocol_type: Option<&str>,
        protocol: Option<&str>,
        assignments: &[(&str, &[u8])],
    ) -> Waiter {
        let waiter = self.waiter();
        let assignments = assignments.iter().map(|(member_id, part)| (*member_id, Arc::from(*part))).collect();
        let request = SyncRequest { caller, protocol_type, protocol, assignments };
        let effects = self.coordinator.sync(self.now, waiter, GROUP, request);
        self.take(effects);
        waiter
    }

    pub fn heartbeat(&mut self, caller: Caller<'_>) -> Result<(), GroupError> {
        self.coordinator.heartbeat(self.now, GROUP, caller)
    }

    pub fn leave(&mut self, leaving: &[(&str, Option<&str>)]) -> Vec<LeftMember> {
        let waiter = self.waiter();
        let leaving: Vec<_> =
            leaving.iter().map(|(member_id, instance_id)| Leaving { member_id, instance_id: *instance_id }).collect();
        let effects = self.coordinator.leave(self.now, waiter, GROUP, &leaving);
        self.take(effects);
        match self.replies.remove(&waiter) {
            Some(Reply::Leave(Ok(rows))) => rows,
            other => panic!("expected rows, got {other:?}"),
        }
    }

    pub fn ask_commit(&mut self, caller: Caller<'_>, topics: &[Committing<'_>]) -> Waiter {
        self.ask_commit_for(caller, None, topics)
    }

    pub fn ask_commit_for(
        &mut self,
        caller: Caller<'_>,
        retention_ms: Option<u64>,
        topics: &[Committing<'_>],
    ) -> Waiter {
        let waiter = self.waiter();
        let mut asked = Vec::new();
        for (topic, topic_id, partitions) in topics {
            let partitions: Vec<CommitPartition<'_>> = partitions
                .iter()
                .map(|(partition, offset, metadata)| CommitPartition {
                    partition: PartitionIndex(*partition),
                    offset: Offset(*offset),
                    leader_epoch: None,
                    metadata,
                })
                .collect();
            asked.push(CommitTopic { topic, topic_id: topic_id.map(TopicId), partitions });
        }
        let request = OffsetCommitRequest { caller, retention_ms, topics: asked };
        let effects = self.coordinator.commit_offsets(self.now, waiter, GROUP, request);
        self.take(effects);
        waiter
    }

    /// Commits one offset.
    pub fn commit(&mut self, caller: Caller<'_>, topic: &str, partition: u32, offset: u64) -> Result<(), GroupError> {
        let waiter = self.ask_commit(caller, &[(topic, None, &[(partition, offset, "")])]);
        self.committed(waiter).map(|rows| rows[0].partitions[0].outcome.clone()).and_then(|outcome| outcome)
    }

    pub fn committed(&mut self, waiter: Waiter) -> Result<Vec<TopicOutcomes>, GroupError> {
        match self.replies.remove(&waiter) {
            Some(Reply::OffsetCommit(outcome)) => outcome,
            other => panic!("expected the reply to a commit, got {other:?}"),
        }
    }

    /// The offset that is committed.
    pub fn offset(&self, topic: &str, partition: u32) -> Option<u64> {
        let commit = self.coordinator.group(GROUP)?.offsets().get(topic, PartitionIndex(partition))?;
        Some(commit.offset.0)
    }

    pub fn delete_offsets(&mut self, topic: &str, partitions: &[u32]) -> Result<Vec<TopicOutcomes>, GroupError> {
        let waiter = self.waiter();
        let partitions = partitions.iter().map(|partition| PartitionIndex(*partition)).collect();
        let effects = self.coordinator.delete_offsets(waiter, GROUP, &[DeleteTopicOffsets { topic, partitions }]);
        self.take(effects);
        match self.replies.remove(&waiter) {
            Some(Reply::OffsetDelete(outcome)) => outcome,
            other => panic!("expected the reply to a deletion, got {other:?}"),
        }
    }

    pub fn delete_group(&mut self) -> Result<(), GroupError> {
        let waiter = self.waiter();
        let effects = self.coordinator.delete_group(waiter, GROUP);
        self.take(effects);
        match self.replies.remove(&waiter) {
            Some(Reply::DeleteGroup(outcome)) => outcome,
            other => panic!("expected the reply to a deletion, got {other:?}"),
        }
    }

    pub fn is_parked(&self, waiter: Waiter) -> bool {
        assert!(self.asked.contains(&waiter));
        !self.answered.contains(&waiter)
    }

    /// The reply to a join.
    #[track_caller]
    pub fn joined(&mut self, waiter: Waiter) -> Result<JoinOutcome, JoinRefusal> {
        match self.replies.remove(&waiter) {
            Some(Reply::Join(outcome)) => outcome,
            other => panic!("expected the reply to a join, got {other:?}"),
        }
    }

    /// Why a join was refused.
    #[track_caller]
    pub fn refused(&mut self, waiter: Waiter) -> GroupError {
        self.joined(waiter).expect_err("it is refused").error
    }

    /// The reply to a sync.
    #[track_caller]
    pub fn synced(&mut self, waiter: Waiter) -> Result<SyncOutcome, GroupError> {
        match self.replies.remove(&waiter) {
            Some(Reply::Sync(outcome)) => outcome,
            other => panic!("expected the reply to a sync, got {other:?}"),
        }
    }

    /// Kafka's name of the group's state.
    pub fn state(&self) -> &'static str {
        self.coordinator.describe_classic(GROUP).map_or("Dead", |group| group.state)
    }

    /// Brings `members` into one stable generation, and returns their ids in that order, the leader first. Each is
    /// assigned its own number.
    pub fn stable(&mut self, members: &[Joining<'_>]) -> Vec<String> {
        let mut waiters = vec![self.join_twice(&members[0])];
        self.pass(u64::from(self.config.initial_rebalance_delay_ms));
        let mut ids = vec![self.joined(waiters[0]).expect("the first joins").member_id.to_string()];
        for member in &members[1..] {
            waiters.push(self.join_twice(member));
            // Those that are in come back to the rebalance that the new one began.
            for (at, id) in ids.clone().iter().enumerate() {
                waiters[at] = self.ask_join(&Joining { member_id: id, ..members[at].clone() });
            }
            let outcomes: Vec<_> = waiters.iter().map(|waiter| self.replies.remove(waiter)).collect();
            let last = outcomes.into_iter().next_back().flatten();
            let Some(Reply::Join(Ok(outcome))) = last else { panic!("expected a generation, got {last:?}") };
            ids.push(outcome.member_id.to_string());
        }
        let generation = self.coordinator.describe_classic(GROUP).expect("it is there").generation.0;
        let instances: Vec<_> = members.iter().map(|member| member.instance_id).collect();
        let who = |at: usize| Caller { instance_id: instances[at], ..caller(&ids[at], generation) };
        let parts: Vec<_> = (0..ids.len()).map(|at| vec![at as u8]).collect();
        let assignments: Vec<_> = ids.iter().zip(&parts).map(|(id, part)| (id.as_str(), part.as_slice())).collect();
        let syncs: Vec<_> =
            (0..ids.len()).map(|at| self.ask_sync(who(at), if at == 0 { &assignments } else { &[] })).collect();
        for (waiter, part) in syncs.into_iter().zip(&parts) {
            assert_eq!(self.synced(waiter).expect("an assignment").assignment[..], part[..]);
        }
        assert_eq!(self.state(), "Stable");
        ids
    }
}

pub fn at(monotonic_ms: u64) -> Now {
    Now { monotonic: MonotonicMs(monotonic_ms), wall: WallMs(WALL_START + monotonic_ms as i64) }
}

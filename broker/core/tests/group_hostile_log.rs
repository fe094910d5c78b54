//! Logs that no coordinator wrote: records that contradict each other, in any order, as another program or a disk may leave them.
//! Whatever is loaded, the coordinator serves: it answers, keeps its invariants and goes on. A failure prints its seed;
//! `OUZEL_SEED` replays it.

mod support;

use std::sync::Arc;

use ouzel_broker_core::group::{
    ClassicGroupState, ClassicMemberState, ClassicProtocol, ClassicSubscription, CommittedOffset, ConsumerRecord,
    CurrentAssignment, Effects, Generation, GroupConfig, GroupCoordinator, GroupRecord, HeartbeatCaller, JoinRequest,
    Leaving, MemberState, MonotonicMs, Now, PartitionSet, ResolvedPattern, SnapshotCursor, StoredConsumerGroup,
    Subscription, TopicPartition, Waiter, WallMs,
};
use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest;
use ouzel_protocol::{MetadataVersion, Offset, PartitionIndex, TopicId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::orders::{ORDERS, Orders};
use support::seeds::{SeedOnPanic, seeds};
use support::{caller, subscription};

const SCHEDULES: u64 = 3_000;
const GROUPS: [&str; 2] = ["a", "b"];
const MEMBERS: [&str; 4] = ["", "one", "two", "three"];
const NUMBERS: [i32; 6] = [i32::MIN, -2, -1, 0, 3, i32::MAX];

struct Any(SmallRng);

impl Any {
    fn of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.random_bool(0.8).then(|| make(self))
    }

    fn partitions(&mut self) -> PartitionSet {
        let partition = |any: &mut Self| TopicPartition {
            topic_id: any.of(&[ORDERS, TopicId(0), TopicId(9)]),
            partition: PartitionIndex(any.of(&[0, 1, 2, 5, u32::MAX])),
        };
        (0..self.0.random_range(0..5)).map(|_| partition(self)).collect()
    }

    fn classic_member(&mut self) -> ClassicMemberState {
        ClassicMemberState {
            member_id: self.of(&MEMBERS).into(),
            instance_id: self.of(&[None, Some("i"), Some("j")]).map(Into::into),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout_ms: self.of(&[0, 1, u32::MAX]),
            session_timeout_ms: self.of(&[0, 10_000, u32::MAX]),
            subscription: self.of(&[&b""[..], &[0xff; 9], &[0, 1, 0x7f, 0xff, 0xff, 0xff]]).into(),
            assignment: self.of(&[&b""[..], b"x"]).into(),
        }
    }

    fn classic(&mut self) -> Arc<ClassicGroupState> {
        let count = self.0.random_range(0..4);
        Arc::new(ClassicGroupState {
            protocol_type: self.of(&["", "consumer", "connect"]).into(),
            generation: Generation(self.of(&NUMBERS)),
            protocol: self.of(&[None, Some("range"), Some("")]).map(Into::into),
            leader: self.of(&[None, Some("one"), Some("nobody")]).map(Into::into),
            since: self.of(&[None, Some(WallMs(i64::MAX)), Some(WallMs(-5))]),
            members: (0..count).map(|_| self.classic_member()).collect(),
        })
    }

    fn subscription(&mut self) -> Arc<Subscription> {
        let protocols = vec![("range".into(), self.of(&[&b""[..], &[0xff; 4]]).into())];
        let ours = vec![("range".into(), subscription(&["orders"]).into())];
        Arc::new(Subscription {
            instance_id: self.of(&[None, Some("i"), Some("j")]).map(Into::into),
            rack_id: None,
            client_id: self.of(&["", "c"]).into(),
            client_host: self.of(&["", "/h"]).into(),
            topics: self.of(&[&[][..], &["orders"], &["orders", "gone"]]).iter().map(|name| (*name).into()).collect(),
            pattern: self.of(&[None, Some("ord.*"), Some("(")]).map(Into::into),
            rebalance_timeout_ms: self.of(&[0, 1_000, u32::MAX]),
            server_assignor: self.of(&[None, Some("range"), Some("nonsense")]).map(Into::into),
            classic: match self.0.random_range(0..4) {
                0 => Some(ClassicSubscription { session_timeout_ms: 10_000, protocols }),
                1 => Some(ClassicSubscription { session_timeout_ms: 0, protocols: ours }),
                2 => Some(ClassicSubscription { session_timeout_ms: u32::MAX, protocols: Vec::new() }),
                _ => None,
            },
        })
    }

    fn current(&mut self) -> CurrentAssignment {
        CurrentAssignment {
            epoch: Generation(self.of(&NUMBERS)),
            previous_epoch: Generation(self.of(&NUMBERS)),
            state: self.of(&[MemberState::Stable, MemberState::Unrevoked, MemberState::Unreleased]),
            assigned: self.partitions(),
            revoking: self.partitions(),
        }
    }

    fn consumer(&mut self) -> ConsumerRecord {
        let member_id = self.of(&MEMBERS).into();
        match self.0.random_range(0..8) {
            0 | 1 => ConsumerRecord::Group(self.maybe(|any| StoredConsumerGroup {
                epoch: Generation(any.of(&NUMBERS)),
                metadata_hash: any.of(&[0, -1, i64::MAX]),
                created_at: None,
            })),
            2 | 3 => ConsumerRecord::Member(member_id, self.maybe(Self::subscription)),
            4 => ConsumerRecord::TargetEpoch(self.maybe(|any| Generation(any.of(&NUMBERS)))),
            5 => ConsumerRecord::Target(member_id, self.maybe(Self::partitions)),
            6 => ConsumerRecord::Current(member_id, self.maybe(Self::current)),
            _ => ConsumerRecord::Pattern(
                self.of(&["ord.*", "(", ""]).into(),
                self.maybe(|any| ResolvedPattern {
                    topics: any
                        .of(&[&[][..], &["orders"], &["gone", "gone"]])
                        .iter()
                        .map(|name| (*name).into())
                        .collect(),
                    version: MetadataVersion(any.of(&[0, 1, u64::MAX])),
                    resolved_at: WallMs(any.of(&[0, i64::MAX])),
                }),
            ),
        }
    }

    fn record(&mut self) -> GroupRecord {
        let group_id = self.of(&GROUPS).into();
        let (topic, partition) = (self.of(&["orders", "gone"]).into(), PartitionIndex(self.of(&[0, 7, u32::MAX])));
        match self.0.random_range(0..10) {
            0 => GroupRecord::OffsetTombstone { group_id, topic, partition },
            1 => GroupRecord::ClassicGroupTombstone { group_id },
            2 => {
                let commit = CommittedOffset {
                    offset: Offset(self.of(&[0, u64::MAX])),
                    leader_epoch: None,
                    metadata: "".into(),
                    committed_at: WallMs(self.of(&[i64::MIN, 0, i64::MAX])),
                    expires_at: self.of(&[None, Some(WallMs(i64::MIN)), Some(WallMs(i64::MAX))]),
                    topic_id: self.of(&[None, Some(ORDERS)]),
                };
                GroupRecord::OffsetCommit { group_id, topic, partition, commit }
            }
            3 => GroupRecord::ClassicGroup { group_id, state: self.classic() },
            _ => GroupRecord::Consumer { group_id, record: self.consumer() },
        }
    }
}

/// Asks of everybody what a client asks.
fn ask(groups: &mut GroupCoordinator, now: Now, any: &mut Any, waiter: &mut u64) -> Effects {
    *waiter += 1;
    let (group_id, member_id) = (any.of(&GROUPS), any.of(&MEMBERS));
    let number = any.of(&NUMBERS);
    match any.0.random_range(0..4) {
        0 => {
            let _ = groups.heartbeat(now, group_id, caller(member_id, number));
            Effects::new()
        }
        1 => {
            let protocol = ClassicProtocol { name: "range".into(), metadata: subscription(&["orders"]).into() };
            let request = JoinRequest {
                member_id,
                instance_id: any.of(&[None, Some("i"), Some("j")]),
                client_id: "c",
                client_host: "/h",
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 10_000,
                protocol_type: any.of(&["consumer", "connect"]),
                protocols: vec![protocol],
                drawn: any.0.random(),
                takes_id_first: false,
                skips_assignment: true,
            };
            groups.join(now, Waiter(*waiter), group_id, request)
        }
        2 => groups.leave(now, Waiter(*waiter), group_id, &[Leaving { member_id, instance_id: None }]),
        _ => {
            let request = ConsumerGroupHeartbeatRequest {
                group_id,
                member_id,
                member_epoch: number,
                instance_id: any.of(&[None, Some("i")]),
                rebalance_timeout_ms: 1_000,
                subscribed_topic_names: any.maybe(|_| ["orders"].into_iter().collect()),
                topic_partitions: any.maybe(|_| [].into_iter().collect()),
                ..ConsumerGroupHeartbeatRequest::default()
            };
            let caller =
                HeartbeatCaller { client_id: "c", client_host: "/h", drawn: any.0.random(), makes_its_id: false };
            let mut effects = Effects::new();
            groups.consumer_heartbeat(now, Waiter(*waiter), &request, caller, &mut effects);
            effects
        }
    }
}

#[test]
fn a_log_that_contradicts_itself_is_loaded_and_served() {
    let (mut refused, mut loaded) = (0, 0);
    for seed in seeds(SCHEDULES) {
        let _seed = SeedOnPanic(seed);
        let mut any = Any(SmallRng::seed_from_u64(seed));
        let mut groups = GroupCoordinator::new(GroupConfig::default());
        groups.set_topics(Arc::new(Orders(3)));
        for _ in 0..any.0.random_range(1..40) {
            match groups.apply(any.record()) {
                Ok(()) => loaded += 1,
                Err(_) => refused += 1,
            }
        }
        let mut now = Now { monotonic: MonotonicMs(1), wall: WallMs(1_700_000_000_000) };
        let _ = groups.start(now);
        groups.assert_invariants();
        let mut waiter = 0;
        for _ in 0..60 {
            let _ = ask(&mut groups, now, &mut any, &mut waiter);
            groups.assert_invariants();
            now.monotonic = now.monotonic.after(any.of(&[0, 500, 20_000]));
            let _ = groups.tick(now);
            groups.assert_invariants();
        }
        let mut cursor = SnapshotCursor::new();
        while !cursor.is_done() {
            groups.snapshot_slice(&mut cursor, 3);
        }
        for group_id in GROUPS {
            let _ = (groups.describe_classic(group_id), groups.describe_consumer(group_id));
        }
        groups.list(&[], &[]);
    }
    assert!(refused > 0 && loaded > 0, "both kinds were seen: {refused} and {loaded}");
}

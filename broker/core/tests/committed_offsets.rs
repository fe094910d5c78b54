//! The rules of committed offsets, one example each: who may commit, what is found, what is forgotten and when.

mod support;

use ouzel_broker_core::group::{GroupConfig, GroupError, GroupRecord, WallMs};
use ouzel_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use support::{GROUP, Joining, Scene, WALL_START, again, caller, hasty, subscription};

const NOBODY: i32 = -1;

#[test]
fn a_consumer_that_is_no_member_commits_to_an_empty_group_only() {
    let mut scene = Scene::new(hasty());
    assert_eq!(scene.commit(caller("", NOBODY), "orders", 0, 7), Ok(()), "that makes the group");
    assert_eq!((scene.state(), scene.offset("orders", 0)), ("Empty", Some(7)));
    let illegal = scene.commit(caller("a", 1), "orders", 0, 8);
    assert_eq!(illegal, Err(GroupError::UnknownMember), "who claims a generation has to be in it");
    let ids = scene.stable(&[Joining::default()]);
    assert_eq!(scene.commit(caller("", NOBODY), "orders", 0, 8), Err(GroupError::UnknownMember));
    assert_eq!(scene.offset("orders", 0), Some(7), "a refusal changes nothing");
    scene.leave(&[(&ids[0], None)]);
    assert_eq!(scene.commit(caller("", NOBODY), "orders", 0, 8), Ok(()));
}

#[test]
fn members_commit_in_their_generation_and_show_that_they_live() {
    let mut scene = Scene::new(hasty());
    let unknown = scene.commit(caller("a", 3), "orders", 0, 1);
    assert_eq!(unknown, Err(GroupError::UnknownGroup), "no such group, and none is made");
    assert_eq!(scene.coordinator.group_count(), 0);
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    assert_eq!(scene.commit(caller(&ids[0], 2), "orders", 0, 5), Ok(()));
    for generation in [NOBODY, 1, 3] {
        let refused = scene.commit(caller(&ids[0], generation), "orders", 0, 6);
        assert!(matches!(refused, Err(GroupError::IllegalGeneration { .. })), "{generation}");
    }
    assert_eq!(scene.commit(caller("a", 2), "orders", 0, 6), Err(GroupError::UnknownMember));
    for _ in 0..3 {
        scene.pass(9_000);
        assert_eq!(scene.heartbeat(caller(&ids[1], 2)), Ok(()));
        assert_eq!(scene.commit(caller(&ids[0], 2), "orders", 0, 6), Ok(()));
    }
    let waiter = scene.ask_join(&again(&ids[0], &Joining::default()));
    assert_eq!(scene.commit(caller(&ids[1], 2), "orders", 1, 9), Ok(()), "before it joins again it says how far it is");
    let other = scene.ask_join(&again(&ids[1], &Joining::default()));
    assert!(scene.joined(waiter).is_ok() && scene.joined(other).is_ok());
    assert_eq!(scene.commit(caller(&ids[1], 3), "orders", 1, 9), Err(GroupError::RebalanceInProgress));
}

#[test]
fn each_partition_is_committed_for_itself_and_all_of_it_is_kept() {
    let mut scene = Scene::new(hasty());
    let long = "x".repeat(4_097);
    let fits = "y".repeat(4_096);
    let rows: &[(u32, u64, &str)] = &[(0, 1, ""), (1, 2, &long), (2, 3, &fits)];
    let waiter =
        scene.ask_commit_for(caller("", NOBODY), Some(500), &[("orders", Some(9), rows), ("bills", None, rows)]);
    let outcomes = scene.committed(waiter).expect("it may commit");
    assert_eq!(outcomes.iter().map(|row| row.topic.as_str()).collect::<Vec<_>>(), ["orders", "bills"]);
    let too_large = Err(GroupError::OffsetMetadataTooLarge { got: 4_097, max: 4_096 });
    for row in &outcomes {
        let outcomes: Vec<_> = row.partitions.iter().map(|row| (row.partition.0, row.outcome.clone())).collect();
        assert_eq!(outcomes, [(0, Ok(())), (1, too_large.clone()), (2, Ok(()))]);
    }
    assert_eq!(scene.log.len(), 4, "what is refused is not written");
    for restarted in [false, true] {
        if restarted {
            scene.restart();
        }
        let offsets = scene.coordinator.group(GROUP).expect("it is there").offsets();
        let kept = offsets.get("orders", PartitionIndex(2)).expect("it was committed");
        assert_eq!((kept.offset, kept.leader_epoch, &*kept.metadata), (Offset(3), None, fits.as_str()));
        assert_eq!((kept.committed_at, kept.topic_id), (WallMs(WALL_START), Some(TopicId(9))));
        assert_eq!(kept.expires_at, Some(WallMs(WALL_START + 500)));
        assert_eq!(offsets.get("orders", PartitionIndex(1)), None);
        assert_eq!((offsets.count(), scene.coordinator.offset_count()), (4, 4));
        assert_eq!(offsets.fetch("orders", Some(TopicId(8)), PartitionIndex(2)), None, "that was another topic");
        assert!(offsets.fetch("orders", Some(TopicId(9)), PartitionIndex(2)).is_some());
    }
}

#[test]
fn a_leader_epoch_is_kept_through_the_log() {
    let mut scene = Scene::new(hasty());
    scene.commit(caller("", NOBODY), "orders", 0, 7).expect("anybody may");
    let mut log = scene.log.clone();
    let [GroupRecord::OffsetCommit { commit, .. }] = &mut log[..] else { panic!("one record: {log:?}") };
    commit.leader_epoch = Some(LeaderEpoch(4));
    scene.restart_with(log);
    let kept = scene.coordinator.group(GROUP).and_then(|group| group.offsets().get("orders", PartitionIndex(0)));
    assert_eq!(kept.and_then(|commit| commit.leader_epoch), Some(LeaderEpoch(4)));
}

#[test]
fn offsets_in_use_are_not_deleted() {
    let mut scene = Scene::new(hasty());
    assert_eq!(scene.delete_offsets("orders", &[0]), Err(GroupError::UnknownGroup));
    for topic in ["orders", "bills"] {
        scene.commit(caller("", NOBODY), topic, 0, 7).expect("anybody may");
    }
    let ids = scene.stable(&[Joining::default()]);
    let rows = scene.delete_offsets("orders", &[0, 1]).expect("a group of consumers says what it uses");
    assert!(rows[0].partitions.iter().all(|row| row.outcome == Err(GroupError::SubscribedToTopic)));
    let written = scene.log.len();
    let rows = scene.delete_offsets("bills", &[0, 1]).expect("a group of consumers says what it uses");
    assert!(rows[0].partitions.iter().all(|row| row.outcome == Ok(())), "what is not there is forgotten already");
    assert!(matches!(&scene.log[written..], [GroupRecord::OffsetTombstone { .. }]));
    assert_eq!((scene.offset("orders", 0), scene.offset("bills", 0)), (Some(7), None));
    scene.restart();
    assert_eq!((scene.offset("orders", 0), scene.offset("bills", 0)), (Some(7), None));
    assert!(
        scene.delete_offsets("orders", &[0]).is_ok_and(|rows| rows[0].partitions[0].outcome.is_err()),
        "loaded too"
    );
    scene.leave(&[(&ids[0], None)]);
    assert!(scene.delete_offsets("orders", &[0]).is_ok_and(|rows| rows[0].partitions[0].outcome.is_ok()));

    let of_type = |protocol_type, metadata: &[u8]| Joining {
        protocol_type,
        protocols: vec![("range", metadata.to_vec())],
        ..Joining::default()
    };
    let mut scene = Scene::new(hasty());
    scene.stable(&[of_type("connect", b"")]);
    assert_eq!(scene.delete_offsets("orders", &[0]), Err(GroupError::NonEmptyGroup), "nobody can tell what it uses");
    let mut scene = Scene::new(hasty());
    scene.stable(&[of_type("consumer", b"gibberish")]);
    let rows = scene.delete_offsets("orders", &[0]).expect("it is a group of consumers");
    assert_eq!(rows[0].partitions[0].outcome, Err(GroupError::SubscribedToTopic), "it might use anything");
}

/// Retention of an hour, looked after every minute.
fn brief() -> GroupConfig {
    GroupConfig { offsets_retention_ms: 3_600_000, offsets_retention_check_interval_ms: 60_000, ..hasty() }
}

#[test]
fn offsets_of_a_consumer_that_is_no_member_expire_by_their_commits_and_the_group_with_them() {
    let mut scene = Scene::new(brief());
    scene.commit(caller("", NOBODY), "orders", 0, 1).expect("anybody may");
    scene.pass(1_800_000);
    scene.commit(caller("", NOBODY), "orders", 1, 1).expect("anybody may");
    scene.pass(1_799_999);
    assert_eq!((scene.offset("orders", 0), scene.offset("orders", 1)), (Some(1), Some(1)));
    scene.pass(60_000);
    assert_eq!((scene.offset("orders", 0), scene.offset("orders", 1)), (None, Some(1)));
    scene.pass(1_800_000);
    assert_eq!((scene.coordinator.group_count(), scene.coordinator.offset_count()), (0, 0));
    let tombstones = scene.log.iter().filter(|record| matches!(record, GroupRecord::OffsetTombstone { .. })).count();
    assert_eq!((tombstones, scene.log.len()), (2, 4), "no tombstone for a group that was never written");
    scene.restart();
    assert_eq!(scene.coordinator.group_count(), 0);
}

#[test]
fn offsets_of_a_group_expire_from_when_it_is_empty() {
    let mut scene = Scene::new(brief());
    let ids = scene.stable(&[Joining { session_ms: 1_800_000, ..Joining::default() }]);
    scene.commit(caller(&ids[0], 1), "orders", 0, 1).expect("a member commits");
    for _ in 0..5 {
        scene.pass(1_700_000);
        assert_eq!(scene.heartbeat(caller(&ids[0], 1)), Ok(()));
    }
    assert_eq!(scene.offset("orders", 0), Some(1), "it is in use");
    scene.leave(&[(&ids[0], None)]);
    scene.pass(3_599_000);
    assert_eq!(scene.offset("orders", 0), Some(1));
    scene.restart();
    scene.pass(120_000);
    assert_eq!(scene.coordinator.group_count(), 0, "the record says since when it is empty");
    let last = &scene.log[scene.log.len() - 2..];
    assert!(matches!(last, [GroupRecord::OffsetTombstone { .. }, GroupRecord::ClassicGroupTombstone { .. }]));
}

#[test]
fn offsets_of_topics_that_nobody_subscribes_to_expire_under_a_live_group() {
    let mut scene = Scene::new(brief());
    let joining = Joining { session_ms: 1_800_000, ..Joining::default() };
    let ids = scene.stable(std::slice::from_ref(&joining));
    let mut opaque = scene.clone();
    for topic in ["orders", "bills"] {
        scene.commit(caller(&ids[0], 1), topic, 0, 1).expect("a member commits");
    }
    for _ in 0..3 {
        scene.pass(1_700_000);
        assert_eq!(scene.heartbeat(caller(&ids[0], 1)), Ok(()));
    }
    assert_eq!((scene.offset("orders", 0), scene.offset("bills", 0)), (Some(1), None));

    // A member that subscribes to both keeps both; what it used to subscribe to does not count.
    opaque.commit(caller(&ids[0], 1), "bills", 0, 1).expect("a member commits");
    let protocols = vec![("range", subscription(&["bills"]))];
    let waiter = opaque.ask_join(&Joining { protocols, ..again(&ids[0], &joining) });
    assert!(opaque.joined(waiter).is_ok());
    let waiter = opaque.ask_sync(caller(&ids[0], 2), &[]);
    assert!(opaque.synced(waiter).is_ok());
    for _ in 0..3 {
        opaque.pass(1_700_000);
        assert_eq!(opaque.heartbeat(caller(&ids[0], 2)), Ok(()));
    }
    assert_eq!(opaque.offset("bills", 0), Some(1));
}

#[test]
fn a_deleted_topic_takes_its_offsets_with_it() {
    let mut scene = Scene::new(hasty());
    for (topic_id, partition) in [(1, 0), (1, 1), (2, 2)] {
        let waiter = scene.ask_commit(caller("", NOBODY), &[("orders", Some(topic_id), &[(partition, 7, "")])]);
        assert!(scene.committed(waiter).is_ok());
    }
    scene.commit(caller("", NOBODY), "bills", 0, 7).expect("anybody may");
    scene.coordinator.drop_topic("orders", Some(TopicId(1)));
    scene.pass(0);
    let left = [("orders", 0), ("orders", 1), ("orders", 2), ("bills", 0)].map(|(topic, at)| scene.offset(topic, at));
    assert_eq!(left, [None, None, Some(7), Some(7)], "the topic that has the name now keeps its own");
    scene.coordinator.drop_topic("orders", Some(TopicId(2)));
    scene.coordinator.drop_topic("bills", None);
    scene.pass(0);
    assert_eq!(scene.coordinator.group_count(), 0, "a group that was offsets only is gone with the last");
    scene.restart();
    assert_eq!(scene.coordinator.group_count(), 0);
}

#[test]
fn many_offsets_are_forgotten_in_slices() {
    let mut scene = Scene::new(brief());
    let rows: Vec<(u32, u64, &str)> = (0..20_000).map(|partition| (partition, 1, "")).collect();
    for topic in ["orders", "bills"] {
        let waiter = scene.ask_commit(caller("", NOBODY), &[(topic, None, &rows)]);
        assert!(scene.committed(waiter).is_ok());
    }
    let written = scene.log.len();
    scene.coordinator.drop_topic("orders", None);
    let effects = scene.coordinator.tick(scene.now);
    assert_eq!(effects.records.len(), 8_192, "other work has its turn");
    scene.take(effects);
    assert_eq!(scene.coordinator.next_deadline().0, 0, "there is more to do");
    scene.pass(0);
    assert_eq!((scene.log.len() - written, scene.coordinator.offset_count()), (20_000, 20_000));
    scene.pass(3_660_000);
    assert_eq!((scene.log.len() - written, scene.coordinator.group_count()), (40_000, 0));
}

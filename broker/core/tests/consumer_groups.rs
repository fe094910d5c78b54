//! Groups whose broker assigns, at their coordinator: how long their offsets are kept, and what members are told for that they could
//! not be heard.

mod support;

use std::sync::Arc;

use ouzel_broker_core::group::{Generation, GroupConfig, GroupError};
use ouzel_protocol::TopicId;
use support::consumer::{beat, first, hear};
use support::orders::{ORDERS, Orders};
use support::{GROUP, Joining, Scene, again, caller, hasty};

fn scene(config: GroupConfig) -> Scene {
    let mut scene = Scene::new(config);
    scene.coordinator.set_topics(Arc::new(Orders(6)));
    scene
}

/// Retention of an hour, looked after every minute.
fn brief() -> GroupConfig {
    GroupConfig { offsets_retention_ms: 3_600_000, offsets_retention_check_interval_ms: 60_000, ..hasty() }
}

/// Lets hours pass in which a member is heard and commits nothing.
fn stay(scene: &mut Scene, member_id: &str, epoch: i32, hours: u64) {
    for _ in 0..hours * 120 {
        scene.pass(30_000);
        hear(scene, &beat(member_id, epoch)).expect("it is a member");
    }
}

#[test]
fn offsets_are_kept_from_when_the_last_member_left_however_old_they_are() {
    let mut scene = scene(brief());
    hear(&mut scene, &first("one")).unwrap();
    scene.commit(caller("one", 1), "orders", 0, 7).unwrap();
    scene.commit(caller("one", 1), "elsewhere", 0, 7).unwrap();
    stay(&mut scene, "one", 1, 3);
    assert_eq!(scene.offset("orders", 0), Some(7), "it is in use");
    assert_eq!(scene.offset("elsewhere", 0), None, "no member reads that");
    hear(&mut scene, &beat("one", -1)).unwrap();
    scene.pass(3_590_000);
    assert_eq!(scene.offset("orders", 0), Some(7));
    // A commit of somebody who is no member counts for itself.
    scene.commit(caller("", -1), "orders", 1, 8).unwrap();
    scene.pass(120_000);
    assert_eq!((scene.offset("orders", 0), scene.offset("orders", 1)), (None, Some(8)));
    scene.pass(3_600_000);
    assert_eq!(scene.coordinator.group_count(), 0, "the group goes with its last offset");
}

#[test]
fn a_group_whose_members_died_while_nobody_looked_keeps_its_offsets_from_the_load_on() {
    let mut scene = scene(brief());
    hear(&mut scene, &first("one")).unwrap();
    scene.commit(caller("one", 1), "orders", 0, 7).unwrap();
    stay(&mut scene, "one", 1, 3);
    for leaves in [true, false] {
        let mut scene = scene.clone();
        if leaves {
            hear(&mut scene, &beat("one", -1)).unwrap();
        }
        scene.pass(10_000);
        scene.restart();
        scene.coordinator.set_topics(Arc::new(Orders(6)));
        scene.pass(3_590_000);
        assert_eq!(scene.offset("orders", 0), Some(7), "leaves: {leaves}");
        scene.pass(200_000);
        assert_eq!(scene.offset("orders", 0), None, "leaves: {leaves}");
    }
}

#[test]
fn members_that_were_turned_away_are_not_taken_for_dead() {
    let mut scene = scene(hasty());
    hear(&mut scene, &first("one")).unwrap();
    hear(&mut scene, &first("two")).unwrap();
    assert_eq!(hear(&mut scene, &beat("one", 1)).unwrap().assignment.expect("it is to give back").len(), 3);
    // For a while, longer than a session and than the time to give back, the log takes nothing, and nothing is done that is due.
    let later = support::at(scene.now.monotonic.0 + 120_000);
    scene.coordinator.turned_away();
    scene.now = later;
    let effects = scene.coordinator.tick(scene.now);
    scene.take(effects);
    let members = |scene: &Scene| scene.coordinator.describe_consumer(GROUP).unwrap().members.len();
    assert_eq!(members(&scene), 2);
    scene.pass(44_999);
    assert_eq!(members(&scene), 2);
    assert_eq!(hear(&mut scene, &beat("one", 1)).unwrap().epoch, Generation(1), "it has its time to give back");
    scene.pass(1);
    assert_eq!(members(&scene), 1, "the other is silent still");
    assert_eq!(hear(&mut scene, &beat("two", 2)), Err(GroupError::UnknownMember));
}

#[test]
fn a_rebalance_of_a_classic_group_waits_for_members_that_were_turned_away() {
    let mut scene = scene(hasty());
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    let waiter = scene.ask_join(&again(&ids[0], &Joining::default()));
    assert!(scene.is_parked(waiter));
    scene.coordinator.turned_away();
    scene.now = support::at(scene.now.monotonic.0 + 120_000);
    let effects = scene.coordinator.tick(scene.now);
    scene.take(effects);
    assert!(scene.is_parked(waiter), "the other could not join");
    let other = scene.ask_join(&again(&ids[1], &Joining::default()));
    for waiter in [waiter, other] {
        assert_eq!(scene.joined(waiter).expect("both are in").generation, Generation(3));
    }
}

#[test]
fn offsets_of_a_topic_that_was_deleted_before_a_crash_are_forgotten_after_it() {
    let mut scene = scene(hasty());
    for (topic, topic_id) in [("orders", Some(ORDERS.0)), ("gone", Some(99)), ("unknown", None)] {
        let waiter = scene.ask_commit(caller("", -1), &[(topic, topic_id, &[(0, 7, ""), (1, 7, "")])]);
        assert!(scene.committed(waiter).is_ok());
    }
    // An earlier topic of the name.
    let waiter = scene.ask_commit(caller("", -1), &[("orders", Some(98), &[(2, 7, "")])]);
    assert!(scene.committed(waiter).is_ok());
    let waiter = scene.ask_commit(caller("", -1), &[("orders", Some(ORDERS.0), &[(3, 7, "")])]);
    assert!(scene.committed(waiter).is_ok());
    scene.coordinator.drop_topic("gone", Some(TopicId(99)));
    scene.restart();
    scene.coordinator.set_topics(Arc::new(Orders(6)));
    assert_eq!(scene.offset("gone", 0), Some(7), "the search was not written anywhere");
    scene.coordinator.drop_unknown_topics();
    scene.pass(0);
    let left = |scene: &Scene| {
        [("orders", 0), ("orders", 1), ("orders", 2), ("orders", 3), ("gone", 0), ("gone", 1), ("unknown", 0)]
            .map(|(topic, partition)| scene.offset(topic, partition).is_some())
    };
    let expected = [true, true, false, true, false, false, true];
    assert_eq!(left(&scene), expected);
    scene.restart();
    assert_eq!(left(&scene), expected, "and that is written");
}

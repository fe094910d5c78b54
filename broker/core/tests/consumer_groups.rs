//! Groups whose broker assigns, at their coordinator: how long their offsets are kept.

mod support;

use std::sync::Arc;

use ouzel_broker_core::group::GroupConfig;
use support::consumer::{beat, first, hear};
use support::orders::Orders;
use support::{Scene, caller, hasty};

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

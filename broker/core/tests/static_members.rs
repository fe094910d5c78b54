//! The rules of static members (KIP-345, KIP-814), one example each.

mod support;

use ouzel_broker_core::group::{Generation, GroupConfig, GroupError, GroupRecord};
use support::{Joining, Scene, again, caller, fixed, hasty, instance};

#[test]
fn a_static_member_that_restarts_causes_no_rebalance_and_fences_what_it_was() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[fixed("a"), fixed("b")]);
    let waiter = scene.ask_join(&fixed("b"));
    let outcome = scene.joined(waiter).expect("it takes its own place");
    let new_id = outcome.member_id.to_string();
    assert_eq!((scene.state(), outcome.generation), ("Stable", Generation(2)));
    assert!(outcome.leader.as_str() == ids[0] && new_id != ids[1] && new_id.starts_with("b-"));
    assert_eq!(scene.heartbeat(instance(&ids[0], "a", 2)), Ok(()), "nobody else notices");

    assert_eq!(scene.heartbeat(instance(&ids[1], "b", 2)), Err(GroupError::FencedInstance));
    assert_eq!(scene.heartbeat(caller(&ids[1], 2)), Err(GroupError::UnknownMember));
    assert_eq!(scene.commit(instance(&ids[1], "b", 2), "orders", 0, 1), Err(GroupError::FencedInstance));
    let waiter = scene.ask_sync(instance(&ids[1], "b", 2), &[]);
    assert_eq!(scene.synced(waiter), Err(GroupError::FencedInstance));
    let waiter = scene.ask_join(&again(&ids[1], &fixed("b")));
    assert_eq!(scene.refused(waiter), GroupError::FencedInstance);

    let waiter = scene.ask_sync(instance(&new_id, "b", 2), &[]);
    assert_eq!(scene.synced(waiter).expect("what it had").assignment[..], [1]);
    let Some(GroupRecord::ClassicGroup { state, .. }) = scene.log.last() else { panic!("the new id is written") };
    assert!(state.members.iter().any(|member| member.member_id.as_str() == new_id));
    scene.restart();
    assert_eq!(scene.heartbeat(instance(&new_id, "b", 2)), Ok(()));
    assert_eq!(scene.heartbeat(instance(&ids[1], "b", 2)), Err(GroupError::FencedInstance));
}

#[test]
fn a_static_leader_that_restarts_does_not_assign_again() {
    for version in [8, 9] {
        let mut scene = Scene::new(hasty());
        let ids = scene.stable(&[fixed("a"), fixed("b")]);
        let waiter = scene.ask_join(&Joining { version, ..fixed("a") });
        let outcome = scene.joined(waiter).expect("it takes its own place");
        assert_eq!(outcome.skip_assignment, version == 9);
        if version == 9 {
            assert_eq!((&outcome.leader, outcome.members.len()), (&outcome.member_id, 2));
        } else {
            assert_eq!(
                (outcome.leader.as_str(), outcome.members.len()),
                (ids[0].as_str(), 0),
                "it takes itself for none"
            );
        }
        let waiter =
            scene.ask_sync(instance(outcome.member_id.as_str(), "a", 2), &[(outcome.member_id.as_str(), b"x")]);
        assert_eq!(scene.synced(waiter).expect("what it had").assignment[..], [0]);
        // It leads still: its next join is news.
        let waiter = scene.ask_join(&again(outcome.member_id.as_str(), &fixed("a")));
        assert!(scene.is_parked(waiter));
    }
}

#[test]
fn a_static_member_that_changes_the_protocol_causes_a_rebalance() {
    let both = |first: &'static str, second: &'static str| Joining {
        protocols: vec![(first, Vec::new()), (second, Vec::new())],
        ..fixed("a")
    };
    let mut scene = Scene::new(hasty());
    scene.stable(&[both("range", "sticky")]);
    let waiter = scene.ask_join(&both("sticky", "range"));
    let outcome = scene.joined(waiter).expect("alone, it is all of the group");
    assert_eq!((outcome.generation, &*outcome.protocol), (Generation(2), "sticky"));
}

#[test]
fn a_static_member_that_restarts_while_the_leader_assigns_causes_a_rebalance() {
    let mut scene = Scene::new(GroupConfig::default());
    let waiters = ["a", "b"].map(|name| scene.ask_join(&fixed(name)));
    scene.pass(6_000);
    let ids = waiters.map(|waiter| scene.joined(waiter).expect("both join").member_id.to_string());
    let old_sync = scene.ask_sync(instance(&ids[1], "b", 1), &[]);
    let waiter = scene.ask_join(&fixed("b"));
    assert_eq!(scene.synced(old_sync), Err(GroupError::FencedInstance), "the leader would assign to the old id");
    assert!(scene.is_parked(waiter));
    let second = scene.ask_join(&fixed("b"));
    assert_eq!(scene.refused(waiter), GroupError::FencedInstance, "a third one of that instance");
    let leader = scene.ask_join(&again(&ids[0], &fixed("a")));
    assert_eq!(scene.joined(leader).expect("all are in").members.len(), 2);
    assert!(scene.joined(second).is_ok());
}

#[test]
fn a_static_member_may_miss_a_rebalance_but_not_its_session() {
    let joining = |name| Joining { rebalance_ms: 5_000, session_ms: 20_000, ..fixed(name) };
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[joining("a"), joining("b")]);
    let leader = scene.ask_join(&again(&ids[0], &joining("a")));
    scene.pass(5_000);
    let outcome = scene.joined(leader).expect("the wait is over");
    assert_eq!(outcome.members.len(), 2, "it may be restarting");
    let waiter = scene.ask_sync(instance(&ids[0], "a", 3), &[(&ids[1], b"kept")]);
    assert!(scene.synced(waiter).is_ok());
    let mut back = scene.clone();
    let waiter = back.ask_join(&joining("b"));
    let new_id = back.joined(waiter).expect("it is back").member_id.to_string();
    let waiter = back.ask_sync(instance(&new_id, "b", 3), &[]);
    assert_eq!(back.synced(waiter).expect("its part").assignment[..], *b"kept");
    scene.pass(5_000);
    assert_eq!(scene.heartbeat(instance(&ids[1], "b", 3)), Err(GroupError::UnknownMember), "it never synced");
}

#[test]
fn a_group_of_static_members_that_are_all_away_waits_for_their_sessions() {
    let joining = Joining { rebalance_ms: 2_000, session_ms: 20_000, ..fixed("a") };
    let mut scene = Scene::new(hasty());
    scene.stable(&[joining]);
    let waiter = scene.ask_join(&Joining { version: 3, rebalance_ms: 2_000, ..Joining::default() });
    assert!(scene.is_parked(waiter));
    scene.pass(2_000);
    assert!(scene.joined(waiter).is_ok());

    let both = |name| Joining { rebalance_ms: 2_000, session_ms: 20_000, ..fixed(name) };
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[both("a"), both("b")]);
    assert_eq!(scene.leave(&[(&ids[0], Some("a"))])[0].outcome, Ok(()));
    scene.pass(19_999);
    assert_eq!(scene.state(), "PreparingRebalance", "nobody has joined, and nobody is gone yet");
    scene.pass(1);
    assert_eq!(scene.state(), "Empty");
}

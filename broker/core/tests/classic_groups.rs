//! The rules of classic groups, one example each. Static members stand in `static_members.rs`, random schedules in
//! `group_schedules.rs`.

mod support;

use ouzel_broker_core::group::{Generation, GroupConfig, GroupError, GroupRecord, JoinRefusal};
use support::{GROUP, Joining, Scene, again, caller, fixed, hasty, subscription};

#[test]
fn a_new_member_is_given_its_id_before_it_joins() {
    let mut scene = Scene::new(hasty());
    let waiter = scene.ask_join(&Joining::default());
    let JoinRefusal { member_id, error } = scene.joined(waiter).expect_err("it has no id");
    assert_eq!(error, GroupError::MemberIdRequired);
    let given = member_id.expect("an id is given").to_string();
    assert_eq!(given, "client-00000000-0000-0000-0000-000000000001");
    assert_eq!(scene.state(), "Empty");
    let waiter = scene.ask_join(&again(&given, &Joining::default()));
    assert_eq!(scene.joined(waiter).expect("it has an id").member_id.as_str(), given);

    // Older clients do not know that, and static members are known by their instance.
    for joining in
        [Joining { version: 3, group: "old", ..Joining::default() }, Joining { group: "fixed", ..fixed("i") }]
    {
        let waiter = scene.ask_join(&joining);
        assert_eq!(scene.joined(waiter).expect("it joins at once").generation, Generation(1));
    }
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten_and_the_group_with_it() {
    let mut scene = Scene::new(hasty());
    let waiter = scene.ask_join(&Joining::default());
    let given = scene.joined(waiter).expect_err("it has no id").member_id.expect("an id is given").to_string();
    scene.pass(9_999);
    assert_eq!(scene.state(), "Empty");
    scene.pass(1);
    assert_eq!(scene.state(), "Dead");
    let waiter = scene.ask_join(&again(&given, &Joining::default()));
    assert_eq!(scene.refused(waiter), GroupError::UnknownMember);
    assert_eq!((scene.state(), scene.log.len()), ("Dead", 0), "nothing is left, and nothing was written");
}

#[test]
fn the_first_members_wait_for_others_as_long_as_others_come() {
    let mut scene = Scene::new(GroupConfig::default());
    let joining = Joining { rebalance_ms: 8_000, version: 3, ..Joining::default() };
    let first = scene.ask_join(&joining);
    scene.pass(2_999);
    assert!(scene.is_parked(first));
    let second = scene.ask_join(&joining);
    scene.pass(1);
    assert!(scene.is_parked(first), "somebody came: it waits again");
    scene.pass(2_900);
    let third = scene.ask_join(&joining);
    scene.pass(2_099);
    assert!(scene.is_parked(first));
    scene.pass(1);
    let leader = scene.joined(first).expect("the wait ends with the rebalance timeout");
    assert_eq!(leader.members.len(), 3);
    for waiter in [second, third] {
        let follower = scene.joined(waiter).expect("it joins too");
        assert_eq!((follower.generation, &follower.leader), (leader.generation, &leader.member_id));
        assert!(follower.members.is_empty(), "only the leader is told of everybody");
    }

    let mut scene = Scene::new(GroupConfig::default());
    let alone = scene.ask_join(&joining);
    scene.pass(3_000);
    assert!(scene.joined(alone).is_ok(), "nobody came");
}

#[test]
fn nobody_gets_its_part_before_the_leader_has_assigned_and_that_is_written() {
    let mut scene = Scene::new(GroupConfig::default());
    let waiters = [0, 1].map(|_| scene.join_twice(&Joining::default()));
    scene.pass(6_000);
    let [leader, follower] = waiters.map(|waiter| scene.joined(waiter).expect("both join"));
    let (leader, follower) = (leader.member_id.to_string(), follower.member_id.to_string());
    assert_eq!(scene.state(), "CompletingRebalance");
    assert_eq!(scene.heartbeat(caller(&follower, 1)), Ok(()), "it waits and lives");
    let of_follower = scene.ask_sync(caller(&follower, 1), &[]);
    assert!(scene.is_parked(of_follower));
    assert_eq!(scene.log.len(), 0);
    let of_leader = scene.ask_sync(caller(&leader, 1), &[(&leader, b"1"), ("gone", b"2")]);
    let [GroupRecord::ClassicGroup { state, .. }] = &scene.log[..] else { panic!("one record: {:?}", scene.log) };
    assert_eq!((state.generation, state.members.len()), (Generation(1), 2));
    assert_eq!(state.protocol.as_deref(), Some("range"));
    assert_eq!(scene.synced(of_leader).expect("its part").assignment[..], *b"1");
    assert_eq!(scene.synced(of_follower).expect("nothing").assignment[..], *b"", "the leader did not name it");
    assert_eq!(scene.state(), "Stable");
    let late = scene.ask_sync(caller(&leader, 1), &[]);
    assert_eq!(scene.synced(late).expect("its part").assignment[..], *b"1", "who asks again gets the same");
}

#[test]
fn members_must_be_known_and_of_the_generation() {
    let mut scene = Scene::new(hasty());
    assert_eq!(scene.heartbeat(caller("a", 1)), Err(GroupError::UnknownMember), "no such group");
    let ids = scene.stable(&[Joining::default()]);
    assert_eq!(scene.heartbeat(caller(&ids[0], 1)), Ok(()));
    assert_eq!(scene.heartbeat(caller("a", 1)), Err(GroupError::UnknownMember));
    let illegal = |got| GroupError::IllegalGeneration { expected: Generation(1), got: Generation(got) };
    for generation in [-1, 0, 2] {
        assert_eq!(scene.heartbeat(caller(&ids[0], generation)), Err(illegal(generation)));
        let waiter = scene.ask_sync(caller(&ids[0], generation), &[]);
        assert_eq!(scene.synced(waiter), Err(illegal(generation)));
    }
    let waiter = scene.ask_join(&again("a", &Joining::default()));
    assert_eq!(scene.refused(waiter), GroupError::UnknownMember);
    let waiter = scene.ask_sync_as(caller(&ids[0], 1), Some("connect"), None, &[]);
    assert_eq!(scene.synced(waiter), Err(GroupError::InconsistentProtocol));
    let waiter = scene.ask_sync_as(caller(&ids[0], 1), Some("consumer"), Some("sticky"), &[]);
    assert_eq!(scene.synced(waiter), Err(GroupError::InconsistentProtocol));
    let waiter = scene.ask_sync_as(caller(&ids[0], 1), Some("consumer"), Some("range"), &[]);
    assert!(scene.synced(waiter).is_ok());
}

#[test]
fn a_stable_group_rebalances_for_its_leader_and_for_changes_only() {
    let start = |scene: &mut Scene| scene.stable(&[Joining::default(), Joining::default()]);
    let mut scene = Scene::new(hasty());
    let ids = start(&mut scene);
    let waiter = scene.ask_join(&again(&ids[1], &Joining::default()));
    let outcome = scene.joined(waiter).expect("a follower that has not changed goes on");
    assert_eq!((outcome.generation, outcome.members.len(), scene.state()), (Generation(2), 0, "Stable"));

    let waiter = scene.ask_join(&again(&ids[0], &Joining::default()));
    assert!(scene.is_parked(waiter), "the leader has news");
    assert_eq!(scene.state(), "PreparingRebalance");
    assert_eq!(scene.heartbeat(caller(&ids[1], 2)), Err(GroupError::RebalanceInProgress));
    let sync = scene.ask_sync(caller(&ids[1], 2), &[]);
    assert_eq!(scene.synced(sync), Err(GroupError::RebalanceInProgress));
    let other = scene.ask_join(&again(&ids[1], &Joining::default()));
    assert_eq!(scene.joined(waiter).expect("all are in").generation, Generation(3));
    assert_eq!(scene.joined(other).expect("all are in").generation, Generation(3));

    let mut scene = Scene::new(hasty());
    let ids = start(&mut scene);
    let protocols = vec![("range", subscription(&["orders", "bills"]))];
    let waiter = scene.ask_join(&Joining { protocols, ..again(&ids[1], &Joining::default()) });
    assert!(scene.is_parked(waiter), "a follower has changed");
}

#[test]
fn while_the_leader_assigns_only_changes_begin_a_rebalance() {
    let mut scene = Scene::new(GroupConfig::default());
    let waiters = [0, 1].map(|_| scene.join_twice(&Joining::default()));
    scene.pass(6_000);
    let ids = waiters.map(|waiter| scene.joined(waiter).expect("both join").member_id.to_string());
    for (at, id) in ids.iter().enumerate() {
        let waiter = scene.ask_join(&again(id, &Joining::default()));
        let outcome = scene.joined(waiter).expect("its answer got lost");
        assert_eq!((outcome.generation, outcome.members.len()), (Generation(1), [2, 0][at]));
    }
    let waits = scene.ask_sync(caller(&ids[1], 1), &[]);
    let protocols = vec![("range", subscription(&["bills"]))];
    let waiter = scene.ask_join(&Joining { protocols, ..again(&ids[0], &Joining::default()) });
    assert!(scene.is_parked(waiter));
    assert_eq!(scene.synced(waits), Err(GroupError::RebalanceInProgress), "this generation gets no assignment");
}

#[test]
fn the_protocol_that_all_have_and_most_like_best_is_taken() {
    let offers = |names: &[&'static str]| Joining {
        protocols: names.iter().map(|name| (*name, name.as_bytes().to_vec())).collect(),
        version: 3,
        ..Joining::default()
    };
    let mut scene = Scene::new(GroupConfig::default());
    let mut waiters = Vec::new();
    for names in [&["mine", "range", "sticky"][..], &["sticky", "range"], &["sticky", "range", "range", "other"]] {
        waiters.push(scene.ask_join(&offers(names)));
    }
    for (joining, why) in [
        (offers(&["mine", "other"]), "no protocol that all have"),
        (offers(&[]), "no protocol"),
        (Joining { protocol_type: "connect", ..offers(&["range"]) }, "another type"),
        (Joining { protocol_type: "", ..offers(&["range"]) }, "no type"),
    ] {
        let waiter = scene.ask_join(&joining);
        assert_eq!(scene.refused(waiter), GroupError::InconsistentProtocol, "{why}");
    }
    scene.pass(6_000);
    let outcomes: Vec<_> = waiters.into_iter().map(|waiter| scene.joined(waiter).expect("it joins")).collect();
    assert!(outcomes.iter().all(|outcome| &*outcome.protocol == "sticky"));
    assert!(outcomes[0].members.iter().all(|member| member.metadata[..] == *b"sticky"), "and what they say under it");
}

#[test]
fn bytes_of_members_are_their_own() {
    let joining =
        Joining { protocol_type: "connect", protocols: vec![("sessioned", vec![0xff, 0, 0x80])], ..Joining::default() };
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[joining]);
    let group = scene.coordinator.describe_classic(GROUP).expect("it is there");
    assert_eq!((&*group.protocol_type, &*group.protocol), ("connect", "sessioned"));
    assert_eq!(group.members[0].member_id.as_str(), ids[0]);
    assert_eq!(
        (&group.members[0].subscription[..], &group.members[0].assignment[..]),
        (&[0xff, 0, 0x80][..], &[0][..])
    );
}

#[test]
fn who_is_not_heard_of_for_a_session_is_gone() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    scene.pass(9_000);
    assert_eq!(scene.heartbeat(caller(&ids[0], 2)), Ok(()));
    scene.pass(999);
    assert_eq!(scene.state(), "Stable");
    scene.pass(1);
    assert_eq!(scene.heartbeat(caller(&ids[1], 2)), Err(GroupError::UnknownMember));
    assert_eq!(scene.heartbeat(caller(&ids[0], 2)), Err(GroupError::RebalanceInProgress));
    let written = scene.log.len();
    scene.pass(10_000);
    assert_eq!(scene.state(), "Empty");
    let [GroupRecord::ClassicGroup { state, .. }] = &scene.log[written..] else { panic!("that is written") };
    assert_eq!((state.generation, state.members.len(), state.protocol.is_none()), (Generation(3), 0, true));
}

#[test]
fn a_session_stands_still_while_the_member_waits() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    let waiter = scene.ask_join(&again(&ids[0], &Joining::default()));
    for _ in 0..6 {
        scene.pass(9_000);
        assert_eq!(scene.heartbeat(caller(&ids[1], 2)), Err(GroupError::RebalanceInProgress));
    }
    assert!(scene.is_parked(waiter), "the other one lives and does not come");
    let other = scene.ask_join(&again(&ids[1], &Joining::default()));
    assert!(scene.joined(waiter).is_ok() && scene.joined(other).is_ok());
    let waits = scene.ask_sync(caller(&ids[1], 3), &[]);
    scene.pass(9_999);
    assert_eq!(scene.heartbeat(caller(&ids[0], 3)), Ok(()));
    scene.pass(9_999);
    assert!(scene.is_parked(waits), "one that waits for the leader lives longer than a session");
    let leader = scene.ask_sync(caller(&ids[0], 3), &[]);
    assert!(scene.synced(leader).is_ok() && scene.synced(waits).is_ok());
    scene.pass(9_999);
    assert_eq!(scene.heartbeat(caller(&ids[1], 3)), Ok(()), "and has a whole one from its answer on");
}

#[test]
fn who_does_not_join_again_in_time_is_left_behind() {
    for (rebalance_ms, ends_ms) in [(7_000, 7_000), (-1, 8_000)] {
        let joining = Joining { rebalance_ms, session_ms: 8_000, version: 3, ..Joining::default() };
        let mut scene = Scene::new(hasty());
        let ids = scene.stable(&[joining.clone(), joining.clone()]);
        let waiter = scene.ask_join(&again(&ids[0], &joining));
        scene.pass(ends_ms - 2_000);
        assert_eq!(scene.heartbeat(caller(&ids[1], 2)), Err(GroupError::RebalanceInProgress), "it lives");
        scene.pass(1_999);
        assert!(scene.is_parked(waiter));
        scene.pass(1);
        assert_eq!(scene.joined(waiter).expect("it goes on").members.len(), 1);
        assert_eq!(scene.heartbeat(caller(&ids[1], 2)), Err(GroupError::UnknownMember));
    }
}

#[test]
fn who_joins_and_never_syncs_is_left_behind() {
    let joining = Joining { rebalance_ms: 5_000, session_ms: 30_000, ..Joining::default() };
    for silent in [0, 1] {
        let mut scene = Scene::new(GroupConfig::default());
        let waiters = [0, 1].map(|_| scene.join_twice(&joining));
        scene.pass(5_000);
        let ids = waiters.map(|waiter| scene.joined(waiter).expect("both join").member_id.to_string());
        let other = 1 - silent;
        let waiter = scene.ask_sync(caller(&ids[other], 1), &[(&ids[0], b"0"), (&ids[1], b"1")]);
        scene.pass(4_999);
        assert_eq!(scene.heartbeat(caller(&ids[silent], 1)), Ok(()), "it lives");
        scene.pass(1);
        assert_eq!(scene.heartbeat(caller(&ids[silent], 1)), Err(GroupError::UnknownMember));
        assert_eq!(scene.heartbeat(caller(&ids[other], 1)), Err(GroupError::RebalanceInProgress));
        // With a silent leader nothing was assigned; with a silent follower the leader had its part.
        assert_eq!(scene.synced(waiter).is_ok(), other == 0);
    }
}

#[test]
fn the_first_join_of_a_client_that_is_gone_ends() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining { session_ms: 1_000_000, rebalance_ms: 1_000_000, ..Joining::default() }]);
    let joining = Joining { session_ms: 600_000, version: 3, ..Joining::default() };
    let waiter = scene.ask_join(&joining);
    scene.pass(299_999);
    assert!(scene.is_parked(waiter));
    scene.pass(1);
    assert_eq!(scene.refused(waiter), GroupError::UnknownMember);
    assert_eq!(scene.heartbeat(caller(&ids[0], 1)), Err(GroupError::RebalanceInProgress), "it is still to come back");
}

#[test]
fn an_id_that_was_given_is_waited_for() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining::default()]);
    let waiter = scene.ask_join(&Joining { session_ms: 8_000, ..Joining::default() });
    let given = scene.joined(waiter).expect_err("it has no id").member_id.expect("an id is given").to_string();
    let leader = scene.ask_join(&again(&ids[0], &Joining::default()));
    assert!(scene.is_parked(leader), "one more is on its way");
    let mut gone = scene.clone();
    gone.pass(8_000);
    assert_eq!(gone.joined(leader).expect("it did not come").members.len(), 1);
    let mut left = scene.clone();
    assert_eq!(left.leave(&[(&given, None)])[0].outcome, Ok(()));
    assert_eq!(left.joined(leader).expect("it does not come").members.len(), 1);
    let waiter = scene.ask_join(&again(&given, &Joining::default()));
    assert!(scene.joined(waiter).is_ok());
    assert_eq!(scene.joined(leader).expect("it came").members.len(), 2);
}

#[test]
fn a_join_or_sync_that_another_replaces_is_answered() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    let older = scene.ask_join(&again(&ids[0], &Joining::default()));
    let newer = scene.ask_join(&again(&ids[0], &Joining::default()));
    assert_eq!(scene.refused(older), GroupError::RebalanceInProgress);
    let other = scene.ask_join(&again(&ids[1], &Joining::default()));
    assert!(scene.joined(newer).is_ok() && scene.joined(other).is_ok());
    let older = scene.ask_sync(caller(&ids[1], 3), &[]);
    let newer = scene.ask_sync(caller(&ids[1], 3), &[]);
    assert_eq!(scene.synced(older), Err(GroupError::RebalanceInProgress));
    assert!(scene.is_parked(newer));
}

#[test]
fn members_leave_each_for_itself() {
    let mut scene = Scene::new(hasty());
    assert_eq!(scene.leave(&[("a", None)])[0].outcome, Err(GroupError::UnknownMember), "no such group");
    let ids = scene.stable(&[Joining::default(), fixed("b"), fixed("c"), fixed("d")]);
    let leaving = [
        (ids[0].as_str(), None),
        ("nobody", None),
        ("", Some("b")),
        ("", Some("nobody")),
        ("", None),
        (ids[3].as_str(), Some("c")),
        (ids[3].as_str(), Some("d")),
        (ids[3].as_str(), Some("d")),
    ];
    let rows = scene.leave(&leaving);
    let unknown = Err(GroupError::UnknownMember);
    let outcomes: Vec<_> = rows.iter().map(|row| row.outcome.clone()).collect();
    let fenced = Err(GroupError::FencedInstance);
    let expected = [Ok(()), unknown.clone(), Ok(()), unknown.clone(), unknown.clone(), fenced, Ok(()), unknown];
    assert_eq!(outcomes, expected);
    let named: Vec<_> =
        rows.iter().map(|row| (row.member_id.as_str(), row.instance_id.as_ref().map(|id| id.as_str()))).collect();
    assert_eq!(named, leaving, "rows say what was asked");
    assert_eq!(scene.state(), "PreparingRebalance");
    let waiter = scene.ask_join(&again(&ids[2], &fixed("c")));
    let outcome = scene.joined(waiter).expect("it is alone");
    assert_eq!((outcome.members.len(), outcome.leader.as_str()), (1, ids[2].as_str()), "another leads");
    assert_eq!(scene.leave(&[(&ids[2], None)])[0].outcome, Ok(()));
    assert_eq!(scene.state(), "Empty");
}

#[test]
fn a_leave_in_a_rebalance_may_complete_it() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    let waiter =
        scene.ask_join(&again(&ids[1], &Joining { protocols: vec![("range", vec![7])], ..Joining::default() }));
    assert!(scene.is_parked(waiter));
    scene.leave(&[(&ids[0], None)]);
    assert_eq!(scene.joined(waiter).expect("nobody else is to come").leader.as_str(), ids[1]);
    let sync = scene.ask_sync(caller(&ids[1], 3), &[]);
    assert!(scene.synced(sync).is_ok());
}

#[test]
fn what_a_member_waits_for_when_it_leaves_is_answered() {
    let mut scene = Scene::new(GroupConfig::default());
    let waiters = [0, 1].map(|_| scene.join_twice(&Joining::default()));
    scene.pass(6_000);
    let ids = waiters.map(|waiter| scene.joined(waiter).expect("both join").member_id.to_string());
    let sync = scene.ask_sync(caller(&ids[1], 1), &[]);
    scene.leave(&[(&ids[1], None)]);
    assert_eq!(scene.synced(sync), Err(GroupError::UnknownMember));
    let join = scene.ask_join(&again(&ids[0], &Joining::default()));
    assert!(scene.joined(join).is_ok());
    let join = scene.ask_join(&Joining { version: 3, ..Joining::default() });
    let parked = scene.coordinator.describe_classic(GROUP).expect("it is there").members;
    let new_id = parked.iter().find(|member| member.member_id.as_str() != ids[0]).expect("it is a member");
    scene.leave(&[(new_id.member_id.as_str(), None)]);
    assert_eq!(scene.refused(join), GroupError::UnknownMember);
}

#[test]
fn a_full_group_takes_nobody_and_a_lowered_limit_turns_the_last_ones_away() {
    let config = GroupConfig { member_count_max: 2, ..hasty() };
    let mut scene = Scene::new(config);
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    let full = GroupError::GroupFull { max: 2 };
    for joining in [Joining::default(), fixed("a")] {
        let waiter = scene.ask_join(&joining);
        assert_eq!(scene.refused(waiter), full);
    }
    assert_eq!(scene.state(), "Stable");
    let waiter = scene.ask_join(&again(&ids[1], &Joining::default()));
    assert!(scene.joined(waiter).is_ok(), "members may come back");

    scene.coordinator.set_config(GroupConfig { member_count_max: 1, ..config });
    let leader = scene.ask_join(&again(&ids[0], &Joining::default()));
    assert!(scene.is_parked(leader));
    let other = scene.ask_join(&again(&ids[1], &Joining::default()));
    assert_eq!(scene.refused(other), GroupError::GroupFull { max: 1 });
    assert_eq!(scene.joined(leader).expect("nobody else is to come").members.len(), 1);
}

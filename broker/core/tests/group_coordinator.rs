//! What holds for all groups of a partition: what cannot be, what is loaded, what is shown, and where groups are.

mod support;

use ouzel_broker_core::group::{
    Caller, ClassicGroupState, Generation, GroupConfig, GroupError, GroupRecord, partition_for,
};
use support::{GROUP, Joining, Scene, again, caller, fixed, hasty};

#[test]
fn what_cannot_be_is_refused_before_there_is_a_group() {
    let long = "x".repeat(4_097);
    let big = vec![("range", vec![0; 4 * 1024 * 1024])];
    let many = (0..33).map(|_| ("range", Vec::new())).collect();
    let cases = [
        (Joining { group: "", ..Joining::default() }, "illegal group id"),
        (Joining { group: &long[..1_025], ..Joining::default() }, "illegal group id"),
        (Joining { session_ms: 5_999, ..Joining::default() }, "from 6000 to 1800000 ms"),
        (Joining { session_ms: 1_800_001, ..Joining::default() }, "from 6000 to 1800000 ms"),
        (Joining { session_ms: -1, ..Joining::default() }, "from 6000 to 1800000 ms"),
        (Joining { member_id: &long, ..Joining::default() }, "a member id of 4097 bytes"),
        (Joining { instance_id: Some(&long), ..Joining::default() }, "a group instance id of 4097 bytes"),
        (Joining { protocol_type: &long, ..Joining::default() }, "a protocol type of 4097 bytes"),
        (Joining { protocols: vec![(&long, Vec::new())], ..Joining::default() }, "a protocol name of 4097 bytes"),
        (Joining { protocols: big, ..Joining::default() }, "a member's metadata of 4194309 bytes"),
        (Joining { protocols: many, ..Joining::default() }, "do not go with"),
        (Joining { member_id: "a", ..Joining::default() }, "no such member"),
    ];
    let mut scene = Scene::new(hasty());
    for (joining, expected) in cases {
        let waiter = scene.ask_join(&joining);
        let refusal = scene.refused(waiter).to_string();
        assert!(refusal.contains(expected), "{refusal:?} does not say {expected:?}");
        assert_eq!(scene.coordinator.group_count(), 0);
    }
}

#[test]
fn a_group_stores_so_much_and_no_more() {
    let joining = Joining { protocols: vec![("range", vec![0; 3 * 1024 * 1024])], version: 3, ..Joining::default() };
    let mut scene = Scene::new(GroupConfig::default());
    let mut waiters: Vec<_> = (0..6).map(|_| scene.ask_join(&joining)).collect();
    let last = waiters.pop().expect("there are six");
    assert!(matches!(scene.refused(last), GroupError::TooLarge { what: "the group's metadata", .. }));
    scene.pass(6_000);
    let ids: Vec<_> =
        waiters.into_iter().map(|waiter| scene.joined(waiter).expect("it joins").member_id.to_string()).collect();
    let part = vec![0; 16 * 1024 * 1024 + 1];
    let waiter = scene.ask_sync(caller(&ids[0], 1), &[(&ids[0], &part)]);
    assert!(matches!(scene.synced(waiter), Err(GroupError::TooLarge { what: "the group's assignment", .. })));
    let changed = Joining { protocols: vec![("range", vec![1; 3 * 1024 * 1024])], ..joining };
    let waiter = scene.ask_join(&again(&ids[0], &changed));
    assert!(scene.is_parked(waiter), "what it said before counts no more");
}

#[test]
fn a_restarted_coordinator_goes_on_with_what_was_written() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining::default(), fixed("b")]);
    scene.commit(caller(&ids[0], 2), "orders", 3, 77).expect("a member commits");
    let before = scene.coordinator.describe_classic(GROUP);
    scene.pass(8_000);
    scene.restart();
    assert_eq!(scene.coordinator.describe_classic(GROUP), before);
    assert_eq!(scene.offset("orders", 3), Some(77));
    scene.pass(9_999);
    for (at, id) in ids.iter().enumerate() {
        let who = Caller { instance_id: [None, Some("b")][at], ..caller(id, 2) };
        assert_eq!(scene.heartbeat(who), Ok(()), "a session begins anew");
        let waiter = scene.ask_sync(who, &[]);
        assert_eq!(scene.synced(waiter).expect("its part").assignment[..], [at as u8]);
    }
    let waiter = scene.ask_join(&again(&ids[1], &fixed("b")));
    assert_eq!(scene.joined(waiter).expect("nothing changed").generation, Generation(2));
    scene.pass(10_000);
    assert_eq!(scene.state(), "Empty");
    scene.restart();
    assert_eq!(scene.state(), "Empty");
    let waiter = scene.join_twice(&Joining::default());
    assert_eq!(scene.joined(waiter).expect("it begins anew").generation, Generation(4), "generations go on");
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let mut scene = Scene::new(hasty());
    scene.stable(&[fixed("a"), fixed("b")]);
    let Some(GroupRecord::ClassicGroup { group_id, state }) = scene.log.last().cloned() else { panic!("a record") };
    let mut broken = vec![ClassicGroupState::clone(&state); 5];
    broken[0].members[1].member_id = broken[0].members[0].member_id.clone();
    broken[1].members[1].instance_id = broken[1].members[0].instance_id.clone();
    broken[2].protocol = None;
    broken[3].leader = Some("nobody".into());
    broken[4].protocol_type = "".into();
    let before = scene.coordinator.describe_classic(GROUP);
    for state in broken {
        let record = GroupRecord::ClassicGroup { group_id: group_id.clone(), state: state.into() };
        assert!(scene.coordinator.apply(record.clone()).is_err(), "{record:?}");
        assert_eq!(scene.coordinator.describe_classic(GROUP), before);
    }
}

#[test]
fn a_group_that_was_stored_with_too_many_members_rebalances() {
    let mut scene = Scene::new(hasty());
    let ids = scene.stable(&[Joining::default(), Joining::default()]);
    let mut scene = Scene::restarted(GroupConfig { member_count_max: 1, ..hasty() }, scene.log, 0, 100);
    assert_eq!(scene.heartbeat(caller(&ids[0], 2)), Err(GroupError::RebalanceInProgress));
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let mut scene = Scene::new(hasty());
    scene.commit(caller("", -1), "orders", 0, 1).expect("anybody may");
    assert_eq!(scene.delete_group(), Ok(()));
    assert_eq!(scene.delete_group(), Err(GroupError::UnknownGroup));
    let ids = scene.stable(&[Joining::default()]);
    scene.join_twice(&Joining { group: "a", protocol_type: "connect", ..Joining::default() });
    let list = |scene: &Scene, states: &[&str], kinds: &[&str]| {
        let listed = scene.coordinator.list(states, kinds);
        listed.iter().map(|group| format!("{}:{}", group.group_id, group.state)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list(&scene, &[], &[]), "a:CompletingRebalance readers:Stable");
    assert_eq!(list(&scene, &["stable", "Empty"], &["classic"]), "readers:Stable");
    assert_eq!(list(&scene, &[], &["consumer"]), "");
    assert_eq!(&*scene.coordinator.list(&[], &[])[0].protocol_type, "connect");
    let described = scene.coordinator.describe_classic("a").expect("it is there");
    assert_eq!((&*described.protocol, described.members[0].subscription.len()), ("", 0), "it is not stable");
    assert_eq!(scene.coordinator.describe_classic("nobody"), None);

    assert_eq!(scene.delete_group(), Err(GroupError::NonEmptyGroup));
    scene.commit(caller(&ids[0], 1), "orders", 0, 5).expect("a member commits");
    scene.leave(&[(&ids[0], None)]);
    let written = scene.log.len();
    assert_eq!(scene.delete_group(), Ok(()));
    let [GroupRecord::OffsetTombstone { .. }, GroupRecord::ClassicGroupTombstone { .. }] = &scene.log[written..] else {
        panic!("both are written: {:?}", &scene.log[written..])
    };
    scene.restart();
    assert_eq!(scene.coordinator.group_count(), 0, "the other group was never written");
}

#[test]
fn groups_are_where_kafka_puts_them() {
    // Hashes of Java's `String.hashCode`; the last one of the table is negative there, and 2^31 without its sign is 0.
    let cases = [("", 0), ("test", 3_556_498), ("hello", 99_162_322), ("😀", 1_772_899), ("polygenelubricants", 0)];
    for (group_id, hash) in cases {
        for count in [1, 7, 50, 1_000_000_007] {
            assert_eq!(partition_for(group_id, count).0, hash % count, "{group_id} of {count}");
        }
    }
    assert_eq!(partition_for("readers-of-orders", 50).0, java_hash("readers-of-orders") % 50);
}

/// The other way to the same hash: most significant unit first, by powers.
fn java_hash(text: &str) -> u32 {
    let units: Vec<u16> = text.encode_utf16().collect();
    let mut power = 1u32;
    let mut hash = 0u32;
    for unit in units.iter().rev() {
        hash = hash.wrapping_add(power.wrapping_mul(u32::from(*unit)));
        power = power.wrapping_mul(31);
    }
    hash & 0x7fff_ffff
}

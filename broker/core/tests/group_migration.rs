//! Groups change their kind: empty ones whenever somebody of the other kind comes, live ones while their members read on (the
//! online migration of KIP-848), and back.

mod support;

use std::sync::Arc;

use ouzel_broker_core::group::{
    Generation, GroupConfig, GroupError, HeartbeatOutcome, InstanceId, JoinOutcome, Migration,
};
use ouzel_protocol::kafka::{
    Array, ConsumerGroupHeartbeatRequest, ConsumerProtocolAssignment, ConsumerProtocolTopic, MemberTopic,
};
use support::consumer::{beat, first, hear};
use support::orders::{ORDERS, Orders};
use support::{GROUP, Joining, Scene, again, caller, fixed, hasty, subscription};

fn scene(config: GroupConfig) -> Scene {
    let mut scene = Scene::new(config);
    scene.coordinator.set_topics(Arc::new(Orders(6)));
    scene
}

fn restart(scene: &mut Scene) {
    scene.restart();
    scene.coordinator.set_topics(Arc::new(Orders(6)));
}

/// Numbers of the partitions of an assignment.
fn numbers(outcome: &HeartbeatOutcome) -> Vec<u32> {
    outcome.assignment.as_ref().expect("it is told").iter().map(|partition| partition.partition.0).collect()
}

fn bytes(partitions: &[i32]) -> Vec<u8> {
    let row = ConsumerProtocolTopic { topic: "orders", partitions: partitions.into() };
    let assigned_partitions = if partitions.is_empty() { Array::EMPTY } else { [row].into() };
    let mut bytes = Vec::new();
    ConsumerProtocolAssignment { assigned_partitions, user_data: None }.encode(1, &mut bytes).unwrap();
    bytes
}

fn read(assignment: &[u8]) -> Vec<i32> {
    let (_, assignment) = ConsumerProtocolAssignment::decode(assignment).unwrap();
    assignment.assigned_partitions.iter().flat_map(|row| row.partitions.iter().collect::<Vec<_>>()).collect()
}

/// A cooperative consumer says what it has.
fn having(partitions: &[i32]) -> Vec<(&'static str, Vec<u8>)> {
    let mut told = subscription(&["orders"]);
    // The rows of an assignment are those of what is owned.
    let rows = bytes(partitions);
    told.extend_from_slice(&rows[2..rows.len() - 4]);
    vec![("range", told)]
}

/// A classic group of one member, which has everything. Returns its id.
fn classic_group(scene: &mut Scene) -> String {
    let joining = Joining { protocols: having(&[]), ..Joining::default() };
    let waiter = scene.join_twice(&joining);
    scene.pass(0);
    let member_id = scene.joined(waiter).expect("it joins").member_id.to_string();
    let waiter = scene.ask_sync(caller(&member_id, 1), &[(&member_id, &bytes(&[0, 1, 2, 3, 4, 5]))]);
    scene.synced(waiter).expect("it assigns");
    assert_eq!(scene.state(), "Stable");
    member_id
}

fn rejoin(scene: &mut Scene, member_id: &str, owned: &[i32]) -> JoinOutcome {
    let waiter = scene.ask_join(&again(member_id, &Joining { protocols: having(owned), ..Joining::default() }));
    scene.joined(waiter).expect("it joins")
}

fn sync(scene: &mut Scene, member_id: &str, generation: Generation) -> Result<Vec<i32>, GroupError> {
    let waiter = scene.ask_sync(caller(member_id, generation.0), &[]);
    scene.synced(waiter).map(|outcome| read(&outcome.assignment))
}

#[test]
fn an_empty_group_becomes_what_comes_to_it_and_goes_on_counting() {
    let mut scene = scene(hasty());
    let member_id = classic_group(&mut scene);
    scene.commit(caller(&member_id, 1), "orders", 3, 77).unwrap();
    scene.leave(&[(&member_id, None)]);
    let outcome = hear(&mut scene, &first("new")).unwrap();
    assert!(outcome.epoch.0 > 1);
    assert_eq!(numbers(&outcome), [0, 1, 2, 3, 4, 5]);
    assert_eq!((scene.state(), scene.offset("orders", 3)), ("Dead", Some(77)));
    assert_eq!(scene.coordinator.list(&[], &["consumer"]).len(), 1);
    restart(&mut scene);
    assert_eq!(scene.coordinator.describe_consumer(GROUP).unwrap().members.len(), 1);

    hear(&mut scene, &beat("new", -1)).unwrap();
    let waiter = scene.join_twice(&Joining::default());
    scene.pass(0);
    assert!(scene.joined(waiter).unwrap().generation > outcome.epoch);
    assert_eq!((scene.coordinator.describe_consumer(GROUP), scene.offset("orders", 3)), (None, Some(77)));
    restart(&mut scene);
    assert_eq!(scene.coordinator.list(&[], &["classic"]).len(), 1);
}

#[test]
fn a_live_group_is_upgraded_and_its_members_read_on() {
    let mut scene = scene(hasty());
    let old = classic_group(&mut scene);
    let outcome = hear(&mut scene, &first("new")).unwrap();
    assert_eq!((outcome.epoch.0, numbers(&outcome)), (2, vec![]), "the other still has them");
    // What it had stays its own until it has given it back, over a restart as well.
    restart(&mut scene);
    let members = scene.coordinator.describe_consumer(GROUP).unwrap().members;
    let held: Vec<_> = members.iter().map(|member| member.current.assigned.len()).collect();
    assert_eq!(held.iter().sum::<usize>(), 6);
    assert_eq!(scene.heartbeat(caller(&old, 1)), Err(GroupError::RebalanceInProgress));
    assert_eq!(sync(&mut scene, &old, Generation(1)), Err(GroupError::RebalanceInProgress));

    let joined = rejoin(&mut scene, &old, &[0, 1, 2, 3, 4, 5]);
    assert_eq!((joined.generation.0, joined.leader.as_str(), &*joined.protocol), (1, "", "range"));
    let kept = sync(&mut scene, &old, joined.generation).unwrap();
    assert_eq!(kept.len(), 3);
    assert_eq!(hear(&mut scene, &beat("new", 2)).unwrap().assignment, None, "not given back yet");
    assert_eq!(scene.heartbeat(caller(&old, 1)), Err(GroupError::RebalanceInProgress));
    let joined = rejoin(&mut scene, &old, &kept);
    assert_eq!(joined.generation.0, 2);
    assert_eq!(sync(&mut scene, &old, joined.generation).unwrap(), kept);
    assert_eq!(scene.heartbeat(caller(&old, 2)), Ok(()));
    let given = numbers(&hear(&mut scene, &beat("new", 2)).unwrap());
    let mut all: Vec<u32> = given.into_iter().chain(kept.iter().map(|number| *number as u32)).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);
    assert_eq!(scene.commit(caller(&old, 2), "orders", 1, 5), Ok(()));
    let stale = GroupError::IllegalGeneration { expected: Generation(2), got: Generation(1) };
    assert_eq!(scene.commit(caller(&old, 1), "orders", 1, 5), Err(stale));
    let stale = GroupError::StaleMemberEpoch { expected: Generation(2), got: Generation(1) };
    assert_eq!(scene.commit(caller("new", 1), "orders", 1, 5), Err(stale));
}

#[test]
fn the_group_goes_back_when_the_last_member_of_the_new_protocol_leaves_or_dies() {
    for leaves in [true, false] {
        let mut scene = scene(hasty());
        let old = classic_group(&mut scene);
        hear(&mut scene, &first("new")).unwrap();
        let joined = rejoin(&mut scene, &old, &[]);
        let kept = sync(&mut scene, &old, joined.generation).unwrap();
        assert_eq!((joined.generation.0, kept.len()), (2, 3), "an eager one has given up everything before");
        if leaves {
            hear(&mut scene, &beat("new", -1)).unwrap();
        } else {
            for _ in 0..9 {
                scene.pass(5_000);
                let _ = scene.heartbeat(caller(&old, 2));
            }
        }
        assert_eq!(scene.state(), "PreparingRebalance");
        assert_eq!(scene.heartbeat(caller(&old, 2)), Err(GroupError::RebalanceInProgress), "in its own generation");
        assert_eq!(
            scene.commit(caller(&old, 2), "orders", 0, 7),
            Ok(()),
            "before it joins again it says how far it is"
        );
        let joined = rejoin(&mut scene, &old, &kept);
        assert_eq!((joined.leader.as_str(), joined.generation.0), (old.as_str(), 3));
        let waiter = scene.ask_sync(caller(&old, 3), &[(&old, &bytes(&[0, 1, 2, 3, 4, 5]))]);
        assert_eq!(read(&scene.synced(waiter).unwrap().assignment).len(), 6);
        restart(&mut scene);
        assert_eq!((scene.state(), scene.coordinator.describe_consumer(GROUP)), ("Stable", None));
    }
}

#[test]
fn the_group_goes_back_when_one_of_the_classic_protocol_takes_the_place_of_the_last_of_the_new() {
    let mut scene = scene(hasty());
    let old = classic_group(&mut scene);
    hear(&mut scene, &ConsumerGroupHeartbeatRequest { instance_id: Some("instance"), ..first("new") }).unwrap();
    let waiter = scene.join_twice(&Joining { protocols: having(&[]), ..Joining::default() });
    let third = scene.joined(waiter).expect("it joins").member_id.to_string();
    let joined = rejoin(&mut scene, &old, &[]);
    assert_eq!((joined.generation.0, sync(&mut scene, &old, joined.generation).unwrap().len()), (3, 2));
    // A new epoch has begun, and nobody is in it yet.
    scene.leave(&[(&third, None)]);
    let waiter = scene.ask_join(&Joining { protocols: having(&[]), ..fixed("instance") });
    assert!(scene.is_parked(waiter), "it waits for the others");
    assert_eq!(scene.heartbeat(caller(&old, 3)), Err(GroupError::RebalanceInProgress));
    assert_eq!(scene.commit(caller(&old, 3), "orders", 0, 7), Ok(()));
    let again = scene.ask_join(&again(&old, &Joining { protocols: having(&[]), ..Joining::default() }));
    for waiter in [waiter, again] {
        assert_eq!(scene.joined(waiter).expect("all are in").generation, Generation(4));
    }
    assert_eq!(scene.coordinator.describe_consumer(GROUP), None);
}

#[test]
fn members_that_wait_when_a_group_is_upgraded_join_again() {
    let mut scene = scene(GroupConfig::default());
    let waiting = scene.join_twice(&Joining { protocols: having(&[]), ..Joining::default() });
    assert!(scene.is_parked(waiting));
    let outcome = hear(&mut scene, &first("new")).unwrap();
    assert_eq!(numbers(&outcome).len(), 3, "nobody had anything");
    let refusal = scene.joined(waiting).expect_err("it is to join again");
    assert_eq!(refusal.error, GroupError::RebalanceInProgress);
    let member_id = refusal.member_id.unwrap().to_string();
    let joined = rejoin(&mut scene, &member_id, &[]);
    assert_eq!(sync(&mut scene, &member_id, joined.generation).unwrap().len(), 3);
}

#[test]
fn what_cannot_be_upgraded_stays_as_it_is() {
    let disabled = |migration| {
        let mut config = hasty();
        config.consumer.migration = migration;
        config
    };
    for migration in [Migration::Disabled, Migration::Downgrade] {
        let mut scene = scene(disabled(migration));
        classic_group(&mut scene);
        assert_eq!(hear(&mut scene, &first("new")), Err(GroupError::UnknownGroup));
        assert_eq!(scene.state(), "Stable");
    }
    // The leader's bytes are no assignment.
    let mut scene = scene(hasty());
    scene.stable(&[Joining { protocols: having(&[]), ..Joining::default() }]);
    assert_eq!(hear(&mut scene, &first("new")), Err(GroupError::UnknownGroup));
    assert_eq!(scene.state(), "Stable");
    let written = scene.log.len();
    let refused = ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..first("new") };
    assert!(matches!(hear(&mut scene, &refused), Err(GroupError::InvalidRequest { .. } | GroupError::UnknownGroup)));
    assert_eq!(scene.log.len(), written);
}

#[test]
fn members_of_the_classic_protocol_follow_its_rules() {
    let mut scene = scene(hasty());
    hear(&mut scene, &first("new")).unwrap();
    let waiter = scene.ask_join(&Joining { protocol_type: "connect", version: 3, ..Joining::default() });
    assert_eq!(scene.refused(waiter), GroupError::InconsistentProtocol);
    let waiter = scene.ask_join(&Joining { protocols: having(&[]), ..Joining::default() });
    let refusal = scene.joined(waiter).expect_err("it gets an id first");
    assert_eq!(refusal.error, GroupError::MemberIdRequired);
    let member_id = refusal.member_id.unwrap().to_string();
    let joined = rejoin(&mut scene, &member_id, &[]);
    assert!(sync(&mut scene, &member_id, joined.generation).unwrap().is_empty());
    assert_eq!(scene.heartbeat(caller("new", 2)), Err(GroupError::UnknownMember), "it speaks the other protocol");
    // Others must have a protocol in common with it.
    let waiter = scene.ask_join(&Joining {
        protocols: vec![("sticky", having(&[])[0].1.clone())],
        version: 3,
        ..Joining::default()
    });
    assert_eq!(scene.refused(waiter), GroupError::InconsistentProtocol);

    // What it waits for becomes free, and it learns that it is to fetch it.
    assert_eq!(scene.heartbeat(caller(&member_id, 2)), Ok(()));
    let kept = hear(&mut scene, &beat("new", 1)).unwrap();
    let numbers: Vec<i32> = numbers(&kept).into_iter().map(|number| number as i32).collect();
    let owned = [MemberTopic { topic_id: ORDERS, partitions: numbers.into() }];
    hear(&mut scene, &ConsumerGroupHeartbeatRequest { topic_partitions: Some(owned.into()), ..beat("new", 1) })
        .unwrap();
    assert_eq!(scene.heartbeat(caller(&member_id, 2)), Err(GroupError::RebalanceInProgress));
    let joined = rejoin(&mut scene, &member_id, &[]);
    assert_eq!(sync(&mut scene, &member_id, joined.generation).unwrap().len(), 3);
    let left = scene.leave(&[(&member_id, None), ("new", None), ("nobody", None)]);
    let outcomes: Vec<_> = left.into_iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Ok(()), Err(GroupError::UnknownMember), Err(GroupError::UnknownMember)]);
}

#[test]
fn a_member_that_is_told_to_join_again_and_does_not_is_taken_out() {
    let mut scene = scene(hasty());
    let old = classic_group(&mut scene);
    hear(&mut scene, &first("new")).unwrap();
    for _ in 0..13 {
        let _ = scene.heartbeat(caller(&old, 1));
        scene.pass(5_000);
        let _ = hear(&mut scene, &beat("new", 2));
    }
    assert_eq!(scene.heartbeat(caller(&old, 1)), Err(GroupError::UnknownMember));
    assert_eq!(scene.coordinator.describe_consumer(GROUP).unwrap().members.len(), 1);
}

#[test]
fn a_static_member_of_the_classic_protocol_is_replaced_by_one_of_the_new() {
    let mut scene = scene(hasty());
    hear(&mut scene, &first("new")).unwrap();
    let waiter = scene.ask_join(&Joining { protocols: having(&[]), ..fixed("instance") });
    let old = scene.joined(waiter).unwrap().member_id.to_string();
    let upgraded = ConsumerGroupHeartbeatRequest { instance_id: Some("instance"), ..first("upgraded") };
    hear(&mut scene, &upgraded).unwrap();
    let members = scene.coordinator.describe_consumer(GROUP).unwrap().members;
    assert!(members.iter().all(|member| member.subscription.classic.is_none() && member.member_id.as_str() != old));
    assert_eq!(scene.heartbeat(caller(&old, 2)), Err(GroupError::UnknownMember));
}

#[test]
fn a_static_member_of_the_classic_protocol_that_joins_again_without_its_instance_keeps_it() {
    let mut scene = scene(hasty());
    hear(&mut scene, &first("new")).unwrap();
    let waiter = scene.ask_join(&Joining { protocols: having(&[]), ..fixed("instance") });
    let old = scene.joined(waiter).unwrap().member_id.to_string();
    rejoin(&mut scene, &old, &[]);
    let instances = |scene: &Scene| {
        let members = scene.coordinator.describe_consumer(GROUP).unwrap().members;
        let instance = |id: &InstanceId| id.as_str().to_owned();
        let of_old = members.iter().filter(|member| member.member_id.as_str() == old);
        of_old.map(|member| member.subscription.instance_id.as_ref().map(instance)).collect::<Vec<_>>()
    };
    assert_eq!(instances(&scene), [Some("instance".to_owned())]);
    restart(&mut scene);
    assert_eq!(instances(&scene), [Some("instance".to_owned())]);
    // A new assignment counts it once, and gives out everything.
    hear(&mut scene, &first("other")).unwrap();
    let members = scene.coordinator.describe_consumer(GROUP).unwrap().members;
    assert_eq!(members.iter().map(|member| member.target.len()).sum::<usize>(), 6);
    assert!(scene.leave(&[(&old, None)]).iter().all(|row| row.outcome.is_ok()));
    let told = hear(&mut scene, &first("other")).unwrap();
    assert!(told.epoch > Generation(3), "without it");
    // Its place is free for another of that name.
    let waiter = scene.ask_join(&Joining { protocols: having(&[]), ..fixed("instance") });
    assert!(scene.joined(waiter).is_ok());
}

#[test]
fn what_a_member_has_not_been_told_to_give_back_is_not_given_away_by_an_upgrade() {
    let mut scene = scene(hasty());
    let old = classic_group(&mut scene);
    // Its leader, itself, gives it less: three partitions are nobody's in the new generation. The reply is lost.
    let joining = Joining { protocols: having(&[0, 1, 2, 3, 4, 5]), ..Joining::default() };
    let waiter = scene.ask_join(&again(&old, &joining));
    let generation = scene.joined(waiter).expect("it joins").generation;
    let _ = scene.ask_sync(caller(&old, generation.0), &[(&old, &bytes(&[0, 1, 2]))]);
    let outcome = hear(&mut scene, &first("new")).unwrap();
    assert_eq!(numbers(&outcome), [0_u32; 0], "it reads them still");
    let joined = rejoin(&mut scene, &old, &[0, 1, 2, 3, 4, 5]);
    let kept = sync(&mut scene, &old, joined.generation).unwrap();
    assert_eq!(kept, [0, 1, 2]);
    rejoin(&mut scene, &old, &kept);
    assert_eq!(numbers(&hear(&mut scene, &beat("new", outcome.epoch.0)).unwrap()), [3, 4, 5]);
}

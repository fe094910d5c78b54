//! Each rule of groups whose broker assigns, as an example.

mod simulation;
mod support;

use ouzel_protocol::kafka::Array;
use support::*;

use super::*;
use crate::group::limits::PATTERN_REFRESH_INTERVAL_MS;

fn epoch(outcome: Result<HeartbeatOutcome, GroupError>) -> i32 {
    outcome.unwrap().epoch.0
}

/// Two members that have half of a topic of six each.
fn pair() -> Scene {
    let mut scene = Scene::new(&[("orders", 6)]);
    let first = scene.hear(&join("one", &["orders"])).unwrap();
    assert_eq!(first.assignment, Some(scene.topics.partitions("orders", 0..6)));
    let second = scene.hear(&join("two", &["orders"])).unwrap();
    assert_eq!((second.epoch.0, second.assignment), (2, Some(PartitionSet::default())), "the other still has them");
    let told = scene.hear(&beat("one", 1)).unwrap();
    let kept = told.assignment.expect("it is to give some back");
    assert_eq!((told.epoch.0, kept.len()), (1, 3), "it stays in its epoch until it has");
    assert_eq!(scene.group.phase(), ConsumerGroupPhase::Reconciling);
    assert_eq!(scene.hear(&beat("two", 2)).unwrap().assignment, None);
    assert_eq!(epoch(scene.hear(&owning("one", 1, &kept))), 2);
    let given = scene.hear(&beat("two", 2)).unwrap().assignment.expect("they are free");
    assert_eq!(given.or(&kept), scene.topics.partitions("orders", 0..6));
    assert_eq!(scene.group.phase(), ConsumerGroupPhase::Stable);
    scene
}

#[test]
fn partitions_change_hands_only_when_they_were_given_back() {
    pair();
}

#[test]
fn a_steady_heartbeat_writes_nothing_and_says_nothing_new() {
    let mut scene = pair();
    let written = scene.records.len();
    for member in ["one", "two"] {
        let outcome = scene.hear(&beat(member, 2)).unwrap();
        let expected = HeartbeatOutcome {
            member_id: member.into(),
            epoch: Generation(2),
            interval_ms: 5_000,
            is_waiting: false,
            assignment: None,
        };
        assert_eq!(outcome, expected);
        // It may say again what it has said before.
        let again = ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest {
            member_epoch: 2,
            topic_partitions: None,
            ..join(member, &["orders"])
        };
        assert_eq!(scene.hear(&again).unwrap().assignment, None);
    }
    assert_eq!(scene.records.len(), written);
}

#[test]
fn a_member_that_lost_a_reply_comes_with_the_epoch_before() {
    let mut scene = Scene::new(&[("orders", 2)]);
    scene.hear(&join("one", &["orders"])).unwrap();
    scene.topics.set("orders", 4);
    let all = scene.topics.partitions("orders", 0..4);
    let outcome = scene.hear(&beat("one", 1)).unwrap();
    assert_eq!((outcome.epoch.0, outcome.assignment.as_ref()), (2, Some(&all)));
    let mine = scene.topics.partitions("orders", 0..2);
    let again = scene.hear(&owning("one", 1, &mine)).unwrap();
    assert_eq!((again.epoch.0, again.assignment), (2, Some(all)));
    // It must say what it has, and that must be its own.
    let fenced = GroupError::FencedMemberEpoch { expected: Generation(2), got: Generation(1) };
    assert_eq!(scene.hear(&beat("one", 1)), Err(fenced.clone()));
    let foreign = scene.topics.partitions("orders", 3..5);
    assert_eq!(scene.hear(&owning("one", 1, &foreign)), Err(fenced));
    let ahead = GroupError::FencedMemberEpoch { expected: Generation(2), got: Generation(3) };
    assert_eq!(scene.hear(&beat("one", 3)), Err(ahead));
}

#[test]
fn a_fenced_member_joins_again_and_has_what_it_had() {
    let mut scene = pair();
    let had = scene.assigned("one");
    let outcome = scene.hear(&join("one", &["orders"])).unwrap();
    assert_eq!((outcome.epoch.0, outcome.assignment), (2, Some(had)));
}

#[test]
fn who_is_no_member_is_unknown() {
    let mut scene = pair();
    assert_eq!(scene.hear(&beat("three", 2)), Err(GroupError::UnknownMember));
    assert_eq!(scene.hear(&beat("three", -1)), Err(GroupError::UnknownMember));
}

#[test]
fn a_member_that_leaves_or_falls_silent_frees_its_partitions() {
    for leaves in [true, false] {
        let mut scene = pair();
        if leaves {
            let outcome = scene.hear(&beat("two", -1)).unwrap();
            assert_eq!((outcome.epoch.0, outcome.assignment), (-1, None));
        } else {
            scene.now += 44_999;
            assert_eq!(epoch(scene.hear(&beat("one", 2))), 2);
            scene.tick();
            assert_eq!(scene.group.member_count(), 2);
            scene.now += 1;
            scene.tick();
        }
        assert_eq!((scene.group.member_count(), scene.group.phase()), (1, ConsumerGroupPhase::Assigning));
        let outcome = scene.hear(&beat("one", 2)).unwrap();
        assert_eq!(outcome.assignment, Some(scene.topics.partitions("orders", 0..6)));
        assert_eq!(outcome.epoch.0, 3);
    }
}

#[test]
fn a_group_whose_last_member_leaves_is_empty_and_goes_on_counting() {
    let mut scene = pair();
    scene.hear(&beat("one", -1)).unwrap();
    scene.hear(&beat("two", -1)).unwrap();
    assert_eq!((scene.group.phase(), scene.group.epoch().0), (ConsumerGroupPhase::Empty, 4));
    assert_eq!(epoch(scene.hear(&join("three", &["orders"]))), 5);
}

#[test]
fn a_member_that_does_not_give_back_is_taken_out() {
    let mut scene = Scene::new(&[("orders", 2)]);
    scene.hear(&join("one", &["orders"])).unwrap();
    scene.hear(&join("two", &["orders"])).unwrap();
    scene.hear(&beat("one", 1)).unwrap();
    for _ in 0..6 {
        scene.now += 10_000;
        scene.tick();
        scene.hear(&beat("two", 2)).unwrap();
        if scene.now < 60_000 {
            let all = scene.topics.partitions("orders", 0..2);
            assert_eq!(epoch(scene.hear(&owning("one", 1, &all))), 1);
        }
    }
    assert_eq!(scene.hear(&beat("one", 1)), Err(GroupError::UnknownMember));
    assert_eq!(scene.assigned("two"), scene.topics.partitions("orders", 0..2));
}

#[test]
fn a_static_member_comes_back_to_what_it_had_without_a_new_epoch() {
    let mut scene = Scene::new(&[("orders", 4)]);
    let fixed = |member_id, member_epoch| ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest {
        instance_id: Some("instance"),
        member_epoch,
        ..join(member_id, &["orders"])
    };
    scene.hear(&fixed("one", 0)).unwrap();
    scene.hear(&join("two", &["orders"])).unwrap();
    let kept = scene.hear(&beat("one", 1)).unwrap().assignment.unwrap();
    assert_eq!(epoch(scene.hear(&owning("one", 1, &kept))), 2);
    scene.hear(&beat("two", 2)).unwrap();

    let in_use = GroupError::UnreleasedInstance { member_id: "one".into() };
    assert_eq!(scene.hear(&fixed("other", 0)), Err(in_use));
    assert_eq!(epoch(scene.hear(&fixed("one", -2))), -2);
    assert_eq!(scene.hear(&beat("two", 2)).unwrap().assignment, None, "what is away is not given away");
    scene.restart();
    let back = scene.hear(&fixed("again", 0)).unwrap();
    assert_eq!((back.epoch.0, back.assignment), (2, Some(kept)));
    assert_eq!(scene.hear(&fixed("one", 2)), Err(GroupError::FencedInstance));
    assert_eq!(scene.hear(&beat("two", 2)).unwrap().assignment, None);
    assert_eq!(scene.group.epoch().0, 2);
}

#[test]
fn a_static_member_that_does_not_come_back_is_taken_out_after_its_session() {
    let mut scene = Scene::new(&[("orders", 4)]);
    let fixed = |member_epoch| ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest {
        instance_id: Some("instance"),
        member_epoch,
        ..join("one", &["orders"])
    };
    scene.hear(&fixed(0)).unwrap();
    scene.hear(&fixed(-2)).unwrap();
    scene.now += 45_000;
    scene.tick();
    assert_eq!(scene.group.phase(), ConsumerGroupPhase::Empty);
}

#[test]
fn a_request_that_cannot_be_is_refused_in_words() {
    use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest as Request;
    let mut scene = pair();
    let owned = rows(&scene.topics.partitions("orders", 0..1));
    let first = || join("three", &["orders"]);
    let invalid = [
        Request { rebalance_timeout_ms: -1, ..first() },
        Request { topic_partitions: None, ..first() },
        Request { topic_partitions: Some(owned), ..first() },
        Request { subscribed_topic_names: None, ..first() },
        Request { instance_id: Some(""), ..first() },
        Request { rack_id: Some(""), ..first() },
        Request { member_id: "", ..first() },
        beat("one", -2),
        beat("one", -3),
        beat("", 1),
        Request { instance_id: Some("new"), ..first() },
    ];
    for (number, request) in invalid.iter().enumerate().take(10) {
        let outcome = scene.hear(request);
        assert!(matches!(outcome, Err(GroupError::InvalidRequest { .. })), "{number}: {outcome:?}");
    }
    let assignor = Request { server_assignor: Some("sticky"), ..first() };
    assert_eq!(scene.hear(&assignor), Err(GroupError::UnsupportedAssignor));
    let pattern = Request { subscribed_topic_regex: Some("(a"), ..first() };
    assert!(matches!(scene.hear(&pattern), Err(GroupError::InvalidPattern { .. })));
    let long = Request { rack_id: Some(&"x".repeat(5_000)), ..first() }.member_id.len();
    assert_eq!(long, 5);
    scene.config.member_count_max = 2;
    assert_eq!(scene.hear(&first()), Err(GroupError::GroupFull { max: 2 }));
}

#[test]
fn a_member_that_reads_nothing_yet_joins_and_has_nothing() {
    use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest as Request;
    let mut scene = pair();
    let nothing = || Request { subscribed_topic_names: Some(Array::EMPTY), ..join("three", &[]) };
    let told = scene.hear(&nothing()).unwrap();
    assert_eq!((told.epoch.0, told.assignment), (3, Some(PartitionSet::default())));
    let pattern = Request { subscribed_topic_names: None, subscribed_topic_regex: Some(""), ..join("four", &[]) };
    assert_eq!(scene.hear(&pattern).unwrap().assignment, Some(PartitionSet::default()));
    for member in ["one", "two"] {
        let had = scene.assigned(member);
        assert_eq!(scene.hear(&beat(member, 2)).unwrap().assignment, Some(had), "they keep what they have");
    }
    let reads = Request { member_epoch: 3, ..join("three", &["orders"]) };
    assert!(epoch(scene.hear(&reads)) > 3);
    assert_eq!(scene.group.targets["three"].len(), 2);
}

#[test]
fn topics_that_come_grow_and_go_change_the_assignment() {
    let mut scene = Scene::new(&[("orders", 1)]);
    let outcome = scene.hear(&join("one", &["orders", "later"])).unwrap();
    assert_eq!(outcome.assignment.unwrap().len(), 1);
    scene.topics.set("elsewhere", 3);
    assert_eq!(epoch(scene.hear(&beat("one", 1))), 1, "what nobody reads is no news");
    scene.topics.set("later", 2);
    let outcome = scene.hear(&beat("one", 1)).unwrap();
    assert_eq!((outcome.epoch.0, outcome.assignment.unwrap().len()), (2, 3));
    scene.topics.set("orders", 3);
    assert_eq!(scene.hear(&beat("one", 2)).unwrap().assignment.unwrap().len(), 5);
    scene.topics.delete("orders");
    let left = scene.hear(&beat("one", 3)).unwrap().assignment.unwrap();
    assert_eq!(left, scene.topics.partitions("later", 0..2));
    assert_eq!(epoch(scene.hear(&owning("one", 3, &left))), 4);
    // What a coordinator knew, the next one knows.
    scene.restart();
    assert_eq!(epoch(scene.hear(&beat("one", 4))), 4);
    scene.topics.set("later", 5);
    scene.restart();
    assert_eq!(epoch(scene.hear(&beat("one", 4))), 5);
}

#[test]
fn patterns_mean_all_topics_that_fit_but_the_brokers_own() {
    use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest as Request;
    let mut scene = Scene::new(&[("metrics.a", 1), ("other", 1), ("__consumer_offsets", 4)]);
    let request =
        Request { subscribed_topic_regex: Some("metrics.*|__.*"), subscribed_topic_names: None, ..join("one", &[]) };
    let outcome = scene.hear(&request).unwrap();
    assert_eq!(outcome.assignment, Some(scene.topics.partitions("metrics.a", 0..1)));
    assert!(scene.group.is_subscribed_to("metrics.a") && !scene.group.is_subscribed_to("other"));
    scene.topics.set("metrics.b", 2);
    assert_eq!(scene.hear(&beat("one", 1)).unwrap().assignment, None, "not looked at again so soon");
    scene.now += u64::from(PATTERN_REFRESH_INTERVAL_MS);
    assert_eq!(scene.hear(&beat("one", 1)).unwrap().assignment.unwrap().len(), 3);
    scene.restart();
    assert_eq!(epoch(scene.hear(&beat("one", 2))), 2);
    // It wants names instead.
    let named = Request {
        subscribed_topic_regex: Some(""),
        topic_partitions: None,
        member_epoch: 2,
        ..join("one", &["other"])
    };
    scene.hear(&named).unwrap();
    assert_eq!(scene.records.iter().filter(|r| matches!(r, ConsumerRecord::Pattern(_, None))).count(), 1);
    assert!(!scene.group.is_subscribed_to("metrics.a"));
}

/// A later heartbeat, in which the member has another pattern.
fn wanting<'a>(epoch: i32, pattern: &'a str) -> ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest<'a> {
    ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest {
        member_epoch: epoch,
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(pattern),
        topic_partitions: None,
        ..join("one", &[])
    }
}

#[test]
fn who_changes_its_pattern_all_the_time_is_told_to_come_back() {
    use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest as Request;
    let mut scene = Scene::new(&[("metrics.a", 1)]);
    let mut epoch = scene.hear(&Request { topic_partitions: Some(Array::EMPTY), ..wanting(0, "m.*") }).unwrap().epoch.0;
    let mut heard = 0;
    loop {
        let pattern = format!("metrics.*|x{heard}");
        match scene.hear(&wanting(epoch, &pattern)) {
            Ok(outcome) => epoch = outcome.epoch.0,
            Err(error) => {
                assert_eq!(error, GroupError::PatternsBusy);
                break;
            }
        }
        heard += 1;
        assert!(heard < 1_000, "somewhere there is an end");
    }
    let invalid = scene.hear(&wanting(epoch, "(a"));
    assert_eq!(invalid, Err(GroupError::PatternsBusy), "to find that out is work as well");
    // It is a member as before, and one that is known costs nothing.
    assert_eq!(scene.hear(&beat("one", epoch)).unwrap().epoch.0, epoch);
    let known = format!("metrics.*|x{}", heard - 1);
    assert!(scene.hear(&wanting(epoch, &known)).is_ok());
    scene.now += 1_000;
    assert!(scene.hear(&wanting(epoch, "metrics.*|later")).is_ok());
}

#[test]
fn patterns_are_held_against_new_topics_as_there_is_time() {
    use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest as Request;
    let mut scene = Scene::new(&[("metrics.a", 1)]);
    scene.hear(&Request { topic_partitions: Some(Array::EMPTY), ..wanting(0, "metrics.*") }).unwrap();
    scene.topics.set("metrics.b", 1);
    scene.now += u64::from(PATTERN_REFRESH_INTERVAL_MS);
    let mut pace = scene.pattern_pace.get();
    pace.spend(at(scene.now).monotonic, 10 * 131_072);
    scene.pattern_pace.set(pace);
    assert_eq!(scene.hear(&beat("one", 1)).unwrap().assignment, None, "others were first");
    scene.now += 5_000;
    assert_eq!(scene.hear(&beat("one", 1)).unwrap().assignment, None);
    scene.now += 5_000;
    assert_eq!(scene.hear(&beat("one", 1)).unwrap().assignment.unwrap().len(), 2);
}

#[test]
fn the_assignor_that_most_members_want_assigns() {
    use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest as Request;
    let mut scene = Scene::new(&[("orders", 4)]);
    scene.hear(&join("one", &["orders"])).unwrap();
    assert_eq!(scene.group.describe().assignor.name(), "uniform");
    scene.hear(&Request { server_assignor: Some("range"), ..join("two", &["orders"]) }).unwrap();
    assert_eq!(scene.group.describe().assignor.name(), "range");
    scene.hear(&Request { server_assignor: Some("uniform"), ..join("three", &["orders"]) }).unwrap();
    assert_eq!(scene.group.describe().assignor.name(), "uniform", "the default of two with as many votes");
}

#[test]
fn offsets_are_committed_in_the_members_epoch() {
    let scene = pair();
    let stale = |got| GroupError::StaleMemberEpoch { expected: Generation(2), got: Generation(got) };
    assert_eq!(scene.group.check_commit("one", Generation(2)), Ok(()));
    assert_eq!(scene.group.check_commit("one", Generation(1)), Err(stale(1)));
    assert_eq!(scene.group.check_commit("", Generation(-1)), Err(GroupError::UnknownMember));
    assert_eq!(scene.group.check_fetch(None, Generation(-1)), Ok(()));
    assert_eq!(scene.group.check_fetch(Some("one"), Generation(3)), Err(stale(3)));
    assert_eq!(scene.group.check_fetch(Some("three"), Generation(2)), Err(GroupError::UnknownMember));
    let empty = Scene::new(&[]);
    assert_eq!(empty.group.check_commit("", Generation(-1)), Ok(()));
}

#[test]
fn a_member_that_joins_moves_no_more_than_its_share() {
    let mut scene = pair();
    let before = [scene.assigned("one"), scene.assigned("two")];
    scene.hear(&join("three", &["orders"])).unwrap();
    let (one, two) = (scene.group.targets["one"].clone(), scene.group.targets["two"].clone());
    assert_eq!((one.and(&before[0]).len(), two.and(&before[1]).len()), (2, 2));
    assert_eq!(scene.group.targets["three"].len(), 2);
}

#[test]
fn a_group_is_loaded_as_it_was() {
    let mut scene = pair();
    scene.hear(&join("three", &["orders"])).unwrap();
    scene.hear(&beat("one", 2)).unwrap();
    let before = scene.group.describe();
    scene.restart();
    assert_eq!(scene.group.describe(), before);
    // Deadlines begin anew, that of giving back as well.
    scene.now += 44_999;
    scene.tick();
    assert_eq!(scene.group.member_count(), 3);
    scene.now += 1;
    scene.tick();
    assert_eq!(scene.group.member_count(), 0);
}

#[test]
fn what_is_left_of_a_group_that_is_deleted_is_nothing() {
    let mut scene = pair();
    scene.hear(&beat("one", -1)).unwrap();
    scene.hear(&beat("two", -1)).unwrap();
    let mut effects = Effects::new();
    scene.group.write_tombstones(&mut effects);
    let last = effects.records.into_iter().map(|record| match record {
        GroupRecord::Consumer { record, .. } => record,
        record => panic!("{record:?}"),
    });
    scene.records.extend(last);
    let group = loaded(&scene.records);
    assert!(group.is_vacant() && !group.is_stored());
}

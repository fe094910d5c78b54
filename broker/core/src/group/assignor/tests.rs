//! Assignments against what must hold of any: whole, fair, and still where nothing changed.

use std::collections::BTreeSet;
use std::time::Instant;

use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};

use super::*;

fn topics(indexes: impl IntoIterator<Item = u32>) -> Arc<[TopicIndex]> {
    indexes.into_iter().map(TopicIndex).collect()
}

fn question(topic_sizes: &[u32], members: &[&[u32]]) -> Question {
    let members = members.iter().map(|indexes| topics(indexes.iter().copied())).collect();
    let mut question = Question { topics: topic_sizes.to_vec(), members, previous: Vec::new() };
    question.previous = vec![MemberIndex::NONE; question.partition_count()];
    question
}

fn loads(question: &Question, owners: &[MemberIndex]) -> Vec<usize> {
    let mut loads = vec![0; question.members.len()];
    owners.iter().filter(|owner| **owner != MemberIndex::NONE).for_each(|owner| loads[owner.index()] += 1);
    loads
}

fn owned(owners: &[MemberIndex], member: u32) -> Vec<usize> {
    (0..owners.len()).filter(|&partition| owners[partition] == MemberIndex(member)).collect()
}

fn moved(before: &[MemberIndex], after: &[MemberIndex]) -> usize {
    before.iter().zip(after).filter(|(before, after)| **before != MemberIndex::NONE && before != after).count()
}

/// Every partition that somebody reads has one of its readers.
fn check_whole(question: &Question, owners: &[MemberIndex]) {
    let starts = question.starts();
    for (topic, readers) in question.readers().iter().enumerate() {
        for owner in &owners[starts[topic]..starts[topic + 1]] {
            assert!(if readers.is_empty() { *owner == MemberIndex::NONE } else { readers.contains(owner) });
        }
    }
}

/// No chain of moves makes it more even: whom a member reaches has at most one partition less.
fn check_fair(question: &Question, owners: &[MemberIndex]) {
    let (loads, starts, readers) = (loads(question, owners), question.starts(), question.readers());
    for start in 0..question.members.len() {
        let mut reached = BTreeSet::from([start]);
        let mut todo = vec![start];
        while let Some(member) = todo.pop() {
            for topic in 0..question.topics.len() {
                if owners[starts[topic]..starts[topic + 1]].contains(&MemberIndex(member as u32)) {
                    todo.extend(
                        readers[topic].iter().map(|reader| reader.index()).filter(|reader| reached.insert(*reader)),
                    );
                }
            }
        }
        let fewest = reached.iter().map(|member| loads[*member]).min().unwrap_or(0);
        assert!(loads[start] <= fewest + 1, "{start} has {} and reaches one with {fewest}: {owners:?}", loads[start]);
    }
}

fn random(rng: &mut SmallRng) -> Question {
    let sizes: Vec<u32> = (0..rng.random_range(1..6)).map(|_| rng.random_range(0..9)).collect();
    let alike = rng.random_bool(0.3);
    let read = |rng: &mut SmallRng| {
        let count = rng.random_range(0..=sizes.len());
        let mut chosen = (0..sizes.len() as u32).choose_multiple(rng, count);
        chosen.sort_unstable();
        topics(chosen)
    };
    let first = read(rng);
    let members: Vec<_> = (0..rng.random_range(0..8)).map(|_| if alike { first.clone() } else { read(rng) }).collect();
    let mut question = Question { topics: sizes, previous: Vec::new(), members };
    let owner = |rng: &mut SmallRng| {
        let drawn = rng.random_range(0..=question.members.len() as u32);
        if drawn as usize == question.members.len() { MemberIndex::NONE } else { MemberIndex(drawn) }
    };
    question.previous = (0..question.partition_count()).map(|_| owner(rng)).collect();
    question
}

#[test]
fn random_questions_are_answered_whole_fair_and_once_and_for_all() {
    for seed in 0..4_000 {
        let mut question = random(&mut SmallRng::seed_from_u64(seed));
        println!("seed {seed}");
        for assignor in Assignor::ALL {
            let owners = assignor.assign(&question);
            check_whole(&question, &owners);
            if assignor == Assignor::Uniform {
                check_fair(&question, &owners);
            }
            let before = std::mem::replace(&mut question.previous, owners);
            assert_eq!(assignor.assign(&question), question.previous, "nothing changed, and nothing moves");
            question.previous = before;
        }
    }
}

#[test]
fn equal_readers_move_no_more_than_what_evens_out() {
    for seed in 0..2_000 {
        println!("seed {seed}");
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut question = random(&mut rng);
        question.members.iter_mut().for_each(|member| *member = topics(0..question.topics.len() as u32));
        let member_count = question.members.len();
        if member_count == 0 {
            continue;
        }
        let owners = Assignor::Uniform.assign(&question);
        let (least, extra) = (owners.len() / member_count, owners.len() % member_count);
        let had = loads(&question, &question.previous);
        let over = had.iter().filter(|had| **had > least).count();
        let surplus: usize = had.iter().map(|had| had.saturating_sub(least)).sum();
        assert_eq!(moved(&question.previous, &owners), surplus - over.min(extra));
    }
}

#[test]
fn the_table_of_acceptance_holds() {
    for (partitions, members, expected) in [
        (4, 2, vec![2, 2]),
        (6, 3, vec![2, 2, 2]),
        (6, 4, vec![2, 2, 1, 1]),
        (3, 5, vec![1, 1, 1, 0, 0]),
        (6, 1, vec![6]),
    ] {
        let question = question(&[partitions], &vec![&[0][..]; members]);
        for assignor in Assignor::ALL {
            assert_eq!(loads(&question, &assignor.assign(&question)), expected, "{assignor:?}");
        }
    }
}

#[test]
fn a_member_that_joins_takes_from_those_that_have_most() {
    let mut question = question(&[9], &[&[0], &[0]]);
    question.previous = Assignor::Uniform.assign(&question);
    question.members.push(topics([0]));
    let owners = Assignor::Uniform.assign(&question);
    assert_eq!(loads(&question, &owners), [3, 3, 3]);
    assert_eq!(moved(&question.previous, &owners), 3);
}

#[test]
fn a_range_is_cut_alike_in_topics_of_equal_size() {
    let question = question(&[5, 5, 2], &[&[0, 1, 2], &[0, 1, 2], &[0, 1, 2]]);
    let owners = Assignor::Range.assign(&question);
    assert_eq!(owned(&owners, 0), [0, 1, 5, 6, 10]);
    assert_eq!(owned(&owners, 1), [2, 3, 7, 8, 11]);
    assert_eq!(owned(&owners, 2), [4, 9]);
}

#[test]
fn a_range_is_cut_among_the_readers_of_the_topic() {
    let question = question(&[3, 2], &[&[0], &[0, 1], &[1]]);
    let owners = Assignor::Range.assign(&question);
    assert_eq!(owned(&owners, 0), [0, 1]);
    assert_eq!(owned(&owners, 1), [2, 3]);
    assert_eq!(owned(&owners, 2), [4]);
}

#[test]
fn what_only_a_chain_of_moves_evens_out_is_evened_out() {
    // The first reads 0 alone with the second, which reads 1 with the third: the third is idle until two moves have happened.
    let mut question = question(&[4, 2], &[&[0], &[0, 1], &[1]]);
    question.previous = [0, 0, 0, 1, 1, 1].map(MemberIndex).to_vec();
    let owners = Assignor::Uniform.assign(&question);
    assert_eq!(loads(&question, &owners), [2, 2, 2]);
    check_fair(&question, &owners);
}

#[test]
fn names_are_those_of_the_wire() {
    assert_eq!(Assignor::find("uniform"), Some(Assignor::Uniform));
    assert_eq!(Assignor::find("range"), Some(Assignor::Range));
    assert_eq!(Assignor::find("Range"), None);
    assert_eq!(Assignor::ALL[0], Assignor::default());
}

/// Prints how long large questions take; asserts what must hold of their answers.
#[test]
fn ten_thousand_partitions_of_a_thousand_members() {
    let everything = topics(0..100);
    let alike = Question {
        topics: vec![100; 100],
        members: vec![everything; 1_000],
        previous: vec![MemberIndex::NONE; 10_000],
    };
    let mut rng = SmallRng::seed_from_u64(7);
    let mut differ = alike.clone();
    for member in &mut differ.members {
        let mut chosen = (0..100).choose_multiple(&mut rng, 40);
        chosen.sort_unstable();
        *member = topics(chosen);
    }
    // One that had everything, and everybody else new.
    let mut crowded = differ.clone();
    crowded.members[0] = topics(0..100);
    crowded.previous = vec![MemberIndex(0); 10_000];
    for (name, question) in [("alike", alike), ("differ", differ), ("crowded", crowded)] {
        for assignor in Assignor::ALL {
            let start = Instant::now();
            let owners = assignor.assign(&question);
            println!("{name} {}: {:?}", assignor.name(), start.elapsed());
            check_whole(&question, &owners);
            if assignor == Assignor::Uniform {
                assert!(loads(&question, &owners).iter().all(|load| *load == 10));
            }
        }
    }
}

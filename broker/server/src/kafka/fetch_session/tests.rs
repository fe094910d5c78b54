//! Requests one after the other against sessions, and random schedules against a plain list. A failure prints its seed.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use ouzel_protocol::kafka::FetchTopic;

use super::*;

const ID: i32 = 77;
const PLENTY: usize = usize::MAX;
/// Nothing new of any partition: as a finding says it, and as it is told first.
const IDLE: Finding = Finding { error: KafkaError::NONE, high_watermark: 5, log_start: 0, records_bytes: 0 };

fn asks<'a>(session_id: i32, session_epoch: i32, rows: &[(&'a str, i32, i64)]) -> FetchRequest<'a> {
    let topic = |&(topic, partition, fetch_offset): &(&'a str, i32, i64)| FetchTopic {
        topic,
        partitions: [FetchPartition { partition, fetch_offset, partition_max_bytes: 100, ..Default::default() }].into(),
        ..FetchTopic::default()
    };
    FetchRequest { session_id, session_epoch, topics: rows.iter().map(topic).collect(), ..FetchRequest::default() }
}

fn forgets<'a>(request: FetchRequest<'a>, rows: &[(&'a str, i32)]) -> FetchRequest<'a> {
    let topic = |&(topic, partition): &(&'a str, i32)| ForgottenTopic {
        topic,
        partitions: [partition].into(),
        ..ForgottenTopic::default()
    };
    FetchRequest { forgotten_topics_data: rows.iter().map(topic).collect(), ..request }
}

/// A session of these rows, as its connection keeps it after the first reply.
fn kept(rows: &[(&str, i32, i64)]) -> Option<FetchSession> {
    let session = FetchSession::take_up(&mut None, &asks(0, 0, rows), ID, PLENTY);
    Some(session.expect("a full fetch is never refused").expect("there is room"))
}

/// What is read, in order: topic, number and offset.
fn reads(session: &FetchSession) -> Vec<(&str, i32, u64)> {
    session.rows().iter().map(|row| (&*row.topic, row.partition, row.read.offset.0)).collect()
}

fn code(result: Result<Option<FetchSession>, KafkaError>) -> Option<KafkaError> {
    result.err()
}

#[test]
fn a_request_goes_on_with_the_session_that_it_names_at_its_epoch_only() {
    let not_found = Some(KafkaError::FETCH_SESSION_ID_NOT_FOUND);
    let invalid = Some(KafkaError::INVALID_FETCH_SESSION_EPOCH);
    // Session id and epoch of the request; whether a session is kept afterwards, the one that is read in, and the error.
    let cases = [
        (0, -1, true, None, None),
        (ID, -1, false, None, None),
        (-1, -1, true, None, None),
        (0, 0, false, Some(ID + 1), None),
        (ID, 0, false, Some(ID + 1), None),
        (ID + 9, 0, false, Some(ID + 1), None),
        (ID, 1, false, Some(ID), None),
        (ID, 2, true, None, invalid),
        (ID, i32::MAX, true, None, invalid),
        (ID, -2, true, None, invalid),
        (ID + 9, 1, true, None, not_found),
        (0, 1, true, None, not_found),
    ];
    for (id, epoch, is_kept, within, error) in cases {
        let mut kept = kept(&[("orders", 0, 0)]);
        let taken = FetchSession::take_up(&mut kept, &asks(id, epoch, &[("orders", 0, 0)]), ID + 1, PLENTY);
        let found = taken.as_ref().ok().and_then(|session| session.as_ref().map(FetchSession::id));
        assert_eq!((kept.is_some(), found, code(taken)), (is_kept, within, error), "session {id}, epoch {epoch}");
    }
    for (epoch, expected) in [(-1, None), (1, not_found), (i32::MIN, not_found)] {
        assert_eq!(code(FetchSession::take_up(&mut None, &asks(ID, epoch, &[]), ID, PLENTY)), expected, "{epoch}");
    }
}

#[test]
fn the_epoch_goes_up_with_each_request_and_over_its_end_to_1() {
    let mut kept = kept(&[("orders", 0, 0)]);
    for epoch in [1, 2, 3] {
        kept = FetchSession::take_up(&mut kept, &asks(ID, epoch, &[]), 0, PLENTY).expect("the next epoch");
    }
    kept.as_mut().expect("a session").epoch = i32::MAX;
    for epoch in [i32::MAX, 1, 2] {
        kept = FetchSession::take_up(&mut kept, &asks(ID, epoch, &[]), 0, PLENTY).expect("the next epoch");
        assert!(kept.is_some(), "epoch {epoch}");
    }
    let refused = FetchSession::take_up(&mut kept, &asks(ID, 2, &[]), 0, PLENTY);
    assert_eq!(code(refused), Some(KafkaError::INVALID_FETCH_SESSION_EPOCH), "the same again");
}

#[test]
fn partitions_are_added_changed_and_forgotten() {
    let mut kept = kept(&[("orders", 0, 0), ("orders", 1, 0), ("lines", 0, 3)]);
    let request = asks(ID, 1, &[("orders", 1, 8), ("parts", -2, -1)]);
    let request = forgets(request, &[("orders", 0), ("orders", 7), ("nowhere", 0)]);
    let session = FetchSession::take_up(&mut kept, &request, 0, PLENTY).expect("legal").expect("a session");
    assert_eq!(reads(&session), [("orders", 1, 8), ("lines", 0, 3), ("parts", -2, u64::MAX)]);
    assert_eq!(session.names().collect::<Vec<_>>(), ["lines", "orders", "parts"]);
    let ids: Vec<u32> = session.rows().iter().map(|row| row.at().partition.0).collect();
    assert_eq!(ids, [1, 0, u32::MAX], "a negative number is no partition's");
    // What is added and forgotten at once is forgotten; with nothing left the session is over, and all is read as it was asked.
    let request = forgets(asks(ID, 2, &[("new", 0, 0)]), &[("orders", 1), ("lines", 0), ("parts", -2), ("new", 0)]);
    let mut kept = Some(session);
    assert!(FetchSession::take_up(&mut kept, &request, 0, PLENTY).expect("legal").is_none());
    assert!(kept.is_none());
}

#[test]
fn a_partition_is_news_with_records_an_error_or_another_offset_and_after_an_error() {
    let mut session = kept(&[("orders", 0, 0)]).expect("a session");
    let error = KafkaError::UNKNOWN_TOPIC_OR_PARTITION;
    let unknown = Finding { error, high_watermark: -1, log_start: -1, ..IDLE };
    let cases = [
        (IDLE, true, "the first time"),
        (IDLE, false, "nothing changed"),
        (Finding { records_bytes: 1, ..IDLE }, true, "records"),
        (IDLE, false, "nothing changed"),
        (Finding { high_watermark: 6, ..IDLE }, true, "another high watermark"),
        (Finding { high_watermark: 6, log_start: 1, ..IDLE }, true, "another log start"),
        (Finding { high_watermark: 6, log_start: 1, ..IDLE }, false, "nothing changed"),
        (unknown, true, "an error"),
        (unknown, true, "the same error"),
        (IDLE, true, "the error went away"),
        (Finding { error: KafkaError::FENCED_LEADER_EPOCH, ..IDLE }, true, "an error with the same offsets"),
        (IDLE, true, "that one too"),
        (IDLE, false, "nothing changed"),
    ];
    for (finding, is_news, what) in cases {
        assert_eq!(session.note(0, &finding), is_news, "{what}");
    }
}

#[test]
fn whoever_had_records_is_read_last_the_next_time() {
    let mut session = kept(&[("a", 0, 0), ("a", 1, 1), ("b", 0, 2), ("b", 1, 3)]).expect("a session");
    let mut served = Vec::new();
    for _ in 0..8 {
        // As under a limit of bytes: the first has records, the others have news at most.
        for position in 0..4 {
            let records_bytes = usize::from(position == 0);
            session.note(position, &Finding { records_bytes, high_watermark: 9, ..IDLE });
        }
        served.push(reads(&session)[0].2);
        session.take_turns();
    }
    assert_eq!(served, [0, 1, 2, 3, 0, 1, 2, 3]);
    // Several keep their order among themselves.
    for position in 0..4 {
        session.note(position, &Finding { records_bytes: usize::from(position % 2 == 0), ..IDLE });
    }
    session.take_turns();
    assert_eq!(reads(&session).iter().map(|row| row.2).collect::<Vec<_>>(), [1, 3, 0, 2]);
}

#[test]
fn a_reply_names_the_rows_with_news_by_topic() {
    let session = kept(&[("a", 0, 0), ("a", 1, 0), ("b", 4, 0), ("a", 2, 0)]).expect("a session");
    let findings: Vec<_> = [0, 1, 2, 3].map(|position| (position, IDLE)).into();
    let told = |findings: &[(usize, Finding)]| -> Vec<(String, Vec<i32>)> {
        let numbers = |topic: &FetchTopicReply<'_>| topic.partitions.iter().map(|row| row.partition_index).collect();
        session.replies(findings).iter().map(|topic| (topic.topic.to_owned(), numbers(topic))).collect()
    };
    let topic = |name: &str, numbers: &[i32]| (name.to_owned(), numbers.to_vec());
    assert_eq!(told(&findings), [topic("a", &[0, 1]), topic("b", &[4]), topic("a", &[2])]);
    assert_eq!(told(&findings[2..3]), [topic("b", &[4])]);
    assert_eq!(told(&[]), []);
}

#[test]
fn topics_are_looked_up_once_and_again_when_the_metadata_changed_or_one_was_unknown() {
    let (first, second) = (MetadataVersion(1), MetadataVersion(2));
    let mut session = kept(&[("a", 0, 0), ("a", 1, 0), ("b", 0, 0)]).expect("a session");
    assert!(!session.is_found_at(first));
    session.find(first, |name| TopicId(u128::from(name == "a")));
    assert!(!session.is_found_at(first), "one is unknown");
    session.find(first, |name| TopicId(if name == "a" { 1 } else { 2 }));
    assert!(session.is_found_at(first) && !session.is_found_at(second));
    let ids: Vec<u128> = session.rows().iter().map(|row| row.at().topic_id.0).collect();
    assert_eq!(ids, [1, 1, 2]);
    let mut kept = Some(session);
    let moved = asks(ID, 1, &[("b", 0, 5)]);
    let session = FetchSession::take_up(&mut kept, &moved, 0, PLENTY).expect("legal").expect("a session");
    assert!(session.is_found_at(first), "another offset asks for nothing");
    assert_eq!(session.rows()[2].at().topic_id, TopicId(2));
    kept = Some(session);
    let added = asks(ID, 2, &[("b", 1, 0)]);
    let session = FetchSession::take_up(&mut kept, &added, 0, PLENTY).expect("legal").expect("a session");
    assert!(!session.is_found_at(first), "another partition does");
}

#[test]
fn a_session_keeps_within_its_memory_or_is_not_there() {
    let rows: Vec<(&str, i32, i64)> = (0..100).map(|partition| ("orders", partition, 0)).collect();
    let whole = kept(&rows).expect("a session").bytes();
    let fitting = FetchSession::take_up(&mut None, &asks(0, 0, &rows), ID, whole).expect("never refused");
    assert_eq!(fitting.as_ref().map(FetchSession::bytes), Some(whole));
    let mut none = FetchSession::take_up(&mut None, &asks(0, 0, &rows), ID, whole - 1).expect("never refused");
    assert!(none.is_none(), "a client without a session is served all the same");
    assert!(FetchSession::take_up(&mut none, &asks(0, 0, &rows), ID, 0).expect("never refused").is_none());
    // One that grows out of it ends, as if it had been evicted; one that changes only does not.
    let mut kept = fitting;
    kept = FetchSession::take_up(&mut kept, &asks(ID, 1, &rows), 0, whole).expect("nothing was added");
    let grown = FetchSession::take_up(&mut kept, &asks(ID, 2, &[("orders", 100, 0)]), 0, whole);
    assert_eq!(code(grown), Some(KafkaError::FETCH_SESSION_ID_NOT_FOUND));
    assert!(kept.is_none());
}

#[test]
fn a_session_has_a_largest_number_of_partitions() {
    let most = i32::try_from(SESSION_PARTITION_COUNT_MAX).expect("a small limit");
    let rows: Vec<(&str, i32, i64)> = (0..=most).map(|partition| ("orders", partition, 0)).collect();
    let (last, rest) = rows.split_last().expect("rows");
    let mut kept = FetchSession::take_up(&mut None, &asks(0, 0, rest), ID, PLENTY).expect("never refused");
    assert!(kept.is_some());
    let grown = FetchSession::take_up(&mut kept, &asks(ID, 1, &[*last]), 0, PLENTY);
    assert_eq!(code(grown), Some(KafkaError::FETCH_SESSION_ID_NOT_FOUND));
    assert!(FetchSession::take_up(&mut None, &asks(0, 0, &rows), ID, PLENTY).expect("never refused").is_none());
}

#[test]
fn what_was_forgotten_leaves_no_memory_behind() {
    let mut kept = kept(&[("orders", 0, 0)]);
    let mut bytes = Vec::new();
    for epoch in 1..200 {
        // Another topic each time, which goes with the next request.
        let (added, gone) = (format!("topic-{:05}", epoch), format!("topic-{:05}", epoch - 1));
        let request = forgets(asks(ID, epoch, &[(&added, 0, 0)]), &[(&gone, 0)]);
        kept = FetchSession::take_up(&mut kept, &request, 0, PLENTY).expect("legal");
        bytes.push(kept.as_ref().map(FetchSession::bytes));
    }
    assert_eq!(bytes[2], bytes[198]);
    let session = kept.expect("a session");
    assert_eq!((session.rows.len(), session.topics.len()), (2, 2));
    assert!(session.rows.capacity() <= 2 + spare(2));
}

/// The rows as a plain list keeps them.
type Model = Vec<(String, i32, i64)>;

fn step(rng: &mut SmallRng, model: &mut Model, kept: &mut Option<FetchSession>, epoch: i32) {
    let names = ["a", "b", "c", "d", "e"];
    let pick = |rng: &mut SmallRng| (*names.choose(rng).expect("names"), rng.random_range(0..6));
    let changed: Vec<_> = (0..rng.random_range(0..5)).map(|_| pick(rng)).collect();
    let changed: Vec<_> =
        changed.into_iter().map(|(topic, partition)| (topic, partition, rng.random_range(0..99))).collect();
    let forgotten: Vec<_> = (0..rng.random_range(0..4)).map(|_| pick(rng)).collect();
    for &(topic, partition, offset) in &changed {
        match model.iter_mut().find(|row| (row.0.as_str(), row.1) == (topic, partition)) {
            Some(row) => row.2 = offset,
            None => model.push((topic.to_owned(), partition, offset)),
        }
    }
    model.retain(|row| !forgotten.contains(&(row.0.as_str(), row.1)));
    let request = forgets(asks(ID, epoch, &changed), &forgotten);
    let Some(mut session) = FetchSession::take_up(kept, &request, 0, PLENTY).expect("the next epoch") else { return };
    let with_records: Vec<bool> = model.iter().map(|_| rng.random_bool(0.3)).collect();
    for (position, has_records) in with_records.iter().enumerate() {
        session.note(position, &Finding { records_bytes: usize::from(*has_records), ..IDLE });
    }
    session.take_turns();
    let mut flags = with_records.iter();
    let moved: Model = model.extract_if(.., |_| *flags.next().expect("a flag a row")).collect();
    model.extend(moved);
    *kept = Some(session);
}

#[test]
fn random_requests_leave_what_a_plain_list_would() {
    for seed in 0..200 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut kept = kept(&[("a", 0, 0)]);
        let mut model: Model = vec![("a".to_owned(), 0, 0)];
        let mut epoch = 1;
        while let Some(session) = &kept
            && epoch < 60
        {
            let expected: Vec<_> = model.iter().map(|row| (row.0.as_str(), row.1, row.2 as u64)).collect();
            assert_eq!(reads(session), expected, "seed {seed}, epoch {epoch}");
            step(&mut rng, &mut model, &mut kept, epoch);
            epoch += 1;
        }
        assert_eq!(kept.is_none(), model.is_empty(), "seed {seed}, epoch {epoch}");
    }
}

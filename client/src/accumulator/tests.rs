//! Tests of the accumulator: time is a number here, and the broker is whatever the test says.

use std::time::Duration;

use ouzel_protocol::{
    Durability, ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TopicId,
};
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> ProducerConfig {
    ProducerConfig { batch_bytes: 1000, linger: SECOND, requests_in_flight: 2, ..ProducerConfig::default() }
}

fn accumulator(config: ProducerConfig, partitions: usize) -> Accumulator {
    let backoff = Backoff { min: SECOND, max: SECOND };
    let mut accumulator = Accumulator::new(config, backoff, 1);
    accumulator.identified(Identity { id: ProducerId(7), epoch: ProducerEpoch(0) });
    // Even partitions belong to one shard, odd ones to another.
    let owner = |index: usize| Some(Address::new("b", 9193 + (index % 2) as u16));
    accumulator.add_topic(&Arc::new(Topic {
        name: "t".into(),
        id: TopicId(1),
        owners: (0..partitions).map(owner).collect(),
    }));
    accumulator
}

fn push(accumulator: &mut Accumulator, partition: u32, value: &[u8], now: Instant) -> Delivery {
    let record = Record::to("t").partition(PartitionIndex(partition)).value(value);
    match accumulator.push(&record, record.bytes(), 0, now).unwrap() {
        Pushed::Accepted { delivery, .. } => delivery,
        Pushed::UnknownTopic => panic!("the topic was added"),
    }
}

fn ack(base_offset: u64) -> Result<BatchAck, ClientError> {
    let durability = Some(Durability::Disk);
    Ok(BatchAck { base_offset: Offset(base_offset), leader_epoch: LeaderEpoch(1), durability })
}

fn overloaded() -> Result<BatchAck, ClientError> {
    let (topic, partition) = ("t".to_owned(), PartitionIndex(0));
    Err(ClientError::Partition { topic, partition, code: ErrorCode::Overloaded })
}

fn first_value(batch: &mut Batch) -> Vec<u8> {
    let bytes = batch.build().unwrap();
    let decoded = ouzel_protocol::DecodedBatch::decode(&bytes, &Default::default()).unwrap();
    decoded.records().next().unwrap().unwrap().value.unwrap().to_vec()
}

#[test]
fn a_batch_waits_for_its_linger_and_then_goes() {
    let start = Instant::now();
    let mut accumulator = accumulator(config(), 1);
    push(&mut accumulator, 0, b"a", start);
    push(&mut accumulator, 0, b"b", start + SECOND / 2);
    accumulator.advance(start + SECOND / 2);
    assert!(accumulator.take_ready(start).is_empty());
    assert_eq!(accumulator.next_deadline(), Some(start + SECOND));
    accumulator.advance(start + SECOND);
    let ready = accumulator.take_ready(start + SECOND);
    assert_eq!((ready.len(), ready[0].batches.len()), (1, 1));
    assert_eq!(accumulator.next_deadline(), None);
}

#[test]
fn a_full_batch_goes_at_once() {
    let start = Instant::now();
    let mut accumulator = accumulator(config(), 1);
    push(&mut accumulator, 0, &[0; 600], start);
    assert!(accumulator.take_ready(start).is_empty());
    push(&mut accumulator, 0, &[0; 600], start);
    assert_eq!(accumulator.take_ready(start).len(), 1);
}

#[test]
fn partitions_of_one_owner_travel_in_one_request() {
    let start = Instant::now();
    let mut accumulator = accumulator(config(), 6);
    for partition in 0..6 {
        push(&mut accumulator, partition, b"a", start);
    }
    accumulator.close_all();
    let mut ready = accumulator.take_ready(start);
    ready.sort_by_key(|dispatch| dispatch.owner.clone());
    let partitions =
        |dispatch: &Dispatch| -> Vec<u32> { dispatch.batches.iter().map(|sending| sending.partition.0).collect() };
    assert_eq!(ready.iter().map(partitions).collect::<Vec<_>>(), [[0, 2, 4], [1, 3, 5]]);
}

#[test]
fn one_batch_of_a_partition_is_away_at_a_time_and_a_retry_is_not_overtaken() {
    let start = Instant::now();
    let mut accumulator = accumulator(config(), 1);
    for value in [b"1", b"2", b"3"] {
        push(&mut accumulator, 0, value, start);
        accumulator.close_all();
    }
    let mut now = start;
    let mut sent = Vec::new();
    for attempt in 0..6 {
        let mut ready = accumulator.take_ready(now);
        assert_eq!((ready.len(), ready[0].batches.len()), (1, 1));
        assert!(accumulator.take_ready(now).is_empty());
        let dispatch = ready.remove(0);
        let mut sending = dispatch.batches.into_iter().next().unwrap();
        sent.push(first_value(&mut sending.batch));
        let result = if attempt % 2 == 0 { overloaded() } else { ack(0) };
        accumulator.returned(sending, result, now, 1.0);
        accumulator.request_done(&dispatch.owner);
        if attempt % 2 == 0 {
            assert!(accumulator.take_ready(now).is_empty(), "waits its backoff");
            now = accumulator.next_deadline().unwrap();
            accumulator.advance(now);
        }
    }
    assert_eq!(sent, [b"1", b"1", b"2", b"2", b"3", b"3"]);
    accumulator.close();
    assert!(accumulator.is_done());
    assert!(accumulator.take_error().is_none());
}

#[test]
fn an_owner_without_room_holds_up_nobody_else() {
    let start = Instant::now();
    let mut accumulator = accumulator(config(), 4);
    let mut away = Vec::new();
    for partition in [0, 2] {
        push(&mut accumulator, partition, b"a", start);
        accumulator.close_all();
        away.extend(accumulator.take_ready(start));
    }
    assert_eq!(away.len(), 2, "requests_in_flight of the even owner");
    push(&mut accumulator, 1, b"a", start);
    push(&mut accumulator, 0, b"b", start);
    accumulator.close_all();
    assert_eq!(accumulator.take_ready(start)[0].batches[0].partition, PartitionIndex(1));
    let done = away.pop().unwrap();
    for sending in done.batches {
        accumulator.returned(sending, ack(0), start, 0.5);
    }
    accumulator.request_done(&done.owner);
    assert!(accumulator.take_ready(start).is_empty(), "its earlier batch is still away");
}

#[test]
fn a_batch_whose_linger_ends_while_another_is_away_grows_until_that_is_back() {
    let start = Instant::now();
    let mut accumulator = accumulator(config(), 1);
    push(&mut accumulator, 0, b"1", start);
    accumulator.close_all();
    let dispatch = accumulator.take_ready(start).remove(0);
    push(&mut accumulator, 0, b"2", start);
    let later = start + 2 * SECOND;
    accumulator.advance(later);
    push(&mut accumulator, 0, b"3", later);
    assert!(accumulator.take_ready(later).is_empty());
    for sending in dispatch.batches {
        accumulator.returned(sending, ack(0), later, 0.5);
    }
    accumulator.request_done(&dispatch.owner);
    let mut ready = accumulator.take_ready(later);
    let bytes = ready[0].batches[0].batch.build().unwrap();
    assert_eq!(ouzel_protocol::parse_header(&bytes).unwrap().record_count, 2);
}

#[test]
fn a_batch_that_runs_out_of_time_fails_and_the_next_one_goes() {
    let start = Instant::now();
    let timeout = Duration::from_secs(10);
    let mut accumulator = accumulator(ProducerConfig { delivery_timeout: timeout, ..config() }, 1);
    push(&mut accumulator, 0, b"1", start);
    accumulator.close_all();
    push(&mut accumulator, 0, b"2", start + timeout / 2);
    accumulator.close_all();
    let dispatch = accumulator.take_ready(start).remove(0);
    let late = start + timeout;
    for sending in dispatch.batches {
        accumulator.returned(sending, overloaded(), late, 1.0);
    }
    accumulator.request_done(&dispatch.owner);
    let error = accumulator.take_error().unwrap();
    assert!(matches!(error, ClientError::DeliveryTimeout { .. }), "{error}");
    assert!(error.to_string().contains("no room"), "says what the last attempt said: {error}");
    assert_eq!(first_value(&mut accumulator.take_ready(late)[0].batches[0].batch), b"2");
}

#[test]
fn a_fatal_error_fails_its_batch_and_frees_its_bytes() {
    let start = Instant::now();
    let mut accumulator = accumulator(config(), 1);
    push(&mut accumulator, 0, b"1", start);
    accumulator.close_all();
    let dispatch = accumulator.take_ready(start).remove(0);
    let fatal = ClientError::UnknownTopic { topic: "t".into() };
    for sending in dispatch.batches {
        accumulator.returned(sending, Err(fatal.clone()), start, 0.5);
    }
    assert_eq!(accumulator.take_freed(), Record::to("t").value(b"1").bytes());
    assert!(matches!(accumulator.take_error(), Some(ClientError::UnknownTopic { .. })));
}

#[test]
fn records_that_no_batch_can_hold_and_partitions_that_are_not_there_are_refused() {
    let now = Instant::now();
    let mut accumulator = accumulator(ProducerConfig { buffer_bytes: 2000, ..config() }, 1);
    let large = vec![0; 3000];
    let record = Record::to("t").value(&large);
    let error = accumulator.push(&record, 0, 0, now).unwrap_err();
    assert!(matches!(error, ClientError::RecordTooLarge { bytes_max: 2000, .. }));
    let error = accumulator.push(&Record::to("t").partition(PartitionIndex(1)), 0, 0, now);
    assert!(matches!(error, Err(ClientError::UnknownPartition { count: 1, .. })));
    assert!(matches!(accumulator.push(&Record::to("u"), 0, 0, now), Ok(Pushed::UnknownTopic)));
    accumulator.close();
    let record = Record::to("t");
    assert!(matches!(accumulator.push(&record, 0, 0, now), Err(ClientError::Closed)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever comes back in whatever order, every record is settled once, and the records of a partition that were
    /// acknowledged were so in order.
    #[test]
    fn order_holds_under_any_schedule(steps in prop::collection::vec((0_u8..6, any::<u8>()), 1..200)) {
        let start = Instant::now();
        let mut now = start;
        let mut accumulator = accumulator(ProducerConfig { batch_bytes: 200, ..config() }, 3);
        let mut away: Vec<Dispatch> = Vec::new();
        let mut pushed = [0_u32; 3];
        let mut appended: [Vec<u32>; 3] = Default::default();
        let mut finish = |accumulator: &mut Accumulator, dispatch: Dispatch, good: bool, now| {
            for mut sending in dispatch.batches {
                if good {
                    let bytes = sending.batch.build().unwrap();
                    let decoded = ouzel_protocol::DecodedBatch::decode(&bytes, &Default::default()).unwrap();
                    let numbers = decoded.records().map(|record| {
                        u32::from_le_bytes(record.unwrap().value.unwrap().try_into().unwrap())
                    });
                    appended[sending.partition.0 as usize].extend(numbers);
                }
                accumulator.returned(sending, if good { ack(0) } else { overloaded() }, now, 1.0);
            }
            accumulator.request_done(&dispatch.owner);
        };
        for (step, argument) in steps {
            match step {
                0 | 1 => {
                    let partition = u32::from(argument) % 3;
                    let number = &mut pushed[partition as usize];
                    push(&mut accumulator, partition, &number.to_le_bytes(), now);
                    *number += 1;
                }
                2 => now += Duration::from_millis(u64::from(argument) * 10),
                3 => away.extend(accumulator.take_ready(now)),
                4 | 5 if !away.is_empty() => {
                    let dispatch = away.swap_remove(usize::from(argument) % away.len());
                    finish(&mut accumulator, dispatch, step == 4, now);
                }
                _ => accumulator.close_all(),
            }
            accumulator.advance(now);
        }
        accumulator.close();
        while !accumulator.is_done() {
            now += SECOND;
            accumulator.advance(now);
            away.extend(accumulator.take_ready(now));
            for dispatch in away.drain(..) {
                finish(&mut accumulator, dispatch, true, now);
            }
        }
        prop_assert!(accumulator.take_error().is_none());
        for (partition, numbers) in appended.iter().enumerate() {
            prop_assert_eq!(numbers, &(0..pushed[partition]).collect::<Vec<_>>());
        }
    }
}

fn stamp_of(batch: &mut Batch) -> Option<ProducerStamp> {
    let bytes = batch.build().unwrap();
    ouzel_protocol::check_produced(&bytes).unwrap().producer()
}

fn refused(code: ErrorCode) -> Result<BatchAck, ClientError> {
    Err(ClientError::Partition { topic: "t".to_owned(), partition: PartitionIndex(0), code })
}

#[test]
fn stamps_stay_through_retries_and_a_lost_sequence_begins_again_in_a_higher_epoch() {
    let start = Instant::now();
    let mut accumulator = accumulator(ProducerConfig { retries: 3, ..config() }, 1);
    for value in [b"1", b"2", b"3", b"4", b"5"] {
        push(&mut accumulator, 0, value, start);
        accumulator.close_all();
    }
    let mut now = start;
    let results = [
        (overloaded(), 0, 0),
        (ack(0), 0, 0),
        (refused(ErrorCode::OutOfOrderSequence), 0, 1),
        (ack(1), 1, 0),
        (refused(ErrorCode::MessageTooLarge), 1, 1),
        (refused(ErrorCode::DuplicateSequence), 2, 0),
        (ack(3), 2, 1),
    ];
    for (at, (result, epoch, sequence)) in results.into_iter().enumerate() {
        accumulator.advance(now);
        let dispatch = accumulator.take_ready(now).remove(0);
        for mut sending in dispatch.batches {
            let expected =
                ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(epoch), base_sequence: Sequence(sequence) };
            assert_eq!(stamp_of(&mut sending.batch), Some(expected), "attempt {at}");
            accumulator.returned(sending, result.clone(), now, 1.0);
        }
        accumulator.request_done(&dispatch.owner);
        now = accumulator.next_deadline().unwrap_or(now);
    }
    accumulator.close();
    assert!(accumulator.is_done());
    let failed = accumulator.take_error().and_then(|error| error.code());
    assert_eq!(failed, Some(ErrorCode::MessageTooLarge), "nothing else failed");
}

#[test]
fn nothing_goes_without_an_identity_and_what_runs_out_of_time_says_so() {
    let start = Instant::now();
    let timeout = Duration::from_secs(10);
    let mut accumulator = accumulator(ProducerConfig { delivery_timeout: timeout, ..config() }, 1);
    accumulator.identities.current = None;
    push(&mut accumulator, 0, b"1", start);
    assert!(!accumulator.asks_for_identity(), "nothing needs one yet");
    accumulator.close_all();
    assert!(accumulator.take_ready(start).is_empty());
    assert!(accumulator.asks_for_identity() && !accumulator.asks_for_identity(), "asked once");
    assert!(accumulator.take_ready(start + timeout).is_empty());
    assert!(matches!(accumulator.take_error(), Some(ClientError::DeliveryTimeout { .. })));
    assert!(!accumulator.wants_identity());
    accumulator.not_identified();
    push(&mut accumulator, 0, b"2", start);
    accumulator.close_all();
    assert!(accumulator.asks_for_identity());
    accumulator.identity_refused(&ClientError::Closed);
    assert!(matches!(accumulator.take_error(), Some(ClientError::Closed)));
    push(&mut accumulator, 0, b"3", start);
    accumulator.close_all();
    accumulator.identified(Identity { id: ProducerId(8), epoch: ProducerEpoch(0) });
    assert_eq!(accumulator.take_ready(start).len(), 1);
}

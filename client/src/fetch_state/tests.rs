//! Tests of the fetch state: time is a number here, and the broker is whatever the test says.

use std::time::Duration;

use ouzel_protocol::native::{MetadataReply, NodeInfo, PartitionInfo, TopicInfo};
use ouzel_protocol::{BatchBuilder, Codec, Dialect, LeaderEpoch, MetadataVersion, NodeId, ShardIndex, patched_prefix};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn image(partitions: u32) -> MetadataImage {
    let partition = |index| PartitionInfo {
        index: PartitionIndex(index),
        leader: Some(NodeId(1)),
        shard: ShardIndex((index % 2) as u16),
        leader_epoch: LeaderEpoch(1),
    };
    let node = NodeInfo { node: NodeId(1), host: "b".into(), port: 1, shard_ports: vec![2, 3] };
    let topic = TopicInfo {
        error: ErrorCode::None,
        name: "t".into(),
        topic_id: TopicId(1),
        partitions: (0..partitions).map(partition).collect(),
    };
    let reply = MetadataReply { version: MetadataVersion(1), nodes: vec![node], topics: vec![topic] };
    MetadataImage::default().merged(reply, &Address::new("b", 1))
}

fn state(config: ConsumerConfig, partitions: u32) -> FetchState {
    let mut state = FetchState::new(config, Backoff { min: SECOND, max: SECOND });
    for partition in 0..partitions {
        state.assign(&"t".into(), None, PartitionIndex(partition), Offset(0));
    }
    state
}

fn batch(base: u64, count: u32) -> Bytes {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    for _ in 0..count {
        builder.push(0, None, Some(b"value"), &[]);
    }
    let mut bytes = builder.build().unwrap();
    let header = ouzel_protocol::parse_header(&bytes).unwrap();
    bytes[..16].copy_from_slice(&patched_prefix(&header, Offset(base), LeaderEpoch(1)));
    bytes.into()
}

fn row(asked: &Asked, error: ErrorCode, records: Vec<Bytes>) -> FetchResult {
    FetchResult {
        topic_id: asked.topic_id,
        partition: asked.partition,
        error,
        high_watermark: Offset(1000),
        log_start: Offset(0),
        records,
    }
}

fn only(mut plans: Vec<FetchPlan>) -> FetchPlan {
    assert_eq!(plans.len(), 1);
    plans.remove(0)
}

#[test]
fn every_owner_gets_one_request_for_its_partitions() {
    let mut state = state(ConsumerConfig::default(), 6);
    let mut plans = state.plan(&image(6), Instant::now());
    plans.sort_by_key(|plan| plan.owner.clone());
    let counts: Vec<_> = plans.iter().map(|plan| (plan.asked.len(), plan.request.partitions.len())).collect();
    assert_eq!(counts, [(3, 3), (3, 3)]);
    assert!(state.plan(&image(6), Instant::now()).is_empty(), "all are in flight");
}

#[test]
fn positions_move_behind_what_was_fetched_and_old_records_are_cut_off() {
    let now = Instant::now();
    let mut state = state(ConsumerConfig::default(), 1);
    let slot = state.assign(&"t".into(), None, PartitionIndex(0), Offset(5));
    let plan = only(state.plan(&image(1), now));
    assert_eq!(plan.request.partitions[0].offset, Offset(5));
    let whole = [batch(0, 10), batch(10, 3)].concat();
    let result = row(&plan.asked[0], ErrorCode::None, vec![whole.into()]);
    assert!(state.apply(&plan.asked[0], Ok(&result), now, 0.5).wake_reader);
    let (chunk, _) = state.take_chunk().unwrap();
    assert_eq!((chunk.slot, chunk.from, chunk.end), (slot, Offset(5), Offset(10)));
    let (chunk, _) = state.take_chunk().unwrap();
    assert_eq!((chunk.from, chunk.end), (Offset(10), Offset(13)));
    assert!(state.take_chunk().is_none());
    assert_eq!(only(state.plan(&image(1), now)).request.partitions[0].offset, Offset(13));
}

#[test]
fn a_result_from_before_a_seek_is_dropped() {
    let now = Instant::now();
    let mut state = state(ConsumerConfig::default(), 1);
    state.assign(&"t".into(), None, PartitionIndex(0), Offset(100));
    let old = only(state.plan(&image(1), now));
    state.assign(&"t".into(), None, PartitionIndex(0), Offset(5));
    let result = row(&old.asked[0], ErrorCode::None, vec![batch(100, 10)]);
    state.apply(&old.asked[0], Ok(&result), now, 0.5);
    assert!(state.take_chunk().is_none());
    assert_eq!(only(state.plan(&image(1), now)).request.partitions[0].offset, Offset(5));
}

#[test]
fn an_error_that_may_pass_waits_and_asks_again_at_the_same_place() {
    let now = Instant::now();
    let mut state = state(ConsumerConfig::default(), 1);
    let plan = only(state.plan(&image(1), now));
    let result = row(&plan.asked[0], ErrorCode::NotLeader, vec![]);
    let applied = state.apply(&plan.asked[0], Ok(&result), now, 1.0);
    assert!(applied.wants_metadata && !applied.wake_reader);
    state.fetch_done(&plan.owner);
    assert!(state.plan(&image(1), now).is_empty());
    let retry = state.next_retry().unwrap();
    assert_eq!(retry, now + SECOND);
    assert_eq!(only(state.plan(&image(1), retry)).request.partitions[0].offset, Offset(0));
}

#[test]
fn an_error_that_will_not_pass_stops_its_partition_only() {
    let now = Instant::now();
    let mut state = state(ConsumerConfig::default(), 4);
    for plan in state.plan(&image(4), now) {
        for asked in &plan.asked {
            let code = if asked.partition.0 == 0 { ErrorCode::InvalidRequest } else { ErrorCode::None };
            let records = if code.is_none() { vec![batch(0, 1)] } else { vec![] };
            state.apply(asked, Ok(&row(asked, code, records)), now, 0.5);
        }
    }
    assert!(matches!(state.take_error(), Some(ClientError::Partition { .. })));
    let asked: usize = state.plan(&image(4), now).iter().map(|plan| plan.asked.len()).sum();
    assert_eq!(asked, 3);
}

#[test]
fn out_of_range_follows_the_policy() {
    let now = Instant::now();
    for (policy, spec) in [
        (OutOfRange::Error, None),
        (OutOfRange::Earliest, Some(OffsetSpec::Earliest)),
        (OutOfRange::Latest, Some(OffsetSpec::Latest)),
    ] {
        let mut state = state(ConsumerConfig { out_of_range: policy, ..ConsumerConfig::default() }, 1);
        let plan = only(state.plan(&image(1), now));
        let result = row(&plan.asked[0], ErrorCode::OffsetOutOfRange, vec![]);
        let applied = state.apply(&plan.asked[0], Ok(&result), now, 0.5);
        assert_eq!(applied.reset.as_ref().map(|reset| reset.spec), spec);
        assert!(state.plan(&image(1), now).is_empty());
        match applied.reset {
            Some(reset) => {
                state.reset_done(&reset, Ok(Offset(77)));
                assert_eq!(only(state.plan(&image(1), now)).request.partitions[0].offset, Offset(77));
            }
            None => assert!(matches!(state.take_error(), Some(ClientError::OffsetOutOfRange { .. }))),
        }
    }
}

#[test]
fn what_is_fetched_ahead_stays_within_its_budget() {
    let now = Instant::now();
    let size = batch(0, 10).len();
    let config = ConsumerConfig { prefetch_bytes: size * 3, ..ConsumerConfig::default() };
    let mut state = state(config, 2);
    for plan in state.plan(&image(2), now) {
        let asked = plan.asked[0];
        let records = vec![batch(0, 10), batch(10, 10)];
        state.apply(&asked, Ok(&row(&asked, ErrorCode::None, records)), now, 0.5);
        state.fetch_done(&plan.owner);
    }
    assert!(state.plan(&image(2), now).is_empty(), "four batches are more than three");
    assert!(!state.take_chunk().unwrap().1);
    let (_, has_room) = state.take_chunk().unwrap();
    assert!(has_room);
    assert_eq!(state.plan(&image(2), now).len(), 2);
}

#[test]
fn partitions_take_turns() {
    let now = Instant::now();
    let mut state = state(ConsumerConfig::default(), 2);
    for plan in state.plan(&image(2), now) {
        let asked = plan.asked[0];
        let records = vec![batch(0, 1), batch(1, 1), batch(2, 1)];
        state.apply(&asked, Ok(&row(&asked, ErrorCode::None, records)), now, 0.5);
    }
    let order: Vec<u32> = std::iter::from_fn(|| state.take_chunk()).map(|(chunk, _)| chunk.partition.0).collect();
    for pair in order.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
    assert_eq!(order.len(), 6);
}

#[test]
fn a_partition_held_back_for_room_shortens_the_poll_of_its_owner() {
    let now = Instant::now();
    let config = ConsumerConfig { partition_bytes_max: 1, ..ConsumerConfig::default() };
    let mut state = state(config, 3);
    let plans = state.plan(&image(3), now);
    let plan = plans.iter().find(|plan| plan.asked.len() == 2).unwrap();
    assert_eq!(plan.request.max_wait_ms, 500);
    for asked in &plan.asked {
        let records = if asked.partition.0 == 0 { vec![batch(0, 1)] } else { vec![] };
        state.apply(asked, Ok(&row(asked, ErrorCode::None, records)), now, 0.5);
    }
    state.fetch_done(&plan.owner);
    let next = only(state.plan(&image(3), now));
    assert_eq!((next.asked.len(), next.request.max_wait_ms), (1, SHORT_WAIT_MS));
}

#[test]
fn a_topic_that_is_gone_is_an_error_for_the_reader() {
    let mut state = state(ConsumerConfig::default(), 1);
    let gone = MetadataReply {
        version: MetadataVersion(2),
        nodes: vec![],
        topics: vec![TopicInfo {
            error: ErrorCode::UnknownTopicOrPartition,
            name: "t".into(),
            topic_id: TopicId(0),
            partitions: vec![],
        }],
    };
    let image = image(1).merged(gone, &Address::new("b", 1));
    assert!(state.plan(&image, Instant::now()).is_empty());
    assert!(matches!(state.take_error(), Some(ClientError::UnknownTopic { .. })));
}

#[test]
fn a_partition_that_was_assigned_by_its_topics_id_is_not_read_of_another_of_that_name() {
    let mut state = state(ConsumerConfig::default(), 0);
    let meant = |state: &mut FetchState, id| state.assign(&"t".into(), Some(TopicId(id)), PartitionIndex(0), Offset(5));
    let slot = meant(&mut state, 7);
    assert!(state.plan(&image(1), Instant::now()).is_empty());
    assert!(matches!(state.take_error(), Some(ClientError::UnknownTopic { .. })));
    // A seek says nothing of the topic.
    assert_eq!(state.assign(&"t".into(), None, PartitionIndex(0), Offset(6)), slot);
    assert!(state.plan(&image(1), Instant::now()).is_empty());
    meant(&mut state, 1);
    assert_eq!(only(state.plan(&image(1), Instant::now())).asked[0].topic_id, TopicId(1));
    state.release("t", PartitionIndex(0));
    assert_eq!(state.assign(&"t".into(), None, PartitionIndex(0), Offset(5)), slot);
    assert_eq!(only(state.plan(&image(1), Instant::now())).asked[0].slot, slot);
}

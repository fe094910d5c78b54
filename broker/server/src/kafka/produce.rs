//! Produce, in two moments as in the native protocol: dispatched in the order of the wire, answered when produced. A batch is
//! checked by its header and its checksum and stored as it came; only where the topic wants the broker's time are three of its
//! fields set.

use std::rc::Rc;

use bytes::Bytes;
use ouzel_broker_core::Topic;
use ouzel_protocol::ErrorCode;
use ouzel_protocol::kafka::{
    ProducePartitionReply, ProduceReply, ProduceRequest, ProduceTopicReply, check_records, range_in,
};

use super::names;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::produce::{Batch, Produced, dispatch_batches, produced};
use crate::lanes::AppendOutcome;

/// How far a record's time may be ahead of the broker's, in milliseconds: Kafka's `message.timestamp.after.max.ms`. Records of the
/// far future would hide all others from whoever looks by time.
const AHEAD_MS_MAX: i64 = 60 * 60 * 1000;

/// What a request may say of when to answer.
const ACKS: [i16; 3] = [-1, 0, 1];

/// Dispatches a request; its reply follows on its own.
///
/// # Errors
/// The body is not a produce request: the connection ends.
pub(crate) async fn dispatch(
    connection: &Rc<Connection>,
    request: KafkaRequest,
    mut ticket: Ticket,
) -> Result<(), Fault> {
    let produce: ProduceRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, produce.topic_data.iter().map(|topic| topic.name)).await;
    let acks = produce.acks;
    let whole = if !ACKS.contains(&acks) {
        Some(ErrorCode::InvalidRequiredAcks)
    } else if produce.transactional_id.is_some() {
        // Transactions need a coordinator, which this broker does not have.
        Some(ErrorCode::InvalidTransactionState)
    } else {
        None
    };
    let mut batches = Vec::new();
    for topic in &produce.topic_data {
        let topic_id = names::topic_id(state, topic.name);
        for row in &topic.partition_data {
            let records = row.records.bytes();
            let bytes = records.and_then(|records| range_in(&request.frame, records));
            batches.push(Batch {
                at: names::partition_ref(topic_id, row.index),
                bytes: bytes.map_or_else(Bytes::new, |range| request.frame.slice(range)),
                refused: whole,
            });
        }
    }
    let version = request.version;
    let latest_ms = state.shard.wall_ms().saturating_add(AHEAD_MS_MAX);
    let check = |topic: &Topic, bytes: &[u8]| {
        let header = check_records(Some(bytes), version).map_err(|error| error_map::of_records(&error))?;
        let is_ahead = header.max_timestamp > latest_ms && !topic.config.is_log_append_time();
        if is_ahead { Err(ErrorCode::InvalidTimestamp) } else { Ok(header) }
    };
    let pending = dispatch_batches(state, batches, check).await;
    let connection = Rc::clone(connection);
    connection.state.shard.clone().spawn(async move {
        let times = (ticket.held.started, request.received);
        let Produced { outcomes, committed, .. } = produced(&connection.state, pending, times).await;
        ticket.held.committed = committed;
        if let Err(fault) = answer(&connection, &request, ticket, acks, &outcomes) {
            connection.fail(&fault);
        }
    });
    Ok(())
}

fn answer(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
    acks: i16,
    outcomes: &[AppendOutcome],
) -> Result<(), Fault> {
    if acks == 0 {
        if let Some(refused) = outcomes.iter().find(|outcome| !outcome.error.is_none()) {
            return Err(Fault::Unacknowledged(refused.error));
        }
        ticket.answer_nothing(connection);
        return Ok(());
    }
    let produce: ProduceRequest<'_> = request.message()?;
    let mut outcomes = outcomes.iter();
    let responses = produce.topic_data.iter().map(|topic| ProduceTopicReply {
        name: topic.name,
        topic_id: topic.topic_id,
        partition_responses: topic
            .partition_data
            .iter()
            .zip(&mut outcomes)
            .map(|(row, outcome)| reply_row(row.index, outcome))
            .collect(),
    });
    let reply = ProduceReply { responses: responses.collect(), ..ProduceReply::default() };
    ticket.answer(connection, &reply)
}

fn reply_row<'a>(index: i32, outcome: &AppendOutcome) -> ProducePartitionReply<'a> {
    if outcome.error.is_none() {
        ProducePartitionReply {
            index,
            base_offset: signed(outcome.base_offset.0),
            log_append_time_ms: outcome.log_append_ms,
            log_start_offset: signed(outcome.log_start.0),
            ..ProducePartitionReply::default()
        }
    } else {
        ProducePartitionReply {
            index,
            error_code: error_map::kafka(outcome.error),
            base_offset: -1,
            error_message: Some(outcome.error.sentence()),
            ..ProducePartitionReply::default()
        }
    }
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

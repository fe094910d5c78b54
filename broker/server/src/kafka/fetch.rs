//! Fetch: the same reads and long polls as in the native protocol. Records go out as they are stored; native batches are
//! converted. Without sessions: a client that asks for one is told, legally, that it has none.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ouzel_protocol::Offset;
use ouzel_protocol::kafka::{FetchPartitionReply, FetchReply, FetchRequest, FetchTopicReply, KafkaError, Records};

use super::request::{KafkaRequest, Ticket};
use super::{convert, metadata, names};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::fetch::{Wanted, collect, trim};
use crate::lanes::{PartitionRef, ReadOutcome, ReadRow};
use crate::limits;
use crate::shard::ShardState;

/// A request in no session, and the first of one.
const SESSIONLESS: [i32; 2] = [-1, 0];

pub(crate) async fn answer(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    mut ticket: Ticket,
) -> Result<(), Fault> {
    let fetch: FetchRequest<'_> = request.message()?;
    let state = &connection.state;
    // The epoch decides: kafka-go asks outside of any session and names session -1.
    if !SESSIONLESS.contains(&fetch.session_epoch) {
        let reply = FetchReply { error_code: KafkaError::FETCH_SESSION_ID_NOT_FOUND, ..FetchReply::default() };
        return ticket.answer(connection, &reply);
    }
    names::look_up(state, fetch.topics.iter().map(|topic| topic.topic)).await;
    let mut rows = Vec::new();
    let mut refused = Vec::new();
    for topic in &fetch.topics {
        let topic_id = names::topic_id(state, topic.topic);
        for row in &topic.partitions {
            let at = names::partition_ref(topic_id, row.partition);
            let bytes_max = usize::try_from(row.partition_max_bytes).unwrap_or(0);
            // A negative offset is in no log, and the largest number is beyond every one.
            let offset = Offset(u64::try_from(row.fetch_offset).unwrap_or(u64::MAX));
            rows.push(ReadRow { at, offset, bytes_max });
            refused.push(epoch_error(state, at, row.current_leader_epoch));
        }
    }
    let wait_ms = u64::try_from(fetch.max_wait_ms).unwrap_or(0).min(limits::FETCH_WAIT_MS_MAX.into());
    let wanted = Wanted {
        bytes_min: usize::try_from(fetch.min_bytes).unwrap_or(0),
        bytes_max: u32::try_from(fetch.max_bytes).unwrap_or(0),
        deadline: if refused.iter().any(Option::is_some) {
            request.received
        } else {
            request.received + Duration::from_millis(wait_ms)
        },
    };
    // The frame names the topics of the reply, so it lives until then, and so does what was granted for it: what stands behind
    // the message counts as well.
    // Behind another long poll it keeps its plan and no bytes: those would be what the first one waits for.
    connection.in_order.turn_of(&request.place).await;
    let (outcomes, permits) = collect(connection, &rows, wanted).await;
    let mut records = Vec::with_capacity(outcomes.len());
    let mut results = Vec::with_capacity(outcomes.len());
    for (outcome, refused) in outcomes.into_iter().zip(refused) {
        let ReadOutcome { error, high_watermark, log_start, records: pieces } = outcome;
        let (error, pieces) = match refused {
            Some(error) => (error, Vec::new()),
            None => match convert::for_kafka(&state.shard, pieces).await {
                Ok(pieces) => (error_map::kafka(error), pieces),
                Err(error) => {
                    tracing::error!(shard = state.index.0, %error, "a stored batch cannot be converted");
                    (KafkaError::CORRUPT_MESSAGE, Vec::new())
                }
            },
        };
        results.push((error, high_watermark, log_start, pieces.iter().map(Bytes::len).sum::<usize>()));
        records.push(pieces);
    }
    ticket.held.records = Some(trim(permits, results.iter().map(|(.., bytes)| bytes).sum()));
    let fetch: FetchRequest<'_> = request.message()?;
    let mut rows = results.iter();
    let topics = fetch.topics.iter().map(|topic| FetchTopicReply {
        topic: topic.topic,
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .zip(&mut rows)
            .map(|(row, result)| reply_row(row.partition, *result))
            .collect(),
    });
    let reply = FetchReply { responses: topics.collect(), ..FetchReply::default() };
    let sent = records.into_iter().filter(|pieces| !pieces.is_empty());
    ticket.answer_with_records(connection, &reply, sent)
}

fn reply_row<'a>(index: i32, result: (KafkaError, Offset, Offset, usize)) -> FetchPartitionReply<'a> {
    let (error_code, high_watermark, log_start, bytes) = result;
    let is_known = !matches!(error_code, KafkaError::UNKNOWN_TOPIC_OR_PARTITION | KafkaError::NOT_LEADER_OR_FOLLOWER);
    let signed = |offset: Offset| if is_known { i64::try_from(offset.0).unwrap_or(i64::MAX) } else { -1 };
    FetchPartitionReply {
        partition_index: index,
        error_code,
        high_watermark: signed(high_watermark),
        last_stable_offset: signed(high_watermark),
        log_start_offset: signed(log_start),
        aborted_transactions: None,
        preferred_read_replica: -1,
        records: Records::Elsewhere(bytes),
        ..FetchPartitionReply::default()
    }
}

/// What the epoch that a client knows says of a partition that is led here.
fn epoch_error(state: &ShardState, at: PartitionRef, asked: i32) -> Option<KafkaError> {
    let image = state.topics.image();
    let partition = image.partition(at.topic_id, at.partition)?;
    check_epoch(asked, metadata::epoch(partition)).err()
}

/// Judges the leader epoch that a client knows, -1 for none, by the one there is (KIP-320).
pub(super) fn check_epoch(asked: i32, current: i32) -> Result<(), KafkaError> {
    match asked {
        ..0 => Ok(()),
        _ if asked < current => Err(KafkaError::FENCED_LEADER_EPOCH),
        _ if asked > current => Err(KafkaError::UNKNOWN_LEADER_EPOCH),
        _ => Ok(()),
    }
}

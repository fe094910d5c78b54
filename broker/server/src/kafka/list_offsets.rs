//! ListOffsets: earliest, latest, by time, and the record with the highest timestamp, asked of each partition's owner.

use std::rc::Rc;

use ouzel_protocol::ErrorCode;
use ouzel_protocol::kafka::{
    KafkaError, ListOffsetsPartition, ListOffsetsPartitionReply, ListOffsetsReply, ListOffsetsRequest,
    ListOffsetsTopicReply,
};
use ouzel_protocol::native::OffsetSpec;

use super::names;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::list_offsets::ask_owners;
use crate::lanes::OffsetOutcome;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

/// From here on the offset of the highest timestamp may be asked for (KIP-734).
const MAX_TIMESTAMP_FROM: i16 = 7;
/// From here on a reply names the epoch of the leader (KIP-320).
const EPOCH_FROM: i16 = 4;

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: ListOffsetsRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, asked.topics.iter().map(|topic| topic.name)).await;
    let mut rows = Vec::new();
    for topic in &asked.topics {
        let topic_id = names::topic_id(state, topic.name);
        rows.extend(topic.partitions.iter().map(|row| {
            let spec = spec(row.timestamp, request.version).unwrap_or(OffsetSpec::Latest);
            (names::partition_ref(topic_id, row.partition_index), spec)
        }));
    }
    let mut outcomes = ask_owners(state, &rows).await.into_iter();
    let topics = asked.topics.iter().map(|topic| ListOffsetsTopicReply {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(&mut outcomes)
            .map(|(row, outcome)| reply_row(&row, &outcome, request.version))
            .collect(),
    });
    let reply = ListOffsetsReply { topics: topics.collect(), ..ListOffsetsReply::default() };
    ticket.answer(connection, &reply)
}

/// The point that a number stands for; `None` for one that stands for none in this version.
fn spec(timestamp: i64, version: i16) -> Option<OffsetSpec> {
    match timestamp {
        LATEST => Some(OffsetSpec::Latest),
        EARLIEST => Some(OffsetSpec::Earliest),
        MAX_TIMESTAMP if version >= MAX_TIMESTAMP_FROM => Some(OffsetSpec::MaxTimestamp),
        0.. => Some(OffsetSpec::Timestamp(timestamp)),
        _ => None,
    }
}

fn reply_row(row: &ListOffsetsPartition, outcome: &OffsetOutcome, version: i16) -> ListOffsetsPartitionReply {
    let refused = |error_code| ListOffsetsPartitionReply {
        partition_index: row.partition_index,
        error_code,
        ..ListOffsetsPartitionReply::default()
    };
    let Some(spec) = spec(row.timestamp, version) else { return refused(KafkaError::UNSUPPORTED_VERSION) };
    if outcome.error != ErrorCode::None {
        return refused(error_map::kafka(outcome.error));
    }
    let epoch = i32::try_from(outcome.leader_epoch.0).unwrap_or(i32::MAX);
    if let Err(error) = super::fetch::check_epoch(row.current_leader_epoch, epoch) {
        return refused(error);
    }
    // No record has a time that late: there is no offset either, where the native protocol names the end.
    let is_none = matches!(spec, OffsetSpec::Timestamp(_) | OffsetSpec::MaxTimestamp) && outcome.timestamp < 0;
    ListOffsetsPartitionReply {
        partition_index: row.partition_index,
        error_code: KafkaError::NONE,
        timestamp: outcome.timestamp,
        offset: if is_none { -1 } else { i64::try_from(outcome.offset.0).unwrap_or(i64::MAX) },
        leader_epoch: if is_none || version < EPOCH_FROM { -1 } else { epoch },
    }
}

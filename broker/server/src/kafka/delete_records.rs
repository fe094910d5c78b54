//! DeleteRecords: raises the first offset of partitions, at their owners. Answered when that is durable.

use std::rc::Rc;

use ouzel_protocol::kafka::{
    DeleteRecordsPartitionReply, DeleteRecordsReply, DeleteRecordsRequest, DeleteRecordsTopicReply, KafkaError,
};
use ouzel_protocol::{ErrorCode, Offset, PartitionIndex};

use super::names;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::{by_shard, routes};
use crate::lanes::{PartitionRef, ShardRequest};
use crate::owner;
use crate::shard::ShardState;

/// Stands for everything that is there.
const HIGH_WATERMARK: i64 = -1;

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DeleteRecordsRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, asked.topics.iter().map(|topic| topic.name)).await;
    let mut rows = Vec::new();
    for topic in &asked.topics {
        let topic_id = names::topic_id(state, topic.name);
        rows.extend(topic.partitions.iter().map(|row| {
            let partition = PartitionIndex(u32::try_from(row.partition_index).unwrap_or(u32::MAX));
            let to = match row.offset {
                HIGH_WATERMARK => None,
                // A negative offset is in no log: as little as one beyond its end.
                offset => Some(Offset(u64::try_from(offset).unwrap_or(u64::MAX))),
            };
            (PartitionRef { topic_id, partition }, to)
        }));
    }
    let mut outcomes = ask_owners(state, &rows).await.into_iter();
    let topics = asked.topics.iter().map(|topic| DeleteRecordsTopicReply {
        name: topic.name,
        partitions: topic
            .partitions
            .iter()
            .zip(&mut outcomes)
            .map(|(row, outcome)| DeleteRecordsPartitionReply {
                partition_index: row.partition_index,
                low_watermark: outcome.map_or(-1, |start| i64::try_from(start.0).unwrap_or(i64::MAX)),
                error_code: outcome.err().map_or(KafkaError::NONE, error_map::kafka),
            })
            .collect(),
    });
    let reply = DeleteRecordsReply { topics: topics.collect(), ..DeleteRecordsReply::default() };
    ticket.answer(connection, &reply)
}

/// Asks the owner of each row; the answers are in the order of the rows.
async fn ask_owners(state: &ShardState, asked: &[(PartitionRef, Option<Offset>)]) -> Vec<Result<Offset, ErrorCode>> {
    let routes = routes(state, asked.iter().map(|(at, _)| *at)).await;
    let refused = |error: ErrorCode| Err(error);
    let mut outcomes: Vec<_> =
        routes.iter().map(|route| refused(route.as_ref().err().copied().unwrap_or(ErrorCode::Unknown))).collect();
    for (shard, indices) in by_shard(&routes) {
        let rows: Vec<_> = indices.iter().filter_map(|index| asked.get(*index)).copied().collect();
        let answers = if shard == state.index {
            owner::delete_records(state, &rows).await
        } else {
            let (version, count) = (state.topics.version(), rows.len());
            let answer = state.peer(shard).ask(|reply| ShardRequest::DeleteRecords { version, rows, reply }).await;
            answer.unwrap_or_else(|_| vec![refused(ErrorCode::ShardUnavailable); count])
        };
        for (index, answer) in indices.iter().zip(answers) {
            if let Some(outcome) = outcomes.get_mut(*index) {
                *outcome = answer;
            }
        }
    }
    outcomes
}

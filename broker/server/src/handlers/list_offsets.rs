//! List offsets: earliest, latest, or by time, asked of each partition's owner.

use std::rc::Rc;

use ouzel_protocol::ErrorCode;
use ouzel_protocol::native::{Api, ListOffsetsReply, ListOffsetsRequest, ListOffsetsResult, OffsetSpec, reply_frame};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::{by_shard, routes};
use crate::lanes::{OffsetOutcome, PartitionRef, ShardRequest};
use crate::owner;
use crate::request::Request;
use crate::shard::ShardState;

pub(crate) async fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let asked = ListOffsetsRequest::decode(&request.body)?;
    let state = &connection.state;
    let at = |row: &ouzel_protocol::native::ListOffsetsPartition| PartitionRef {
        topic_id: row.topic_id,
        partition: row.partition,
    };
    let rows: Vec<_> = asked.partitions.iter().map(|row| (at(row), row.at)).collect();
    let outcomes = ask_owners(state, &rows).await;
    let partitions = asked.partitions.iter().zip(outcomes).map(|(row, outcome)| ListOffsetsResult {
        topic_id: row.topic_id,
        partition: row.partition,
        error: outcome.error,
        offset: outcome.offset,
        timestamp: outcome.timestamp,
        leader_epoch: outcome.leader_epoch,
    });
    let reply = ListOffsetsReply { partitions: partitions.collect() };
    connection.reply(reply_frame(Api::ListOffsets, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

/// Asks the owner of each row; the answers are in the order of the rows.
pub(crate) async fn ask_owners(state: &ShardState, asked: &[(PartitionRef, OffsetSpec)]) -> Vec<OffsetOutcome> {
    let routes = routes(state, asked.iter().map(|(at, _)| *at)).await;
    let refused = |error: ErrorCode| OffsetOutcome::refused(error);
    let mut outcomes: Vec<OffsetOutcome> =
        routes.iter().map(|route| refused(route.as_ref().err().copied().unwrap_or(ErrorCode::Unknown))).collect();
    for (shard, indices) in by_shard(&routes) {
        let rows: Vec<_> = indices.iter().filter_map(|index| asked.get(*index)).copied().collect();
        let answers = if shard == state.index {
            owner::offsets(state, &rows).await
        } else {
            let (version, count) = (state.topics.version(), rows.len());
            let answer = state.peer(shard).ask(|reply| ShardRequest::Offsets { version, rows, reply }).await;
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

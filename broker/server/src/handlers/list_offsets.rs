//! List offsets: earliest, latest, or by time, asked of each partition's owner.

use std::rc::Rc;

use ouzel_protocol::native::{Api, ListOffsetsReply, ListOffsetsRequest, ListOffsetsResult, OffsetSpec, reply_frame};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::of_owners;
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
    of_owners(
        state,
        asked,
        OffsetOutcome::refused,
        async |rows| owner::offsets(state, rows).await,
        |version, rows, reply| ShardRequest::Offsets { version, rows, reply },
    )
    .await
}

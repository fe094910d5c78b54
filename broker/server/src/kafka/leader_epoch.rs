//! OffsetForLeaderEpoch: where an epoch of a partition ends, which a client asks to find out whether what it has read was taken
//! back. Asked of each partition's owner.

use std::rc::Rc;

use ouzel_protocol::kafka::{
    KafkaError, LeaderEpochPartition, LeaderEpochPartitionReply, LeaderEpochTopicReply, OffsetForLeaderEpochReply,
    OffsetForLeaderEpochRequest,
};
use ouzel_protocol::{ErrorCode, LeaderEpoch};

use super::request::{KafkaRequest, Ticket};
use super::{fetch, names};
use crate::connection::Connection;
use crate::epoch_ends;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::of_owners;
use crate::lanes::{EpochEnd, ShardRequest};

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: OffsetForLeaderEpochRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, asked.topics.iter().map(|topic| topic.topic)).await;
    let mut rows = Vec::new();
    for topic in &asked.topics {
        let topic_id = names::topic_id(state, topic.topic);
        rows.extend(topic.partitions.iter().map(|row| {
            // A negative number is no epoch's, as little as one that is yet to come.
            let epoch = LeaderEpoch(u32::try_from(row.leader_epoch).unwrap_or(u32::MAX));
            (names::partition_ref(topic_id, row.partition), epoch)
        }));
    }
    let ends = of_owners(
        state,
        &rows,
        EpochEnd::refused,
        async |rows| epoch_ends::ends(state, rows).await,
        |version, rows, reply| ShardRequest::EpochEnds { version, rows, reply },
    );
    let mut ends = ends.await.into_iter();
    let topics = asked.topics.iter().map(|topic| LeaderEpochTopicReply {
        topic: topic.topic,
        partitions: topic.partitions.iter().zip(&mut ends).map(|(row, end)| reply_row(&row, &end)).collect(),
    });
    let reply = OffsetForLeaderEpochReply { topics: topics.collect(), ..OffsetForLeaderEpochReply::default() };
    ticket.answer(connection, &reply)
}

fn reply_row(row: &LeaderEpochPartition, found: &EpochEnd) -> LeaderEpochPartitionReply {
    let EpochEnd { error, current, end } = *found;
    let signed = |epoch: LeaderEpoch| i32::try_from(epoch.0).unwrap_or(i32::MAX);
    let error_code = match error {
        ErrorCode::None => fetch::check_epoch(row.current_leader_epoch, signed(current)).err(),
        error => Some(error_map::kafka(error)),
    };
    let known = end.filter(|_| error_code.is_none());
    LeaderEpochPartitionReply {
        error_code: error_code.unwrap_or(KafkaError::NONE),
        partition: row.partition,
        leader_epoch: known.map_or(-1, |(epoch, _)| signed(epoch)),
        end_offset: known.map_or(-1, |(_, end)| i64::try_from(end.0).unwrap_or(i64::MAX)),
    }
}

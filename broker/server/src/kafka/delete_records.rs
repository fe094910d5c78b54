//! DeleteRecords: raises the first offset of partitions, at their owners. Answered when that is durable.

use std::rc::Rc;

use ouzel_protocol::Offset;
use ouzel_protocol::kafka::{
    DeleteRecordsPartitionReply, DeleteRecordsReply, DeleteRecordsRequest, DeleteRecordsTopicReply, KafkaError,
};

use super::names;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::of_owners;
use crate::lanes::ShardRequest;
use crate::owner;

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
            let to = match row.offset {
                HIGH_WATERMARK => None,
                // A negative offset is in no log: as little as one beyond its end.
                offset => Some(Offset(u64::try_from(offset).unwrap_or(u64::MAX))),
            };
            (names::partition_ref(topic_id, row.partition_index), to)
        }));
    }
    let outcomes = of_owners(
        state,
        &rows,
        Err,
        async |rows| owner::delete_records(state, rows).await,
        |version, rows, reply| ShardRequest::DeleteRecords { version, rows, reply },
    );
    let mut outcomes = outcomes.await.into_iter();
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

//! OffsetForLeaderEpoch: where an epoch of a partition ends, which a client asks to find out whether what it has read was taken
//! back. Nothing that readers see is ever cut here, so the answer for every epoch there was is the end of the log.

use std::rc::Rc;

use ouzel_protocol::kafka::{
    KafkaError, LeaderEpochPartition, LeaderEpochPartitionReply, LeaderEpochTopicReply, OffsetForLeaderEpochReply,
    OffsetForLeaderEpochRequest,
};
use ouzel_protocol::native::OffsetSpec;
use ouzel_protocol::{ErrorCode, PartitionIndex};

use super::request::{KafkaRequest, Ticket};
use super::{fetch, names};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::list_offsets::ask_owners;
use crate::lanes::{OffsetOutcome, PartitionRef};

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: OffsetForLeaderEpochRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, asked.topics.iter().map(|topic| topic.topic)).await;
    let mut rows = Vec::new();
    for topic in &asked.topics {
        let topic_id = names::topic_id(state, topic.topic);
        rows.extend(topic.partitions.iter().map(|row| {
            let partition = PartitionIndex(u32::try_from(row.partition).unwrap_or(u32::MAX));
            (PartitionRef { topic_id, partition }, OffsetSpec::Latest)
        }));
    }
    let mut outcomes = ask_owners(state, &rows).await.into_iter();
    let topics = asked.topics.iter().map(|topic| LeaderEpochTopicReply {
        topic: topic.topic,
        partitions: topic
            .partitions
            .iter()
            .zip(&mut outcomes)
            .map(|(row, outcome)| reply_row(&row, &outcome))
            .collect(),
    });
    let reply = OffsetForLeaderEpochReply { topics: topics.collect(), ..OffsetForLeaderEpochReply::default() };
    ticket.answer(connection, &reply)
}

fn reply_row(row: &LeaderEpochPartition, outcome: &OffsetOutcome) -> LeaderEpochPartitionReply {
    let refused = |error_code| LeaderEpochPartitionReply {
        error_code,
        partition: row.partition,
        ..LeaderEpochPartitionReply::default()
    };
    if outcome.error != ErrorCode::None {
        return refused(error_map::kafka(outcome.error));
    }
    let current = i32::try_from(outcome.leader_epoch.0).unwrap_or(i32::MAX);
    if let Err(error) = fetch::check_epoch(row.current_leader_epoch, current) {
        return refused(error);
    }
    if row.leader_epoch < 0 || row.leader_epoch > current {
        // No epoch of that number has been: nothing is known of its end.
        return refused(KafkaError::NONE);
    }
    LeaderEpochPartitionReply {
        error_code: KafkaError::NONE,
        partition: row.partition,
        leader_epoch: row.leader_epoch,
        end_offset: i64::try_from(outcome.offset.0).unwrap_or(i64::MAX),
    }
}

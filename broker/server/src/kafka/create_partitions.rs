//! CreatePartitions: more partitions for topics that exist, each topic answered on its own.

use std::rc::Rc;

use ouzel_broker_core::Command;
use ouzel_protocol::kafka::{
    CreatePartitionsReply, CreatePartitionsRequest, CreatePartitionsResult, CreatePartitionsTopic, KafkaError,
};

use super::refusal::{Refusal, change, error_code, error_message, repeated};
use super::request::{KafkaRequest, Ticket};
use super::{metadata, names, replicas};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::refresh;
use crate::shard::ShardState;

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: CreatePartitionsRequest<'_> = request.message()?;
    let state = &connection.state;
    refresh(state).await;
    let repeated = repeated(asked.topics.iter().map(|topic| topic.name));
    let mut outcomes = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        outcomes.push(if repeated.contains(topic.name) {
            Err(Refusal::new(KafkaError::INVALID_REQUEST, "Duplicate topic name."))
        } else {
            add(state, &topic, asked.validate_only).await
        });
    }
    let results = asked.topics.iter().zip(&outcomes).map(|(topic, outcome)| CreatePartitionsResult {
        name: topic.name,
        error_code: error_code(outcome),
        error_message: error_message(outcome),
    });
    let reply = CreatePartitionsReply { results: results.collect(), ..CreatePartitionsReply::default() };
    ticket.answer(connection, &reply)
}

async fn add(state: &ShardState, asked: &CreatePartitionsTopic<'_>, validate_only: bool) -> Result<(), Refusal> {
    let refused = |error, message: String| Err(Refusal::new(error, message));
    let Some(topic) = names::topic(state, asked.name) else {
        let message = "This server does not host this topic-partition.".to_owned();
        return refused(KafkaError::UNKNOWN_TOPIC_OR_PARTITION, message);
    };
    let has = topic.partitions.len();
    let wanted = match usize::try_from(asked.count) {
        Ok(wanted) if wanted > has => wanted,
        Ok(wanted) if wanted == has => {
            let message = format!("Topic already has {has} partition(s).");
            return refused(KafkaError::INVALID_PARTITIONS, message);
        }
        _ => {
            let wanted = asked.count;
            let message = format!(
                "The topic {} currently has {has} partition(s); {wanted} would not be an increase.",
                asked.name
            );
            return refused(KafkaError::INVALID_PARTITIONS, message);
        }
    };
    if let Some(assignments) = &asked.assignments {
        let (added, given) = (wanted - has, assignments.len());
        if added != given {
            let message = format!(
                "Attempted to add {added} additional partition(s), but only {given} assignment(s) were specified."
            );
            return refused(KafkaError::INVALID_REPLICA_ASSIGNMENT, message);
        }
        for assignment in assignments {
            replicas::check(metadata::node(state.node), &assignment.broker_ids)?;
        }
    }
    let command = Command::AlterTopic {
        name: asked.name.to_owned(),
        partitions: Some(u32::try_from(wanted).unwrap_or(u32::MAX)),
        configs: Vec::new(),
    };
    change(state, command, validate_only).await
}

//! DescribeLogDirs: the data directory and how much of it each partition takes, asked of the partitions' owners. What is asked for
//! and is not there is left out, as Kafka does.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::Topic;
use ouzel_protocol::PartitionIndex;
use ouzel_protocol::kafka::{
    DescribeLogDirsReply, DescribeLogDirsRequest, KafkaError, LogDir, LogDirPartition, LogDirTopic,
};

use super::names;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::{refresh, statuses};
use crate::lanes::{PartitionRef, PartitionStatus};

/// The version from which on the volume is described.
const WITH_VOLUME: i16 = 4;

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DescribeLogDirsRequest<'_> = request.message()?;
    let state = &connection.state;
    refresh(state).await;
    let mut wanted: Vec<(Arc<Topic>, Vec<u32>)> = Vec::new();
    match &asked.topics {
        None => {
            let all = |topic: &Arc<Topic>| (Arc::clone(topic), topic.indexed().map(|(index, _)| index.0).collect());
            wanted.extend(state.topics.image().topics().map(all));
        }
        Some(topics) => {
            // Each once, however often it is named.
            let mut indices: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
            for topic in topics {
                let known = topic.partitions.iter().filter_map(|index| u32::try_from(index).ok());
                indices.entry(topic.topic).or_default().extend(known);
            }
            for (name, indices) in indices {
                if let Some(topic) = names::topic(state, name) {
                    wanted.push((topic, indices.into_iter().collect()));
                }
            }
        }
    }
    let rows: Vec<PartitionRef> = wanted
        .iter()
        .flat_map(|(topic, indices)| indices.iter().map(|index| (topic.topic_id, PartitionIndex(*index))))
        .map(|(topic_id, partition)| PartitionRef { topic_id, partition })
        .collect();
    let mut found = rows.iter().zip(statuses(state, &rows).await);
    let topics: Vec<LogDirTopic<'_>> = wanted
        .iter()
        .map(|(topic, indices)| LogDirTopic {
            name: &topic.name,
            partitions: found.by_ref().take(indices.len()).filter_map(|(at, status)| row(*at, status)).collect(),
        })
        .filter(|topic| !topic.partitions.is_empty())
        .collect();
    let usable_bytes = match request.version {
        WITH_VOLUME.. => state.shard.fs().free_bytes(state.store.data_dir()).await.ok(),
        _ => None,
    };
    let log_dir = state.log_dir();
    let directory = LogDir {
        error_code: if state.store.poisoned().is_some() { KafkaError::KAFKA_STORAGE_ERROR } else { KafkaError::NONE },
        log_dir: &log_dir,
        topics: topics.into(),
        usable_bytes: usable_bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        ..LogDir::default()
    };
    let reply = DescribeLogDirsReply { results: [directory].into_iter().collect(), ..DescribeLogDirsReply::default() };
    ticket.answer(connection, &reply)
}

fn row(at: PartitionRef, status: PartitionStatus) -> Option<LogDirPartition> {
    status.is_known().then(|| LogDirPartition {
        partition_index: i32::try_from(at.partition.0).unwrap_or(i32::MAX),
        partition_size: i64::try_from(status.bytes).unwrap_or(i64::MAX),
        offset_lag: 0,
        is_future_key: false,
    })
}

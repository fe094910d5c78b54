//! DescribeCluster, DescribeLogDirs and ListPartitionReassignments: the node, what its disk holds, and that nothing moves.

use std::collections::BTreeMap;
use std::rc::Rc;

use ouzel_protocol::kafka::{
    ClusterBroker, DescribeClusterReply, DescribeClusterRequest, DescribeLogDirsReply, DescribeLogDirsRequest,
    KafkaError, ListPartitionReassignmentsReply, ListPartitionReassignmentsRequest, LogDir, LogDirPartition,
    LogDirTopic, MetadataBroker,
};

use super::metadata::{self, CLUSTER_ID};
use super::names;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::{refresh, statuses};

/// Asks for brokers, where 2 would ask for controllers.
const BROKERS: i8 = 1;

pub(crate) fn describe(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DescribeClusterRequest = request.message()?;
    let host = metadata::host(connection);
    let MetadataBroker { node_id, port, .. } = metadata::broker(&connection.state, &host);
    let broker = ClusterBroker { broker_id: node_id, host: &host, port, rack: None, is_fenced: false };
    let reply = if asked.endpoint_type == BROKERS {
        DescribeClusterReply {
            cluster_id: CLUSTER_ID,
            controller_id: node_id,
            brokers: [broker].into_iter().collect(),
            ..DescribeClusterReply::default()
        }
    } else {
        DescribeClusterReply {
            error_code: KafkaError::MISMATCHED_ENDPOINT_TYPE,
            error_message: Some("this is a broker: controllers are asked elsewhere"),
            endpoint_type: asked.endpoint_type,
            ..DescribeClusterReply::default()
        }
    };
    ticket.answer(connection, &reply)
}

pub(crate) async fn log_dirs(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DescribeLogDirsRequest<'_> = request.message()?;
    let state = &connection.state;
    refresh(state).await;
    let image = state.topics.image();
    let topics: Vec<_> = match &asked.topics {
        None => image.topics().cloned().map(|topic| (topic, None)).collect(),
        Some(rows) => {
            let mut wanted: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for row in rows {
                wanted.entry(row.topic).or_default().extend(row.partitions.iter());
            }
            // What is not known is left out, as Kafka does.
            wanted.into_iter().filter_map(|(name, rows)| Some((names::topic(state, name)?, Some(rows)))).collect()
        }
    };
    let mut rows = Vec::with_capacity(topics.len());
    for (topic, wanted) in &topics {
        let of_partitions = (0i32..).zip(statuses(state, topic).await);
        let is_wanted = |index: i32| wanted.as_ref().is_none_or(|wanted| wanted.contains(&index));
        let partitions = of_partitions.filter(|(index, _)| is_wanted(*index)).map(|(index, status)| LogDirPartition {
            partition_index: index,
            partition_size: i64::try_from(status.bytes).unwrap_or(i64::MAX),
            offset_lag: 0,
            is_future_key: false,
        });
        rows.push(LogDirTopic { name: &topic.name, partitions: partitions.collect() });
    }
    let directory = state.store.data_dir().display().to_string();
    let directory = LogDir { log_dir: &directory, topics: rows.into(), ..LogDir::default() };
    let reply = DescribeLogDirsReply { results: [directory].into_iter().collect(), ..DescribeLogDirsReply::default() };
    ticket.answer(connection, &reply)
}

/// Nothing moves between nodes where there is one.
pub(crate) fn reassignments(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let _: ListPartitionReassignmentsRequest<'_> = request.message()?;
    let reply = ListPartitionReassignmentsReply { error_message: None, ..ListPartitionReassignmentsReply::default() };
    ticket.answer(connection, &reply)
}

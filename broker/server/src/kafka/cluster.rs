//! DescribeCluster and ListPartitionReassignments: one node, and nothing ever on its way to another.

use std::rc::Rc;

use ouzel_protocol::kafka::{
    AUTHORIZED_OPERATIONS_NONE, ClusterBroker, DescribeClusterReply, DescribeClusterRequest, KafkaError,
    ListPartitionReassignmentsReply, ListPartitionReassignmentsRequest,
};

use super::metadata::{self, CLUSTER_OPERATIONS};
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::frame_reader::Fault;

/// What a request wants to see.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) fn describe(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DescribeClusterRequest = request.message()?;
    let state = &connection.state;
    let refused = match asked.endpoint_type {
        BROKERS => None,
        CONTROLLERS => {
            Some((KafkaError::MISMATCHED_ENDPOINT_TYPE, "The request was sent to an endpoint of the wrong type."))
        }
        _ => Some((KafkaError::UNSUPPORTED_ENDPOINT_TYPE, "There is no endpoint of this type.")),
    };
    if let Some((error_code, message)) = refused {
        let reply = DescribeClusterReply {
            error_code,
            error_message: Some(message),
            endpoint_type: asked.endpoint_type,
            ..DescribeClusterReply::default()
        };
        return ticket.answer(connection, &reply);
    }
    let cluster_id = state.cluster_id().to_string();
    let host = metadata::host(connection);
    let broker = metadata::broker(state, &host);
    let row = ClusterBroker {
        broker_id: broker.node_id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        is_fenced: false,
    };
    let reply = DescribeClusterReply {
        cluster_id: &cluster_id,
        controller_id: metadata::node(state.node),
        brokers: [row].into_iter().collect(),
        cluster_authorized_operations: if asked.include_cluster_authorized_operations {
            CLUSTER_OPERATIONS
        } else {
            AUTHORIZED_OPERATIONS_NONE
        },
        ..DescribeClusterReply::default()
    };
    ticket.answer(connection, &reply)
}

pub(crate) fn list_reassignments(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
) -> Result<(), Fault> {
    let _: ListPartitionReassignmentsRequest<'_> = request.message()?;
    let reply = ListPartitionReassignmentsReply { error_message: None, ..ListPartitionReassignmentsReply::default() };
    ticket.answer(connection, &reply)
}

//! Metadata: the broker, and topics with their partitions. Creates a topic that is asked for and is not there, where the
//! request and the configuration allow it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::{Partition, Topic};
use ouzel_protocol::kafka::{
    AUTHORIZED_OPERATIONS_NONE, KafkaError, MetadataBroker, MetadataPartition, MetadataReply, MetadataRequest,
    MetadataRequestTopic, MetadataTopic,
};
use ouzel_protocol::{NodeId, PartitionIndex, TopicId, check_topic_name};

use super::names;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::{advertised_host, create_with_defaults, refresh};
use crate::shard::ShardState;

/// The version in which no topic asked for means all of them.
const EMPTY_IS_ALL: i16 = 0;

/// What was found of one topic.
enum Found {
    Known(Arc<Topic>),
    Refused { error: KafkaError, name: Option<String>, topic_id: TopicId },
}

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: MetadataRequest<'_> = request.message()?;
    let state = &connection.state;
    let found = match &asked.topics {
        None => all(state).await,
        Some(topics) if topics.is_empty() && request.version == EMPTY_IS_ALL => all(state).await,
        Some(topics) => {
            names::look_up(state, topics.iter().filter_map(|topic| topic.name)).await;
            // Each once, as Kafka does: an answer may be thousands of times as long as its question.
            let mut seen = BTreeSet::new();
            let mut found = Vec::new();
            for topic in topics {
                if seen.insert((topic.name, topic.topic_id)) {
                    found.push(find(state, &topic, asked.allow_auto_topic_creation).await);
                }
            }
            found
        }
    };
    let cluster_id = state.cluster_id().to_string();
    let host = host(connection);
    let topic_operations = asked.include_topic_authorized_operations.then_some(TOPIC_OPERATIONS);
    let cluster_operations = asked.include_cluster_authorized_operations.then_some(CLUSTER_OPERATIONS);
    let reply = MetadataReply {
        brokers: [broker(state, &host)].into_iter().collect(),
        cluster_id: Some(&cluster_id),
        controller_id: node(state.node),
        topics: found.iter().map(|found| row(state, found, topic_operations)).collect(),
        cluster_authorized_operations: cluster_operations.unwrap_or(AUTHORIZED_OPERATIONS_NONE),
        ..MetadataReply::default()
    };
    ticket.answer(connection, &reply)
}

/// What anybody may do with a topic, as bits of Kafka's `AclOperation`: read (3), write (4), create (5), delete (6), alter (7),
/// describe (8), and describe (10) and alter (11) its configurations.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

/// What anybody may do with the cluster: create (5), alter (7), describe (8), act as a broker (9), describe (10) and alter (11)
/// configurations, and write with an idempotent producer (12).
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

/// A node as Kafka's messages name it.
pub(super) fn node(node: NodeId) -> i32 {
    i32::try_from(node.0).unwrap_or(i32::MAX)
}

/// The host that a client is to be told.
pub(super) fn host(connection: &Connection) -> String {
    let bound = connection.state.addresses.kafka.map_or(connection.peer.ip(), |address| address.ip());
    if bound.is_loopback() {
        return loopback_for(bound, connection.peer.ip()).to_string();
    }
    advertised_host(bound, connection.peer).to_string()
}

/// The loopback address to tell a client on this host. Both families are listened on: it can reach the one that it came by. Its
/// own address may be any of the loopback's, and says no more than the family.
fn loopback_for(bound: IpAddr, client: IpAddr) -> IpAddr {
    match (bound, client.to_canonical()) {
        (IpAddr::V4(_), IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        (IpAddr::V6(_), IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => bound,
    }
}

/// This node, for a client that comes by this host.
pub(super) fn broker<'a>(state: &ShardState, host: &'a str) -> MetadataBroker<'a> {
    let port = state.addresses.kafka.map_or(0, |address| address.port());
    MetadataBroker { node_id: node(state.node), host, port: port.into(), rack: None }
}

async fn all(state: &ShardState) -> Vec<Found> {
    refresh(state).await;
    state.topics.image().topics().cloned().map(Found::Known).collect()
}

async fn find(state: &ShardState, asked: &MetadataRequestTopic<'_>, may_create: bool) -> Found {
    let refused = |error| Found::Refused { error, name: asked.name.map(str::to_owned), topic_id: asked.topic_id };
    let Some(name) = asked.name else {
        let known = state.topics.image().topic(asked.topic_id).cloned();
        if let Some(topic) = known {
            return Found::Known(topic);
        }
        refresh(state).await;
        let known = state.topics.image().topic(asked.topic_id).cloned();
        return known.map_or_else(|| refused(KafkaError::UNKNOWN_TOPIC_ID), Found::Known);
    };
    if let Some(topic) = names::topic(state, name) {
        return Found::Known(topic);
    }
    if check_topic_name(name).is_err() {
        return refused(KafkaError::INVALID_TOPIC_EXCEPTION);
    }
    if !(may_create && state.topic_defaults.auto_create) {
        return refused(KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    }
    match create_with_defaults(state, name).await {
        Ok(topic) => Found::Known(topic),
        Err(error) => refused(error_map::kafka(error)),
    }
}

fn row<'a>(state: &ShardState, found: &'a Found, operations: Option<i32>) -> MetadataTopic<'a> {
    match found {
        Found::Known(topic) => MetadataTopic {
            error_code: KafkaError::NONE,
            name: Some(&topic.name),
            topic_id: topic.topic_id,
            is_internal: topic.is_internal(),
            partitions: topic.indexed().map(|(index, partition)| partition_row(state, index, partition)).collect(),
            topic_authorized_operations: operations.unwrap_or(AUTHORIZED_OPERATIONS_NONE),
        },
        Found::Refused { error, name, topic_id } => MetadataTopic {
            error_code: *error,
            name: Some(name.as_deref().unwrap_or_default()),
            topic_id: *topic_id,
            ..MetadataTopic::default()
        },
    }
}

fn partition_row<'a>(state: &ShardState, index: PartitionIndex, partition: &Partition) -> MetadataPartition<'a> {
    let leader = partition.leader.map(node);
    MetadataPartition {
        error_code: if leader.is_some() { KafkaError::NONE } else { KafkaError::LEADER_NOT_AVAILABLE },
        partition_index: i32::try_from(index.0).unwrap_or(i32::MAX),
        leader_id: leader.unwrap_or(-1),
        leader_epoch: epoch(partition),
        replica_nodes: [node(state.node)].into_iter().collect(),
        isr_nodes: [node(state.node)].into_iter().collect(),
        ..MetadataPartition::default()
    }
}

/// The epoch of a partition's leader as Kafka's messages name it.
pub(super) fn epoch(partition: &Partition) -> i32 {
    i32::try_from(partition.leader_epoch.0).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_on_this_host_is_told_what_is_listened_on_and_not_its_own_address() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        for (bound, client, expected) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.9", "127.0.0.1"),
            ("127.0.0.1", "::ffff:127.0.0.9", "127.0.0.1"),
            ("127.0.0.1", "::1", "::1"),
            ("::1", "127.0.0.1", "127.0.0.1"),
            ("127.0.0.3", "127.0.0.1", "127.0.0.3"),
        ] {
            assert_eq!(loopback_for(address(bound), address(client)), address(expected), "{bound} {client}");
        }
    }
}

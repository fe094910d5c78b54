//! Metadata: the nodes with the port of each shard, and the topics with the owner of each partition, so that a client
//! can talk to the owner directly.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;

use ouzel_broker_core::{MetadataImage, Topic};
use ouzel_protocol::native::{Api, MetadataReply, MetadataRequest, NodeInfo, PartitionInfo, TopicInfo, reply_frame};
use ouzel_protocol::{ErrorCode, TopicId, check_topic_name};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::refresh;
use crate::request::Request;

pub(crate) async fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let asked = MetadataRequest::decode(&request.body)?;
    let state = &connection.state;
    if let Some(names) = &asked.topics {
        let image = state.topics.image();
        if names.iter().any(|name| check_topic_name(name).is_ok() && image.topic_named(name).is_none()) {
            refresh(state).await;
        }
    }
    let image = state.topics.image();
    let topics = match &asked.topics {
        None => image.topics().map(|topic| known(topic)).collect(),
        Some(names) => {
            // Each once: an answer may be thousands of times as long as its question.
            let mut seen = BTreeSet::new();
            names.iter().filter(|name| seen.insert(name.as_str())).map(|name| named(&image, name)).collect()
        }
    };
    let host = advertised_host(state.addresses.native.ip(), connection.peer).to_string();
    let node = NodeInfo {
        node: state.node,
        host,
        port: state.addresses.native.port(),
        shard_ports: state.addresses.shards.iter().map(SocketAddr::port).collect(),
    };
    let reply = MetadataReply { version: image.version(), nodes: vec![node], topics };
    connection.reply(reply_frame(Api::Metadata, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

fn named(image: &MetadataImage, name: &str) -> TopicInfo {
    let refused = |error| TopicInfo { error, name: name.to_owned(), topic_id: TopicId(0), partitions: Vec::new() };
    match image.topic_named(name) {
        Some(topic) => known(topic),
        None if check_topic_name(name).is_err() => refused(ErrorCode::InvalidTopic),
        None => refused(ErrorCode::UnknownTopicOrPartition),
    }
}

fn known(topic: &Topic) -> TopicInfo {
    let partitions = topic.indexed().map(|(index, partition)| PartitionInfo {
        index,
        leader: partition.leader,
        shard: partition.shard,
        leader_epoch: partition.leader_epoch,
    });
    TopicInfo {
        error: ErrorCode::None,
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: partitions.collect(),
    }
}

/// The address to give to a peer: the one we are bound to, or, when that is "any", the one this host has towards the
/// peer. Asking for it sends nothing.
pub(crate) fn advertised_host(bound: IpAddr, peer: SocketAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    let towards = || {
        let socket = UdpSocket::bind(SocketAddr::new(bound, 0))?;
        socket.connect(peer)?;
        socket.local_addr()
    };
    match towards() {
        Ok(address) => address.ip().to_canonical(),
        Err(error) => {
            tracing::warn!(%peer, %error, "the address towards a client is not known; the bound one is given");
            bound
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_never_advertised() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let any = IpAddr::from([0, 0, 0, 0]);
        assert_eq!(advertised_host(any, peer), IpAddr::from([127, 0, 0, 1]));
        let bound = IpAddr::from([10, 1, 2, 3]);
        assert_eq!(advertised_host(bound, peer), bound);
    }
}

//! The name of a cluster: made once, kept for ever, and the same whoever asks.

mod support;

use std::path::Path;

use ouzel_protocol::kafka::{DescribeClusterReply, DescribeClusterRequest, MetadataReply, MetadataRequest};
use ouzel_protocol::native::{Api, DescribeClusterReply as NativeReply, DescribeClusterRequest as NativeRequest};
use support::kafka::{KafkaClient, start};
use support::{Client, directory};

/// What a broker on this directory says, every way of asking, and on each shard.
fn named(data_dir: &Path, shards: u16) -> String {
    let broker = start(data_dir, shards);
    let mut kafka = KafkaClient::connect(&broker);
    let described = kafka.ask(1, &DescribeClusterRequest::default());
    let name = described.decode::<DescribeClusterReply<'_>>().cluster_id.to_owned();
    for version in [2, 12] {
        let metadata = kafka.ask(version, &MetadataRequest::default());
        assert_eq!(metadata.decode::<MetadataReply<'_>>().cluster_id, Some(name.as_str()));
    }
    for address in &broker.addresses().shards {
        let body = Client::connect(*address).call(Api::DescribeCluster, |out| NativeRequest {}.encode(out));
        assert_eq!(NativeReply::decode(&body).expect("a reply").cluster_id.to_string(), name);
    }
    broker.stop().expect("a clean stop");
    name
}

#[test]
fn a_cluster_keeps_its_name_and_no_two_have_the_same() {
    let (first, second) = (directory(), directory());
    let name = named(first.path(), 2);
    // As Kafka writes one: a UUID of version 4, in base64 for URLs.
    assert_eq!(name.len(), 22, "{name}");
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{name}");
    assert!(!name.starts_with('-'), "{name}");
    for shards in [1, 3] {
        assert_eq!(named(first.path(), shards), name);
    }
    assert_ne!(named(second.path(), 1), name);
}

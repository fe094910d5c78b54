//! Lists the topics of a cluster with their partitions, offsets and sizes.
//!
//! `cargo run --example admin -- [HOST:PORT]`, by default 127.0.0.1:9192.

use ouzel_client::{Client, ClientConfig, ClientError};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let bootstrap = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9192".into());
    let admin = Client::connect(bootstrap, ClientConfig::default()).await?.admin();

    for node in admin.metadata(Some(Vec::new())).await?.nodes {
        println!("node {} at {}:{}, shard ports {:?}", node.node, node.host, node.port, node.shard_ports);
    }
    for (name, topic_id, _) in admin.list_topics().await? {
        println!("{name} ({topic_id})");
        for partition in admin.describe_topic(&name).await?.partitions {
            println!(
                "  partition {} on shard {}: offsets {}..{}, {} bytes, {}",
                partition.index,
                partition.shard,
                partition.log_start,
                partition.end_offset,
                partition.bytes,
                partition.state
            );
        }
    }
    Ok(())
}

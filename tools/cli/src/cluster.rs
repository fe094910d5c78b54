//! `ouzel cluster status`: how a node and its shards are, and what they have done since their start. Owns how it is shown;
//! the broker counts. Runs on the CLI's main thread.

use anyhow::Result;
use ouzel_protocol::ClusterId;
use ouzel_protocol::native::{Counter, DescribeNodeReply, DescribedShard, counters};
use serde_json::{Map, Value, json};

use crate::args::{ClusterCommand, GlobalArgs};
use crate::connect::{block_on, connect};
use crate::output::{print_json, print_line, table};
use crate::units::human_bytes;

/// Does one thing with the cluster.
pub(crate) fn run(command: &ClusterCommand, global: &GlobalArgs) -> Result<()> {
    match command {
        ClusterCommand::Status => block_on(async {
            let admin = connect(global).await?.admin();
            let (cluster_id, node) = (admin.cluster_id().await?, admin.describe_node().await?);
            if global.json { print_json(&as_json(cluster_id, &node)) } else { print_line(&as_text(cluster_id, &node)) }
        }),
    }
}

fn as_json(cluster_id: ClusterId, node: &DescribeNodeReply) -> Value {
    let object = |counters: &[Counter]| -> Map<String, Value> {
        counters.iter().map(|counter| (counter.name.clone(), counter.value.into())).collect()
    };
    let shards: Vec<Value> = node
        .shards
        .iter()
        .map(|shard| {
            json!({
                "shard": shard.shard.0,
                "state": shard.state,
                "reason": shard.reason,
                "counters": object(&shard.counters),
            })
        })
        .collect();
    json!({
        "cluster_id": cluster_id.to_string(),
        "nodes": [{
            "node": node.node.0,
            "uptime_ms": node.uptime_ms,
            "counters": object(&node.counters),
            "shards": shards,
        }],
    })
}

fn as_text(cluster_id: ClusterId, node: &DescribeNodeReply) -> String {
    let cpu_us = node.counter(counters::CPU_USER_US) + node.counter(counters::CPU_SYSTEM_US);
    let head = format!(
        "cluster {cluster_id}\nnode {}, up {:.1} s, {:.2} s of CPU, {} of memory",
        node.node,
        node.uptime_ms as f64 / 1e3,
        cpu_us as f64 / 1e6,
        human_bytes(node.counter(counters::RSS_BYTES)),
    );
    let header = [
        "shard",
        "state",
        "partitions",
        "connections",
        "payload",
        "journal",
        "segments",
        "commits",
        "syncs",
        "wraps",
        "in journal",
        "dirty",
        "cache",
        "requests",
    ];
    let numbers: Vec<usize> = [0].into_iter().chain(2..header.len()).collect();
    let shards = table(&header, &numbers, node.shards.iter().map(row));
    let reasons: String = node
        .shards
        .iter()
        .filter(|shard| !shard.reason.is_empty())
        .map(|shard| format!("\nshard {} is {}: {}", shard.shard, shard.state, shard.reason))
        .collect();
    format!("{head}\n\n{shards}{reasons}")
}

fn row(shard: &DescribedShard) -> Vec<String> {
    let bytes = |name| human_bytes(shard.counter(name));
    let count = |name| shard.counter(name).to_string();
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let requests: u64 = shard
        .counters
        .iter()
        .filter(|counter| counter.name.starts_with(counters::REQUESTS_PREFIX))
        .map(|counter| counter.value)
        .sum();
    let in_journal = share(shard.counter(counters::JOURNAL_USED_BYTES), shard.counter(counters::JOURNAL_BYTES_MAX));
    let wraps = share(shard.counter(counters::JOURNAL_FILES_TAKEN), shard.counter(counters::JOURNAL_FILES));
    vec![
        shard.shard.to_string(),
        shard.state.clone(),
        count(counters::PARTITIONS),
        count(counters::CONNECTIONS),
        bytes(counters::PAYLOAD_BYTES),
        bytes(counters::JOURNAL_BYTES),
        bytes(counters::SEGMENT_BYTES),
        count(counters::JOURNAL_COMMITS),
        (shard.counter(counters::JOURNAL_SYNCS) + shard.counter(counters::SEGMENT_SYNCS)).to_string(),
        format!("{wraps:.1}"),
        format!("{:.0} %", in_journal * 100.0),
        bytes(counters::DIRTY_BYTES),
        bytes(counters::CACHE_BYTES),
        requests.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{NodeId, ShardIndex};

    use super::*;

    fn node() -> DescribeNodeReply {
        let counters = vec![
            Counter::new(counters::JOURNAL_FILES_TAKEN, 5),
            Counter::new(counters::JOURNAL_FILES, 2),
            Counter::new(counters::JOURNAL_USED_BYTES, 1),
            Counter::new(counters::JOURNAL_BYTES_MAX, 4),
            Counter::new("requests.produce", 40),
            Counter::new("requests.fetch", 2),
        ];
        DescribeNodeReply {
            node: NodeId(7),
            uptime_ms: 1500,
            counters: vec![Counter::new(counters::CPU_USER_US, 250_000)],
            shards: vec![DescribedShard {
                shard: ShardIndex(0),
                state: "poisoned".to_string(),
                reason: "journal write: no".to_string(),
                counters,
            }],
        }
    }

    #[test]
    fn the_table_shows_ratios_and_why_a_shard_is_not_online() {
        let text = as_text(ClusterId(0), &node());
        assert!(text.starts_with("cluster AAAAAAAAAAAAAAAAAAAAAA\nnode 7, up 1.5 s, 0.25 s of CPU"), "{text}");
        for shown in ["2.5", "25 %", "42", "shard 0 is poisoned: journal write: no"] {
            assert!(text.contains(shown), "{shown} is not in {text}");
        }
    }

    #[test]
    fn json_holds_every_counter_by_its_name() {
        let json = as_json(ClusterId(0), &node());
        assert_eq!(json["cluster_id"], "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(json["nodes"][0]["shards"][0]["counters"]["requests.produce"], 40);
        assert_eq!(json["nodes"][0]["counters"]["cpu_user_us"], 250_000);
    }
}

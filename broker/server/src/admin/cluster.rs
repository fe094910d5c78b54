//! The cluster and its shards as JSON. `/api/v1/cluster` is what `ouzel cluster status --json` prints, with where the node
//! listens; `/api/v1/shards` adds what waits at each shard and how full it is.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use ouzel_protocol::native::Counter;
use serde_json::{Map, Value, json};

use super::answer::{Answer, json_of};
use super::health::word;
use super::lane::{AdminQuestion, ShardSnapshot};
use super::shards::NoAnswer;
use super::{Admin, metrics};
use crate::lanes::ShardAddress;
use crate::process;

type Answered = Result<Box<ShardSnapshot>, NoAnswer>;

pub(super) async fn cluster(State(admin): State<Arc<Admin>>) -> Answer {
    let mut asking = admin.shards.asking();
    let image = asking.image().await?;
    let answers = asking.all(|reply| AdminQuestion::Shard { reply }).await;
    let uptime_ms = answers.iter().flatten().map(|shard| shard.uptime_ms).max().unwrap_or(0);
    let shards: Vec<Value> = (0u16..).zip(&answers).map(|(shard, answer)| in_short(shard, answer)).collect();
    let addresses = &admin.addresses;
    Ok(json_of(&json!({
        "cluster_id": image.cluster_id().map(|cluster_id| cluster_id.to_string()),
        "topics": image.topics().count(),
        "partitions": image.partition_count(),
        "nodes": [{
            "node": admin.node.0,
            "version": env!("CARGO_PKG_VERSION"),
            "phase": word(admin.shards.phase()),
            "uptime_ms": uptime_ms,
            "addresses": {
                "kafka": addresses.kafka.map(|address| address.to_string()),
                "native": addresses.native.to_string(),
                "admin": addresses.admin.map(|address| address.to_string()),
                "shards": addresses.shards.iter().map(ToString::to_string).collect::<Vec<_>>(),
            },
            "counters": object(&process::counters()),
            "shards": shards,
        }],
    })))
}

fn object(counters: &[Counter]) -> Map<String, Value> {
    counters.iter().map(|counter| (counter.name.clone(), counter.value.into())).collect()
}

fn in_short(shard: u16, answer: &Answered) -> Value {
    match answer.as_deref() {
        Ok(ShardSnapshot { described, .. }) => json!({
            "shard": shard,
            "state": described.state,
            "reason": described.reason,
            "counters": object(&described.counters),
        }),
        Err(why) => json!({ "shard": shard, "state": "silent", "reason": why.to_string(), "counters": {} }),
    }
}

pub(super) async fn shards(State(admin): State<Arc<Admin>>) -> Response {
    let answers = admin.shards.asking().all(|reply| AdminQuestion::Shard { reply }).await;
    let addresses = admin.shards.addresses();
    let rows: Vec<Value> = (0u16..)
        .zip(answers.iter().zip(addresses))
        .map(|(shard, (answer, address))| at_length(shard, answer, address))
        .collect();
    json_of(&json!({ "shards": rows }))
}

fn at_length(shard: u16, answer: &Answered, address: &ShardAddress) -> Value {
    let mut row = in_short(shard, answer);
    let Some(fields) = row.as_object_mut() else { return row };
    let queues: Map<String, Value> =
        metrics::queues(address).into_iter().map(|(lane, queued)| (lane.to_owned(), queued.into())).collect();
    fields.insert("queues".to_owned(), queues.into());
    if let Ok(ShardSnapshot { uptime_ms, stats, store, requests_in_flight, connection_bytes, .. }) = answer.as_deref() {
        let more = json!({
            "uptime_ms": uptime_ms,
            "partitions": stats.partitions,
            "requests_in_flight": requests_in_flight,
            "journal": {
                "occupancy": stats.journal_occupancy,
                "used_bytes": stats.journal_used_bytes,
                "bytes_max": stats.journal_bytes_max,
                "files": stats.journal_files,
            },
            "memory": {
                "dirty_bytes": stats.dirty_bytes,
                "cache_bytes": stats.cache_bytes,
                "connection_bytes": connection_bytes,
            },
            "cache": { "hits": store.reads_memory, "misses": store.reads_disk },
        });
        fields.extend(more.as_object().cloned().unwrap_or_default());
    }
    row
}

//! The connections of clients as JSON.

use std::sync::Arc;

use axum::extract::State;
use ouzel_protocol::ShardIndex;
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Refusal, json_of};
use super::lane::{AdminQuestion, ConnectionsSnapshot};
use crate::limits::ADMIN_ROW_COUNT_MAX;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let count_max = ADMIN_ROW_COUNT_MAX / admin.shards.addresses().len().max(1);
    let answers = admin.shards.asking().all(|reply| AdminQuestion::Connections { count_max, reply }).await;
    let mut rows: Vec<Value> = Vec::new();
    let mut left_out_count = 0;
    for (shard, answer) in (0..).map(ShardIndex).zip(answers) {
        let ConnectionsSnapshot { connections, left_out } = answer.map_err(|why| Refusal::by_shard(shard, why))?;
        left_out_count += left_out;
        rows.extend(connections.iter().map(|connection| {
            json!({
                "shard": shard.0,
                "peer": connection.peer.to_string(),
                "protocol": connection.protocol,
                "client": connection.client,
                "age_ms": connection.age_ms,
                "requests_in_flight": connection.requests_in_flight,
            })
        }));
    }
    Ok(json_of(&json!({ "connections": rows, "left_out": left_out_count })))
}

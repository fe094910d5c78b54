//! `/health` and `/ready`. Healthy: the process lives and every shard answers; a supervisor may restart what is not. Ready: the
//! broker has recovered, its listeners are open, and every shard runs; whoever sends clients here may do so. A shard whose
//! disk is full or whose log is poisoned still reads: both answers name its state and are yes all the same.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Admin;
use super::answer::with_status;
use super::lane::AdminQuestion;
use super::shards::{Phase, Shards};

/// Every shard with whether it answers.
pub(super) async fn health(State(admin): State<Arc<Admin>>) -> Response {
    let answers = admin.shards.asking().all(|reply| AdminQuestion::Shard { reply }).await;
    let is_healthy = answers.iter().all(Result::is_ok);
    let shards: Vec<Value> = (0..)
        .zip(&answers)
        .map(|(shard, answer): (u16, _)| match answer {
            Ok(answer) => json!({ "shard": shard, "state": answer.described.state, "reason": answer.described.reason }),
            Err(why) => json!({ "shard": shard, "state": "silent", "reason": why.to_string() }),
        })
        .collect();
    let status = if is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    with_status(status, &json!({ "healthy": is_healthy, "phase": word(admin.shards.phase()), "shards": shards }))
}

/// Why clients are not served; `None` where they are.
pub(super) fn unready(shards: &Shards) -> Option<String> {
    let gone = shards.addresses().iter().position(|address| address.admin.is_closed());
    match (shards.phase(), gone) {
        (Phase::Starting, _) => Some("the broker recovers and has not opened its listeners yet".to_owned()),
        (Phase::Stopping, _) => Some("the broker stops".to_owned()),
        (Phase::Serving, Some(shard)) => Some(format!("shard {shard} does not run")),
        (Phase::Serving, None) => None,
    }
}

/// Whether clients are served.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    match unready(&admin.shards) {
        None => with_status(StatusCode::OK, &json!({ "ready": true })),
        Some(why) => {
            let refusal = json!({ "ready": false, "what": "the broker is not ready", "why": why });
            with_status(StatusCode::SERVICE_UNAVAILABLE, &refusal)
        }
    }
}

/// The phase in a word.
pub(super) fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Serving => "serving",
        Phase::Stopping => "stopping",
    }
}

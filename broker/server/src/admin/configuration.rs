//! The settings that the broker runs with as JSON, as whoever started it told them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::Admin;
use super::answer::json_of;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Response {
    let settings: Vec<Value> = admin
        .settings
        .iter()
        .map(|setting| {
            json!({
                "key": setting.key,
                "value": setting.value,
                "effective": setting.effective,
                "source": setting.source,
                "default": setting.default,
                "range": setting.range,
                "explain": setting.explain,
                "why": setting.why,
            })
        })
        .collect();
    json_of(&json!({ "settings": settings }))
}

//! Which path is answered by what. Owns the composition: each part of the server is a router of its own, merged here.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::get;

use super::answer::Refusal;
use super::{Admin, cluster, connections, groups, health, metrics, topics};

/// All parts.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let api = Router::new()
        .route("/cluster", get(cluster::cluster))
        .route("/shards", get(cluster::shards))
        .route("/topics", get(topics::list))
        .route("/topics/{topic}", get(topics::describe))
        .route("/groups", get(groups::list))
        .route("/groups/{group}", get(groups::describe))
        .route("/connections", get(connections::list));
    let watched = Router::new()
        .route("/metrics", get(metrics::answer))
        .route("/health", get(health::health))
        .route("/ready", get(health::ready));
    Router::new()
        .merge(watched)
        .nest("/api/v1", api)
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .with_state(admin)
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::not_found(
        format!("nothing is served at {}", uri.path()),
        "there are /metrics, /health, /ready and, under /api/v1, cluster, shards, topics, groups and connections",
    )
}

async fn not_allowed(method: Method, uri: Uri) -> Refusal {
    Refusal::of(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not possible at {}", uri.path()),
        "the admin server is read only: use GET",
    )
}

//! Which path is answered by what. Owns the composition: each part of the server is a router of its own, merged here.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;

use super::answer::Refusal;
use super::{
    Admin, changes, cluster, configuration, connections, console, groups, guard, health, metrics, records, topics,
};

/// What supervisors ask for.
pub(super) const PROBES: [&str; 2] = [HEALTH, READY];
const HEALTH: &str = "/health";
const READY: &str = "/ready";

/// All parts.
pub(super) fn router(admin: Arc<Admin>) -> Router {
    let api = Router::new()
        .route("/cluster", get(cluster::cluster))
        .route("/shards", get(cluster::shards))
        .route("/topics", get(topics::list).post(changes::create))
        .route("/topics/{topic}", get(topics::describe).delete(changes::delete))
        .route("/topics/{topic}/partitions/{partition}/records", get(records::list))
        .route("/groups", get(groups::list))
        .route("/groups/{group}", get(groups::describe))
        .route("/connections", get(connections::list))
        .route("/configuration", get(configuration::list))
        .route_layer(from_fn_with_state(Arc::clone(&admin), guard::own_pages));
    let watched = Router::new()
        .route("/metrics", get(metrics::answer))
        .route(HEALTH, get(health::health))
        .route(READY, get(health::ready))
        .route_layer(from_fn(guard::no_other_site));
    Router::new()
        .merge(watched)
        .merge(console::pages())
        .nest("/api/v1", api)
        .fallback(unknown)
        .method_not_allowed_fallback(not_allowed)
        .layer(map_response(as_it_says))
        .with_state(admin)
}

/// Nothing that is served is taken for anything but what its content type says.
async fn as_it_says(mut response: Response) -> Response {
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::not_found(
        format!("nothing is served at {}", uri.path()),
        "there are the console at /, /metrics, /health, /ready and, under /api/v1, cluster, shards, topics, groups, connections \
         and configuration",
    )
}

async fn not_allowed(method: Method, uri: Uri) -> Refusal {
    Refusal::of(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not possible at {}", uri.path()),
        "what is only shown is asked for with GET; topics are made with POST and deleted with DELETE",
    )
}

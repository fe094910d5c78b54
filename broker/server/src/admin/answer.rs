//! What an answer of the admin server looks like: JSON, or an error that says what and why. Owns the shapes and the status
//! codes of errors; knows no route.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use ouzel_protocol::ShardIndex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::shards::NoAnswer;

/// A request that is not answered with what it asked for.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    what: String,
    why: String,
}

impl Refusal {
    /// The request names something that is not there.
    pub(super) fn not_found(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, what: what.into(), why: why.into() }
    }

    /// The broker cannot answer now.
    pub(super) fn unavailable(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, what: what.into(), why: why.into() }
    }

    /// The request is one that nobody answers.
    pub(super) fn of(status: StatusCode, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { status, what: what.into(), why: why.into() }
    }

    /// A shard that is needed for the answer gives none.
    pub(super) fn by_shard(shard: ShardIndex, why: NoAnswer) -> Self {
        Self::unavailable(format!("shard {shard} does not answer"), why.to_string())
    }
}

impl From<NoAnswer> for Refusal {
    fn from(why: NoAnswer) -> Self {
        Self::unavailable("no shard answers", why.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        with_status(self.status, &json!({ "what": self.what, "why": self.why }))
    }
}

/// What a path names, refused like anything else where it is not understood.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let named = Path::<T>::from_request_parts(parts, state).await;
        named.map(|Path(named)| Self(named)).map_err(|rejection| {
            Refusal::of(rejection.status(), format!("{} is not understood", parts.uri.path()), rejection.body_text())
        })
    }
}

/// What a handler of the JSON api gives.
pub(super) type Answer = Result<Response, Refusal>;

/// JSON as the whole answer.
pub(super) fn json_of(value: &Value) -> Response {
    with_status(StatusCode::OK, value)
}

/// JSON with a status of its own.
pub(super) fn with_status(status: StatusCode, value: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, format!("{value}\n")).into_response()
}

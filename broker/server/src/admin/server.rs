//! HTTP as the admin server speaks it: accepts connections, bounds what each may do, hands requests to the router. Owns every
//! bound: connections, requests at once, size and time of a header and of a body, time of a request. A body is read before its
//! request has its turn, so that a slow one holds up nobody. Lives on the admin's thread.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::answer::Refusal;
use super::open_connections::{InRequest, OpenConnections};
use super::{Admin, routes};
use crate::limits;

/// Answers requests until `ended` is told or dropped.
pub(super) async fn serve(listener: TcpListener, admin: Arc<Admin>, mut ended: oneshot::Receiver<()>) {
    let server =
        Server { router: routes::router(admin), turns: Arc::new(Semaphore::new(limits::ADMIN_REQUEST_COUNT_MAX)) };
    let mut open = OpenConnections::default();
    loop {
        let accepted = tokio::select! {
            _ = &mut ended => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => open.admit(|in_request| server.clone().connection(stream, in_request)),
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin server was not accepted");
                tokio::time::sleep(Duration::from_millis(limits::ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    /// Requests that are answered at once.
    turns: Arc<Semaphore>,
}

impl Server {
    async fn connection(self, stream: TcpStream, in_request: InRequest) {
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, in_request) = (self.clone(), in_request.clone());
            async move {
                let _busy = in_request.begin();
                Ok::<_, Infallible>(server.answer(request).await)
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(limits::ADMIN_HEADER_MS_MAX))
            .max_buf_size(limits::ADMIN_HEADER_BYTES_MAX);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        match timeout(Duration::from_millis(limits::ADMIN_CONNECTION_MS_MAX), connection).await {
            Ok(Ok(())) | Err(_) => {}
            // Whoever speaks no HTTP, or goes away, is no concern of the broker's.
            Ok(Err(error)) => tracing::debug!(%error, "a connection of the admin server ended"),
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Response {
        let Self { router, turns } = self;
        let path = request.uri().path().to_owned();
        let answered = timeout(Duration::from_millis(limits::ADMIN_REQUEST_MS_MAX), async {
            let (head, body) = request.into_parts();
            let Ok(body) = to_bytes(Body::new(body), limits::ADMIN_BODY_BYTES_MAX).await else {
                let why = format!("a body has at most {} bytes", limits::ADMIN_BODY_BYTES_MAX);
                return Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, "the body was not taken", why).into_response();
            };
            let request = Request::from_parts(head, Body::from(body));
            let _turn = turns.acquire().await;
            let Ok(response) = TowerToHyperService::new(router).call(request).await;
            response
        });
        answered.await.unwrap_or_else(|_| {
            let why = format!("there was no answer within {} ms", limits::ADMIN_REQUEST_MS_MAX);
            Refusal::unavailable(format!("{path} takes too long"), why).into_response()
        })
    }
}

//! HTTP as the admin server speaks it: accepts connections, bounds what each may do, hands requests to the router. Owns every
//! bound: connections, requests at once, size and time of a header and of a body, time of a request, age of a connection. A body
//! is read before its request has its turn, so that a slow one holds up nobody; the turn ends when the answer is written
//! (`server/delivery.rs`). Lives on the admin's thread.

mod delivery;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::answer::Refusal;
use super::open_connections::{InRequest, OpenConnections};
use super::{Admin, guard, routes};
use crate::limits;
use delivery::{Parts, Socket};

/// Questions of a supervisor that are answered at once, beside other requests: whoever does not read an answer must not
/// have the broker taken for dead.
const PROBE_COUNT_MAX: usize = 4;

// Each has one question at a shard at once, and those that were given up leave room.
const _: () = assert!(2 * (limits::ADMIN_REQUEST_COUNT_MAX + PROBE_COUNT_MAX) <= limits::ADMIN_LANE_COUNT_MAX);

/// Answers requests until `ended` is told or dropped.
pub(super) async fn serve(listener: TcpListener, admin: Arc<Admin>, mut ended: oneshot::Receiver<()>) {
    if let Ok(listens) = listener.local_addr() {
        guard::warn_of_others(listens);
    }
    let server = Server::new(routes::router(admin));
    let mut open = OpenConnections::default();
    loop {
        let accepted = tokio::select! {
            _ = &mut ended => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => open.admit(|in_request| {
                let age = Duration::from_millis(limits::ADMIN_CONNECTION_MS_MAX);
                server.clone().connection(stream, in_request, sleep(age))
            }),
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
    /// Requests that are answered at once: an answer has its turn until it is written.
    turns: Arc<Semaphore>,
    probe_turns: Arc<Semaphore>,
    /// Time for a part of an answer.
    part: Duration,
}

impl Server {
    fn new(router: Router) -> Self {
        let turns = |count| Arc::new(Semaphore::new(count));
        Self {
            router,
            turns: turns(limits::ADMIN_REQUEST_COUNT_MAX),
            probe_turns: turns(PROBE_COUNT_MAX),
            part: Duration::from_millis(delivery::PART_MS_MAX),
        }
    }

    /// Answers what is asked. Takes nothing new when it is `aged`, and ends when what was asked by then is answered.
    async fn connection(self, stream: TcpStream, in_request: InRequest, aged: impl Future<Output = ()>) {
        let (socket, handing) = Socket::new(stream, self.part);
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, busy, handing) = (self.clone(), in_request.begin(), handing.clone());
            async move {
                let (response, turn) = server.answer(request).await;
                Ok::<_, Infallible>(response.map(|whole| Parts::of(whole, (turn, busy), handing)))
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(limits::ADMIN_HEADER_MS_MAX))
            .max_buf_size(limits::ADMIN_HEADER_BYTES_MAX);
        let mut connection = pin!(http.serve_connection(TokioIo::new(socket), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = aged => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Whoever speaks no HTTP, reads nothing or goes away is no concern of the broker's.
            tracing::debug!(%error, "a connection of the admin server ended");
        }
    }

    /// The answer, and its turn.
    async fn answer(self, request: Request<Incoming>) -> (Response, Option<OwnedSemaphorePermit>) {
        let Self { router, turns, probe_turns, .. } = self;
        let path = request.uri().path().to_owned();
        let turns = if routes::PROBES.contains(&path.as_str()) { probe_turns } else { turns };
        let answered = timeout(Duration::from_millis(limits::ADMIN_REQUEST_MS_MAX), async {
            let (head, body) = request.into_parts();
            let body = match taken(body).await {
                Ok(body) => body,
                Err(refusal) => return (refusal.into_response(), None),
            };
            let request = Request::from_parts(head, Body::from(body));
            let turn = turns.acquire_owned().await.ok();
            let Ok(response) = TowerToHyperService::new(router).call(request).await;
            (response, turn)
        });
        answered.await.unwrap_or_else(|_| {
            let why = format!("there was no answer within {} ms", limits::ADMIN_REQUEST_MS_MAX);
            (Refusal::unavailable(format!("{path} takes too long"), why).into_response(), None)
        })
    }
}

/// The whole body of a request.
async fn taken(mut body: Incoming) -> Result<Bytes, Refusal> {
    let mut whole = BytesMut::new();
    while let Some(frame) = poll_fn(|ctx| Pin::new(&mut body).poll_frame(ctx)).await {
        let frame =
            frame.map_err(|error| Refusal::of(StatusCode::BAD_REQUEST, "the body broke off", error.to_string()))?;
        let part = frame.into_data().unwrap_or_default();
        if whole.len() + part.len() > limits::ADMIN_BODY_BYTES_MAX {
            let why = format!("a body has at most {} bytes", limits::ADMIN_BODY_BYTES_MAX);
            return Err(Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, "the body was not taken", why));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;

    /// More than all buffers between two sockets of one machine hold.
    const LARGE_BYTES: usize = 64 << 20;
    const PATIENCE: Duration = Duration::from_secs(60);

    async fn connected(
        server: &Server,
        in_request: InRequest,
        aged: impl Future<Output = ()> + Send + 'static,
    ) -> (TcpStream, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let client = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a connection");
        (client, tokio::spawn(server.clone().connection(stream, in_request, aged)))
    }

    fn large() -> Server {
        Server::new(Router::new().route("/", get(async || vec![b'x'; LARGE_BYTES])))
    }

    const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Asks, and reads the head of the answer.
    async fn ask(client: &mut TcpStream) {
        client.write_all(QUESTION).await.expect("it reads");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("an answer has begun"));
        }
    }

    #[tokio::test]
    async fn an_answer_has_its_turn_and_its_connection_is_busy_until_it_is_written() {
        let (server, in_request) = (large(), InRequest::default());
        let (mut client, _connection) = connected(&server, in_request.clone(), pending()).await;
        for _ in 0..2 {
            ask(&mut client).await;
            assert_eq!(server.turns.available_permits(), limits::ADMIN_REQUEST_COUNT_MAX - 1);
            assert!(in_request.is_busy());
            client.read_exact(&mut vec![0; LARGE_BYTES]).await.expect("it goes on");
            let all = u32::try_from(limits::ADMIN_REQUEST_COUNT_MAX).expect("a small number");
            let all = timeout(PATIENCE, server.turns.acquire_many(all)).await;
            drop(all.expect("the turn ends with the answer").expect("it is open"));
            assert!(!in_request.is_busy());
        }
    }

    #[tokio::test]
    async fn whoever_does_not_read_is_let_go_of() {
        let server = Server { part: Duration::from_millis(1), ..large() };
        let (mut client, connection) = connected(&server, InRequest::default(), pending()).await;
        ask(&mut client).await;
        timeout(PATIENCE, connection).await.expect("it ends").expect("no panic");
        assert_eq!(server.turns.available_permits(), limits::ADMIN_REQUEST_COUNT_MAX);
    }

    #[tokio::test]
    async fn a_connection_that_has_become_old_answers_what_it_was_asked() {
        let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (is_asked, goes_on) = (Arc::clone(&asked), Arc::clone(&go_on));
        let server = Server::new(Router::new().route(
            "/",
            get(async move || {
                is_asked.notify_one();
                goes_on.notified().await;
                "all of it"
            }),
        ));
        let (mut client, connection) = connected(&server, InRequest::default(), async move {
            asked.notified().await;
            go_on.notify_one();
        })
        .await;
        client.write_all(QUESTION).await.expect("it reads");
        let mut answer = String::new();
        timeout(PATIENCE, client.read_to_string(&mut answer)).await.expect("it ends").expect("an answer");
        assert!(answer.ends_with("\r\n\r\nall of it") && answer.contains("connection: close"), "{answer}");
        timeout(PATIENCE, connection).await.expect("it ends").expect("no panic");
    }
}

//! GET from the admin port, over one connection that is kept. Owns the connection and the bounds of an answer: time and bytes.
//! Knows nothing of what is asked for. Runs on the CLI's tokio runtime.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// Time for one answer. The broker itself gives up after ten seconds; a person sooner.
const ANSWER_MS_MAX: u64 = 5_000;
/// Bytes of one answer: several times what the admin server's own bounds let it write.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// Nobody listens there, or the name has no address.
    #[error("cannot reach the admin port of a broker at {address}")]
    Connect {
        /// Where.
        address: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// It is there and says nothing.
    #[error("{address} did not answer within {} s", ANSWER_MS_MAX / 1_000)]
    Late {
        /// Who.
        address: String,
    },
    /// The connection ended, or what came is no HTTP.
    #[error("{address} broke off")]
    Broken {
        /// Who.
        address: String,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The broker cannot say, or this is no broker.
    #[error("{address} refuses {path} ({status}): {said}")]
    Refused {
        /// Who.
        address: String,
        /// What was asked for.
        path: String,
        /// Its number.
        status: StatusCode,
        /// Its words.
        said: String,
    },
}

/// What the admin server says beside a status that is not 200.
#[derive(Deserialize)]
struct Refusal {
    what: String,
    why: String,
}

/// A client of one admin port.
pub(super) struct Http {
    address: String,
    connection: Option<Connection>,
}

/// One connection.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// The address that it leads to, whatever name led there: the admin server takes no names that it does not know.
    host: HeaderValue,
}

impl Http {
    /// Connects with the first request.
    pub(super) fn new(address: &str) -> Http {
        Http { address: address.to_string(), connection: None }
    }

    /// The body of what lies at `path`.
    ///
    /// # Errors
    /// [`HttpError`]; the next call connects anew.
    pub(super) async fn get(&mut self, path: &str) -> Result<Bytes, HttpError> {
        // Whatever was under way on the connection when time ran out would be taken for the next answer: it goes too.
        let mut kept = self.connection.take();
        let within = Duration::from_millis(ANSWER_MS_MAX);
        let answer = tokio::time::timeout(within, self.answer(&mut kept, path)).await;
        let (status, body) = answer.map_err(|_| HttpError::Late { address: self.address.clone() })??;
        self.connection = kept;
        if status == StatusCode::OK { Ok(body) } else { Err(self.refusal(path, status, &body)) }
    }

    async fn answer(&self, kept: &mut Option<Connection>, path: &str) -> Result<(StatusCode, Bytes), HttpError> {
        // The server closes a connection that is idle for some seconds, maybe just now: that is no news.
        if let Some(connection) = kept
            && let Ok(response) = self.ask(connection, path).await
        {
            return self.read(response).await;
        }
        let connection = kept.insert(self.connect().await?);
        let response = self.ask(connection, path).await.map_err(|source| self.broken(source))?;
        self.read(response).await
    }

    async fn connect(&self) -> Result<Connection, HttpError> {
        let failed = |source| HttpError::Connect { address: self.address.clone(), source };
        let stream = TcpStream::connect(&self.address).await.map_err(failed)?;
        let peer = stream.peer_addr().map_err(failed)?;
        // Without the zone that an IPv6 address may have: it means something on this host only.
        let host = SocketAddr::new(peer.ip(), peer.port()).to_string();
        let host = HeaderValue::from_str(&host).expect("an address is a header");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|source| self.broken(source))?;
        // It ends with its sender, and its error is the sender's too.
        tokio::spawn(connection);
        Ok(Connection { sender, host })
    }

    async fn ask(&self, connection: &mut Connection, path: &str) -> Result<Response<Incoming>, hyper::Error> {
        connection.sender.ready().await?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().expect("our own paths are paths");
        request.headers_mut().insert(header::HOST, connection.host.clone());
        connection.sender.send_request(request).await
    }

    async fn read(&self, response: Response<Incoming>) -> Result<(StatusCode, Bytes), HttpError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|source| HttpError::Broken { address: self.address.clone(), source })?;
        Ok((status, body.to_bytes()))
    }

    fn broken(&self, source: hyper::Error) -> HttpError {
        HttpError::Broken { address: self.address.clone(), source: Box::new(source) }
    }

    fn refusal(&self, path: &str, status: StatusCode, body: &[u8]) -> HttpError {
        let said = serde_json::from_slice(body).map_or_else(
            |_| "it is no admin port of this version".to_string(),
            |Refusal { what, why }| format!("{what}: {why}"),
        );
        HttpError::Refused { address: self.address.clone(), path: path.to_string(), status, said }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request a connection with `answer`, and closes.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 1024];
                if stream.read(&mut request).await.is_ok() {
                    // The client may have given up.
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_opened_again() {
        let address = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        let mut http = Http::new(&address);
        for _ in 0..3 {
            assert_eq!(http.get("/metrics").await.expect("an answer"), "hi");
        }
    }

    #[tokio::test]
    async fn the_host_that_is_asked_is_an_address_whatever_name_led_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut http = Http::new(&format!("localhost:{}", address.port()));
        let asked = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 1024];
            let bytes = stream.read(&mut request).await.expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("it reads");
            String::from_utf8_lossy(&request[..bytes]).into_owned()
        };
        let (answer, asked) = tokio::join!(http.get("/metrics"), asked);
        answer.expect("an answer");
        assert!(asked.lines().any(|line| line.to_ascii_lowercase() == format!("host: {address}")), "{asked}");
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_or_none_or_a_refusal_is_an_error_that_says_who() {
        for (answer, said) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\nhi", "broke off"),
            ("SSH-2.0-OpenSSH_9.2\r\n", "broke off"),
            ("HTTP/1.1 503 No\r\nContent-Length: 31\r\n\r\n{\"what\":\"no\",\"why\":\"it starts\"}", "no: it starts"),
            ("HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nhi", "no admin port"),
        ] {
            let address = server(answer).await;
            let error = Http::new(&address).get("/metrics").await.expect_err(answer).to_string();
            assert!(error.contains(said) && error.contains(&address), "{error}");
        }
        let error = Http::new("127.0.0.1:1").get("/metrics").await.expect_err("nobody").to_string();
        assert!(error.contains("127.0.0.1:1"), "{error}");
    }
}

//! Requests and replies of Kafka's protocol over plain sockets, and threads that send them. Owns no load.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use ouzel_protocol::kafka::{ApiKey, Message, append_request, decode_reply_header};

/// Nothing that is waited for takes as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// One connection, whose replies come in the order of its requests.
pub(super) struct Connection {
    stream: TcpStream,
    frame: Vec<u8>,
}

impl Connection {
    pub(super) fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, frame: Vec::new() })
    }

    pub(super) fn send<'a>(&mut self, version: i16, request: &impl Message<'a>) -> Result<()> {
        self.frame.clear();
        append_request(&mut self.frame, version, 0, Some("groups"), request)?;
        Ok(self.stream.write_all(&self.frame)?)
    }

    pub(super) fn receive(&mut self) -> Result<()> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        self.frame.resize(usize::try_from(i32::from_be_bytes(length))?, 0);
        Ok(self.stream.read_exact(&mut self.frame)?)
    }

    pub(super) fn reply<'a, M: Message<'a>>(&'a self, api: ApiKey, version: i16) -> Result<M> {
        let (_, body) = decode_reply_header(api, version, &self.frame)?;
        Ok(M::decode(body, version)?)
    }
}

/// Runs `work` on so many threads, each with its number and a connection.
pub(super) fn on_threads<T: Send>(
    count: usize,
    address: &str,
    work: impl Fn(usize, Connection) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let run = |number| {
            let work = &work;
            scope.spawn(move || work(number, Connection::open(address)?))
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

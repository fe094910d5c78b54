//! What the brokers of a test process write to their logs. Owns the one subscriber of the process; lines are told apart by the
//! address of the peer that they name.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, OnceLock, PoisonError};

static WRITTEN: Mutex<String> = Mutex::new(String::new());

/// Keeps what is written from here on.
pub fn keep() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| Keeper).init();
    });
}

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A connection as the log knows it.
#[derive(Clone, Copy)]
pub struct Peer {
    address: SocketAddr,
    /// What was written before is about others: ports are used again.
    from: usize,
}

/// The name by which the log knows this connection, which is new.
pub fn name(stream: &TcpStream) -> Peer {
    let from = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).len();
    Peer { address: stream.local_addr().expect("it is connected"), from }
}

/// The lines about a connection; empty where there is none. Another broker of this process may have a peer with the same port.
pub fn lines_about(peer: Peer) -> String {
    let named = format!("peer={} ", peer.address);
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written[peer.from..].lines().filter(|line| line.contains(&named)).collect::<Vec<_>>().join("\n")
}

/// The lines so far that contain `text`.
pub fn lines_with(text: &str) -> Vec<String> {
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

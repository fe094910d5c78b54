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

/// The name by which the log knows this connection.
pub fn name(stream: &TcpStream) -> SocketAddr {
    stream.local_addr().expect("it is connected")
}

/// The line about a connection; empty where there is none.
pub fn line_about(peer: SocketAddr) -> String {
    let named = format!("peer={peer} ");
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    // A port may have been another connection's before.
    written.lines().rfind(|line| line.contains(&named)).unwrap_or_default().to_owned()
}

/// The lines so far that contain `text`.
pub fn lines_with(text: &str) -> Vec<String> {
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

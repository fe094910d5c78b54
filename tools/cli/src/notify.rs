//! Tells systemd what the broker is doing (sd_notify). Owns one datagram; never fails a start because of it. Runs on
//! the CLI's main thread.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends `state` (such as `READY=1`) to the socket that systemd named in `NOTIFY_SOCKET`; does nothing without one.
pub(crate) fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(name.as_encoded_bytes(), state) {
        tracing::warn!(%error, state, "cannot notify systemd");
    }
}

fn send(name: &[u8], state: &str) -> std::io::Result<()> {
    // A leading @ names the abstract namespace, where a leading zero byte is meant.
    let address = match name {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_arrives_at_a_path_and_at_an_abstract_name() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join(OsStr::from_bytes(b"notify-\xff"));
        let receiver = UnixDatagram::bind(&path).expect("bind");
        send(path.as_os_str().as_encoded_bytes(), "READY=1").expect("send");
        let mut buf = [0; 16];
        let bytes = receiver.recv(&mut buf).expect("receive");
        assert_eq!(&buf[..bytes], b"READY=1");

        let name = format!("ouzel-notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("name");
        let receiver = UnixDatagram::bind_addr(&address).expect("bind");
        send(format!("@{name}").as_bytes(), "STOPPING=1").expect("send");
        let bytes = receiver.recv(&mut buf).expect("receive");
        assert_eq!(&buf[..bytes], b"STOPPING=1");
    }
}

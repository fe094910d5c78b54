//! How far a peer has come: bytes that it has acknowledged and bytes that have arrived from it, as the kernel counts them.
//! Asks and keeps nothing. Any core.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

/// Where `tcpi_bytes_acked` and `tcpi_bytes_received` lie in the kernel's `struct tcp_info` (include/uapi/linux/tcp.h),
/// which only ever grows at its end.
const ACKED_AT: usize = 120;
const RECEIVED_AT: usize = 128;
const INFO_BYTES: usize = RECEIVED_AT + mem::size_of::<u64>();

/// Bytes over the life of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerProgress {
    /// Bytes sent that the peer's kernel has acknowledged.
    pub acked: u64,
    /// Bytes that have arrived from the peer, read or not.
    pub received: u64,
}

pub(super) fn of(fd: &OwnedFd) -> io::Result<PeerProgress> {
    let mut info = [0_u8; INFO_BYTES];
    let mut length = libc::socklen_t::try_from(INFO_BYTES).expect("a few bytes");
    // SAFETY: the kernel writes at most `length` bytes into `info`, which is that long, and tells how many.
    let result = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if (length as usize) < INFO_BYTES {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel does not count the bytes of a connection"));
    }
    let at = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&info[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    Ok(PeerProgress { acked: at(ACKED_AT), received: at(RECEIVED_AT) })
}

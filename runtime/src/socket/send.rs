//! The sending side of a connection: whole messages, in turn, from memory the operation owns. Stays on its core.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use bytes::{Buf, Bytes};
use io_uring::opcode;
use io_uring::types::Fd;

use super::SocketState;
use crate::ring::ops::{Keep, SendParts};

/// The kernel's limit of vectors in one call (IOV_MAX).
const VECTORS_MAX: usize = 1024;
/// The most a single send asks for; the kernel's own limit is just below 2 GiB.
const SEND_BYTES_MAX: usize = 1 << 30;
/// A peer that went away is an error of this call, not a signal; and short sends are continued in the kernel.
const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// Breaks the sending side unless the send was seen to its end.
struct BreakOnDrop<'a>(&'a SocketState);

impl Drop for BreakOnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_broken.set(true);
    }
}

impl SocketState {
    pub(super) async fn send(self: &Rc<Self>, mut bytes: Bytes) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let _turn = self.send_turn.acquire(1).await;
        self.check_send()?;
        let unfinished = BreakOnDrop(self);
        while !bytes.is_empty() {
            let length = bytes.len().min(SEND_BYTES_MAX);
            let entry =
                opcode::Send::new(Fd(self.fd.as_raw_fd()), bytes.as_ptr(), u32::try_from(length).unwrap_or(u32::MAX))
                    .flags(FLAGS)
                    .build();
            let keep = Keep::Send { bytes, socket: Rc::clone(self) };
            let (result, keep) = self.driver.start(entry, keep, false).map_err(|(error, _)| error)?.await;
            let Keep::Send { bytes: returned, .. } = keep else {
                unreachable!("a send gave back another operation's memory")
            };
            bytes = returned;
            bytes.advance(sent(result, length)?);
        }
        mem::forget(unfinished);
        Ok(())
    }

    pub(super) async fn send_vectored(self: &Rc<Self>, mut parts: Vec<Bytes>) -> io::Result<()> {
        parts.retain(|part| !part.is_empty());
        if parts.len() <= 1 {
            return match parts.pop() {
                Some(part) => self.send(part).await,
                None => Ok(()),
            };
        }
        let _turn = self.send_turn.acquire(1).await;
        self.check_send()?;
        let unfinished = BreakOnDrop(self);
        let vectors = Vec::with_capacity(parts.len().min(VECTORS_MAX));
        // SAFETY: a msghdr is plain integers and pointers; all zeros (no address, no control data) is a value.
        let header = unsafe { mem::zeroed() };
        let mut message = Box::new(SendParts { parts, vectors, header });
        let mut first = 0;
        while first < message.parts.len() {
            let length = message.aim(first);
            let entry = opcode::SendMsg::new(Fd(self.fd.as_raw_fd()), &raw const message.header)
                .flags(FLAGS.cast_unsigned())
                .build();
            let keep = Keep::SendParts { parts: message, socket: Rc::clone(self) };
            let (result, keep) = self.driver.start(entry, keep, false).map_err(|(error, _)| error)?.await;
            let Keep::SendParts { parts: returned, .. } = keep else {
                unreachable!("a send gave back another operation's memory")
            };
            message = returned;
            let mut count = sent(result, length)?;
            while count > 0 {
                let part = &mut message.parts[first];
                let step = count.min(part.len());
                part.advance(step);
                count -= step;
                if part.is_empty() {
                    first += 1;
                }
            }
        }
        mem::forget(unfinished);
        Ok(())
    }

    fn check_send(&self) -> io::Result<()> {
        if self.send_broken.get() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier send was abandoned or failed half-way"));
        }
        Ok(())
    }
}

impl SendParts {
    /// Points the header at the parts from `first` on, as many as one call takes. Returns their bytes.
    fn aim(&mut self, first: usize) -> usize {
        self.vectors.clear();
        let mut length = 0;
        for part in self.parts[first..].iter().take(VECTORS_MAX) {
            let count = part.len().min(SEND_BYTES_MAX - length);
            if count == 0 {
                break;
            }
            self.vectors.push(libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: count });
            length += count;
            if count < part.len() {
                break;
            }
        }
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = self.vectors.len();
        length
    }
}

/// The count of bytes a send completed with.
fn sent(result: i32, asked: usize) -> io::Result<usize> {
    match result {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count if count > 0 => {
            let count = usize::try_from(count).unwrap_or(0);
            assert!(count <= asked, "the kernel sent {count} of {asked} bytes");
            Ok(count)
        }
        error => match -error {
            libc::EAGAIN | libc::EINTR => Ok(0),
            error => Err(io::Error::from_raw_os_error(error)),
        },
    }
}

//! The sending side of a connection: whole messages, in turn, from memory the operation owns. Stays on its core.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::opcode;
use io_uring::types::Fd;

use super::SocketState;
use super::outgoing::{Aim, Outgoing, Sent};
use crate::ring::ops::Keep;

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
    /// Sends all of `outgoing`, and gives it back as it was.
    pub(super) async fn send_outgoing(self: &Rc<Self>, mut outgoing: Outgoing) -> (io::Result<()>, Outgoing) {
        if outgoing.is_empty() {
            return (Ok(()), outgoing);
        }
        let _turn = self.send_turn.acquire(1).await;
        if let Err(error) = self.check_send() {
            return (Err(error), outgoing);
        }
        let unfinished = BreakOnDrop(self);
        let mut progress = Sent::default();
        loop {
            let fd = Fd(self.fd.as_raw_fd());
            // The entry points into memory that `outgoing` owns and that the operation owns until its last completion.
            let (entry, asked) = match outgoing.aim(progress) {
                Aim::Done => break,
                Aim::Run { address, bytes } => {
                    let length = u32::try_from(bytes).unwrap_or(u32::MAX);
                    (opcode::Send::new(fd, address, length).flags(FLAGS).build(), bytes)
                }
                Aim::Vectors { header, bytes } => {
                    (opcode::SendMsg::new(fd, header).flags(FLAGS.cast_unsigned()).build(), bytes)
                }
            };
            let keep = Keep::Send { outgoing, socket: Rc::clone(self) };
            let (result, keep) = match self.driver.start(entry, keep, false) {
                Ok(op) => {
                    let (result, keep) = op.await;
                    (sent(result, asked), keep)
                }
                Err((error, keep)) => (Err(error), keep),
            };
            let Keep::Send { outgoing: returned, .. } = keep else {
                unreachable!("a send gave back another operation's memory")
            };
            outgoing = returned;
            match result {
                Ok(count) => outgoing.advance(&mut progress, count),
                Err(error) => return (Err(error), outgoing),
            }
        }
        mem::forget(unfinished);
        (Ok(()), outgoing)
    }

    fn check_send(&self) -> io::Result<()> {
        if self.send_broken.get() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an earlier send was abandoned or failed half-way"));
        }
        Ok(())
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

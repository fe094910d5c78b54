//! [`Outgoing`]: a message on its way to a peer, made of bytes of its own and of shared memory between them. Owns all that
//! the kernel reads while it is sent, and is used again afterwards, so that a steady sender allocates nothing. Stays on
//! its core.

use std::fmt;
use std::mem;

use bytes::Bytes;

use crate::tail::SharedSlice;

/// The kernel's limit of vectors in one call (IOV_MAX).
const VECTORS_MAX: usize = 1024;
/// The most a single send asks for; the kernel's own limit is just below 2 GiB.
const SEND_BYTES_MAX: usize = 1 << 30;

/// Bytes to be sent, in the order in which they were put in.
pub struct Outgoing(Box<Inner>);

struct Inner {
    own: Vec<u8>,
    parts: Vec<Part>,
    bytes: usize,
    /// What the kernel is pointed at; valid between [`Outgoing::aim`] and the next change.
    vectors: Vec<libc::iovec>,
    header: libc::msghdr,
}

enum Part {
    /// A range of the bytes of its own.
    Own {
        start: usize,
        end: usize,
    },
    Shared(SharedSlice),
    Bytes(Bytes),
}

impl Part {
    fn bytes<'a>(&'a self, own: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Own { start, end } => &own[*start..*end],
            Self::Shared(slice) => slice,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// How far a message has been sent.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    part: usize,
    bytes: usize,
}

/// What the kernel is asked to send next.
pub(super) enum Aim {
    Done,
    /// One run of bytes.
    Run {
        address: *const u8,
        bytes: usize,
    },
    /// A message header that points at several.
    Vectors {
        header: *const libc::msghdr,
        bytes: usize,
    },
}

impl Outgoing {
    /// Without bytes.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: a msghdr is plain integers and pointers; all zeros (no address, no control data) is a value.
        let header = unsafe { mem::zeroed() };
        Self(Box::new(Inner { own: Vec::new(), parts: Vec::new(), bytes: 0, vectors: Vec::new(), header }))
    }

    /// Bytes in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.bytes
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.bytes == 0
    }

    /// Pieces of memory that the kernel will be pointed at.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.0.parts.len()
    }

    /// Lets `write` append bytes to the end; what it does to earlier ones is its own affair, but it must not shorten them.
    ///
    /// # Panics
    /// When `write` has taken bytes away.
    pub fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let inner = &mut *self.0;
        let start = inner.own.len();
        write(&mut inner.own);
        let end = inner.own.len();
        assert!(end >= start, "a writer may only append");
        if end == start {
            return;
        }
        inner.bytes += end - start;
        match inner.parts.last_mut() {
            Some(Part::Own { end: last, .. }) if *last == start => *last = end,
            _ => inner.parts.push(Part::Own { start, end }),
        }
    }

    /// Appends shared memory without a copy.
    pub fn share(&mut self, slice: SharedSlice) {
        if !slice.is_empty() {
            self.0.bytes += slice.len();
            self.0.parts.push(Part::Shared(slice));
        }
    }

    /// Appends bytes without a copy.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.0.bytes += bytes.len();
            self.0.parts.push(Part::Bytes(bytes));
        }
    }

    /// Lets go of all bytes; memory of its own is kept for the next message, up to `keep_bytes`.
    pub fn clear(&mut self, keep_bytes: usize) {
        let inner = &mut *self.0;
        inner.parts.clear();
        inner.own.clear();
        inner.own.shrink_to(keep_bytes);
        inner.bytes = 0;
    }

    /// Points at what comes after `sent`, as much as one call takes.
    pub(super) fn aim(&mut self, sent: Sent) -> Aim {
        let Inner { own, parts, vectors, header, .. } = &mut *self.0;
        vectors.clear();
        let (mut length, mut skip) = (0, sent.bytes);
        for part in parts.iter().skip(sent.part).take(VECTORS_MAX) {
            let bytes = &part.bytes(own)[mem::take(&mut skip)..];
            let count = bytes.len().min(SEND_BYTES_MAX - length);
            if count == 0 {
                break;
            }
            vectors.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: count });
            length += count;
            if count < bytes.len() {
                break;
            }
        }
        match vectors.as_slice() {
            [] => Aim::Done,
            [one] => Aim::Run { address: one.iov_base.cast_const().cast(), bytes: length },
            _ => {
                header.msg_iov = vectors.as_mut_ptr();
                header.msg_iovlen = vectors.len();
                Aim::Vectors { header, bytes: length }
            }
        }
    }

    /// `count` more bytes have gone.
    pub(super) fn advance(&self, sent: &mut Sent, mut count: usize) {
        while count > 0 {
            let left = self.0.parts[sent.part].bytes(&self.0.own).len() - sent.bytes;
            if count < left {
                sent.bytes += count;
                return;
            }
            count -= left;
            *sent = Sent { part: sent.part + 1, bytes: 0 };
        }
    }
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::new()
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Self {
        let mut outgoing = Self::new();
        outgoing.push(bytes);
        outgoing
    }
}

impl FromIterator<Bytes> for Outgoing {
    fn from_iter<I: IntoIterator<Item = Bytes>>(parts: I) -> Self {
        let mut outgoing = Self::new();
        parts.into_iter().for_each(|part| outgoing.push(part));
        outgoing
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("bytes", &self.len()).field("parts", &self.part_count()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_one_after_the_other_are_one_part() {
        let mut outgoing = Outgoing::new();
        outgoing.write(|out| out.extend_from_slice(b"head"));
        outgoing.write(|out| out.extend_from_slice(b"er"));
        outgoing.push(Bytes::from_static(b"body"));
        outgoing.push(Bytes::new());
        outgoing.write(|out| out.push(b'!'));
        assert_eq!((outgoing.len(), outgoing.part_count()), (11, 3));
        outgoing.clear(0);
        assert!(outgoing.is_empty() && outgoing.part_count() == 0);
    }

    #[test]
    fn a_message_is_aimed_at_from_wherever_the_last_send_stopped() {
        let mut outgoing: Outgoing = [&b"abc"[..], b"defg"].into_iter().map(Bytes::from_static).collect();
        let mut sent = Sent::default();
        assert!(matches!(outgoing.aim(sent), Aim::Vectors { bytes: 7, .. }));
        outgoing.advance(&mut sent, 4);
        assert!(matches!(outgoing.aim(sent), Aim::Run { bytes: 3, .. }));
        outgoing.advance(&mut sent, 3);
        assert!(matches!(outgoing.aim(sent), Aim::Done));
    }
}

//! [`PoolBuf`]: bytes received from a socket, in a buffer of the core's pool or, when those run short, on the heap.
//! Read-only; dropping it gives the buffer back. Stays on its core.

use std::fmt;
use std::ops::Deref;
use std::rc::{Rc, Weak};

use crate::counting;
use crate::ring::recv_pool::RecvPool;
use crate::socket::SocketState;

/// Received bytes. A connection owns at most two ring buffers, so hold one only while it is being read.
pub struct PoolBuf {
    piece: Piece,
    /// The connection that counts this buffer as one of its two.
    owner: Weak<SocketState>,
}

/// Received bytes and where they are.
pub(crate) struct Piece {
    home: Home,
    start: usize,
    end: usize,
}

enum Home {
    Ring { pool: Rc<RecvPool>, id: u16 },
    Heap(Box<[u8]>),
}

impl Piece {
    /// Takes over buffer `id`, which the kernel has filled with `bytes` bytes.
    pub(crate) fn from_ring(pool: &Rc<RecvPool>, id: u16, bytes: usize) -> Self {
        pool.take(id);
        Self { home: Home::Ring { pool: Rc::clone(pool), id }, start: 0, end: bytes }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.home {
            Home::Ring { pool, id } => &pool.bytes(*id, self.end)[self.start..],
            Home::Heap(bytes) => &bytes[self.start..self.end],
        }
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        assert!(bytes <= self.end - self.start, "advance of {bytes} in {} bytes", self.end - self.start);
        self.start += bytes;
    }

    pub(crate) fn is_on_ring(&self) -> bool {
        matches!(self.home, Home::Ring { .. })
    }

    /// Copies the bytes to the heap and gives the ring's buffer back.
    pub(crate) fn move_to_heap(&mut self) {
        if self.is_on_ring() {
            let bytes: Box<[u8]> = self.as_bytes().into();
            let end = bytes.len();
            counting::copied(end);
            *self = Self { home: Home::Heap(bytes), start: 0, end };
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Home::Ring { pool, id } = &self.home {
            pool.give_back(*id);
        }
    }
}

impl PoolBuf {
    pub(crate) fn new(piece: Piece, owner: &Rc<SocketState>) -> Self {
        Self { piece, owner: Rc::downgrade(owner) }
    }

    /// Moves the start of what this shows forward by `bytes`.
    ///
    /// # Panics
    /// When there are fewer than `bytes` bytes.
    pub fn advance(&mut self, bytes: usize) {
        self.piece.advance(bytes);
    }
}

impl Drop for PoolBuf {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.upgrade() {
            // First the count, so that whoever is woken may receive again; the piece goes right after.
            owner.returned();
        }
    }
}

impl Deref for PoolBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.piece.as_bytes()
    }
}

impl AsRef<[u8]> for PoolBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PoolBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuf").field("bytes", &self.len()).field("ring", &self.piece.is_on_ring()).finish()
    }
}

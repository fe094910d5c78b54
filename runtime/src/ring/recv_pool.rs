//! The provided-buffer ring of a core: memory from which the kernel picks a buffer for each multishot receive.
//! Knows which buffers the kernel has; never which connection deserves one. Stays on its core.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::socket::SocketState;
use crate::sys::Region;

/// The one buffer group of a ring.
pub(crate) const BUFFER_GROUP: u16 = 0;

/// Buffers of one size, lent to the kernel or to a connection.
pub(crate) struct RecvPool {
    entries: Region,
    memory: Region,
    count: u16,
    bytes: u32,
    tail: Cell<u16>,
    /// Buffers the kernel has, as far as its completions told.
    free: Cell<u16>,
    /// The ring is gone: nothing goes back any more.
    closed: Cell<bool>,
    /// Connections whose receive ended for want of a buffer.
    starved: RefCell<VecDeque<Weak<SocketState>>>,
}

impl RecvPool {
    /// `count` (rounded up to a power of two) buffers of `bytes` bytes, not yet known to any ring.
    pub(super) fn new(count: u16, bytes: u32) -> io::Result<Rc<Self>> {
        let count = count.clamp(1, 1 << 15).next_power_of_two();
        let bytes = bytes.clamp(64, 16 << 20);
        let pool = Self {
            entries: Region::map(usize::from(count) * std::mem::size_of::<BufRingEntry>())?,
            memory: Region::map(usize::from(count) * bytes as usize)?,
            count,
            bytes,
            tail: Cell::new(0),
            free: Cell::new(0),
            closed: Cell::new(false),
            starved: RefCell::default(),
        };
        Ok(Rc::new(pool))
    }

    /// Makes the buffers known to `ring`. The pool must outlive the registration: [`close`](Self::close) follows it.
    pub(super) fn register(&self, submitter: &io_uring::Submitter<'_>) -> io::Result<()> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: the entries are page-aligned, `count` of them (a power of two), mapped until the pool is dropped; the
        // driver holds the pool and drops the ring first.
        unsafe { submitter.register_buf_ring_with_flags(address, self.count, BUFFER_GROUP, 0)? };
        for id in 0..self.count {
            self.publish(id);
        }
        Ok(())
    }

    /// The ring no longer exists.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.starved.borrow_mut().clear();
    }

    /// The kernel has put data into buffer `id`: it is ours until [`give_back`](Self::give_back).
    pub(crate) fn take(&self, id: u16) {
        assert!(
            id < self.count && self.free.get() > 0,
            "the kernel used buffer {id} of {}, {} free",
            self.count,
            self.free.get()
        );
        self.free.set(self.free.get() - 1);
    }

    /// Buffers the kernel has.
    pub(crate) fn free(&self) -> u16 {
        self.free.get()
    }

    /// The first `bytes` bytes of buffer `id`.
    ///
    /// The caller holds the buffer (between `take` and `give_back`) as long as it uses the slice.
    pub(crate) fn bytes(&self, id: u16, bytes: usize) -> &[u8] {
        assert!(id < self.count && bytes <= self.bytes as usize, "{bytes} bytes of buffer {id}");
        // SAFETY: the range lies inside the mapping (asserted), which was zeroed at the start. The kernel does not write to
        // a buffer between the completion that named it and its return, and only the holder returns it.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(usize::from(id) * self.bytes as usize), bytes) }
    }

    /// Lends buffer `id` to the kernel again and lets the connection that starved longest try again.
    pub(crate) fn give_back(&self, id: u16) {
        if self.closed.get() {
            return;
        }
        self.publish(id);
        loop {
            let Some(next) = self.starved.borrow_mut().pop_front() else { return };
            if next.upgrade().is_some_and(|socket| socket.retry_receive()) {
                return;
            }
        }
    }

    /// Remembers a connection to be told when a buffer comes back.
    pub(crate) fn starve(&self, socket: &Rc<SocketState>) {
        self.starved.borrow_mut().push_back(Rc::downgrade(socket));
    }

    fn publish(&self, id: u16) {
        assert!(self.free.get() < self.count, "buffer {id} was given back twice");
        let tail = self.tail.get();
        let slot = usize::from(tail & (self.count - 1));
        let base = self.entries.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `slot` is below `count`, so the entry is inside the page-aligned mapping. The kernel reads entries only
        // between its head and the tail, and this one is behind the tail until the store below. The fields are written one
        // by one because the first entry's reserved field is the tail itself.
        unsafe {
            let entry = &mut *base.add(slot);
            entry.set_addr(self.memory.as_ptr() as u64 + u64::from(id) * u64::from(self.bytes));
            entry.set_len(self.bytes);
            entry.set_bid(id);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        self.free.set(self.free.get() + 1);
        // SAFETY: the tail is a properly aligned u16 inside the mapping, which the kernel reads with acquire semantics.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()).store(tail, Ordering::Release) };
    }
}

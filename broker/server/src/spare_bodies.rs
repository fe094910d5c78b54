//! Memory of request bodies that were answered, kept for the next ones, so that a steady producer allocates none. Owns at
//! most [`SPARE_BODY_BYTES_MAX`](limits::SPARE_BODY_BYTES_MAX); grants nothing: permits are `memory.rs`. Lives on every
//! shard, for its connections.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;

use crate::limits;

/// See the module.
#[derive(Default)]
pub(crate) struct SpareBodies {
    spare: RefCell<Vec<BytesMut>>,
    bytes: Cell<usize>,
}

impl SpareBodies {
    /// Empty memory for a body of `bytes` bytes; not much more than it needs.
    pub(crate) fn take(&self, bytes: usize) -> BytesMut {
        let mut spare = self.spare.borrow_mut();
        let fits = |body: &BytesMut| (bytes..=bytes.saturating_mul(2)).contains(&body.capacity());
        let Some(at) = spare.iter().rposition(fits) else { return BytesMut::with_capacity(bytes) };
        let body = spare.swap_remove(at);
        self.bytes.set(self.bytes.get() - body.capacity());
        body
    }

    /// Takes a body back whose bytes nobody needs any more.
    pub(crate) fn give_back(&self, mut body: BytesMut) {
        body.clear();
        if self.bytes.get() + body.capacity() <= limits::SPARE_BODY_BYTES_MAX {
            self.bytes.set(self.bytes.get() + body.capacity());
            self.spare.borrow_mut().push(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_was_given_back_serves_one_of_its_size() {
        let spare = SpareBodies::default();
        let body = spare.take(1000);
        let memory = body.as_ptr();
        spare.give_back(body);
        assert_ne!(spare.take(100).as_ptr(), memory, "a small body does not sit in large memory");
        assert_eq!(spare.take(900).as_ptr(), memory);
        assert!(spare.bytes.get() == 0);
    }

    #[test]
    fn what_exceeds_the_limit_is_let_go() {
        let spare = SpareBodies::default();
        for _ in 0..100 {
            spare.give_back(BytesMut::with_capacity(limits::SPARE_BODY_BYTES_MAX / 10));
        }
        assert!(spare.bytes.get() <= limits::SPARE_BODY_BYTES_MAX && spare.spare.borrow().len() == 10);
    }
}

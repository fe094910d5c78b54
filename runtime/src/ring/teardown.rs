//! The end of a run (docs/rules.md T3): cancel all, drain to zero in flight, close the ring, free. When draining does not
//! succeed the memory is leaked and the process ends: the kernel may still write to it. On the ring's core.

use std::sync::atomic::Ordering;
use std::time::Duration;

use io_uring::opcode;
use io_uring::types::CancelBuilder;

use super::ops::Token;
use super::{RingDriver, fatal};
use crate::time::Instant;

/// The longest wait for operations that do not react to their cancellation (a disk that hangs).
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// Time between two requests to cancel what is left.
const CANCEL_EVERY: Duration = Duration::from_millis(100);

impl RingDriver {
    /// Ends every operation and closes the ring. Sockets and files that outlive this fail with `NotConnected`.
    pub(crate) fn shut(&self) {
        self.closed.set(true);
        let limit = Instant::monotonic() + DRAIN_LIMIT;
        loop {
            self.settle_crowded();
            self.flush_backlog();
            self.drain();
            let live = {
                let mut inner = self.inner.borrow_mut();
                let live = inner.ops.live();
                if live > 0 {
                    let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
                    inner.push(all.user_data(Token::Nothing.encode()));
                }
                live
            };
            // Entered once more also for messages to other shards that still wait to be submitted.
            self.enter(if live > 0 { Some(Some(CANCEL_EVERY)) } else { None });
            self.drain();
            if live == 0 && self.is_quiet() {
                break;
            }
            if Instant::monotonic() > limit {
                fatal(&format!(
                    "{live} operations did not end within {} s of their cancellation",
                    DRAIN_LIMIT.as_secs()
                ));
            }
        }
        self.tell_all_again();
        self.shared.ring_fd.store(-1, Ordering::SeqCst);
        let ring = self.inner.borrow_mut().ring.take();
        drop(ring);
        self.pool.close();
    }

    /// Nothing in flight, nothing to submit.
    fn is_quiet(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        let submitted = inner.ring.as_mut().is_none_or(|ring| ring.submission().is_empty());
        submitted && inner.backlog.is_empty() && inner.ops.live() == 0
    }
}

//! Completions, from the queue to whoever they belong to. Owns no memory of operations. Stays on its core.

use io_uring::cqueue;

use super::ops::{Keep, OpKey, Target, Token};
use super::{RingDriver, fatal};
use crate::time::Instant;

/// One entry of the completion queue.
pub(super) struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

impl RingDriver {
    /// Takes every completion that is there and hands it on. Returns how many there were.
    pub(super) fn drain(&self) -> usize {
        let mut completions = std::mem::take(&mut *self.scratch.borrow_mut());
        {
            let mut inner = self.inner.borrow_mut();
            let Some(ring) = inner.ring.as_mut() else { return 0 };
            let queue = ring.completion();
            if queue.overflow() > 0 {
                fatal("io_uring lost completions");
            }
            completions.extend(queue.map(|entry| Completion {
                user_data: entry.user_data(),
                result: entry.result(),
                flags: entry.flags(),
            }));
        }
        let count = completions.len();
        if count > 0 && !self.spin.is_zero() {
            self.last_completion.set(Instant::monotonic());
        }
        for completion in completions.drain(..) {
            self.dispatch(&completion);
        }
        *self.scratch.borrow_mut() = completions;
        count
    }

    fn dispatch(&self, completion: &Completion) {
        match Token::decode(completion.user_data) {
            Token::Nothing => {}
            Token::MessageFailed(shard) => {
                tracing::debug!(
                    shard,
                    error = -completion.result,
                    "a message between rings failed; the eventfd takes over"
                );
                self.told_in_vain(shard);
            }
            Token::Op(key) => self.dispatch_op(key, completion),
        }
    }

    fn dispatch_op(&self, key: OpKey, completion: &Completion) {
        let result = completion.result;
        let last = !cqueue::more(completion.flags);
        let mut inner = self.inner.borrow_mut();
        if last {
            inner.ops.completed();
        }
        let Some(target) = inner.ops.get_mut(key) else {
            drop(inner);
            fatal("io_uring completed an operation that was not in flight");
        };
        match target {
            Target::Single { orphan, waker, result: slot, disk, .. } => {
                if *disk {
                    self.disk.set(self.disk.get() - 1);
                }
                if *orphan {
                    let target = inner.ops.remove(key);
                    drop(inner);
                    if let Some(Target::Single { keep, .. }) = target {
                        end_orphan(keep, result);
                    }
                } else {
                    *slot = Some(result);
                    let waker = waker.take();
                    drop(inner);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            }
            Target::Recv(socket) => {
                let socket = std::rc::Rc::clone(socket);
                let target = if last { inner.ops.remove(key) } else { None };
                drop(inner);
                socket.received(result, cqueue::buffer_select(completion.flags), last);
                drop(target);
            }
            Target::Accept(listener) => {
                let listener = std::rc::Rc::clone(listener);
                let target = if last { inner.ops.remove(key) } else { None };
                drop(inner);
                listener.accepted(result, last);
                drop(target);
            }
            #[cfg(feature = "glommio")]
            Target::Alarm { current, .. } => {
                if current.get().is_some_and(|alarm| alarm.key == key) {
                    current.set(None);
                }
                let target = inner.ops.remove(key);
                drop(inner);
                drop(target);
            }
            Target::Event(_) => {
                let target = inner.ops.remove(key);
                drop(inner);
                drop(target);
                if !self.closed.get() {
                    self.watch_event();
                }
            }
        }
    }

    /// The future of an operation went away.
    pub(super) fn abandon(&self, key: OpKey) {
        let target = {
            let mut inner = self.inner.borrow_mut();
            match inner.ops.get_mut(key) {
                Some(Target::Single { result: Some(_), .. }) => inner.ops.remove(key),
                Some(Target::Single { orphan, waker, .. }) => {
                    *orphan = true;
                    let waker = waker.take();
                    drop(inner);
                    drop(waker);
                    self.cancel(key);
                    None
                }
                _ => None,
            }
        };
        if let Some(Target::Single { keep, result: Some(result), .. }) = target {
            end_orphan(keep, result);
        }
    }
}

/// Nobody waits for this result, but a failed write or sync still poisons its file.
fn end_orphan(keep: Keep, result: i32) {
    if result < 0
        && result != -libc::ECANCELED
        && let Keep::FileWrite { file, .. } | Keep::FileWriteParts { file, .. } | Keep::FileSync { file } = &keep
    {
        file.poison(&std::io::Error::from_raw_os_error(-result));
    }
    drop(keep);
}

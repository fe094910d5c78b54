//! The slab of operations the kernel works on. An entry owns every byte the kernel may touch, from submission to its last
//! completion, whatever becomes of the future that waits. Stays on its core.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;

use crate::buf::{AlignedBuf, WriteBuf};
use crate::file::FileInner;
use crate::listener::ListenerState;
use crate::socket::{Outgoing, SocketState};
use crate::sys::RawAddress;
use crate::tail::SharedSlice;

/// Names an operation; stale keys find nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpKey {
    index: u32,
    generation: u32,
}

/// What a completion's user data says it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Op(OpKey),
    /// A cancel request, or a message from another ring: the wake-up is all there is to it.
    Nothing,
    /// A message to the shard with this id could not be delivered.
    MessageFailed(u32),
}

const KIND_SHIFT: u32 = 56;
const GENERATION_MASK: u32 = 0x00FF_FFFF;

impl Token {
    pub(super) fn encode(self) -> u64 {
        match self {
            Self::Op(key) => (u64::from(key.generation) << 32) | u64::from(key.index),
            Self::Nothing => 1 << KIND_SHIFT,
            Self::MessageFailed(shard) => (2 << KIND_SHIFT) | u64::from(shard),
        }
    }

    pub(super) fn decode(data: u64) -> Self {
        let low = (data & u64::from(u32::MAX)) as u32;
        match data >> KIND_SHIFT {
            0 => Self::Op(OpKey { index: low, generation: (data >> 32) as u32 & GENERATION_MASK }),
            2 => Self::MessageFailed(low),
            _ => Self::Nothing,
        }
    }
}

/// What an operation owns while the kernel works on it: memory, and the file so that its number is not reused.
#[expect(dead_code, reason = "most fields are held, not read")]
pub(crate) enum Keep {
    Nothing,
    FileRead { buf: AlignedBuf, file: Rc<FileInner> },
    FileWrite { buf: WriteBuf, file: Rc<FileInner> },
    FileWriteParts { write: Box<WriteParts>, file: Rc<FileInner> },
    FileSync { file: Rc<FileInner> },
    Recv { buf: BytesMut, socket: Rc<SocketState> },
    Send { outgoing: Outgoing, socket: Rc<SocketState> },
    Connect { address: Box<RawAddress>, fd: Rc<OwnedFd> },
    Counter { value: Box<u64>, fd: Arc<OwnedFd> },
}

/// A vectored write: the vectors point into the parts.
pub(crate) struct WriteParts {
    pub(crate) parts: Vec<SharedSlice>,
    pub(crate) vectors: Vec<libc::iovec>,
}

/// Who gets the completions of an entry.
pub(super) enum Target {
    /// One completion, for the future that waits.
    Single { keep: Keep, waker: Option<Waker>, result: Option<i32>, orphan: bool, disk: bool },
    /// Multishot receive.
    Recv(Rc<SocketState>),
    /// Multishot accept.
    Accept(Rc<ListenerState>),
    /// The read of the shard's own eventfd into this counter.
    Event(#[expect(dead_code, reason = "held for the kernel, not read")] Box<u64>),
    /// A timeout that ends a sleep outside of the ring, and which one is the current one.
    #[cfg(feature = "glommio")]
    Alarm {
        #[expect(dead_code, reason = "held for the kernel, not read")]
        time: Box<io_uring::types::Timespec>,
        current: Rc<std::cell::Cell<Option<super::hosted::Alarm>>>,
    },
}

struct Slot {
    generation: u32,
    target: Option<Target>,
}

/// Entries by key. `live` counts those the kernel still works on.
#[derive(Default)]
pub(super) struct OpSlab {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

impl OpSlab {
    /// Operations whose last completion has not come.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Entries: the live ones, and those whose result nobody has taken yet.
    pub(super) fn held(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, target: Target) -> OpKey {
        self.live += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, target: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 operations in flight")
        });
        let slot = &mut self.slots[index as usize];
        slot.target = Some(target);
        OpKey { index, generation: slot.generation }
    }

    pub(super) fn get_mut(&mut self, key: OpKey) -> Option<&mut Target> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.target.as_mut() } else { None }
    }

    /// The last completion of `key` has come. The entry may stay, holding a result.
    pub(super) fn completed(&mut self) {
        assert!(self.live > 0, "more completions than operations");
        self.live -= 1;
    }

    pub(super) fn remove(&mut self, key: OpKey) -> Option<Target> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let target = slot.target.take()?;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        self.free.push(key.index);
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_kernel() {
        let key = OpKey { index: u32::MAX, generation: GENERATION_MASK };
        for token in
            [Token::Op(key), Token::Op(OpKey { index: 0, generation: 0 }), Token::Nothing, Token::MessageFailed(7)]
        {
            assert_eq!(Token::decode(token.encode()), token);
        }
    }

    #[test]
    fn a_stale_key_finds_nothing_in_a_reused_slot() {
        let single = || Target::Single { keep: Keep::Nothing, waker: None, result: None, orphan: false, disk: false };
        let mut slab = OpSlab::default();
        let first = slab.insert(single());
        slab.completed();
        assert!(slab.remove(first).is_some());
        let second = slab.insert(single());
        assert_eq!((second.index, slab.live()), (first.index, 1));
        assert!(slab.get_mut(first).is_none() && slab.remove(first).is_none());
        assert!(slab.get_mut(second).is_some());
    }
}

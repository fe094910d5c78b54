//! The memory that outlives operations and crosses threads: chunks and their slices, aligned buffers, values for another
//! thread. Asks nothing of the kernel, so that Miri can run it (`ci/sanitize`).

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use ouzel_runtime::sync::remote_oneshot;
use ouzel_runtime::{ALIGN, AlignedBuf, AlignedPool, SharedSlice, TailChunk};

/// Miri takes its time.
const CHUNK_BYTES: usize = if cfg!(miri) { 4 * ALIGN } else { 16 * ALIGN };

/// Runs a future on this thread, which sleeps meanwhile.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[test]
fn an_aligned_buffer_is_aligned_zeroed_and_its_own() {
    for bytes in [1, ALIGN - 1, ALIGN, 3 * ALIGN + 5] {
        let mut buf = AlignedBuf::zeroed(bytes);
        assert_eq!(buf.as_ptr() as usize % ALIGN, 0);
        assert!(buf.len() >= bytes && buf.iter().all(|byte| *byte == 0));
        buf.fill(9);
        let shared = buf.into_shared();
        let part = shared.slice(0..1);
        drop(shared);
        assert_eq!(part[..], [9]);
    }
}

#[test]
fn a_buffer_of_a_pool_comes_back_from_another_owner() {
    let pool = AlignedPool::new(1, ALIGN);
    let mut first = pool.try_get().expect("one is there");
    first.fill(3);
    assert!(pool.try_get().is_none());
    let mut waiting = pin!(pool.get());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    drop(first);
    let second = block_on(waiting);
    assert_eq!(second.len(), ALIGN);
    drop(second);
    assert_eq!(pool.available(), 1);
}

#[test]
fn a_value_crosses_threads_whoever_comes_first() {
    for is_early in [false, true] {
        let (sender, receiver) = remote_oneshot::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            if is_early {
                drop(sender.send(vec![7]));
                drop(go);
            } else {
                // The receiver waits by now, or will find the value.
                go.send(()).expect("the receiver's thread waits");
                drop(sender.send(vec![7]));
            }
        });
        // Either a message or its sender's end.
        let _ = wait.recv();
        assert_eq!(block_on(receiver), Ok(vec![7]));
        thread.join().expect("no panic");
    }
    let (sender, receiver) = remote_oneshot::channel::<u8>();
    drop(receiver);
    assert_eq!(sender.send(1), Err(1));
}

#[test]
fn slices_of_a_chunk_never_change_while_it_grows() {
    let mut chunk = TailChunk::with_capacity(CHUNK_BYTES);
    let mut slices = Vec::new();
    let (sender, receiver) = std::sync::mpsc::channel::<(u8, SharedSlice)>();
    // Reads while the chunk grows behind what it reads.
    let reader = thread::spawn(move || {
        receiver.into_iter().all(|(number, slice)| slice.len() == 1000 && slice.iter().all(|byte| *byte == number))
    });
    let mut number = 0_u8;
    while chunk.remaining() >= 1000 {
        let start = chunk.len();
        chunk.append(&[number; 1000]);
        let slice = chunk.slice(start..chunk.len());
        sender.send((number, slice.clone())).expect("the reader has not ended");
        slices.push((number, slice));
        number = number.wrapping_add(1);
    }
    drop(sender);
    let rest = chunk.remaining();
    chunk.append_zeros(rest);
    assert_eq!((chunk.len(), chunk.remaining()), (CHUNK_BYTES, 0));
    drop(chunk);
    assert!(reader.join().expect("no panic"));
    let (number, last) = slices.pop().expect("slices");
    drop(slices);
    let bytes = bytes::Bytes::from(last.slice(10..20));
    drop(last);
    assert_eq!(bytes[..], [number; 10]);
}

#[test]
#[should_panic(expected = "append of 4097 bytes to a chunk with 4096 left")]
fn an_append_beyond_the_capacity_panics() {
    TailChunk::with_capacity(ALIGN).append(&[0; ALIGN + 1]);
}

#[test]
#[should_panic(expected = "slice 0..1 of a chunk of 0 bytes")]
fn a_slice_beyond_what_was_appended_panics() {
    drop(TailChunk::with_capacity(ALIGN).slice(0..1));
}

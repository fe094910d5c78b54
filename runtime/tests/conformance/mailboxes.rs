//! Mailboxes between shards and from other threads.

use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use ouzel_runtime::{Inbox, Mailbox, RunConfig, SendError, Shard, run};

fn config(shard: u16, spin_us: u32) -> RunConfig {
    RunConfig { shard, spin_us, ..super::config() }
}

fn on_shard<F: Future<Output = T>, T>(main: impl FnOnce(Shard) -> F) -> T {
    run(config(0, 0), main).expect("io_uring works here")
}

/// Starts a shard that makes an inbox, and gives its mailbox and then its inbox's use to `main`.
fn start<T: Send + 'static, F: Future<Output = R>, R: Send + 'static>(
    shard: u16,
    spin_us: u32,
    capacity: usize,
    main: impl FnOnce(Shard, Inbox<T>) -> F + Send + 'static,
) -> (Mailbox<T>, thread::JoinHandle<R>) {
    let (sender, receiver) = mpsc::channel();
    let handle = thread::spawn(move || {
        run(config(shard, spin_us), |shard| async move {
            let (mailbox, inbox) = shard.mailbox(capacity);
            sender.send(mailbox).expect("the starter waits");
            main(shard, inbox).await
        })
        .expect("io_uring works here")
    });
    (receiver.recv().expect("a mailbox"), handle)
}

#[test]
fn messages_arrive_once_and_in_order_from_shard_and_thread() {
    for spin_us in [0, 50] {
        const COUNT: u32 = 20_000;
        let (mailbox, receiver) = start(1, spin_us, 64, |_shard, mut inbox: Inbox<(u8, u32)>| async move {
            let mut next = [0_u32; 2];
            let mut batch = Vec::new();
            while inbox.recv_batch(&mut batch).await {
                for (source, number) in batch.drain(..) {
                    assert_eq!(number, next[usize::from(source)]);
                    next[usize::from(source)] += 1;
                }
            }
            next
        });
        let from_shard = mailbox.clone();
        let shard = thread::spawn(move || {
            run(config(2, spin_us), |_| async move {
                for number in 0..COUNT {
                    from_shard.send_wait((0, number)).await.expect("open");
                }
            })
        });
        for number in 0..COUNT {
            let mut message = (1, number);
            while let Err(error) = mailbox.send(message) {
                assert!(matches!(error, SendError::Full(_)));
                message = error.into_inner();
                thread::yield_now();
            }
        }
        drop(mailbox);
        shard.join().expect("no panic").expect("io_uring works here");
        assert_eq!(receiver.join().expect("no panic"), [COUNT, COUNT]);
    }
}

#[test]
fn both_directions_full_at_once_make_progress() {
    const COUNT: u32 = 5_000;
    const CAPACITY: usize = 2;
    let ready = Arc::new(Barrier::new(2));
    let (to_first, from_second) = mpsc::channel();
    let (to_second, from_first) = mpsc::channel();
    let peer =
        |shard: u16, give: mpsc::Sender<Mailbox<u32>>, take: mpsc::Receiver<Mailbox<u32>>, ready: Arc<Barrier>| {
            thread::spawn(move || {
                run(config(shard, 0), |shard| async move {
                    let (own, mut inbox) = shard.mailbox::<u32>(CAPACITY);
                    give.send(own).expect("the peer waits");
                    let mailbox = take.recv().expect("the peer's mailbox");
                    // Fill the other side before either reads.
                    for number in 0..CAPACITY as u32 {
                        mailbox.send(number).expect("room");
                    }
                    assert!(matches!(mailbox.send(0), Err(SendError::Full(0))));
                    ready.wait();
                    let sender = shard.spawn(async move {
                        for number in CAPACITY as u32..COUNT {
                            mailbox.send_wait(number).await.expect("open");
                        }
                    });
                    let mut expected = 0;
                    while let Some(number) = inbox.recv().await {
                        assert_eq!(number, expected);
                        expected += 1;
                    }
                    sender.join().await;
                    expected
                })
                .expect("io_uring works here")
            })
        };
    let first = peer(1, to_second, from_second, Arc::clone(&ready));
    let second = peer(2, to_first, from_first, ready);
    assert_eq!((first.join().expect("no panic"), second.join().expect("no panic")), (COUNT, COUNT));
}

#[test]
fn a_closed_inbox_gives_the_message_back() {
    on_shard(|shard| async move {
        let (mailbox, inbox) = shard.mailbox::<String>(1);
        mailbox.send("first".into()).expect("room");
        let waiting = mailbox.clone();
        let sender = shard.spawn(async move {
            let error = waiting.send_wait("second".into()).await.expect_err("closed");
            assert_eq!(error.into_inner(), "second");
        });
        shard.yield_now().await;
        assert!(!sender.is_finished());
        drop(inbox);
        sender.join().await;
        assert!(mailbox.is_closed());
        assert!(matches!(mailbox.send("third".into()), Err(SendError::Closed(text)) if text == "third"));
    });
}

#[test]
fn a_shard_that_ended_fails_its_senders() {
    let (mailbox, handle) = start(1, 0, 4, |_shard, mut inbox: Inbox<u32>| async move { inbox.recv().await });
    mailbox.send(7).expect("room");
    assert_eq!(handle.join().expect("no panic"), Some(7));
    // The target's ring is closed: from a shard, the failure is the mailbox's, not a lost wake-up.
    on_shard(|_| async move {
        assert!(matches!(mailbox.send(8), Err(SendError::Closed(8))));
    });
}

#[test]
fn waking_a_shard_whose_ring_is_closed_is_harmless() {
    use ouzel_runtime::sync::remote_oneshot;
    // A future of the ended shard is still registered as the waiter: its waker outlives the ring.
    let (sender, receiver) = remote_oneshot::channel::<u32>();
    let receiver = thread::spawn(move || {
        run(config(1, 0), |shard| async move {
            let mut receiver = Box::pin(receiver);
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(receiver.as_mut().poll(cx).is_pending()));
            assert!(polled.await);
            drop(shard);
            Some(receiver)
        })
        .expect("io_uring works here")
    })
    .join()
    .expect("no panic");
    on_shard(|shard| async move {
        sender.send(9).expect("the receiver exists");
        shard.yield_now().await;
        assert_eq!(receiver.expect("handed over").await, Ok(9));
    });
}

#[test]
fn a_chain_of_shards_passes_a_token_round_and_round() {
    const ROUNDS: u32 = 3_000;
    let (mailbox, last) = start(1, 0, 1, |shard, mut inbox: Inbox<(u32, Mailbox<u32>)>| async move {
        let _shard = shard;
        let mut sum = 0_u64;
        while let Some((number, reply)) = inbox.recv().await {
            sum += u64::from(number);
            reply.send(number + 1).expect("the asker holds room for its reply");
        }
        sum
    });
    on_shard(|shard| async move {
        let (own, mut inbox) = shard.mailbox(1);
        let mut number = 0;
        for _ in 0..ROUNDS {
            mailbox.send((number, own.clone())).expect("one at a time");
            number = inbox.recv().await.expect("a reply");
        }
        assert_eq!(number, ROUNDS);
    });
    assert_eq!(last.join().expect("no panic"), u64::from(ROUNDS) * u64::from(ROUNDS - 1) / 2);
}

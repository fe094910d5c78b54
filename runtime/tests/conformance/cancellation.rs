//! Every operation, dropped at every stage of its life: what it held comes back, what it touched goes on or says that it
//! does not, and nothing that had arrived is lost. Then the same at random, by a seed that is printed.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ouzel_runtime::sync::oneshot;
use ouzel_runtime::{ALIGN, AlignedBuf, OpenMode, RunConfig, SendError, Shard, Socket, TailChunk, run, timeout_at};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

/// Where in its life a future is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Never polled: nothing was asked of the kernel.
    Unpolled,
    /// Polled once: the operation stands in the submission queue.
    Queued,
    /// The kernel has it.
    Submitted,
    /// It has completed, and nobody has taken the result.
    Completed,
}

const STAGES: [Stage; 4] = [Stage::Unpolled, Stage::Queued, Stage::Submitted, Stage::Completed];

fn on_shard<F: Future<Output = T>, T>(main: impl FnOnce(Shard, PathBuf) -> F) -> T {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("the build directory is writable");
    let path = dir.path().to_owned();
    let config = RunConfig { recv_buffer_count: 16, recv_buffer_bytes: 4096, ..super::config() };
    run(config, |shard| main(shard, path)).expect("io_uring works here")
}

/// Drops `future` at `stage`. `complete` brings about its completion, without polling it.
async fn drop_at(shard: &Shard, stage: Stage, future: impl Future, complete: impl Future<Output = ()>) {
    let mut future = Box::pin(future);
    if stage == Stage::Unpolled {
        return;
    }
    poll_once(future.as_mut()).await;
    match stage {
        Stage::Unpolled | Stage::Queued => {}
        Stage::Submitted => {
            shard.yield_now().await;
            shard.yield_now().await;
        }
        Stage::Completed => complete.await,
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) {
    poll_fn(|cx| {
        let _: Poll<F::Output> = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// Lets turns pass until `condition` holds; a test that waits for what does not come fails instead of hanging.
async fn until(shard: &Shard, what: &str, condition: impl Fn() -> bool) {
    let limit = shard.now() + Duration::from_secs(20);
    while !condition() {
        assert!(shard.now() < limit, "{what} did not come about: {:?}", shard.operations());
        shard.yield_now().await;
    }
}

async fn disk_is_idle(shard: &Shard) {
    until(shard, "an idle disk", || shard.disk_in_flight() == 0).await;
}

async fn pair(shard: &Shard) -> (Socket, Socket) {
    let listener = shard.adopt_listener(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let client = shard.connect(listener.local_addr()).await.expect("connected");
    (listener.accept().await.expect("accepted").0, client)
}

fn chunk(bytes: usize) -> ouzel_runtime::SharedSlice {
    let mut chunk = TailChunk::with_capacity(bytes);
    chunk.append_zeros(bytes);
    chunk.slice(0..bytes)
}

#[test]
fn transfers_dropped_at_any_stage_leave_the_file_sound_and_the_ring_empty() {
    on_shard(|shard, dir| async move {
        let file = shard.fs().open(&dir.join("a"), OpenMode::Create).await.expect("created");
        file.write_at(AlignedBuf::zeroed(64 * ALIGN), 0).await.0.expect("written");
        let before = shard.operations();
        for stage in STAGES {
            for round in 0..10_u64 {
                let offset = round * ALIGN as u64;
                let idle = || disk_is_idle(&shard);
                drop_at(&shard, stage, file.read_at(AlignedBuf::zeroed(8 * ALIGN), 8 * ALIGN, 0), idle()).await;
                drop_at(&shard, stage, file.write_at(AlignedBuf::zeroed(ALIGN), offset), idle()).await;
                let parts = vec![chunk(ALIGN), chunk(2 * ALIGN)];
                drop_at(&shard, stage, file.write_parts_at(parts, offset), idle()).await;
                drop_at(&shard, stage, file.fdatasync(), idle()).await;
                drop_at(&shard, stage, file.sync_all(), idle()).await;
            }
            until(&shard, "an empty ring", || shard.operations() == before).await;
            assert_eq!(shard.disk_in_flight(), 0, "{stage:?}");
        }
        // Nothing of this was a failure of the disk.
        file.write_at(AlignedBuf::zeroed(ALIGN), 0).await.0.expect("the file is not poisoned");
        file.fdatasync().await.expect("synced");
    });
}

#[test]
fn a_write_that_fails_after_it_was_dropped_still_poisons_its_file() {
    on_shard(|shard, dir| async move {
        std::fs::write(dir.join("a"), vec![1; 4 * ALIGN]).expect("written");
        for (stage, is_vectored) in [Stage::Queued, Stage::Submitted, Stage::Completed]
            .into_iter()
            .flat_map(|stage| [(stage, false), (stage, true)])
        {
            // Read-only: the kernel refuses every write.
            let file = shard.fs().open(&dir.join("a"), OpenMode::Read).await.expect("opened");
            if is_vectored {
                let write = file.write_parts_at(vec![chunk(ALIGN), chunk(ALIGN)], 0);
                drop_at(&shard, stage, write, disk_is_idle(&shard)).await;
            } else {
                let write = file.write_at(AlignedBuf::zeroed(ALIGN), 0);
                drop_at(&shard, stage, write, disk_is_idle(&shard)).await;
            }
            disk_is_idle(&shard).await;
            let error = file.fdatasync().await.expect_err("the file is poisoned");
            assert_eq!(error.raw_os_error(), Some(9), "EBADF, {stage:?}, vectored: {is_vectored}");
        }
    });
}

#[test]
fn path_operations_dropped_at_any_stage_still_happen_once_begun() {
    on_shard(|shard, dir| async move {
        let fs = shard.fs();
        let before = shard.operations();
        for (number, stage) in STAGES.into_iter().enumerate() {
            // The helper thread works in order: what it was given before is done once this is.
            let done = || async {
                fs.free_bytes(&dir).await.expect("asked");
            };
            let (made, moved) = (dir.join(format!("made-{number}")), dir.join(format!("moved-{number}")));
            drop_at(&shard, stage, fs.create_dir_all(&made), done()).await;
            done().await;
            assert_eq!(made.exists(), stage != Stage::Unpolled, "{stage:?}");
            std::fs::create_dir_all(&made).expect("there");
            drop_at(&shard, stage, fs.rename(&made, &moved), done()).await;
            done().await;
            assert_eq!(moved.exists(), stage != Stage::Unpolled, "{stage:?}");
            drop_at(&shard, stage, fs.read_dir(&dir), done()).await;
            drop_at(&shard, stage, fs.sync_dir(&dir), done()).await;
            drop_at(&shard, stage, fs.free_bytes(&dir), done()).await;
            drop_at(&shard, stage, fs.open(&dir.join(format!("file-{number}")), OpenMode::Create), done()).await;
            done().await;
            drop_at(&shard, stage, fs.remove_file(&dir.join(format!("file-{number}"))), done()).await;
            done().await;
            assert!(!dir.join(format!("file-{number}")).exists(), "{stage:?}");
            drop_at(&shard, stage, fs.remove_dir_all(&moved), done()).await;
        }
        until(&shard, "an idle shard", || shard.operations() == before && shard.disk_in_flight() == 0).await;
    });
}

#[test]
fn a_dropped_receive_takes_no_byte_with_it() {
    on_shard(|shard, _| async move {
        let (server, client) = pair(&shard).await;
        for stage in STAGES {
            for _ in 0..20 {
                drop_at(&shard, stage, server.recv(), async {
                    client.send("ab".into()).await.expect("sent");
                    shard.sleep(Duration::from_micros(200)).await;
                })
                .await;
                if stage != Stage::Completed {
                    client.send("ab".into()).await.expect("sent");
                }
                let two = server.recv_exact(BytesMut::new(), 2).await.expect("both bytes");
                assert_eq!(&two[..], b"ab", "{stage:?}");
            }
        }
    });
}

#[test]
fn a_dropped_receive_into_a_granted_buffer_gives_the_connection_up() {
    const BODY: usize = 100_000;
    on_shard(|shard, _| async move {
        let before = shard.operations();
        for stage in STAGES {
            for is_direct in [false, true] {
                let (server, client) = pair(&shard).await;
                let complete = async {
                    client.send(vec![7; BODY].into()).await.expect("sent");
                    shard.sleep(Duration::from_millis(1)).await;
                };
                let buf = BytesMut::with_capacity(BODY);
                if is_direct {
                    drop_at(&shard, stage, server.recv_direct(buf, BODY), complete).await;
                } else {
                    drop_at(&shard, stage, server.recv_exact(buf, BODY), complete).await;
                }
                if stage == Stage::Unpolled {
                    client.send("x".into()).await.expect("sent");
                    assert_eq!(&*server.recv().await.expect("no error").expect("a byte"), b"x");
                } else {
                    let error = server.recv().await.expect_err("how far it got is unknown");
                    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{stage:?}");
                    // The other direction is not affected.
                    server.send("y".into()).await.expect("sent");
                    assert_eq!(&*client.recv().await.expect("no error").expect("a byte"), b"y");
                }
            }
        }
        until(&shard, "an empty ring", || shard.operations() == before).await;
    });
}

#[test]
fn a_dropped_send_lets_no_later_byte_follow() {
    // More than the socket buffers hold.
    let large = Bytes::from(vec![3; 16 << 20]);
    on_shard(|shard, _| async move {
        let before = shard.operations();
        for stage in STAGES {
            for is_vectored in [false, true] {
                let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
                let address = listener.local_addr().expect("an address");
                let (told, released) = oneshot::channel::<()>();
                let (go, wait) = std::sync::mpsc::channel::<()>();
                let reader = thread::spawn(move || {
                    let (mut peer, _) = listener.accept().expect("accepted");
                    let _ = wait.recv();
                    let mut bytes = Vec::new();
                    // A reset is an end too.
                    drop(peer.read_to_end(&mut bytes));
                    bytes.len()
                });
                let socket = shard.connect(address).await.expect("connected");
                let quiet = shard.operations();
                let complete = async {
                    go.send(()).expect("the reader waits");
                    until(&shard, "a sent message", || shard.operations().in_flight < quiet.in_flight + 1).await;
                };
                if is_vectored {
                    let parts = vec![large.clone(), large.clone()];
                    drop_at(&shard, stage, socket.send_vectored(parts), complete).await;
                } else {
                    drop_at(&shard, stage, socket.send(large.clone()), complete).await;
                }
                drop((told, released));
                if stage == Stage::Unpolled {
                    socket.send("x".into()).await.expect("sent");
                } else {
                    let error = socket.send("x".into()).await.expect_err("the stream is torn");
                    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{stage:?}");
                }
                drop(go);
                drop(socket);
                until(&shard, "an empty ring", || shard.operations() == before).await;
                let received = reader.join().expect("no panic");
                assert!(received <= 2 * large.len() + 1, "{received} bytes");
            }
        }
    });
}

#[test]
fn a_dropped_accept_loses_no_connection_and_a_dropped_connect_leaves_none() {
    on_shard(|shard, _| async move {
        let listener = shard.adopt_listener(TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let address = listener.local_addr();
        let at_start = shard.operations();
        for stage in STAGES {
            let client = Cell::new(None);
            drop_at(&shard, stage, listener.accept(), async {
                client.set(Some(shard.connect(address).await.expect("connected")));
                shard.sleep(Duration::from_micros(200)).await;
            })
            .await;
            if stage != Stage::Completed {
                client.set(Some(shard.connect(address).await.expect("connected")));
            }
            let (server, _) = listener.accept().await.expect("the connection waited");
            let client = client.take().expect("connected");
            client.send("hi".into()).await.expect("sent");
            assert_eq!(&*server.recv().await.expect("no error").expect("bytes"), b"hi", "{stage:?}");
        }
        // The listener goes on accepting; every connection is gone.
        until(&shard, "closed connections", || shard.operations().held == at_start.held + 1).await;
        let before = shard.operations();
        for stage in STAGES {
            drop_at(&shard, stage, shard.connect(address), async {
                until(&shard, "a connection", || shard.operations().in_flight <= before.in_flight).await;
            })
            .await;
        }
        until(&shard, "no trace of the connects", || shard.operations() == before).await;
    });
}

#[test]
fn dropped_sleeps_and_mailbox_waits_leave_nothing_behind() {
    on_shard(|shard, _| async move {
        let (mailbox, mut inbox) = shard.mailbox::<u32>(1);
        let pass = || async { shard.sleep(Duration::from_millis(1)).await };
        for stage in STAGES {
            drop_at(&shard, stage, shard.sleep(Duration::from_micros(100)), pass()).await;
            drop_at(&shard, stage, shard.sleep(Duration::from_secs(3600)), pass()).await;
            // A message that arrives while nobody polls the receiver stays.
            drop_at(&shard, stage, inbox.recv(), async { mailbox.send(1).expect("room") }).await;
            if stage != Stage::Completed {
                mailbox.send(1).expect("room");
            }
            let mut batch = Vec::new();
            drop_at(&shard, stage, inbox.recv_batch(&mut batch), async {}).await;
            let received = if batch.is_empty() { inbox.try_recv() } else { batch.pop() };
            assert_eq!(received, Some(1), "{stage:?}");
            // A message whose sender gives up before it is sent is not sent, whether or not there is room by then.
            mailbox.send(2).expect("room");
            let full = Cell::new(Some(2));
            drop_at(&shard, stage, mailbox.send_wait(3), async {
                assert_eq!(inbox.try_recv(), full.take());
            })
            .await;
            if let Some(message) = full.take() {
                assert_eq!(inbox.try_recv(), Some(message), "{stage:?}");
            }
            assert_eq!(inbox.try_recv(), None, "{stage:?}");
        }
        assert!(!matches!(mailbox.send(4), Err(SendError::Closed(_))));
    });
}

#[test]
fn random_operations_dropped_at_random_moments_leave_an_empty_ring() {
    let seed = match std::env::var("OUZEL_TEST_SEED") {
        Ok(text) => text.parse().expect("OUZEL_TEST_SEED is a number"),
        Err(_) => rand::random::<u64>(),
    };
    // Shown when the test fails; set OUZEL_TEST_SEED to see the same choices again.
    println!("OUZEL_TEST_SEED={seed}");
    on_shard(|shard, dir| async move {
        let file = shard.fs().open(&dir.join("a"), OpenMode::Create).await.expect("created");
        file.write_at(AlignedBuf::zeroed(64 * ALIGN), 0).await.0.expect("written");
        let before = shard.operations();
        let rng = Rc::new(std::cell::RefCell::new(SmallRng::seed_from_u64(seed)));
        let finished = Rc::new(Cell::new(0_u32));
        let mut tasks = Vec::new();
        for _ in 0..12 {
            let (inner, file, rng, finished) = (shard.clone(), file.clone(), Rc::clone(&rng), Rc::clone(&finished));
            tasks.push(shard.spawn(async move {
                let (mut server, mut client) = pair(&inner).await;
                for _ in 0..60 {
                    let (choice, turns) = {
                        let mut rng = rng.borrow_mut();
                        (rng.random_range(0..9), rng.random_range(0..6))
                    };
                    // A deadline in the past drops the future after its first poll; others let turns pass.
                    let deadline = inner.now() + Duration::from_micros(turns * 20);
                    let (reads, offset) = (AlignedBuf::zeroed(4 * ALIGN), turns * ALIGN as u64);
                    let ended = match choice {
                        0 => timeout_at(&inner, deadline, file.read_at(reads, 4 * ALIGN, 0)).await.is_ok(),
                        1 => timeout_at(&inner, deadline, file.write_at(reads, offset)).await.is_ok(),
                        2 => timeout_at(&inner, deadline, file.fdatasync()).await.is_ok(),
                        3 => timeout_at(&inner, deadline, server.recv()).await.is_ok(),
                        4 => timeout_at(&inner, deadline, server.recv_exact(BytesMut::new(), 50_000)).await.is_ok(),
                        5 => timeout_at(&inner, deadline, client.send(vec![1; 30_000].into())).await.is_ok(),
                        6 => {
                            let parts = vec![Bytes::from(vec![2; 4 << 20]), Bytes::from_static(b"tail")];
                            timeout_at(&inner, deadline, client.send_vectored(parts)).await.is_ok()
                        }
                        7 => timeout_at(&inner, deadline, inner.fs().open(&PathBuf::from("/"), OpenMode::Read))
                            .await
                            .is_ok(),
                        _ => timeout_at(&inner, deadline, inner.sleep(Duration::from_micros(50))).await.is_ok(),
                    };
                    finished.set(finished.get() + u32::from(ended));
                    if (4..=6).contains(&choice) && !ended {
                        // Torn: both ends are given up, with whatever is in flight on them.
                        (server, client) = pair(&inner).await;
                    }
                }
            }));
        }
        for task in &tasks {
            task.join().await;
        }
        assert!(finished.get() > 0, "every operation was dropped: the schedule shows nothing");
        until(&shard, "an empty ring", || shard.operations() == before && shard.disk_in_flight() == 0).await;
        file.write_at(AlignedBuf::zeroed(ALIGN), 0).await.0.expect("the file is not poisoned");
        let (server, client) = pair(&shard).await;
        client.send("still here".into()).await.expect("sent");
        assert_eq!(&server.recv_exact(BytesMut::new(), 10).await.expect("bytes")[..], b"still here");
    });
}

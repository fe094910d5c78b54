//! Sockets on loopback: what arrives, in what buffers, and what becomes of it when somebody leaves.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ouzel_runtime::{Listener, PoolBuf, RunConfig, Shard, Socket, run};

const BUFFER: usize = 4096;

fn on_shard<F: Future<Output = T>, T>(main: impl FnOnce(Shard) -> F) -> T {
    let config = RunConfig { recv_buffer_count: 8, recv_buffer_bytes: BUFFER as u32, ..super::config() };
    run(config, main).expect("io_uring works here")
}

fn listen(shard: &Shard) -> (Listener, SocketAddr) {
    let listener = shard.adopt_listener(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let address = listener.local_addr();
    (listener, address)
}

async fn pair(shard: &Shard) -> (Socket, Socket) {
    let (listener, address) = listen(shard);
    let client = shard.connect(address).await.expect("connected");
    let (server, _) = listener.accept().await.expect("accepted");
    (server, client)
}

/// A connection to a plain blocking socket, which another thread may use.
async fn pair_with_std(shard: &Shard) -> (Socket, TcpStream) {
    let (listener, address) = listen(shard);
    let client = TcpStream::connect(address).expect("connected");
    (listener.accept().await.expect("accepted").0, client)
}

fn patterned(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|at| ((at + seed) % 251) as u8).collect()
}

async fn recv_all(socket: &Socket) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(buf) = socket.recv().await.expect("no error") {
        all.extend_from_slice(&buf);
    }
    all
}

#[test]
fn many_connections_get_their_own_bytes_back() {
    const CONNECTIONS: usize = 64;
    on_shard(|shard| async move {
        let (listener, address) = listen(&shard);
        let inner = shard.clone();
        let server = shard.spawn(async move {
            for _ in 0..CONNECTIONS {
                let (socket, _) = listener.accept().await.expect("accepted");
                drop(inner.spawn(async move {
                    while let Some(buf) = socket.recv().await.expect("no error") {
                        socket.send(Bytes::copy_from_slice(&buf)).await.expect("sent");
                    }
                    socket.shutdown_send();
                }));
            }
        });
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let inner = shard.clone();
                shard.spawn(async move {
                    let socket = inner.connect(address).await.expect("connected");
                    let sent = patterned(20_000, number);
                    let (sender, bytes) = (socket.clone(), Bytes::from(sent.clone()));
                    let send = inner.spawn(async move {
                        for piece in bytes.chunks(777) {
                            sender.send(bytes.slice_ref(piece)).await.expect("sent");
                        }
                        sender.shutdown_send();
                    });
                    assert!(recv_all(&socket).await == sent, "connection {number}");
                    send.join().await;
                })
            })
            .collect();
        for client in &clients {
            client.join().await;
        }
        server.join().await;
    });
}

#[test]
fn recv_exact_takes_up_where_multishot_left_off() {
    on_shard(|shard| async move {
        let (socket, mut peer) = pair_with_std(&shard).await;
        let mut stream = Vec::new();
        let bodies = [1, 10, BUFFER, 16 * 1024, 300_000, 0, 2_000_000, 5];
        for (number, body) in bodies.into_iter().enumerate() {
            stream.extend_from_slice(&(body as u32).to_le_bytes());
            stream.extend_from_slice(&patterned(body, number));
        }
        let writer = thread::spawn(move || {
            peer.write_all(&stream).expect("written");
            peer
        });
        for (number, body) in bodies.into_iter().enumerate() {
            // The header through whatever comes, the body exactly.
            let mut header = Vec::new();
            let mut rest: Option<PoolBuf> = None;
            if number % 2 == 0 {
                header = socket.recv_exact(BytesMut::new(), 4).await.expect("header").to_vec();
            } else {
                let head = socket.recv_exact(BytesMut::with_capacity(4), 1).await.expect("one byte");
                header.extend_from_slice(&head);
                header.extend_from_slice(&socket.recv_exact(BytesMut::new(), 3).await.expect("three bytes"));
            }
            assert_eq!(u32::from_le_bytes(header[..].try_into().expect("four bytes")) as usize, body);
            let mut buf = BytesMut::with_capacity(body + 3);
            buf.extend_from_slice(b"abc");
            if number == 3 {
                let mut first = socket.recv().await.expect("no error").expect("bytes");
                let taken = first.len().min(body);
                buf.extend_from_slice(&first[..taken]);
                first.advance(taken);
                // What is left belongs to the next message only when the body ended inside this buffer.
                assert!(first.is_empty() || taken == body);
                if !first.is_empty() {
                    rest = Some(first);
                }
                assert!(
                    rest.is_none(),
                    "a body of 16 KiB does not end in a buffer of {BUFFER} bytes with another begun"
                );
                let missing = body - taken;
                buf = socket.recv_exact(buf, missing).await.expect("body");
            } else {
                buf = socket.recv_exact(buf, body).await.expect("body");
            }
            assert!(buf[..3] == *b"abc" && buf[3..] == patterned(body, number), "body {number}");
        }
        drop(writer.join().expect("no panic"));
        assert!(socket.recv().await.expect("no error").is_none());
        let early = socket.recv_exact(BytesMut::new(), 1).await.expect_err("the end");
        assert_eq!(early.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn sends_larger_than_the_socket_buffers_arrive_whole_and_in_order() {
    on_shard(|shard| async move {
        let (socket, mut peer) = pair_with_std(&shard).await;
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("read");
            all
        });
        let mut expected = Vec::new();
        let large = Bytes::from(patterned(24 << 20, 5));
        expected.extend_from_slice(&large);
        // Two tasks send at once: neither's bytes may be torn apart.
        let (first, second) = (socket.clone(), socket.clone());
        let send = shard.spawn({
            let large = large.clone();
            async move { first.send(large).await.expect("sent") }
        });
        // More parts than one call takes, with empty ones between.
        let parts: Vec<_> = (0..3_000).map(|number| Bytes::from(patterned(number % 700, number))).collect();
        parts.iter().for_each(|part| expected.extend_from_slice(part));
        let send_parts = shard.spawn(async move { second.send_vectored(parts).await.expect("sent") });
        send.join().await;
        send_parts.join().await;
        let many: Vec<_> = (0..12).map(|_| large.slice(..1 << 20)).collect();
        many.iter().for_each(|part| expected.extend_from_slice(part));
        socket.send_vectored(many).await.expect("sent");
        socket.send_vectored(Vec::new()).await.expect("nothing to send");
        socket.send(Bytes::new()).await.expect("nothing to send");
        drop(socket);
        assert!(reader.join().expect("no panic") == expected);
    });
}

#[test]
fn the_end_and_a_reset_are_told_apart() {
    on_shard(|shard| async move {
        let (socket, peer) = pair_with_std(&shard).await;
        drop(peer);
        assert!(socket.recv().await.expect("a clean end").is_none());
        assert!(socket.recv().await.expect("again").is_none());

        let (socket, peer) = pair_with_std(&shard).await;
        socket.send("never read".into()).await.expect("sent");
        // Closing with unread bytes resets the connection.
        peer.set_nonblocking(true).expect("set");
        while peer.peek(&mut [0; 1]).is_err() {
            shard.yield_now().await;
        }
        drop(peer);
        let error = socket.recv().await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(socket.recv().await.expect_err("again").kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn shutdown_ends_a_receive_that_waits() {
    on_shard(|shard| async move {
        let (server, client) = pair(&shard).await;
        let waiting = server.clone();
        let task = shard.spawn(async move { assert!(waiting.recv().await.expect("no error").is_none()) });
        shard.yield_now().await;
        let busy = server.recv().await.expect_err("one at a time");
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        server.shutdown();
        task.join().await;
        assert_eq!(server.send("x".into()).await.expect_err("shut").kind(), ErrorKind::BrokenPipe);
        assert!(client.recv().await.expect("no error").is_none());
        assert_eq!(server.peer().ip(), client.peer().ip());
    });
}

#[test]
fn a_dropped_recv_loses_no_byte() {
    on_shard(|shard| async move {
        let (server, client) = pair(&shard).await;
        let mut expected = Vec::new();
        let got = Rc::new(RefCell::new(Vec::new()));
        for number in 0..200_usize {
            let (waiting, taken) = (server.clone(), Rc::clone(&got));
            let task = shard.spawn(async move {
                let buf = waiting.recv().await.expect("no error").expect("bytes");
                taken.borrow_mut().extend_from_slice(&buf);
            });
            shard.yield_now().await;
            task.cancel();
            let bytes = patterned(50, number);
            expected.extend_from_slice(&bytes);
            client.send(bytes.into()).await.expect("sent");
            if number % 3 == 0 {
                let buf = server.recv().await.expect("no error").expect("bytes");
                got.borrow_mut().extend_from_slice(&buf);
            }
        }
        drop(client);
        let rest = recv_all(&server).await;
        got.borrow_mut().extend(rest);
        assert!(*got.borrow() == expected);
    });
}

#[test]
fn an_abandoned_recv_exact_breaks_the_receiving_side_only() {
    on_shard(|shard| async move {
        let (server, client) = pair(&shard).await;
        let waiting = server.clone();
        let task = shard.spawn(async move { drop(waiting.recv_exact(BytesMut::new(), 100_000).await) });
        client.send(patterned(1_000, 0).into()).await.expect("sent");
        shard.yield_now().await;
        task.cancel();
        assert_eq!(server.recv().await.expect_err("broken").kind(), ErrorKind::ConnectionAborted);
        server.send("still here".into()).await.expect("sent");
        assert_eq!(&*client.recv().await.expect("no error").expect("bytes"), b"still here");
    });
}

#[test]
fn abandoned_receives_let_go_of_their_connection() {
    on_shard(|shard| async move {
        for exact in [false, true] {
            let (server, client) = pair(&shard).await;
            // The task has the only handle.
            let task = shard.spawn(async move {
                match exact {
                    false => drop(server.recv().await),
                    true => drop(server.recv_exact(BytesMut::new(), 100_000).await),
                }
            });
            client.send("x".into()).await.expect("sent");
            for _ in 0..3 {
                shard.yield_now().await;
            }
            task.cancel();
            // The kernel lets go only when the operation ends; a reset, for there were unread bytes, is an end too.
            while client.recv().await.is_ok_and(|buf| buf.is_some()) {}
        }
    });
}

#[test]
fn an_abandoned_send_lets_nothing_follow() {
    on_shard(|shard| async move {
        let (server, client) = pair(&shard).await;
        let sending = server.clone();
        let task = shard.spawn(async move { drop(sending.send(vec![1; 64 << 20].into()).await) });
        // It cannot end: nobody reads.
        drop(client.recv().await.expect("no error").expect("bytes"));
        assert!(!task.is_finished());
        task.cancel();
        assert_eq!(server.send("x".into()).await.expect_err("broken").kind(), ErrorKind::BrokenPipe);
        drop(server);
        while client.recv().await.is_ok_and(|buf| buf.is_some()) {}
    });
}

#[test]
fn a_task_that_holds_two_buffers_gets_more_after_it_lets_go() {
    on_shard(|shard| async move {
        let (server, client) = pair(&shard).await;
        let sent = patterned(10 * BUFFER, 3);
        client.send(sent.clone().into()).await.expect("sent");
        drop(client);
        let first = server.recv().await.expect("no error").expect("bytes");
        let second = server.recv().await.expect("no error").expect("bytes");
        let mut got = [&first[..], &second[..]].concat();
        let released = Rc::new(Cell::new(false));
        let told = Rc::clone(&released);
        let inner = shard.clone();
        let holder = shard.spawn(async move {
            for _ in 0..20 {
                inner.yield_now().await;
            }
            told.set(true);
            drop((first, second));
        });
        got.extend(recv_all(&server).await);
        assert!(released.get() || got.len() == sent.len());
        holder.join().await;
        assert!(got == sent);
    });
}

#[test]
fn an_exhausted_pool_recovers_without_losing_or_starving_anyone() {
    // Eight buffers in all, and more connections than that, each of which holds two for a while.
    const CONNECTIONS: usize = 24;
    on_shard(|shard| async move {
        let mut tasks = Vec::new();
        for number in 0..CONNECTIONS {
            let (server, client) = pair(&shard).await;
            let sent = patterned(30 * BUFFER + number, number);
            let bytes = Bytes::from(sent.clone());
            tasks.push(shard.spawn(async move {
                client.send(bytes).await.expect("sent");
                client.shutdown_send();
                assert!(client.recv().await.expect("no error").is_none());
            }));
            let inner = shard.clone();
            tasks.push(shard.spawn(async move {
                let mut got = Vec::new();
                let mut held: Vec<PoolBuf> = Vec::new();
                while let Some(buf) = server.recv().await.expect("no error") {
                    got.extend_from_slice(&buf);
                    held.push(buf);
                    if held.len() == 2 {
                        inner.sleep(Duration::from_micros(100)).await;
                        held.clear();
                    }
                }
                assert!(got == sent, "connection {number}");
            }));
        }
        for task in &tasks {
            task.join().await;
        }
    });
}

#[test]
fn unread_bytes_of_idle_connections_do_not_keep_the_pool_from_others() {
    const IDLE: usize = 16;
    on_shard(|shard| async move {
        let mut idle = Vec::new();
        for number in 0..IDLE {
            let (server, client) = pair(&shard).await;
            // One byte is read, so multishot is armed; what follows stays unread and takes buffers.
            client.send("x".into()).await.expect("sent");
            drop(server.recv().await.expect("no error"));
            client.send(patterned(5 * BUFFER, number).into()).await.expect("sent");
            idle.push((server, client));
        }
        shard.sleep(Duration::from_millis(1)).await;
        let (server, client) = pair(&shard).await;
        for _ in 0..20 {
            client.send(patterned(3 * BUFFER, 1).into()).await.expect("sent");
            let got = server.recv_exact(BytesMut::new(), 1).await.expect("a byte");
            assert_eq!(got.len(), 1);
            let mut missing = 3 * BUFFER - 1;
            while missing > 0 {
                missing -= server.recv().await.expect("no error").expect("bytes").len();
            }
        }
        for (number, (server, client)) in idle.into_iter().enumerate() {
            drop(client);
            assert!(recv_all(&server).await == patterned(5 * BUFFER, number), "connection {number}");
        }
    });
}

#[test]
fn dropping_accept_connect_and_listener_ends_cleanly() {
    on_shard(|shard| async move {
        let (listener, address) = listen(&shard);
        let waiting = listener.clone();
        let task = shard.spawn(async move { drop(waiting.accept().await) });
        shard.yield_now().await;
        task.cancel();
        let connecting = shard.clone();
        let task = shard.spawn(async move { drop(connecting.connect(address).await) });
        shard.yield_now().await;
        task.cancel();
        // The listener still works.
        let client = shard.connect(address).await.expect("connected");
        let mut server = listener.accept().await.expect("accepted").0;
        if server.peer() != client.peer() {
            // The abandoned connect may have got through first.
            server.shutdown_send();
        }
        let waiting = listener.clone();
        let task = shard.spawn(async move {
            let error = loop {
                match waiting.accept().await {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        });
        shard.yield_now().await;
        listener.close();
        task.join().await;
        assert!(listener.accept().await.is_err());
        assert_eq!(shard.connect(address).await.expect_err("closed").kind(), ErrorKind::ConnectionRefused);
        server = pair(&shard).await.0;
        drop(server);
    });
}

#[test]
fn everything_in_flight_at_once_is_torn_down_at_the_end_of_the_run() {
    // More than the socket buffers hold, so that sends are in flight.
    let large = Bytes::from(vec![7; 32 << 20]);
    for _ in 0..10 {
        let large = large.clone();
        let left = on_shard(|shard| async move {
            let (listener, address) = listen(&shard);
            let mut kept = Vec::new();
            for number in 0..6 {
                let client = shard.connect(address).await.expect("connected");
                let (server, _) = listener.accept().await.expect("accepted");
                let (receiving, sending, exact) = (server.clone(), server.clone(), client.clone());
                match number % 3 {
                    0 => drop(shard.spawn(async move { drop(receiving.recv().await) })),
                    1 => drop(shard.spawn(async move { drop(exact.recv_exact(BytesMut::new(), 1 << 20).await) })),
                    _ => client.send(patterned(9 * BUFFER, 1).into()).await.expect("sent"),
                }
                let large = large.clone();
                drop(shard.spawn(async move { drop(sending.send(large).await) }));
                kept.push((server, client));
            }
            drop(shard.spawn(async move { while listener.accept().await.is_ok() {} }));
            let sleeper = shard.clone();
            drop(shard.spawn(async move { sleeper.sleep(Duration::from_secs(3600)).await }));
            for _ in 0..5 {
                shard.yield_now().await;
            }
            // Sockets, and bytes in buffers of the ring, outlive the run.
            let unread = kept[2].0.recv().await.expect("no error").expect("bytes");
            (kept, unread)
        });
        let (kept, unread) = left;
        assert!(!unread.is_empty() && unread[..10] == patterned(10, 1));
        let error = on_shard(|_| async move { kept[0].1.send("x".into()).await.expect_err("its ring is gone") });
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    }
}

#[test]
fn accepting_goes_on_after_a_shortage_of_descriptors() {
    // In a process of its own, for the limit is the process's: this test runs itself again.
    const MARK: &str = "OUZEL_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(MARK).is_none() {
        let status = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().expect("own path"))
            .args(["conformance::sockets::accepting_goes_on_after_a_shortage_of_descriptors", "--exact"])
            .env(MARK, "1")
            .status()
            .expect("started");
        assert!(status.success());
        return;
    }
    on_shard(|shard| async move {
        let (listener, address) = listen(&shard);
        let first = TcpStream::connect(address).expect("connected");
        let second = TcpStream::connect(address).expect("connected");
        let (mut hoard, mut full) = (Vec::new(), false);
        while !full {
            match std::fs::File::open("/dev/null") {
                Ok(file) => hoard.push(file),
                Err(error) => full = error.raw_os_error() == Some(24),
            }
        }
        let inner = shard.clone();
        let helper = shard.spawn(async move {
            inner.sleep(Duration::from_millis(5)).await;
            hoard.truncate(hoard.len() - 4);
            std::future::pending::<()>().await;
            drop(hoard);
        });
        let (one, _) = listener.accept().await.expect("accepted in the end");
        let (two, _) = listener.accept().await.expect("accepted in the end");
        helper.cancel();
        drop((one, two, first, second));
    });
}

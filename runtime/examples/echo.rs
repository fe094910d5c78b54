//! An echo server on as many shards as asked: `cargo run --release -p ouzel-runtime --example echo -- 127.0.0.1:7007 2`.
//! Every shard accepts from the one listening socket; beyond that they share nothing. Ctrl-C stops it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use bytes::Bytes;
use ouzel_runtime::{Inbox, Mailbox, RunConfig, Shard, Signals, Socket, run};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr =
        arguments.next().as_deref().unwrap_or("127.0.0.1:7007").parse().map_err(io::Error::other)?;
    let shards: u16 = arguments.next().as_deref().unwrap_or("1").parse().map_err(io::Error::other)?;
    // Before any other thread exists, so that no signal is missed.
    let mut signals = Signals::install()?;
    let listener = TcpListener::bind(address)?;
    println!("echo at {} on {shards} shards", listener.local_addr()?);

    let (stops, threads): (Vec<_>, Vec<_>) = (1..shards).map(|shard| start(shard, listener.try_clone())).unzip();
    run(RunConfig::default(), |shard| async move {
        drop(shard.spawn(serve(shard.clone(), listener)));
        let signal = signals.next().await;
        println!("stopping: {signal:?}");
        // A dropped mailbox ends its shard.
        drop(stops);
    })?;
    for thread in threads {
        thread.join().expect("no shard panics")?;
    }
    Ok(())
}

/// Starts one more shard, which runs until the mailbox is dropped.
fn start(number: u16, listener: io::Result<TcpListener>) -> (Mailbox<()>, thread::JoinHandle<io::Result<()>>) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let listener = listener?;
        run(RunConfig { shard: number, ..RunConfig::default() }, |shard| async move {
            let (mailbox, mut inbox): (Mailbox<()>, Inbox<()>) = shard.mailbox(1);
            sender.send(mailbox).expect("the starter waits");
            drop(shard.spawn(serve(shard.clone(), listener)));
            inbox.recv().await;
        })
    });
    (receiver.recv().expect("the shard starts"), thread)
}

async fn serve(shard: Shard, listener: TcpListener) {
    let listener = shard.adopt_listener(listener);
    while let Ok((socket, peer)) = listener.accept().await {
        drop(shard.spawn(async move {
            if let Err(error) = echo(&socket).await {
                eprintln!("{peer}: {error}");
            }
        }));
    }
}

async fn echo(socket: &Socket) -> io::Result<()> {
    while let Some(buf) = socket.recv().await? {
        socket.send(Bytes::copy_from_slice(&buf)).await?;
    }
    Ok(())
}

//! What a bare loopback send costs on this runtime: one shard answers small requests with large replies, as a fetch from the
//! tail does but without a broker. The client is a process of its own on plain blocking sockets, so that the CPU time is
//! the server's alone. Prints one JSON object; bench/bars compares a fetch with it.
//!
//! `cargo run --release -p ouzel-runtime --example loopback -- --seconds 3 --cpu 0 --client-cpu 1`

#[path = "support/flags.rs"]
mod flags;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use flags::Flags;
use ouzel_runtime::{ExecutorKind, RunConfig, Shard, Socket, run};

/// A request: what it says does not matter.
const REQUEST_BYTES: usize = 16;
/// A reply is sent as slices of this length, as a fetch sends slices of the tail cache.
const SLICE_BYTES: usize = 64 * 1024;

const KNOWN: &[&str] = &[
    "bytes-per-reply",
    "connections",
    "in-flight",
    "seconds",
    "cpu",
    "client-cpu",
    "executor",
    "spin-us",
    "client-of",
];

fn main() -> io::Result<()> {
    let flags = Flags::read(KNOWN);
    let load = Load {
        reply_bytes: flags.get("bytes-per-reply").unwrap_or(1 << 20),
        connections: flags.get("connections").unwrap_or(4),
        in_flight: flags.get("in-flight").unwrap_or(4),
        seconds: flags.get("seconds").unwrap_or(3.0),
    };
    match flags.get::<SocketAddr>("client-of") {
        Some(address) => load.ask(address),
        None => load.serve(&flags),
    }
}

/// What is asked and answered.
#[derive(Clone, Copy)]
struct Load {
    reply_bytes: usize,
    connections: usize,
    in_flight: usize,
    seconds: f64,
}

impl Load {
    /// The server, with the client as its child.
    fn serve(self, flags: &Flags) -> io::Result<()> {
        let executor: ExecutorKind = flags.get("executor").unwrap_or_default();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = self.start_client(listener.local_addr()?, flags.get::<usize>("client-cpu"))?;
        let spin_us = flags.get("spin-us").unwrap_or(RunConfig::default().spin_us);
        let config = RunConfig { cpu: flags.get("cpu"), executor, spin_us, ..RunConfig::default() };
        let (bytes, seconds, cpu) = run(config, |shard| self.answer(shard, listener))?;
        if !client.wait()?.success() {
            return Err(io::Error::other("the client failed"));
        }
        println!(
            "{{\"bytes\": {bytes}, \"seconds\": {seconds:.6}, \"cpu_seconds\": {cpu:.2}, \"executor\": \"{executor}\"}}"
        );
        Ok(())
    }

    fn start_client(self, address: SocketAddr, cpu: Option<usize>) -> io::Result<Child> {
        let own = std::env::current_exe()?;
        let mut command = match cpu {
            Some(cpu) => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", &cpu.to_string()]).arg(own);
                pinned
            }
            None => Command::new(own),
        };
        let values = [
            ("--bytes-per-reply", self.reply_bytes.to_string()),
            ("--connections", self.connections.to_string()),
            ("--in-flight", self.in_flight.to_string()),
            ("--seconds", self.seconds.to_string()),
            ("--client-of", address.to_string()),
        ];
        command.args(values.iter().flat_map(|(name, value)| [*name, value])).spawn()
    }

    /// Answers every connection until it ends. Returns the bytes sent, and the seconds and CPU seconds that took.
    async fn answer(self, shard: Shard, listener: TcpListener) -> (u64, f64, f64) {
        let listener = shard.adopt_listener(listener);
        let memory = Bytes::from(vec![7; self.reply_bytes]);
        let reply: Vec<Bytes> = memory.chunks(SLICE_BYTES).map(|slice| memory.slice_ref(slice)).collect();
        let sent = Rc::new(Cell::new(0_u64));
        let mut sockets = Vec::new();
        for _ in 0..self.connections {
            sockets.push(listener.accept().await.expect("the client connects").0);
        }
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let tasks: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                let (reply, sent) = (reply.clone(), Rc::clone(&sent));
                shard.spawn(async move { answer_one(&socket, &reply, &sent).await })
            })
            .collect();
        for task in &tasks {
            task.join().await;
        }
        (sent.get(), started.elapsed().as_secs_f64(), cpu_seconds() - cpu)
    }

    /// The client: keeps requests in flight on every connection until the time is over.
    fn ask(self, address: SocketAddr) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs_f64(self.seconds);
        let threads: Vec<_> = (0..self.connections)
            .map(|_| std::thread::spawn(move || self.ask_on(TcpStream::connect(address)?, deadline)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    }

    fn ask_on(self, mut socket: TcpStream, deadline: Instant) -> io::Result<()> {
        let mut buf = vec![0; self.reply_bytes.min(1 << 20)];
        socket.write_all(&vec![0; REQUEST_BYTES * self.in_flight])?;
        while Instant::now() < deadline {
            let mut missing = self.reply_bytes;
            while missing > 0 {
                let wanted = missing.min(buf.len());
                socket.read_exact(&mut buf[..wanted])?;
                missing -= wanted;
            }
            socket.write_all(&[0; REQUEST_BYTES])?;
        }
        socket.shutdown(std::net::Shutdown::Write)?;
        // What is still in flight counts as sent.
        while socket.read(&mut buf)? > 0 {}
        Ok(())
    }
}

async fn answer_one(socket: &Socket, reply: &[Bytes], sent: &Cell<u64>) {
    let bytes: usize = reply.iter().map(Bytes::len).sum();
    let mut request = BytesMut::new();
    loop {
        request.clear();
        match socket.recv_exact(request, REQUEST_BYTES).await {
            Ok(received) => request = received,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Err(error) => panic!("the client went away: {error}"),
        }
        socket.send_vectored(reply.to_vec()).await.expect("the client reads");
        sent.set(sent.get() + bytes as u64);
    }
}

/// CPU seconds of this process so far, the kernel's workers for it included, in steps of 10 ms.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    // Behind the name, which may contain anything, in parentheses.
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

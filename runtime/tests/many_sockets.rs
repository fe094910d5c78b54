//! Ten thousand connections open and close: no descriptor and no entry of the ring's table is left. A binary of its own,
//! for descriptors are counted by process.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ouzel_runtime::{ExecutorKind, RunConfig, Shard, Socket, run};

const CONNECTIONS: usize = 10_000;
/// Kept for the runtime, the test and whatever else is open.
const SPARE_FILES: usize = 200;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// How many connections with both their ends in this process the limit of open files allows at once.
fn connections_at_once() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("procfs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of open files");
    let soft = line.split_whitespace().nth(3).expect("a soft limit");
    let files = soft.parse().unwrap_or(usize::MAX);
    (files.saturating_sub(SPARE_FILES) / 2).min(CONNECTIONS)
}

/// Opens so many connections, uses every one, and closes them: half of them by their client, half by their server.
async fn round(shard: &Shard, connections: usize) {
    let listener = shard.adopt_listener(TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let address = listener.local_addr();
    let mut pairs: Vec<(Socket, Socket)> = Vec::with_capacity(connections);
    for number in 0..connections {
        let client = shard.connect(address).await.expect("connected");
        let (server, _) = listener.accept().await.expect("accepted");
        client.send(vec![number as u8; 3].into()).await.expect("sent");
        // Multishot receive is armed on every server, and stays so.
        let bytes = server.recv_exact(BytesMut::new(), 3).await.expect("received");
        assert!(bytes.iter().all(|byte| *byte == number as u8));
        pairs.push((server, client));
    }
    for (number, (server, client)) in pairs.into_iter().enumerate() {
        if number % 2 == 0 { drop((client, server)) } else { drop((server, client)) }
    }
}

#[test]
fn ten_thousand_sockets_open_and_close_and_nothing_is_left() {
    for executor in ExecutorKind::COMPILED {
        let outside = open_files();
        run(RunConfig { executor: *executor, ..RunConfig::default() }, |shard| async move {
            let at_once = connections_at_once();
            assert!(at_once > 0, "the limit of open files leaves room for no connection");
            // The first round opens what the runtime keeps, such as the helper thread's own.
            round(&shard, 1).await;
            settle(&shard, None).await;
            let (files, operations) = (open_files(), shard.operations());
            let mut left = CONNECTIONS;
            while left > 0 {
                let connections = left.min(at_once);
                round(&shard, connections).await;
                left -= connections;
                settle(&shard, Some(files)).await;
                assert_eq!(shard.operations(), operations, "{executor}, after {connections} connections");
            }
        })
        .expect("io_uring works here");
        // The kernel closes a ring's last references, and threads end, in their own time.
        let limit = Instant::now() + Duration::from_secs(20);
        while open_files() > outside {
            assert!(
                Instant::now() < limit,
                "{executor}: {} files are open, {outside} were before the run",
                open_files()
            );
            std::thread::yield_now();
        }
    }
}

/// Waits for the last completions, which close the descriptors: until `files` are open, or nothing changes any more.
async fn settle(shard: &Shard, files: Option<usize>) {
    let limit = shard.now() + Duration::from_secs(20);
    let mut before = None;
    loop {
        let now = (open_files(), shard.operations());
        match files {
            Some(files) if now.0 <= files => return,
            Some(files) => assert!(shard.now() < limit, "{} files are open, {files} were: {:?}", now.0, now.1),
            None if before == Some(now) => return,
            None => before = Some(now),
        }
        shard.sleep(Duration::from_millis(2)).await;
    }
}

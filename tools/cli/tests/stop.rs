//! Stops of the real binary: in good order, by a crash, and when somebody does not want to wait.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use common::{directory, ouzel, run, stdout_of};
use ouzel_protocol::native::{
    Api, FRAME_HEADER_BYTES, FetchPartition, FetchRequest, HelloRequest, PROTOCOL_VERSION, request_frame,
};
use ouzel_protocol::{CorrelationId, Offset, PartitionIndex, TopicId};
use rustix::process::{Pid, Signal, kill_process};

/// A broker whose log is read; killed and reaped when dropped.
struct Logged {
    child: Child,
    native: String,
    log: BufReader<ChildStderr>,
    _stdout: BufReader<ChildStdout>,
}

impl Logged {
    fn start(data_dir: &Path) -> Logged {
        let mut child =
            ouzel(&["serve", "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
                .args(["--shards", "1", "--log-level", "info"])
                .args(["--set", "journal.bytes.max=32MiB", "--set", "memory.bytes.max=64MiB"])
                .arg("--data-dir")
                .arg(data_dir)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the broker starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("a ready line");
        let native = ready.split(' ').find_map(|word| word.strip_prefix("native=")).expect("an address").to_string();
        let log = BufReader::new(child.stderr.take().expect("stderr"));
        Logged { child, native, log, _stdout: stdout }
    }

    /// The next line of the log that holds `words`.
    fn line_with(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).expect("text") > 0, "the log ended without `{words}`");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the broker runs");
    }

    fn end(mut self) -> (std::process::ExitStatus, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends"), rest)
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        // Both fail only for a broker that was reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_log_tells_a_start_after_a_clean_stop_from_one_after_a_crash() {
    let directory = directory();
    for (after, signal) in
        [("nothing", Signal::TERM), ("clean-stop", Signal::KILL), ("crash", Signal::INT), ("clean-stop", Signal::TERM)]
    {
        let mut broker = Logged::start(directory.path());
        let line = broker.line_with("recovered");
        assert!(line.contains(&format!("after=\"{after}\"")), "{line}");
        broker.signal(signal);
        let is_kill = signal == Signal::KILL;
        assert_eq!(broker.end().0.success(), !is_kill);
    }
}

/// Whether a process has a handler of its own for this signal.
fn catches(child: &Child, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
    let mask = u64::from_str_radix(caught.trim(), 16).expect("a hexadecimal number");
    mask & (1 << (signal.as_raw() - 1)) != 0
}

#[test]
fn a_signal_before_the_broker_serves_ends_the_start_in_good_order() {
    let directory = directory();
    // A start waits for a port that is in use, which holds this one before it serves.
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = ouzel(&["serve", "--native", &address, "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--shards", "1", "--set", "journal.bytes.max=32MiB", "--set", "memory.bytes.max=64MiB"])
            .arg("--data-dir")
            .arg(directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        while !catches(&child, Signal::TERM) {
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let mut log = String::new();
        child.stderr.take().expect("stderr").read_to_string(&mut log).expect("text");
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("the start is given up") && !log.contains("in use"), "{log}");
    }
    drop(other);
    let mut broker = Logged::start(directory.path());
    assert!(broker.line_with("recovered").contains("after=\"nothing\""));
    broker.signal(Signal::TERM);
    assert!(broker.end().0.success());
}

#[test]
fn a_second_signal_ends_a_stop_that_waits_for_a_reader() {
    let directory = directory();
    let mut broker = Logged::start(directory.path());
    let words = ["bench", "produce", "--topic", "orders", "--partitions", "1", "--records", "2000", "--bootstrap"];
    stdout_of(&run(&[&words[..], &[&broker.native]].concat()));
    let _reader = reads_nothing(&broker.native, topic_id(&broker.native));
    broker.signal(Signal::TERM);
    broker.line_with("stopping");
    broker.signal(Signal::TERM);
    let (status, log) = broker.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("a second signal came"), "{log}");
    let mut broker = Logged::start(directory.path());
    assert!(broker.line_with("recovered").contains("after=\"crash\""));
    broker.signal(Signal::TERM);
    assert!(broker.end().0.success());
}

fn topic_id(native: &str) -> TopicId {
    let list: serde_json::Value =
        serde_json::from_str(&stdout_of(&run(&["topic", "list", "--json", "--bootstrap", native])))
            .expect("one JSON object");
    let text = list["topics"][0]["topic_id"].as_str().expect("a topic");
    TopicId(u128::from_str_radix(text, 16).expect("a hexadecimal number"))
}

/// A connection that asks for more than its socket holds, and reads no more than the first reply's header.
fn reads_nothing(native: &str, topic_id: TopicId) -> TcpStream {
    let mut stream = TcpStream::connect(native).expect("the broker accepts");
    let (version_min, version_max) = (PROTOCOL_VERSION, PROTOCOL_VERSION);
    let hello = HelloRequest { version_min, version_max, features: 0, client: "test".to_owned() };
    let row = FetchPartition { topic_id, partition: PartitionIndex(0), offset: Offset(0), max_bytes: u32::MAX };
    let fetch = FetchRequest { max_wait_ms: 0, min_bytes: 1, max_bytes: u32::MAX, partitions: vec![row] };
    let mut frames = request_frame(Api::Hello, CorrelationId(0), |out| hello.encode(out));
    // All that may be in flight: the broker has taken every one of them by the time it answers the first.
    for correlation in 1..=60 {
        frames.extend(request_frame(Api::Fetch, CorrelationId(correlation), |out| fetch.encode(out)));
    }
    stream.write_all(&frames).expect("the broker reads");
    let mut header = [0; 2 * FRAME_HEADER_BYTES];
    stream.read_exact(&mut header).expect("the replies begin");
    stream
}

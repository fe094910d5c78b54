//! `ouzel top` of the real binary: numbers of a real broker under load, and a real terminal that gets its keys and has it back.

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use common::{Broker, Following, directory, ouzel, run, stderr_of, stdout_of};
use ouzel_protocol::kafka::{ProducePartition, ProduceRequest, ProduceTopic, Records, append_request};
use ouzel_protocol::{BatchBuilder, Codec, Dialect};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use terminal::Terminal;

/// Samples that are taken until something is seen in one.
const TRIES: usize = 50;

/// What `top --once --json` prints, as soon as `is_seen` says so.
fn seen(broker: &Broker, is_seen: impl Fn(&Value) -> bool) -> Value {
    let words = ["top", "--once", "--json", "--interval-ms", "200", "--admin", &broker.admin];
    let mut last = Value::Null;
    for _ in 0..TRIES {
        last = serde_json::from_str(&stdout_of(&run(&words))).expect("one JSON object");
        if is_seen(&last) {
            return last;
        }
    }
    panic!("it is never seen, last {last}");
}

fn row<'a>(picture: &'a Value, list: &str, name: &str, is: &str) -> &'a Value {
    let rows = picture[list].as_array().expect("a list");
    rows.iter().find(|row| row[name] == is).unwrap_or_else(|| panic!("{is} is not in {picture}"))
}

#[test]
fn once_tells_what_a_broker_does_under_load() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "2"]);
    broker.let_billing_read_four_of_six_orders();
    broker.stdout(&["topic", "create", "clicks", "--partitions", "2", "--config", "segment.bytes=2097152"]);
    let load = ["bench", "produce", "--topic", "clicks", "--seconds", "600", "--rate", "2000"];
    let load = [&load[..], &["--bootstrap", &broker.native]].concat();
    let load = Following::start(&load);

    let grows = |row: &Value, name: &str| row[name].as_f64().is_some_and(|rate| rate > 0.0);
    // All at once are there in one of a few looks: the process's own CPU is counted in ticks, of which a short one may have none.
    let picture = seen(&broker, |picture| {
        let rates = ["bytes_in_per_s", "bytes_out_per_s", "requests_per_s", "produce_p99_ms", "cpu_ratio"];
        let shards = picture["shards"].as_array().expect("shards");
        rates.iter().all(|rate| grows(picture, rate))
            && grows(row(picture, "topics", "topic", "clicks"), "bytes_in_per_s")
            && shards.iter().any(|shard| grows(shard, "payload_bytes_per_s") && grows(shard, "busy_ratio"))
    });
    assert_eq!((&picture["phase"], &picture["version"]), (&"serving".into(), &env!("CARGO_PKG_VERSION").into()));
    let shards = picture["shards"].as_array().expect("shards");
    assert_eq!(shards.len(), 2);
    assert!(shards.iter().all(|shard| shard["state"] == "online"), "{picture}");
    let orders = row(&picture, "topics", "topic", "orders");
    assert_eq!((&orders["partitions"], &orders["bytes_in_per_s"]), (&2.into(), &0.0.into()));
    let billing = row(&picture, "groups", "group", "billing");
    assert_eq!((&billing["lag"], &billing["lag_per_s"]), (&2.into(), &0.0.into()));
    assert!(picture["connections"].as_array().is_some_and(|rows| rows.iter().any(|row| row["protocol"] == "native")));

    let text = stdout_of(&run(&["top", "--interval-ms", "100", "--admin", &broker.admin]));
    for shown in ["requests/s", "shards", "clicks", "billing", "native"] {
        assert!(text.contains(shown), "{shown} is not in {text}");
    }
    drop(load);
    broker.stop();
}

/// Appends one record after the other over the Kafka protocol, until nobody wants any more.
fn produce_as_kafka_does(address: &str, stop: &AtomicBool) {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    builder.push(1_000, None, Some(b"value"), &[]);
    let batch = builder.build().expect("a batch");
    let row = ProducePartition { index: 0, records: Records::Here(&batch) };
    let topic = ProduceTopic { name: "orders", partition_data: [row].into_iter().collect(), ..ProduceTopic::default() };
    let topic_data = [topic].into_iter().collect();
    let request = ProduceRequest { acks: -1, timeout_ms: 1_000, topic_data, ..ProduceRequest::default() };
    let mut frame = Vec::new();
    append_request(&mut frame, 8, 1, Some("test"), &request).expect("the version carries it");
    let mut stream = TcpStream::connect(address).expect("the broker accepts");
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&frame).expect("the broker reads");
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("a reply");
        let mut reply = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        stream.read_exact(&mut reply).expect("a whole reply");
    }
}

#[test]
fn the_times_of_kafkas_clients_count() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    broker.stdout(&["topic", "create", "orders"]);
    let kafka = broker.ready.split(' ').find_map(|word| word.strip_prefix("kafka=")).expect("an address");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| produce_as_kafka_does(kafka, &stop));
        let picture = std::panic::catch_unwind(|| {
            seen(&broker, |picture| picture["produce_p99_ms"].as_f64().is_some_and(|ms| ms > 0.0))
        });
        stop.store(true, Ordering::Relaxed);
        picture.expect("a time");
    });
    let output = ouzel(&["top", "--once", "--json", "--interval-ms", "100"]).env("OUZEL_ADMIN", &broker.admin).output();
    let picture: Value = serde_json::from_str(&stdout_of(&output.expect("runs"))).expect("one JSON object");
    assert_eq!(picture["phase"], "serving");
    broker.stop();
}

#[test]
fn once_without_a_broker_says_where_it_looked() {
    let output = run(&["top", "--once", "--admin", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr_of(&output);
    assert!(said.contains("127.0.0.1:1") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_terminal_is_taken_and_given_back() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &[]);
    broker.stdout(&["topic", "create", "orders"]);
    for quit in ["q", "\x1b", "\x03", "SIGTERM"] {
        let mut terminal = Terminal::start(ouzel(&["top", "--admin", &broker.admin, "--interval-ms", "100"]));
        terminal.wait_for("\x1b[?1049h");
        terminal.wait_for("online");
        assert!(!terminal.is_restored());
        terminal.press("2");
        terminal.wait_for("orders");
        terminal.press("?");
        terminal.wait_for("Keys");
        terminal.press(" ");
        terminal.press("4");
        terminal.wait_for("peer");
        if quit == "SIGTERM" {
            let pid = i32::try_from(terminal.pid()).ok().and_then(Pid::from_raw).expect("a process");
            kill_process(pid, Signal::TERM).expect("sent");
        } else {
            terminal.press(quit);
        }
        terminal.wait_for("\x1b[?1049l");
        terminal.wait_for("\x1b[?25h");
        assert!(terminal.status().success(), "{quit:?}");
        assert!(terminal.is_restored(), "{quit:?}");
    }
    broker.stop();
}

/// An address that stays while what is behind it changes.
fn forward(target: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        // It may be closed already.
        let _ = to.shutdown(std::net::Shutdown::Both);
    };
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(&*target.lock().expect("no panic")) else { continue };
            let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else { continue };
            std::thread::spawn(move || copy(near, far));
            std::thread::spawn(move || copy(far_too, near_too));
        }
    });
    address
}

#[test]
fn a_broker_that_goes_away_is_said_and_found_again() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &[]);
    let target = Arc::new(Mutex::new(broker.admin.clone()));
    let address = forward(Arc::clone(&target));
    let mut terminal = Terminal::start(ouzel(&["top", "--admin", &address, "--interval-ms", "100"]));
    terminal.wait_for("online");
    // Nobody listens there.
    *target.lock().expect("no panic") = "127.0.0.1:1".to_string();
    let broker = broker.kill_and_restart(&[]);
    terminal.wait_for("no answer for");
    *target.lock().expect("no panic") = broker.admin.clone();
    terminal.wait_for("Shards");
    terminal.press("q");
    assert!(terminal.status().success() && terminal.is_restored());
    broker.stop();
}

//! `--json` of every command: one JSON object, or an object a line where it goes on.

mod common;

use common::{Broker, Following, SMALL, commands, directory, run_with_input, stdout_of};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn object(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(value.is_object(), "{line}");
    value
}

/// One run of every command but `serve`, in an order in which each finds what it needs; the words that name it come first.
fn runs(broker: &Broker, data_dir: &str, place: &str) -> Vec<(&'static str, Vec<String>)> {
    let ask = ["--bootstrap", &broker.native];
    let apart = [&["--data-dir", place, "--shards", "1"], SMALL].concat();
    let of = |name: &'static str, words: &[&str], more: &[&str]| {
        (name, [words, more].concat().into_iter().map(str::to_string).collect())
    };
    vec![
        of("topic create", &["orders", "--partitions", "2"], &ask),
        of("topic alter", &["orders", "--config", "ouzel.durability=written"], &ask),
        of("topic list", &[], &ask),
        of("topic describe", &["orders"], &ask),
        of("produce", &["orders"], &ask),
        of("consume", &["orders", "--from", "earliest", "--count", "2", "--group", "billing"], &ask),
        of("group list", &[], &ask),
        of("group describe", &["billing"], &ask),
        of("group reset-offsets", &["billing", "--to-earliest"], &ask),
        of("group delete", &["billing"], &ask),
        of("topic delete", &["orders"], &ask),
        of("cluster status", &[], &ask),
        of("top", &["--admin", &broker.admin, "--interval-ms", "100"], &[]),
        of("bench produce", &["--records", "100"], &ask),
        of("bench consume", &["--records", "100"], &ask),
        of("bench e2e", &["--records", "100"], &ask),
        of("bench hold", &["--kind", "idle", "--connections", "1", "--seconds", "0.1"], &ask),
        of("bench verify", &["--rounds", "1", "--shards", "1", "--data-dir", place], &[]),
        of("inspect", &[data_dir], &[]),
        of("config", &[], &apart),
        of("doctor", &[], &apart),
        of("completions", &["bash"], &[]),
        of("man", &[place], &[]),
    ]
}

#[test]
fn every_command_takes_json_and_prints_objects() {
    let (directory, place) = (directory(), directory());
    let (data_dir, place) = (directory.path().to_str().expect("text"), place.path().join("place"));
    std::fs::create_dir(&place).expect("made");
    let place = place.to_str().expect("text");
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    let runs = runs(&broker, data_dir, place);

    let mut tried: Vec<&str> = runs.iter().map(|(name, _)| *name).chain(["serve"]).collect();
    tried.sort_unstable();
    let all: Vec<String> = commands().iter().map(|words| words.join(" ")).collect();
    let is_leaf = |name: &&String| !all.iter().any(|other| other.starts_with(&format!("{name} ")));
    assert_eq!(tried, all.iter().filter(is_leaf).collect::<Vec<_>>());

    for (name, more) in &runs {
        let words: Vec<&str> = name.split(' ').chain(more.iter().map(String::as_str)).chain(["--json"]).collect();
        let stdout = stdout_of(&run_with_input(&words, b"a\nb\n"));
        let objects: Vec<Value> = stdout.lines().map(object).collect();
        assert_eq!(objects.len(), if *name == "consume" { 2 } else { 1 }, "{name}: {stdout}");
    }
    broker.stop();
}

#[test]
fn a_broker_says_where_it_is_as_an_object() {
    let directory = directory();
    let words = ["serve", "--json", "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let data_dir = ["--shards", "2", "--data-dir", directory.path().to_str().expect("text")];
    let mut broker = Following::start(&[&words[..], &data_dir, SMALL].concat());
    let ready = object(&broker.line());
    assert_eq!(ready["shards"], 2);
    for listener in ["kafka", "native", "admin"] {
        let address = ready[listener].as_str().expect("an address");
        std::net::TcpStream::connect(address).expect("it listens there");
    }
    let pid = i32::try_from(broker.pid()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::TERM).expect("it runs");
    let (rest, status) = broker.rest();
    assert!(status.success() && rest.is_empty(), "{rest}");
}

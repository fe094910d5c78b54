//! Everything the binary refuses: one line on stderr that says what, where and what to do, and an exit code that is not 0.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;

use common::{Broker, assert_refused, directory, run, run_with_input};

#[test]
fn words_that_mean_nothing_are_refused_with_a_hint() {
    for (words, expected) in [
        (&["serve", "--bogus"][..], "--bogus"),
        (&["nonsense"], "nonsense"),
        (&["topic", "create"], "<TOPIC>"),
        (&["topic", "create", "orders", "--partitions", "0"], "--partitions"),
        (&["consume", "orders", "--from", "yesterday"], "RFC 3339"),
        (&["consume", "orders", "--from", "17"], "--partition"),
        (&["bench", "produce", "--rate", "0"], "--rate"),
        (&["bench", "produce", "--shards", "2"], "--embedded"),
    ] {
        assert_refused(&run(words), &[expected]);
    }
}

#[test]
fn illegal_topic_names_are_refused_without_a_broker() {
    let long = "x".repeat(250);
    for name in ["", ".", "..", "a/b", "a b", "ä", long.as_str()] {
        for words in [&["topic", "create"][..], &["produce"], &["consume"]] {
            assert_refused(&run(&[words, &["--", name]].concat()), &[]);
        }
    }
}

#[test]
fn unknown_configuration_is_refused_wherever_it_stands() {
    let directory = directory();
    let file = directory.path().join("ouzel.toml");
    std::fs::write(&file, "shard = 2\n").expect("file");
    let file = file.to_str().expect("path");
    assert_refused(&run(&["serve", "--config", file]), &["shard", "did you mean `shards`"]);
    assert_refused(&run(&["config", "--set", "journal.max=1"]), &["journal.max"]);
    assert_refused(&run(&["serve", "--native", "nowhere"]), &["native", "host:port"]);
    let too_rare = ["serve", "--set", "group.consumer.heartbeat.interval.ms=45000"];
    assert_refused(&run(&too_rare), &["group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"]);
    let output = common::ouzel(&["serve"]).env("OUZEL_SHARD", "2").output().expect("runs");
    assert_refused(&output, &["OUZEL_SHARD"]);
    let no_text = std::ffi::OsStr::from_bytes(b"data-\xff");
    let output = common::ouzel(&["serve"]).env("OUZEL_DATA_DIR", no_text).output().expect("runs");
    assert_refused(&output, &["OUZEL_DATA_DIR", "not UTF-8"]);
    for command in ["serve", "config", "doctor"] {
        let output = common::ouzel(&[command, "--data-dir"]).arg(no_text).output().expect("runs");
        assert_refused(&output, &["--data-dir", "not UTF-8"]);
    }
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    // Port 1 is privileged and nobody listens there.
    for words in [&["topic", "list"][..], &["produce", "orders"], &["consume", "orders"], &["bench", "produce"]] {
        assert_refused(&run(&[words, &["--bootstrap", "127.0.0.1:1"]].concat()), &["127.0.0.1:1"]);
    }
}

#[test]
fn a_second_broker_on_the_same_directory_or_port_is_refused() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    let data_dir = directory.path().to_str().expect("path");
    assert_refused(
        &run(&["serve", "--data-dir", data_dir, "--native", "127.0.0.1:0", "--admin", "127.0.0.1:0"]),
        &[data_dir, "in use"],
    );

    let other = common::directory();
    let other = other.path().to_str().expect("path");
    assert_refused(
        &run(&["serve", "--data-dir", other, "--native", &broker.native, "--admin", "127.0.0.1:0"]),
        &[&broker.native, "in use"],
    );
    broker.stop();
}

#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    let directory = directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").expect("file");
    let file = file.to_str().expect("path");
    assert_refused(&run(&["serve", "--data-dir", file, "--native", "127.0.0.1:0", "--admin", "127.0.0.1:0"]), &[file]);
    // Nobody, not even root, can create anything there.
    assert_refused(
        &run(&["serve", "--data-dir", "/proc/ouzel", "--native", "127.0.0.1:0", "--admin", "127.0.0.1:0"]),
        &["/proc/ouzel"],
    );
}

#[test]
fn too_little_space_for_the_journal_is_refused() {
    let directory = directory();
    let data_dir = directory.path().to_str().expect("path");
    let words = ["serve", "--data-dir", data_dir, "--native", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let words = [&words[..], &["--set", "journal.bytes.max=4096TiB"]].concat();
    assert_refused(&run(&words), &[data_dir, "space"]);
}

#[test]
fn what_the_broker_does_not_know_is_refused_with_what_to_do() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    for words in [&["topic", "describe", "nothing"][..], &["topic", "delete", "nothing"], &["consume", "nothing"]] {
        assert_refused(&broker.run(words), &["nothing"]);
    }
    assert_refused(&broker.produce(&["nothing"], "a\n"), &["nothing", "ouzel topic create"]);
    broker.stdout(&["topic", "create", "orders", "--partitions", "2"]);
    assert_refused(&broker.run(&["topic", "create", "orders"]), &["orders"]);
    assert_refused(&broker.run(&["topic", "create", "t", "--config", "retention.weeks=1"]), &["retention.weeks"]);
    assert_refused(&broker.run(&["topic", "create", "t", "--config", "ouzel.durability=maybe"]), &["maybe"]);
    assert_refused(&broker.run(&["topic", "alter", "orders", "--partitions", "1"]), &["orders"]);
    assert_refused(&broker.run(&["consume", "orders", "--partition", "7"]), &["partition 7"]);
    assert_refused(&broker.produce(&["orders", "--partition", "7"], "a\n"), &["partition 7"]);
    assert_refused(&broker.produce(&["orders", "--key-separator", ":"], "a:b\nc\n"), &["line 2", "`:`"]);
    broker.stop();
}

#[test]
fn garbage_closes_its_connection_and_the_broker_goes_on() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    // The header of a frame of 2 GiB.
    let mut huge = [0; 24];
    huge[..4].copy_from_slice(&(2u32 << 30).to_le_bytes());
    let garbage: Vec<u8> = (0..1_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for bytes in [&huge[..], &garbage] {
        let mut stream = TcpStream::connect(&broker.native).expect("connected");
        // The broker may close before all of it is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // Closed, with a reset where bytes were left unread.
        let _ = stream.read_to_end(&mut answer);
    }
    assert_eq!(broker.json(&["topic", "list"]), serde_json::json!({ "topics": [] }));
    broker.stop();
}

#[test]
fn bad_input_to_bench_and_inspect_is_refused() {
    assert_refused(&run(&["inspect", "/nonexistent"]), &["/nonexistent"]);
    let directory = directory();
    let path = directory.path().to_str().expect("path");
    assert_refused(&run(&["inspect", path]), &[path, "data directory"]);
    assert_refused(&run(&["bench", "e2e", "--embedded", "--record-bytes", "8", "--dir", path]), &["16"]);
    assert_refused(&run_with_input(&["produce", "orders", "--compression", "rar"], b""), &["rar"]);
}

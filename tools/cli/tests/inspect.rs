//! A data directory read offline: whole after a stop and after a kill, and damage found wherever one byte is flipped.

mod common;

use std::path::{Path, PathBuf};

use common::{Broker, assert_refused, directory, run, stdout_of};
use serde_json::Value;

fn inspect(path: &Path, words: &[&str]) -> Value {
    let path = path.to_str().expect("path");
    let output = run(&[&["inspect", path, "--json"], words].concat());
    serde_json::from_str(&stdout_of(&output)).expect("one JSON object")
}

/// Every file below a directory.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn flip(path: &Path, position: usize) {
    let mut bytes = std::fs::read(path).expect("file");
    bytes[position] ^= 0x40;
    std::fs::write(path, bytes).expect("file");
}

#[test]
fn a_directory_is_whole_while_running_after_a_kill_and_after_a_stop() {
    let directory = directory();
    let path = directory.path();
    let broker = Broker::start(path, &["--shards", "2"]);
    broker.stdout(&["topic", "create", "orders", "--partitions", "3"]);
    let lines: String = (0..30_000).map(|number| format!("line {number}\n")).collect();
    stdout_of(&broker.produce(&["orders"], &lines));
    assert_eq!(inspect(path, &["--verify"])["damage"], Value::Array(Vec::new()));

    let broker = broker.kill_and_restart(&["--shards", "1"]);
    assert_eq!(inspect(path, &["--verify"])["damage"], Value::Array(Vec::new()));
    broker.stop();

    let report = inspect(path, &["--verify"]);
    assert_eq!(report["kind"], "data_dir");
    assert_eq!(report["topics"][0]["topic"], "orders");
    assert_eq!(report["journals"].as_array().map(Vec::len), Some(1));
    let partitions = report["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 3);
    let end: u64 = partitions.iter().map(|partition| partition["end_offset"].as_u64().expect("end")).sum();
    assert_eq!(end, 30_000);
    let text = stdout_of(&run(&["inspect", "--verify", path.to_str().expect("path")]));
    assert!(text.contains("orders-2") && text.contains("every checksum holds"), "{text}");

    // Every file can be looked at alone.
    for file in files(path).iter().filter(|file| !file.ends_with("lock")) {
        inspect(file, &["--verify"]);
    }
}

#[test]
fn a_flipped_byte_is_found_and_named() {
    let directory = directory();
    let path = directory.path();
    let broker = Broker::start(path, &["--shards", "1"]);
    broker.stdout(&["topic", "create", "orders", "--partitions", "1"]);
    let lines: String = (0..200_000).map(|number| format!("a line of some length, number {number}\n")).collect();
    stdout_of(&broker.produce(&["orders"], &lines));
    broker.stop();
    let segment = files(path).into_iter().find(|file| file.extension().is_some_and(|suffix| suffix == "segment"));
    let segment = segment.expect("a segment");
    let metadata = files(&path.join("metadata")).pop().expect("a metadata log");
    for (file, position) in [
        (segment.clone(), 1000),
        (segment.with_extension("check"), 20),
        (segment.with_extension("index"), 40),
        (metadata, 4096 + 70),
    ] {
        flip(&file, position);
        let output = run(&["inspect", "--verify", path.to_str().expect("path")]);
        assert_refused(&output, &[file.to_str().expect("path"), "byte"]);
        assert_eq!(output.status.code(), Some(1));
        flip(&file, position);
    }
    assert_eq!(inspect(path, &["--verify"])["damage"], Value::Array(Vec::new()));
}

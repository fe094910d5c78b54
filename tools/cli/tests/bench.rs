//! Small runs of every bench on brokers of their own.

mod common;

use common::{Broker, directory, run, stdout_of};
use serde_json::Value;

/// What scripts rely on.
const KEYS: &[&str] = &[
    "records",
    "bytes",
    "seconds",
    "records_per_s",
    "mb_per_s",
    "p50_us",
    "p90_us",
    "p99_us",
    "p999_us",
    "max_us",
    "broker_cpu_s_per_gb",
    "durability",
    "partitions",
    "errors",
];
const SMALL: &[&str] = &["--set", "journal.bytes.max=32MiB", "--set", "memory.bytes.max=128MiB"];

fn embedded(words: &[&str]) -> Value {
    let directory = directory();
    let path = directory.path().to_str().expect("path");
    let output = run(&[&["bench"], words, &["--embedded", "--json", "--dir", path], SMALL].concat());
    let report: Value = serde_json::from_str(&stdout_of(&output)).expect("one JSON object");
    for key in KEYS {
        assert!(!report[*key].is_null(), "{key} in {report}");
    }
    assert_eq!(report["errors"], 0);
    assert_eq!(std::fs::read_dir(path).expect("directory").count(), 0, "the run leaves nothing behind");
    report
}

#[test]
fn end_to_end_every_record_arrives_once_and_in_order() {
    let words = ["e2e", "--records", "20000", "--record-bytes", "100", "--partitions", "5", "--shards", "2"];
    let report = embedded(&words);
    assert_eq!((&report["records"], &report["bytes"]), (&20_000.into(), &2_000_000.into()));
    assert_eq!((&report["partitions"], &report["shards"]), (&5.into(), &2.into()));
    assert_eq!(report["durability"], "disk");
}

#[test]
fn produce_sends_exactly_the_records_asked_for() {
    let report = embedded(&["produce", "--records", "1003", "--partitions", "64", "--durability", "written"]);
    assert_eq!((&report["records"], &report["partitions"]), (&1003.into(), &64.into()));
    assert_eq!((&report["durability"], &report["in_flight"]), (&"written".into(), &256.into()));
    assert_eq!((&report["record_bytes"], &report["batch_bytes"]), (&1024.into(), &16384.into()));
}

#[test]
fn an_open_loop_offers_its_rate_and_no_more() {
    let report =
        embedded(&["produce", "--seconds", "0.5", "--rate", "2000", "--partitions", "2", "--dialect", "kafka"]);
    let records = report["records"].as_u64().expect("records");
    assert!(records > 0 && records <= 1_100, "{records}");
    assert_eq!(report["rate"], 2000.0);
}

#[test]
fn consume_reads_everything_from_memory_and_from_disk() {
    for extra in [&[][..], &["--cold", "--check"]] {
        let report = embedded(&[&["consume", "--records", "5000", "--partitions", "3"], extra].concat());
        assert_eq!(report["records"], 5000);
    }
}

#[test]
fn a_running_broker_is_measured_and_left_as_it_was() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    let report = broker.json(&["bench", "produce", "--records", "500"]);
    assert_eq!((&report["records"], &report["broker_cpu_s_per_gb"]), (&500.into(), &Value::Null));
    assert_eq!(broker.json(&["topic", "list"])["topics"], Value::Array(Vec::new()));
    let table = broker.stdout(&["bench", "e2e", "--records", "500"]);
    for word in ["records/s", "p99.9", "durability", "errors"] {
        assert!(table.contains(word), "{table}");
    }
    broker.stop();
}

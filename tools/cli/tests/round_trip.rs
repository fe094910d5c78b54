//! From a line of stdin to a line of stdout, through a real broker, with and without a kill -9 in between.

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{Broker, Following, assert_refused, directory, stdout_of};
use serde_json::{Value, json};

fn numbers(count: u32) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

fn sorted(text: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn what_is_produced_is_consumed_and_described() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "2"]);
    assert!(broker.ready.starts_with("ouzel ready kafka=127.0.0.1:"), "{}", broker.ready);
    assert!(
        broker.ready.ends_with(&format!(" native={} admin={} shards=2", broker.native, broker.admin)),
        "{}",
        broker.ready
    );
    broker.stdout(&["topic", "create", "orders", "--partitions", "6"]);
    stdout_of(&broker.produce(&["orders"], &numbers(20_000)));
    let text = broker.stdout(&["consume", "orders", "--from", "earliest", "--count", "20000"]);
    assert_eq!(sorted(&text), (1..=20_000).collect::<Vec<_>>());

    let topic = broker.json(&["topic", "describe", "orders"]);
    assert_eq!(topic["topic"], "orders");
    assert_eq!(topic["topic_id"].as_str().map(str::len), Some(32));
    let partitions = topic["partitions"].as_array().expect("partitions");
    assert_eq!(partitions.len(), 6);
    let mut shards = BTreeSet::new();
    for (index, partition) in partitions.iter().enumerate() {
        assert_eq!(partition["partition"], index);
        assert_eq!(partition["leader"], 0);
        assert_eq!(partition["log_start_offset"], 0);
        assert!(partition["bytes"].is_u64());
        shards.insert(partition["shard"].as_u64().expect("shard"));
    }
    assert_eq!(shards.len(), 2);
    let end: u64 = partitions.iter().map(|partition| partition["end_offset"].as_u64().expect("end")).sum();
    assert_eq!(end, 20_000);
    assert!(broker.stdout(&["topic", "describe", "orders"]).contains("ouzel.durability"));
    assert_eq!(broker.json(&["topic", "list"])["topics"][0]["topic"], "orders");

    let status = broker.json(&["cluster", "status"]);
    let shards = status["nodes"][0]["shards"].as_array().expect("shards");
    let payload = |shard: &Value| shard["counters"]["payload_bytes"].as_u64().expect("a counter");
    assert!(shards.len() == 2 && shards.iter().all(|shard| shard["state"] == "online" && payload(shard) > 0));
    assert!(broker.stdout(&["cluster", "status"]).contains("online"));

    broker.stdout(&["topic", "alter", "orders", "--partitions", "7", "--config", "ouzel.durability=written"]);
    let topic = broker.json(&["topic", "describe", "orders"]);
    assert_eq!(topic["partitions"].as_array().map(Vec::len), Some(7));
    assert_eq!(topic["configs"]["ouzel.durability"], "written");
    broker.stdout(&["topic", "alter", "orders", "--config", "ouzel.durability="]);
    assert_eq!(broker.json(&["topic", "describe", "orders"])["configs"]["ouzel.durability"], "disk");
    broker.stdout(&["topic", "delete", "orders"]);
    assert_eq!(broker.json(&["topic", "list"]), json!({ "topics": [] }));
    broker.stop();
}

#[test]
fn keys_formats_codecs_and_positions() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    broker.stdout(&["topic", "create", "t", "--partitions", "3"]);
    stdout_of(&broker.produce(&["t", "--key-separator", "=>", "--compression", "zstd"], "k=>a\nk=>b\nk=>c=>d\n"));
    let text = broker.stdout(&["consume", "t", "--from", "earliest", "--count", "3", "--format", "key-value"]);
    assert_eq!(text, "k\ta\nk\tb\nk\tc=>d\n");

    let text = broker.stdout(&["consume", "t", "--from", "earliest", "--count", "3", "--format", "json"]);
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let partition = records[0]["partition"].to_string();
    for (offset, (record, value)) in records.iter().zip(["a", "b", "c=>d"]).enumerate() {
        assert_eq!((&record["key"], &record["value"]), (&json!("k"), &json!(value)));
        assert_eq!((&record["topic"], &record["offset"]), (&json!("t"), &json!(offset)));
        assert!(record["timestamp"].as_i64().is_some_and(|timestamp| timestamp > 0));
    }
    let text = broker.stdout(&["consume", "t", "--from", "1", "--partition", &partition, "--count", "2"]);
    assert_eq!(text, "b\nc=>d\n");
    let text = broker.stdout(&["consume", "t", "--from", "2020-01-01T00:00:00Z", "--count", "3"]);
    assert_eq!(text, "a\nb\nc=>d\n");

    for codec in ["gzip", "snappy", "lz4", "none"] {
        stdout_of(&broker.produce(&["t", "--compression", codec, "--partition", "0", "--acks", "1"], &numbers(500)));
    }
    let count = if partition == "0" { "2003" } else { "2000" };
    let text = broker.stdout(&["consume", "t", "--from", "earliest", "--partition", "0", "--count", count]);
    assert_eq!(text.lines().count().to_string(), count);
    broker.stop();
}

#[test]
fn a_count_that_is_not_reached_in_time_is_a_failure() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    broker.stdout(&["topic", "create", "t"]);
    stdout_of(&broker.produce(&["t"], "a\nb\n"));
    let words = ["consume", "t", "--from", "earliest", "--timeout-ms", "300"];
    let output = broker.run(&[&words[..], &["--count", "3"]].concat());
    assert_refused(&output, &["2 of 3"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 3);
    // Without a count the time is how it ends.
    assert_eq!(broker.stdout(&words).lines().count(), 2);
    broker.stop();
}

#[test]
fn a_consumer_follows_and_ends_on_ctrl_c() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    broker.stdout(&["topic", "create", "t", "--partitions", "1"]);
    let mut following = Following::start(&["consume", "t", "--from", "earliest", "--bootstrap", &broker.native]);
    for line in ["one", "two"] {
        stdout_of(&broker.produce(&["t"], &format!("{line}\n")));
        // Each line is there before the next is sent: nothing waits in a buffer.
        assert_eq!(following.line(), line);
    }
    let signalled = Command::new("kill").args(["-INT", &following.pid().to_string()]).status().expect("kill");
    assert!(signalled.success());
    let (rest, status) = following.rest();
    assert!(rest.is_empty() && status.success(), "{status}: {rest}");
    broker.stop();
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "1"]);
    broker.stdout(&["topic", "create", "t"]);
    stdout_of(&broker.produce(&["t"], &numbers(50_000)));
    let script = format!(
        "set -o pipefail; '{}' consume t --from earliest --bootstrap {} | head -n 1",
        common::OUZEL,
        broker.native
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(output.status.success(), "{:?}", output);
    assert!(output.stderr.is_empty(), "{:?}", output);
    broker.stop();
}

#[test]
fn what_was_acknowledged_survives_kill_9_whatever_the_shards_are_next() {
    let directory = directory();
    let mut broker = Broker::start(directory.path(), &["--shards", "2"]);
    broker.stdout(&["topic", "create", "disk", "--partitions", "5"]);
    broker.stdout(&["topic", "create", "written", "--partitions", "2", "--config", "ouzel.durability=written"]);
    let mut total = 0;
    for shards in ["1", "3", "2"] {
        for topic in ["disk", "written"] {
            let lines: String = (total + 1..=total + 5_000).map(|number| format!("{number}\n")).collect();
            stdout_of(&broker.produce(&[topic], &lines));
        }
        total += 5_000;
        broker = broker.kill_and_restart(&["--shards", shards]);
        for topic in ["disk", "written"] {
            let text = broker.stdout(&["consume", topic, "--from", "earliest", "--count", &total.to_string()]);
            assert_eq!(sorted(&text), (1..=total).collect::<Vec<_>>(), "{topic} at {shards} shards");
        }
    }
    broker.stop();
}

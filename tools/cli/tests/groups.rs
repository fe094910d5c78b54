//! `ouzel consume --group` and `ouzel group`: offsets that stand still, move and are shown, with a broker of the test's own.

mod common;

use common::{Broker, Following, assert_refused, directory, run, stdout_of};
use serde_json::{Value, json};

/// A broker with a topic of two partitions, six records in each.
fn with_records(directory: &tempfile::TempDir) -> Broker {
    let broker = Broker::start(directory.path(), &["--shards", "2"]);
    broker.stdout(&["topic", "create", "orders", "--partitions", "2"]);
    for partition in ["0", "1"] {
        stdout_of(&broker.produce(&["orders", "--partition", partition], "1\n2\n3\n4\n5\n6\n"));
    }
    broker
}

fn consume(broker: &Broker, group: &str, count: &str) -> usize {
    let words =
        ["consume", "orders", "--group", group, "--from", "earliest", "--timeout-ms", "30000", "--count", count];
    broker.stdout(&words).lines().count()
}

/// Committed offset and lag of each partition.
fn offsets(broker: &Broker, group: &str) -> Vec<(Value, Value)> {
    let described = broker.json(&["group", "describe", group]);
    let rows = described["offsets"].as_array().expect("rows").clone();
    rows.into_iter().map(|row| (row["committed_offset"].clone(), row["lag"].clone())).collect()
}

fn total_lag(broker: &Broker, group: &str) -> u64 {
    offsets(broker, group).iter().map(|(_, lag)| lag.as_u64().expect("a lag")).sum()
}

#[test]
fn a_group_goes_on_where_it_stopped_also_after_a_crash_of_the_broker() {
    let directory = directory();
    let broker = with_records(&directory);
    assert_eq!(consume(&broker, "billing", "5"), 5);
    assert_eq!(total_lag(&broker, "billing"), 7, "what was printed is committed, and no more");
    let broker = broker.kill_and_restart(&["--shards", "2"]);
    assert_eq!(total_lag(&broker, "billing"), 7);
    assert_eq!(consume(&broker, "billing", "7"), 7);
    assert_eq!(offsets(&broker, "billing"), [(json!(6), json!(0)), (json!(6), json!(0))]);
    let output = broker.run(&["consume", "orders", "--group", "billing", "--count", "1", "--timeout-ms", "300"]);
    assert_refused(&output, &["0 of 1 records"]);
    broker.stop();
}

#[test]
fn a_group_is_listed_described_reset_and_deleted() {
    let directory = directory();
    let broker = with_records(&directory);
    assert_eq!(broker.json(&["group", "list"]), json!({ "groups": [] }));
    assert_eq!(consume(&broker, "billing", "12"), 12);
    let listed = broker.json(&["group", "list"]);
    assert_eq!((&listed["groups"][0]["group"], &listed["groups"][0]["state"]), (&json!("billing"), &json!("Empty")));
    assert_eq!(broker.json(&["group", "list", "--state", "stable"]), json!({ "groups": [] }));
    assert!(broker.stdout(&["group", "list", "--state", "empty"]).contains("billing"));

    // Shown first, and done only when asked for.
    let planned = broker.json(&["group", "reset-offsets", "billing", "--to-offset", "2"]);
    assert_eq!(
        (&planned["executed"], &planned["offsets"][1]["from"], &planned["offsets"][1]["to"]),
        (&json!(false), &json!(6), &json!(2))
    );
    assert_eq!(total_lag(&broker, "billing"), 0);
    assert!(broker.stdout(&["group", "reset-offsets", "billing", "--to-earliest"]).contains("--execute"));
    for (words, lag) in [
        (&["--to-offset", "2"][..], 8),
        (&["--shift-by", "-1", "--topic", "orders"], 10),
        (&["--to-offset", "1000"], 0),
        (&["--to-earliest"], 12),
        (&["--to-time", "2100-01-01T00:00:00Z"], 0),
        (&["--shift-by=-100"], 12),
        (&["--to-latest"], 0),
        (&["--to-time", "2000-01-01T00:00:00Z"], 12),
    ] {
        broker.stdout(&[&["group", "reset-offsets", "billing", "--execute"], words].concat());
        assert_eq!(total_lag(&broker, "billing"), lag, "{words:?}");
    }
    assert_eq!(consume(&broker, "billing", "12"), 12, "everything again");

    broker.stdout(&["group", "reset-offsets", "new", "--topic", "orders", "--to-latest", "--execute"]);
    assert_eq!(total_lag(&broker, "new"), 0, "a group may begin with a reset");
    assert!(broker.stdout(&["group", "delete", "billing"]).contains("billing"));
    assert_refused(&broker.run(&["group", "describe", "billing"]), &["billing", "no such group"]);
    assert_refused(&broker.run(&["group", "delete", "billing"]), &["billing", "no such group"]);
    assert_refused(&broker.run(&["group", "reset-offsets", "billing", "--to-latest"]), &["billing", "no such group"]);
    let unknown = ["group", "reset-offsets", "billing", "--to-latest", "--topic", "none"];
    assert_refused(&broker.run(&unknown), &["topic none does not exist"]);
    broker.stop();
}

#[test]
fn a_group_with_members_is_shown_with_them_and_neither_reset_nor_deleted() {
    let directory = directory();
    let broker = with_records(&directory);
    let words = ["consume", "orders", "--group", "billing", "--from", "earliest", "--bootstrap", &broker.native];
    let mut member = Following::start(&words);
    for _ in 0..12 {
        member.line();
    }
    let described = broker.json(&["group", "describe", "billing"]);
    assert_eq!(described["members"].as_array().expect("members").len(), 1);
    let assigned = &described["members"][0]["assignment"][0];
    assert_eq!((&assigned["topic"], &assigned["partitions"]), (&json!("orders"), &json!([0, 1])));
    assert_eq!(described["offsets"][0]["member"], described["members"][0]["member"]);
    assert!(broker.stdout(&["group", "describe", "billing"]).contains("orders:0,1"));
    let reset = ["group", "reset-offsets", "billing", "--to-latest", "--execute"];
    assert_refused(&broker.run(&reset), &["billing", "1 members", "stop them first"]);
    assert_refused(&broker.run(&["group", "delete", "billing"]), &["billing", "not empty"]);
    drop(member);
    broker.stop();
}

#[test]
fn what_makes_no_sense_with_a_group_is_refused_before_a_broker_is_asked() {
    let nowhere = ["--bootstrap", "127.0.0.1:1"];
    for (words, said) in [
        (&["consume", "t", "--group", "g", "--from", "4711"][..], "reset-offsets"),
        (&["consume", "t", "--group", "g", "--from", "2026-01-01T00:00:00Z"], "reset-offsets"),
        (&["consume", "t", "--group", "g", "--partition", "0"], "--partition"),
        (&["group", "reset-offsets", "g"], "--to-earliest"),
    ] {
        assert_refused(&run(&[words, &nowhere].concat()), &[said]);
    }
}

#[test]
fn the_name_of_a_group_does_nothing_to_the_terminal() {
    let directory = directory();
    let broker = with_records(&directory);
    let name = "bill\u{1b}[2J\u{202e}ing";
    consume(&broker, name, "4");
    for words in [&["group", "list"][..], &["group", "describe", name]] {
        let shown = broker.stdout(words);
        assert!(shown.contains("bill?[2J?ing"), "{}", shown.escape_debug());
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{}", shown.escape_debug());
    }
    assert_eq!(broker.json(&["group", "list"])["groups"][0]["group"], name, "programs get the name as it is");
    broker.stop();
}

//! What is written about the metrics, held against the table: `docs/metrics.md` word for word, the dashboard and the alerts by
//! the names they use.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::table::{ALL, Kind, Metric};

/// Set to write `docs/metrics.md` anew.
const WRITE: &str = "OUZEL_WRITE_DOCS";

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../docs", name].iter().collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

fn document() -> String {
    let mut text = String::from(
        "# Metrics

What `/metrics` of the admin port has, in Prometheus' text format. Times are in seconds and sizes in bytes; counters begin at 0 with every start
of the broker. This page is made from `broker/server/src/admin/metrics/table.rs`, and a test holds the two together; how to use it stands in
[operations.md](operations.md).

The number of series is bounded. The thousand oldest topics have series of their own, all others share `topic=\"(other)\"`. Each shard
shows its share of a thousand groups and of five thousand partitions of groups, in the order of the partitions of `__consumer_offsets`
and of names; a coordinator of more than ten thousand groups shows none. `ouzel_series_left_out` says how many are missing.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
",
    );
    for Metric { name, kind, labels, help } in ALL {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(text, "| `{name}` | {} | {} | {help} |", kind.word(), labels.join(", "))
            .expect("a string takes any text");
    }
    text
}

/// Names of metrics that a text uses.
fn names(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("ouzel_") || word.starts_with("process_")).collect()
}

/// Whether there is a series of this name.
fn is_series(name: &str) -> bool {
    ALL.iter().any(|metric| match metric.kind {
        Kind::Counter | Kind::Gauge => metric.name == name,
        Kind::SecondsHistogram | Kind::CountHistogram => {
            let suffix = name.strip_prefix(metric.name);
            suffix.is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix))
        }
    })
}

fn queries(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = ["expr", "query"].iter().filter_map(|key| Some(fields.get(*key)?.as_str()?.to_owned()));
            own.chain(fields.values().flat_map(queries)).collect()
        }
        Value::Array(values) => values.iter().flat_map(queries).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_name_is_legal_once_and_says_its_unit_and_type() {
    for metric in ALL {
        let name = metric.name;
        assert_eq!(ALL.iter().filter(|other| other.name == name).count(), 1, "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        assert_eq!(
            metric.kind == Kind::SecondsHistogram,
            is_series(&format!("{name}_sum")) && name.ends_with("_seconds"),
            "{name}"
        );
        assert!(metric.help.ends_with('.'), "{name}");
        assert!(!metric.labels.contains(&"le") && !metric.help.contains('|'), "{name}");
    }
}

#[test]
fn the_document_says_what_the_table_says() {
    if std::env::var_os(WRITE).is_some() {
        fs::write(path("metrics.md"), document()).expect("docs/metrics.md can be written");
    }
    assert!(
        read("metrics.md") == document(),
        "docs/metrics.md is not what the table says: run this test with {WRITE}=1"
    );
}

#[test]
fn the_dashboard_and_the_alerts_name_series_that_are_there() {
    let dashboard: Value = serde_json::from_str(&read("grafana/ouzel.json")).expect("the dashboard is JSON");
    let queries = queries(&dashboard);
    let used: Vec<&str> = queries.iter().flat_map(|query| names(query)).collect();
    assert!(used.len() > 40, "the queries of the dashboard are found");
    let alerts = read("grafana/alerts.yml");
    let of_alerts = names(&alerts);
    assert!(of_alerts.len() > 10, "the expressions of the alerts are found");
    for name in used.into_iter().chain(of_alerts) {
        assert!(is_series(name), "there is no series {name}");
    }
}

//! What is written about the metrics, held against the table: `docs/metrics.md` word for word, the dashboard and the alerts by
//! the series and labels that their queries and texts name.

mod queries;

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

The number of series is bounded. The thousand oldest topics have series of their own, all others share `topic=\"(other)\"`, whose counters
keep what topics that are gone have counted. Each shard
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
    text.push_str(KAFKA_EXPORTER);
    text
}

/// The last part of the document.
const KAFKA_EXPORTER: &str = r#"
## Dashboards that know kafka_exporter

`ouzel_consumergroup_lag`, `ouzel_consumergroup_current_offset` and `ouzel_consumergroup_members` have the meaning and the labels of
`kafka_consumergroup_lag`, `_current_offset` and `_members` of kafka_exporter. They do not have its names: everything here has one prefix, and
where a migration has both scraped by one Prometheus, its sums would count groups of two clusters as one. Dashboards and alerts that are there
already get those names by a rule of the scrape, below the job in `scrape_configs`:

```yaml
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: ouzel_(consumergroup_(?:lag|current_offset|members))
        target_label: __name__
        replacement: kafka_$1
```

The names of the table are then gone for these three, also for [grafana/ouzel.json](grafana/ouzel.json). `ouzel_consumergroup_lag_sum` is not among
them: it is one sum for a group, and `kafka_consumergroup_lag_sum` one for each topic of a group. That is a rule for `rule_files`:

```yaml
groups:
  - name: kafka-names
    rules:
      - record: kafka_consumergroup_lag_sum
        expr: sum by (job, instance, consumergroup, topic) (kafka_consumergroup_lag{job="ouzel"})
```
"#;

/// The metric that a series belongs to.
fn metric_of(name: &str) -> Option<&'static Metric> {
    ALL.iter().copied().find(|metric| match metric.kind {
        Kind::Counter | Kind::Gauge => metric.name == name,
        Kind::SecondsHistogram | Kind::CountHistogram => {
            let suffix = name.strip_prefix(metric.name);
            suffix.is_some_and(|suffix| ["_bucket", "_sum", "_count"].contains(&suffix))
        }
    })
}

/// What a panel draws: its query, with Grafana's variables replaced, and the text of the legend.
fn targets(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str);
            let own = text("expr").map(|query| {
                let plain = query.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*");
                (plain, text("legendFormat").unwrap_or_default().to_owned())
            });
            own.into_iter().chain(fields.values().flat_map(targets)).collect()
        }
        Value::Array(values) => values.iter().flat_map(targets).collect(),
        _ => Vec::new(),
    }
}

/// Labels that the texts of a legend or an alert name: words between these two.
fn labels_named<'a>(text: &'a str, before: &'a str, after: &'a str) -> Vec<&'a str> {
    text.split(before).skip(1).map(|rest| rest.split(after).next().unwrap_or(rest).trim()).collect()
}

/// Name, query and the rest of each alert. The file is written so that this can be read off: a query stands on the line of its
/// key, or on deeper lines behind `>-`.
fn alerts(text: &str) -> Vec<(&str, String, &str)> {
    let rules = text.split("- alert: ").skip(1);
    let alert = |rule: &str| {
        let (_, behind) = rule.split_once("expr: ").expect("an alert has a query");
        let (first, rest) = behind.split_once('\n').expect("something stands behind it");
        let deeper = rest.lines().take_while(|line| line.starts_with("          "));
        if first == ">-" { deeper.map(str::trim).collect::<Vec<_>>().join(" ") } else { first.to_owned() }
    };
    rules.map(|rule| (rule.lines().next().unwrap_or_default(), alert(rule), rule)).collect()
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
            metric_of(&format!("{name}_sum")).is_some() && name.ends_with("_seconds"),
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
fn the_groups_have_the_labels_that_kafka_exporter_gives_them() {
    for (name, labels) in [
        ("lag", "consumergroup topic partition"),
        ("current_offset", "consumergroup topic partition"),
        ("members", "consumergroup"),
        // One label less than there: why it is not renamed.
        ("lag_sum", "consumergroup"),
    ] {
        let metric = metric_of(&format!("ouzel_consumergroup_{name}")).expect(name);
        assert_eq!(metric.labels.join(" "), labels, "{name}");
    }
    let rule = KAFKA_EXPORTER.split_once("expr: ").and_then(|(_, rest)| rest.lines().next()).expect("a rule");
    let labels = queries::labels_of(&rule.replace("kafka_", "ouzel_")).expect(rule);
    assert_eq!(labels.into_iter().collect::<Vec<_>>(), ["consumergroup", "instance", "job", "topic"]);
}

#[test]
fn the_dashboard_asks_for_series_and_labels_that_are_there() {
    let dashboard: Value = serde_json::from_str(&read("grafana/ouzel.json")).expect("the dashboard is JSON");
    let targets = targets(&dashboard);
    assert!(targets.len() > 40, "the queries of the dashboard are found");
    for (query, legend) in targets {
        assert!(!query.contains('$'), "a variable that nothing here replaces: {query}");
        let labels = queries::labels_of(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
        let named = labels_named(&legend, "{{", "}}");
        queries::check_names(named, &labels).unwrap_or_else(|error| panic!("the legend of {query}: {error}"));
    }
    let variables = dashboard["templating"]["list"].as_array().expect("a list of variables");
    let choices: Vec<&str> = variables.iter().filter_map(|variable| variable["query"]["query"].as_str()).collect();
    assert_eq!(choices.len(), 2, "$job and $instance: {choices:?}");
    for query in choices {
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inner.and_then(|inner| inner.split_once(", ")).expect("label_values(series, label)");
        let labels = queries::labels_of_series(series).unwrap_or_else(|error| panic!("{query}: {error}"));
        queries::check_names([label], &labels).unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}

#[test]
fn the_alerts_ask_for_series_and_labels_that_are_there() {
    let text = read("grafana/alerts.yml");
    let alerts = alerts(&text);
    assert!(alerts.len() > 10, "the alerts are found");
    assert_eq!(alerts.len(), text.matches("expr:").count(), "each has one query");
    for (name, query, rule) in alerts {
        let labels = queries::labels_of(&query).unwrap_or_else(|error| panic!("{name}: {query}: {error}"));
        let named = labels_named(rule, "$labels.", " ");
        assert!(!named.is_empty(), "{name} says of what it speaks");
        queries::check_names(named, &labels).unwrap_or_else(|error| panic!("the texts of {name}: {error}"));
    }
}

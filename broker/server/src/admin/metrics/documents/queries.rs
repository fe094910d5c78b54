//! The labels that a query's result has, by PromQL's rules, from the series of the table on: a label that no series has is found
//! where it is named, and so is one that an operator has left behind. Never asks what values a label has.

use std::collections::BTreeSet;

use promql_parser::label::Labels as Named;
use promql_parser::parser::token::{T_BOTTOMK, T_COUNT_VALUES, T_LIMIT_RATIO, T_LIMITK, T_LOR, T_TOPK};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector,
};

use super::metric_of;

pub(super) type Labels = BTreeSet<String>;

/// What Prometheus itself adds to every series.
const OF_TARGET: [&str; 2] = ["instance", "job"];
/// The series that Prometheus makes of a scrape.
const UP: &str = "up";

/// Labels of the result of a query.
pub(super) fn labels_of(query: &str) -> Result<Labels, String> {
    follow(&parser::parse(query)?)
}

/// Labels of the series that a metric is.
pub(super) fn labels_of_series(name: &str) -> Result<Labels, String> {
    let mut labels = Labels::from(OF_TARGET.map(str::to_owned));
    if name != UP {
        let metric = metric_of(name).ok_or_else(|| format!("there is no series {name}"))?;
        labels.extend(metric.labels.iter().map(|&label| label.to_owned()));
        if name != metric.name && name.ends_with("_bucket") {
            labels.insert("le".to_owned());
        }
    }
    Ok(labels)
}

/// Refuses names of which there is no label.
pub(super) fn check_names<'a>(names: impl IntoIterator<Item = &'a str>, labels: &Labels) -> Result<(), String> {
    match names.into_iter().find(|&name| !labels.contains(name)) {
        Some(name) => Err(format!("there is no label {name} among {labels:?}")),
        None => Ok(()),
    }
}

fn follow(expr: &Expr) -> Result<Labels, String> {
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Labels::new()),
        Expr::VectorSelector(selector) => selected(selector),
        Expr::MatrixSelector(matrix) => selected(&matrix.vs),
        Expr::Paren(paren) => follow(&paren.expr),
        Expr::Unary(unary) => follow(&unary.expr),
        Expr::Subquery(subquery) => follow(&subquery.expr),
        Expr::Aggregate(aggregate) => aggregated(aggregate),
        Expr::Call(call) => called(call),
        Expr::Binary(binary) => combined(binary),
        Expr::Extension(_) => Err("an expression that is not PromQL".to_owned()),
    }
}

fn selected(selector: &VectorSelector) -> Result<Labels, String> {
    let name = selector.name.as_deref().ok_or("a selector without a metric's name")?;
    let labels = labels_of_series(name)?;
    let either = selector.matchers.or_matchers.iter().flatten();
    let matchers = selector.matchers.matchers.iter().chain(either);
    check_names(matchers.map(|matcher| matcher.name.as_str()), &labels).map_err(|error| format!("{name}: {error}"))?;
    Ok(labels)
}

fn aggregated(aggregate: &AggregateExpr) -> Result<Labels, String> {
    let labels = follow(&aggregate.expr)?;
    if let Some(modifier) = &aggregate.modifier {
        check_names(names(modifier.labels()), &labels)?;
    }
    match (aggregate.op.id(), &aggregate.modifier) {
        (T_COUNT_VALUES, _) => Err("count_values makes a label, and nothing here follows it".to_owned()),
        // These pick some of the series as they are.
        (T_TOPK | T_BOTTOMK | T_LIMITK | T_LIMIT_RATIO, _) => Ok(labels),
        (_, None) => Ok(Labels::new()),
        (_, Some(LabelModifier::Include(by))) => Ok(owned(by)),
        (_, Some(LabelModifier::Exclude(without))) => Ok(&labels - &owned(without)),
    }
}

fn called(call: &Call) -> Result<Labels, String> {
    let arguments: Vec<Labels> = call.args.args.iter().map(|argument| follow(argument)).collect::<Result<_, _>>()?;
    match (call.func.name, arguments.as_slice()) {
        (
            "rate" | "irate" | "increase" | "delta" | "deriv" | "max_over_time" | "min_over_time" | "avg_over_time",
            [labels],
        ) => Ok(labels.clone()),
        ("histogram_quantile", [_, labels]) => {
            check_names(["le"], labels)?;
            Ok(labels - &Labels::from(["le".to_owned()]))
        }
        (name, _) => Err(format!("nothing here knows the labels of what {name} gives")),
    }
}

fn combined(binary: &BinaryExpr) -> Result<Labels, String> {
    let (left, right) = (follow(&binary.lhs)?, follow(&binary.rhs)?);
    match (binary.lhs.value_type(), binary.rhs.value_type()) {
        (ValueType::Scalar, _) => return Ok(right),
        (_, ValueType::Scalar) => return Ok(left),
        _ => {}
    }
    let modifier = binary.modifier.as_ref();
    // What of each side finds its counterpart.
    let (of_left, of_right) = match modifier.and_then(|modifier| modifier.matching.as_ref()) {
        None => (left.clone(), right.clone()),
        Some(LabelModifier::Include(on)) => {
            check_names(names(on), &left)?;
            check_names(names(on), &right)?;
            (owned(on), owned(on))
        }
        Some(LabelModifier::Exclude(ignoring)) => {
            check_names(names(ignoring), &(&left | &right))?;
            (&left - &owned(ignoring), &right - &owned(ignoring))
        }
    };
    if binary.op.id() == T_LOR {
        return Ok(&left | &right);
    }
    if of_left != of_right {
        return Err(format!("series with {of_left:?} and with {of_right:?} have no counterpart in each other"));
    }
    match modifier.map(|modifier| &modifier.card) {
        None | Some(VectorMatchCardinality::OneToOne) => Ok(of_left),
        Some(VectorMatchCardinality::ManyToMany) => Ok(left),
        Some(VectorMatchCardinality::ManyToOne(brought)) => {
            check_names(names(brought), &right)?;
            Ok(&left | &owned(brought))
        }
        Some(VectorMatchCardinality::OneToMany(brought)) => {
            check_names(names(brought), &left)?;
            Ok(&right | &owned(brought))
        }
    }
}

fn names(named: &Named) -> impl Iterator<Item = &str> {
    named.labels.iter().map(String::as_str)
}

fn owned(named: &Named) -> Labels {
    named.labels.iter().cloned().collect()
}

#[test]
fn labels_are_followed_to_the_result() {
    for (query, labels) in [
        ("ouzel_ready", "instance job"),
        ("up == 0", "instance job"),
        ("ouzel_log_state{state!=\"online\"}", "instance job shard state"),
        ("sum(ouzel_connections)", ""),
        ("sum by (protocol, api) (rate(ouzel_requests_total[5m]))", "api protocol"),
        ("sum without (shard) (ouzel_connections)", "instance job protocol"),
        ("ouzel_request_seconds_bucket", "api instance job le protocol"),
        ("histogram_quantile(0.5, sum by (le, stage) (rate(ouzel_produce_stage_seconds_bucket[5m])))", "stage"),
        ("topk(10, ouzel_consumergroup_lag_sum)", "consumergroup instance job"),
        ("1 - ouzel_shard_up", "instance job shard"),
        ("sum by (stage) (ouzel_produce_stage_seconds_sum) / on () group_left () sum(ouzel_ready)", "stage"),
        ("sum by (shard) (ouzel_connections) * on (shard) ouzel_partitions", "shard"),
        (
            "ouzel_consumergroup_lag_sum > 1 and deriv(ouzel_consumergroup_lag_sum[15m]) > 0",
            "consumergroup instance job",
        ),
        (
            "ouzel_queue_length * on (job, instance) group_left (version) ouzel_build_info",
            "instance job lane shard version",
        ),
    ] {
        let expected: Labels = labels.split_whitespace().map(str::to_owned).collect();
        assert_eq!(labels_of(query), Ok(expected), "{query}");
    }
}

#[test]
fn a_wrong_name_or_label_is_refused_wherever_it_stands() {
    for (query, why) in [
        ("ouzel_raedy", "no series ouzel_raedy"),
        ("ouzel_request_seconds", "no series ouzel_request_seconds"),
        ("ouzel_requests_total_sum", "no series"),
        ("ouzel_connections{shrad=\"0\"}", "no label shrad"),
        ("rate(ouzel_requests_total{shard=\"0\"}[5m])", "no label shard"),
        ("ouzel_connections{le=\"1\"}", "no label le"),
        ("sum by (topik) (ouzel_topic_stored_bytes)", "no label topik"),
        ("sum without (topik) (ouzel_topic_stored_bytes)", "no label topik"),
        ("max by (shard) (sum by (protocol) (ouzel_connections))", "no label shard"),
        ("histogram_quantile(0.5, sum by (stage) (rate(ouzel_produce_stage_seconds_bucket[5m])))", "no label le"),
        ("ouzel_connections / ouzel_partitions", "no counterpart"),
        ("ouzel_connections / on (protocol) ouzel_partitions", "no label protocol"),
        ("ouzel_connections / ignoring (api) ouzel_partitions", "no label api"),
        ("ouzel_connections * on (shard) group_left (version) ouzel_partitions", "no label version"),
        ("{shard=\"0\"}", "without a metric's name"),
        ("rate(ouzel_requests_total)", "expected type"),
        ("sum(ouzel_ready", ""),
        ("ouzel_ready >", ""),
        ("sum by protocol (ouzel_connections)", ""),
        ("ouzel_ready{job=~\"(\"}", ""),
    ] {
        let refusal = labels_of(query).expect_err(query);
        assert!(refusal.contains(why), "{query}: {refusal}");
    }
}

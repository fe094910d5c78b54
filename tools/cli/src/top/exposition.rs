//! The text of `/metrics` as numbers. Owns the parsing of Prometheus' text format as far as the broker writes it, and sums over
//! labels; knows no metric by name. Pure.
//!
//! Why a parser of our own: the crate `prometheus-parse` cuts labels at every comma and brace, which names of groups may hold.

use std::collections::BTreeMap;

/// A line that is none of the format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics cannot be read: {text}")]
pub(super) struct Unreadable {
    /// From 1.
    line: usize,
    /// Its beginning.
    text: String,
}

/// One line: labels and a value.
#[derive(Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Series {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// All series of one answer, by the name of their metric.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Metrics(BTreeMap<String, Vec<Series>>);

impl Metrics {
    /// Reads the text.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub(super) fn parse(text: &str) -> Result<Metrics, Unreadable> {
        let mut metrics = Metrics::default();
        for (line, text) in (1..).zip(text.lines()) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let read = series(text);
            let (name, series) = read.ok_or_else(|| Unreadable { line, text: text.chars().take(60).collect() })?;
            match metrics.0.get_mut(name) {
                Some(known) => known.push(series),
                None => drop(metrics.0.insert(name.to_string(), vec![series])),
            }
        }
        Ok(metrics)
    }

    fn of(&self, metric: &str) -> &[Series] {
        self.0.get(metric).map_or(&[], Vec::as_slice)
    }

    /// The sum of all series.
    pub(super) fn total(&self, metric: &str) -> f64 {
        self.of(metric).iter().map(|series| series.value).sum()
    }

    /// The sum of all series of each value of `label`.
    pub(super) fn by(&self, metric: &str, label: &str) -> BTreeMap<&str, f64> {
        let mut sums = BTreeMap::new();
        for series in self.of(metric) {
            if let Some(value) = series.label(label) {
                *sums.entry(value).or_default() += series.value;
            }
        }
        sums
    }

    /// The cumulated counts of a histogram's buckets by their upper bounds, summed over the series whose `label` is one of `values`.
    pub(super) fn buckets(&self, metric: &str, label: &str, values: &[&str]) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        let is_one = |series: &&Series| series.label(label).is_some_and(|value| values.contains(&value));
        for series in self.of(metric).iter().filter(is_one) {
            let Some(bound) = series.label("le").and_then(|bound| bound.parse::<f64>().ok()) else { continue };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += series.value,
                None => buckets.push((bound, series.value)),
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        buckets
    }
}

/// `name{label="value",...} number`.
fn series(line: &str) -> Option<(&str, Series)> {
    let name_bytes = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_bytes);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, Series { labels, value }))
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        labels.push((name.to_string(), value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// A value up to its closing quote, its escapes resolved, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            char => value.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::sampler::PRODUCE;
    use super::*;

    const TEXT: &str = r#"# HELP lag How far behind.
# TYPE lag gauge
lag{group="a,}\"\\b",partition="0"} 2
lag{group="a,}\"\\b",partition="1"} 3.5

lag{group="c"} 1
up 1
ouzel_request_seconds_bucket{protocol="kafka",api="InitProducerId",le="0.5"} 9
ouzel_request_seconds_bucket{protocol="kafka",api="Produce",le="0.5"} 1
ouzel_request_seconds_bucket{protocol="kafka",api="Produce",le="+Inf"} 4
ouzel_request_seconds_bucket{protocol="native",api="fetch",le="0.5"} 9
ouzel_request_seconds_bucket{protocol="native",api="produce",le="0.5"} 1
ouzel_request_seconds_bucket{protocol="native",api="produce",le="+Inf"} 2
"#;

    #[test]
    fn series_are_summed_whatever_a_label_holds() {
        let metrics = Metrics::parse(TEXT).expect("metrics");
        assert_eq!(metrics.by("lag", "group"), BTreeMap::from([("a,}\"\\b", 5.5), ("c", 1.0)]));
        assert_eq!((metrics.total("lag"), metrics.total("up"), metrics.total("none")), (6.5, 1.0, 0.0));
        let produce = metrics.buckets("ouzel_request_seconds_bucket", "api", PRODUCE);
        assert_eq!(produce, [(0.5, 2.0), (f64::INFINITY, 6.0)]);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for text in ["x", "x{", "x{a=\"b\" 1", "x{a} 1", "x one", "{\"what\":\"no\"}", "x{a=\"\\"] {
            let error = Metrics::parse(&format!("up 1\n{text}\n")).expect_err(text);
            assert_eq!(error.line, 2, "{text}");
        }
    }
}

//! Prometheus' text format, version 0.0.4. Owns the bytes of it: headers, escaping, cumulative buckets. Knows a metric's
//! description and no metric.

use std::fmt::Write as _;

use ouzel_runtime::HistogramCounts;

use super::table::{Kind, Metric};

/// The content type of what [`Text`] makes.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An exposition that is being written.
#[derive(Debug, Default)]
pub(super) struct Text(String);

/// The samples of one metric.
#[derive(Debug)]
pub(super) struct Family<'a> {
    out: &'a mut String,
    metric: &'static Metric,
}

impl Text {
    /// Begins the samples of a metric; each is begun once.
    pub(super) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let Metric { name, help, kind, .. } = metric;
        push(&mut self.0, format_args!("# HELP {name} {}\n# TYPE {name} {}\n", Escaped(help, false), kind.word()));
        Family { out: &mut self.0, metric }
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// One sample; `values` are those of the metric's labels, in their order.
    pub(super) fn sample(&mut self, values: &[&str], value: impl Into<Number>) {
        self.line("", values, None, value.into());
    }

    /// The samples of one histogram.
    pub(super) fn histogram(&mut self, values: &[&str], counts: &HistogramCounts) {
        let (bound_unit, sum_unit) = match self.metric.kind {
            Kind::SecondsHistogram => (1e6, 1e9),
            _ => (1.0, 1.0),
        };
        for (bound, below) in counts.cumulative() {
            let bound = Number::Real(bound as f64 / bound_unit).to_string();
            self.line("_bucket", values, Some(&bound), Number::Whole(below));
        }
        self.line("_bucket", values, Some("+Inf"), Number::Whole(counts.count()));
        self.line("_sum", values, None, Number::Real(counts.sum as f64 / sum_unit));
        self.line("_count", values, None, Number::Whole(counts.count()));
    }

    fn line(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: Number) {
        assert_eq!(values.len(), self.metric.labels.len(), "labels of {}", self.metric.name);
        push(self.out, format_args!("{}{suffix}", self.metric.name));
        let labels = self.metric.labels.iter().zip(values).map(|(label, value)| (*label, *value));
        for (index, (label, value)) in labels.chain(bound.map(|bound| ("le", bound))).enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            push(self.out, format_args!("{before}{label}=\"{}\"", Escaped(value, true)));
        }
        let end = if values.is_empty() && bound.is_none() { "" } else { "}" };
        push(self.out, format_args!("{end} {value}\n"));
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes any text");
}

/// The value of a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value}"),
        }
    }
}

/// Text as it stands in a help line, or in a label's value.
struct Escaped<'a>(&'a str, bool);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(text, is_value) = *self;
        for c in text.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if is_value => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ouzel_runtime::{Histogram, Instant};

    use super::*;

    static GROUP: Metric = Metric { name: "lag", kind: Kind::Gauge, labels: &["group"], help: "a \"b\"\nc" };
    static TIME: Metric = Metric { name: "time_seconds", kind: Kind::SecondsHistogram, labels: &[], help: "T." };

    #[test]
    fn values_that_hold_quotes_backslashes_and_line_ends_stay_in_their_line() {
        let mut text = Text::default();
        text.family(&GROUP).sample(&["a\"b\\c\nd"], 7_u64);
        let expected = "# HELP lag a \"b\"\\nc\n# TYPE lag gauge\nlag{group=\"a\\\"b\\\\c\\nd\"} 7\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_histogram_of_times_is_in_seconds_and_its_last_bucket_has_everything() {
        let histogram = Histogram::default();
        let start = Instant::from_nanos(0);
        histogram.time(start, start + Duration::from_micros(3));
        histogram.time(start, start + Duration::from_secs(100));
        let mut text = Text::default();
        text.family(&TIME).histogram(&[], &histogram.counts());
        let text = text.finish();
        for line in [
            "time_seconds_bucket{le=\"0.000002\"} 0",
            "time_seconds_bucket{le=\"0.000003\"} 1",
            "time_seconds_bucket{le=\"33.554432\"} 1",
            "time_seconds_bucket{le=\"+Inf\"} 2",
            "time_seconds_sum 100.000003",
            "time_seconds_count 2",
        ] {
            assert!(text.lines().any(|is| is == line), "{line} is missing in {text}");
        }
    }
}

//! What the tests of the admin server ask it with: plain HTTP over a socket, and metrics read by a parser that is not ours.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use prometheus_parse::{HistogramCount, Scrape, Value};
use serde_json::Value as Json;

/// Long enough for any machine: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Status, header lines and body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// A connection that has asked nothing yet.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the admin server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// What is answered to one request; nothing where the connection ends without an answer.
pub fn try_request(address: SocketAddr, method: &str, path: &str) -> Option<Answer> {
    try_send(address, method, path, &[("Host", &address.to_string())], "")
}

/// As a page of the console asks.
pub fn own_page(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let host = address.to_string();
    let origin = format!("http://{host}");
    let headers = [
        ("Host", host.as_str()),
        ("Origin", origin.as_str()),
        ("X-Ouzel-Console", "1"),
        ("Content-Type", "application/json"),
    ];
    try_send(address, method, path, &headers, body).expect("the admin server answers")
}

/// What is answered to one request with these headers and this body.
pub fn try_send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}{length}Connection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    try_request(address, "GET", path).expect("the admin server answers")
}

/// What must be there.
pub fn json(address: SocketAddr, path: &str) -> Json {
    let answer = get(address, path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.json()
}

type Labels = BTreeMap<String, String>;

/// The samples of one scrape.
pub struct Metrics(BTreeMap<(String, Labels), Value>);

impl Metrics {
    pub fn scrape(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics");
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        Self::parse(&answer.body)
    }

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(|line| Ok(line.to_owned()));
        let scrape = Scrape::parse(lines).expect("the text is legal");
        let mut samples = BTreeMap::new();
        let mut line_count = 0;
        for sample in scrape.samples {
            // The parser has the sums and counts of histograms as samples of their own, without a type.
            let of_histogram = sample.metric.strip_suffix("_sum").or(sample.metric.strip_suffix("_count"));
            let is_described = |name: &str| scrape.docs.contains_key(name);
            let is_untyped = matches!(sample.value, Value::Untyped(_));
            let is_part = is_untyped && of_histogram.is_some_and(is_described);
            assert!(is_part || (!is_untyped && is_described(&sample.metric)), "{} has no type or help", sample.metric);
            line_count += if let Value::Histogram(buckets) = &sample.value { buckets.len() } else { 1 };
            let labels = sample.labels.iter().map(|(label, value)| (label.clone(), value.clone())).collect();
            let earlier = samples.insert((sample.metric.clone(), labels), sample.value);
            assert!(earlier.is_none(), "a series of {} is there twice", sample.metric);
        }
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.count(), line_count, "the parser passes over lines that it does not understand");
        Self(samples)
    }

    /// The values of a metric's series whose labels are, among others, these.
    fn series<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter_map(move |((metric, has), value)| {
            let fits = labels.iter().all(|(label, value)| has.get(*label).is_some_and(|has| has == value));
            (metric == name && fits).then_some(value)
        })
    }

    /// The sum of a metric over the series with these labels; `None` where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values = self.series(name, labels).map(|value| match value {
            Value::Counter(value) | Value::Gauge(value) => *value,
            other => panic!("{name} is {other:?}"),
        });
        values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// The values of one label of a metric.
    pub fn values(&self, name: &str, label: &str) -> Vec<&String> {
        let series = self.0.keys().filter(|(metric, _)| metric == name);
        series.filter_map(|(_, labels)| labels.get(label)).collect()
    }

    /// How many values the histogram with exactly one such series has seen.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut series = self.series(name, labels);
        let Some(Value::Histogram(buckets)) = series.next() else { panic!("{name} is no histogram with {labels:?}") };
        assert!(series.next().is_none(), "{name} has several series with {labels:?}");
        assert!(buckets.is_sorted_by(|a: &HistogramCount, b| a.less_than < b.less_than && a.count <= b.count));
        buckets.last().filter(|last| last.less_than.is_infinite()).expect("the last bucket has everything").count
    }
}

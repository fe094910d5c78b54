//! What a run found: one flat object, the same for the table a person reads and for `--json`. Owns the histogram and
//! the arithmetic on it; never prints. Runs on the generator's thread, once, at the end.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::meter::StorageWork;

/// Longest latency a histogram holds: whatever takes longer counts as this.
const LATENCY_NS_MAX: u64 = 600 * 1_000_000_000;
/// A generator that uses more of its core than this was the bottleneck itself (docs/rules.md M1).
const CLIENT_BOUND_SHARE: f64 = 0.9;

/// Latencies of one kind, in nanoseconds, to three significant digits.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::new()
    }
}

impl Latencies {
    /// No latency recorded yet.
    pub fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("constant bounds are valid");
        Latencies { histogram }
    }

    /// Counts `count` records (or requests) that took `latency`.
    pub fn record(&mut self, latency: Duration, count: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).clamp(1, LATENCY_NS_MAX);
        self.histogram.saturating_record_n(nanos, count);
    }

    /// Adds all of another's records.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The latency that `quantile` (0..=1) of all stayed within, in microseconds; 0 if there are none.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        if self.histogram.is_empty() {
            0.0
        } else {
            rounded(self.histogram.value_at_quantile(quantile) as f64 / 1e3, 1)
        }
    }

    /// The longest of all, in microseconds; 0 if there are none.
    pub fn max_us(&self) -> f64 {
        if self.histogram.is_empty() { 0.0 } else { rounded(self.histogram.max() as f64 / 1e3, 1) }
    }
}

/// One run, as `--json` prints it. MB and GB are 10^6 and 10^9 bytes of record values; latencies are microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `produce`, `consume` or `e2e`.
    pub bench: String,
    /// Records acknowledged (produce), received (consume), received and verified (e2e).
    pub records: u64,
    /// Bytes of the values of those records.
    pub bytes: u64,
    /// Measured time, warm-up excluded, the last reply included.
    pub seconds: f64,
    /// Records a second.
    pub records_per_s: f64,
    /// Megabytes (10^6) of values a second.
    pub mb_per_s: f64,
    /// Half of all stayed within this latency.
    pub p50_us: f64,
    /// 90 % stayed within this latency.
    pub p90_us: f64,
    /// 99 % stayed within this latency.
    pub p99_us: f64,
    /// 99.9 % stayed within this latency.
    pub p999_us: f64,
    /// The longest latency.
    pub max_us: f64,
    /// What the latency is from and to.
    pub latency_of: String,
    /// CPU seconds of the broker a gigabyte (10^9) of values; null where its process is not ours to read.
    pub broker_cpu_s_per_gb: Option<f64>,
    /// The topic's durability level.
    pub durability: String,
    /// Partitions of the topic.
    pub partitions: u32,
    /// Requests refused, records lost, doubled or out of order: 0, or the run failed.
    pub errors: u64,
    /// The first error, in words.
    pub first_error: Option<String>,
    /// Bytes of one record's value.
    pub record_bytes: usize,
    /// Target size of one batch's values.
    pub batch_bytes: usize,
    /// Connections of the generator.
    pub connections: usize,
    /// Requests outstanding at most, in all.
    pub in_flight: usize,
    /// Shards of the broker.
    pub shards: u16,
    /// Records a second that were offered; null for a closed loop.
    pub rate: Option<f64>,
    /// Codec of the batches.
    pub compression: String,
    /// Median from intended send to acknowledgement (e2e only).
    pub ack_p50_us: Option<f64>,
    /// 99th percentile from intended send to acknowledgement (e2e only).
    pub ack_p99_us: Option<f64>,
    /// CPU seconds of the broker while measured.
    pub broker_cpu_s: Option<f64>,
    /// Resident memory of the broker at the end.
    pub broker_rss_bytes: Option<u64>,
    /// Bytes the broker sent to the device while measured.
    pub broker_device_bytes: Option<u64>,
    /// What the broker's storage did while measured: flushes, rounds of the journal, bytes.
    pub storage: Option<StorageWork>,
    /// Batches of one produce request.
    pub batches_per_request: usize,
    /// Share of one core that the generator used while measured.
    pub generator_cpu_share: f64,
    /// Whether the generator itself was the bottleneck: compare such runs by `broker_cpu_s_per_gb` only.
    pub client_bound: bool,
    /// Whether the run was ended early by the operator.
    pub cancelled: bool,
}

/// Seconds of CPU a gigabyte, or nothing where either is unknown.
pub fn cpu_s_per_gb(cpu_s: Option<f64>, bytes: u64) -> Option<f64> {
    cpu_s.filter(|_| bytes > 0).map(|cpu_s| rounded(cpu_s / (bytes as f64 / 1e9), 4))
}

/// Whether a share of one core says that the generator was the bottleneck.
pub fn is_client_bound(generator_cpu_share: f64) -> bool {
    generator_cpu_share > CLIENT_BOUND_SHARE
}

/// `value` to `digits` decimal places: a report with 17 digits claims what no clock can know.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

impl Report {
    /// The rows of the table a person reads: name and value.
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![
            ("records".to_string(), grouped(self.records)),
            ("seconds".to_string(), format!("{:.2}", self.seconds)),
            ("records/s".to_string(), grouped(self.records_per_s.round() as u64)),
            ("MB/s".to_string(), format!("{:.1}", self.mb_per_s)),
            (format!("p50 ({})", self.latency_of), human_us(self.p50_us)),
            ("p90".to_string(), human_us(self.p90_us)),
            ("p99".to_string(), human_us(self.p99_us)),
            ("p99.9".to_string(), human_us(self.p999_us)),
            ("max".to_string(), human_us(self.max_us)),
        ];
        if let (Some(p50), Some(p99)) = (self.ack_p50_us, self.ack_p99_us) {
            rows.push(("ack p50, p99".to_string(), format!("{}, {}", human_us(p50), human_us(p99))));
        }
        if let Some(cpu) = self.broker_cpu_s_per_gb {
            rows.push(("broker CPU s/GB".to_string(), format!("{cpu:.3}")));
        }
        if let Some(bytes) = self.broker_rss_bytes {
            rows.push(("broker memory".to_string(), format!("{:.1} MB", bytes as f64 / 1e6)));
        }
        if let Some(bytes) = self.broker_device_bytes.filter(|_| self.bytes > 0) {
            let ratio = bytes as f64 / self.bytes as f64;
            rows.push(("device bytes".to_string(), format!("{:.1} MB ({ratio:.2} x payload)", bytes as f64 / 1e6)));
        }
        if let Some(work) = self.storage.filter(|work| work.batch_bytes > 0) {
            rows.push((
                "commits, flushes".to_string(),
                format!(
                    "{} commits, {} journal and {} segment fdatasyncs",
                    grouped(work.commits),
                    grouped(work.journal_syncs),
                    grouped(work.segment_syncs)
                ),
            ));
            rows.push((
                "journal".to_string(),
                format!(
                    "{:.1} wraps after {:.1}, {:.1} MB written for {:.1} MB of batches, {} carries of {:.1} MB",
                    work.wraps,
                    work.wraps_before,
                    work.journal_bytes as f64 / 1e6,
                    work.batch_bytes as f64 / 1e6,
                    grouped(work.carries),
                    work.carry_bytes as f64 / 1e6
                ),
            ));
        }
        let mut generator = format!("{:.0} % of a core", self.generator_cpu_share * 100.0);
        if self.client_bound {
            generator.push_str(", client-bound");
        }
        rows.push(("generator CPU".to_string(), generator));
        rows.push(("durability".to_string(), self.durability.clone()));
        rows.push(("load".to_string(), self.load_line()));
        rows.push(("errors".to_string(), grouped(self.errors)));
        rows
    }

    fn load_line(&self) -> String {
        let pace = match self.rate {
            Some(rate) => format!("{rate} records/s offered"),
            None => "closed loop".to_string(),
        };
        format!(
            "{} partitions, {} shards, {} B records, {} B batches ({}), {} a request, {} connections, {} in flight, {pace}",
            self.partitions,
            self.shards,
            self.record_bytes,
            self.batch_bytes,
            self.compression,
            self.batches_per_request,
            self.connections,
            self.in_flight
        )
    }
}

/// Microseconds in the unit a person would pick.
pub fn human_us(micros: f64) -> String {
    if micros >= 1e6 {
        format!("{:.2} s", micros / 1e6)
    } else if micros >= 1e3 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{micros:.0} us")
    }
}

/// A count with its thousands apart: 1,234,567.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_records_not_requests() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_micros(100), 99);
        latencies.record(Duration::from_millis(10), 1);
        assert!((latencies.quantile_us(0.5) - 100.0).abs() < 1.0);
        assert!((latencies.max_us() - 10_000.0).abs() < 20.0);
        assert_eq!(latencies.count(), 100);
    }

    #[test]
    fn no_latencies_are_zero_and_a_week_is_held_as_the_longest() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.quantile_us(0.99), 0.0);
        latencies.record(Duration::from_secs(7 * 86_400), 1);
        assert!(latencies.max_us() >= 599e6);
    }

    #[test]
    fn counts_and_times_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(human_us(12.0), "12 us");
        assert_eq!(human_us(1_500.0), "1.50 ms");
        assert_eq!(human_us(2_500_000.0), "2.50 s");
    }

    #[test]
    fn cpu_per_gigabyte_is_unknown_without_bytes() {
        assert_eq!(cpu_s_per_gb(Some(2.0), 0), None);
        assert_eq!(cpu_s_per_gb(Some(2.0), 1_000_000_000), Some(2.0));
        assert_eq!(cpu_s_per_gb(None, 5), None);
    }
}

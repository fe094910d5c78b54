//! What is shown: numbers as of the last sample, and rates since the one before. Owns the values, which are also what `--json`
//! prints; knows no screen. Plain values.

use serde::Serialize;

use super::sample::Connection;

/// Everything of one moment. A rate is `None` until there are two samples of the same process.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Picture {
    #[serde(flatten)]
    pub(super) overview: Overview,
    pub(super) shards: Vec<ShardRow>,
    pub(super) topics: Vec<TopicRow>,
    pub(super) groups: Vec<GroupRow>,
    /// `None` while nobody wants to see them.
    pub(super) connections: Option<Vec<Connection>>,
    /// What is missing above, in sentences.
    pub(super) notes: Vec<String>,
}

/// The node as a whole.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Overview {
    pub(super) cluster_id: Option<String>,
    pub(super) node: u64,
    pub(super) version: String,
    pub(super) phase: String,
    pub(super) uptime_ms: u64,
    pub(super) bytes_in_per_s: Option<f64>,
    pub(super) bytes_out_per_s: Option<f64>,
    pub(super) requests_per_s: Option<f64>,
    /// Of the produce requests that were answered between the samples; `None` also where there were none.
    pub(super) produce_p99_ms: Option<f64>,
    /// Cores that the process used, 1 for one of them.
    pub(super) cpu_ratio: Option<f64>,
    pub(super) rss_bytes: u64,
    pub(super) connection_count: u64,
    pub(super) partition_count: u64,
}

/// One shard.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ShardRow {
    pub(super) shard: u16,
    pub(super) state: String,
    pub(super) reason: String,
    /// Share of its core that it used, 0 to 1.
    pub(super) busy_ratio: Option<f64>,
    pub(super) payload_bytes_per_s: Option<f64>,
    pub(super) commits_per_s: Option<f64>,
    /// Messages that wait in its lanes.
    pub(super) queued: u64,
    pub(super) requests_in_flight: u64,
    /// Share of the journal in use, 0 to 1.
    pub(super) journal_ratio: f64,
    pub(super) dirty_bytes: u64,
    pub(super) cache_bytes: u64,
    pub(super) connection_bytes: u64,
    /// Share of reads that memory answered, 0 to 1; `None` also where nothing was read.
    pub(super) cache_hit_ratio: Option<f64>,
    pub(super) partitions: u64,
    pub(super) connections: u64,
}

/// One topic.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TopicRow {
    pub(super) topic: String,
    pub(super) partitions: u64,
    pub(super) bytes_in_per_s: Option<f64>,
    pub(super) records_in_per_s: Option<f64>,
    pub(super) bytes_out_per_s: Option<f64>,
    pub(super) stored_bytes: Option<u64>,
}

/// One group of consumers.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct GroupRow {
    pub(super) group: String,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) members: u64,
    pub(super) lag: Option<u64>,
    /// Below zero where the group catches up.
    pub(super) lag_per_s: Option<f64>,
}

//! What a broker says of itself at one moment. Owns the values and their units; who asks for them is `sampler.rs`, what lies
//! between two of them `rates.rs`. Plain values.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The numbers of one moment. Those that only grow are since the start of the broker.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) node: Node,
    pub(super) cluster_id: Option<String>,
    pub(super) partitions: u64,
    /// When the broker started: two samples with different ones are of different processes.
    pub(super) started_s: f64,
    pub(super) cpu_s: f64,
    pub(super) rss_bytes: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) requests: f64,
    pub(super) connections: f64,
    /// Cumulated counts of produce requests by the seconds they took at most.
    pub(super) produce_buckets: Vec<(f64, f64)>,
    pub(super) shards: Vec<Shard>,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) groups: BTreeMap<String, Group>,
    /// What could not be asked for, or is not all there is, in sentences.
    pub(super) notes: Vec<String>,
}

/// The node.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Node {
    pub(super) node: u64,
    pub(super) version: String,
    pub(super) phase: String,
    pub(super) uptime_ms: u64,
}

/// One shard. A silent one has its state and why, and zeros.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shard {
    pub(super) shard: u16,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) counters: BTreeMap<String, u64>,
    pub(super) queues: BTreeMap<String, u64>,
    pub(super) partitions: u64,
    pub(super) requests_in_flight: u64,
    pub(super) journal: Journal,
    pub(super) memory: Memory,
    pub(super) cache: Cache,
    /// Time that its thread had a core; not in the JSON.
    #[serde(skip)]
    pub(super) cpu_s: f64,
}

/// How full a journal is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Journal {
    pub(super) occupancy: f64,
}

/// What a shard's memory holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Memory {
    pub(super) dirty_bytes: u64,
    pub(super) cache_bytes: u64,
    pub(super) connection_bytes: u64,
}

/// Reads that memory answered, and those that took the disk.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub(super) hits: u64,
    pub(super) misses: u64,
}

/// One topic; what it did is not known of those that share their metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Topic {
    pub(super) partitions: u64,
    pub(super) bytes_in: Option<f64>,
    pub(super) bytes_out: Option<f64>,
    pub(super) records_in: Option<f64>,
    pub(super) stored_bytes: Option<f64>,
}

/// One group of consumers.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) state: String,
    pub(super) kind: String,
    pub(super) members: u64,
    pub(super) lag: Option<f64>,
}

/// One connection of a client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct Connection {
    pub(super) peer: String,
    pub(super) client: Option<String>,
    pub(super) protocol: String,
    pub(super) requests_in_flight: u64,
    pub(super) age_ms: u64,
    pub(super) shard: u16,
}

/// The connections of one moment, and how many are left out.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Connections {
    pub(super) connections: Vec<Connection>,
    pub(super) left_out: u64,
}

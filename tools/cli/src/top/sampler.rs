//! Asks a broker how it is. Owns which paths and metrics are read, and what is done where one of them is not to be had; computes
//! nothing between two moments. Runs on the CLI's tokio runtime.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::exposition::Metrics;
use super::http::{Http, HttpError};
use super::sample::{Connections, Group, Node, Sample, Shard, Topic};

/// What the two protocols call a produce request: the native one in lower case, Kafka's by the name that Kafka has for it.
pub(super) const PRODUCE: &[&str] = &["produce", "Produce"];

#[derive(Deserialize)]
struct Cluster {
    cluster_id: Option<String>,
    partitions: u64,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Shards {
    shards: Vec<Shard>,
}

#[derive(Default, Deserialize)]
struct Topics {
    topics: Vec<ListedTopic>,
    left_out: u64,
}

#[derive(Deserialize)]
struct ListedTopic {
    topic: String,
    partitions: u64,
}

#[derive(Default, Deserialize)]
struct Groups {
    groups: Vec<ListedGroup>,
    left_out: u64,
    coordinators_not_loaded: u64,
}

#[derive(Deserialize)]
struct ListedGroup {
    group: String,
    kind: String,
    state: String,
    members: u64,
}

/// Asks one broker.
pub(super) struct Sampler {
    http: Http,
}

impl Sampler {
    /// Asks the admin port at `address`.
    pub(super) fn new(address: &str) -> Sampler {
        Sampler { http: Http::new(address) }
    }

    /// All but the connections, of which there may be many.
    ///
    /// # Errors
    /// The broker does not answer, or is not ready; the next call tries again.
    pub(super) async fn sample(&mut self) -> Result<Sample> {
        let Cluster { cluster_id, partitions, nodes } = match self.json("/api/v1/cluster").await {
            Ok(cluster) => cluster,
            Err(error) => return Err(self.why_not_ready(error).await),
        };
        let node = nodes.into_iter().next().context("the broker names no node")?;
        let Shards { shards } = self.json("/api/v1/shards").await?;
        let mut notes = Vec::new();
        let topics: Topics = self.json_or_note("/api/v1/topics", "topics", &mut notes).await?;
        let groups: Groups = self.json_or_note("/api/v1/groups", "groups", &mut notes).await?;
        let text = self.http.get("/metrics").await?;
        let at = Instant::now();
        let metrics = Metrics::parse(std::str::from_utf8(&text).context("the metrics are no text")?)?;
        notes.extend(left_out("topics", topics.left_out));
        notes.extend(left_out("groups", groups.left_out));
        if groups.coordinators_not_loaded > 0 {
            let count = groups.coordinators_not_loaded;
            notes.push(format!("{count} logs of groups are not read yet, or cannot be: their groups are not shown"));
        }
        Ok(Sample {
            at,
            node,
            cluster_id,
            partitions,
            started_s: metrics.total("process_start_time_seconds"),
            cpu_s: metrics.total("process_cpu_seconds_total"),
            rss_bytes: metrics.total("process_resident_memory_bytes"),
            bytes_in: metrics.total("ouzel_network_received_bytes_total"),
            bytes_out: metrics.total("ouzel_network_sent_bytes_total"),
            requests: metrics.total("ouzel_requests_total"),
            connections: metrics.total("ouzel_connections"),
            produce_buckets: metrics.buckets("ouzel_request_seconds_bucket", "api", PRODUCE),
            shards: with_cpu(shards, &metrics),
            topics: with_traffic(topics, &metrics),
            groups: with_lag(groups, &metrics),
            notes,
        })
    }

    /// The connections.
    ///
    /// # Errors
    /// The broker, or one of its shards, does not answer.
    pub(super) async fn connections(&mut self) -> Result<Connections> {
        self.json("/api/v1/connections").await
    }

    async fn json<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        let body = self.http.get(path).await?;
        serde_json::from_slice(&body).with_context(|| format!("{path} is not what this version of `ouzel top` reads"))
    }

    /// A list that cannot be made now, as where one shard is silent, leaves the others to be seen.
    async fn json_or_note<T: DeserializeOwned + Default>(
        &mut self,
        path: &str,
        what: &str,
        notes: &mut Vec<String>,
    ) -> Result<T> {
        match self.json(path).await {
            Err(error) => match error.downcast_ref() {
                Some(HttpError::Refused { said, .. }) => {
                    notes.push(format!("{what} cannot be listed now: {said}"));
                    Ok(T::default())
                }
                _ => Err(error),
            },
            answer => answer,
        }
    }

    /// A broker that starts or stops says so at `/ready`, and better than a shard that is missing does.
    async fn why_not_ready(&mut self, error: anyhow::Error) -> anyhow::Error {
        if !matches!(error.downcast_ref(), Some(HttpError::Refused { .. })) {
            return error;
        }
        match self.http.get("/ready").await {
            Err(HttpError::Refused { address, said, .. }) => anyhow::anyhow!("the broker at {address} says: {said}"),
            _ => error,
        }
    }
}

fn left_out(what: &str, count: u64) -> Option<String> {
    (count > 0).then(|| format!("{count} more {what} are not shown"))
}

/// A shard is a thread of its name.
fn with_cpu(mut shards: Vec<Shard>, metrics: &Metrics) -> Vec<Shard> {
    let threads = metrics.by("ouzel_thread_cpu_seconds_total", "thread");
    for shard in &mut shards {
        shard.cpu_s = threads.get(format!("shard-{}", shard.shard).as_str()).copied().unwrap_or(0.0);
    }
    shards
}

fn with_traffic(listed: Topics, metrics: &Metrics) -> BTreeMap<String, Topic> {
    let of = |metric| metrics.by(metric, "topic");
    let (bytes_in, bytes_out) = (of("ouzel_topic_bytes_in_total"), of("ouzel_topic_bytes_out_total"));
    let (records_in, stored_bytes) = (of("ouzel_topic_records_in_total"), of("ouzel_topic_stored_bytes"));
    let with_traffic = |ListedTopic { topic, partitions }| {
        let at = |values: &BTreeMap<&str, f64>| values.get(topic.as_str()).copied();
        let seen = Topic {
            partitions,
            bytes_in: at(&bytes_in),
            bytes_out: at(&bytes_out),
            records_in: at(&records_in),
            stored_bytes: at(&stored_bytes),
        };
        (topic, seen)
    };
    listed.topics.into_iter().map(with_traffic).collect()
}

fn with_lag(listed: Groups, metrics: &Metrics) -> BTreeMap<String, Group> {
    let lags = metrics.by("ouzel_consumergroup_lag_sum", "consumergroup");
    let with_lag = |ListedGroup { group, kind, state, members }| {
        let lag = lags.get(group.as_str()).copied();
        (group, Group { state, kind, members, lag })
    };
    listed.groups.into_iter().map(with_lag).collect()
}

//! A broker that tests look at: two shards, two topics, one group.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::picture::Picture;
use super::rates;
use super::sample::{Cache, Connection, Group, Journal, Memory, Node, Sample, Shard, Topic};

/// A sample that was taken at `at`.
pub(super) fn sample(at: Instant) -> Sample {
    let shard = |shard| Shard {
        shard,
        state: "online".to_string(),
        counters: BTreeMap::from([("payload_bytes".to_string(), 1 << 20), ("journal_commits".to_string(), 10)]),
        queues: BTreeMap::from([("produce".to_string(), 2), ("groups".to_string(), 1)]),
        partitions: 3,
        requests_in_flight: 5,
        journal: Journal { occupancy: 0.25 },
        memory: Memory { dirty_bytes: 1 << 20, cache_bytes: 1 << 25, connection_bytes: 4096 },
        cache: Cache { hits: 10, misses: 0 },
        ..Shard::default()
    };
    let topic = |bytes_in, stored_bytes| Topic {
        partitions: 3,
        bytes_in: Some(bytes_in),
        bytes_out: Some(0.0),
        records_in: Some(10.0),
        stored_bytes: Some(stored_bytes),
    };
    let group = Group { state: "Stable".to_string(), kind: "consumer".to_string(), members: 2, lag: Some(7.0) };
    Sample {
        at,
        node: Node { node: 1, version: "0.1.0".to_string(), phase: "serving".to_string(), uptime_ms: 3_723_000 },
        cluster_id: Some("AAAAAAAAAAAAAAAAAAAAAA".to_string()),
        partitions: 6,
        started_s: 1_000.0,
        cpu_s: 1.0,
        rss_bytes: f64::from(64 << 20),
        bytes_in: 4096.0,
        bytes_out: 8192.0,
        requests: 100.0,
        connections: 2.0,
        produce_buckets: vec![(0.001, 10.0), (0.002, 10.0), (f64::INFINITY, 10.0)],
        shards: vec![shard(0), shard(1)],
        topics: BTreeMap::from([
            ("orders".to_string(), topic(2048.0, 4096.0)),
            ("clicks".to_string(), topic(9000.0, f64::from(5 << 20))),
        ]),
        groups: BTreeMap::from([("billing".to_string(), group)]),
        notes: Vec::new(),
    }
}

/// What is shown a second later: 3 MiB came in, 200 requests were taken.
pub(super) fn picture() -> Picture {
    let before = sample(Instant::now());
    let mut now = before.clone();
    now.at += Duration::from_secs(1);
    now.bytes_in += f64::from(3 << 20);
    now.requests += 200.0;
    now.cpu_s += 0.5;
    now.produce_buckets = vec![(0.001, 10.0), (0.002, 110.0), (f64::INFINITY, 110.0)];
    now.shards[1].cpu_s += 0.42;
    now.topics.get_mut("clicks").expect("a topic").bytes_in = Some(9000.0 + f64::from(1 << 20));
    now.groups.get_mut("billing").expect("a group").lag = Some(4.0);
    let connection = |port: u16| Connection {
        peer: format!("127.0.0.1:{port}"),
        client: Some("rdkafka".to_string()),
        protocol: "kafka".to_string(),
        requests_in_flight: 1,
        age_ms: u64::from(port),
        shard: 1,
    };
    Picture { connections: Some((5_000..5_050).map(connection).collect()), ..rates::picture(Some(&before), &now) }
}

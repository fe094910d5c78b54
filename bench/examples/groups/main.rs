//! What consumer groups cost a broker: a start after many commits, commits that are durable, heartbeats, a join. Owns the order of
//! these; the loads are plain threads that send Kafka's requests. Prints one object of JSON.
//!
//! `groups BROKER DIRECTORY [COMMITS [SHARDS]]`: starts `BROKER serve` with SHARDS (2) on a new directory in DIRECTORY, commits COMMITS
//! offsets (20,000,000) over a million keys in a thousand groups, kills it with `kill -9`, and takes the time from the start of
//! the next process until every group has answered what it committed. Then commits of a hundred partitions a request
//! over a hundred connections, as many as there may be and at 50,000 a second (three times); then heartbeats of a thousand groups of ten members, every
//! 3 s, of either kind; then another member joins a group of a hundred.

mod classic;
mod commits;
mod connection;
mod consumer;
mod heartbeats;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ouzel_bench::embedded::{Embedded, EmbeddedOptions};
use ouzel_protocol::kafka::{
    ApiKey, CreatableTopic, CreateTopicsReply, CreateTopicsRequest, FindCoordinatorReply, FindCoordinatorRequest,
    KafkaError,
};
use serde_json::json;

use commits::{COMMIT_PARTITIONS, commits, committed, group_name, load};
use connection::{Connection, PATIENCE};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 1_000;
/// One partition for each member of a group.
const NARROW_TOPIC: &str = "narrow";
const NARROW_PARTITIONS: i32 = 10;
const GROUPS: usize = 1_000;
/// Half of what a node is to take.
const COMMITS_PER_S: f64 = 50_000.0;
const PACED_ROUNDS: usize = 3;

fn prepare(address: &str) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let topic =
        |(name, num_partitions)| CreatableTopic { name, num_partitions, replication_factor: 1, ..Default::default() };
    let topics = [(TOPIC, PARTITIONS), (NARROW_TOPIC, NARROW_PARTITIONS)].into_iter().map(topic).collect();
    connection.send(5, &CreateTopicsRequest { topics, timeout_ms: 60_000, ..Default::default() })?;
    connection.receive()?;
    let reply: CreateTopicsReply<'_> = connection.reply(ApiKey::CreateTopics, 5)?;
    let error = reply.topics.iter().map(|topic| topic.error_code).find(|code| *code != KafkaError::NONE);
    ensure!(error.is_none(), "the topic was not created: {error:?}");
    let limit = Instant::now() + PATIENCE;
    loop {
        let asked =
            FindCoordinatorRequest { coordinator_keys: ["group-0"].into_iter().collect(), ..Default::default() };
        connection.send(4, &asked)?;
        connection.receive()?;
        let reply: FindCoordinatorReply<'_> = connection.reply(ApiKey::FindCoordinator, 4)?;
        if reply.coordinators.iter().all(|row| row.error_code == KafkaError::NONE) {
            return Ok(());
        }
        ensure!(Instant::now() < limit, "no coordinator");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Milliseconds from the start of the process until it listens, and until every group has answered.
fn restart(broker: &mut Embedded, expected: i64) -> Result<(f64, f64)> {
    broker.kill();
    let begun = Instant::now();
    broker.restart(None)?;
    let ready = begun.elapsed();
    let mut connection = Connection::open(broker.kafka())?;
    for group in 0..GROUPS {
        while committed(&mut connection, &group_name(group))? != Some(expected) {
            ensure!(begun.elapsed() < PATIENCE, "group {group} does not answer what it committed");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok((ready.as_secs_f64() * 1e3, begun.elapsed().as_secs_f64() * 1e3))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: groups BROKER DIRECTORY [COMMITS [SHARDS]]";
    let binary = PathBuf::from(arguments.next().context(usage)?);
    let parent = Some(PathBuf::from(arguments.next().context(usage)?));
    let wanted: i64 = arguments.next().map_or(Ok(20_000_000), |text| text.parse())?;
    let shards: u16 = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let rounds = (wanted / (GROUPS as i64 * i64::from(PARTITIONS))).max(1);
    let mut broker = Embedded::start(EmbeddedOptions { parent, shards: Some(shards), ..EmbeddedOptions::new(binary) })?;
    prepare(broker.kafka())?;
    let load_s = load(broker.kafka(), rounds)?;
    let commit_count = rounds * GROUPS as i64 * i64::from(PARTITIONS);
    let rss_bytes = broker.usage()?.rss_bytes;
    let (ready_ms, answered_ms) = restart(&mut broker, rounds - 1)?;
    let (commits_per_s, median_ms, _) = commits(broker.kafka(), None)?;
    let requests_per_s = COMMITS_PER_S / f64::from(COMMIT_PARTITIONS);
    let mut paced = Vec::new();
    for _ in 0..PACED_ROUNDS {
        let (per_s, median_ms, p99_ms) = commits(broker.kafka(), Some(requests_per_s))?;
        paced.push(json!({ "commits_per_s": per_s, "request_median_ms": median_ms, "request_p99_ms": p99_ms }));
    }
    let (classic_cores, classic_us) = heartbeats::cost::<classic::Member>(&broker)?;
    let (consumer_cores, consumer_us) = heartbeats::cost::<consumer::Member>(&broker)?;
    let join_ms = consumer::join_to_settled(&broker)?;
    println!(
        "{}",
        json!({
            "commits": commit_count,
            "load_commits_per_s": commit_count as f64 / load_s,
            "load_rss_bytes": rss_bytes,
            "start_ready_ms": ready_ms,
            "start_every_group_answered_ms": answered_ms,
            "commits_per_s": commits_per_s,
            "commit_request_median_ms": median_ms,
            "paced": paced,
            "classic_heartbeat_cores": classic_cores,
            "classic_heartbeat_cpu_us": classic_us,
            "consumer_heartbeat_cores": consumer_cores,
            "consumer_heartbeat_cpu_us": consumer_us,
            "join_to_a_hundred_settled_ms": join_ms,
        })
    );
    broker.stop()
}

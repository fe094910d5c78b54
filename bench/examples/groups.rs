//! What consumer groups cost a broker: a start after many commits, commits that are durable, heartbeats. Owns the load, by
//! plain threads and Kafka's requests; prints one object of JSON.
//!
//! `groups BROKER DIRECTORY [COMMITS]`: starts `BROKER serve` with two shards on a new directory in DIRECTORY, commits COMMITS
//! offsets (20,000,000) over a million keys in a thousand groups, kills it with `kill -9`, and takes the time from the start of
//! the next process until every group has answered what it committed. Then commits of a hundred partitions a request
//! over a hundred connections, as many as there may be and at half of that; then heartbeats of a thousand groups of ten members.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use ouzel_bench::embedded::{Embedded, EmbeddedOptions};
use ouzel_protocol::kafka::{
    ApiKey, CreatableTopic, CreateTopicsReply, CreateTopicsRequest, FindCoordinatorReply, FindCoordinatorRequest,
    HeartbeatReply, HeartbeatRequest, JoinGroupReply, JoinGroupRequest, JoinProtocol, KafkaError, Message,
    OffsetCommitPartition, OffsetCommitReply, OffsetCommitRequest, OffsetCommitTopic, OffsetFetchGroup,
    OffsetFetchReply, OffsetFetchRequest, OffsetFetchTopic, SyncGroupReply, SyncGroupRequest, append_request,
    decode_reply_header,
};
use serde_json::json;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 1_000;
const GROUPS: usize = 1_000;
const LOADERS: usize = 20;
const COMMITTERS: usize = 100;
const COMMIT_PARTITIONS: i32 = 100;
const COMMIT_TIME: Duration = Duration::from_secs(10);
const MEMBERS: usize = 10;
/// Threads of members, each with one member, and its connection, of every group in its part.
const MEMBER_THREADS: usize = 100;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
const HEARTBEAT_ROUNDS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(120);

/// One connection, whose replies come in the order of its requests.
struct Connection {
    stream: TcpStream,
    frame: Vec<u8>,
}

impl Connection {
    fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, frame: Vec::new() })
    }

    fn send<'a>(&mut self, version: i16, request: &impl Message<'a>) -> Result<()> {
        self.frame.clear();
        append_request(&mut self.frame, version, 0, Some("groups"), request)?;
        Ok(self.stream.write_all(&self.frame)?)
    }

    fn receive(&mut self) -> Result<()> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        self.frame.resize(usize::try_from(i32::from_be_bytes(length))?, 0);
        Ok(self.stream.read_exact(&mut self.frame)?)
    }

    fn reply<'a, M: Message<'a>>(&'a self, api: ApiKey, version: i16) -> Result<M> {
        let (_, body) = decode_reply_header(api, version, &self.frame)?;
        Ok(M::decode(body, version)?)
    }
}

fn group_name(number: usize) -> String {
    format!("group-{number}")
}

/// Commits `offset` to `partitions` of a group, and waits for the acknowledgement.
fn commit(connection: &mut Connection, group_id: &str, partitions: std::ops::Range<i32>, offset: i64) -> Result<()> {
    let row = |partition_index| OffsetCommitPartition {
        partition_index,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: None,
    };
    let topic = OffsetCommitTopic { name: TOPIC, partitions: partitions.map(row).collect() };
    let topics = [topic].into_iter().collect();
    let asked = OffsetCommitRequest { group_id, generation_id_or_member_epoch: -1, topics, ..Default::default() };
    connection.send(8, &asked)?;
    connection.receive()?;
    let reply: OffsetCommitReply<'_> = connection.reply(ApiKey::OffsetCommit, 8)?;
    let error = reply.topics.iter().flat_map(|topic| topic.partitions.iter().collect::<Vec<_>>());
    let error = error.map(|row| row.error_code).find(|code| *code != KafkaError::NONE);
    ensure!(error.is_none(), "a commit was refused: {error:?}");
    Ok(())
}

/// The offset of the last partition of a group; `None` while it is not known.
fn committed(connection: &mut Connection, group_id: &str) -> Result<Option<i64>> {
    let topic = OffsetFetchTopic { name: TOPIC, partition_indexes: [PARTITIONS - 1].into_iter().collect() };
    let group = OffsetFetchGroup { group_id, topics: Some([topic].into_iter().collect()), ..Default::default() };
    connection.send(8, &OffsetFetchRequest { groups: [group].into_iter().collect(), ..Default::default() })?;
    connection.receive()?;
    let reply: OffsetFetchReply<'_> = connection.reply(ApiKey::OffsetFetch, 8)?;
    let group = reply.groups.iter().next().context("one group")?;
    if group.error_code != KafkaError::NONE {
        return Ok(None);
    }
    let topic = group.topics.iter().next().context("one topic")?;
    Ok(topic.partitions.iter().next().map(|row| row.committed_offset))
}

fn prepare(address: &str) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let topic = CreatableTopic { name: TOPIC, num_partitions: PARTITIONS, replication_factor: 1, ..Default::default() };
    connection.send(
        5,
        &CreateTopicsRequest { topics: [topic].into_iter().collect(), timeout_ms: 60_000, ..Default::default() },
    )?;
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

/// Runs `work` on so many threads, each with its number and a connection.
fn on_threads<T: Send>(
    count: usize,
    address: &str,
    work: impl Fn(usize, Connection) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let run = |number| {
            let work = &work;
            scope.spawn(move || work(number, Connection::open(address)?))
        };
        let threads: Vec<_> = (0..count).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    })
}

/// Every group commits to every partition, so many times; returns the seconds it took.
fn load(address: &str, rounds: i64) -> Result<f64> {
    let begun = Instant::now();
    on_threads(LOADERS, address, |number, mut connection| {
        for round in 0..rounds {
            for group in (number..GROUPS).step_by(LOADERS) {
                commit(&mut connection, &group_name(group), 0..PARTITIONS, round)?;
            }
        }
        Ok(())
    })?;
    Ok(begun.elapsed().as_secs_f64())
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

/// Requests of a hundred partitions, `rate` a second over all connections, or as many as there may be. Returns commits a second,
/// and milliseconds of a request: the median, and that which one in a hundred exceeds, from when it should have been sent.
fn commits(address: &str, rate: Option<f64>) -> Result<(f64, f64, f64)> {
    let barrier = Barrier::new(COMMITTERS);
    let done = AtomicU64::new(0);
    let histograms = on_threads(COMMITTERS, address, |number, mut connection| {
        let mut histogram = Histogram::<u64>::new(3)?;
        let group = group_name(number * (GROUPS / COMMITTERS));
        let interval = rate.map(|rate| Duration::from_secs_f64(COMMITTERS as f64 / rate));
        barrier.wait();
        let begun = Instant::now();
        let mut due = begun + interval.unwrap_or_default().mul_f64(number as f64 / COMMITTERS as f64);
        let mut offset = 1_000_000;
        while begun.elapsed() < COMMIT_TIME {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let from = if interval.is_some() { due } else { Instant::now() };
            commit(&mut connection, &group, 0..COMMIT_PARTITIONS, offset)?;
            histogram.record(u64::try_from(from.elapsed().as_micros())?)?;
            due += interval.unwrap_or_default();
            offset += 1;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(histogram)
    })?;
    let mut all = Histogram::<u64>::new(3)?;
    for histogram in histograms {
        all.add(histogram)?;
    }
    let requests = done.load(Ordering::Relaxed) as f64 / COMMIT_TIME.as_secs_f64();
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1e3;
    Ok((requests * f64::from(COMMIT_PARTITIONS), ms(0.5), ms(0.99)))
}

/// A member of one of the groups of heartbeats.
struct Member {
    connection: Connection,
    group: String,
    member_id: String,
    generation: i32,
}

/// This thread's member of each group of its part joins, and all are given nothing.
fn join(address: &str, number: usize, barrier: &Barrier) -> Result<Vec<Member>> {
    let part = MEMBER_THREADS / MEMBERS;
    let mut members = Vec::new();
    for group in (number % part..GROUPS).step_by(part) {
        let (connection, group) = (Connection::open(address)?, format!("members-{group}"));
        members.push(Member { connection, group, member_id: String::new(), generation: -1 });
    }
    barrier.wait();
    for member in &mut members {
        let asked = JoinGroupRequest {
            group_id: &member.group,
            session_timeout_ms: 60_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer",
            protocols: [JoinProtocol { name: "range", metadata: b"" }].into_iter().collect(),
            ..Default::default()
        };
        member.connection.send(3, &asked)?;
    }
    for member in &mut members {
        member.connection.receive()?;
        let reply: JoinGroupReply<'_> = member.connection.reply(ApiKey::JoinGroup, 3)?;
        ensure!(reply.error_code == KafkaError::NONE, "a join was refused: {:?}", reply.error_code);
        (member.member_id, member.generation) = (reply.member_id.to_owned(), reply.generation_id);
    }
    for member in &mut members {
        let asked = SyncGroupRequest {
            group_id: &member.group,
            generation_id: member.generation,
            member_id: &member.member_id,
            ..Default::default()
        };
        member.connection.send(2, &asked)?;
    }
    for member in &mut members {
        member.connection.receive()?;
        let reply: SyncGroupReply<'_> = member.connection.reply(ApiKey::SyncGroup, 2)?;
        ensure!(reply.error_code == KafkaError::NONE, "a sync was refused: {:?}", reply.error_code);
    }
    Ok(members)
}

/// Ten thousand members that live: CPU of the broker as a share of one core, and microseconds of it a heartbeat.
fn heartbeats(broker: &Embedded) -> Result<(f64, f64)> {
    let barrier = Barrier::new(MEMBER_THREADS);
    let usages = on_threads(MEMBER_THREADS, broker.kafka(), |number, _| {
        let mut members = join(broker.kafka(), number, &barrier)?;
        barrier.wait();
        let (begun, before) = (Instant::now(), broker.usage()?.cpu_s);
        let every = HEARTBEAT_INTERVAL / u32::try_from(members.len())?;
        let mut due = begun + every.mul_f64(number as f64 / MEMBER_THREADS as f64);
        for _ in 0..HEARTBEAT_ROUNDS {
            for member in &mut members {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due += every;
                let asked = HeartbeatRequest {
                    group_id: &member.group,
                    generation_id: member.generation,
                    member_id: &member.member_id,
                    ..Default::default()
                };
                member.connection.send(4, &asked)?;
                member.connection.receive()?;
                let reply: HeartbeatReply = member.connection.reply(ApiKey::Heartbeat, 4)?;
                ensure!(reply.error_code == KafkaError::NONE, "a heartbeat was refused: {:?}", reply.error_code);
            }
        }
        barrier.wait();
        Ok((broker.usage()?.cpu_s - before, begun.elapsed().as_secs_f64()))
    })?;
    let (cpu_s, wall_s) = usages.into_iter().next().context("there is a first connection")?;
    let count = (GROUPS * MEMBERS) as f64 * f64::from(HEARTBEAT_ROUNDS);
    Ok((cpu_s / wall_s, cpu_s / count * 1e6))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: groups BROKER DIRECTORY [COMMITS]";
    let binary = PathBuf::from(arguments.next().context(usage)?);
    let parent = Some(PathBuf::from(arguments.next().context(usage)?));
    let wanted: i64 = arguments.next().map_or(Ok(20_000_000), |text| text.parse())?;
    let rounds = (wanted / (GROUPS as i64 * i64::from(PARTITIONS))).max(1);
    let mut broker = Embedded::start(EmbeddedOptions { parent, shards: Some(2), ..EmbeddedOptions::new(binary) })?;
    prepare(broker.kafka())?;
    let load_s = load(broker.kafka(), rounds)?;
    let commit_count = rounds * GROUPS as i64 * i64::from(PARTITIONS);
    let rss_bytes = broker.usage()?.rss_bytes;
    let (ready_ms, answered_ms) = restart(&mut broker, rounds - 1)?;
    let (commits_per_s, median_ms, _) = commits(broker.kafka(), None)?;
    let half = commits_per_s / f64::from(COMMIT_PARTITIONS) / 2.0;
    let (_, half_median_ms, half_p99_ms) = commits(broker.kafka(), Some(half))?;
    let (heartbeat_cores, heartbeat_us) = heartbeats(&broker)?;
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
            "commit_request_median_ms_at_half": half_median_ms,
            "commit_request_p99_ms_at_half": half_p99_ms,
            "heartbeat_cores": heartbeat_cores,
            "heartbeat_cpu_us": heartbeat_us,
        })
    );
    broker.stop()
}

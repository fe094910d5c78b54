//! Commits of offsets, and questions for them. Owns the load of both.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use ouzel_protocol::kafka::{
    ApiKey, KafkaError, OffsetCommitPartition, OffsetCommitReply, OffsetCommitRequest, OffsetCommitTopic,
    OffsetFetchGroup, OffsetFetchReply, OffsetFetchRequest, OffsetFetchTopic,
};

use super::connection::{Connection, on_threads};
use super::{GROUPS, PARTITIONS, TOPIC};

const LOADERS: usize = 20;
const COMMITTERS: usize = 100;
/// Partitions of a request.
pub(super) const COMMIT_PARTITIONS: i32 = 100;
const COMMIT_TIME: Duration = Duration::from_secs(10);

pub(super) fn group_name(number: usize) -> String {
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
pub(super) fn committed(connection: &mut Connection, group_id: &str) -> Result<Option<i64>> {
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

/// Every group commits to every partition, so many times; returns the seconds it took.
pub(super) fn load(address: &str, rounds: i64) -> Result<f64> {
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

/// Requests of a hundred partitions, `rate` a second over all connections, or as many as there may be. Returns commits a second,
/// and milliseconds of a request: the median, and that which one in a hundred exceeds, from when it should have been sent.
pub(super) fn commits(address: &str, rate: Option<f64>) -> Result<(f64, f64, f64)> {
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

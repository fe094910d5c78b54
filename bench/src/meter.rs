//! What a load costs while it is measured: CPU and memory of both processes, bytes at the device, and the broker's own
//! counters at both ends of the window. Owns the two readings and the wait for the journal to come round (docs/rules.md
//! M2); never sends a record. Runs on the generator's thread.

use std::time::{Duration, Instant};

use anyhow::Result;
use ouzel_protocol::native::{Api, DescribeNodeReply, DescribeNodeRequest, counters};
use serde::{Deserialize, Serialize};

use crate::load::Run;
use crate::process::Usage;
use crate::progress::Phase;
use crate::wire::Wire;

/// How often the broker is asked how far its journal is.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// A window that is counted in rounds of the journal instead of seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WrapLimits {
    /// Rounds of the journal before measuring starts.
    pub warmup: f64,
    /// Rounds of it that are measured.
    pub measured: f64,
    /// Each of the two parts ends after this many seconds whatever the journal does; the report says how far it got.
    pub seconds_max: f64,
}

/// The broker under load, as far as it can be observed.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Its process, where it is ours to read.
    pub pid: Option<u32>,
    /// A connection that nothing else uses meanwhile.
    pub control: &'a mut Wire,
}

impl Observed<'_> {
    async fn node(&mut self) -> Result<DescribeNodeReply> {
        let body = self.control.call(Api::DescribeNode, |out| DescribeNodeRequest {}.encode(out)).await?;
        Ok(DescribeNodeReply::decode(&body)?)
    }
}

/// What both processes had used when the window began.
#[derive(Debug)]
pub struct Meter {
    started: Instant,
    own: Usage,
    broker: Option<(u32, Usage)>,
    node: DescribeNodeReply,
}

/// What the broker's storage did within the window, summed over its shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StorageWork {
    /// Bytes of batches made durable, headers included.
    pub batch_bytes: u64,
    /// Bytes written into the journal, padding included.
    pub journal_bytes: u64,
    /// Bytes written into segments.
    pub segment_bytes: u64,
    /// Commits of the journal.
    pub commits: u64,
    /// fdatasyncs of the journal.
    pub journal_syncs: u64,
    /// fdatasyncs of segments and their side files.
    pub segment_syncs: u64,
    /// Entries carried forward.
    pub carries: u64,
    /// Bytes of those.
    pub carry_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// How often the journal came round.
    pub wraps: f64,
    /// How often it had come round before.
    pub wraps_before: f64,
}

/// Differences between two readings of a [`Meter`].
#[derive(Clone, Debug)]
pub struct Cost {
    /// Share of one core that the generator used.
    pub generator_cpu_share: f64,
    /// CPU seconds of the broker.
    pub broker_cpu_s: Option<f64>,
    /// Resident memory of the broker at the end.
    pub broker_rss_bytes: Option<u64>,
    /// Bytes the broker sent to the device.
    pub broker_device_bytes: Option<u64>,
    /// What its storage did.
    pub storage: StorageWork,
}

impl Meter {
    /// Reads what has been used so far.
    ///
    /// # Errors
    /// The broker does not describe itself.
    pub async fn start(broker: &mut Observed<'_>) -> Result<Meter> {
        Ok(Meter {
            node: broker.node().await?,
            started: Instant::now(),
            own: Usage::of_self().unwrap_or_default(),
            broker: broker.pid.and_then(|pid| Usage::of(pid).ok().map(|usage| (pid, usage))),
        })
    }

    /// What was used since.
    ///
    /// # Errors
    /// As [`Meter::start`].
    pub async fn stop(&self, broker: &mut Observed<'_>) -> Result<Cost> {
        let elapsed = self.started.elapsed().as_secs_f64().max(1e-9);
        let own = Usage::of_self().unwrap_or_default();
        let used = self.broker.and_then(|(pid, before)| Usage::of(pid).ok().map(|after| (before, after)));
        Ok(Cost {
            generator_cpu_share: (own.cpu_s - self.own.cpu_s).max(0.0) / elapsed,
            broker_cpu_s: used.map(|(before, after)| after.cpu_s - before.cpu_s),
            broker_rss_bytes: used.map(|(_, after)| after.rss_bytes),
            broker_device_bytes: used
                .map(|(before, after)| after.device_write_bytes.saturating_sub(before.device_write_bytes)),
            storage: work_between(&self.node, &broker.node().await?),
        })
    }
}

/// Waits until measuring starts, reads the meter there, and ends the run where its window is counted in rounds of the
/// journal. Without such a window it returns at the start of measuring, and the run's own clock ends it.
///
/// # Errors
/// As [`Meter::start`].
pub async fn measure(run: &Run, broker: &mut Observed<'_>, meter: &mut Option<Meter>) -> Result<()> {
    let Some(window) = run.wrap_limits() else {
        run.warmed_up().await;
        *meter = Some(Meter::start(broker).await?);
        return Ok(());
    };
    run.enter(Phase::WarmingUp);
    wait_for_wraps(broker, window.warmup, window.seconds_max).await?;
    let started = Meter::start(broker).await?;
    let from = wraps(&started.node);
    *meter = Some(started);
    run.start_measuring(Instant::now());
    wait_for_wraps(broker, from + window.measured, window.seconds_max).await?;
    run.end();
    Ok(())
}

async fn wait_for_wraps(broker: &mut Observed<'_>, wanted: f64, seconds_max: f64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs_f64(seconds_max);
    while Instant::now() < deadline && wraps(&broker.node().await?) < wanted {
        tokio::time::sleep(POLL_EVERY).await;
    }
    Ok(())
}

/// How often the journals came round: files taken into use over files there are, the current file counting as far as it
/// is filled only when it is given up.
fn wraps(node: &DescribeNodeReply) -> f64 {
    let files = node.shard_total(counters::JOURNAL_FILES).max(1);
    node.shard_total(counters::JOURNAL_FILES_TAKEN) as f64 / files as f64
}

fn work_between(before: &DescribeNodeReply, after: &DescribeNodeReply) -> StorageWork {
    let grown = |name: &str| after.shard_total(name).saturating_sub(before.shard_total(name));
    StorageWork {
        batch_bytes: grown(counters::PAYLOAD_BYTES),
        journal_bytes: grown(counters::JOURNAL_BYTES),
        segment_bytes: grown(counters::SEGMENT_BYTES),
        commits: grown(counters::JOURNAL_COMMITS),
        journal_syncs: grown(counters::JOURNAL_SYNCS),
        segment_syncs: grown(counters::SEGMENT_SYNCS),
        carries: grown(counters::CARRIES),
        carry_bytes: grown(counters::CARRY_BYTES),
        checkpoints: grown(counters::CHECKPOINTS),
        wraps: grown(counters::JOURNAL_FILES_TAKEN) as f64 / after.shard_total(counters::JOURNAL_FILES).max(1) as f64,
        wraps_before: wraps(before),
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::native::{Counter, DescribedShard};
    use ouzel_protocol::{NodeId, ShardIndex};

    use super::*;

    fn node(rows: &[(&str, u64)]) -> DescribeNodeReply {
        let counters = rows.iter().map(|(name, value)| Counter::new(*name, *value)).collect();
        let shard = DescribedShard { shard: ShardIndex(0), state: "online".into(), reason: String::new(), counters };
        DescribeNodeReply { node: NodeId(0), uptime_ms: 0, counters: Vec::new(), shards: vec![shard.clone(), shard] }
    }

    #[test]
    fn work_is_the_difference_over_all_shards() {
        let before = node(&[(counters::JOURNAL_FILES, 2), (counters::JOURNAL_FILES_TAKEN, 2), ("carries", 9)]);
        let after = node(&[
            (counters::JOURNAL_FILES, 4),
            (counters::JOURNAL_FILES_TAKEN, 10),
            (counters::PAYLOAD_BYTES, 50),
            ("carries", 8),
        ]);
        let work = work_between(&before, &after);
        assert_eq!((work.batch_bytes, work.carries), (100, 0), "a counter that fell back counts as nothing");
        assert!((work.wraps_before - 1.0).abs() < 1e-9 && (work.wraps - 2.0).abs() < 1e-9);
        assert_eq!(wraps(&node(&[])), 0.0);
    }
}

//! Scenarios in which the disk fails while the broker lives: a flush that fails, and a disk that gets full. Owns their steps
//! and what must be seen from outside: answers, `topic describe`, the log, and what is left after a restart. Runs on the
//! caller's thread.

use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::SmallRng;

use super::layout::{self, TOPICS};
use super::ledger::{Loss, Totals};
use super::load::{Load, lock};
use super::stage::{Stage, written_loss};

/// Load before the fault, in milliseconds.
const LOAD_MS: std::ops::RangeInclusive<u64> = 200..=1000;
/// How long the load goes on after the fault, so that an answer which must not come would be seen.
const AFTER_FAULT: Duration = Duration::from_millis(500);
/// How long an effect may be in coming: a disk to get full, a write to go through again.
const EFFECT_WAIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);
/// Bytes of the file whose removal makes room again.
const BALLAST_BYTES: usize = 96 * 1024 * 1024;
/// Records that must be acknowledged after there is room again.
const RECORDS_AGAIN: u64 = 1000;
/// A group whose offsets are moved before, while and after the disk is full.
const GROUP: &str = "readers";
/// Pieces in which the ballast is written.
static BALLAST_PIECE: [u8; 1024 * 1024] = [0xB5; 1024 * 1024];

/// Plays the scenario of this round on a fresh stage; returns what happened, in a line.
pub(super) fn scenario(stage: &mut Stage<'_>, round: u32, rng: &mut SmallRng) -> Result<String> {
    let (seed, load_ms) = (rng.random(), rng.random_range(LOAD_MS));
    let played = if round.is_multiple_of(2) {
        disk_full(stage, seed)
    } else {
        failed_flush(stage, seed, Duration::from_millis(load_ms))
    };
    played.map_err(|error| stage.blame(error))
}

/// One flush of the device fails. Whoever asked for it may never acknowledge again what it covered or anything later.
fn failed_flush(stage: &mut Stage<'_>, seed: u64, lasting: Duration) -> Result<String> {
    let load = stage.start_load(seed, true);
    std::thread::sleep(lasting);
    load.disk_dying();
    let failed_at = Instant::now();
    stage.disk()?.send("fail flushes 1")?;
    wait_for(stage, &load, "a producer is told that storage failed", |totals| totals.batches_storage_failed > 0)?;
    std::thread::sleep(AFTER_FAULT);
    ensure!(stage.embedded.ended().is_none(), "the broker ended, though reading could go on");
    let described = describe(stage)?;
    let failed_count = (0..stage.layout.partitions.len()).filter(|&at| lock(&stage.ledger).has_failed(at)).count();
    ensure!(described.contains("poisoned"), "`topic describe` shows nothing of the failed flush:\n{described}");
    let log = stage.embedded.log();
    ensure!(log.contains("fdatasync") || log.contains("poison"), "the log says nothing of the failed flush");
    read_starts(stage).context("reading must go on after a failed flush")?;
    let refused = lock(&stage.ledger).totals().batches_storage_failed;
    // The cut takes what the failed flush had not made safe: it must not have been acknowledged.
    end_load(stage, load, true)?;
    let lost = stage.read_everything(written_loss(failed_at))?;
    Ok(format!(
        "a flush failed: {failed_count} of {} partitions refused {refused} batches and acknowledged none, describe says `poisoned`; \
         after a power cut and a restart all as it should be; {} of level written lost",
        stage.layout.partitions.len(),
        lost.records
    ))
}

/// The disk gets full under load, is read from while it is, and has room again without a restart.
fn disk_full(stage: &mut Stage<'_>, seed: u64) -> Result<String> {
    let ballast = stage.disk()?.mount().join("ballast");
    ensure!(reset_group(stage, "--to-earliest")?, "a group cannot be reset before anything has happened");
    write_ballast(&ballast).context("cannot write the ballast")?;
    let load = stage.start_load(seed, true);
    wait_for(stage, &load, "a producer is told that the disk is full", |totals| totals.batches_disk_full > 0)?;
    std::thread::sleep(AFTER_FAULT);
    read_starts(stage).context("reading must go on while the disk is full")?;
    let described = describe(stage)?;
    ensure!(described.contains("disk-full"), "`topic describe` shows nothing of the full disk:\n{described}");
    ensure!(!reset_group(stage, "--to-latest")?, "a group's offset is acknowledged while the disk is full");
    ensure!(committed(stage)? == 0, "what was refused is shown of a group");
    let loads = stage.embedded.log().matches("they are loaded again").count();
    ensure!(loads <= 1, "groups were loaded again {loads} times while the disk was full");
    std::fs::remove_file(&ballast)?;
    let acked_before = lock(&stage.ledger).totals().records_acked;
    let freed = Instant::now();
    wait_for(stage, &load, "producers are acknowledged again once there is room", |totals| {
        totals.records_acked >= acked_before + RECORDS_AGAIN
    })?;
    let again_ms = freed.elapsed().as_millis();
    ensure!(reset_group(stage, "--to-latest")?, "a group cannot be reset though there is room again");
    let at = committed(stage)?;
    ensure!(at > 0, "the group's offset did not move");
    let refused = lock(&stage.ledger).totals().batches_disk_full;
    end_load(stage, load, false)?;
    ensure!(committed(stage)? == at, "an acknowledged offset of a group is another after a restart");
    stage.read_everything(Loss::None)?;
    Ok(format!(
        "the disk got full: {refused} batches refused, reads went on; {RECORDS_AGAIN} more records acknowledged {again_ms} ms after \
         there was room; after a restart all as it should be"
    ))
}

/// Written and not reserved: what a reservation holds back from others depends on the file system.
fn write_ballast(path: &std::path::Path) -> Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..BALLAST_BYTES / BALLAST_PIECE.len() {
        file.write_all(&BALLAST_PIECE)?;
    }
    Ok(file.sync_all()?)
}

/// Kills the broker, with a power cut if asked for, and starts it again.
fn end_load(stage: &mut Stage<'_>, load: Load, cut: bool) -> Result<()> {
    load.ending();
    if cut {
        stage.cut(super::ending::Moment::Now)?;
    }
    stage.embedded.kill();
    stage.kills += 1;
    stage.runtime.block_on(load.join())?;
    if cut {
        stage.power_on()?;
    }
    stage.embedded.restart(None)
}

/// Waits until the totals of the ledger show an effect, or the load has found a fault.
fn wait_for(stage: &mut Stage<'_>, load: &Load, what: &str, mut seen: impl FnMut(&Totals) -> bool) -> Result<()> {
    let deadline = Instant::now() + EFFECT_WAIT;
    while !seen(&lock(&stage.ledger).totals()) {
        if let Some(status) = stage.embedded.ended() {
            anyhow::bail!("the broker ended with {status} before {what}; its log ends: {}", stage.embedded.log_tail());
        }
        if load.has_failed() {
            load.ending();
            return Err(load
                .failure()
                .unwrap_or_else(|| anyhow::anyhow!("the load failed"))
                .context(format!("before {what}")));
        }
        ensure!(Instant::now() < deadline, "in {} s it did not come to this: {what}", EFFECT_WAIT.as_secs());
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// What `ouzel topic describe` says of both topics.
fn describe(stage: &Stage<'_>) -> Result<String> {
    let mut described = String::new();
    for (topic, _) in TOPICS {
        let mut command = Command::new(&stage.options.binary);
        command.args(["topic", "describe", topic, "--bootstrap", stage.embedded.bootstrap()]);
        let output = command.output().context("cannot run `ouzel topic describe`")?;
        ensure!(output.status.success(), "`ouzel topic describe` failed: {}", String::from_utf8_lossy(&output.stderr));
        described += &String::from_utf8_lossy(&output.stdout);
    }
    Ok(described)
}

/// Moves the offsets of the one group there is, in the first topic; whether that was acknowledged.
fn reset_group(stage: &Stage<'_>, to: &str) -> Result<bool> {
    let (topic, _) = TOPICS[0];
    let mut command = Command::new(&stage.options.binary);
    command.args(["group", "reset-offsets", GROUP, "--topic", topic, to, "--execute"]);
    let output = command.args(["--bootstrap", stage.embedded.bootstrap()]).output();
    Ok(output.context("cannot run `ouzel group reset-offsets`")?.status.success())
}

/// The highest offset that the group has committed.
fn committed(stage: &Stage<'_>) -> Result<u64> {
    let mut command = Command::new(&stage.options.binary);
    let output =
        command.args(["group", "describe", GROUP, "--json", "--bootstrap", stage.embedded.bootstrap()]).output();
    let output = output.context("cannot run `ouzel group describe`")?;
    ensure!(output.status.success(), "`ouzel group describe` failed: {}", String::from_utf8_lossy(&output.stderr));
    let described: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let rows = described["offsets"].as_array().context("`ouzel group describe` shows no offsets")?;
    Ok(rows.iter().filter_map(|row| row["committed_offset"].as_u64()).max().unwrap_or(0))
}

/// Reads the beginning of every partition while the load goes on.
fn read_starts(stage: &Stage<'_>) -> Result<()> {
    stage.within(layout::read_starts(&stage.layout, &stage.ledger))
}

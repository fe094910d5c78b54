//! One broker with one data directory, over any number of rounds: its starts and ends, the load, the reading of everything.
//! Owns the broker and its disk; judges nothing, the rules stand in `ledger`. Runs on the caller's thread, the load on
//! tokio threads of the run.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ouzel_protocol::Offset;
use rand::Rng;
use rand::rngs::SmallRng;
use tokio::runtime::Runtime;

use super::disk::{CutWrites, Disk};
use super::ending::{End, Ending, Moment};
use super::ledger::{Ledger, Loss, Lost};
use super::load::{Load, lock};
use super::{VerifyOptions, layout};
use crate::embedded::{Embedded, EmbeddedOptions, default_parent};

/// Load lasts this long before the broker is killed, in milliseconds.
const LOAD_MS: std::ops::RangeInclusive<u64> = 200..=2000;
/// How long finding or reading everything may take.
const CONVERSATION_WAIT: Duration = Duration::from_secs(300);
/// How often a running load is asked whether it has found a fault.
const LOAD_POLL: Duration = Duration::from_millis(20);
/// How much older than its flush interval a lost record of level `written` may be. The interval is a promise of the
/// broker's clock; what this allows for is that generator, broker and disk share a few cores: an answer that left a
/// thread that then did not run, and a flush that was under way when the power went.
const CLOCK_SLACK: Duration = Duration::from_millis(500);
/// In half of the rounds a flush of the disk takes this long under load, so that a cut finds much that is not synced.
const FLUSH_LATENCY_MS: std::ops::RangeInclusive<u64> = 1..=25;

/// One broker with one data directory, over any number of rounds. The broker stands in front of its disk, so that it is
/// gone before the disk goes.
pub(super) struct Stage<'a> {
    pub(super) options: &'a VerifyOptions,
    pub(super) runtime: &'a Runtime,
    pub(super) seed: u64,
    pub(super) embedded: Embedded,
    pub(super) disk: Option<Disk>,
    pub(super) shards: u16,
    pub(super) layout: layout::Layout,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// High watermarks after the last pass, by partition.
    pub(super) ends: Vec<Offset>,
    pub(super) kills: u32,
    pub(super) cuts: u32,
    pub(super) cut_writes: CutWrites,
    pub(super) lost: Lost,
}

impl<'a> Stage<'a> {
    pub(super) fn open(
        options: &'a VerifyOptions,
        runtime: &'a Runtime,
        seed: u64,
        round: u32,
        shards: u16,
    ) -> Result<Stage<'a>> {
        let mut start = EmbeddedOptions::new(&options.binary);
        start.shards = Some(shards);
        start.parent = options.parent.clone();
        start.arguments = vec!["--set".into(), format!("journal.bytes.max={}", options.journal_bytes).into()];
        // The log is read by a program.
        start.environment = vec![("NO_COLOR".into(), "1".into())];
        let parent = options.parent.clone().unwrap_or_else(default_parent);
        std::fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let disk = match &options.vdisk {
            Some(program) => {
                Some(Disk::start(program, &parent, options.disk_bytes, seed.wrapping_add(u64::from(round)))?)
            }
            None => None,
        };
        start.data_dir = disk.as_ref().map(|disk| disk.mount().join("data"));
        let embedded = Embedded::start(start)?;
        let bootstrap = embedded.bootstrap().to_owned();
        let names = layout::partition_names(options.partitions);
        let ends = vec![Offset::ZERO; names.len()];
        let ledger = Arc::new(Mutex::new(Ledger::new(seed, options.producers, names)));
        let layout = runtime.block_on(async {
            layout::create_topics(&bootstrap, options.partitions).await?;
            layout::discover(&bootstrap, options.partitions).await
        })?;
        let stage = Stage {
            options,
            runtime,
            seed,
            embedded,
            disk,
            shards,
            layout,
            ledger,
            ends,
            kills: 0,
            cuts: 0,
            cut_writes: CutWrites::default(),
            lost: Lost::default(),
        };
        stage.note_start()?;
        Ok(stage)
    }

    /// Runs a conversation with the broker to its end; one that takes for ever is a failure and not a hang.
    pub(super) fn within<T>(&self, conversation: impl Future<Output = Result<T>>) -> Result<T> {
        let bounded = async { tokio::time::timeout(CONVERSATION_WAIT, conversation).await };
        self.runtime.block_on(bounded).context("the broker does not answer")?
    }

    fn note_start(&self) -> Result<()> {
        let epochs: Vec<_> = self.layout.partitions.iter().map(|target| target.leader_epoch).collect();
        Ok(lock(&self.ledger).started(&epochs)?)
    }

    /// Bytes that were handed to the broker and may lie in its directory.
    pub(super) fn stored_bytes(&self) -> u64 {
        fn size(directory: &std::path::Path) -> u64 {
            let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
            let sizes = entries.flatten().map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => size(&entry.path()),
                Ok(metadata) => metadata.len(),
                Err(_) => 0,
            });
            sizes.sum()
        }
        size(&self.embedded.data_dir().join("partitions"))
    }

    /// Load, kill, start with `shards_next`, read everything. Returns what happened, in a line.
    pub(super) fn round(&mut self, rng: &mut SmallRng, round: u32, shards_next: u16) -> Result<String> {
        let before = lock(&self.ledger).totals();
        let load_ms = rng.random_range(LOAD_MS);
        let ending = Ending::pick(rng, round, self.disk.is_some());

        if let Some(disk) = &self.disk {
            let latency_ms = if rng.random() { rng.random_range(FLUSH_LATENCY_MS) } else { 0 };
            disk.send(&format!("latency flushes {latency_ms}"))?;
        }
        let loss = self.load(rng.random(), Duration::from_millis(load_ms), &ending)?;
        if let Some(after) = ending.start_interrupted {
            self.interrupt_start(shards_next, after, ending.cut_while_starting)?;
        }
        let started = Instant::now();
        self.embedded.restart(Some(shards_next))?;
        let start_ms = started.elapsed().as_millis();
        let shards = std::mem::replace(&mut self.shards, shards_next);
        let acked_and_sent = lock(&self.ledger).totals();
        let lost = self.read_everything(loss)?;
        if ending.cut_after_reading {
            self.cut(Moment::Now)?;
            self.embedded.kill();
            self.kills += 1;
            self.power_on()?;
            self.embedded.restart(None)?;
            // All of it was shown to a reader, so all of it must stay.
            self.read_everything(Loss::None)?;
        }
        let stored: u64 = self.ends.iter().map(|end| end.0).sum();
        let mut line = format!(
            "{shards} -> {shards_next} shards, {ending} after {load_ms} ms, ready again in {start_ms} ms; {} records sent, {} acked, {stored} stored, all as they should be",
            acked_and_sent.records_sent - before.records_sent,
            acked_and_sent.records_acked - before.records_acked,
        );
        if lost.records > 0 {
            line += &format!("; {} of level written lost, at most {} ms old", lost.records, lost.age_max.as_millis());
        }
        Ok(line)
    }

    /// Holds all that the restarted broker stores against the ledger.
    pub(super) fn read_everything(&mut self, loss: Loss) -> Result<Lost> {
        let bootstrap = self.embedded.bootstrap().to_owned();
        self.layout = self.within(layout::discover(&bootstrap, self.options.partitions))?;
        self.note_start()?;
        let (ends, lost) = self
            .within(layout::check_everything(&self.layout, &self.ledger, loss))
            .map_err(|error| self.blame(error))?;
        self.ends = ends;
        self.lost.records += lost.records;
        self.lost.age_max = self.lost.age_max.max(lost.age_max);
        Ok(lost)
    }

    /// The disk of a run that has one.
    pub(super) fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("this run has no disk of its own")
    }

    /// Cuts the power of the disk and returns when that was.
    pub(super) fn cut(&mut self, moment: Moment) -> Result<Instant> {
        let (writes, at) = self.disk()?.cut(moment)?;
        self.cut_writes.add(&writes);
        self.cuts += 1;
        Ok(at)
    }

    /// Switches the power on again; the broker must be gone.
    pub(super) fn power_on(&self) -> Result<()> {
        self.disk.as_ref().map_or(Ok(()), Disk::power_on)
    }

    fn interrupt_start(&mut self, shards: u16, after: Duration, cut: Option<Moment>) -> Result<()> {
        let (disk, mut writes) = (self.disk.as_ref(), None);
        self.embedded.start_and_kill(Some(shards), after, || {
            if let (Some(disk), Some(moment)) = (disk, cut) {
                writes = Some(disk.cut(moment)?.0);
            }
            Ok(())
        })?;
        self.kills += 1;
        if let Some(writes) = writes {
            self.cut_writes.add(&writes);
            self.cuts += 1;
            self.power_on()?;
        }
        Ok(())
    }

    /// Starts a load that lasts until the broker is gone; one that meets refusals before that asks for every answer.
    pub(super) fn start_load(&self, seed: u64, is_always_answered: bool) -> Load {
        let _entered = self.runtime.enter();
        Load::start(
            self.ledger.clone(),
            self.layout.clone(),
            (seed, self.seed),
            self.options.producers,
            self.options.round_bytes_max,
            self.ends.clone(),
            is_always_answered,
        )
    }

    /// Loads the broker and ends it. Returns what may be missing afterwards.
    fn load(&mut self, seed: u64, lasting: Duration, ending: &Ending) -> Result<Loss> {
        let load = self.start_load(seed, false);
        let deadline = Instant::now() + lasting;
        while Instant::now() < deadline && !load.has_failed() {
            std::thread::sleep(LOAD_POLL.min(deadline.saturating_duration_since(Instant::now())));
        }
        let died = self.embedded.ended();
        load.ending();
        let mut loss = Loss::None;
        match ending.end {
            _ if died.is_some() => {}
            End::Stop => self.embedded.stop()?,
            End::Kill => {
                // A cut in the next start may still take what this process had not flushed when it was killed.
                if ending.cut_while_starting.is_some() {
                    loss = written_loss(Instant::now());
                }
                self.kills += 1;
            }
            End::Cut { moment, killed_after } => {
                load.disk_dying();
                loss = written_loss(self.cut(moment)?);
                std::thread::sleep(killed_after);
                self.kills += 1;
            }
        }
        self.embedded.kill();
        let result = self.runtime.block_on(load.join());
        if let Some(status) = died {
            anyhow::bail!("the broker ended by itself with {status}; its log ends: {}", self.embedded.log_tail());
        }
        result?;
        if matches!(ending.end, End::Cut { .. }) {
            self.power_on()?;
        }
        Ok(loss)
    }

    /// A connection that breaks during a pass usually means that the broker died; then its end is the news.
    pub(super) fn blame(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.embedded.ended() {
            Some(status) => error.context(format!(
                "the broker ended by itself with {status}; its log ends: {}",
                self.embedded.log_tail()
            )),
            None => error,
        }
    }
}

/// What a broker that ended at `ended_at` may have left unflushed.
pub(super) fn written_loss(ended_at: Instant) -> Loss {
    Loss::Written { ended_at, age_max: layout::FLUSH_INTERVAL + CLOCK_SLACK }
}

//! `ouzel bench verify`: loads a broker of its own, kills it with -9 at a random moment, starts it again with another
//! number of shards, and holds everything it stores against a ledger of what was sent and acknowledged, round after round.
//! With a disk whose power can be cut, most rounds end with that.
//! Owns the broker, its directory and the rounds; the rules stand in `ledger`. Never prints. Runs on the caller's thread,
//! the load on tokio threads of its own.

mod broker_log;
mod content;
mod disk;
mod ending;
mod layout;
mod ledger;
mod load;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ouzel_protocol::Offset;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use crate::embedded::{Embedded, EmbeddedOptions, default_parent};
pub use broker_log::Recoveries;
pub use disk::CutWrites;
use disk::Disk;
use ending::{End, Ending, Moment};
use ledger::{Ledger, Loss, Lost, Totals};
use load::{Load, lock};

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
/// Size of the disk, and limits under which it never gets full.
const DISK_BYTES: u64 = 1024 * 1024 * 1024;
const DISK_ROUND_BYTES_MAX: u64 = 48 * 1024 * 1024;
const DISK_STORED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What to verify, and how hard.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// The `ouzel` binary.
    pub binary: PathBuf,
    /// Rounds: load, kill, start, read everything.
    pub rounds: u32,
    /// Shard counts of consecutive starts, round and round; not empty.
    pub shards: Vec<u16>,
    /// Decides the load and the moments of the kills; `None` picks one.
    pub seed: Option<u64>,
    /// Directory in which the run makes its own; `None` as for any embedded broker.
    pub parent: Option<PathBuf>,
    /// Keep the directory even if every round passed.
    pub keep: bool,
    /// Partitions of each of the two topics.
    pub partitions: u32,
    /// Concurrent producers.
    pub producers: u32,
    /// Journal budget of the broker, in bytes: small, so that it wraps.
    pub journal_bytes: u64,
    /// Bytes sent in one round at most.
    pub round_bytes_max: u64,
    /// With more than this stored, the next round begins with an empty directory.
    pub stored_bytes_max: u64,
    /// The `ouzel-vdisk` binary: the data lie on its disk, and its power is cut. `None`: no power cuts.
    pub vdisk: Option<PathBuf>,
}

impl VerifyOptions {
    /// Defaults for everything but the binary.
    pub fn new(binary: impl Into<PathBuf>) -> VerifyOptions {
        VerifyOptions {
            binary: binary.into(),
            rounds: 20,
            shards: vec![4, 1, 3],
            seed: None,
            parent: None,
            keep: false,
            partitions: 6,
            producers: 4,
            journal_bytes: 32 * 1024 * 1024,
            round_bytes_max: 160 * 1024 * 1024,
            stored_bytes_max: 512 * 1024 * 1024,
            vdisk: None,
        }
    }

    /// Puts the data on a disk made by `program`, and cuts its power.
    pub fn with_vdisk(self, program: PathBuf) -> VerifyOptions {
        VerifyOptions {
            vdisk: Some(program),
            round_bytes_max: self.round_bytes_max.min(DISK_ROUND_BYTES_MAX),
            stored_bytes_max: self.stored_bytes_max.min(DISK_STORED_BYTES_MAX),
            ..self
        }
    }
}

/// What a run found. `passed + failed + skipped` is the number of rounds; the first failure ends the run.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// The seed of the run.
    pub seed: u64,
    /// Rounds in which every rule held.
    pub passed: u32,
    /// 0 or 1.
    pub failed: u32,
    /// Rounds that were not run because of the failure.
    pub skipped: u32,
    /// Times the broker was killed with -9.
    pub kills: u32,
    /// Times the power of its disk was cut.
    pub cuts: u32,
    /// What the cuts did to writes that had not been synced.
    pub cut_writes: CutWrites,
    /// Acknowledged records of level `written` that the cuts took, as they may.
    pub records_lost: u64,
    /// How long before the end of its broker the oldest of them was acknowledged.
    pub lost_age_max: Duration,
    /// Records sent, acknowledged, and read back (those read again count again).
    pub records_sent: u64,
    /// See `records_sent`.
    pub records_acked: u64,
    /// See `records_sent`.
    pub records_read: u64,
    /// Batches the broker refused for want of room or time.
    pub batches_refused: u64,
    /// What the broker said about its recoveries.
    pub recoveries: Recoveries,
    /// What went wrong, if anything did.
    pub failure: Option<String>,
    /// Where data and logs are, if they were kept.
    pub kept: Option<PathBuf>,
    /// The image of the disk, if there was one and it was kept.
    pub kept_image: Option<PathBuf>,
}

/// Runs all rounds. `say` gets one line for each round, and a few more.
///
/// # Errors
/// The run could not begin. What goes wrong in a round is in the report.
pub fn run(options: &VerifyOptions, say: &mut dyn FnMut(&str)) -> Result<VerifyReport> {
    anyhow::ensure!(!options.shards.is_empty() && !options.shards.contains(&0), "--shards needs numbers from 1 up");
    anyhow::ensure!(options.partitions > 0 && options.producers > 0, "at least one partition and one producer");
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut report = VerifyReport { seed, ..VerifyReport::default() };
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut shards = options.shards.iter().copied().cycle();
    let mut stage: Option<Stage<'_>> = None;
    say(&format!("seed {seed}"));
    for round in 1..=options.rounds {
        let result = (|| -> Result<String> {
            if stage.as_ref().is_some_and(|stage| stage.stored_bytes() > options.stored_bytes_max) {
                stage.take().into_iter().for_each(|done| report.add(&done));
                say("enough is stored; going on in an empty directory");
            }
            let stage = match &mut stage {
                Some(stage) => stage,
                None => stage.insert(Stage::open(options, &runtime, seed, round, shards.next().context("cycle")?)?),
            };
            stage.round(&mut rng, round, shards.next().context("cycle")?)
        })();
        match result {
            Ok(line) => {
                report.passed += 1;
                say(&format!("round {round}/{}: {line}", options.rounds));
            }
            Err(error) => {
                report.failed = 1;
                report.skipped = options.rounds - round;
                report.failure = Some(format!("round {round} of seed {seed}: {error:#}"));
                break;
            }
        }
    }
    if let Some(mut stage) = stage {
        report.add(&stage);
        if options.keep || report.failure.is_some() {
            stage.embedded.kill();
            report.kept = Some(stage.embedded.keep());
            report.kept_image = stage.disk.as_mut().map(Disk::keep);
        }
    }
    Ok(report)
}

impl VerifyReport {
    fn add(&mut self, stage: &Stage<'_>) {
        let Totals { records_sent, records_acked, records_read, batches_refused, .. } = lock(&stage.ledger).totals();
        self.records_sent += records_sent;
        self.records_acked += records_acked;
        self.records_read += records_read;
        self.batches_refused += batches_refused;
        self.kills += stage.kills;
        self.cuts += stage.cuts;
        self.cut_writes.add(&stage.cut_writes);
        self.records_lost += stage.lost.records;
        self.lost_age_max = self.lost_age_max.max(stage.lost.age_max);
        self.recoveries.add(&Recoveries::of_log(&stage.embedded.log()));
    }

    /// The sums, in lines for a person; the last is `N passed, N failed, N skipped`, in rounds.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(failure) = &self.failure {
            lines.push(format!("FAILED: {failure}"));
            lines.push(format!("run the same load again with --seed {}", self.seed));
        }
        if let Some(kept) = &self.kept {
            lines.push(format!("data and log are kept in {}", kept.display()));
        }
        if let Some(image) = &self.kept_image {
            lines.push(format!("the disk is kept: mount -o loop {} DIR", image.display()));
        }
        let found = &self.recoveries;
        lines.push(format!(
            "records: {} sent, {} acked, {} read; batches refused: {}",
            self.records_sent, self.records_acked, self.records_read, self.batches_refused
        ));
        lines.push(format!(
            "kills: {}; recoveries: {}; crashes with a commit in flight: {}; torn tails: {}; journal wraps: {}; commits replayed: {}",
            self.kills, found.count, found.unsealed, found.torn_tails, found.wraps, found.commits
        ));
        if self.cuts > 0 {
            let CutWrites { kept, torn, lost } = self.cut_writes;
            lines.push(format!("power cuts: {}; unsynced writes kept {kept}, torn {torn}, lost {lost}", self.cuts));
            lines.push(format!(
                "acked records of level written that a cut took: {}, at most {} ms after their answer",
                self.records_lost,
                self.lost_age_max.as_millis()
            ));
        }
        lines.push(format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped));
        lines
    }
}

/// One broker with one data directory, over any number of rounds. The broker stands in front of its disk, so that it is
/// gone before the disk goes.
struct Stage<'a> {
    options: &'a VerifyOptions,
    runtime: &'a Runtime,
    seed: u64,
    embedded: Embedded,
    disk: Option<Disk>,
    shards: u16,
    layout: layout::Layout,
    ledger: Arc<Mutex<Ledger>>,
    /// High watermarks after the last pass, by partition.
    ends: Vec<Offset>,
    kills: u32,
    cuts: u32,
    cut_writes: CutWrites,
    lost: Lost,
}

impl<'a> Stage<'a> {
    fn open(options: &'a VerifyOptions, runtime: &'a Runtime, seed: u64, round: u32, shards: u16) -> Result<Stage<'a>> {
        let mut start = EmbeddedOptions::new(&options.binary);
        start.shards = Some(shards);
        start.parent = options.parent.clone();
        start.arguments = vec!["--set".into(), format!("journal.bytes.max={}", options.journal_bytes).into()];
        // The log is read by a program.
        start.environment = vec![("NO_COLOR".into(), "1".into())];
        let parent = options.parent.clone().unwrap_or_else(default_parent);
        std::fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let disk = match &options.vdisk {
            Some(program) => Some(Disk::start(program, &parent, DISK_BYTES, seed.wrapping_add(u64::from(round)))?),
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
    fn within<T>(&self, conversation: impl Future<Output = Result<T>>) -> Result<T> {
        let bounded = async { tokio::time::timeout(CONVERSATION_WAIT, conversation).await };
        self.runtime.block_on(bounded).context("the broker does not answer")?
    }

    fn note_start(&self) -> Result<()> {
        let epochs: Vec<_> = self.layout.partitions.iter().map(|target| target.leader_epoch).collect();
        Ok(lock(&self.ledger).started(&epochs)?)
    }

    /// Bytes that were handed to the broker and may lie in its directory.
    fn stored_bytes(&self) -> u64 {
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
    fn round(&mut self, rng: &mut SmallRng, round: u32, shards_next: u16) -> Result<String> {
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
    fn read_everything(&mut self, loss: Loss) -> Result<Lost> {
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

    /// Cuts the power of the disk and returns when that was.
    fn cut(&mut self, moment: Moment) -> Result<Instant> {
        let disk = self.disk.as_ref().context("only a disk of our own has its power cut")?;
        let (writes, at) = disk.cut(moment)?;
        self.cut_writes.add(&writes);
        self.cuts += 1;
        Ok(at)
    }

    /// Switches the power on again; the broker must be gone.
    fn power_on(&self) -> Result<()> {
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

    /// Loads the broker and ends it. Returns what may be missing afterwards.
    fn load(&mut self, seed: u64, lasting: Duration, ending: &Ending) -> Result<Loss> {
        let load = {
            let _entered = self.runtime.enter();
            Load::start(
                self.ledger.clone(),
                self.layout.clone(),
                (seed, self.seed),
                self.options.producers,
                self.options.round_bytes_max,
                self.ends.clone(),
            )
        };
        let deadline = Instant::now() + lasting;
        while Instant::now() < deadline && !load.has_failed() {
            std::thread::sleep(LOAD_POLL.min(deadline.saturating_duration_since(Instant::now())));
        }
        let died = self.embedded.ended();
        load.ending();
        let mut loss = Loss::None;
        let age_max = layout::FLUSH_INTERVAL + CLOCK_SLACK;
        match ending.end {
            _ if died.is_some() => {}
            End::Stop => self.embedded.stop()?,
            End::Kill => {
                // A cut in the next start may still take what this process had not flushed when it was killed.
                if ending.cut_while_starting.is_some() {
                    loss = Loss::Written { ended_at: Instant::now(), age_max };
                }
                self.kills += 1;
            }
            End::Cut { moment, killed_after } => {
                load.disk_dying();
                loss = Loss::Written { ended_at: self.cut(moment)?, age_max };
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
    fn blame(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.embedded.ended() {
            Some(status) => error.context(format!(
                "the broker ended by itself with {status}; its log ends: {}",
                self.embedded.log_tail()
            )),
            None => error,
        }
    }
}

//! `ouzel bench verify`: loads a broker of its own, kills it with -9 at a random moment, starts it again with another
//! number of shards, and holds everything it stores against a ledger of what was sent and acknowledged, round after round.
//! Owns the broker, its directory and the rounds; the rules stand in `ledger`. Never prints. Runs on the caller's thread,
//! the load on tokio threads of its own.

mod broker_log;
mod content;
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

use crate::embedded::{Embedded, EmbeddedOptions};
pub use broker_log::Recoveries;
use ledger::{Ledger, Totals};
use load::{Load, lock};

/// Load lasts this long before the broker is killed, in milliseconds.
const LOAD_MS: std::ops::RangeInclusive<u64> = 200..=2000;
/// One round in this many ends with a stop in good order instead of a kill.
const STOP_EVERY: u32 = 8;
/// In one round of this many the broker is killed once more while it starts, this soon.
const KILL_WHILE_STARTING_EVERY: u32 = 4;
const KILL_WHILE_STARTING_MS: std::ops::RangeInclusive<u64> = 0..=150;
/// How long finding or reading everything may take.
const CONVERSATION_WAIT: Duration = Duration::from_secs(300);
/// How often a running load is asked whether it has found a fault.
const LOAD_POLL: Duration = Duration::from_millis(20);

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
                None => stage.insert(Stage::open(options, &runtime, seed, shards.next().context("cycle")?)?),
            };
            stage.round(&mut rng, round, shards.next().context("cycle")?, &mut report.kills)
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
        let found = &self.recoveries;
        lines.push(format!(
            "records: {} sent, {} acked, {} read; batches refused: {}",
            self.records_sent, self.records_acked, self.records_read, self.batches_refused
        ));
        lines.push(format!(
            "kills: {}; recoveries: {}; crashes with a commit in flight: {}; torn tails: {}; journal wraps: {}; commits replayed: {}",
            self.kills, found.count, found.unsealed, found.torn_tails, found.wraps, found.commits
        ));
        lines.push(format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped));
        lines
    }
}

/// One broker with one data directory, over any number of rounds.
struct Stage<'a> {
    options: &'a VerifyOptions,
    runtime: &'a Runtime,
    seed: u64,
    embedded: Embedded,
    shards: u16,
    layout: layout::Layout,
    ledger: Arc<Mutex<Ledger>>,
    /// High watermarks after the last pass, by partition.
    ends: Vec<Offset>,
}

impl<'a> Stage<'a> {
    fn open(options: &'a VerifyOptions, runtime: &'a Runtime, seed: u64, shards: u16) -> Result<Stage<'a>> {
        let mut start = EmbeddedOptions::new(&options.binary);
        start.shards = Some(shards);
        start.parent = options.parent.clone();
        start.arguments = vec!["--set".into(), format!("journal.bytes.max={}", options.journal_bytes).into()];
        // The log is read by a program.
        start.environment = vec![("NO_COLOR".into(), "1".into())];
        if let Some(parent) = &options.parent {
            std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let embedded = Embedded::start(start)?;
        let bootstrap = embedded.bootstrap().to_owned();
        let names = layout::partition_names(options.partitions);
        let ends = vec![Offset::ZERO; names.len()];
        let ledger = Arc::new(Mutex::new(Ledger::new(seed, options.producers, names)));
        let layout = runtime.block_on(async {
            layout::create_topics(&bootstrap, options.partitions).await?;
            layout::discover(&bootstrap, options.partitions).await
        })?;
        let stage = Stage { options, runtime, seed, embedded, shards, layout, ledger, ends };
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
    fn round(&mut self, rng: &mut SmallRng, round: u32, shards_next: u16, kills: &mut u32) -> Result<String> {
        let before = lock(&self.ledger).totals();
        let load_ms = rng.random_range(LOAD_MS);
        let is_stop = round.is_multiple_of(STOP_EVERY);
        let kill_while_starting =
            rng.random_ratio(1, KILL_WHILE_STARTING_EVERY).then(|| rng.random_range(KILL_WHILE_STARTING_MS));

        self.load(rng.random(), Duration::from_millis(load_ms), is_stop)?;
        let mut what =
            if is_stop { format!("stopped after {load_ms} ms") } else { format!("killed after {load_ms} ms") };
        *kills += u32::from(!is_stop);
        if let Some(after_ms) = kill_while_starting {
            self.embedded.start_and_kill(Some(shards_next), Duration::from_millis(after_ms))?;
            *kills += 1;
            what += &format!(", killed again {after_ms} ms into the start");
        }
        let started = Instant::now();
        self.embedded.restart(Some(shards_next))?;
        let start_ms = started.elapsed().as_millis();
        let shards = std::mem::replace(&mut self.shards, shards_next);

        let bootstrap = self.embedded.bootstrap().to_owned();
        self.layout = self.within(layout::discover(&bootstrap, self.options.partitions))?;
        self.note_start()?;
        let acked_and_sent = lock(&self.ledger).totals();
        self.ends =
            self.within(layout::check_everything(&self.layout, &self.ledger)).map_err(|error| self.blame(error))?;
        let stored: u64 = self.ends.iter().map(|end| end.0).sum();
        Ok(format!(
            "{shards} -> {shards_next} shards, {what}, ready again in {start_ms} ms; {} records sent, {} acked, {stored} stored, all as they should be",
            acked_and_sent.records_sent - before.records_sent,
            acked_and_sent.records_acked - before.records_acked,
        ))
    }

    fn load(&mut self, seed: u64, lasting: Duration, is_stop: bool) -> Result<()> {
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
        if is_stop && died.is_none() {
            self.embedded.stop()?;
        } else {
            self.embedded.kill();
        }
        let result = self.runtime.block_on(load.join());
        if let Some(status) = died {
            anyhow::bail!("the broker ended by itself with {status}; its log ends: {}", self.embedded.log_tail());
        }
        result
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

//! `ouzel bench verify`: loads a broker of its own, kills it with -9 at a random moment, starts it again with another
//! number of shards, and holds everything it stores against a ledger of what was sent and acknowledged, round after round.
//! With a disk whose power can be cut, most rounds end with that.
//! Owns the broker, its directory and the rounds; the rules stand in `ledger`. Never prints. Runs on the caller's thread,
//! the load on tokio threads of its own.

mod broker_log;
mod content;
mod disk;
mod ending;
mod faults;
mod layout;
mod ledger;
mod load;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::SmallRng;

pub use broker_log::Recoveries;
pub use disk::CutWrites;
use disk::Disk;
use ledger::Totals;
use load::lock;
use stage::Stage;

/// Size of the disk, and limits under which it never gets full.
const DISK_BYTES: u64 = 1024 * 1024 * 1024;
const DISK_ROUND_BYTES_MAX: u64 = 48 * 1024 * 1024;
const DISK_STORED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Size of the disk that is filled, and a load that does not end before it is full and after that.
const FAULTS_DISK_BYTES: u64 = 256 * 1024 * 1024;
const FAULTS_ROUND_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;

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
    /// Size of that disk.
    pub disk_bytes: u64,
    /// Rounds are scenarios in turn, in which the disk fails while the broker lives, instead of kills and cuts.
    pub faults: bool,
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
            disk_bytes: DISK_BYTES,
            faults: false,
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

    /// As [`VerifyOptions::with_vdisk`], with a small disk that fails and gets full instead of losing its power.
    pub fn with_faults(self, program: PathBuf) -> VerifyOptions {
        VerifyOptions {
            vdisk: Some(program),
            disk_bytes: FAULTS_DISK_BYTES,
            round_bytes_max: FAULTS_ROUND_BYTES_MAX,
            faults: true,
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
    /// Batches the broker refused: for want of room or time, or because its disk failed.
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
            if options.faults {
                // A broker that met one fault is no test of the next.
                stage.take().into_iter().for_each(|done| report.add(&done));
            }
            if stage.as_ref().is_some_and(|stage| stage.stored_bytes() > options.stored_bytes_max) {
                stage.take().into_iter().for_each(|done| report.add(&done));
                say("enough is stored; going on in an empty directory");
            }
            let stage = match &mut stage {
                Some(stage) => stage,
                None => stage.insert(Stage::open(options, &runtime, seed, round, shards.next().context("cycle")?)?),
            };
            if options.faults {
                return faults::scenario(stage, round, &mut rng);
            }
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

//! `ouzel-sim`: power cuts, kills and restarts on a simulated disk, from a seed. Owns the command line and the printing;
//! the rounds are in `round.rs`, the promises in `ledger.rs`. One thread.
#![forbid(unsafe_code)]

mod full_disk;
mod io_errors;
mod ledger;
mod load;
mod mutations;
mod node;
mod payload;
mod plan;
mod recorded;
mod report;
mod round;
mod steps;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::io_errors::Failure;
use crate::report::{Summary, Totals};

#[derive(Parser)]
#[command(
    name = "ouzel-sim",
    about = "Deterministic simulator of ouzel's storage: power cuts, kills, restarts",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Random loads on a disk that drops, tears and reorders what was not synced; everything promised is checked.
    PowerCut(PowerCut),
    /// The Nth write, sync, read or allocation of a recorded run fails, for N = 1, 2, 3, ...
    IoErrors(IoErrors),
    /// The disk has no space left from the Nth operation on that needs some, for N = 1, 2, 3, ...
    FullDisk(Nth),
}

#[derive(Args, Clone)]
struct Nth {
    /// Seed of the recorded run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// This operation alone.
    #[arg(long, value_name = "N")]
    only: Option<u64>,
    /// Every so many operations.
    #[arg(long, default_value_t = 1)]
    stride: u64,
}

#[derive(Args, Clone)]
struct IoErrors {
    /// What fails; every kind in turn by default.
    #[arg(long, value_enum)]
    kind: Option<Failure>,
    #[command(flatten)]
    nth: Nth,
}

#[derive(Args, Clone)]
pub(crate) struct PowerCut {
    /// Rounds to play; round i has seed SEED + i.
    #[arg(long, default_value_t = 20)]
    pub(crate) rounds: u64,
    /// Seed of the first round. Another seed explores other schedules.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Break one rule on purpose (a build with RUSTFLAGS="--cfg ouzel_mutations").
    #[arg(long, value_name = "NAME", conflicts_with = "mutations")]
    pub(crate) mutation: Option<String>,
    /// Break each rule in turn; passes only if every fault is caught and the unbroken code passes.
    #[arg(long)]
    pub(crate) mutations: bool,
    /// Cut the power at every step of one recorded run instead of at random events of many.
    #[arg(long, conflicts_with_all = ["mutation", "mutations", "rounds"])]
    pub(crate) steps: bool,
    /// With --steps: every so many steps.
    #[arg(long, default_value_t = 1, requires = "steps")]
    pub(crate) stride: u64,
    /// With --steps: this step alone.
    #[arg(long, value_name = "N", requires = "steps")]
    pub(crate) only: Option<u64>,
    /// Tell the story of each round, event by event.
    #[arg(long, conflicts_with = "json")]
    pub(crate) verbose: bool,
    /// Print nothing but the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::PowerCut(args) if args.mutations => mutations::run_all(&args),
        Command::PowerCut(args) if args.steps => power_cut_steps(&args),
        Command::PowerCut(args) => power_cut(&args),
        Command::IoErrors(args) => Ok(io_errors(&args)),
        Command::FullDisk(args) => Ok(full_disk(&args)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ouzel-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Cuts the power at each step of one run; false when a promise was broken.
fn power_cut_steps(args: &PowerCut) -> anyhow::Result<bool> {
    let steps = steps::Steps {
        seed: args.seed,
        first: args.only.unwrap_or(1),
        stride: args.stride,
        last: args.only.unwrap_or(u64::MAX),
    };
    let mut totals = Totals::default();
    match steps::play(steps, |report| totals.add(report)) {
        Ok(_) => {
            totals.print(args);
            Ok(true)
        }
        Err(what) => {
            println!("FAILED: {what}");
            println!("{}", totals.line("fail", args.seed, Some(&what)));
            Ok(false)
        }
    }
}

/// Fails one operation after another; false when a promise was broken.
fn io_errors(args: &IoErrors) -> bool {
    let kinds = args.kind.map_or(Failure::ALL.to_vec(), |kind| vec![kind]);
    let (first, last) = (args.nth.only.unwrap_or(1), args.nth.only.unwrap_or(u64::MAX));
    for kind in kinds {
        match io_errors::play(kind, args.nth.seed, first, args.nth.stride, last) {
            Ok(tally) => println!(
                "{kind:?}: {} operations failed, each alone; {} starts refused, {} logs poisoned; every promise held",
                tally.failed, tally.refused, tally.poisoned
            ),
            Err(what) => {
                println!("FAILED: {what}");
                return false;
            }
        }
    }
    true
}

/// Fills the disk at one operation after another; false when a promise was broken.
fn full_disk(args: &Nth) -> bool {
    let (first, last) = (args.only.unwrap_or(1), args.only.unwrap_or(u64::MAX));
    match full_disk::play(args.seed, first, args.stride, last) {
        Ok(played) => println!("the disk got full at {played} operations, each alone; every promise held"),
        Err(what) => {
            println!("FAILED: {what}");
            return false;
        }
    }
    true
}

/// Plays the rounds; false when a promise was broken.
fn power_cut(args: &PowerCut) -> anyhow::Result<bool> {
    if let Some(name) = &args.mutation {
        mutations::select(name)?;
    }
    let mut totals = Totals::default();
    for index in 0..args.rounds {
        let seed = args.seed.wrapping_add(index);
        let summary = Summary { args: args.clone(), seed, rounds: index + 1 };
        summary.on_panic();
        let played = round::play(seed, args.verbose);
        drop(std::panic::take_hook());
        match played {
            Ok(report) => totals.add(&report),
            Err(what) => {
                summary.print_failure(&totals, &what);
                return Ok(false);
            }
        }
        if !args.json && (index + 1) % 100 == 0 {
            println!("{} rounds", index + 1);
        }
    }
    totals.print(args);
    Ok(true)
}

//! `ouzel-sim`: power cuts, kills and restarts on a simulated disk, from a seed. Owns the command line and the printing;
//! the rounds are in `round.rs`, the promises in `ledger.rs`. One thread.
#![forbid(unsafe_code)]

mod ledger;
mod load;
mod mutations;
mod node;
mod payload;
mod plan;
mod report;
mod round;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

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
    /// Tell the story of each round, event by event.
    #[arg(long, conflicts_with = "json")]
    pub(crate) verbose: bool,
    /// Print nothing but the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

fn main() -> ExitCode {
    let Command::PowerCut(args) = Cli::parse().command;
    let result = if args.mutations { mutations::run_all(&args) } else { power_cut(&args) };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ouzel-sim: {error:#}");
            ExitCode::from(2)
        }
    }
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

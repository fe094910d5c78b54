//! The `ouzel` binary: reads the command line and hands it to one module each. Owns the allocator, the log and the exit
//! code; never holds logic that a library could. Runs on the process's main thread.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod bench_args;
mod cluster;
mod completions;
mod config;
mod connect;
mod consume;
mod doctor;
mod group;
mod group_args;
mod inspect;
mod lines;
mod logging;
mod man;
mod notify;
mod output;
mod printable;
mod produce;
mod refusal;
mod serve;
mod settings;
mod top;
mod topic;
mod units;
mod watchdog;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

/// Many threads allocate and free batches of each other: mimalloc's per-thread heaps keep that off one lock.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refusal::report_usage(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refusal::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let is_server = matches!(cli.command, Command::Serve(_));
    logging::install(cli.global.log_level.as_deref(), is_server)?;
    match cli.command {
        Command::Serve(args) => serve::run(&args, cli.global.json),
        Command::Topic(command) => topic::run(command, &cli.global),
        Command::Produce(args) => produce::run(args, &cli.global),
        Command::Consume(args) => consume::run(args, &cli.global),
        Command::Group(command) => group::run(command, &cli.global),
        Command::Cluster(command) => cluster::run(&command, &cli.global),
        Command::Top(args) => top::run(&args, cli.global.json),
        Command::Bench(command) => bench::run(command, &cli.global),
        Command::Inspect(args) => inspect::run(&args, cli.global.json),
        Command::Config(args) => settings::run(&args, cli.global.json),
        Command::Doctor(args) => doctor::run(&args, cli.global.json),
        Command::Completions(args) => completions::run(&args, cli.global.json),
        Command::Man(args) => man::run(&args, cli.global.json),
    }
}

//! `ouzel bench`: turns flags into a run of the load generator, shows how it goes, and prints what it found. Owns the
//! progress line and the tables; measures nothing itself. The run has the process's main thread; the progress line and
//! Ctrl-C have one each.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ouzel_bench::consume::ConsumeOptions;
use ouzel_bench::e2e::EndToEndOptions;
use ouzel_bench::embedded::EmbeddedOptions;
use ouzel_bench::hold::{HoldKind, HoldOptions, HoldReport};
use ouzel_bench::load::Limits;
use ouzel_bench::meter::WrapLimits;
use ouzel_bench::produce::ProduceOptions;
use ouzel_bench::progress::{Phase, Progress};
use ouzel_bench::report::{Report, grouped};
use ouzel_bench::session::LoadOptions;
use ouzel_bench::skew::Skew;
use ouzel_bench::topic::TopicOptions;
use ouzel_bench::verify::{VerifyOptions, VerifyReport};
use ouzel_protocol::Durability;
use serde_json::json;

use crate::args::{AcksArg, GlobalArgs};
use crate::bench_args::{
    BenchCommand, BenchCommonArgs, BenchHoldArgs, BenchVerifyArgs, DialectArg, DurabilityArg, HoldKindArg, SkewArg,
};
use crate::output::{print_json, print_line, table};

/// How often the progress line is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Seconds a run takes if nothing says when it ends.
const SECONDS_DEFAULT: f64 = 10.0;
/// Exit code after a second Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs one bench and prints its report.
pub(crate) fn run(command: BenchCommand, global: &GlobalArgs) -> Result<()> {
    let progress = Arc::new(Progress::default());
    let report = match command {
        BenchCommand::Verify(args) => return verify(&args, global.json),
        BenchCommand::Hold(args) => return hold(&args, global),
        BenchCommand::Produce(args) => {
            let mut load = load_options(&args.common, global, args.wraps.is_none())?;
            load.batches_per_request = args.batches_per_request as usize;
            load.skew = match args.skew {
                SkewArg::Uniform => Skew::Uniform,
                SkewArg::Zipf => Skew::Zipf,
            };
            load.limits.wraps = args.wraps.map(|measured| WrapLimits {
                warmup: args.warmup_wraps,
                measured,
                seconds_max: args.wrap_seconds_max,
            });
            let acks = match args.acks {
                AcksArg::All => -1,
                AcksArg::Leader => 1,
                AcksArg::None => 0,
            };
            let options = ProduceOptions { load, rate: args.rate, acks };
            watched(&progress, options.load.limits, || ouzel_bench::produce::run(&options, &progress))
        }
        BenchCommand::Consume(args) => {
            let load = load_options(&args.common, global, false)?;
            let fetch_bytes =
                u32::try_from(args.fetch_bytes).context("--fetch-bytes is more than a fetch can ask for")?;
            let options = ConsumeOptions { load, fetch_bytes, check: args.check, cold: args.cold };
            watched(&progress, options.load.limits, || ouzel_bench::consume::run(&options, &progress))
        }
        BenchCommand::EndToEnd(args) => {
            let load = load_options(&args.common, global, true)?;
            let options = EndToEndOptions { load, rate: args.rate };
            watched(&progress, options.load.limits, || ouzel_bench::e2e::run(&options, &progress))
        }
    }?;
    print_report(&report, global.json)?;
    if report.errors > 0 {
        let first = report.first_error.unwrap_or_default();
        bail!("{} errors, the first: {first}", grouped(report.errors));
    }
    Ok(())
}

fn print_report(report: &Report, json: bool) -> Result<()> {
    if json {
        return print_json(report);
    }
    let rows = report.rows().into_iter().map(|(name, value)| vec![name, value]);
    print_line(&table(&[&format!("bench {}", report.bench), ""], &[], rows))
}

fn load_options(args: &BenchCommonArgs, global: &GlobalArgs, is_timed: bool) -> Result<LoadOptions> {
    let embedded = if args.embedded {
        let mut options = EmbeddedOptions::new(own_binary()?);
        options.shards = args.shards;
        options.parent = args.dir.clone();
        options.cpu = args.broker_cpu;
        for (key, value) in &args.set {
            options.arguments.extend(["--set".into(), format!("{key}={value}").into()]);
        }
        Some(options)
    } else {
        None
    };
    if args.in_flight == 0 {
        bail!("--in-flight must be at least 1: nothing would ever be sent");
    }
    let seconds = match (args.seconds, args.records) {
        (None, None) if is_timed => Some(SECONDS_DEFAULT),
        (seconds, _) => seconds,
    };
    Ok(LoadOptions {
        bootstrap: global.bootstrap.clone(),
        embedded,
        broker_pid: args.broker_pid,
        topic: TopicOptions {
            name: args.topic.clone(),
            partitions: args.partitions,
            durability: args.durability.map(|durability| match durability {
                DurabilityArg::Disk => Durability::Disk,
                DurabilityArg::Written => Durability::Written,
            }),
        },
        idempotence: !args.no_idempotence,
        record_bytes: args.record_bytes,
        batch_bytes: args.batch_bytes,
        codec: args.compression.codec(),
        dialect: match args.dialect {
            DialectArg::Native => ouzel_protocol::Dialect::Native,
            DialectArg::Kafka => ouzel_protocol::Dialect::Kafka2,
        },
        connections: args.connections,
        in_flight: args.in_flight,
        batches_per_request: 1,
        skew: Skew::Uniform,
        cpu: args.cpu,
        limits: Limits { records: args.records, seconds, warmup: args.warmup, wraps: None },
    })
}

/// The binary that is running: an embedded broker is the same version.
fn own_binary() -> Result<PathBuf> {
    std::env::current_exe().context("cannot find the binary to start a broker with")
}

/// Runs `main` with a progress line on stderr where that is a terminal; the first Ctrl-C asks it to end early.
fn watched(progress: &Arc<Progress>, limits: Limits, main: impl FnOnce() -> Result<Report>) -> Result<Report> {
    cancel_on_interrupt(progress.clone())?;
    let line = ProgressLine::start(progress.clone(), limits)?;
    let result = main();
    line.end();
    result
}

fn cancel_on_interrupt(progress: Arc<Progress>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("interrupt".to_string()).spawn(move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                progress.cancel();
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(EXIT_INTERRUPTED);
            }
        });
    })?;
    Ok(())
}

/// Draws the progress of a run until it is told to end.
struct ProgressLine {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl ProgressLine {
    fn start(progress: Arc<Progress>, limits: Limits) -> Result<ProgressLine> {
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("progress".to_string()).spawn({
            let is_over = is_over.clone();
            move || draw(&progress, limits, &is_over)
        })?;
        Ok(ProgressLine { is_over, thread })
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // A progress line that failed to be drawn takes nothing away from the report.
        let _ = self.thread.join();
    }
}

fn draw(progress: &Progress, limits: Limits, is_over: &AtomicBool) {
    // Hides itself where stderr is not a terminal.
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("a constant template"));
    let (mut last, mut last_at) = (progress.snapshot(), Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        std::thread::park_timeout(DRAW_EVERY);
        let (now, now_at) = (progress.snapshot(), Instant::now());
        let seconds = now_at.duration_since(last_at).as_secs_f64();
        if now.phase == Phase::Starting || now.phase != last.phase {
            bar.set_message(now.phase.word());
        } else if seconds > 0.0 {
            let records_per_s = now.records.saturating_sub(last.records) as f64 / seconds;
            let mb_per_s = now.bytes.saturating_sub(last.bytes) as f64 / seconds / 1e6;
            let done = match limits.records {
                Some(records) => format!("{} of {} records", grouped(now.records), grouped(records)),
                None => format!("{} records", grouped(now.records)),
            };
            let errors = if now.errors > 0 { format!(", {} errors", grouped(now.errors)) } else { String::new() };
            bar.set_message(format!(
                "{}: {done}, {} records/s, {mb_per_s:.1} MB/s{errors}",
                now.phase.word(),
                grouped(records_per_s as u64)
            ));
        }
        bar.tick();
        (last, last_at) = (now, now_at);
    }
    bar.finish_and_clear();
}

fn hold(args: &BenchHoldArgs, global: &GlobalArgs) -> Result<()> {
    let kind = match args.kind {
        HoldKindArg::Idle => HoldKind::Idle,
        HoldKindArg::Silent => HoldKind::Silent,
        HoldKindArg::LongPoll => HoldKind::LongPoll,
        HoldKindArg::HeaderOnly => HoldKind::HeaderOnly,
        HoldKindArg::ByteASecond => HoldKind::ByteASecond,
        HoldKindArg::SlowReader => HoldKind::SlowReader,
    };
    let load = load_options(&args.common, global, true)?;
    let report = ouzel_bench::hold::run(&HoldOptions { load, kind, frame_bytes: args.frame_bytes })?;
    if global.json {
        return print_json(&report);
    }
    print_line(&table(&["bench hold", ""], &[], hold_rows(&report)))
}

fn hold_rows(report: &HoldReport) -> Vec<Vec<String>> {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64);
    [
        ("connections opened", format!("{} of {}", grouped(report.opened as u64), grouped(report.connections as u64))),
        ("ended by the broker", grouped(report.ended as u64)),
        ("seconds", format!("{:.1}", report.seconds)),
        ("broker memory before", mib(report.broker_rss_bytes_before)),
        ("broker memory added", mib(report.broker_rss_bytes_added)),
        ("broker memory at most", mib(report.broker_rss_bytes_max)),
        ("broker CPU", format!("{:.2} % of a core", report.broker_cpu_percent)),
        ("honest produces", format!("{} acknowledged, {} refused", report.probes, report.probe_errors)),
        ("slowest of them", format!("{:.1} ms", report.probe_ms_max)),
    ]
    .map(|(name, value)| vec![name.to_owned(), value])
    .into()
}

fn verify(args: &BenchVerifyArgs, json: bool) -> Result<()> {
    let mut options = VerifyOptions::new(own_binary()?);
    options.rounds = args.rounds;
    options.shards = args.shards.clone();
    options.seed = args.seed;
    options.parent = args.data_dir.clone();
    options.keep = args.keep;
    if let Some(program) = &args.vdisk {
        let program = program.clone();
        options = if args.faults { options.with_faults(program) } else { options.with_vdisk(program) };
    }
    let report = ouzel_bench::verify::run(&options, &mut |line| {
        // Rounds take seconds: their lines are shown as they come, beside the one object where that is asked for.
        if json { eprintln!("{line}") } else { println!("{line}") }
    })?;
    if json {
        print_json(&verify_json(&report))?;
    } else {
        print_line(&report.lines().join("\n"))?;
    }
    match report.failure {
        Some(failure) => bail!("{failure}"),
        None => Ok(()),
    }
}

fn verify_json(report: &VerifyReport) -> serde_json::Value {
    json!({
        "seed": report.seed,
        "passed": report.passed,
        "failed": report.failed,
        "skipped": report.skipped,
        "kills": report.kills,
        "power_cuts": report.cuts,
        "unsynced_writes_kept": report.cut_writes.kept,
        "unsynced_writes_torn": report.cut_writes.torn,
        "unsynced_writes_lost": report.cut_writes.lost,
        "records_written_lost": report.records_lost,
        "records_written_lost_age_ms_max": report.lost_age_max.as_millis() as u64,
        "records_sent": report.records_sent,
        "records_acked": report.records_acked,
        "records_read": report.records_read,
        "batches_refused": report.batches_refused,
        "recoveries": report.recoveries.count,
        "crashes_with_a_commit_in_flight": report.recoveries.unsealed,
        "torn_tails": report.recoveries.torn_tails,
        "journal_wraps": report.recoveries.wraps,
        "failure": report.failure,
        "kept": report.kept,
    })
}

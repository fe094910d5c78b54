//! The command line of `ouzel bench`: its loads, their flags and defaults. Owns the words; never does what they ask for.
//! Runs on the CLI's main thread before anything else.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::{AcksArg, CompressionArg, parse_pair};
use crate::units::parse_size;

/// `ouzel bench ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Send batches as fast as asked, measure until they are acknowledged
    #[command(after_help = "Examples:\n  ouzel bench produce --embedded --seconds 5\n  \
                            ouzel bench produce --embedded --durability disk --partitions 1024 --seconds 5 --json\n  \
                            ouzel bench produce --embedded --shards 1 --wraps 2 --broker-cpu 0 --cpu 1\n  \
                            ouzel bench produce --rate 100000 --seconds 30")]
    Produce(BenchProduceArgs),
    /// Read a topic from its start, measure each fetch
    #[command(after_help = "Examples:\n  ouzel bench consume --embedded --records 1000000\n  \
                            ouzel bench consume --embedded --records 60000 --seconds 10   round and round\n  \
                            ouzel bench consume --topic orders")]
    Consume(BenchConsumeArgs),
    /// Produce and consume at once; latency from intended send to receipt; every record exactly once and in order
    #[command(name = "e2e")]
    #[command(after_help = "Examples:\n  \
                            ouzel bench e2e --embedded --records 1000000 --record-bytes 1024 --partitions 16\n  \
                            ouzel bench e2e --embedded --rate 50000 --seconds 30")]
    EndToEnd(BenchEndToEndArgs),
    /// Hold connections that stay idle, stop within a frame, or read a byte a second; report what they cost the broker
    #[command(after_help = "Examples:\n  ouzel bench hold --embedded --kind idle --connections 10000 --seconds 10\n  \
                            ouzel bench hold --embedded --kind header-only --connections 1000 --json")]
    Hold(BenchHoldArgs),
    /// Kill a loaded broker with -9, round after round, and hold what it stores against what was acknowledged
    #[command(
        after_help = "Starts its own brokers. The last line is `N passed, N failed, N skipped`, in rounds.\n\nExamples:\n  \
                            ouzel bench verify --rounds 20\n  \
                            ouzel bench verify --rounds 5 --shards 4,1,3 --seed 7\n  \
                            ouzel bench verify --rounds 10 --vdisk target/release/ouzel-vdisk    (as root: power cuts)"
    )]
    Verify(BenchVerifyArgs),
}

/// `ouzel bench verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchVerifyArgs {
    /// Rounds: load, kill, start again, read everything
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Shard counts of consecutive starts, round and round
    #[arg(long, value_name = "LIST", default_value = "4,1,3", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) shards: Vec<u16>,
    /// Seed of an earlier run: the load and the moments of the kills follow from it
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Directory in which the run makes its own
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The ouzel-vdisk program: put the data on its disk and cut the power; needs root
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) vdisk: Option<PathBuf>,
    /// Let that disk fail a flush, and get full, instead of cutting its power: one scenario a round, in turn
    #[arg(long, requires = "vdisk")]
    pub(crate) faults: bool,
    /// Keep the data and the logs of a run that passed as well
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Flags all loads share.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchCommonArgs {
    /// Start a broker for the run, in a temporary directory and on free ports
    #[arg(long)]
    pub(crate) embedded: bool,
    /// Shards of the embedded broker [default: the broker's]
    #[arg(long, value_name = "N", requires = "embedded", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) shards: Option<u16>,
    /// Directory in which the embedded broker gets its own one
    #[arg(long, value_name = "DIR", requires = "embedded")]
    pub(crate) dir: Option<PathBuf>,
    /// Setting of the embedded broker, may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "embedded", value_parser = parse_pair)]
    pub(crate) set: Vec<(String, String)>,
    /// Process whose CPU and memory to report, where the broker runs here but was not started by --embedded
    #[arg(long, value_name = "PID", conflicts_with = "embedded")]
    pub(crate) broker_pid: Option<u32>,
    /// Topic to use [default: a new one that is deleted afterwards]
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// Partitions of a new topic
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: u32,
    /// Durability level of the topic
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) durability: Option<DurabilityArg>,
    /// Bytes of each record's value
    #[arg(long, value_name = "BYTES", default_value = "1024", value_parser = parse_size)]
    pub(crate) record_bytes: usize,
    /// Bytes of values in one batch
    #[arg(long, value_name = "BYTES", default_value = "16KiB", value_parser = parse_size)]
    pub(crate) batch_bytes: usize,
    /// Codec of the batches
    #[arg(long, value_enum, default_value_t, value_name = "CODEC")]
    pub(crate) compression: CompressionArg,
    /// Dialect of the batches
    #[arg(long, value_enum, default_value = "native", value_name = "DIALECT")]
    pub(crate) dialect: DialectArg,
    /// Connections of the generator in all [default: enough for --in-flight, at least one a shard]
    #[arg(long, value_name = "N")]
    pub(crate) connections: Option<usize>,
    /// Requests outstanding at most, in all, whatever the number of partitions
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) in_flight: usize,
    /// Core the generator is kept on
    #[arg(long, value_name = "CORE")]
    pub(crate) cpu: Option<usize>,
    /// Core the embedded broker is kept on
    #[arg(long, value_name = "CORE", requires = "embedded")]
    pub(crate) broker_cpu: Option<usize>,
    /// Send batches of no idempotent producer
    #[arg(long)]
    pub(crate) no_idempotence: bool,
    /// Records to send or read [default: none, --seconds decides]; with --seconds, consume writes so many first where there
    /// are none, and reads them again and again
    #[arg(long, value_name = "N")]
    pub(crate) records: Option<u64>,
    /// Seconds to measure [default: 10, without --records]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub(crate) seconds: Option<f64>,
    /// Seconds of load before measuring starts
    #[arg(long, value_name = "S", default_value = "0", value_parser = parse_seconds)]
    pub(crate) warmup: f64,
}

/// Dialect of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectArg {
    /// ouzel's columnar one (magic 79)
    Native,
    /// Kafka's (magic 2)
    Kafka,
}

/// How batches spread over partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SkewArg {
    /// One after the other
    Uniform,
    /// Partition n gets 1/(n + 1) of what partition 0 gets
    Zipf,
}

/// `ouzel bench produce`.
#[derive(Debug, Args)]
pub(crate) struct BenchProduceArgs {
    #[command(flatten)]
    pub(crate) common: BenchCommonArgs,
    /// Records a second to offer, whether replies come or not; latency counts from the intended send [default: as many as replies allow]
    #[arg(long, value_name = "RECORDS", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
    /// Batches of one request, each for the partition that comes next
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batches_per_request: u32,
    /// How batches spread over the partitions
    #[arg(long, value_enum, value_name = "SKEW", default_value = "uniform")]
    pub(crate) skew: SkewArg,
    /// Measure over this many rounds of the journal instead of --seconds
    #[arg(long, value_name = "ROUNDS", value_parser = parse_seconds, conflicts_with_all = ["seconds", "warmup", "records"])]
    pub(crate) wraps: Option<f64>,
    /// Rounds of the journal before measuring starts
    #[arg(long, value_name = "ROUNDS", default_value = "3", value_parser = parse_seconds, requires = "wraps")]
    pub(crate) warmup_wraps: f64,
    /// Most seconds that warming up and measuring take each, however far the journal came
    #[arg(long, value_name = "S", default_value = "120", value_parser = parse_seconds, requires = "wraps")]
    pub(crate) wrap_seconds_max: f64,
    /// Which acknowledgement to wait for
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) acks: AcksArg,
}

/// `ouzel bench consume`.
#[derive(Debug, Args)]
pub(crate) struct BenchConsumeArgs {
    #[command(flatten)]
    pub(crate) common: BenchCommonArgs,
    /// Most bytes one fetch asks for
    #[arg(long, value_name = "BYTES", default_value = "1MiB", value_parser = parse_size)]
    pub(crate) fetch_bytes: usize,
    /// Check the CRC of every batch
    #[arg(long)]
    pub(crate) check: bool,
    /// Restart the embedded broker before reading, so that everything comes from disk
    #[arg(long, requires = "embedded")]
    pub(crate) cold: bool,
}

/// `ouzel bench e2e`.
#[derive(Debug, Args)]
pub(crate) struct BenchEndToEndArgs {
    #[command(flatten)]
    pub(crate) common: BenchCommonArgs,
    /// Records a second to offer; latency counts from the intended send [default: as many as replies allow]
    #[arg(long, value_name = "RECORDS", value_parser = parse_rate)]
    pub(crate) rate: Option<f64>,
}

/// `ouzel bench hold`.
#[derive(Debug, Args)]
pub(crate) struct BenchHoldArgs {
    #[command(flatten)]
    pub(crate) common: BenchCommonArgs,
    /// What the connections do
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    pub(crate) kind: HoldKindArg,
    /// Bytes of the frames that are begun and not finished
    #[arg(long, value_name = "BYTES", default_value = "8MiB", value_parser = parse_size)]
    pub(crate) frame_bytes: usize,
}

/// What held connections do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum HoldKindArg {
    /// Say hello and nothing more
    #[default]
    Idle,
    /// Connect and say nothing at all
    Silent,
    /// Park a fetch at the end of a partition
    LongPoll,
    /// Send the header of a large frame and stop
    HeaderOnly,
    /// Send a large frame, a byte a second
    ByteASecond,
    /// Ask for everything and read it a byte a second
    SlowReader,
}

/// Durability level of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Acknowledged when on disk: survives power loss
    Disk,
    /// Acknowledged when written: survives kill -9
    Written,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    if seconds.is_finite() && (0.0..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(format!("`{text}` seconds are not between 0 and a day"))
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of records a second"))?;
    if rate.is_finite() && rate > 0.0 {
        Ok(rate)
    } else {
        Err(format!("`{text}` must be more than 0 records a second"))
    }
}

//! The command line: every subcommand, flag, default and example. Owns the words; never does what they ask for. Runs
//! on the CLI's main thread before anything else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench_args::BenchCommand;
use crate::group_args::GroupCommand;
use crate::units::parse_timestamp_ms;

const EXAMPLES: &str = "\
Examples:
  ouzel serve --data-dir ./ouzel-data                     start a broker
  ouzel topic create orders --partitions 6                create a topic
  seq 1 1000 | ouzel produce orders                       a record for each line
  ouzel consume orders --from earliest --count 1000       a line for each record
  ouzel group describe billing                            who reads what, and how far behind
  ouzel top                                               what the broker does, live
  ouzel bench e2e --embedded --records 1000000            measure, on a broker of its own
  ouzel inspect --verify ./ouzel-data                     read a data directory offline
  ouzel doctor --data-dir ./ouzel-data                    what this host can really give
  ouzel config --explain                                  every setting, and why its default is what it is

Every command takes --json; what goes on, like `consume`, prints an object a line. Exit code 0 means that all that was asked for happened.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "ouzel",
    version,
    about = "A Kafka-compatible event-streaming broker: durable on every acknowledgement"
)]
#[command(after_help = EXAMPLES, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

/// Flags that stand after any subcommand.
#[derive(Clone, Debug, Args)]
pub(crate) struct GlobalArgs {
    /// Brokers to ask first, host:port, more than one separated by commas
    #[arg(long, global = true, env = "OUZEL_BOOTSTRAP", default_value = "127.0.0.1:9192", value_name = "HOST:PORT")]
    pub(crate) bootstrap: String,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to log on stderr: error, warn, info, debug, trace, or per module like `info,ouzel_storage=debug`
    #[arg(long, global = true, env = "OUZEL_LOG", value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker
    Serve(ServeArgs),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand, after_help = "Examples:\n  ouzel topic create orders --partitions 6\n  ouzel topic list")]
    Topic(TopicCommand),
    /// List, describe, reset and delete groups of consumers
    #[command(subcommand, after_help = "Examples:\n  ouzel group list\n  ouzel group describe billing")]
    Group(GroupCommand),
    /// Show how the nodes and their shards are
    #[command(subcommand, after_help = "Example:\n  ouzel cluster status")]
    Cluster(ClusterCommand),
    /// Watch shards, topics, groups and connections, live
    Top(TopArgs),
    /// Send lines from stdin, one record each
    Produce(ProduceArgs),
    /// Print records, one line each
    Consume(ConsumeArgs),
    /// Measure and verify a broker
    #[command(
        subcommand,
        after_help = "Examples:\n  ouzel bench produce --embedded --seconds 5\n  ouzel bench verify --rounds 5"
    )]
    Bench(BenchCommand),
    /// Read a data directory or one of its files offline, and check it
    Inspect(InspectArgs),
    /// Print the configuration that `serve` would run with
    Config(ConfigArgs),
    /// Look at this host: what a broker can really give here, and what changes what is wanting
    Doctor(DoctorArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Write the man pages
    Man(ManArgs),
}

/// `ouzel serve`.
#[derive(Clone, Debug, Default, Args)]
#[command(after_help = "\
Precedence: flags, then OUZEL_* variables (OUZEL_DATA_DIR, OUZEL_MEMORY_BYTES_MAX, ...), then the file, then defaults.
`ouzel config --explain` lists every key. Port 0 picks a free port.

Examples:
  ouzel serve --data-dir /var/lib/ouzel --shards 4
  ouzel serve --native 0.0.0.0:9192 --set journal.bytes.max=1GiB
  ouzel serve --config /etc/ouzel/ouzel.toml
  ouzel doctor --data-dir /var/lib/ouzel                  before the first start")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Stop when stdin is closed: for programs that start a broker and must not leave it behind
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

/// The settings of a broker, as flags.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SettingArgs {
    /// Where the broker keeps its data [default: ./ouzel-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the Kafka listener [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,
    /// Address of the native listener [default: 127.0.0.1:9192]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) native: Option<String>,
    /// Address of the admin listener [default: 127.0.0.1:9191]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin: Option<String>,
    /// Number of shards, one thread and one core each [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Who runs the tasks of a shard: own, or glommio where it is built in [default: own]
    #[arg(long, value_name = "NAME")]
    pub(crate) executor: Option<String>,
    /// TOML file with settings
    #[arg(long, env = "OUZEL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Any other setting by its key
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) set: Vec<(String, String)>,
}

/// `ouzel topic ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// List all topics
    #[command(after_help = "Example:\n  ouzel topic list --json")]
    List,
    /// Create a topic
    #[command(after_help = "Examples:\n  ouzel topic create orders --partitions 6\n  \
                            ouzel topic create clicks --config ouzel.durability=written")]
    Create(TopicCreateArgs),
    /// Show partitions, shards, offsets, bytes and configuration of a topic
    #[command(after_help = "Example:\n  ouzel topic describe orders --json")]
    Describe(TopicNameArgs),
    /// Add partitions or change the configuration of a topic
    #[command(after_help = "Examples:\n  ouzel topic alter orders --partitions 12\n  \
                            ouzel topic alter orders --config ouzel.durability=written\n  \
                            ouzel topic alter orders --config ouzel.durability=      back to the default")]
    Alter(TopicAlterArgs),
    /// Delete a topic and all its records
    #[command(after_help = "Example:\n  ouzel topic delete orders")]
    Delete(TopicNameArgs),
}

/// `ouzel cluster ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show state, bytes, flushes, memory and requests of each shard since its start
    #[command(after_help = "Examples:\n  ouzel cluster status\n  ouzel cluster status --json")]
    Status,
}

/// `ouzel top`.
#[derive(Debug, Args)]
#[command(after_help = "\
Keys: 1-4 or Tab choose a list, arrows and PgUp/PgDn move, s sorts by the next column, / filters, p pauses, ? explains, q quits.
Where stdout is no terminal, or with --json, it prints once and ends. NO_COLOR turns colours off.

Examples:
  ouzel top
  ouzel top --admin 10.0.0.7:9191 --interval-ms 5000
  ouzel top --once --json | jq .produce_p99_ms")]
pub(crate) struct TopArgs {
    /// Admin port of the broker, host:port
    #[arg(long, env = "OUZEL_ADMIN", default_value = "127.0.0.1:9191", value_name = "HOST:PORT")]
    pub(crate) admin: String,
    /// Time between two samples; rates are of this time
    #[arg(long, default_value_t = 1_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) interval_ms: u64,
    /// Take two samples, print everything as text, and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// The name of a topic.
#[derive(Debug, Args)]
pub(crate) struct TopicNameArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
}

/// `ouzel topic create`.
#[derive(Debug, Args)]
pub(crate) struct TopicCreateArgs {
    /// Name of the topic: 1 to 249 of letters, digits, `.`, `_` and `-`
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Number of partitions [default: the broker's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: Option<u32>,
    /// Number of replicas of each partition [default: the broker's]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) replication_factor: Option<u16>,
    /// Configuration of the topic, may be repeated: ouzel.durability (disk, written), ouzel.flush.interval.ms,
    /// segment.bytes, max.message.bytes, message.timestamp.type (CreateTime, LogAppendTime), and what Kafka's tools set;
    /// `ouzel topic describe` shows every key
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// Succeed if the topic is already there
    #[arg(long)]
    pub(crate) if_not_exists: bool,
}

/// `ouzel topic alter`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["partitions", "configs"]))]
pub(crate) struct TopicAlterArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// New number of partitions; it can only grow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: Option<u32>,
    /// Configuration to change, may be repeated; an empty value goes back to the default
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = parse_pair)]
    pub(crate) configs: Vec<(String, String)>,
}

/// Acknowledgement a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcksArg {
    /// From all in-sync replicas, at the topic's durability level
    #[value(name = "all", alias = "-1")]
    All,
    /// From the leader, at the topic's durability level
    #[value(name = "1")]
    Leader,
    /// None: fastest, and nobody knows what arrived
    #[value(name = "0")]
    None,
}

/// Codec of the batches that are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionArg {
    /// No compression
    #[default]
    None,
    /// zstd
    Zstd,
    /// lz4
    Lz4,
    /// snappy
    Snappy,
    /// gzip
    Gzip,
}

impl CompressionArg {
    /// The codec of the protocol.
    pub(crate) fn codec(self) -> ouzel_protocol::codec::Codec {
        use ouzel_protocol::codec::Codec;
        match self {
            CompressionArg::None => Codec::None,
            CompressionArg::Zstd => Codec::Zstd,
            CompressionArg::Lz4 => Codec::Lz4,
            CompressionArg::Snappy => Codec::Snappy,
            CompressionArg::Gzip => Codec::Gzip,
        }
    }
}

/// `ouzel produce`.
#[derive(Debug, Args)]
#[command(after_help = "Exits 0 only when every line was acknowledged.\n\nExamples:\n  \
                        seq 1 100000 | ouzel produce orders\n  \
                        printf 'k1:a\\nk2:b\\n' | ouzel produce orders --key-separator :\n  \
                        ouzel produce logs --compression zstd < app.log")]
pub(crate) struct ProduceArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// A line is KEY, this text, VALUE; without it the whole line is the value
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) key_separator: Option<String>,
    /// Codec of the batches
    #[arg(long, value_enum, default_value_t, value_name = "CODEC")]
    pub(crate) compression: CompressionArg,
    /// Which acknowledgement to wait for
    #[arg(long, value_enum, default_value = "all")]
    pub(crate) acks: AcksArg,
    /// Send everything to this partition
    #[arg(long, value_name = "P")]
    pub(crate) partition: Option<u32>,
    /// Let a line whose answer was lost be stored twice
    #[arg(long)]
    pub(crate) no_idempotence: bool,
}

/// Where a consumer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FromArg {
    /// The first record that is kept.
    Earliest,
    /// The next record that is written.
    Latest,
    /// An offset, of one partition.
    Offset(u64),
    /// The first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
}

/// How `consume` prints a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// The value
    #[default]
    Value,
    /// Key, tab, value
    KeyValue,
    /// One JSON object a line: topic, partition, offset, timestamp, key, value, headers
    Json,
}

/// `ouzel consume`.
#[derive(Debug, Args)]
#[command(after_help = "Starts at the latest record and follows until Ctrl-C, unless told otherwise.\n\nExamples:\n  \
                        ouzel consume orders --from earliest --count 100\n  \
                        ouzel consume orders --partition 2 --from 4711 --format json\n  \
                        ouzel consume orders --from 2026-01-01T00:00:00Z --timeout-ms 5000\n  \
                        ouzel consume orders --group billing --from earliest")]
pub(crate) struct ConsumeArgs {
    /// Name of the topic
    #[arg(value_name = "TOPIC")]
    pub(crate) topic: String,
    /// Where to start: earliest, latest, an offset (with --partition), or a time like 2026-01-01T00:00:00Z
    #[arg(long, default_value = "latest", value_name = "POSITION", value_parser = parse_from)]
    pub(crate) from: FromArg,
    /// Read only this partition
    #[arg(long, value_name = "P", conflicts_with = "group")]
    pub(crate) partition: Option<u32>,
    /// Read as a member of this group: partitions are shared with its other members, and offsets are committed. --from,
    /// earliest or latest, is for partitions that the group has no offset of
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// End after this many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End when no record came for this long; exits 1 if --count was not reached
    #[arg(long, value_name = "MS")]
    pub(crate) timeout_ms: Option<u64>,
    /// How to print a record
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: FormatArg,
}

/// `ouzel inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Reads only; the broker may be running or stopped.\n\nExamples:\n  \
                        ouzel inspect ./ouzel-data\n  \
                        ouzel inspect --verify ./ouzel-data\n  \
                        ouzel inspect ./ouzel-data/journals/0000000000000001-0000/00000000.journal")]
pub(crate) struct InspectArgs {
    /// A data directory, a directory in it, or one file: journal, checkpoint, segment, check, index, metadata log
    #[arg(value_name = "FILE|DIR")]
    pub(crate) path: PathBuf,
    /// Check every checksum; exits 1 on damage and names file and offset
    #[arg(long)]
    pub(crate) verify: bool,
}

/// `ouzel config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ouzel config\n  ouzel config --explain\n  ouzel config --config /etc/ouzel/ouzel.toml --json"
)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Say what every setting does, its unit, range and default, and why that is the default
    #[arg(long)]
    pub(crate) explain: bool,
}

/// `ouzel doctor`.
#[derive(Debug, Args)]
#[command(after_help = "\
Takes about a second and leaves nothing behind; the data directory need not exist yet. Takes the flags of `serve`, and judges
for that broker. Exit code 0 when a broker can start here, 1 when something stands in the way.

Examples:
  ouzel doctor --data-dir /var/lib/ouzel
  ouzel doctor --config /etc/ouzel/ouzel.toml --long
  ouzel doctor --data-dir /var/lib/ouzel --json")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Measure for half a minute, in a file of 512 MiB: past the caches that make a device look faster than it is
    #[arg(long)]
    pub(crate) long: bool,
}

/// `ouzel completions`.
#[derive(Debug, Args)]
#[command(after_help = "The Debian package brings them along.\n\nExamples:\n  \
                        ouzel completions bash > ~/.local/share/bash-completion/completions/ouzel\n  \
                        ouzel completions zsh > ~/.zfunc/_ouzel\n  \
                        ouzel completions fish > ~/.config/fish/completions/ouzel.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: ShellArg,
}

/// Shells with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellArg {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// `ouzel man`.
#[derive(Debug, Args)]
#[command(
    after_help = "One page for each command, in section 1. The Debian package brings them along.\n\nExamples:\n  \
                        ouzel man ~/.local/share/man/man1\n  \
                        ouzel man /tmp/man && man -l /tmp/man/ouzel-serve.1"
)]
pub(crate) struct ManArgs {
    /// Where to write them; made if it is missing
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Parses `key=value`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    if key.trim().is_empty() {
        return Err(format!("`{text}` has no key before `=`"));
    }
    Ok((key.trim().to_string(), value.trim().to_string()))
}

fn parse_from(text: &str) -> Result<FromArg, String> {
    match text {
        "earliest" => return Ok(FromArg::Earliest),
        "latest" => return Ok(FromArg::Latest),
        _ => {}
    }
    if let Ok(offset) = text.parse() {
        return Ok(FromArg::Offset(offset));
    }
    parse_timestamp_ms(text).map(FromArg::Timestamp).ok_or_else(|| {
        format!("`{text}` is neither earliest, latest, an offset nor a time like 2026-01-01T00:00:00Z (RFC 3339)")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_has_an_example_of_it() {
        fn walk(command: &clap::Command, path: &str) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = format!("{path}{}", command.get_name());
            assert!(help.contains("Example") && help.contains(&name), "`{name} --help` has no example of it: {help}");
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                walk(sub, &format!("{name} "));
            }
        }
        walk(&Cli::command(), "");
    }

    #[test]
    fn bootstrap_and_json_stand_after_any_subcommand() {
        for words in [
            &["ouzel", "topic", "describe", "orders"][..],
            &["ouzel", "topic", "list"],
            &["ouzel", "produce", "orders"],
            &["ouzel", "consume", "orders"],
            &["ouzel", "bench", "produce"],
            &["ouzel", "bench", "e2e"],
            &["ouzel", "serve"],
            &["ouzel", "top"],
            &["ouzel", "inspect", "D"],
            &["ouzel", "config"],
        ] {
            let words = words.iter().copied().chain(["--bootstrap", "h:1", "--json"]);
            let cli = Cli::try_parse_from(words).expect("global flags");
            assert!(cli.global.json && cli.global.bootstrap == "h:1");
        }
    }

    #[test]
    fn a_position_is_a_word_an_offset_or_a_time() {
        assert_eq!(parse_from("earliest"), Ok(FromArg::Earliest));
        assert_eq!(parse_from("17"), Ok(FromArg::Offset(17)));
        assert_eq!(parse_from("1970-01-01T00:00:02Z"), Ok(FromArg::Timestamp(2000)));
        assert!(parse_from("yesterday").is_err());
        assert!(parse_from("-1").is_err());
    }

    #[test]
    fn altering_nothing_is_refused() {
        assert!(Cli::try_parse_from(["ouzel", "topic", "alter", "orders"]).is_err());
        assert!(Cli::try_parse_from(["ouzel", "topic", "alter", "orders", "--partitions", "3"]).is_ok());
    }
}

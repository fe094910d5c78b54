//! The command line of `ouzel group`: its subcommands, flags and examples. Owns the words; never does what they ask for. Runs on
//! the CLI's main thread before anything else.

use clap::{ArgGroup, Args, Subcommand};

use crate::units::parse_timestamp_ms;

/// `ouzel group ...`.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups with their kinds and states
    #[command(after_help = "Examples:\n  ouzel group list\n  ouzel group list --state empty --json")]
    List(GroupListArgs),
    /// Show members, assignment, committed offsets and lag of a group
    #[command(after_help = "Example:\n  ouzel group describe billing --json")]
    Describe(GroupNameArgs),
    /// Move the committed offsets of a group without members; shows what would happen unless --execute
    #[command(after_help = "Examples:\n  \
                            ouzel group reset-offsets billing --to-earliest --topic orders\n  \
                            ouzel group reset-offsets billing --to-time 2026-01-01T00:00:00Z --execute\n  \
                            ouzel group reset-offsets billing --shift-by=-100 --execute")]
    ResetOffsets(GroupResetArgs),
    /// Delete a group without members, and its offsets
    #[command(after_help = "Example:\n  ouzel group delete billing")]
    Delete(GroupNameArgs),
}

/// `ouzel group list`.
#[derive(Debug, Args)]
pub(crate) struct GroupListArgs {
    /// Only groups in this state, may be repeated: stable, empty, preparingrebalance, completingrebalance, assigning,
    /// reconciling
    #[arg(long = "state", value_name = "STATE")]
    pub(crate) states: Vec<String>,
    /// Only groups of this kind, may be repeated: classic, consumer
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<String>,
}

/// The name of a group.
#[derive(Debug, Args)]
pub(crate) struct GroupNameArgs {
    /// Name of the group
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
}

/// `ouzel group reset-offsets`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("to").required(true).args(["to_earliest", "to_latest", "to_offset", "to_time", "shift_by"]))]
pub(crate) struct GroupResetArgs {
    /// Name of the group
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// Only this topic, may be repeated [default: all topics that the group has offsets of]
    #[arg(long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// To the first record that is kept
    #[arg(long)]
    pub(crate) to_earliest: bool,
    /// To the next record that is written
    #[arg(long)]
    pub(crate) to_latest: bool,
    /// To this offset, or the nearest that a partition has
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) to_offset: Option<u64>,
    /// To the first record at or after this time, like 2026-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) to_time: Option<i64>,
    /// By so many records, back where it is below 0
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) shift_by: Option<i64>,
    /// Do it
    #[arg(long)]
    pub(crate) execute: bool,
}

fn parse_time(text: &str) -> Result<i64, String> {
    parse_timestamp_ms(text).ok_or_else(|| format!("`{text}` is not a time like 2026-01-01T00:00:00Z (RFC 3339)"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[test]
    fn a_reset_says_to_where_exactly_once() {
        let parses = |words: &[&str]| {
            let start = ["ouzel", "group", "reset-offsets", "g"];
            Cli::try_parse_from(start.iter().chain(words)).is_ok()
        };
        assert!(
            parses(&["--to-earliest"]) && parses(&["--to-offset", "7", "--topic", "a", "--topic", "b", "--execute"])
        );
        assert!(parses(&["--shift-by", "-5"]) && parses(&["--to-time", "2026-01-01T00:00:00Z"]));
        assert!(!parses(&[]) && !parses(&["--to-earliest", "--to-latest"]) && !parses(&["--to-time", "yesterday"]));
        assert!(!parses(&["--to-offset", "-1"]) && !parses(&["--to-offset", "9223372036854775808"]));
    }
}

//! How the binary says no: one line on stderr and a code that is not 0. Owns the shape of that line; never decides what
//! is refused. Runs on the CLI's main thread, last.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::error::{Error as ClapError, ErrorKind as ClapErrorKind};

use crate::printable::printable;

/// Code for a command line that makes no sense.
const EXIT_USAGE: u8 = 2;
/// Code for everything else that did not happen.
const EXIT_FAILURE: u8 = 1;

/// Prints what a failed command has to say; a reader of our output that went away is no error.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    print_error(&said_once(error));
    ExitCode::from(EXIT_FAILURE)
}

/// The error and its causes, but for causes that an error above them has quoted already.
fn said_once(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// Prints a command line that was refused, or the help or version that was asked for.
pub(crate) fn report_usage(error: &ClapError) -> ExitCode {
    if matches!(error.kind(), ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayVersion) {
        // A reader that closes early (`ouzel --help | head`) has seen what it wanted.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(EXIT_USAGE);
    }
    print_error(&usage_line(&error.to_string()));
    ExitCode::from(EXIT_USAGE)
}

/// Whether the error is, at its root, that nobody reads our stdout any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
        && error.downcast_ref::<StdoutClosed>().is_some()
}

/// Marks an error as one of writing to stdout, so that a broken connection is not taken for a closed pipe.
#[derive(Debug)]
pub(crate) struct StdoutClosed;

impl std::fmt::Display for StdoutClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot write to stdout")
    }
}

fn print_error(text: &str) {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let line = text.split('\n').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    // It may quote a name that somebody else has chosen.
    let line = printable(&line);
    // Nowhere is left to say that stderr is closed.
    let _ = writeln!(std::io::stderr(), "error: {line}");
}

/// Clap's message up to its usage text, on one line, with where to read more.
fn usage_line(text: &str) -> String {
    let message: Vec<&str> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    let command = usage.map(|usage| {
        let words =
            usage.split(' ').take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        words.collect::<Vec<_>>().join(" ")
    });
    let command = command.filter(|words| !words.is_empty()).unwrap_or_else(|| "ouzel".to_string());
    format!("{}; see `{command} --help`", message.join(" "))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn a_refused_command_line_is_one_line_that_names_its_help() {
        for (words, expected) in [
            (&["ouzel", "topic", "create", "orders", "--bogus"][..], "see `ouzel topic create --help`"),
            (&["ouzel", "produce"], "<TOPIC>"),
            (&["ouzel", "nonsense"], "nonsense"),
            (&["ouzel", "consume", "t", "--from", "yesterday"], "RFC 3339"),
        ] {
            let error = Cli::try_parse_from(words).expect_err("refused");
            let line = usage_line(&error.to_string());
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn only_a_broken_stdout_is_a_quiet_end() {
        let broken = || std::io::Error::from(ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&Err::<(), _>(broken()).context(StdoutClosed).expect_err("error")));
        assert!(!is_broken_pipe(&Err::<(), _>(broken()).context("cannot send to 127.0.0.1:9192").expect_err("error")));
    }
}

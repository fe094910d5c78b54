//! `ouzel completions`: the words of the command line as a shell's completions. Owns nothing; they come from `args.rs`. Runs on
//! the CLI's main thread.

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::{Shell, generate};
use serde_json::json;

use crate::args::{Cli, CompletionsArgs, ShellArg};
use crate::output::{Output, print_json};

/// Prints the completions of one shell.
pub(crate) fn run(args: &CompletionsArgs, json: bool) -> Result<()> {
    let mut script = Vec::new();
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
    };
    generate(shell, &mut Cli::command(), "ouzel", &mut script);
    if json {
        let script = String::from_utf8(script).context("the completions are no text")?;
        return print_json(&json!({ "shell": shell.to_string(), "script": script }));
    }
    let mut output = Output::new();
    output.write(&script)?;
    output.flush()
}

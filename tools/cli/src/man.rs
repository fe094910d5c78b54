//! `ouzel man`: one man page for each command, from the same words as `--help`. Owns nothing of them but where they are written.
//! Runs on the CLI's main thread.

use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use crate::args::{Cli, ManArgs};
use crate::output::print_json;

/// Writes every page.
pub(crate) fn run(args: &ManArgs, json: bool) -> Result<()> {
    let dir = &args.dir;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    let written = std::fs::create_dir_all(dir).and_then(|()| write(&command, dir, &mut pages));
    written.with_context(|| {
        format!("cannot write man pages to {}; choose a directory that you may write", dir.display())
    })?;
    if json { print_json(&json!({ "dir": dir.display().to_string(), "pages": pages })) } else { Ok(()) }
}

/// The page of a command and those of the commands below it.
fn write(command: &Command, dir: &Path, pages: &mut Vec<String>) -> io::Result<()> {
    let man = Man::new(command.clone());
    pages.push(man.get_filename());
    man.generate_to(dir)?;
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| write(below, dir, pages))
}

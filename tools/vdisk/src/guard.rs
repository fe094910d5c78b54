//! The guard: a second process that takes mounts and the loop device away however the first one ended, `kill -9`
//! included. Owns nothing while the first lives: it waits for the end of its standard input, which only the first holds
//! open. Does not serve the disk: what it unmounts then is a dead one.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::stack::{self, Places};

/// The hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "guard";

/// Starts the guard of `places`. It ends when the value is dropped, or with this process.
///
/// # Errors
/// No process can be started.
pub(crate) fn start(root: &std::path::Path) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("this program has no name")?);
    command.arg(SUBCOMMAND).arg(root);
    // A group of its own, so that Ctrl-C and a killed process group do not reach it.
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().context("cannot start the guard")
}

/// What the guard does: waits, and cleans up.
pub(crate) fn run(places: &Places) {
    let mut input = Vec::new();
    // Nothing is ever sent; an error means the same as the end.
    let _ = std::io::stdin().read_to_end(&mut input);
    stack::tear_down(places);
}

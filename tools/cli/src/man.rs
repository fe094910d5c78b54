//! `ouzel man`: one man page for each command, from the same words as `--help`. Owns nothing of them but where they are written.
//! Runs on the CLI's main thread.

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Cli, ManArgs};

/// Writes every page.
pub(crate) fn run(args: &ManArgs) -> Result<()> {
    let dir = &args.dir;
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written
        .with_context(|| format!("cannot write man pages to {}; choose a directory that you may write", dir.display()))
}

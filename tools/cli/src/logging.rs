//! The log: lines on stderr, by level. Owns the choice of level; never writes to stdout. Installed once, on the main
//! thread; lines come from any thread.

use std::io::IsTerminal;

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

/// Installs the log for the whole process. Clients are quiet unless asked; a broker tells what it does.
pub(crate) fn install(level: Option<&str>, is_server: bool) -> Result<()> {
    let text = level.unwrap_or(if is_server { "info" } else { "warn" });
    let filter = EnvFilter::try_new(text).with_context(|| {
        format!("`{text}` is not a log level; use error, warn, info, debug or trace with --log-level or OUZEL_LOG")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot install the log: {error}"))
}

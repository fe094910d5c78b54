//! `ouzel serve`: turns settings into a running broker, says when it is ready, and ends with it. Owns the ready line and
//! the notifications; the broker itself is a library. Runs on the process's main thread, which only waits.

use std::io::Read;
use std::path::Path;

use anyhow::{Result, anyhow};
use ouzel_broker::{RunningBroker, ServeError, StartError, serve};
use rustix::process::{Signal, getpid, kill_process};

use crate::args::ServeArgs;
use crate::config::{Effective, environment};
use crate::notify::notify;
use crate::output::print_line;
use crate::watchdog;

/// Runs a broker until SIGINT or SIGTERM.
pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let effective = Effective::load(&args.settings, environment())?;
    let config = effective.broker_config()?;
    let data_dir = config.data_dir.clone();
    let stop_with_stdin = args.stop_with_stdin;
    notify("STATUS=recovering");
    let served =
        serve(config, |broker| ready(broker, stop_with_stdin), || notify("STOPPING=1\nSTATUS=finishing requests"));
    served.map_err(|error| with_next_step(error, &data_dir))?;
    tracing::info!("stopped");
    Ok(())
}

/// Tells everybody who waits that the broker serves.
fn ready(broker: &RunningBroker, stop_with_stdin: bool) {
    let line = broker.ready_line();
    // Whoever started us may have closed stdout; the broker serves all the same.
    if let Err(error) = print_line(&line) {
        tracing::warn!(%error, "the ready line has no reader");
    }
    notify(&format!("READY=1\nSTATUS={line}"));
    watchdog::start(broker.pulse());
    if stop_with_stdin {
        watch_stdin();
    }
}

/// Where the host is in the way, what looks at the host.
fn with_next_step(error: ServeError, data_dir: &Path) -> anyhow::Error {
    let is_host = matches!(
        error,
        ServeError::Start(
            StartError::Probe(_) | StartError::DataDir { .. } | StartError::NoSpace { .. } | StartError::Shard { .. }
        )
    );
    if is_host {
        let said = error.to_string();
        let said = said.trim_end_matches('.');
        anyhow!("{said}; `ouzel doctor --data-dir {}` looks at all that a start needs", data_dir.display())
    } else {
        error.into()
    }
}

/// Asks for a stop in good order as soon as stdin is closed: our parent has ended.
fn watch_stdin() {
    let thread = std::thread::Builder::new().name("stdin".to_string());
    let watching = thread.spawn(|| {
        let mut buf = [0; 64];
        let mut stdin = std::io::stdin().lock();
        // An error of reading means as well that nobody is there any more.
        while matches!(stdin.read(&mut buf), Ok(bytes) if bytes > 0) {}
        tracing::info!("stdin is closed: stopping");
        if let Err(error) = kill_process(getpid(), Signal::TERM) {
            tracing::error!(%error, "cannot ask for a stop");
        }
    });
    if let Err(error) = watching {
        tracing::warn!(%error, "cannot watch stdin");
    }
}

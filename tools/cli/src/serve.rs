//! `ouzel serve`: turns settings into a running broker, says when it is ready, and ends with it. Owns the ready line and
//! the notifications; the broker itself is a library. Runs on the process's main thread, which only waits.

use std::io::Read;
use std::path::Path;

use anyhow::{Result, anyhow};
use ouzel_broker::{Addresses, RecoveryProgress, RunningBroker, ServeError, StartError, serve};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

use crate::args::ServeArgs;
use crate::config::{Effective, environment};
use crate::notify::notify;
use crate::output::{print_json, print_line};
use crate::units::human_bytes;
use crate::watchdog;

/// How long a recovery that comes on may be silent from then on: what it has read is synced to the disk before it reads on.
const EXTEND_TIMEOUT_US: u64 = 300_000_000;

/// Runs a broker until SIGINT or SIGTERM.
pub(crate) fn run(args: &ServeArgs, json: bool) -> Result<()> {
    let effective = Effective::load(&args.settings, environment()?)?;
    let config = effective.broker_config()?;
    let data_dir = config.data_dir.clone();
    let stop_with_stdin = args.stop_with_stdin;
    notify("STATUS=recovering");
    let mut bytes_told = 0;
    let served = serve(
        config,
        |progress| {
            let word = recovering(progress, progress.bytes() > bytes_told);
            bytes_told = progress.bytes();
            notify(&word);
        },
        |broker| ready(broker, stop_with_stdin, json),
        || notify("STOPPING=1\nSTATUS=finishing requests"),
    );
    served.map_err(|error| with_next_step(error, &data_dir))?;
    tracing::info!("stopped");
    Ok(())
}

/// What systemd is told while recovery takes its time. It gives more of it only to one that comes on: a start whose disk answers
/// no more ends when the unit's own time is over.
fn recovering(progress: &RecoveryProgress, comes_on: bool) -> String {
    let (bytes, bytes_max) = (human_bytes(progress.bytes()), human_bytes(progress.bytes_max()));
    let (journals, journals_total) = (progress.journals(), progress.journals_total());
    let status = match journals_total {
        0 => "STATUS=recovering".to_owned(),
        _ => format!(
            "STATUS=recovering: {journals} of {journals_total} journals done, {bytes} read of {bytes_max} at most"
        ),
    };
    if comes_on { format!("EXTEND_TIMEOUT_USEC={EXTEND_TIMEOUT_US}\n{status}") } else { status }
}

/// Tells everybody who waits that the broker serves.
fn ready(broker: &RunningBroker, stop_with_stdin: bool, json: bool) {
    let line = broker.ready_line();
    let printed = if json { print_json(&as_json(broker.addresses())) } else { print_line(&line) };
    // Whoever started us may have closed stdout; the broker serves all the same.
    if let Err(error) = printed {
        tracing::warn!(%error, "the ready line has no reader");
    }
    notify(&format!("READY=1\nSTATUS={line}"));
    watchdog::start(broker.pulse());
    if stop_with_stdin {
        watch_stdin();
    }
}

/// The ready line for programs.
fn as_json(addresses: &Addresses) -> Value {
    let Addresses { native, shards, kafka, admin } = addresses;
    json!({ "kafka": kafka, "native": native, "admin": admin, "shards": shards.len() })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_that_comes_on_gets_more_time_and_one_that_stands_still_gets_none() {
        let progress = RecoveryProgress::default();
        assert_eq!(recovering(&progress, false), "STATUS=recovering");
        progress.expect(4, 512 << 20);
        let status = "STATUS=recovering: 0 of 4 journals done, 0 B read of 1.0 GiB at most";
        assert_eq!(recovering(&progress, false), status);
        assert_eq!(recovering(&progress, true), format!("EXTEND_TIMEOUT_USEC=300000000\n{status}"));
    }
}

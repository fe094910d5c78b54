//! The broker that `--embedded` starts: `ouzel serve` as a child process on free ports in a directory of its own. Owns
//! the child, its directory and its end (killed and reaped when dropped); never links the broker in, so its CPU, its
//! memory and its death are real. Runs on the caller's thread; starting blocks.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::sched_setaffinity;
use tempfile::TempDir;

use crate::process::{self, Usage};

/// How long a broker may take to say that it is ready; recovery of a full journal is part of it.
const READY_WAIT_MAX: Duration = Duration::from_secs(120);
/// How often a stopping broker is asked whether it has ended.
const STOP_POLL: Duration = Duration::from_millis(10);
/// File in the run's directory that holds the log of the broker.
const LOG_FILE: &str = "serve.log";

/// How to start the broker.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The `ouzel` binary.
    pub binary: PathBuf,
    /// Number of shards; `None` leaves it to the broker.
    pub shards: Option<u16>,
    /// Directory in which the run's own directory is made; `None`: see [`default_parent`].
    pub parent: Option<PathBuf>,
    /// Core the broker is kept on; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    /// Where the broker keeps its data; `None`: in the run's own directory.
    pub data_dir: Option<PathBuf>,
    /// More arguments for `serve`.
    pub arguments: Vec<OsString>,
    /// More environment variables.
    pub environment: Vec<(OsString, OsString)>,
}

impl EmbeddedOptions {
    /// Defaults for everything but the binary.
    pub fn new(binary: impl Into<PathBuf>) -> EmbeddedOptions {
        EmbeddedOptions {
            binary: binary.into(),
            shards: None,
            parent: None,
            cpu: None,
            data_dir: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// The addresses of a broker's ready line; `None` where it printed `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Address of the Kafka listener.
    pub kafka: Option<String>,
    /// Address of the native listener.
    pub native: Option<String>,
    /// Address of the admin listener.
    pub admin: Option<String>,
    /// Number of shards.
    pub shards: u16,
}

impl Ready {
    /// Parses `ouzel ready kafka=- native=127.0.0.1:9192 admin=- shards=2`; `None` for any other line.
    pub fn parse(line: &str) -> Option<Ready> {
        let mut ready = Ready { kafka: None, native: None, admin: None, shards: 0 };
        for word in line.trim_end().strip_prefix("ouzel ready ")?.split(' ') {
            let (name, value) = word.split_once('=')?;
            let address = || (value != "-").then(|| value.to_string());
            match name {
                "kafka" => ready.kafka = address(),
                "native" => ready.native = address(),
                "admin" => ready.admin = address(),
                "shards" => ready.shards = value.parse().ok()?,
                _ => {}
            }
        }
        Some(ready)
    }
}

/// A broker of our own. Dropping it kills the process, reaps it and removes its directory.
#[derive(Debug)]
pub struct Embedded {
    options: EmbeddedOptions,
    directory: TempDir,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Held open: the broker ends by itself when this closes, so it cannot outlive a generator that was killed.
    stdin: Option<ChildStdin>,
    ready: Ready,
}

impl Embedded {
    /// Starts a broker in a new directory and waits until it is ready. Blocks the thread.
    ///
    /// # Errors
    /// The directory cannot be made, or the broker did not become ready: the last lines of its log are in the message.
    pub fn start(options: EmbeddedOptions) -> Result<Embedded> {
        let parent = options.parent.clone().unwrap_or_else(default_parent);
        let directory = tempfile::Builder::new()
            .prefix("ouzel-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("no directory for the embedded broker in {}", parent.display()))?;
        let mut embedded = Embedded { options, directory, running: None };
        embedded.start_process()?;
        Ok(embedded)
    }

    /// Where the broker keeps its data.
    pub fn data_dir(&self) -> PathBuf {
        self.options.data_dir.clone().unwrap_or_else(|| self.directory.path().join("data"))
    }

    /// Address of the native listener, for a client's bootstrap.
    pub fn bootstrap(&self) -> &str {
        self.running().ready.native.as_deref().expect("a broker without a native listener is never kept")
    }

    /// Address of the listener for Kafka's clients.
    pub fn kafka(&self) -> &str {
        self.running().ready.kafka.as_deref().expect("an embedded broker is started with one")
    }

    /// Number of shards the broker said it has.
    pub fn shards(&self) -> u16 {
        self.running().ready.shards
    }

    /// Process id of the broker.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// What the broker has used so far.
    ///
    /// # Errors
    /// The process is gone.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid()).context("the embedded broker is gone")
    }

    /// Kills the broker as `kill -9` would and reaps it. Its data stays; [`Embedded::restart`] starts it again.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Both fail only if the child was reaped before, which nobody else can do.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Starts the broker again on the same data, with another number of shards if given. Ports may differ afterwards.
    ///
    /// # Errors
    /// As [`Embedded::start`].
    pub fn restart(&mut self, shards: Option<u16>) -> Result<()> {
        self.kill();
        if shards.is_some() {
            self.options.shards = shards;
        }
        self.start_process()
    }

    /// Asks the broker to stop in good order, waits for its end and reaps it. Its data stays, as after [`Embedded::kill`].
    ///
    /// # Errors
    /// It did not end within the time a start may take (it is killed then), or ended with another code than 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        drop(running.stdin.take());
        let deadline = Instant::now() + READY_WAIT_MAX;
        let status = loop {
            if let Some(status) = running.child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                end(&mut running.child);
                bail!(
                    "the broker did not stop within {} s; its log ends: {}",
                    READY_WAIT_MAX.as_secs(),
                    self.log_tail()
                );
            }
            std::thread::sleep(STOP_POLL);
        };
        if !status.success() {
            bail!("the broker was asked to stop and ended with {status}; its log ends: {}", self.log_tail());
        }
        Ok(())
    }

    /// Starts the broker on its data and kills it `after` that, whether it is ready by then or not. `before_kill` runs right
    /// before the kill.
    ///
    /// # Errors
    /// It cannot be started, it ended by itself before `before_kill`, or that failed.
    pub fn start_and_kill(
        &mut self,
        shards: Option<u16>,
        after: Duration,
        before_kill: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.kill();
        if shards.is_some() {
            self.options.shards = shards;
        }
        let mut child = self.spawn()?;
        std::thread::sleep(after);
        let ended = child.try_wait()?;
        let done = before_kill();
        end(&mut child);
        match ended {
            Some(status) => bail!("the broker ended with {status} while it started; its log ends: {}", self.log_tail()),
            None => done,
        }
    }

    /// The exit status of a broker that ended by itself; `None` while it runs, or after it was killed or stopped.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.running.as_mut().and_then(|running| running.child.try_wait().ok().flatten())
    }

    /// Keeps the directory with the data and the log beyond this value; returns where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.directory.disable_cleanup(true);
        self.directory.path().to_path_buf()
    }

    /// Everything the broker has written to stderr, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join(LOG_FILE)).unwrap_or_default()
    }

    /// The last lines of the broker's log, for an error message.
    pub fn log_tail(&self) -> String {
        log_tail(self.directory.path())
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the broker was killed and not restarted")
    }

    fn spawn(&self) -> Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.path().join(LOG_FILE))?;
        let mut command = Command::new(&self.options.binary);
        command.arg("serve").arg("--data-dir").arg(self.data_dir());
        command.args(["--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.arg("--stop-with-stdin");
        if let Some(shards) = self.options.shards {
            command.arg("--shards").arg(shards.to_string());
        }
        command.args(&self.options.arguments).envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        // A group of its own: Ctrl-C ends the run, and the run ends the broker.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let spawn = |command: &mut Command| {
            command.spawn().with_context(|| format!("cannot start the broker {}", self.options.binary.display()))
        };
        let Some(cpu) = self.options.cpu else { return spawn(&mut command) };
        // A child inherits the cores of the thread that starts it.
        let before = process::cores()?;
        process::pin_to(cpu)?;
        let child = spawn(&mut command);
        sched_setaffinity(None, &before)?;
        child
    }

    fn start_process(&mut self) -> Result<()> {
        let mut child = self.spawn()?;
        let stdin = child.stdin.take();
        match wait_ready(&mut child) {
            Ok(ready) if ready.native.is_some() => {
                self.running = Some(Running { child, stdin, ready });
                Ok(())
            }
            Ok(_) => {
                end(&mut child);
                bail!("the embedded broker has no native listener; its log ends:\n{}", self.log_tail())
            }
            Err(error) => {
                end(&mut child);
                Err(error.context(format!("the embedded broker did not start; its log ends: {}", self.log_tail())))
            }
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The directory in which embedded brokers keep their data by default: the temporary directory, unless that lies in
/// memory, where direct I/O and its figures would mean nothing (docs/rules.md M1); then the current directory.
pub fn default_parent() -> PathBuf {
    let temporary = std::env::temp_dir();
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let canonical = temporary.canonicalize().unwrap_or_else(|_| temporary.clone());
    if lies_in_memory(&mounts, &canonical) { PathBuf::from(".") } else { temporary }
}

/// Whether the longest mount point above `path` is a tmpfs.
fn lies_in_memory(mounts: &str, path: &Path) -> bool {
    let mut longest = (0, false);
    for line in mounts.lines() {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(point), Some(kind)) = (fields.next(), fields.next()) else { continue };
        if path.starts_with(point) && point.len() >= longest.0 {
            longest = (point.len(), kind == "tmpfs" || kind == "ramfs");
        }
    }
    longest.1
}

/// Reads the child's stdout until its ready line. The rest of stdout is drained by a thread that ends with the child.
fn wait_ready(child: &mut Child) -> Result<Ready> {
    let stdout = child.stdout.take().context("the child has no stdout")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().name("embedded-stdout".to_string()).spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { break };
            if let Some(ready) = Ready::parse(&line) {
                // The receiver leaves after the first ready line or its time limit; later lines have no reader.
                let _ = sender.send(ready);
            }
        }
    })?;
    match receiver.recv_timeout(READY_WAIT_MAX) {
        Ok(ready) => Ok(ready),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let status = child.wait().context("the broker cannot be reaped")?;
            bail!("it ended with {status} before it was ready")
        }
        Err(mpsc::RecvTimeoutError::Timeout) => bail!("it was not ready within {} s", READY_WAIT_MAX.as_secs()),
    }
}

fn end(child: &mut Child) {
    // As in `Embedded::kill`: both fail only if it has already ended and been reaped.
    let _ = child.kill();
    let _ = child.wait();
}

fn log_tail(directory: &Path) -> String {
    const LINES: usize = 5;
    let text = fs::read_to_string(directory.join(LOG_FILE)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LINES)..];
    if tail.is_empty() { "(empty)".to_string() } else { tail.join(" | ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_parsed_and_a_dash_is_no_address() {
        let ready = Ready::parse("ouzel ready kafka=- native=127.0.0.1:9192 admin=- shards=2\n").expect("ready");
        assert_eq!(ready.native.as_deref(), Some("127.0.0.1:9192"));
        assert_eq!((ready.kafka, ready.admin, ready.shards), (None, None, 2));
        assert_eq!(Ready::parse("ouzel is warming up"), None);
        assert_eq!(Ready::parse("ouzel ready shards=many"), None);
    }

    #[test]
    fn the_longest_mount_point_decides_whether_a_path_lies_in_memory() {
        let mounts = "/dev/sda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/sdb /tmp/disk xfs rw 0 0\n";
        assert!(lies_in_memory(mounts, Path::new("/tmp/x")));
        assert!(!lies_in_memory(mounts, Path::new("/tmp/disk/x")));
        assert!(!lies_in_memory(mounts, Path::new("/var")));
    }

    #[test]
    fn a_binary_that_is_not_there_is_an_error_that_names_it() {
        let mut options = EmbeddedOptions::new("/nonexistent/ouzel");
        options.parent = Some(std::env::temp_dir());
        let error = Embedded::start(options).expect_err("no such binary");
        assert!(format!("{error:#}").contains("/nonexistent/ouzel"), "{error:#}");
    }

    #[test]
    fn a_child_that_ends_at_once_is_an_error_with_its_status() {
        let mut options = EmbeddedOptions::new("/bin/false");
        options.parent = Some(std::env::temp_dir());
        let error = Embedded::start(options).expect_err("false never gets ready");
        assert!(format!("{error:#}").contains("before it was ready"), "{error:#}");
    }
}

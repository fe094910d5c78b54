//! What the tests of the binary share: running it, and a broker of its own for each test. Each test file uses a part.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use tempfile::TempDir;

/// The binary under test.
pub(crate) const OUZEL: &str = env!("CARGO_BIN_EXE_ouzel");
/// Journals that are quick to make and wrap soon.
pub(crate) const SMALL: &[&str] = &["--set", "journal.bytes.max=32MiB", "--set", "memory.bytes.max=64MiB"];

/// A directory on a real file system, beside the build.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// A command of the binary that knows nothing of the environment's own settings.
pub(crate) fn ouzel(words: &[&str]) -> Command {
    let mut command = Command::new(OUZEL);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OUZEL_") {
            command.env_remove(name);
        }
    }
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(words: &[&str]) -> Output {
    ouzel(words).output().expect("the binary runs")
}

/// Runs a command with `input` on stdin to its end.
pub(crate) fn run_with_input(words: &[&str], input: &[u8]) -> Output {
    let mut child = ouzel(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("stdin");
    let input = input.to_vec();
    // A command that refuses early does not read on; then writing fails, and the command's own error is the news.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the binary ends");
    writer.join().expect("the writer ends");
    output
}

/// Stdout of a command that must succeed.
pub(crate) fn stdout_of(output: &Output) -> String {
    assert!(output.status.success(), "{}: {}", output.status, stderr_of(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Everything on stderr.
pub(crate) fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that a command was refused with one line that says all of `words`.
pub(crate) fn assert_refused(output: &Output, words: &[&str]) {
    let stderr = stderr_of(output);
    assert!(!output.status.success(), "not refused: {stderr}");
    assert!(output.status.code().is_some(), "ended by a signal: {stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "one error line: {stderr}");
    assert_eq!(stderr.trim_end().lines().last(), Some(errors[0]), "the error comes last: {stderr}");
    for word in words {
        assert!(errors[0].contains(word), "`{word}` in: {}", errors[0]);
    }
}

/// Every command that the binary has, by the words that name it, from what it says of itself: `topic`, `topic create`, ...
pub(crate) fn commands() -> Vec<Vec<String>> {
    let mut known = Vec::new();
    let mut unread = vec![Vec::new()];
    while let Some(words) = unread.pop() {
        let help = stdout_of(&ouzel(&[]).args(&words).arg("--help").output().expect("the binary runs"));
        let below = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let names = below.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
        let names = names.filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty() && *name != "help");
        unread.extend(names.map(|name| [&words[..], &[name.to_string()]].concat()));
        known.extend((!words.is_empty()).then_some(words));
    }
    known.sort();
    known
}

/// A running broker; killed and reaped when dropped.
pub(crate) struct Broker {
    child: Child,
    stdin: Option<ChildStdin>,
    data_dir: PathBuf,
    pub(crate) ready: String,
    pub(crate) native: String,
    pub(crate) admin: String,
}

impl Broker {
    /// Starts a broker on free ports and waits for its ready line.
    pub(crate) fn start(data_dir: &Path, words: &[&str]) -> Broker {
        let mut child =
            ouzel(&["serve", "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
                .args(["--log-level", "error", "--stop-with-stdin"])
                .arg("--data-dir")
                .arg(data_dir)
                .args(SMALL)
                .args(words)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the broker starts");
        let mut ready = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
        stdout.read_line(&mut ready).expect("a ready line");
        let address =
            |prefix| ready.split(' ').find_map(|word| word.strip_prefix(prefix)).expect("an address").to_string();
        let (native, admin) = (address("native="), address("admin="));
        let stdin = child.stdin.take();
        Broker { child, stdin, data_dir: data_dir.to_path_buf(), ready: ready.trim_end().to_string(), native, admin }
    }

    /// Runs a command against this broker.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        run(&[words, &["--bootstrap", &self.native]].concat())
    }

    /// Runs a command that must succeed and returns its stdout.
    pub(crate) fn stdout(&self, words: &[&str]) -> String {
        stdout_of(&self.run(words))
    }

    /// Runs a command that must succeed and reads its stdout as JSON.
    pub(crate) fn json(&self, words: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.stdout(&[words, &["--json"]].concat())).expect("one JSON object")
    }

    /// Produces lines.
    pub(crate) fn produce(&self, words: &[&str], input: &str) -> Output {
        run_with_input(&[&["produce"], words, &["--bootstrap", &self.native]].concat(), input.as_bytes())
    }

    /// Makes the topic `orders` of two partitions and six records, four of which the group `billing` has read.
    pub(crate) fn let_billing_read_four_of_six_orders(&self) {
        self.stdout(&["topic", "create", "orders", "--partitions", "2", "--config", "segment.bytes=2097152"]);
        stdout_of(&self.produce(&["orders"], "1\n2\n3\n4\n5\n6\n"));
        let words = ["consume", "orders", "--group", "billing", "--from", "earliest", "--count", "4"];
        assert_eq!(self.stdout(&words).lines().count(), 4);
    }

    /// Kills the broker as `kill -9` does, and starts it again on the same data.
    pub(crate) fn kill_and_restart(mut self, words: &[&str]) -> Broker {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
        Broker::start(&self.data_dir.clone(), words)
    }

    /// Stops in good order; the exit code must be 0.
    pub(crate) fn stop(mut self) {
        drop(self.stdin.take());
        let status = self.child.wait().expect("ended");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail only for a broker that was stopped and reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that is killed when dropped, with its stdout to be read by lines.
pub(crate) struct Following {
    child: Child,
    pub(crate) lines: BufReader<std::process::ChildStdout>,
}

impl Following {
    /// Starts a command whose output is read while it runs.
    pub(crate) fn start(words: &[&str]) -> Following {
        let mut child = ouzel(words).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("stdout"));
        Following { child, lines }
    }

    /// The next line, without its newline.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim_end().to_string()
    }

    /// Everything that is left, and the exit status.
    pub(crate) fn rest(mut self) -> (String, std::process::ExitStatus) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("text");
        (rest, self.child.wait().expect("ended"))
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

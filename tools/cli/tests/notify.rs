//! What the broker tells systemd, on a real notification socket: ready after recovery, a watchdog that every shard feeds, and that
//! it stops.

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

use common::{directory, ouzel, run, run_with_input, stdout_of};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A broker that believes that systemd has started it.
struct Service {
    child: Child,
    socket: UnixDatagram,
    log: BufReader<ChildStderr>,
}

impl Service {
    fn start(data_dir: &Path, watchdog_us: Option<&str>) -> Service {
        let path = data_dir.with_extension("notify");
        drop(std::fs::remove_file(&path));
        let socket = UnixDatagram::bind(&path).expect("bound");
        let mut command =
            ouzel(&["serve", "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--shards", "2"]);
        command.args(["--set", "journal.bytes.max=32MiB", "--set", "memory.bytes.max=64MiB"]);
        command.arg("--data-dir").arg(data_dir).env("NOTIFY_SOCKET", &path);
        if let Some(microseconds) = watchdog_us {
            command.env("WATCHDOG_USEC", microseconds);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the broker starts");
        let log = BufReader::new(child.stderr.take().expect("stderr"));
        Service { child, socket, log }
    }

    /// The next message, as its lines.
    fn message(&self) -> Vec<String> {
        let mut buf = [0; 4096];
        let bytes = self.socket.recv(&mut buf).expect("a message");
        String::from_utf8_lossy(&buf[..bytes]).lines().map(str::to_owned).collect()
    }

    /// Messages up to the one that holds `line`, which comes last.
    fn messages_to(&self, line: &str) -> Vec<Vec<String>> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.message());
            if messages.last().is_some_and(|message| message.iter().any(|said| said == line)) {
                return messages;
            }
        }
    }

    fn log_line_with(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).expect("text") > 0, "the log ended without `{words}`");
            if line.contains(words) {
                return;
            }
        }
    }

    /// Where it listens, as it has told systemd.
    fn native(&self) -> String {
        let messages = self.messages_to("READY=1");
        assert!(messages[0].contains(&"STATUS=recovering".to_owned()), "{messages:?}");
        let status = messages.last().and_then(|message| message.iter().find(|line| line.starts_with("STATUS=")));
        let status = status.expect("a status").clone();
        status.split(' ').find_map(|word| word.strip_prefix("native=")).expect("an address").to_owned()
    }

    /// The thread of this name.
    fn thread(&self, name: &str) -> Pid {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let task = tasks
            .map(|task| task.expect("readable").path())
            .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name))
            .expect("a thread of this name");
        let id = task.file_name().expect("a name").to_string_lossy().parse().expect("a number");
        Pid::from_raw(id)
    }

    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
        self.messages_to("STOPPING=1");
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail only for a broker that was reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn ready_is_told_after_recovery_and_what_was_there_is_served_then() {
    let directory = directory();
    let data_dir = directory.path().join("data");
    let service = Service::start(&data_dir, None);
    let native = service.native();
    stdout_of(&run(&["topic", "create", "orders", "--partitions", "2", "--bootstrap", &native]));
    stdout_of(&run_with_input(&["produce", "orders", "--bootstrap", &native], b"a\nb\nc\n"));
    // Killed, so that the next start has something to recover.
    drop(service);
    let service = Service::start(&data_dir, None);
    let native = service.native();
    let words = ["consume", "orders", "--from", "earliest", "--count", "3", "--bootstrap", &native];
    assert_eq!(stdout_of(&run(&words)).lines().count(), 3);
    service.stop();
}

#[test]
fn the_watchdog_is_fed_while_every_shard_answers_and_not_while_one_stands_still() {
    let directory = directory();
    let mut service = Service::start(&directory.path().join("data"), Some("300000"));
    service.native();
    service.messages_to("WATCHDOG=1");
    let shard = service.thread("shard-1");
    ptrace::seize(shard, ptrace::Options::empty()).expect("a child may be traced");
    ptrace::interrupt(shard).expect("it is traced");
    waitpid(shard, Some(WaitPidFlag::__WALL)).expect("it stands still");
    service.log_line_with("the watchdog is not fed");
    // Whatever was sent before the shard stood still has arrived by now.
    service.socket.set_nonblocking(true).expect("set");
    while service.socket.recv(&mut [0; 4096]).is_ok() {}
    for _ in 0..3 {
        service.log_line_with("the watchdog is not fed");
    }
    assert!(service.socket.recv(&mut [0; 4096]).is_err(), "fed although a shard stands still");
    service.socket.set_nonblocking(false).expect("set");
    ptrace::detach(shard, None).expect("it goes on");
    service.messages_to("WATCHDOG=1");
    service.stop();
}

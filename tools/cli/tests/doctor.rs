//! `ouzel doctor` on real directories: one that a broker can have, one that is not there yet, memory, and ones that nobody can use.

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use std::path::Path;
use std::process::Output;

use common::{Broker, assert_refused, directory, ouzel, run, stderr_of};
use serde_json::Value;
use terminal::Terminal;

/// Smaller than any disk that the tests run on, and one shard on any number of cores.
const SMALL: &[&str] = &["--shards", "1", "--set", "journal.bytes.max=32MiB", "--set", "memory.bytes.max=64MiB"];

fn doctor(data_dir: &Path) -> (Output, Value) {
    let output = run(&[&["doctor", "--json", "--data-dir", data_dir.to_str().expect("text")], SMALL].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("JSON, not {}", stderr_of(&output)));
    (output, report)
}

fn finding<'a>(report: &'a Value, check: &str) -> &'a Value {
    let findings = report["findings"].as_array().expect("a list");
    findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check} in {report}"))
}

#[test]
fn a_directory_that_is_not_there_yet_is_measured_above_and_not_made() {
    let root = directory();
    let data_dir = root.path().join("a/b");
    let (output, report) = doctor(&data_dir);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["starts"], true);
    assert_eq!(report["measured_in"], root.path().to_str().expect("text"));
    for check in ["file system", "direct I/O", "flush time", "honest flush", "free space", "kernel", "io_uring"] {
        assert_ne!(finding(&report, check)["state"], "blocking");
    }
    for check in ["lockable memory", "open files", "cores", "clock"] {
        finding(&report, check);
    }
    assert!(report["measured"]["commits"].as_u64().expect("a count") > 0);
    assert!(report["verdict"].as_str().expect("a sentence").contains("This host can give"));
    for finding in report["findings"].as_array().expect("a list") {
        assert_eq!(finding["state"] == "good", finding["remedy"].is_null(), "{finding}");
    }
    assert_eq!(std::fs::read_dir(root.path()).expect("readable").count(), 0, "nothing is made or left behind");
}

#[test]
fn it_looks_at_a_directory_that_a_broker_uses() {
    let root = directory();
    let broker = Broker::start(root.path(), &["--shards", "1"]);
    let (output, report) = doctor(root.path());
    assert!(output.status.success(), "{report}");
    broker.stdout(&["topic", "create", "orders"]);
    broker.stop();
}

#[test]
fn people_get_a_table_and_one_sentence() {
    let root = directory();
    let output = run(&[&["doctor", "--data-dir", root.path().to_str().expect("text")], SMALL].concat());
    let text = common::stdout_of(&output);
    assert!(text.contains("check") && text.contains("flush time") && text.contains("io_uring"), "{text}");
    assert!(text.trim_end().lines().last().expect("a line").starts_with("This host can give"), "{text}");
    assert_eq!(stderr_of(&output), "", "nothing is drawn where nobody looks");
}

#[test]
fn the_long_measurement_counts_down_on_a_terminal() {
    let root = directory();
    let data_dir = root.path().to_str().expect("text");
    let mut terminal = Terminal::start(ouzel(&[&["doctor", "--long", "--data-dir", data_dir], SMALL].concat()));
    terminal.wait_for("to measure in");
    terminal.wait_for("measuring small commits");
    terminal.wait_for(" s left");
}

#[test]
fn memory_is_found_out() {
    let shm = Path::new("/dev/shm");
    let is_tmpfs = std::fs::read_to_string("/proc/self/mounts")
        .is_ok_and(|mounts| mounts.lines().any(|line| line.contains(" /dev/shm tmpfs ")));
    if !is_tmpfs {
        return;
    }
    let root = tempfile::tempdir_in(shm).expect("a temporary directory");
    let (_, report) = doctor(root.path());
    assert_eq!(finding(&report, "file system")["state"], "wanting");
    assert_eq!(report["survives_power_loss"], false);
}

#[test]
fn what_stands_in_the_way_is_named_and_the_exit_code_says_so() {
    let root = directory();
    let file = root.path().join("file");
    std::fs::write(&file, "not a directory").expect("file");
    // Nobody, not even root, can create anything in /proc.
    for data_dir in [file.as_path(), &file.join("below"), Path::new("/proc/ouzel")] {
        let (output, report) = doctor(data_dir);
        assert_refused(&output, &["a broker cannot start here"]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(report["starts"], false, "{report}");
        assert!(report["measured"].is_null());
        let findings = report["findings"].as_array().expect("a list");
        let blocking = findings.iter().find(|finding| finding["state"] == "blocking").expect("something");
        assert!(blocking["remedy"].is_string(), "{blocking}");
    }
    let words = ["doctor", "--json", "--data-dir", root.path().to_str().expect("text"), "--shards", "1"];
    let output = run(&[&words[..], &["--set", "journal.bytes.max=4096TiB"]].concat());
    assert_refused(&output, &["one of the findings"]);
    assert_refused(
        &run(&["serve", "--data-dir", "/proc/ouzel", "--native", "127.0.0.1:0", "--admin", "127.0.0.1:0"]),
        &["ouzel doctor --data-dir /proc/ouzel"],
    );
}

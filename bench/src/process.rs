//! What a process costs: CPU seconds, resident memory and bytes sent to the device, read from `/proc`. Owns the parsing
//! of those files, and the core a thread is kept on; never signals and never starts a process. Any thread.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Ticks a second of the times in `/proc/<pid>/stat`: the kernel's USER_HZ, 100 on every architecture ouzel builds for.
const TICKS_PER_SECOND: f64 = 100.0;
/// `/proc/<pid>/status` gives memory in these.
const KIB: u64 = 1024;

/// One reading of what a process has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system CPU seconds of all its threads, dead ones included.
    pub cpu_s: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
    /// Most resident memory it ever had.
    pub rss_bytes_max: u64,
    /// Bytes it caused to be sent to block devices; 0 where the kernel does not tell.
    pub device_write_bytes: u64,
}

impl Usage {
    /// Reads the usage of a running (or dead, not yet reaped) process.
    ///
    /// # Errors
    /// The process does not exist, or `/proc` is not readable for it.
    pub fn of(pid: u32) -> io::Result<Usage> {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(directory.join("stat"))?;
        let cpu_s = parse_cpu_s(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable stat"))?;
        let status = fs::read_to_string(directory.join("status")).unwrap_or_default();
        let io_text = fs::read_to_string(directory.join("io")).unwrap_or_default();
        Ok(Usage {
            cpu_s,
            rss_bytes: field(&status, "VmRSS:").unwrap_or(0) * KIB,
            rss_bytes_max: field(&status, "VmHWM:").unwrap_or(0) * KIB,
            device_write_bytes: field(&io_text, "write_bytes:").unwrap_or(0),
        })
    }

    /// Reads the usage of this process.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn of_self() -> io::Result<Usage> {
        Usage::of(std::process::id())
    }
}

/// Keeps the calling thread, and threads and processes it starts from now on, on one core.
///
/// # Errors
/// There is no such core, or this process may not use it.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no core {cpu}")));
    }
    cores.set(cpu);
    sched_setaffinity(None, &cores)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run on core {cpu}: {error}")))
}

/// The cores the calling thread may run on.
///
/// # Errors
/// The kernel does not say.
pub fn cores() -> io::Result<CpuSet> {
    Ok(sched_getaffinity(None)?)
}

/// User plus system seconds from the text of `/proc/<pid>/stat`. The command name may hold spaces and parentheses, so
/// fields are counted from the last closing one.
fn parse_cpu_s(stat: &str) -> Option<f64> {
    let after_name = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = after_name.split_ascii_whitespace();
    // After the name: state is field 3 of proc(5), utime is 14 and stime 15.
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// The first number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(parse_cpu_s(stat), Some(3.0));
    }

    #[test]
    fn a_stat_line_that_is_cut_short_has_no_cpu_time() {
        assert_eq!(parse_cpu_s("42 (name) S 1 2 3"), None);
        assert_eq!(parse_cpu_s(""), None);
    }

    #[test]
    fn this_process_has_resident_memory() {
        let usage = Usage::of_self().expect("own usage");
        assert!(usage.rss_bytes > 0 && usage.rss_bytes_max >= usage.rss_bytes);
    }
}

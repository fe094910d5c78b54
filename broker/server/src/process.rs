//! What the process uses, read from `/proc/self`: CPU time, resident memory, open files. Owns the parsing; a figure that cannot be
//! read is left out. Any shard: these files are made by the kernel as they are read, no disk is waited for.

use std::collections::BTreeMap;
use std::fs;

use ouzel_protocol::native::{Counter, counters};

/// Microseconds of one tick of the times in `stat`: the kernel's USER_HZ is 100 on every architecture ouzel builds for.
const TICK_US: u64 = 10_000;
/// `status` gives memory in these.
const KIB: u64 = 1024;

/// The counters of the process.
pub(crate) fn counters() -> Vec<Counter> {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (user_us, system_us) = cpu_us(&stat).unzip();
    [(counters::CPU_USER_US, user_us), (counters::CPU_SYSTEM_US, system_us), (counters::RSS_BYTES, rss_bytes(&status))]
        .into_iter()
        .filter_map(|(name, value)| Some(Counter::new(name, value?)))
        .collect()
}

/// Files that are open.
pub(crate) fn open_files() -> Option<usize> {
    // The directory that is read is one of them.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// Files that may be open; `None` where there is no limit.
pub(crate) fn open_files_max() -> Option<u64> {
    limit(&fs::read_to_string("/proc/self/limits").ok()?, "Max open files")
}

/// Threads that the kernel runs for the process: they come and go, each with a number in its name.
const KERNEL_WORKER_PREFIX: &str = "iou-wrk-";

/// Nanoseconds that threads had a core, by their names; threads of one name together. Without the kernel's.
pub(crate) fn thread_cpu_nanos() -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return times };
    for thread in threads.flatten() {
        let read = |file: &str| fs::read_to_string(thread.path().join(file)).ok();
        // A thread may have ended meanwhile.
        let (Some(name), Some(stat)) = (read("comm"), read("schedstat")) else { continue };
        if name.starts_with(KERNEL_WORKER_PREFIX) {
            continue;
        }
        let nanos = stat.split_ascii_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok());
        *times.entry(name.trim_end().to_owned()).or_default() += nanos.unwrap_or(0);
    }
    times
}

/// The soft limit of that name.
fn limit(limits: &str, name: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system time. The name of the program may hold spaces and parentheses, so fields count from the last one.
fn cpu_us(stat: &str) -> Option<(u64, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    // After the name: state is field 3 of proc(5), utime is 14 and stime 15.
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut next_us = || Some(fields.next()?.parse::<u64>().ok()?.saturating_mul(TICK_US));
    Some((next_us()?, next_us()?))
}

fn rss_bytes(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(rest.split_ascii_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(KIB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_us(stat), Some((2_500_000, 500_000)));
        assert_eq!((cpu_us("42 (name) S 1 2"), cpu_us("")), (None, None));
    }

    #[test]
    fn limits_and_threads_of_this_process_are_read() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024     4096     files\n";
        assert_eq!((limit(limits, "Max open files"), limit(limits, "Max locks")), (Some(1024), None));
        assert!(open_files().is_some_and(|count| count >= 3));
        assert!(thread_cpu_nanos().values().any(|nanos| *nanos > 0));
    }

    #[test]
    fn this_process_has_resident_memory_and_says_so() {
        let rss = counters().into_iter().find(|counter| counter.name == counters::RSS_BYTES).expect("resident memory");
        assert!(rss.value > 0);
        assert_eq!(rss_bytes("VmRSS:\t  12 kB\n"), Some(12 * 1024));
    }
}

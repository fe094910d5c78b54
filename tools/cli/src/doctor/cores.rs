//! The cores that shards get: how many this process may use, whether a quota takes part of them away, and whether those that the
//! configuration names can be had. Owns the reading of the control group's quota.

use ouzel_broker::BrokerConfig;
use rustix::thread::{CpuSet, sched_getaffinity};

use super::finding::Finding;

/// What the kernel lets this process use.
#[derive(Debug)]
struct Cores {
    allowed: Vec<usize>,
    /// Cores' worth of time, where a control group limits it.
    quota: Option<f64>,
}

pub(super) fn look(config: &BrokerConfig) -> Option<Finding> {
    let set = sched_getaffinity(None).ok()?;
    let allowed = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    Some(judge(&Cores { allowed, quota: quota() }, usize::from(config.shards), &config.cpus))
}

fn judge(cores: &Cores, shards: usize, pinned: &[usize]) -> Finding {
    let check = "cores";
    let allowed = cores.allowed.len();
    let denied: Vec<&usize> = pinned.iter().filter(|cpu| !cores.allowed.contains(cpu)).collect();
    if !denied.is_empty() {
        return Finding::wanting(
            check,
            format!("cpus names {denied:?}, which this process may not use: those shards are placed by the kernel"),
            match cores.allowed.get(..shards) {
                Some(some) => format!("set cpus = \"{}\"", list(some)),
                None => format!("set shards = {allowed} and cpus = \"{}\"", list(&cores.allowed)),
            },
        );
    }
    if shards > allowed {
        return Finding::wanting(
            check,
            format!("{shards} shards take turns on {allowed} cores"),
            format!(
                "set shards = {allowed}, or allow more cores (`systemctl edit ouzel`, below [Service]: AllowedCPUs=0-{})",
                shards - 1
            ),
        );
    }
    if let Some(quota) = cores.quota.filter(|quota| *quota < shards as f64) {
        return Finding::wanting(
            check,
            format!(
                "a control group gives {quota} cores' worth of time to {shards} shards: they stand still for the rest of each period"
            ),
            format!(
                "set shards = {}, or raise the quota (`systemctl edit ouzel`, below [Service]: CPUQuota={}%; docker: --cpus={shards})",
                (quota.floor() as usize).max(1),
                shards * 100
            ),
        );
    }
    let placed =
        if pinned.is_empty() { "placed by the kernel".to_owned() } else { format!("pinned to {}", list(pinned)) };
    Finding::good(check, format!("{shards} shards on {allowed} cores, {placed}"))
}

fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// The smallest quota of this process's control group and those above it (version 2).
fn quota() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let dirs = std::path::Path::new(path).ancestors();
    let quotas = dirs.filter_map(|dir| {
        let dir = dir.strip_prefix("/").unwrap_or(dir);
        let text = std::fs::read_to_string(std::path::Path::new("/sys/fs/cgroup").join(dir).join("cpu.max")).ok()?;
        parse_quota(&text)
    });
    quotas.min_by(f64::total_cmp)
}

/// `cpu.max`: time and period in microseconds, or `max`.
fn parse_quota(text: &str) -> Option<f64> {
    let (time, period) = text.trim().split_once(' ')?;
    let (time, period): (f64, f64) = (time.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then_some(time / period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn shards_without_a_core_of_their_own_are_wanting() {
        let cores = |quota| Cores { allowed: vec![0, 1, 5], quota };
        for (quota, shards, pinned, state, words) in [
            (None, 3, &[][..], State::Good, "3 shards on 3 cores"),
            (None, 2, &[1, 5], State::Good, "pinned to 1,5"),
            (None, 2, &[1, 2], State::Wanting, "[2]"),
            (None, 4, &[], State::Wanting, "take turns"),
            (Some(1.5), 3, &[], State::Wanting, "1.5 cores' worth"),
            (Some(3.0), 3, &[], State::Good, "3 shards"),
        ] {
            let finding = judge(&cores(quota), shards, pinned);
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(finding.seen.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn a_quota_is_read_as_cores() {
        for (text, cores) in [("150000 100000\n", Some(1.5)), ("max 100000\n", None), ("", None), ("1 0", None)] {
            assert_eq!(parse_quota(text), cores, "{text}");
        }
    }
}

//! What the process uses, under the names that Prometheus' own libraries give it, and the time of each thread.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use ouzel_protocol::native::counters;

use super::table;
use super::text::Text;
use crate::process;

pub(super) fn write(text: &mut Text, started: SystemTime) {
    let known: BTreeMap<String, u64> =
        process::counters().into_iter().map(|counter| (counter.name, counter.value)).collect();
    let cpu_us = [counters::CPU_USER_US, counters::CPU_SYSTEM_US].map(|name| known.get(name).copied());
    if let [Some(user_us), Some(system_us)] = cpu_us {
        text.family(&table::PROCESS_CPU).sample(&[], (user_us + system_us) as f64 / 1e6);
    }
    if let Some(bytes) = known.get(counters::RSS_BYTES) {
        text.family(&table::PROCESS_RESIDENT).sample(&[], *bytes);
    }
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    text.family(&table::PROCESS_START).sample(&[], since.as_secs_f64());
    if let Some(count) = process::open_files() {
        text.family(&table::PROCESS_OPEN_FDS).sample(&[], count);
    }
    if let Some(count) = process::open_files_max() {
        text.family(&table::PROCESS_MAX_FDS).sample(&[], count);
    }
    let mut family = text.family(&table::THREAD_CPU);
    for (thread, nanos) in process::thread_cpu_nanos() {
        family.sample(&[&thread], nanos as f64 / 1e9);
    }
}

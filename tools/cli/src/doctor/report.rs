//! What the doctor prints: a table of findings, the lines that change what is wanting, and the sentence. Owns the layout.

use anyhow::Result;
use ouzel_runtime::host::FlushTimes;
use serde_json::{Value, json};

use super::Examination;
use super::finding::State;
use super::verdict::commits_per_second;
use crate::output::{print_json, print_line, table};

pub(super) fn print(examination: &Examination, json: bool) -> Result<()> {
    if json {
        return print_json(&as_json(examination));
    }
    let rows = examination
        .findings
        .iter()
        .map(|finding| vec![finding.check.to_owned(), finding.state.name().to_owned(), finding.seen.clone()]);
    print_line(&table(&["check", "state", "seen"], &[], rows))?;
    let remedies: Vec<String> = examination
        .findings
        .iter()
        .filter_map(|finding| {
            Some(format!("  {} ({}): {}", finding.check, finding.state.name(), finding.remedy.as_ref()?))
        })
        .collect();
    if !remedies.is_empty() {
        print_line(&format!("\nTo change it:\n{}", remedies.join("\n")))?;
    }
    print_line(&format!("\n{}", examination.verdict.sentence))
}

fn as_json(examination: &Examination) -> Value {
    let findings = examination.findings.iter().map(|finding| {
        json!({
            "check": finding.check,
            "state": finding.state.name(),
            "seen": finding.seen,
            "remedy": finding.remedy,
        })
    });
    let wanting = examination.findings.iter().filter(|finding| finding.state == State::Wanting).count();
    json!({
        "data_dir": examination.place.data_dir,
        "measured_in": examination.place.measured,
        "starts": examination.verdict.starts,
        "survives_power_loss": examination.verdict.survives_power_loss,
        "verdict": examination.verdict.sentence,
        "wanting": wanting,
        "findings": findings.collect::<Vec<_>>(),
        "measured": examination.times.as_ref().map(times),
    })
}

fn times(times: &FlushTimes) -> Value {
    let us = |sorted, share| FlushTimes::percentile(sorted, share).as_micros() as u64;
    json!({
        "commits": times.commits.len(),
        "write_p50_us": us(&times.writes, 0.5),
        "flush_p50_us": us(&times.flushes, 0.5),
        "flush_p99_us": us(&times.flushes, 0.99),
        "flush_max_us": us(&times.flushes, 1.0),
        "commit_p50_us": us(&times.commits, 0.5),
        "commits_per_second": commits_per_second(times),
        "bytes_per_second": times.bytes_per_second,
    })
}

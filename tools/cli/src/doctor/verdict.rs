//! The one sentence: which durability and which throughput this host can really give. Owns the words; invents no figure.

use ouzel_runtime::host::FlushTimes;

use super::device::Device;
use super::finding::{Finding, State};
use super::flush::{Honesty, milliseconds};
use crate::units::human_bytes;

/// The conclusion of all findings.
#[derive(Debug)]
pub(super) struct Verdict {
    /// Whether a broker starts here.
    pub(super) starts: bool,
    /// Whether what is acknowledged at level `disk` survives a loss of power, as far as can be seen.
    pub(super) survives_power_loss: bool,
    /// The sentence.
    pub(super) sentence: String,
}

impl Verdict {
    pub(super) fn of(
        findings: &[Finding],
        times: Option<&FlushTimes>,
        honesty: Honesty,
        device: Option<&Device>,
    ) -> Self {
        let starts = findings.iter().all(|finding| finding.state != State::Blocking);
        let survives_power_loss = starts && honesty.is_durable() && honesty != Honesty::Unknown;
        let name = device.map_or("the device", |device| device.name.as_str());
        let durability = match honesty {
            Honesty::Plausible | Honesty::NoCache => "acknowledged records that survive a loss of power".to_owned(),
            Honesty::OfHost => format!(
                "acknowledged records that survive a loss of power if the host of {name} keeps what it says it has flushed"
            ),
            Honesty::Unknown => {
                "acknowledged records that survive kill -9, and a loss of power if what is below keeps them".to_owned()
            }
            Honesty::Memory => "acknowledged records that survive kill -9, and no restart of the host".to_owned(),
            Honesty::Suppressed => {
                format!(
                    "acknowledged records that survive kill -9, but no loss of power as long as {name} is sent no flush"
                )
            }
            Honesty::TooFast => format!(
                "acknowledged records that survive kill -9, but no loss of power unless what {name} writes to is protected against it"
            ),
        };
        let sentence = match times {
            _ if !starts => "This host gives no broker a start: see what is blocking.".to_owned(),
            None => format!("This host can give {durability}; how many, it did not let us measure."),
            Some(times) => {
                let commit = FlushTimes::percentile(&times.commits, 0.5);
                format!(
                    "This host can give {durability}, each about {} ms after it is written; one after another that is {} commits or {} a second, for all shards together.",
                    milliseconds(commit),
                    commits_per_second(times),
                    human_bytes(times.bytes_per_second)
                )
            }
        };
        Self { starts, survives_power_loss, sentence }
    }
}

/// Commits of one block that follow each other within a second.
pub(super) fn commits_per_second(times: &FlushTimes) -> u64 {
    let total: f64 = times.commits.iter().map(std::time::Duration::as_secs_f64).sum();
    (times.commits.len() as f64 / total.max(f64::EPSILON)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_sentence_promises_no_more_than_was_found() {
        let times = FlushTimes {
            writes: vec![Duration::from_micros(100)],
            flushes: vec![Duration::from_micros(900)],
            commits: vec![Duration::from_millis(1)],
            bytes_per_second: 256 << 20,
        };
        let good = [Finding::good("kernel", "Linux")];
        let verdict = Verdict::of(&good, Some(&times), Honesty::Plausible, None);
        assert!(verdict.starts && verdict.survives_power_loss);
        for words in ["survive a loss of power", "1.00 ms", "1000 commits", "256.0 MiB a second"] {
            assert!(verdict.sentence.contains(words), "{}", verdict.sentence);
        }
        for (honesty, words) in [
            (Honesty::Memory, "no restart"),
            (Honesty::TooFast, "no loss of power"),
            (Honesty::Suppressed, "no loss of power"),
            (Honesty::Unknown, "if what is below"),
        ] {
            let verdict = Verdict::of(&good, Some(&times), honesty, None);
            assert!(!verdict.survives_power_loss && verdict.sentence.contains(words), "{}", verdict.sentence);
        }
        let blocked = [Finding::blocking("kernel", "Linux 4", "upgrade")];
        let verdict = Verdict::of(&blocked, None, Honesty::Unknown, None);
        assert!(!verdict.starts && !verdict.survives_power_loss && verdict.sentence.contains("no broker a start"));
    }
}

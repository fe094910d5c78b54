//! How a round ends: what happens to the broker and to its disk under load, and once more during the next start. Owns the
//! choice and its words; never touches either. Pure: the random numbers are the caller's.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

/// One round in this many ends with a stop in good order instead of a kill.
const STOP_EVERY: u32 = 8;
/// In one round of this many the broker is interrupted once more while it starts, this soon.
const START_INTERRUPTED_EVERY: u32 = 4;
const START_INTERRUPTED_MS: RangeInclusive<u64> = 0..=150;
/// How long a broker lives on a dead disk before it is killed: it must not acknowledge anything then.
const DEAD_DISK_MS: RangeInclusive<u64> = 0..=60;

/// How long a prepared cut waits for its operation, in milliseconds: long enough under load, short on an idle broker.
const CUT_WAIT_MS: u64 = 300;

/// At which operation of the disk its power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// None: whenever it is.
    Now,
    /// Right behind a write.
    Write,
    /// Instead of a flush.
    Flush,
}

impl Moment {
    fn pick(rng: &mut SmallRng) -> Moment {
        [Moment::Now, Moment::Write, Moment::Flush][rng.random_range(0..3)]
    }

    /// The command to the disk.
    pub(super) fn command(self) -> String {
        match self {
            Moment::Now => "cut".to_owned(),
            Moment::Write => format!("cut on write {CUT_WAIT_MS}"),
            Moment::Flush => format!("cut on flush {CUT_WAIT_MS}"),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Moment::Now => "power cut",
            Moment::Write => "power cut after a write",
            Moment::Flush => "power cut at a flush",
        })
    }
}

/// What ends the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `kill -9`; the disk lives on.
    Kill,
    /// A stop in good order.
    Stop,
    /// The power of the disk is cut; the broker is killed so much later.
    Cut { moment: Moment, killed_after: Duration },
}

/// All that happens between the load and the next pass over everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) end: End,
    /// The broker is killed so soon after the start that follows, and started again.
    pub(super) start_interrupted: Option<Duration>,
    /// That kill comes with a power cut.
    pub(super) cut_while_starting: Option<Moment>,
    /// After the pass the power is cut, and everything is read once more: what was read from the cache of the drive
    /// must not be gone (docs/rules.md J3).
    pub(super) cut_after_reading: bool,
}

impl Ending {
    /// Picks the ending of round `round`; power is cut only where there is a `disk` for it.
    pub(super) fn pick(rng: &mut SmallRng, round: u32, disk: bool) -> Ending {
        let start_interrupted = rng.random_ratio(1, START_INTERRUPTED_EVERY);
        let start_interrupted =
            start_interrupted.then(|| Duration::from_millis(rng.random_range(START_INTERRUPTED_MS)));
        if !disk {
            let end = if round.is_multiple_of(STOP_EVERY) { End::Stop } else { End::Kill };
            return Ending { end, start_interrupted, cut_while_starting: None, cut_after_reading: false };
        }
        let end = match rng.random_range(0..10) {
            0 => End::Stop,
            1..4 => End::Kill,
            _ => End::Cut {
                moment: Moment::pick(rng),
                killed_after: Duration::from_millis(rng.random_range(DEAD_DISK_MS)),
            },
        };
        let cut_while_starting = start_interrupted.filter(|_| rng.random()).map(|_| Moment::pick(rng));
        let cut_after_reading = !matches!(end, End::Cut { .. }) || rng.random_ratio(1, 8);
        Ending { end, start_interrupted, cut_while_starting, cut_after_reading }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.end {
            End::Kill => out.write_str("killed")?,
            End::Stop => out.write_str("stopped")?,
            End::Cut { moment, killed_after } => write!(out, "{moment}, killed {} ms later", killed_after.as_millis())?,
        }
        if let Some(after) = self.start_interrupted {
            match self.cut_while_starting {
                Some(moment) => write!(out, ", {moment}")?,
                None => out.write_str(", killed")?,
            }
            write!(out, " {} ms into the start", after.as_millis())?;
        }
        if self.cut_after_reading {
            out.write_str(", power cut after reading")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn power_is_cut_only_where_there_is_a_disk_and_then_in_every_way() {
        let mut rng = SmallRng::seed_from_u64(1);
        let without: Vec<Ending> = (1..=200).map(|round| Ending::pick(&mut rng, round, false)).collect();
        assert!(without.iter().all(|ending| ending.cut_while_starting.is_none() && !ending.cut_after_reading));
        assert!(without.iter().all(|ending| matches!(ending.end, End::Kill | End::Stop)));
        let with: Vec<Ending> = (1..=200).map(|round| Ending::pick(&mut rng, round, true)).collect();
        assert!(with.iter().any(|ending| matches!(ending.end, End::Cut { .. })));
        assert!(with.iter().any(|ending| ending.end == End::Kill && ending.cut_after_reading));
        assert!(with.iter().any(|ending| ending.cut_while_starting.is_some()));
        assert!(with.iter().all(|ending| ending.cut_while_starting.is_none() || ending.start_interrupted.is_some()));
    }
}

//! Which of the unsynced writes reach the disk when the power goes. Owns the ways in which drives lose writes and their
//! names; never touches a byte. Pure: the random numbers are the caller's.

use std::fmt;

use rand::Rng;
use rand::rngs::SmallRng;

/// What becomes of one unsynced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    /// Each of its sectors is kept or lost by itself.
    Torn,
    Lost,
}

/// What one cut does. A single mixture of everything would hardly ever lose all or lose exactly the last, so each cut
/// picks one way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Nothing that was not flushed survives: a drive with a large cache.
    LoseAll,
    /// Everything survives: the power went, and the drive was idle.
    KeepAll,
    /// The writes reached the disk in their order up to one, which is torn.
    InOrder,
    /// Only the youngest survive: a drive that wrote its cache from the wrong end.
    Reordered,
    /// Each write is kept, torn or lost by itself.
    Scattered,
}

const STYLES: [(&str, Style); 5] = [
    ("lose-all", Style::LoseAll),
    ("keep-all", Style::KeepAll),
    ("in-order", Style::InOrder),
    ("reordered", Style::Reordered),
    ("scattered", Style::Scattered),
];

impl Style {
    /// Mostly scattered, which holds most surprises.
    pub(crate) fn random(rng: &mut SmallRng) -> Style {
        match rng.random_range(0..20) {
            0..5 => Style::LoseAll,
            5 => Style::KeepAll,
            6..9 => Style::InOrder,
            9..12 => Style::Reordered,
            _ => Style::Scattered,
        }
    }

    /// The style of that name on the command line.
    pub(crate) fn named(name: &str) -> Option<Style> {
        STYLES.iter().find(|(known, _)| *known == name).map(|(_, style)| *style)
    }

    /// The fate of the write number `index`, oldest first; `turn` is the write at which an order ends or begins.
    pub(crate) fn fate(self, index: usize, turn: usize, rng: &mut SmallRng) -> Fate {
        match self {
            Style::LoseAll => Fate::Lost,
            Style::KeepAll => Fate::Kept,
            Style::InOrder | Style::Reordered if index == turn => Fate::Torn,
            Style::InOrder if index < turn => Fate::Kept,
            Style::InOrder => Fate::Lost,
            Style::Reordered if index < turn => Fate::Lost,
            Style::Reordered => Fate::Kept,
            Style::Scattered => [Fate::Kept, Fate::Torn, Fate::Lost][rng.random_range(0..3)],
        }
    }
}

impl fmt::Display for Style {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = STYLES.iter().find(|(_, style)| style == self).map_or("?", |(name, _)| name);
        out.write_str(name)
    }
}

/// What a cut did, in writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutReport {
    style: Style,
    kept: u64,
    torn: u64,
    lost: u64,
}

impl CutReport {
    pub(crate) fn new(style: Style) -> CutReport {
        CutReport { style, kept: 0, torn: 0, lost: 0 }
    }

    /// Counts a write of `bytes`, of which `kept_bytes` reached the disk.
    pub(crate) fn add(&mut self, bytes: usize, kept_bytes: usize) {
        match kept_bytes {
            0 => self.lost += 1,
            all if all == bytes => self.kept += 1,
            _ => self.torn += 1,
        }
    }
}

impl fmt::Display for CutReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "style={} kept={} torn={} lost={}", self.style, self.kept, self.torn, self.lost)
    }
}

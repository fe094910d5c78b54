//! The durability levels a topic can ask for and an acknowledgement can report.
//!
//! Owns the two names and their numbers. Never says how a level is reached: that is the store's. Any core.

use std::fmt;
use std::str::FromStr;

/// What holds for a batch when it is acknowledged, strongest first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Durability {
    /// On the device: survives a loss of power.
    #[default]
    Disk = 0,
    /// Handed to the kernel: survives the end of the process, not a loss of power.
    Written = 1,
}

impl Durability {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u8 {
        self as u8
    }

    /// The level a wire number names, `None` for a number of no level.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Durability> {
        match number {
            0 => Some(Durability::Disk),
            1 => Some(Durability::Written),
            _ => None,
        }
    }

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Durability::Disk => "disk",
            Durability::Written => "written",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no durability level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a durability is `disk` or `written`, got {got:?}")]
pub struct DurabilityError {
    /// The text as given.
    pub got: String,
}

impl FromStr for Durability {
    type Err = DurabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "disk" => Ok(Durability::Disk),
            "written" => Ok(Durability::Written),
            _ => Err(DurabilityError { got: text.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_comes_back_from_its_name_and_its_number() {
        for level in [Durability::Disk, Durability::Written] {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(Durability::from_wire(level.to_wire()), Some(level));
        }
        assert!("Disk".parse::<Durability>().is_err());
        assert_eq!(Durability::from_wire(2), None);
    }
}

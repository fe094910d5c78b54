//! Whether somebody keeps the clock of this host right. Asks the kernel once.

use std::io;
use std::time::Duration;

use crate::sys;

/// What the kernel knows of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockState {
    /// Whether a time service disciplines it.
    pub is_synchronised: bool,
    /// By how much it may be wrong at most, as that service believes.
    pub error_max: Duration,
}

/// Asks the kernel.
///
/// # Errors
/// A security profile forbids `adjtimex` (operator).
pub fn clock_state() -> io::Result<ClockState> {
    let (is_synchronised, error_max_us) = sys::clock_discipline()?;
    Ok(ClockState { is_synchronised, error_max: Duration::from_micros(error_max_us) })
}

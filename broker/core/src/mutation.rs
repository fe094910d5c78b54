//! Deliberate faults that keep the crash suites honest (rule M5). Compiled only with `--cfg ouzel_mutations`: no fault
//! is part of a broker that people run.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Name of the fault on the command line and in `OUZEL_MUTATION`.
pub const EPOCH_NOT_RAISED: &str = "epoch_not_raised";

static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Makes `NodeStarted` leave leader epochs as they are, on every thread of this process.
pub fn set_epoch_not_raised(active: bool) {
    ACTIVE.store(active, Ordering::SeqCst);
}

/// Whether `NodeStarted` forgets to raise leader epochs: selected by [`set_epoch_not_raised`] or by the environment.
pub(crate) fn epoch_not_raised() -> bool {
    static FROM_ENVIRONMENT: OnceLock<bool> = OnceLock::new();
    let of_process =
        FROM_ENVIRONMENT.get_or_init(|| std::env::var("OUZEL_MUTATION").is_ok_and(|name| name == EPOCH_NOT_RAISED));
    ACTIVE.load(Ordering::SeqCst) || *of_process
}

//! What this host offers: io_uring, direct I/O, the time of a flush, limits, the clock. Observations with the remedy for each
//! lack; whether a lack is one for a broker is the caller's to say. Used on threads that run no shard.

mod clock;
mod direct_io;
mod flush;
mod kernel;
mod probe;
mod ring;

pub use clock::{ClockState, clock_state};
pub use direct_io::{DirectIoLack, direct_io};
pub use flush::{FlushPlan, FlushStage, FlushTimes, measure_flushes};
pub use kernel::{KERNEL_MIN, kernel_is_too_old, kernel_release};
pub use probe::{ProbeError, ProbeReport, probe};
pub use ring::{RingLack, ring_lacks};

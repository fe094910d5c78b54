//! Ways for tasks to wait for each other. All but [`remote_oneshot`] stay on one core; none blocks a thread.
//! Every wait is cancel-safe: dropping the future gives up its place and passes on what it had been given.

mod notify;
pub mod oneshot;
pub mod remote_oneshot;
mod semaphore;

pub use notify::{Event, Notified, Notify};
pub use semaphore::{Acquire, Permit, Semaphore};

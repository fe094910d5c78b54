//! What every executor must do, one file for each part of the runtime. Knows which executor it tests only by `crate::EXECUTOR`.

mod cancellation;
mod files;
mod foreign_wakes;
mod mailboxes;
mod sockets;
mod tasks;

use ouzel_runtime::RunConfig;

/// A small ring on the executor under test.
fn config() -> RunConfig {
    RunConfig { executor: crate::EXECUTOR, recv_buffer_count: 4, ring_entries: 64, ..RunConfig::default() }
}

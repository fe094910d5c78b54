//! ouzel-bench: the load generator. Owns the load loops, the histograms, the reports and the broker that `--embedded`
//! starts; never decides what a figure is worth, never touches a broker's files, never prints. Runs on its callers'
//! threads, on tokio, in a process of its own: no shard ever executes any of this.
#![forbid(unsafe_code)]

pub mod consume;
pub mod e2e;
pub mod embedded;
pub mod fetch;
pub mod hold;
pub mod load;
pub mod meter;
pub mod payload;
pub mod process;
pub mod produce;
pub mod progress;
pub mod report;
pub mod session;
pub mod skew;
pub mod timer;
pub mod topic;
pub mod verify;
pub mod wire;

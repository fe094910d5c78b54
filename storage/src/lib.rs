//! One shard's storage: the journal makes records durable, segments make them readable, the tail cache makes them fast.
//!
//! Knows partitions by number; never topics, sockets or quorums. All of it lives on the shard that owns the partitions;
//! nothing here is `Send` but what recovery hands over and the error type.

#![forbid(unsafe_code)]

mod ack;
mod admission;
mod block_checksums;
mod commit;
pub mod config;
mod core;
mod error;
mod flush;
pub mod format;
mod handle;
mod journal;
mod memory;
pub mod metadata_log;
mod meter;
pub mod mutation;
mod partition;
pub mod producers;
mod ranks;
mod read;
mod recover;
mod recycle;
mod replay;
mod reserve;
mod scan;
mod segment;
mod space;
mod store;
mod truncate;
mod view;

pub use ack::{Ack, Appended};
pub use admission::Reservation;
pub use config::{PartitionConfig, SEGMENT_DESCRIPTORS, StoreConfig};
pub use core::StoreStats;
pub use error::StorageError;
pub use handle::PartitionHandle;
pub use meter::{PartitionTraffic, StoreMeasures};
pub use producers::ProducerLimits;
pub use read::ReadPlan;
pub use recover::{
    AssignedIds, CommittedStart, CutReport, Recovered, RecoveryProgress, RecoveryReport, recover, recover_watched,
    retire_old,
};
pub use replay::{RecoveredPartition, RecoveredSegment};
pub use store::Store;

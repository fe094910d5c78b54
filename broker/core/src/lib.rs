//! The pure state machines of the broker: state and event in, state and records out.
//!
//! Owns the rules of metadata (topics, partitions, placement, epochs, configs) and of groups. Never does I/O, reads a
//! clock, draws a random number or knows a runtime: whatever varies comes in as an argument. Lives on no core in
//! particular; shard 0 drives the metadata, every other shard reads published images of it.
#![forbid(unsafe_code)]

mod bytes;
mod error;
pub mod group;
pub mod limits;
pub mod metadata;
#[cfg(ouzel_mutations)]
pub mod mutation;
mod topic_config;

pub use error::MetadataError;
pub use metadata::{Command, MetadataImage, NodeState, Partition, Placement, Record, ShardMove, Topic};
pub use topic_config::{ConfigEntry, ConfigKey, ConfigKind, TopicConfig};

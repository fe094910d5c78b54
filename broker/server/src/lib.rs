//! The broker: shards, the native listener and the handlers of its requests.
//!
//! Owns the threads, the sockets and the way of a request: accept -> frame -> handler -> owner -> reply, each file once, in
//! one direction. Decides nothing that the state machines of broker/core could decide, and stores nothing that storage
//! does not. One shard is one thread with one ring; shards share nothing and talk through lanes.
#![forbid(unsafe_code)]

mod accept;
mod admin;
mod clean_mark;
mod config;
mod connection;
mod connection_count;
mod data_dir;
mod epoch_ends;
mod error;
mod error_map;
mod frame_reader;
mod groups;
mod handlers;
mod join;
mod kafka;
mod lanes;
mod limits;
mod listeners;
mod memory;
mod metadata_plane;
mod meter;
mod node;
mod owner;
mod process;
mod producer_ids;
mod producing;
mod pulse;
mod recovery;
mod reply_queue;
mod request;
mod shard;
mod shard_status;
mod spare_bodies;
mod supervise;
mod topic_table;
mod watch;

pub use config::{BrokerConfig, ImpossibleSetting, PeerLimits, ShownSetting, TopicDefaults};
pub use error::{StartError, StopError};
pub use listeners::Addresses;
pub use node::{Broker, RunningBroker, ServeError, serve};
pub use ouzel_storage::RecoveryProgress;
pub use pulse::{NoPulse, Pulse};
pub use recovery::{RecoverySummary, StartedAfter};

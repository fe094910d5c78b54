//! Why a broker did not start or did not stop cleanly. Each message is one line and says what to do. Wire error codes
//! are none of its business: they stand in `error_map.rs`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ouzel_broker_core::MetadataError;
use ouzel_runtime::ProbeError;
use ouzel_storage::StorageError;
use ouzel_storage::metadata_log::MetadataLogError;

use crate::config::ImpossibleSetting;

/// Why the broker did not start. Nothing is served, and nothing that was durable has changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting cannot work.
    #[error("{0}")]
    Config(#[from] ImpossibleSetting),
    /// The data directory cannot be created or written.
    #[error("cannot use data directory {path}: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another broker holds the data directory.
    #[error("data directory {path} is in use by another broker: stop it, or choose another --data-dir")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The host lacks something.
    #[error("this host cannot run the broker: {0}")]
    Probe(#[from] ProbeError),
    /// The address is taken.
    #[error("{what} address {address} is in use: stop what listens there, or choose another port")]
    PortInUse {
        /// Which listener.
        what: String,
        /// Where.
        address: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {what} address {address}: {source}")]
    Bind {
        /// Which listener.
        what: String,
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There can be no thread for the admin server.
    #[error("the admin server cannot start: {0}")]
    Admin(#[source] io::Error),
    /// The disk has no room for the journal.
    #[error(
        "too little space in {path} for the journal: {needed} bytes are needed, {missing} are missing; free them or lower the journal's size"
    )]
    NoSpace {
        /// The data directory.
        path: PathBuf,
        /// What the journal may take.
        needed: u64,
        /// How much of it is not there.
        missing: u64,
    },
    /// The metadata log cannot be read or written.
    #[error("metadata: {0}")]
    MetadataLog(#[from] MetadataLogError),
    /// The metadata log holds what cannot be.
    #[error("metadata: {0}")]
    Metadata(#[from] MetadataError),
    /// Recovery or the journal failed.
    #[error("storage: {0}")]
    Storage(#[from] StorageError),
    /// A shard's thread or ring cannot be had.
    #[error("shard {shard} cannot run: {source}")]
    Shard {
        /// Which shard.
        shard: u16,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A shard went away while the broker started; its own error is in the log.
    #[error("shard {shard} ended while the broker started")]
    ShardEnded {
        /// Which shard.
        shard: u16,
    },
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] io::Error),
}

/// Why the broker did not stop cleanly. What was acknowledged is durable all the same.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// A shard's storage could not be closed.
    #[error("shard {shard} did not close its log: {source}")]
    Storage {
        /// Which shard.
        shard: u16,
        /// What failed.
        #[source]
        source: StorageError,
    },
    /// The stop was not waited for.
    #[error(
        "the broker was ended before it had stopped: {why}; what was acknowledged is durable, the next start recovers"
    )]
    Forced {
        /// A second signal, or the time was up.
        why: &'static str,
    },
    /// A shard ended before it was asked to.
    #[error("shard {shard} ended before it was stopped: {detail}")]
    ShardEnded {
        /// Which shard.
        shard: u16,
        /// What is known.
        detail: String,
    },
}

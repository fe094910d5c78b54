//! One core = one thread = one io_uring = one executor. Sockets, O_DIRECT files, timers, mailboxes, aligned buffers.
//!
//! Owns every `unsafe` block of the workspace. Knows nothing of brokers, partitions or wire formats.
//! A [`Shard`] is `!Send`: everything it hands out but [`Mailbox`], [`Inbox`], [`SharedSlice`] and the remote oneshot
//! lives and dies on the thread that called [`run`].

mod buf;
pub mod counting;
mod driver;
mod executor;
mod executor_kind;
mod file;
mod fs;
mod helper;
mod histogram;
pub mod host;
mod listener;
mod mailbox;
mod pool_buf;
mod prefetch;
mod ring;
mod shard;
mod signal;
pub mod sim;
mod socket;
pub mod sync;
mod sys;
mod tail;
mod time;
mod wake;

pub use buf::{ALIGN, AlignedBuf, AlignedPool, AlignedRead, PooledAligned};
pub use executor::TaskHandle;
pub use executor_kind::{ExecutorKind, UnknownExecutor};
pub use file::File;
pub use fs::{DirEntry, FileSystem, Fs, OpenMode};
pub use histogram::{Histogram, HistogramCounts};
pub use host::{ProbeError, ProbeReport, probe};
pub use listener::Listener;
pub use mailbox::{Inbox, Mailbox, SendError};
pub use pool_buf::PoolBuf;
pub use prefetch::prefetch;
pub use ring::Operations;
pub use shard::{RunConfig, Shard, run, timeout_at};
pub use signal::{Signal, Signals};
pub use socket::{DIRECT_BYTES_MIN, Outgoing, PeerProgress, Socket};
pub use sync::remote_oneshot;
pub use tail::{ChunkLedger, SharedSlice, TailChunk, chunk_ledger};
pub use time::{Elapsed, Instant};

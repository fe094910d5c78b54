//! The seam between the executor and what makes operations happen: the ring, or the simulator.
//! Owns the operation and reply types both sides share. Decides nothing; lives on the shard's core.
//!
//! The executor owns tasks, the run queue and the timers; a driver owns operations and the clock. Sockets exist only on
//! the ring (`ErrorKind::Unsupported` in the simulator), so the simulator's whole surface is [`SimDriver`].

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use crate::buf::{AlignedBuf, WriteBuf};
use crate::fs::{DirEntry, OpenMode};
use crate::sync::oneshot;
use crate::time::Instant;

/// What a run stands on.
#[derive(Clone)]
pub(crate) enum Driver {
    /// One io_uring, real time, real files and sockets.
    Ring(Rc<crate::ring::RingDriver>),
    /// A fake clock and a fake disk.
    Sim(Rc<dyn SimDriver>),
}

/// Identifies an open file inside a [`SimDriver`]. Never reused within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SimFile(pub(crate) u64);

/// An operation on an open file. Alignment was checked, and short writes are resumed, by `file.rs` above the seam.
#[derive(Debug)]
pub(crate) enum FileOp {
    /// Read up to `bytes` at `offset` into the start of `buf`; the count is short only at the end of the file.
    Read { buf: AlignedBuf, bytes: usize, offset: u64 },
    /// Write `buf[start..]` at `offset` (which already includes `start`); the reply's count may be short.
    Write { buf: WriteBuf, start: usize, offset: u64 },
    /// Make data and the size durable.
    Datasync,
    /// Make data and all metadata durable.
    Sync,
    /// `fallocate`: extends the file to at least `offset + bytes`, reading as zeros.
    Allocate { offset: u64, bytes: u64 },
    /// Set the length.
    Truncate { bytes: u64 },
    /// Reply with the length as the count.
    Len,
}

/// The buffer of an operation on its way back.
#[derive(Debug)]
pub(crate) enum FileBuf {
    None,
    Read(AlignedBuf),
    Write(WriteBuf),
}

/// The end of a [`FileOp`]: the count (bytes, or length) or the error, and the buffer that was lent, always.
#[derive(Debug)]
pub(crate) struct FileDone {
    pub(crate) result: io::Result<u64>,
    pub(crate) buf: FileBuf,
}

/// An operation on paths.
#[derive(Debug, Clone)]
pub(crate) enum FsOp {
    Open {
        path: PathBuf,
        mode: OpenMode,
    },
    CreateDirAll(PathBuf),
    RemoveFile(PathBuf),
    RemoveDirAll(PathBuf),
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    /// fsync of a directory: its entries become durable.
    SyncDir(PathBuf),
    /// syncfs: everything that is complete becomes durable, entries of directories too.
    SyncAll,
    ReadDir(PathBuf),
    FreeBytes(PathBuf),
}

/// The reply to an [`FsOp`]; `Unit` where there is nothing to say.
#[derive(Debug)]
pub(crate) enum FsReply {
    Unit,
    Opened(SimFile),
    Entries(Vec<DirEntry>),
    Bytes(u64),
}

/// What became of a simulator turn in which no task was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// At least one completion was delivered, or the clock reached the deadline.
    Progress,
    /// The run is over and this is why.
    Halt(Halt),
}

/// Why a simulated run ended before its main future did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The planned power cut happened.
    PowerCut,
    /// No task is ready, no timer is set, no operation is in flight.
    Stalled,
}

/// The simulator below the executor. All calls come from the thread that runs the simulation.
///
/// `done.send(..)` resolves the waiting operation (it wakes the task, it never runs it). It may be called from `file` and
/// `fs` at once or from a later `advance`. A waiter that went away makes `send` return the value: drop it. An abandoned
/// operation goes on, as on the ring.
pub(crate) trait SimDriver {
    /// The fake monotonic clock.
    fn now(&self) -> Instant;
    /// The fake wall clock, milliseconds since 1970.
    fn wall_ms(&self) -> i64;
    /// Starts an operation on an open file.
    fn file(&self, file: SimFile, op: FileOp, done: oneshot::Sender<FileDone>);
    /// Starts an operation on paths.
    fn fs(&self, op: FsOp, done: oneshot::Sender<io::Result<FsReply>>);
    /// The last handle of an open file is gone. Operations in flight still complete.
    fn close(&self, file: SimFile);
    /// File operations started and not yet completed.
    fn disk_in_flight(&self) -> usize;
    /// No task is ready: deliver the next completion(s), or move the clock to `deadline` (the earliest timer) when that
    /// comes first. Never blocks. `Halt::Stalled` when there is neither.
    fn advance(&self, deadline: Option<Instant>) -> Advance;
}

//! The simulated machine below the executor: a clock that jumps to the next event, and disk operations that complete
//! after random delays, hence in random order. Owns the pending completions and the open handles; the disk itself is
//! `SimDisk`. Decides nothing by real time. Lives on the one thread of a simulated run.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::disk::{SimDisk, Stop};
use super::names::FileId;
use super::state::{Reply, Request, Ticket};
use crate::driver::{Advance, Driver, FileBuf, FileDone, FileOp, FsOp, FsReply, Halt, SimDriver, SimFile};
use crate::fs::{DirEntry, OpenMode};
use crate::shard::Shard;
use crate::sync::oneshot;
use crate::time::Instant;

/// How a simulated run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum SimOutcome<T> {
    /// The main future returned this; operations then in flight completed, as at an orderly stop.
    Done(T),
    /// The planned power cut happened; the main future and every task were dropped where they stood.
    PowerCut,
    /// The planned kill happened; likewise.
    Killed,
    /// Nothing could ever happen again: no task ready, no timer set, no operation in flight.
    Stalled,
}

/// Runs `main` on a fake clock and on `disk`, deterministically: the same seed, disk and program give the same run, event
/// for event (see [`SimDisk::trace_hash`]). Sockets are `Unsupported`.
pub fn run_sim<F, T>(seed: u64, disk: SimDisk, main: impl FnOnce(Shard) -> F) -> SimOutcome<T>
where
    F: Future<Output = T>,
{
    disk.boot();
    let driver = Rc::new(SimMachine::new(seed, disk.clone()));
    let outcome = crate::shard::run_driver(Driver::Sim(driver.clone()), main);
    match (disk.stopped(), outcome) {
        (Some(Stop::PowerCut), _) => SimOutcome::PowerCut,
        (Some(Stop::Kill), _) => SimOutcome::Killed,
        (None, Ok(value)) => {
            driver.drain();
            SimOutcome::Done(value)
        }
        (None, Err(Halt::Stalled)) => SimOutcome::Stalled,
        (None, Err(Halt::PowerCut)) => unreachable!("only the disk stops a run"),
    }
}

/// How long operations take in this run: drawn per run, so that every ratio of write to sync latency occurs.
#[derive(Clone, Copy, Debug)]
struct Pace {
    read_us: u32,
    write_us: u32,
    sync_us: u32,
    path_us: u32,
}

impl Pace {
    fn draw(rng: &mut SmallRng) -> Pace {
        let mut level = || [20, 100, 400, 2_000][rng.random_range(0..4usize)];
        Pace { read_us: level(), write_us: level(), sync_us: level(), path_us: level() }
    }
}

/// Whom to tell when an operation completes.
enum Waiter {
    File { buf: FileBuf, done: oneshot::Sender<FileDone> },
    Path { mode: Option<OpenMode>, done: oneshot::Sender<io::Result<FsReply>> },
}

struct Pending {
    ticket: Ticket,
    waiter: Waiter,
}

struct Handle {
    file: FileId,
    writable: bool,
}

struct Machine {
    rng: SmallRng,
    pace: Pace,
    now: Instant,
    /// By time, then by lot.
    pending: BTreeMap<(Instant, u32, Ticket), Pending>,
    file_ops: usize,
    /// Path operations run on the node's one helper thread: in order.
    path_free_at: Instant,
    handles: BTreeMap<SimFile, Handle>,
    next_handle: u64,
}

struct SimMachine {
    disk: SimDisk,
    machine: RefCell<Machine>,
}

impl SimMachine {
    fn new(seed: u64, disk: SimDisk) -> SimMachine {
        let mut rng = SmallRng::seed_from_u64(seed);
        let start = Instant::from_nanos(1_000_000_000);
        let machine = Machine {
            pace: Pace::draw(&mut rng),
            rng,
            now: start,
            pending: BTreeMap::new(),
            file_ops: 0,
            path_free_at: start,
            handles: BTreeMap::new(),
            next_handle: 1,
        };
        SimMachine { disk, machine: RefCell::new(machine) }
    }

    /// Completes everything in flight, as an orderly stop does; a planned cut waits for the next run.
    fn drain(&self) {
        let plan = self.disk.take_plan();
        while matches!(self.advance(None), Advance::Progress) {}
        self.disk.restore_plan(plan);
    }

    fn complete(&self, pending: Pending) {
        let result = self.disk.finish(pending.ticket);
        if self.disk.stopped().is_some() {
            return;
        }
        match pending.waiter {
            Waiter::File { mut buf, done } => {
                let result = file_result(result, &mut buf);
                drop(done.send(FileDone { result, buf }));
            }
            Waiter::Path { mode, done } => {
                let reply = result.map(|reply| self.fs_reply(reply, mode));
                drop(done.send(reply));
            }
        }
    }

    fn fs_reply(&self, reply: Reply, mode: Option<OpenMode>) -> FsReply {
        match reply {
            Reply::File(file) => {
                let mut machine = self.machine.borrow_mut();
                let handle = SimFile(machine.next_handle);
                machine.next_handle += 1;
                machine.handles.insert(handle, Handle { file, writable: mode != Some(OpenMode::Read) });
                FsReply::Opened(handle)
            }
            Reply::Names(names) => FsReply::Entries(
                names.into_iter().map(|(name, is_dir, bytes)| DirEntry { name, is_dir, bytes }).collect(),
            ),
            Reply::Number(bytes) => FsReply::Bytes(bytes),
            Reply::Done | Reply::Bytes(_) | Reply::Written(_) => FsReply::Unit,
        }
    }
}

impl Machine {
    /// Mostly around `us`, sometimes at once, now and then much longer.
    fn delay(&mut self, us: u32) -> Duration {
        let nanos = match self.rng.random_range(0..16u32) {
            0 => self.rng.random_range(1..1_000),
            1 => self.rng.random_range(1..u64::from(us) * 10_000),
            _ => self.rng.random_range(u64::from(us) * 500..u64::from(us) * 1_500),
        };
        Duration::from_nanos(nanos)
    }

    fn schedule(&mut self, at: Instant, pending: Pending) {
        let lot = self.rng.random();
        self.pending.insert((at, lot, pending.ticket), pending);
    }
}

impl SimDriver for SimMachine {
    fn now(&self) -> Instant {
        self.machine.borrow().now
    }

    fn wall_ms(&self) -> i64 {
        let since_start_ms = self.machine.borrow().now.as_nanos() / 1_000_000;
        1_700_000_000_000 + i64::try_from(since_start_ms).unwrap_or(i64::MAX / 2)
    }

    fn file(&self, file: SimFile, op: FileOp, done: oneshot::Sender<FileDone>) {
        let mut machine = self.machine.borrow_mut();
        let handle = &machine.handles[&file];
        let writes = !matches!(op, FileOp::Read { .. } | FileOp::Len | FileOp::Datasync | FileOp::Sync);
        if writes && !handle.writable {
            drop(machine);
            let result = Err(io::Error::from_raw_os_error(libc::EBADF));
            let (_, buf, _) = file_request(FileId(0), op, Pace { read_us: 0, write_us: 0, sync_us: 0, path_us: 0 });
            drop(done.send(FileDone { result, buf }));
            return;
        }
        let (request, buf, us) = file_request(handle.file, op, machine.pace);
        let at = machine.now + machine.delay(us);
        machine.file_ops += 1;
        let ticket = self.disk.start(request);
        machine.schedule(at, Pending { ticket, waiter: Waiter::File { buf, done } });
    }

    fn fs(&self, op: FsOp, done: oneshot::Sender<io::Result<FsReply>>) {
        let mut machine = self.machine.borrow_mut();
        let (request, mode) = path_request(op);
        let us = machine.pace.path_us;
        let at = machine.path_free_at.max(machine.now) + machine.delay(us);
        machine.path_free_at = at;
        let ticket = self.disk.start(request);
        machine.schedule(at, Pending { ticket, waiter: Waiter::Path { mode, done } });
    }

    fn close(&self, file: SimFile) {
        self.machine.borrow_mut().handles.remove(&file);
    }

    fn disk_in_flight(&self) -> usize {
        self.machine.borrow().file_ops
    }

    fn advance(&self, deadline: Option<Instant>) -> Advance {
        if self.disk.stopped().is_some() {
            return Advance::Halt(Halt::PowerCut);
        }
        let pending = {
            let mut machine = self.machine.borrow_mut();
            let next = machine.pending.first_key_value().map(|(key, _)| *key);
            match (next, deadline) {
                (None, None) => return Advance::Halt(Halt::Stalled),
                (Some((at, ..)), deadline) if deadline.is_none_or(|deadline| at <= deadline) => {
                    machine.now = machine.now.max(at);
                    let (_, pending) = machine.pending.pop_first().expect("it was looked at above");
                    if matches!(pending.waiter, Waiter::File { .. }) {
                        machine.file_ops -= 1;
                    }
                    self.disk.note(machine.now.as_nanos());
                    pending
                }
                (_, Some(deadline)) => {
                    machine.now = machine.now.max(deadline);
                    return Advance::Progress;
                }
                (Some(_), None) => unreachable!("without a deadline the next completion is due"),
            }
        };
        self.complete(pending);
        if self.disk.stopped().is_some() { Advance::Halt(Halt::PowerCut) } else { Advance::Progress }
    }
}

/// What the disk is asked for, the buffer to give back, and the usual latency in microseconds.
fn file_request(file: FileId, op: FileOp, pace: Pace) -> (Request, FileBuf, u32) {
    match op {
        FileOp::Read { buf, bytes, offset } => {
            (Request::Read { file, offset, bytes }, FileBuf::Read(buf), pace.read_us)
        }
        FileOp::Write { buf, start, offset } => {
            let bytes = buf[start..].to_vec();
            (Request::Write { file, offset, bytes }, FileBuf::Write(buf), pace.write_us)
        }
        FileOp::Datasync | FileOp::Sync => (Request::Sync { file }, FileBuf::None, pace.sync_us),
        FileOp::Allocate { offset, bytes } => (Request::Allocate { file, offset, bytes }, FileBuf::None, pace.path_us),
        FileOp::Truncate { bytes } => (Request::Truncate { file, bytes }, FileBuf::None, pace.path_us),
        FileOp::Len => (Request::Length { file }, FileBuf::None, pace.path_us),
    }
}

fn file_result(result: io::Result<Reply>, buf: &mut FileBuf) -> io::Result<u64> {
    match (result?, buf) {
        (Reply::Bytes(bytes), FileBuf::Read(buf)) => {
            buf[..bytes.len()].copy_from_slice(&bytes);
            Ok(bytes.len() as u64)
        }
        (Reply::Written(bytes), _) => Ok(bytes as u64),
        (Reply::Number(number), _) => Ok(number),
        _ => Ok(0),
    }
}

fn path_request(op: FsOp) -> (Request, Option<OpenMode>) {
    let open = |path: PathBuf, mode: OpenMode| Request::Open { path, create: mode == OpenMode::Create };
    match op {
        FsOp::Open { path, mode } => (open(path, mode), Some(mode)),
        FsOp::CreateDirAll(path) => (Request::CreateDirAll(path), None),
        FsOp::RemoveFile(path) => (Request::RemoveFile(path), None),
        FsOp::RemoveDirAll(path) => (Request::RemoveDirAll(path), None),
        FsOp::Rename { from, to } => (Request::Rename { from, to }, None),
        FsOp::SyncDir(path) => (Request::SyncDir(path), None),
        FsOp::SyncAll => (Request::SyncAll, None),
        FsOp::ReadDir(path) => (Request::ReadDir(path), None),
        FsOp::FreeBytes(path) => (Request::FreeBytes(path), None),
    }
}

//! The inside of the simulated disk: what an operation does when it completes, and what is left when the run is stopped.
//! Owns the operations in flight; never decides when one completes (the driver does).
//! Lives on the one thread of a simulated run.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::contents::{Change, Contents, CutTemper, Fate, SECTOR_BYTES};
use super::disk::{DiskStats, Fault, OpClass, Stop};
use super::names::{DirMark, FileId, Listed, Names};
use super::trace::Trace;

/// An operation as the driver hands it down. Offsets and lengths in bytes.
#[derive(Debug)]
pub(super) enum Request {
    Read { file: FileId, offset: u64, bytes: usize },
    Write { file: FileId, offset: u64, bytes: Vec<u8> },
    Sync { file: FileId },
    Truncate { file: FileId, bytes: u64 },
    Allocate { file: FileId, offset: u64, bytes: u64 },
    Length { file: FileId },
    Open { path: PathBuf, create: bool },
    CreateDirAll(PathBuf),
    RemoveFile(PathBuf),
    RemoveDirAll(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    SyncDir(PathBuf),
    SyncAll,
    ReadDir(PathBuf),
    FreeBytes(PathBuf),
}

impl Request {
    fn is_of(&self, class: OpClass) -> bool {
        match class {
            OpClass::Read => matches!(self, Request::Read { .. }),
            OpClass::Write => matches!(self, Request::Write { .. }),
            OpClass::Sync => matches!(self, Request::Sync { .. } | Request::SyncDir(_) | Request::SyncAll),
            OpClass::Space => matches!(
                self,
                Request::Write { .. }
                    | Request::Allocate { .. }
                    | Request::Open { create: true, .. }
                    | Request::CreateDirAll(_)
            ),
        }
    }
}

/// What a completed operation brings back.
#[derive(Debug)]
pub(super) enum Reply {
    Done,
    Bytes(Vec<u8>),
    Written(usize),
    File(FileId),
    Number(u64),
    Names(Vec<(String, bool, u64)>),
}

/// Names an operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct InFlight {
    request: Request,
    fault: Option<Fault>,
    file_mark: u64,
    dir_mark: Option<io::Result<DirMark>>,
    /// What a sync of everything covers.
    all: Option<AllMarks>,
}

/// Marks of every file and every directory.
#[derive(Debug)]
struct AllMarks {
    files: Vec<(FileId, u64)>,
    dirs: Vec<DirMark>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: SmallRng,
    pub(super) names: Names,
    pub(super) files: BTreeMap<FileId, Contents>,
    in_flight: BTreeMap<Ticket, InFlight>,
    pub(super) faults: BTreeMap<u64, Fault>,
    /// The operation of this class that is so many from now fails.
    pub(super) class_fault: Option<(OpClass, u64, Fault)>,
    pub(super) stop_at: Option<(u64, Stop)>,
    pub(super) stopped: Option<Stop>,
    pub(super) capacity_bytes: u64,
    /// Operations that need space until there is none left.
    pub(super) fill_in: Option<u64>,
    pub(super) stats: DiskStats,
    pub(super) trace: Trace,
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            rng: SmallRng::seed_from_u64(seed),
            names: Names::new(),
            files: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            faults: BTreeMap::new(),
            class_fault: None,
            stop_at: None,
            stopped: None,
            capacity_bytes: u64::MAX,
            fill_in: None,
            stats: DiskStats::default(),
            trace: Trace::new(seed),
        }
    }

    pub(super) fn deep_copy(&self) -> State {
        State {
            rng: self.rng.clone(),
            names: self.names.clone(),
            files: self.files.clone(),
            in_flight: BTreeMap::new(),
            faults: self.faults.clone(),
            class_fault: self.class_fault,
            stop_at: self.stop_at,
            stopped: self.stopped,
            capacity_bytes: self.capacity_bytes,
            fill_in: self.fill_in,
            stats: self.stats,
            trace: self.trace,
        }
    }

    pub(super) fn reseed(&mut self, seed: u64) {
        self.rng = SmallRng::seed_from_u64(seed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(super) fn start(&mut self, request: Request) -> Ticket {
        self.stats.ops += 1;
        let ticket = Ticket(self.stats.ops);
        if self.stopped.is_some() {
            return ticket;
        }
        match &request {
            Request::Write { .. } => self.stats.writes += 1,
            Request::Sync { .. } => self.stats.syncs += 1,
            _ => {}
        }
        self.trace_request(ticket, &request);
        let file_mark = match &request {
            Request::Sync { file } => self.files.get(file).map_or(0, Contents::sync_mark),
            _ => 0,
        };
        let dir_mark = match &request {
            Request::SyncDir(path) => Some(self.names.sync_mark(path)),
            _ => None,
        };
        let all = matches!(request, Request::SyncAll).then(|| AllMarks {
            files: self.files.iter().map(|(file, contents)| (*file, contents.sync_mark())).collect(),
            dirs: self.names.sync_marks(),
        });
        let fault = self.faults.remove(&self.stats.ops).or_else(|| self.take_class_fault(&request));
        self.stats.faults += u64::from(fault.is_some());
        self.fill(&request);
        self.in_flight.insert(ticket, InFlight { request, fault, file_mark, dir_mark, all });
        self.event();
        ticket
    }

    /// Something else takes what space there is when the chosen operation comes.
    fn fill(&mut self, request: &Request) {
        let Some(left) = self.fill_in.filter(|_| request.is_of(OpClass::Space)) else { return };
        self.fill_in = (left > 1).then(|| left - 1);
        if left == 1 {
            self.capacity_bytes = self.used_bytes();
            self.stats.faults += 1;
        }
    }

    fn take_class_fault(&mut self, request: &Request) -> Option<Fault> {
        let (class, left, fault) = self.class_fault?;
        if !request.is_of(class) {
            return None;
        }
        self.class_fault = (left > 1).then_some((class, left - 1, fault));
        (left == 1).then_some(fault)
    }

    pub(super) fn finish(&mut self, ticket: Ticket) -> io::Result<Reply> {
        let Some(op) = self.in_flight.remove(&ticket) else {
            return Err(io::Error::other("the power is off"));
        };
        let result = self.perform(op);
        self.trace.add(ticket.0);
        match &result {
            Ok(Reply::Bytes(bytes)) => self.trace.add_bytes(bytes),
            Ok(reply) => self.trace.add(match reply {
                Reply::Written(bytes) => *bytes as u64,
                Reply::Number(number) => *number,
                Reply::File(file) => file.0,
                _ => 1,
            }),
            Err(error) => self.trace.add(error.kind() as u64 + 1000),
        }
        self.event();
        result
    }

    fn event(&mut self) {
        self.stats.events += 1;
        if let Some((at, stop)) = self.stop_at
            && at <= self.stats.events
        {
            self.stop(stop);
        }
    }

    fn perform(&mut self, op: InFlight) -> io::Result<Reply> {
        let error = op.fault.and_then(Fault::error);
        match op.request {
            Request::Write { file, offset, bytes } => self.perform_write(file, offset, bytes, op.fault),
            Request::Read { file, offset, bytes } => {
                if let Some(error) = error {
                    return Err(error);
                }
                let mut found = self.contents(file)?.read(size(offset)?, bytes).to_vec();
                if op.fault == Some(Fault::Short) {
                    found.truncate(found.len() / 2 / SECTOR_BYTES * SECTOR_BYTES);
                }
                Ok(Reply::Bytes(found))
            }
            Request::SyncAll => self.perform_sync_all(op.all, error),
            Request::Sync { file } => {
                let State { files, rng, .. } = self;
                let contents = files.get_mut(&file).ok_or(io::ErrorKind::NotFound)?;
                match error {
                    Some(error) => {
                        contents.sync_fails(op.file_mark, rng);
                        Err(error)
                    }
                    None => {
                        contents.sync(op.file_mark);
                        Ok(Reply::Done)
                    }
                }
            }
            request => match error {
                Some(error) => Err(error),
                None => self.perform_metadata(request, op.dir_mark),
            },
        }
    }

    fn perform_write(
        &mut self,
        file: FileId,
        offset: u64,
        mut bytes: Vec<u8>,
        fault: Option<Fault>,
    ) -> io::Result<Reply> {
        let offset = size(offset)?;
        let asked = bytes.len();
        let mut error = fault.and_then(Fault::error);
        let length = self.contents(file)?.len();
        if self.lacks_space((offset + asked).saturating_sub(length) as u64) {
            error = error.or_else(|| Fault::Enospc.error());
        }
        if error.is_some() || fault == Some(Fault::Short) {
            let blocks = asked / 4096;
            // A short write makes progress, or no caller could ever end.
            let written = if error.is_some() {
                self.rng.random_range(0..=blocks)
            } else {
                self.rng.random_range(0..blocks.max(1)).max(1)
            };
            bytes.truncate(written * 4096);
        }
        let written = bytes.len();
        if written > 0 && !(fault.is_none() && error.is_some()) {
            self.contents(file)?.complete(Change::Write { offset, bytes });
        }
        match error {
            Some(error) => Err(error),
            None => Ok(Reply::Written(written)),
        }
    }

    fn perform_sync_all(&mut self, marks: Option<AllMarks>, error: Option<io::Error>) -> io::Result<Reply> {
        let Some(AllMarks { files, dirs }) = marks else { return Ok(Reply::Done) };
        for (file, mark) in files {
            let Some(contents) = self.files.get_mut(&file) else { continue };
            match error {
                Some(_) => contents.sync_fails(mark, &mut self.rng),
                None => contents.sync(mark),
            }
        }
        if error.is_none() {
            dirs.into_iter().for_each(|mark| self.names.sync(mark));
        }
        error.map_or(Ok(Reply::Done), Err)
    }

    fn perform_metadata(&mut self, request: Request, dir_mark: Option<io::Result<DirMark>>) -> io::Result<Reply> {
        match request {
            Request::Truncate { file, bytes } => {
                self.resize(file, size(bytes)?)?;
                Ok(Reply::Done)
            }
            Request::Allocate { file, offset, bytes } => {
                let end = size(offset)?.saturating_add(size(bytes)?);
                if end > self.contents(file)?.len() {
                    self.resize(file, end)?;
                }
                Ok(Reply::Done)
            }
            Request::Length { file } => Ok(Reply::Number(self.contents(file)?.len() as u64)),
            Request::Open { path, create: true } => {
                let file = self.names.create_file(&path)?;
                self.files.insert(file, Contents::default());
                Ok(Reply::File(file))
            }
            Request::Open { path, create: false } => Ok(Reply::File(self.names.file(&path)?)),
            // A new directory needs a block, which is not counted: it is refused where there is nothing at all.
            Request::CreateDirAll(path) if self.names.list(&path).is_err() && self.lacks_space(1) => {
                Err(io::Error::from_raw_os_error(libc::ENOSPC))
            }
            Request::CreateDirAll(path) => self.names.create_dir_all(&path).map(|()| Reply::Done),
            Request::RemoveFile(path) => self.names.remove_file(&path).map(|()| Reply::Done),
            Request::RemoveDirAll(path) => self.names.remove_dir_all(&path).map(|()| Reply::Done),
            Request::Rename { from, to } => self.names.rename(&from, &to).map(|()| Reply::Done),
            Request::SyncDir(path) => {
                let mark = dir_mark.unwrap_or_else(|| self.names.sync_mark(&path))?;
                self.names.sync(mark);
                Ok(Reply::Done)
            }
            Request::ReadDir(path) => {
                let listed = self.names.list(&path)?;
                let names = listed.into_iter().map(|entry| match entry {
                    Listed::File(name, file) => (name, false, self.files[&file].len() as u64),
                    Listed::Dir(name) => (name, true, 0),
                });
                Ok(Reply::Names(names.collect()))
            }
            Request::FreeBytes(path) => {
                self.names.list(&path)?;
                Ok(Reply::Number(self.capacity_bytes.saturating_sub(self.used_bytes())))
            }
            Request::Read { .. } | Request::Write { .. } | Request::Sync { .. } | Request::SyncAll => {
                unreachable!("data operations are performed by their own functions")
            }
        }
    }

    fn resize(&mut self, file: FileId, bytes: usize) -> io::Result<()> {
        let length = self.contents(file)?.len();
        if self.lacks_space(bytes.saturating_sub(length) as u64) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.contents(file)?.complete(Change::Resize { bytes });
        Ok(())
    }

    fn lacks_space(&self, more_bytes: u64) -> bool {
        self.capacity_bytes != u64::MAX && more_bytes > 0 && self.used_bytes() + more_bytes > self.capacity_bytes
    }

    /// Bytes of every file that has a name: what is unlinked gives its space back at once.
    fn used_bytes(&self) -> u64 {
        let named = self.names.named();
        named.iter().filter_map(|file| self.files.get(file)).map(|contents| contents.len() as u64).sum()
    }

    pub(super) fn contents(&mut self, file: FileId) -> io::Result<&mut Contents> {
        self.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Ends the run: settles what was in flight and, on a power cut, everything that was not synced.
    pub(super) fn stop(&mut self, stop: Stop) {
        self.stop_at = None;
        self.stopped = Some(stop);
        let mut torn: BTreeMap<FileId, Vec<Change>> = BTreeMap::new();
        for (_, op) in std::mem::take(&mut self.in_flight) {
            match op.request {
                Request::Write { file, offset, bytes } => {
                    torn.entry(file).or_default().push(Change::Write { offset: offset as usize, bytes });
                }
                Request::Read { .. } | Request::Sync { .. } | Request::SyncDir(_) | Request::SyncAll => {}
                // A name operation in flight happened or not; a length likewise.
                request if self.rng.random_bool(0.5) => drop(self.perform_metadata(request, op.dir_mark)),
                _ => {}
            }
        }
        match stop {
            Stop::PowerCut => self.cut(torn),
            Stop::Kill => {
                self.stats.kills += 1;
                for (file, changes) in torn {
                    if let Some(contents) = self.files.get_mut(&file) {
                        contents.kill(changes, &mut self.rng);
                    }
                }
            }
        }
        let named = self.names.collect();
        self.files.retain(|file, _| named.contains(file));
        self.trace.add(self.stats.events);
    }

    fn cut(&mut self, mut in_flight: BTreeMap<FileId, Vec<Change>>) {
        self.stats.cuts += 1;
        let temper = CutTemper::draw(&mut self.rng);
        for (file, contents) in &mut self.files {
            let changes = in_flight.remove(file).unwrap_or_default();
            for fate in contents.cut(changes, temper, &mut self.rng) {
                match fate {
                    Fate::Kept => self.stats.kept += 1,
                    Fate::Dropped => self.stats.dropped += 1,
                    Fate::Torn => self.stats.torn += 1,
                }
            }
        }
        self.names.cut(&mut self.rng);
        // What comes back with a name that was removed has its space: nobody else can have had it.
        self.capacity_bytes = self.capacity_bytes.max(self.used_bytes());
    }

    fn trace_request(&mut self, ticket: Ticket, request: &Request) {
        self.trace.add(ticket.0);
        match request {
            Request::Write { file, offset, bytes } => {
                self.trace.add(file.0);
                self.trace.add(*offset);
                self.trace.add_bytes(bytes);
            }
            Request::Read { file, offset, bytes } => {
                self.trace.add(file.0);
                self.trace.add(*offset);
                self.trace.add(*bytes as u64);
            }
            other => self.trace.add_bytes(format!("{other:?}").as_bytes()),
        }
    }
}

/// A length or offset that this machine can hold.
pub(super) fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput.into())
}

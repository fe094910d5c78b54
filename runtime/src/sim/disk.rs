//! `SimDisk`: a disk that forgets what was not synced. Owns files, names, operations in flight, faults and the power
//! switch; never a clock, a task or a real file. Everything random in it comes from its seed.
//! Lives on the one thread of a simulated run, and outlives the run.
//!
//! What is promised, and all that is promised:
//!
//! | what | is certain to survive a power cut when |
//! |---|---|
//! | bytes of a file | an fdatasync of that file was *issued* after the write *completed*, and has returned |
//! | length of a file | the same, for the write, truncation or allocation that set it |
//! | a name | a sync of its directory was issued after the operation completed, and has returned; and so for the name of the directory itself, up to the root |
//!
//! Of everything else a cut keeps, drops or tears (at 512-byte sectors) each write on its own, in any order; keeps a
//! prefix of the operations in each directory; and may leave a length behind whose bytes never arrived.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;

use super::names::Listed;
use super::state::{Reply, Request, State, Ticket, size};

/// How a disk operation fails when [`SimDisk::fail_op`] says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A write may have happened in part. An fdatasync drops some of what it covered, and the next one succeeds
    /// without it, as ext4 does.
    Eio,
    /// ENOSPC. A write may have happened in part.
    Enospc,
    /// A read or write moves fewer bytes than asked, and says so. Other operations are not affected.
    Short,
}

impl Fault {
    pub(super) fn error(self) -> Option<io::Error> {
        match self {
            Fault::Eio => Some(io::Error::from_raw_os_error(libc::EIO)),
            Fault::Enospc => Some(io::Error::from_raw_os_error(libc::ENOSPC)),
            Fault::Short => None,
        }
    }
}

/// Which operations [`SimDisk::fail_nth`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpClass {
    /// Reads of file bytes.
    Read,
    /// Writes of file bytes.
    Write,
    /// fdatasyncs, and syncs of directories.
    Sync,
    /// Whatever may need space: writes, allocations, new files and directories.
    Space,
}

/// How a run ends before its main future does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The machine loses power: only what was synced is certain.
    PowerCut,
    /// The process dies and the machine goes on: what completed stays visible, and stays unsynced.
    Kill,
}

/// What a disk has been through. Counters never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Operations issued.
    pub ops: u64,
    /// Operations issued plus operations completed: the clock of [`SimDisk::cut_power_after`].
    pub events: u64,
    /// Writes issued.
    pub writes: u64,
    /// fdatasyncs issued.
    pub syncs: u64,
    /// Operations that failed because they were asked to.
    pub faults: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Kills.
    pub kills: u64,
    /// Unsynced changes that a power cut kept whole.
    pub kept: u64,
    /// Unsynced changes that a power cut dropped.
    pub dropped: u64,
    /// Unsynced writes that a power cut tore.
    pub torn: u64,
}

/// A simulated disk. Clones are handles on the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
}

impl SimDisk {
    /// An empty disk with one directory, the root. The seed decides every cut and every fault's extent.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk { state: Rc::new(RefCell::new(State::new(seed))) }
    }

    /// A deep copy that shares nothing with this disk, for recorded runs. Operations in flight are not copied.
    pub fn snapshot(&self) -> SimDisk {
        let copy = self.state.borrow().deep_copy();
        SimDisk { state: Rc::new(RefCell::new(copy)) }
    }

    /// Draws cuts and the extent of faults from another seed from now on: copies of one disk then differ.
    pub fn reseed(&self, seed: u64) {
        self.state.borrow_mut().reseed(seed);
    }

    /// Cuts the power at the `events`th disk event from now; an operation is two events, issued and completed.
    /// 1 is the next event: if that is a write being issued, the write is in flight when the lights go out.
    pub fn cut_power_after(&self, events: u64) {
        self.stop_after(events, Stop::PowerCut);
    }

    /// Kills the process at the `events`th disk event from now.
    pub fn kill_after(&self, events: u64) {
        self.stop_after(events, Stop::Kill);
    }

    fn stop_after(&self, events: u64, stop: Stop) {
        let mut state = self.state.borrow_mut();
        let at = state.stats.events + events.max(1);
        state.stop_at = Some((at, stop));
    }

    /// Takes back [`SimDisk::cut_power_after`] and [`SimDisk::kill_after`].
    pub fn spare(&self) {
        self.state.borrow_mut().stop_at = None;
    }

    /// Cuts the power now, between runs.
    pub fn cut_power(&self) {
        self.state.borrow_mut().stop(Stop::PowerCut);
    }

    /// Makes the `n`th operation issued from now fail; 1 is the next one.
    pub fn fail_op(&self, n: u64, fault: Fault) {
        let mut state = self.state.borrow_mut();
        let at = state.stats.ops + n.max(1);
        state.faults.insert(at, fault);
    }

    /// Makes the `n`th operation of a class issued from now fail, once; 1 is the next one. Replaces what was asked before.
    pub fn fail_nth(&self, class: OpClass, n: u64, fault: Fault) {
        self.state.borrow_mut().class_fault = Some((class, n.max(1), fault));
    }

    /// Takes back every fault that was asked for and has not happened, and gives the disk space without end.
    pub fn heal(&self) {
        let mut state = self.state.borrow_mut();
        state.class_fault = None;
        state.faults.clear();
        state.fill_in = None;
        state.capacity_bytes = u64::MAX;
    }

    /// Bounds the sum of all file lengths; what would pass it fails with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.borrow_mut().capacity_bytes = bytes;
    }

    /// From the `n`th operation on that may need space, counted from now, there is no more than the files have then; 1 is the
    /// next one. What is freed can be used. A fault, as far as [`DiskStats`] is concerned.
    pub fn fill_at_nth(&self, n: u64) {
        self.state.borrow_mut().fill_in = Some(n.max(1));
    }

    /// What the disk has been through.
    pub fn stats(&self) -> DiskStats {
        self.state.borrow().stats
    }

    /// A hash of every event so far, with bytes and results: two runs from one seed agree in it.
    pub fn trace_hash(&self) -> u64 {
        self.state.borrow().trace.value()
    }

    /// The bytes of a file as a reader sees them now.
    ///
    /// # Errors
    /// As the file system: no such file, not a file.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.borrow();
        let file = state.names.file(path)?;
        Ok(state.files[&file].live().to_vec())
    }

    /// The bytes of a file that are certain to survive a power cut, whatever becomes of its name.
    ///
    /// # Errors
    /// As the file system: no such file, not a file.
    pub fn durable_bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.borrow();
        let file = state.names.file(path)?;
        Ok(state.files[&file].durable().to_vec())
    }

    /// The names in a directory as a process sees them now, in order.
    ///
    /// # Errors
    /// As the file system: no such directory, not a directory.
    pub fn read_dir(&self, path: &Path) -> io::Result<Vec<String>> {
        let listed = self.state.borrow().names.list(path)?;
        Ok(listed
            .into_iter()
            .map(|entry| match entry {
                Listed::File(name, _) | Listed::Dir(name) => name,
            })
            .collect())
    }

    /// Damages one byte at rest (bit rot): `mask` is what it is XORed with.
    ///
    /// # Errors
    /// No such file, or `offset` past its end (`InvalidInput`).
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let file = state.names.file(path)?;
        let contents = state.contents(file)?;
        if contents.corrupt(size(offset)?, mask) { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// How the current run was stopped, if it was.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.state.borrow().stopped
    }

    /// A run begins: the power is on and nothing is in flight.
    pub(super) fn boot(&self) {
        let mut state = self.state.borrow_mut();
        assert!(state.is_idle(), "two runs on one disk at the same time");
        state.stopped = None;
    }

    /// Sets the planned stop aside for an orderly end of a run.
    pub(super) fn take_plan(&self) -> Option<(u64, Stop)> {
        self.state.borrow_mut().stop_at.take()
    }

    /// Gives back what [`SimDisk::take_plan`] took; a plan overtaken meanwhile comes at the next event.
    pub(super) fn restore_plan(&self, plan: Option<(u64, Stop)>) {
        self.state.borrow_mut().stop_at = plan;
    }

    /// The process of the current run is gone with operations in flight.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        self.state.borrow_mut().stop(Stop::Kill);
    }

    /// Issues an operation. It happens when [`SimDisk::finish`] is called for it, but for the mark of a sync, which is
    /// taken now. Once the power is off nothing happens any more.
    pub(super) fn start(&self, request: Request) -> Ticket {
        self.state.borrow_mut().start(request)
    }

    /// Completes an operation.
    ///
    /// # Errors
    /// As the real one would: the fault asked for, a name that is missing or taken, no space.
    pub(super) fn finish(&self, ticket: Ticket) -> io::Result<Reply> {
        self.state.borrow_mut().finish(ticket)
    }

    /// Adds to the trace: the driver's clock and choices.
    pub(super) fn note(&self, value: u64) {
        self.state.borrow_mut().trace.add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::names::FileId;

    const FILE: &str = "/d/file";

    fn done(disk: &SimDisk, request: Request) -> Reply {
        let ticket = disk.start(request);
        disk.finish(ticket).unwrap()
    }

    fn disk_with_file(seed: u64) -> (SimDisk, FileId) {
        let disk = SimDisk::new(seed);
        done(&disk, Request::CreateDirAll("/d".into()));
        done(&disk, Request::SyncDir("/".into()));
        let Reply::File(file) = done(&disk, Request::Open { path: FILE.into(), create: true }) else {
            panic!("open gives a file")
        };
        done(&disk, Request::SyncDir("/d".into()));
        (disk, file)
    }

    fn write(file: FileId, offset: u64, fill: u8) -> Request {
        Request::Write { file, offset, bytes: vec![fill; 4096] }
    }

    #[test]
    fn a_write_in_flight_when_a_sync_is_issued_is_not_covered_by_it() {
        let (disk, file) = disk_with_file(1);
        done(&disk, write(file, 0, 1));
        let late = disk.start(write(file, 4096, 2));
        let sync = disk.start(Request::Sync { file });
        disk.finish(late).unwrap();
        disk.finish(sync).unwrap();
        assert_eq!(disk.durable_bytes(Path::new(FILE)).unwrap(), vec![1; 4096]);
        assert_eq!(disk.read_file(Path::new(FILE)).unwrap().len(), 8192);
    }

    #[test]
    fn the_power_goes_at_the_chosen_event_and_nothing_happens_after() {
        let (disk, file) = disk_with_file(2);
        disk.cut_power_after(2);
        let first = disk.start(write(file, 0, 1));
        assert_eq!(disk.stopped(), None);
        let second = disk.start(write(file, 4096, 1));
        assert_eq!(disk.stopped(), Some(Stop::PowerCut));
        assert!(disk.finish(first).is_err() && disk.finish(second).is_err());
        let late = disk.start(write(file, 0, 3));
        assert!(disk.finish(late).is_err());
        assert!(!disk.read_file(Path::new(FILE)).unwrap().contains(&3));
        disk.boot();
        done(&disk, write(file, 0, 4));
    }

    #[test]
    fn one_seed_gives_one_outcome() {
        let run = |seed| {
            let (disk, file) = disk_with_file(seed);
            for block in 0..20 {
                done(&disk, write(file, block * 4096, block as u8 + 1));
            }
            disk.cut_power();
            (disk.trace_hash(), disk.read_file(Path::new(FILE)).unwrap(), disk.stats())
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5).0, run(6).0);
    }

    #[test]
    fn a_snapshot_shares_nothing_with_the_disk_it_was_taken_from() {
        let (disk, file) = disk_with_file(3);
        done(&disk, write(file, 0, 1));
        let copy = disk.snapshot();
        done(&disk, write(file, 0, 2));
        done(&disk, Request::RemoveFile(FILE.into()));
        assert_eq!(copy.read_file(Path::new(FILE)).unwrap(), vec![1; 4096]);
        assert!(disk.read_file(Path::new(FILE)).is_err());
    }

    #[test]
    fn the_nth_operation_fails_as_asked_and_the_next_does_not() {
        let (disk, file) = disk_with_file(4);
        disk.fail_op(2, Fault::Eio);
        disk.fail_op(3, Fault::Short);
        disk.fail_op(4, Fault::Enospc);
        done(&disk, write(file, 0, 1));
        let sync = disk.start(Request::Sync { file });
        assert_eq!(disk.finish(sync).unwrap_err().raw_os_error(), Some(libc::EIO));
        let short = Request::Write { file, offset: 0, bytes: vec![2; 8192] };
        assert!(matches!(done(&disk, short), Reply::Written(4096)));
        let allocate = disk.start(Request::Allocate { file, offset: 0, bytes: 1 << 20 });
        assert_eq!(disk.finish(allocate).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        done(&disk, Request::Sync { file });
        assert_eq!(disk.durable_bytes(Path::new(FILE)).unwrap()[..4096], [2; 4096]);
    }

    #[test]
    fn the_nth_operation_of_a_class_fails_once_and_others_are_not_counted() {
        let (disk, file) = disk_with_file(7);
        disk.fail_nth(OpClass::Sync, 2, Fault::Eio);
        done(&disk, write(file, 0, 1));
        done(&disk, Request::Sync { file });
        done(&disk, write(file, 0, 2));
        let sync = disk.start(Request::Sync { file });
        assert!(disk.finish(sync).is_err());
        done(&disk, Request::Sync { file });
        assert_eq!(disk.stats().faults, 1);
        disk.fail_nth(OpClass::Space, 1, Fault::Enospc);
        disk.heal();
        done(&disk, write(file, 0, 3));
    }

    #[test]
    fn what_has_no_name_any_more_takes_no_space() {
        let (disk, file) = disk_with_file(8);
        disk.set_capacity(4096);
        done(&disk, write(file, 0, 1));
        done(&disk, Request::RemoveFile(FILE.into()));
        assert!(matches!(done(&disk, Request::FreeBytes("/d".into())), Reply::Number(4096)));
    }

    #[test]
    fn a_disk_fills_up_at_the_chosen_operation_and_has_what_is_freed() {
        let (disk, file) = disk_with_file(9);
        disk.fill_at_nth(2);
        done(&disk, write(file, 0, 1));
        let ticket = disk.start(write(file, 4096, 1));
        assert_eq!(disk.finish(ticket).unwrap_err().kind(), io::ErrorKind::StorageFull);
        done(&disk, write(file, 0, 2));
        done(&disk, Request::Truncate { file, bytes: 0 });
        done(&disk, write(file, 0, 3));
        assert_eq!(disk.stats().faults, 1);
    }

    #[test]
    fn a_full_disk_refuses_growth_and_takes_overwrites() {
        let (disk, file) = disk_with_file(5);
        disk.set_capacity(8192);
        done(&disk, write(file, 0, 1));
        done(&disk, write(file, 4096, 1));
        let ticket = disk.start(write(file, 8192, 1));
        assert_eq!(disk.finish(ticket).unwrap_err().kind(), io::ErrorKind::StorageFull);
        done(&disk, write(file, 0, 2));
        assert!(matches!(done(&disk, Request::FreeBytes("/d".into())), Reply::Number(0)));
    }

    #[test]
    fn a_removed_file_stays_until_its_removal_is_synced() {
        let mut back = 0;
        for seed in 0..40 {
            let (disk, file) = disk_with_file(seed);
            done(&disk, write(file, 0, 1));
            done(&disk, Request::Sync { file });
            done(&disk, Request::RemoveFile(FILE.into()));
            disk.cut_power();
            if let Ok(bytes) = disk.read_file(Path::new(FILE)) {
                assert_eq!(bytes, vec![1; 4096]);
                back += 1;
            }
        }
        assert!((1..40).contains(&back));
    }

    #[test]
    fn a_kill_keeps_completed_writes_that_a_later_cut_may_take() {
        let mut lost = false;
        for seed in 0..40 {
            let (disk, file) = disk_with_file(seed);
            done(&disk, write(file, 0, 1));
            disk.start(write(file, 4096, 2));
            disk.kill();
            disk.boot();
            assert_eq!(disk.read_file(Path::new(FILE)).unwrap()[..4096], [1; 4096]);
            disk.cut_power();
            lost |= disk.read_file(Path::new(FILE)).unwrap().is_empty();
        }
        assert!(lost);
    }

    #[test]
    fn rot_is_seen_by_readers() {
        let (disk, file) = disk_with_file(6);
        done(&disk, write(file, 0, 1));
        disk.corrupt(Path::new(FILE), 7, 0x80).unwrap();
        assert_eq!(disk.read_file(Path::new(FILE)).unwrap()[7], 0x81);
        assert!(disk.corrupt(Path::new(FILE), 4096, 1).is_err());
    }
}

//! The shard's journal: its files, its queue of entries and the two numbers that acknowledgements read. Lives on the
//! owner shard. The commit loop (`commit.rs`) drives it; recycling (`recycle.rs`) gives its files back.
//!
//! A journal belongs to one start of the node: its directory carries the incarnation, its id is fresh, and its first
//! commit is number 1. Files are taken into use in order; a file is free again once a checkpoint says that replay
//! starts behind it (rule J5).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::Waker;

use ouzel_protocol::{Incarnation, Offset};
use ouzel_runtime::sync::{Notify, oneshot};
use ouzel_runtime::{AlignedBuf, File, Instant, OpenMode, Shard};

use crate::config::{BLOCK, StoreConfig};
use crate::error::StorageError;
use crate::format::commit::{EntryHeader, EntryKind};
use crate::partition::{Partition, Slices};

/// Bytes written at once while a new journal file is filled with zeros.
const PREWRITE_BYTES: usize = 1024 * 1024;

/// A file of the journal, open for writing.
#[derive(Clone)]
pub(crate) struct JournalFile {
    pub(crate) path: Rc<Path>,
    pub(crate) file: File,
    pub(crate) bytes: u64,
}

/// A file that holds commits replay may need.
pub(crate) struct UsedFile {
    /// Order of use; grows by one with each file taken, so a reused file gets a new number.
    pub(crate) number: u64,
    pub(crate) first_sequence: u64,
    /// Checksum of the commit before `first_sequence`.
    pub(crate) previous_checksum: u32,
    pub(crate) journal_file: JournalFile,
    /// Where the next commit goes.
    pub(crate) position: u64,
}

/// One entry on its way into a commit.
pub(crate) struct QueuedEntry {
    pub(crate) header: EntryHeader,
    pub(crate) partition: Rc<RefCell<Partition>>,
    pub(crate) parts: Slices,
    pub(crate) payload_bytes: usize,
    /// Log position after the payload, for data and carries.
    pub(crate) end: u64,
    /// Whether its producer waits for the disk; else the flush interval bounds the wait, in milliseconds.
    pub(crate) sync_within_ms: Option<u32>,
    /// Told the sequence of the first commit that holds the entry, once it is durable.
    pub(crate) done: Option<oneshot::Sender<u64>>,
}

/// An entry with its place in the order of acknowledgements, partly or wholly in a commit.
pub(crate) struct PlacedEntry {
    pub(crate) index: u64,
    pub(crate) entry: QueuedEntry,
    /// Payload bytes that earlier commits hold (rule J14: large batches are cut into fragments).
    pub(crate) sent_bytes: usize,
    pub(crate) first_sequence: u64,
    pub(crate) first_file: u64,
}

/// The effect of an entry, applied when its last fragment is durable.
pub(crate) struct Effect {
    pub(crate) index: u64,
    pub(crate) kind: EntryKind,
    pub(crate) partition: Rc<RefCell<Partition>>,
    pub(crate) end: u64,
    pub(crate) end_offset: Offset,
    pub(crate) payload_bytes: usize,
    pub(crate) first_sequence: u64,
    pub(crate) first_file: u64,
    pub(crate) sync_by: Option<Instant>,
    pub(crate) done: Option<oneshot::Sender<u64>>,
}

#[derive(Default)]
pub(crate) struct JournalState {
    pub(crate) queue: VecDeque<PlacedEntry>,
    pub(crate) queued_bytes: usize,
    /// Index of the newest entry queued; indexes count from 1.
    pub(crate) queued_index: u64,
    /// Every entry up to here is in a completed write.
    pub(crate) written_index: u64,
    /// Every entry up to here is durable (rule J2). Visibility and `disk` acknowledgements read this alone.
    pub(crate) durable_index: u64,
    pub(crate) sequence: u64,
    pub(crate) durable_sequence: u64,
    pub(crate) previous_checksum: u32,
    /// Oldest first; the last one takes commits.
    pub(crate) used: VecDeque<UsedFile>,
    pub(crate) free: Vec<JournalFile>,
    pub(crate) files_total: usize,
    pub(crate) numbers_used: u64,
    pub(crate) preparing: bool,
    /// The commit loop waits for a file.
    pub(crate) starved: bool,
    /// The small file that a full disk is asked for has been made.
    pub(crate) spare_made: bool,
    written_waiters: VecDeque<(u64, Waker)>,
    /// Those to be woken; empty but while they are.
    woken: Vec<Waker>,
    durable_waiters: VecDeque<(u64, Waker)>,
}

/// Which number an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckLevel {
    Written,
    Durable,
}

/// See the module.
pub(crate) struct Journal {
    pub(crate) directory: PathBuf,
    pub(crate) id: u64,
    pub(crate) incarnation: Incarnation,
    pub(crate) state: RefCell<JournalState>,
    /// Something was queued, or the store stops.
    pub(crate) work: Notify,
    /// A file became free.
    pub(crate) space: Notify,
    /// The checkpoint slot and generation written last.
    pub(crate) checkpoint_generation: Cell<u64>,
}

impl Journal {
    pub(crate) fn new(directory: PathBuf, id: u64, incarnation: Incarnation) -> Self {
        Self {
            directory,
            id,
            incarnation,
            state: RefCell::new(JournalState::default()),
            work: Notify::new(),
            space: Notify::new(),
            checkpoint_generation: Cell::new(0),
        }
    }

    /// Queues an entry; its place in the journal's order is fixed by this call.
    pub(crate) fn enqueue(&self, entry: QueuedEntry) -> u64 {
        let mut state = self.state.borrow_mut();
        state.queued_index += 1;
        state.queued_bytes += entry.payload_bytes + crate::format::commit::ENTRY_HEADER_BYTES + 8;
        let index = state.queued_index;
        state.queue.push_back(PlacedEntry { index, entry, sent_bytes: 0, first_sequence: 0, first_file: 0 });
        drop(state);
        self.work.notify_all();
        index
    }

    /// The index that the next entry gets.
    pub(crate) fn next_index(&self) -> u64 {
        self.state.borrow().queued_index + 1
    }

    /// Whether `index` has reached `level`; registers the waker if not.
    pub(crate) fn poll_reached(&self, index: u64, level: AckLevel, waker: &Waker) -> bool {
        let mut state = self.state.borrow_mut();
        let (reached, waiters) = match level {
            AckLevel::Written => (state.written_index, &mut state.written_waiters),
            AckLevel::Durable => (state.durable_index, &mut state.durable_waiters),
        };
        if reached >= index {
            return true;
        }
        waiters.push_back((index, waker.clone()));
        false
    }

    /// Wakes whoever waits for entries up to the two numbers. Waiters are registered nearly in order; those of a later
    /// commit that stand in front only delay a wake-up by one commit, never lose it: every commit drains the front.
    pub(crate) fn wake_reached(&self) {
        let mut wakers = {
            let mut state = self.state.borrow_mut();
            let mut wakers = std::mem::take(&mut state.woken);
            let (written, durable) = (state.written_index, state.durable_index);
            take_reached(&mut state.written_waiters, written, &mut wakers);
            take_reached(&mut state.durable_waiters, durable, &mut wakers);
            wakers
        };
        wakers.drain(..).for_each(Waker::wake);
        self.state.borrow_mut().woken = wakers;
    }

    /// Wakes every waiter, whatever it waits for: the log is poisoned or closed.
    pub(crate) fn wake_all(&self) {
        let (written, durable) = {
            let mut state = self.state.borrow_mut();
            (std::mem::take(&mut state.written_waiters), std::mem::take(&mut state.durable_waiters))
        };
        for (_, waker) in written.into_iter().chain(durable) {
            waker.wake();
        }
        self.work.notify_all();
        self.space.notify_all();
    }

    /// Payload bytes that may still be queued before the last `reserve_bytes` would be touched: recycling needs room to
    /// carry remainders forward, so producers stop early.
    pub(crate) fn room_bytes(&self, config: &StoreConfig, reserve_bytes: u64) -> u64 {
        let state = self.state.borrow();
        let current = state.used.back().map_or(0, |used| used.journal_file.bytes - used.position);
        let creatable = config.journal_files_max().saturating_sub(state.files_total) as u64 * config.journal_file_bytes;
        let free: u64 = state.free.iter().map(|file| file.bytes).sum();
        let overhead = 2 * BLOCK as u64;
        (current + free + creatable).saturating_sub(reserve_bytes + state.queued_bytes as u64 + overhead)
    }

    /// Share of the journal that holds commits replay may need, 0..=1.
    pub(crate) fn occupancy(&self, config: &StoreConfig) -> f64 {
        self.used_bytes() as f64 / config.journal_bytes_max as f64
    }

    /// Bytes of commits that replay may need.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.state.borrow().used.iter().map(|used| used.position).sum()
    }

    /// Number of the file that takes commits.
    pub(crate) fn current_number(&self) -> u64 {
        self.state.borrow().used.back().map_or(0, |used| used.number)
    }

    /// Whether a file is full.
    pub(crate) fn has_full(&self) -> bool {
        self.state.borrow().used.len() > 1
    }

    /// Whether it is time to give files back: about half of those the budget allows are in use. Earlier, each file would cost
    /// a sync of every segment it pins, and partitions would not have had the time to gather bytes for a large write.
    pub(crate) fn is_recycling_due(&self, config: &StoreConfig) -> bool {
        let used = self.state.borrow().used.len();
        used > 1 && used > (config.journal_files_max() - 1) / 2
    }

    /// The newest of the files that one recycling gives back: half of the used ones. The oldest alone if none is free any
    /// more and none can be made: what that one pins is the least, and carrying needs room that may not be there.
    pub(crate) fn recycling_target(&self, config: &StoreConfig, disk_full: bool) -> Option<u64> {
        let state = self.state.borrow();
        let is_exhausted = state.free.is_empty() && (disk_full || state.files_total >= config.journal_files_max());
        let count = if is_exhausted { (state.used.len() / 2).min(1) } else { state.used.len() / 2 };
        count.checked_sub(1).and_then(|last| state.used.get(last)).map(|used| used.number)
    }

    /// Number before the oldest used file: a checkpoint for it gives nothing back.
    pub(crate) fn before_oldest(&self) -> u64 {
        self.state.borrow().used.front().map_or(0, |used| used.number - 1)
    }

    /// Where replay starts if every used file up to `number` is given back: sequence and checksum before it.
    pub(crate) fn replay_start_after(&self, number: u64) -> (u64, u32) {
        let state = self.state.borrow();
        match state.used.iter().find(|used| used.number > number) {
            Some(used) => (used.first_sequence, used.previous_checksum),
            None => (state.sequence + 1, state.previous_checksum),
        }
    }

    /// Gives back every used file up to `number`.
    pub(crate) fn release(&self, number: u64) {
        let mut state = self.state.borrow_mut();
        while state.used.len() > 1 && state.used.front().is_some_and(|used| used.number <= number) {
            if let Some(used) = state.used.pop_front() {
                state.free.push(used.journal_file);
            }
        }
        drop(state);
        self.space.notify_all();
    }

    /// Takes a free file into use. False if there is none: the caller waits for it.
    pub(crate) fn take_free(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let file = state.free.pop();
        state.starved = file.is_none();
        let Some(journal_file) = file else { return false };
        state.numbers_used += 1;
        let used = UsedFile {
            number: state.numbers_used,
            first_sequence: state.sequence + 1,
            previous_checksum: state.previous_checksum,
            journal_file,
            position: 0,
        };
        state.used.push_back(used);
        true
    }
}

fn take_reached(waiters: &mut VecDeque<(u64, Waker)>, reached: u64, wakers: &mut Vec<Waker>) {
    while waiters.front().is_some_and(|(index, _)| *index <= reached) {
        wakers.extend(waiters.pop_front().map(|(_, waker)| waker));
    }
}

/// Creates a journal file filled with zeros and synced, so that later commits overwrite written blocks (2.8x cheaper
/// to sync than unwritten extents). Its name is durable when it is there.
///
/// # Errors
/// Whatever the file system refuses; a full disk is `StorageFull`, and nothing is left behind then.
pub(crate) async fn create_file(
    shard: &Shard,
    directory: &Path,
    slot: usize,
    bytes: u64,
) -> Result<JournalFile, StorageError> {
    let path = directory.join(format!("{slot:08x}.journal"));
    let file = match filled_file(shard, &path, bytes).await {
        Err(error) if error.is_disk_full() => {
            match shard.fs().remove_file(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StorageError::io("remove journal file", &path, error));
                }
                _ => {}
            }
            return Err(error);
        }
        other => other?,
    };
    let synced = shard.fs().sync_dir(directory).await;
    synced.map_err(|error| StorageError::io("sync journal directory", directory, error))?;
    Ok(JournalFile { path: path.into(), file, bytes })
}

async fn filled_file(shard: &Shard, path: &Path, bytes: u64) -> Result<File, StorageError> {
    let failed = |stage, error| StorageError::io(stage, path, error);
    let file = shard.fs().open(path, OpenMode::Create).await.map_err(|error| failed("create journal file", error))?;
    file.allocate(0, bytes).await.map_err(|error| failed("allocate journal file", error))?;
    let mut zeros = AlignedBuf::zeroed(PREWRITE_BYTES.min(bytes as usize));
    let mut position = 0;
    while position < bytes {
        let step = (bytes - position).min(PREWRITE_BYTES as u64);
        zeros.set_len(step as usize);
        let (written, buf) = file.write_at(zeros, position).await;
        written.map_err(|error| failed("fill journal file", error))?;
        zeros = buf;
        position += step;
    }
    file.sync_all().await.map_err(|error| failed("sync new journal file", error))?;
    Ok(file)
}

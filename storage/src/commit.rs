//! The commit loop: everything queued while a commit is in flight becomes the next one. Lives on the owner shard.
//!
//! One aligned write, then one fdatasync if a producer waits for the disk; commits that hold only `written` batches
//! share an fdatasync within their flush interval. `durable_index` moves only when an fdatasync returns that was issued
//! after the writes of every commit it covers had completed (rule J2). A failed write or fdatasync poisons the log.

use std::rc::Rc;
use std::time::Duration;

use ouzel_runtime::{AlignedBuf, Instant, counting, prefetch, timeout_at};
use smallvec::SmallVec;

use crate::config::BLOCK;
use crate::core::Core;
use crate::error::StorageError;
use crate::format::commit::{CommitHeaderFields, CommitWriter, ENTRY_HEADER_BYTES, EntryHeader, EntryKind};
use crate::journal::{self, Effect, PlacedEntry};
use crate::mutation::{self, Mutation};

/// A commit starts a new file rather than squeezing into less than this.
const COMMIT_ROOM_MIN: u64 = 64 * 1024;

/// Entries between the one that is worked on and the one whose partition is asked for: with thousands of partitions none is in
/// the core's cache any more when its commit is built.
const LOOK_AHEAD: usize = 8;

enum Step {
    Commit,
    Sync,
    Seal,
    Wait(Option<Instant>),
    Stop,
}

/// What the loop remembers between turns: entries written and not yet synced.
struct Unsynced {
    effects: Vec<Effect>,
    sync_by: Option<Instant>,
    sequence: u64,
    file: Option<journal::JournalFile>,
}

/// Runs until the store is closed and drained, or poisoned.
pub(crate) async fn commit_loop(core: Rc<Core>) {
    let mut image = AlignedBuf::zeroed(core.config.commit_bytes_max);
    let mut unsynced = Unsynced { effects: Vec::new(), sync_by: None, sequence: 0, file: None };
    let mut quiet_since = core.shard.now();
    let mut sealed = true;
    loop {
        let result = match next_step(&core, &unsynced, quiet_since, sealed) {
            Step::Stop => break,
            Step::Wait(None) => {
                core.journal.work.notified().await;
                continue;
            }
            Step::Wait(Some(deadline)) => {
                let _ = timeout_at(&core.shard, deadline, core.journal.work.notified()).await;
                continue;
            }
            Step::Sync => sync(&core, &mut unsynced).await,
            step @ (Step::Commit | Step::Seal) => {
                sealed = matches!(step, Step::Seal);
                let (result, buf) = commit(&core, image, &mut unsynced).await;
                image = buf;
                quiet_since = core.shard.now();
                result
            }
        };
        if let Err(error) = result {
            core.poison(error);
            break;
        }
    }
    core.journal_stopped();
}

fn next_step(core: &Core, unsynced: &Unsynced, quiet_since: Instant, sealed: bool) -> Step {
    let now = core.shard.now();
    if core.is_poisoned() {
        return Step::Stop;
    }
    if unsynced.sync_by.is_some_and(|deadline| deadline <= now) {
        return Step::Sync;
    }
    let idle = core.journal.state.borrow().queue.is_empty();
    if !idle {
        return Step::Commit;
    }
    if unsynced.sequence > 0 {
        return if core.stopping.get() { Step::Sync } else { Step::Wait(unsynced.sync_by) };
    }
    if !sealed {
        let seal_at = quiet_since + Duration::from_millis(core.config.seal_after_ms);
        return if core.stopping.get() || seal_at <= now { Step::Seal } else { Step::Wait(Some(seal_at)) };
    }
    if core.stopping.get() { Step::Stop } else { Step::Wait(None) }
}

/// Builds one commit from the queue (none queued: a seal), writes it and answers `written` producers.
async fn commit(
    core: &Rc<Core>,
    mut image: AlignedBuf,
    unsynced: &mut Unsynced,
) -> (Result<(), StorageError>, AlignedBuf) {
    if let Err(error) = ensure_room(core, unsynced).await {
        return (Err(error), image);
    }
    image.set_len(core.config.commit_bytes_max);
    let earlier = unsynced.effects.len();
    let begun = core.shard.now();
    let (journal_file, position, padded) = build(core, &mut image, &mut unsynced.effects, begun);
    image.set_len(padded);
    let sequence = core.journal.state.borrow().sequence;
    let (written, image) = journal_file.file.write_at(image, position).await;
    if let Err(error) = written {
        return (Err(StorageError::io("journal write", &journal_file.path, error)), image);
    }
    core.stats.borrow_mut().journal_commits += 1;
    core.stats.borrow_mut().journal_bytes += padded as u64;
    unsynced.sequence = sequence;
    unsynced.file = Some(journal_file);
    let now = core.shard.now();
    core.meter.journal_write.time(begun, now);
    let effects = &unsynced.effects[earlier..];
    let batches = effects.iter().filter(|effect| effect.kind == EntryKind::Data).count();
    if batches > 0 {
        core.meter.commit_batches.count(batches as u64);
    }
    let sync_by = effects.iter().map(|effect| effect.sync_by.unwrap_or(now)).min().unwrap_or(now);
    unsynced.sync_by = Some(unsynced.sync_by.map_or(sync_by, |earlier| earlier.min(sync_by)));
    if let Some(last) = effects.last() {
        core.committed_at.set(Some(now));
        let mut state = core.journal.state.borrow_mut();
        state.written_index = last.index;
        if mutation::is(Mutation::AckAtWrite) {
            state.durable_index = last.index;
        }
        if mutation::is(Mutation::AckOutOfOrder) {
            state.durable_index = state.queued_index;
        }
    }
    core.journal.wake_reached();
    (Ok(()), image)
}

/// A commit never spans two files: makes sure that the current one has room, taking the next one where it has not.
async fn ensure_room(core: &Rc<Core>, unsynced: &mut Unsynced) -> Result<(), StorageError> {
    let room_min = COMMIT_ROOM_MIN.min(core.config.commit_bytes_max as u64);
    let has_room = {
        let state = core.journal.state.borrow();
        state.used.back().is_some_and(|used| used.journal_file.bytes - used.position >= room_min)
    };
    if has_room {
        return Ok(());
    }
    // An fdatasync names one file: what the old one holds is synced before the new one is written.
    if unsynced.sequence > 0 {
        sync(core, unsynced).await?;
    }
    while !core.journal.take_free() {
        core.prepare_file_if_needed();
        core.recycle_work.notify_all();
        if let Some(error) = core.poisoned() {
            return Err(error);
        }
        core.journal.space.notified().await;
    }
    core.stats.borrow_mut().wraps_files += 1;
    core.prepare_file_if_needed();
    core.recycle_work.notify_all();
    Ok(())
}

/// Fills the image from the queue. Returns where it goes and its padded length.
fn build(core: &Core, image: &mut [u8], effects: &mut Vec<Effect>, now: Instant) -> (journal::JournalFile, u64, usize) {
    let mut guard = core.journal.state.borrow_mut();
    let state = &mut *guard;
    state.sequence += 1;
    let used = state.used.back_mut().expect("ensure_room took a file");
    let remaining = (used.journal_file.bytes - used.position) as usize;
    let limit = image.len().min(remaining);
    let fields = CommitHeaderFields {
        journal_id: core.journal.id,
        incarnation: core.journal.incarnation,
        sequence: state.sequence,
        durable_sequence: state.durable_sequence,
        previous_checksum: state.previous_checksum,
        written_at_ms: core.shard.wall_ms(),
    };
    let mut writer = CommitWriter::new(&mut image[..limit], fields);
    while !state.queue.is_empty() {
        if let Some(later) = state.queue.get(LOOK_AHEAD) {
            prefetch(&*later.entry.partition);
        }
        let Some(placed) = state.queue.front_mut() else { break };
        let rest = placed.entry.payload_bytes - placed.sent_bytes;
        let room = writer.room();
        // A small entry waits for the next commit rather than being cut; a large one fills what is left.
        let fits = writer_fits(&writer, rest);
        if !fits && (rest <= core.config.commit_bytes_max / 4 || room < BLOCK) && writer.entry_count() > 0 {
            break;
        }
        let now_bytes = rest.min(room);
        if now_bytes == 0 && rest > 0 {
            break;
        }
        push_fragment(&mut writer, placed, now_bytes, state.sequence, used.number);
        if placed.sent_bytes == placed.entry.payload_bytes {
            let placed = state.queue.pop_front().expect("front exists");
            state.queued_bytes = state.queued_bytes.saturating_sub(placed.entry.payload_bytes + ENTRY_HEADER_BYTES + 8);
            effects.push(effect_of(placed, now));
        }
        if !fits {
            break;
        }
    }
    let (padded, checksum) = writer.finish();
    let position = used.position;
    used.position += padded as u64;
    state.previous_checksum = checksum;
    (used.journal_file.clone(), position, padded)
}

fn writer_fits(writer: &CommitWriter<'_>, payload_bytes: usize) -> bool {
    writer.room() >= payload_bytes && (payload_bytes > 0 || writer.room() > 0)
}

fn push_fragment(writer: &mut CommitWriter<'_>, placed: &mut PlacedEntry, bytes: usize, sequence: u64, file: u64) {
    let first = placed.sent_bytes == 0;
    if first {
        placed.first_sequence = sequence;
        placed.first_file = file;
    }
    let last = placed.sent_bytes + bytes == placed.entry.payload_bytes;
    let header = EntryHeader {
        first_fragment: first,
        last_fragment: last,
        position: placed.entry.header.position
            + if placed.entry.header.kind == EntryKind::Data { placed.sent_bytes as u64 } else { 0 },
        ..placed.entry.header
    };
    let mut skip = placed.sent_bytes;
    let mut take = bytes;
    let mut parts: SmallVec<[&[u8]; 4]> = SmallVec::new();
    for part in &placed.entry.parts {
        let from = skip.min(part.len());
        skip -= from;
        let to = (from + take).min(part.len());
        take -= to - from;
        if to > from {
            parts.push(&part[from..to]);
        }
    }
    writer.push(&header, &parts).expect("room was asked for");
    // What is carried forward is not on the way of a produce; the store's statistics count it.
    if placed.entry.header.kind == EntryKind::Data {
        counting::copied(bytes);
    }
    placed.sent_bytes += bytes;
    if matches!(placed.entry.header.kind, EntryKind::Data | EntryKind::Carry | EntryKind::Truncate) {
        // Replay needs the whole entry: every file that holds a fragment stays until all its bytes are synced.
        placed.entry.partition.borrow_mut().cover(file, placed.entry.end);
    }
}

fn effect_of(placed: PlacedEntry, now: Instant) -> Effect {
    let entry = placed.entry;
    Effect {
        index: placed.index,
        kind: entry.header.kind,
        partition: entry.partition,
        end: entry.end,
        end_offset: entry.header.end_offset,
        payload_bytes: entry.payload_bytes,
        first_sequence: placed.first_sequence,
        first_file: placed.first_file,
        sync_by: entry.sync_within_ms.map(|ms| now + Duration::from_millis(u64::from(ms))),
        done: entry.done,
    }
}

/// One fdatasync; then every effect written before it was issued is durable, in order.
async fn sync(core: &Rc<Core>, unsynced: &mut Unsynced) -> Result<(), StorageError> {
    let Some(journal_file) = unsynced.file.take() else { return Ok(()) };
    let issued = core.shard.now();
    if !mutation::is(Mutation::NoFdatasync) {
        journal_file
            .file
            .fdatasync()
            .await
            .map_err(|error| StorageError::io("journal fdatasync", &journal_file.path, error))?;
    }
    core.meter.journal_sync.time(issued, core.shard.now());
    core.stats.borrow_mut().fdatasyncs += 1;
    core.journal.state.borrow_mut().durable_sequence = unsynced.sequence;
    unsynced.sequence = 0;
    unsynced.sync_by = None;
    let mut durable_index = None;
    let mut effects = unsynced.effects.drain(..);
    loop {
        if let Some(later) = effects.as_slice().get(LOOK_AHEAD) {
            prefetch(&*later.partition);
        }
        let Some(effect) = effects.next() else { break };
        durable_index = Some(effect.index);
        apply(core, effect);
    }
    drop(effects);
    if let Some(index) = durable_index {
        let mut state = core.journal.state.borrow_mut();
        state.durable_index = state.durable_index.max(index);
    }
    core.journal.wake_reached();
    core.flush_if_ready();
    Ok(())
}

fn apply(core: &Rc<Core>, effect: Effect) {
    {
        let mut partition = effect.partition.borrow_mut();
        match effect.kind {
            EntryKind::Data => {
                partition.advance_durable(effect.end, effect.end_offset);
                core.stats.borrow_mut().payload_bytes += effect.payload_bytes as u64;
            }
            EntryKind::Carry => {
                partition.cover_by_carry(effect.first_file, effect.end);
                partition.replay_from = partition.replay_from.max(effect.first_sequence);
            }
            EntryKind::Truncate => partition.replay_from = partition.replay_from.max(effect.first_sequence),
            EntryKind::LogStart | EntryKind::Drop | EntryKind::Handoff => {}
        }
        if effect.kind == EntryKind::Data {
            if partition.flushable_bytes() >= crate::config::FLUSH_BYTES_TARGET as u64 {
                core.queue_flush(&partition);
            } else {
                core.rank(&mut partition);
            }
        }
    }
    if let Some(done) = effect.done {
        let _ = done.send(effect.first_sequence);
    }
}

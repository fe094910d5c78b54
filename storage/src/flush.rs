//! The flushers: move durable bytes from memory into segment files, lazily and paced. Live on the owner shard.
//!
//! [`FLUSHERS`] tasks share one queue of partitions; only as many of them work as the journal's occupancy allows, because
//! background writes queue in front of the journal's (measured: 16 in flight cost a p99 of 56 ms, one costs 2.2 ms).
//! A full disk is met by the reserve: see `space.rs`.

use std::cell::RefCell;
use std::rc::Rc;

use ouzel_protocol::PartitionId;

use crate::core::Core;
use crate::error::StorageError;
use crate::format::check::SegmentId;
use crate::partition::Partition;
use crate::recycle::make_room_for_segment;
use crate::segment::Growth;

/// Segment writes in flight at most.
pub(crate) const FLUSHERS: usize = 4;

/// How many flushers may work now.
fn allowed(core: &Core) -> usize {
    let pressure = core.journal.occupancy(&core.config).max(core.dirty_share());
    match pressure {
        pressure if pressure < 0.5 => 1,
        pressure if pressure < 0.75 => 2,
        _ => FLUSHERS,
    }
}

/// Runs until the store stops. `rank` 0 works always, higher ranks only under pressure.
pub(crate) async fn flusher(core: Rc<Core>, rank: usize) {
    while !core.is_poisoned() && !core.journal_ended.get() {
        let next = if rank < allowed(&core) { core.next_flush() } else { None };
        let Some(id) = next else {
            core.flush_work.notified().await;
            continue;
        };
        match flush_partition(&core, id).await {
            // Nothing could be written (dropped meanwhile, or not durable yet): the next sync looks again.
            Ok(0) => {}
            Ok(_) => core.flush_if_ready(),
            Err(error) => {
                core.background_failed(error).await;
                if let Ok(partition) = core.partition(id) {
                    core.queue_flush(&partition.borrow());
                }
            }
        }
    }
}

/// Writes every durable whole block of a partition into its segments. One flush per partition at a time: a second
/// caller waits for the first and then finds the rest. Returns the bytes written.
///
/// # Errors
/// What the disk said. Bytes that were not written stay in memory and in the journal.
pub(crate) async fn flush_partition(core: &Rc<Core>, id: PartitionId) -> Result<u64, StorageError> {
    let Ok(partition) = core.partition(id) else { return Ok(0) };
    while partition.borrow().flushing {
        core.flushed.notified().await;
        if core.is_poisoned() {
            return Ok(0);
        }
    }
    partition.borrow_mut().flushing = true;
    let result = write_pieces(core, &partition).await;
    partition.borrow_mut().flushing = false;
    core.flushed.notify_all();
    result
}

async fn write_pieces(core: &Rc<Core>, partition: &Rc<RefCell<Partition>>) -> Result<u64, StorageError> {
    let mut total = 0;
    loop {
        let (piece, id, start, written_before) = {
            let partition = partition.borrow();
            if partition.phase == crate::partition::Phase::Dropped {
                return Ok(total);
            }
            let Some(piece) = partition.next_flush() else { return Ok(total) };
            let segment = partition
                .segments
                .iter()
                .find(|segment| segment.base == piece.segment_base)
                .expect("piece of a segment");
            let id = SegmentId { partition: partition.id, base: piece.segment_base };
            (piece, id, segment.start, partition.written)
        };
        make_room_for_segment(core).await?;
        let segment = core.settled(core.open_segment(id).await)?;
        let bytes = piece.end - written_before;
        let write = async || {
            let growth = if core.disk_full.get() { Growth::Exact } else { Growth::Steps };
            segment.write(piece.position, piece.parts.clone(), &piece.checksums, start, &piece.batches, growth).await
        };
        core.settled(core.with_space(write).await)?;
        core.background_went_well();
        core.stats.borrow_mut().segment_bytes += bytes;
        total += bytes;
        {
            let mut partition = partition.borrow_mut();
            debug_assert_eq!(partition.written, written_before, "one flush at a time");
            let before = partition.dirty_bytes();
            partition.write_to(piece.end);
            core.dirty_changed(before, partition.dirty_bytes());
        }
    }
}

//! Snapshots of groups, so that a start need not read a log of years. Owns when one is taken, and that at most one is under way
//! on a shard; what is in it is decided in `broker/core`. Lives on every shard.
//!
//! A snapshot is taken in slices while events go on, from the state as it is in memory, which may be ahead of the log. It gets
//! its name only when all that it tells is durable in the log, and it tells of the log before the end that was durable when
//! it was begun: whoever loads it reads the log from there on. It is no evidence of anything. One that is damaged, of another
//! partition, or ahead of the log is passed over, and the log read whole.
//!
//! What all coordinators of a shard would have to read of their logs is bounded as one, because a start reads all of them; the
//! one with most to read goes first.

mod file;
mod format;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::rc::Rc;

use ouzel_broker_core::Topic;
use ouzel_broker_core::group::SnapshotCursor;
use ouzel_protocol::PartitionId;

pub(super) use file::{SnapshotError, SnapshotReader};

use super::coordinator::{Coordinator, CoordinatorRef};
use super::{OFFSETS_TOPIC, clock, records};
use crate::limits;
use crate::shard::ShardState;
use file::SnapshotWriter;

/// What a start would read of one coordinator, in bytes.
#[derive(Default)]
pub(super) struct Stored {
    /// Of its log, behind the snapshot.
    pub(super) tail_bytes: Cell<u64>,
    /// Of its snapshot.
    pub(super) snapshot_bytes: Cell<u64>,
}

/// The taking of snapshots on one shard.
#[derive(Default)]
pub(super) struct Snapshots {
    is_under_way: Cell<bool>,
    /// After a failure: so much is to be read before it is tried again.
    retry_at: Cell<u64>,
    /// That the disk is full was said.
    is_full: Cell<bool>,
}

/// A coordinator has appended so much, or was loaded with so much to read: a snapshot may be due.
pub(super) fn grown(at: &CoordinatorRef, bytes: u64) {
    let stored = at.stored();
    stored.tail_bytes.set(stored.tail_bytes.get() + bytes);
    let state = &at.state;
    let snapshots = &state.groups.snapshots;
    if !snapshots.is_under_way.get() && due(state).is_some() {
        snapshots.is_under_way.set(true);
        let state = Rc::clone(state);
        state.shard.clone().spawn(async move {
            take_all(&state).await;
            state.groups.snapshots.is_under_way.set(false);
        });
    }
}

/// The coordinator whose snapshot is due, if one is. A shard with large snapshots has more to read in any case, and writes
/// each of them so much less often.
fn due(state: &ShardState) -> Option<Rc<Coordinator>> {
    let coordinators = state.groups.coordinators.borrow();
    let serving = || coordinators.values().filter(|one| one.is_serving());
    let snapshots: u64 = serving().map(|one| one.stored.snapshot_bytes.get()).sum();
    let allowed = limits::GROUP_TAIL_BYTES.max(snapshots / 2).max(state.groups.snapshots.retry_at.get());
    let is_due = tail_bytes(state) >= allowed;
    serving().max_by_key(|one| one.stored.tail_bytes.get()).filter(|_| is_due).cloned()
}

/// What a start would read of the logs of this shard's coordinators. Those that are given up count again when they are loaded.
fn tail_bytes(state: &ShardState) -> u64 {
    let coordinators = state.groups.coordinators.borrow();
    coordinators.values().filter(|one| one.is_serving()).map(|one| one.stored.tail_bytes.get()).sum()
}

/// Takes snapshots until none is due.
async fn take_all(state: &Rc<ShardState>) {
    while let Some(coordinator) = due(state) {
        let at = CoordinatorRef::to(state, &coordinator);
        let (shard, partition) = (state.index.0, at.partition().partition.0);
        let snapshots = &state.groups.snapshots;
        match take(&at).await {
            Ok(bytes) => {
                tracing::debug!(shard, partition, bytes, "a snapshot of groups was taken");
                snapshots.retry_at.set(0);
                snapshots.is_full.set(false);
            }
            Err(error) => {
                snapshots.retry_at.set(tail_bytes(state) + limits::GROUP_TAIL_BYTES);
                let is_known = error.is_full() && snapshots.is_full.replace(true);
                if !is_known && !state.stopping.is_set() {
                    tracing::warn!(shard, partition, %error, "no snapshot of groups was taken: it is tried again later");
                }
                return;
            }
        }
    }
}

/// Takes the snapshot of one coordinator; returns its bytes.
async fn take(at: &CoordinatorRef) -> Result<u64, SnapshotError> {
    let state = &at.state;
    let partition_id = owned(at)?;
    let included_bytes = at.stored().tail_bytes.get();
    let offset = state.store.durable_end(partition_id).map_err(|_| SnapshotError::Gone)?;
    let mut writer = SnapshotWriter::create(&state.shard.fs(), state.store.data_dir(), partition_id).await?;
    let taken = async {
        write_groups(at, &mut writer).await?;
        // Nothing may be told by a snapshot that the log could lose.
        at.read(|_| ()).await.map_err(|_| SnapshotError::Gone)?;
        owned(at)?;
        writer.finish(offset).await
    };
    let taken = taken.await;
    if taken.is_err() {
        writer.discard().await;
    }
    let bytes = taken?;
    let stored = at.stored();
    stored.snapshot_bytes.set(bytes);
    stored.tail_bytes.set(stored.tail_bytes.get().saturating_sub(included_bytes));
    if owned(at).is_err() {
        // Its topic was deleted while it got its name, and who removes snapshots of such may have come too early.
        remove(state, vec![partition_id]).await;
    }
    Ok(bytes)
}

async fn write_groups(at: &CoordinatorRef, writer: &mut SnapshotWriter) -> Result<(), SnapshotError> {
    let state = &at.state;
    let mut cursor = SnapshotCursor::new();
    while !cursor.is_done() {
        if state.stopping.is_set() {
            return Err(SnapshotError::Gone);
        }
        let slice = |groups: &mut ouzel_broker_core::group::GroupCoordinator, _| {
            groups.snapshot_slice(&mut cursor, limits::GROUP_SNAPSHOT_SLICE_RECORDS)
        };
        let slice = at.direct(slice).map_err(|_| SnapshotError::Gone)?;
        let wall = clock::now(state).wall;
        for batch in records::batches(slice.iter(), wall).map_err(SnapshotError::Record)? {
            writer.write(&batch).await?;
        }
        state.shard.yield_now().await;
    }
    Ok(())
}

fn owned(at: &CoordinatorRef) -> Result<PartitionId, SnapshotError> {
    let partition = at.state.topics.owned(at.partition()).map_err(|_| SnapshotError::Gone)?;
    Ok(partition.partition_id)
}

/// The topic is gone, and its groups with it: so are the snapshots of the partitions that this shard owned.
pub(super) fn topic_gone(state: &Rc<ShardState>, topic: &Topic) {
    if topic.name != OFFSETS_TOPIC {
        return;
    }
    let ours = topic.partitions.iter().filter(|partition| partition.shard == state.index);
    let ours = ours.map(|partition| partition.partition_id).collect();
    let state = Rc::clone(state);
    state.shard.clone().spawn(async move { remove(&state, ours).await });
}

/// Removes the snapshots of partitions that are gone. One that stays is of no harm: no other partition ever has its id.
async fn remove(state: &ShardState, partitions: Vec<PartitionId>) {
    let (fs, data_dir) = (state.shard.fs(), state.store.data_dir());
    for partition_id in partitions {
        for path in [file::path(data_dir, partition_id), file::unfinished_path(data_dir, partition_id)] {
            if let Err(error) = file::remove(&fs, &path).await {
                tracing::warn!(shard = state.index.0, path = %path.display(), %error, "a snapshot was not removed");
            }
        }
    }
}

/// Removes what earlier starts have left of partitions that are gone. One shard does it for the node.
pub(super) async fn remove_strays(state: &ShardState) {
    let directory = file::directory(state.store.data_dir());
    let Ok(entries) = state.shard.fs().read_dir(&directory).await else { return };
    // Who has a file was in the metadata before it had it.
    let image = state.topics.image();
    let is_known = |id: PartitionId| image.partitions().any(|(_, _, partition)| partition.partition_id == id);
    let found = entries.iter().filter_map(|entry| file::partition_of(&entry.name));
    let strays = found.filter(|id| !is_known(*id)).collect();
    remove(state, strays).await;
}

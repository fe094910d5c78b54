//! Ends the state of a full disk once there is space again. Owns the look at the free space; who finds the disk full is
//! whoever writes. Lives on the owner shard.
//!
//! A flush that gets through ends the state at once. This task is for when there is nothing to flush: while appends are
//! refused, nothing else would ever try the disk.

use std::rc::Rc;
use std::time::Duration;

use crate::core::Core;

/// How often a full disk is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Free space that ends the state: less would be used up by the next steps in which segments grow.
const FREE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// Runs until the store stops.
pub(crate) async fn space_watch(core: Rc<Core>) {
    while !core.is_poisoned() && !core.journal_ended.get() {
        if !core.disk_full.get() {
            core.space_work.notified().await;
            continue;
        }
        core.shard.sleep(LOOK).await;
        match core.shard.fs().free_bytes(&core.data_dir).await {
            Ok(free) if free >= FREE_BYTES_MIN => core.set_disk_full(false),
            Ok(_) => {}
            // Said by whoever needs the disk next.
            Err(error) => tracing::debug!(shard = core.shard_index, %error, "the free space is not known"),
        }
    }
}

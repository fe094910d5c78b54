//! The deadlines of groups: sessions, rebalances, expiry. Owns one task a shard, which sleeps until the first of them. Lives on
//! every shard.

use std::rc::Rc;
use std::time::Duration;

use ouzel_broker_core::group::{MonotonicMs, Now, WallMs};
use ouzel_runtime::timeout_at;

use super::coordinator::CoordinatorRef;
use crate::shard::ShardState;

/// The time of an event, by both clocks.
pub(super) fn now(state: &ShardState) -> Now {
    let since = state.shard.now() - state.serving_since;
    Now {
        monotonic: MonotonicMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        wall: WallMs(state.shard.wall_ms()),
    }
}

/// Does what is due in the groups of a shard, for as long as the shard serves.
pub(crate) async fn clock(state: Rc<ShardState>) {
    loop {
        let mut first = MonotonicMs::NEVER;
        let now = now(&state);
        for coordinator in state.groups.all() {
            first = first.min(CoordinatorRef::to(&state, &coordinator).tick(now));
        }
        state.groups.wakes_at.set(first);
        if first <= now.monotonic {
            // A slice of a longer search: others have their turn.
            state.shard.yield_now().await;
        } else if first == MonotonicMs::NEVER {
            state.groups.due_earlier.notified().await;
        } else {
            // A millisecond later: a deadline is over when its millisecond is.
            let deadline = state.serving_since + Duration::from_millis(first.0.saturating_add(1));
            let _ = timeout_at(&state.shard, deadline, state.groups.due_earlier.notified()).await;
        }
    }
}

//! A list of groups: every shard is asked for those of its coordinators. Owns no state. Runs on the connection's shard.

use std::rc::Rc;

use ouzel_broker_core::group::GroupListing;
use ouzel_protocol::ShardIndex;

use super::{Unavailable, at_shard, serving_here};
use crate::shard::ShardState;

/// Groups in one of `states` and of one of `kinds`, in no order; an empty filter lets all through. With them, why some may be
/// missing.
pub(crate) async fn list(
    state: &Rc<ShardState>,
    states: &[String],
    kinds: &[String],
) -> (Vec<GroupListing>, Option<Unavailable>) {
    let mut listed = Vec::new();
    let mut failed = None;
    for shard in 0..state.peers.len() {
        let shard = ShardIndex(u16::try_from(shard).unwrap_or(u16::MAX));
        let (states, kinds) = (states.to_vec(), kinds.to_vec());
        let of_shard = at_shard(state, shard, async move |state| {
            let states: Vec<&str> = states.iter().map(String::as_str).collect();
            let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
            let mut listed = Vec::new();
            for coordinator in serving_here(&state).await? {
                listed.extend(coordinator.read(|groups| groups.list(&states, &kinds)).await?);
            }
            Ok(listed)
        });
        match of_shard.await.flatten() {
            Ok(of_shard) => listed.extend(of_shard),
            Err(error) => failed = Some(error),
        }
    }
    (listed, failed)
}

//! Members of groups whose broker assigns.

use ouzel_broker_core::group::{GroupError, HeartbeatCaller, HeartbeatOutcome, Reply};
use ouzel_protocol::kafka::{Array, ConsumerGroupHeartbeatRequest};

use super::{GROUP, Scene};

/// The first heartbeat of a member that reads `orders`.
pub fn first<'a>(member_id: &'a str) -> ConsumerGroupHeartbeatRequest<'a> {
    ConsumerGroupHeartbeatRequest {
        group_id: GROUP,
        member_id,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(["orders"].into()),
        topic_partitions: Some(Array::EMPTY),
        ..Default::default()
    }
}

/// A later one, in which nothing has changed.
pub fn beat(member_id: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest<'_> {
    ConsumerGroupHeartbeatRequest { group_id: GROUP, member_id, member_epoch, ..Default::default() }
}

/// One heartbeat, and what the member is told.
pub fn hear(scene: &mut Scene, request: &ConsumerGroupHeartbeatRequest<'_>) -> Result<HeartbeatOutcome, GroupError> {
    let waiter = scene.waiter();
    let caller = HeartbeatCaller { client_id: "new", client_host: "/host", drawn: 1, makes_its_id: true };
    let mut effects = Default::default();
    scene.coordinator.consumer_heartbeat(scene.now, waiter, request, caller, &mut effects);
    scene.take(effects);
    match scene.replies.remove(&waiter) {
        Some(Reply::ConsumerHeartbeat(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

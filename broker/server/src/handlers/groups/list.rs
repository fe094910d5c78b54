//! ListGroups and DeleteGroup: a list is asked of every shard, a deletion of the group's coordinator.

use std::rc::Rc;

use ouzel_broker_core::group::{GroupListing, Reply};
use ouzel_protocol::ErrorCode;
use ouzel_protocol::native::limits::GROUPS_MAX;
use ouzel_protocol::native::{DeleteGroupRequest, ListGroupsReply, ListGroupsRequest, ListedGroup};

use super::Refusal;
use crate::frame_reader::Fault;
use crate::groups::{at_coordinator, is_any_group_kept};
use crate::shard::ShardState;

pub(super) async fn list(state: &Rc<ShardState>, asked: &ListGroupsRequest) -> Result<ListGroupsReply, Refusal> {
    if !is_any_group_kept(state).await {
        return Ok(ListGroupsReply { groups: Vec::new() });
    }
    let (listed, failed) = crate::groups::list(state, &asked.states, &asked.kinds).await;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if listed.len() > GROUPS_MAX {
        let message = format!("there are {} groups, a list has at most {GROUPS_MAX}: ask for fewer", listed.len());
        return Err(Refusal { error: ErrorCode::PolicyViolation, message });
    }
    let groups = listed.iter().map(|GroupListing { group_id, protocol_type, state, kind }| ListedGroup {
        group_id: group_id.to_string(),
        kind: (*kind).to_owned(),
        protocol_type: protocol_type.to_string(),
        state: (*state).to_owned(),
    });
    Ok(ListGroupsReply { groups: groups.collect() })
}

pub(super) async fn delete(state: &Rc<ShardState>, body: &[u8]) -> Result<Result<(), Refusal>, Fault> {
    let DeleteGroupRequest { group_id } = DeleteGroupRequest::decode(body)?;
    if !is_any_group_kept(state).await {
        return Ok(Err(Refusal::no_group()));
    }
    let id = group_id.clone();
    let answered = at_coordinator(state, &group_id, async move |coordinator| {
        coordinator.ask(|groups, _, waiter| groups.delete_group(waiter, &id)).await
    });
    Ok(match answered.await.flatten() {
        Ok(Reply::DeleteGroup(outcome)) => outcome.map_err(|error| Refusal::by_group(&error)),
        Ok(other) => unreachable!("a deletion was answered with {other:?}"),
        Err(error) => Err(error.into()),
    })
}

//! DescribeGroups, ListGroups and DeleteGroups: groups as operators see them. Each group is asked of its own coordinator, a list
//! of every shard.

use std::rc::Rc;

use ouzel_broker_core::group::{GroupDescription, InstanceId, Reply};
use ouzel_protocol::kafka::{
    AUTHORIZED_OPERATIONS_NONE, DeleteGroupsReply, DeleteGroupsRequest, DeletedGroup, DescribeGroupsReply,
    DescribeGroupsRequest, DescribedGroup, DescribedMember, KafkaError, ListGroupsReply, ListGroupsRequest,
    ListedGroup,
};

use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::{Unavailable, at_coordinator, list as list_groups};
use crate::kafka::request::{KafkaRequest, Ticket};

/// From here on a group that is not there is an error (KIP-1043); before, it is one that is dead.
const NOT_FOUND_FROM: i16 = 6;
/// What anybody may do with a group, as bits of Kafka's `AclOperation`: read (3), delete (6), describe (8).
pub(super) const GROUP_OPERATIONS: i32 = 0b1_0100_1000;

pub(super) async fn describe(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DescribeGroupsRequest<'_> = request.message()?;
    let mut found: Vec<Result<Option<GroupDescription>, Unavailable>> = Vec::with_capacity(asked.groups.len());
    for group_id in &asked.groups {
        let id = group_id.to_owned();
        let answered = at_coordinator(&connection.state, group_id, async move |coordinator| {
            coordinator.read(|groups| groups.describe_classic(&id)).await
        });
        found.push(match answered.await.flatten() {
            // No group was ever kept: there is none of this name either.
            Err(Unavailable::NotHere) if crate::groups::offsets_topic(&connection.state).is_none() => Ok(None),
            answered => answered,
        });
    }
    let operations = if asked.include_authorized_operations { GROUP_OPERATIONS } else { AUTHORIZED_OPERATIONS_NONE };
    let messages: Vec<String> = asked.groups.iter().map(|group_id| format!("Group {group_id} not found.")).collect();
    let groups = asked.groups.iter().zip(&found).zip(&messages).map(|((group_id, found), message)| {
        let blank = DescribedGroup { group_id, authorized_operations: operations, ..DescribedGroup::default() };
        match found {
            Ok(Some(group)) => described(group, blank),
            Ok(None) if request.version >= NOT_FOUND_FROM => DescribedGroup {
                error_code: KafkaError::GROUP_ID_NOT_FOUND,
                error_message: Some(message),
                group_state: "Dead",
                ..blank
            },
            Ok(None) => DescribedGroup { group_state: "Dead", ..blank },
            Err(error) => DescribedGroup { error_code: error_map::of_unavailable(*error), ..blank },
        }
    });
    let reply = DescribeGroupsReply { groups: groups.collect(), ..DescribeGroupsReply::default() };
    ticket.answer(connection, &reply)
}

fn described<'a>(group: &'a GroupDescription, blank: DescribedGroup<'a>) -> DescribedGroup<'a> {
    let members = group.members.iter().map(|member| DescribedMember {
        member_id: member.member_id.as_str(),
        group_instance_id: member.instance_id.as_ref().map(InstanceId::as_str),
        client_id: &member.client_id,
        client_host: &member.client_host,
        member_metadata: &member.subscription,
        member_assignment: &member.assignment,
    });
    DescribedGroup {
        error_code: KafkaError::NONE,
        group_state: group.state,
        protocol_type: &group.protocol_type,
        protocol_data: &group.protocol,
        members: members.collect(),
        ..blank
    }
}

pub(super) async fn list(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: ListGroupsRequest<'_> = request.message()?;
    let state = &connection.state;
    let owned = |filter: Vec<&str>| filter.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (states, kinds) = (owned(asked.states_filter.iter().collect()), owned(asked.types_filter.iter().collect()));
    let (listed, failed) = list_groups(state, &states, &kinds).await;
    let error_code = failed.map_or(KafkaError::NONE, error_map::of_unavailable);
    let groups = listed.iter().map(|group| ListedGroup {
        group_id: group.group_id.as_str(),
        protocol_type: &group.protocol_type,
        group_state: group.state,
        group_type: group.kind,
    });
    ticket.answer(connection, &ListGroupsReply { error_code, groups: groups.collect(), ..ListGroupsReply::default() })
}

pub(super) async fn delete(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DeleteGroupsRequest<'_> = request.message()?;
    let mut results = Vec::with_capacity(asked.groups_names.len());
    for group_id in &asked.groups_names {
        let id = group_id.to_owned();
        let answered = at_coordinator(&connection.state, group_id, async move |coordinator| {
            coordinator.ask(|groups, _, waiter| groups.delete_group(waiter, &id)).await
        });
        let error_code = match answered.await.flatten() {
            Ok(Reply::DeleteGroup(Ok(()))) => KafkaError::NONE,
            Ok(Reply::DeleteGroup(Err(error))) => error_map::of_group(&error),
            Ok(other) => unreachable!("a deletion was answered with {other:?}"),
            Err(error) => error_map::of_unavailable(error),
        };
        results.push(DeletedGroup { group_id, error_code });
    }
    ticket.answer(connection, &DeleteGroupsReply { results: (&results).into(), ..DeleteGroupsReply::default() })
}

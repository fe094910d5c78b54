//! JoinGroup, SyncGroup, Heartbeat and LeaveGroup: the members of classic groups. Owns the step between the messages and the
//! events of a group.

use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::group::{
    Caller, ClassicProtocol, Generation, GroupError, InstanceId, JoinOutcome, JoinRefusal, JoinRequest, Leaving,
    MemberId, Reply, SyncOutcome, SyncRequest,
};
use ouzel_protocol::kafka::{
    HeartbeatReply, HeartbeatRequest, JoinGroupReply, JoinGroupRequest, JoinedMember, KafkaError, LeaveGroupReply,
    LeaveGroupRequest, LeftMember, SyncGroupReply, SyncGroupRequest,
};

use super::{Answer, Frame, at_group};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::CoordinatorRef;
use crate::kafka::request::{KafkaRequest, Ticket};

/// From here on a member is given its id before it joins (KIP-394).
const ID_FIRST_FROM: i16 = 4;
/// From here on a leader can be told not to assign (KIP-814).
const SKIPS_ASSIGNMENT_FROM: i16 = 9;
/// From here on a reply may say that there is no protocol.
const NULL_PROTOCOL_FROM: i16 = 7;
/// From here on several members leave at once.
const SEVERAL_LEAVE_FROM: i16 = 3;

pub(super) async fn join(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: JoinGroupRequest<'_> = request.message()?;
    let work = async |coordinator: CoordinatorRef, frame: Arc<Frame>| join_here(&coordinator, &frame).await;
    at_group(connection, request, ticket, asked.group_id, work, |frame, error| {
        let asked: JoinGroupRequest<'_> = frame.message()?;
        join_refused(frame, error, asked.member_id)
    })
    .await
}

async fn join_here(coordinator: &CoordinatorRef, frame: &Frame) -> Answer {
    let asked: JoinGroupRequest<'_> = frame.message()?;
    let protocols = asked.protocols.iter();
    let wish = JoinRequest {
        member_id: asked.member_id,
        instance_id: asked.group_instance_id,
        client_id: &frame.client_id,
        client_host: &frame.client_host,
        session_timeout_ms: asked.session_timeout_ms,
        rebalance_timeout_ms: asked.rebalance_timeout_ms,
        protocol_type: asked.protocol_type,
        protocols: protocols
            .map(|protocol| ClassicProtocol { name: protocol.name.into(), metadata: protocol.metadata.into() })
            .collect(),
        drawn: rand::random(),
        takes_id_first: frame.version >= ID_FIRST_FROM,
        skips_assignment: frame.version >= SKIPS_ASSIGNMENT_FROM,
    };
    let reply = coordinator.ask(|groups, now, waiter| groups.join(now, waiter, asked.group_id, wish)).await;
    match reply {
        Ok(Reply::Join(Ok(outcome))) => joined(frame, &outcome),
        Ok(Reply::Join(Err(JoinRefusal { member_id, error }))) => {
            let member_id = member_id.as_ref().map_or("", MemberId::as_str);
            join_refused(frame, error_map::of_group(&error), member_id)
        }
        Ok(other) => unreachable!("a join was answered with {other:?}"),
        Err(error) => join_refused(frame, error_map::of_unavailable(error), asked.member_id),
    }
}

fn joined(frame: &Frame, outcome: &JoinOutcome) -> Answer {
    let members = outcome.members.iter().map(|member| JoinedMember {
        member_id: member.member_id.as_str(),
        group_instance_id: member.instance_id.as_ref().map(InstanceId::as_str),
        metadata: &member.metadata,
    });
    frame.reply(&JoinGroupReply {
        error_code: KafkaError::NONE,
        generation_id: outcome.generation.0,
        protocol_type: Some(&outcome.protocol_type),
        protocol_name: Some(&outcome.protocol),
        leader: outcome.leader.as_str(),
        skip_assignment: outcome.skip_assignment,
        member_id: outcome.member_id.as_str(),
        members: members.collect(),
        ..JoinGroupReply::default()
    })
}

fn join_refused(frame: &Frame, error_code: KafkaError, member_id: &str) -> Answer {
    frame.reply(&JoinGroupReply {
        error_code,
        generation_id: Generation::NONE.0,
        protocol_name: (frame.version < NULL_PROTOCOL_FROM).then_some(""),
        member_id,
        ..JoinGroupReply::default()
    })
}

pub(super) async fn sync(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: SyncGroupRequest<'_> = request.message()?;
    let work = async |coordinator: CoordinatorRef, frame: Arc<Frame>| sync_here(&coordinator, &frame).await;
    at_group(connection, request, ticket, asked.group_id, work, sync_refused).await
}

async fn sync_here(coordinator: &CoordinatorRef, frame: &Frame) -> Answer {
    let asked: SyncGroupRequest<'_> = frame.message()?;
    let wish = SyncRequest {
        caller: Caller {
            member_id: asked.member_id,
            instance_id: asked.group_instance_id,
            generation: Generation(asked.generation_id),
        },
        protocol_type: asked.protocol_type,
        protocol: asked.protocol_name,
        assignments: asked.assignments.iter().map(|row| (row.member_id, row.assignment.into())).collect(),
    };
    match coordinator.ask(|groups, now, waiter| groups.sync(now, waiter, asked.group_id, wish)).await {
        Ok(Reply::Sync(Ok(SyncOutcome { protocol_type, protocol, assignment }))) => frame.reply(&SyncGroupReply {
            error_code: KafkaError::NONE,
            protocol_type: Some(&protocol_type),
            protocol_name: Some(&protocol),
            assignment: &assignment,
            ..SyncGroupReply::default()
        }),
        Ok(Reply::Sync(Err(error))) => sync_refused(frame, error_map::of_group(&error)),
        Ok(other) => unreachable!("a sync was answered with {other:?}"),
        Err(error) => sync_refused(frame, error_map::of_unavailable(error)),
    }
}

fn sync_refused(frame: &Frame, error_code: KafkaError) -> Answer {
    frame.reply(&SyncGroupReply { error_code, ..SyncGroupReply::default() })
}

pub(super) async fn heartbeat(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
) -> Result<(), Fault> {
    let asked: HeartbeatRequest<'_> = request.message()?;
    let work = async |coordinator: CoordinatorRef, frame: Arc<Frame>| heartbeat_here(&coordinator, &frame);
    at_group(connection, request, ticket, asked.group_id, work, heartbeat_reply).await
}

fn heartbeat_here(coordinator: &CoordinatorRef, frame: &Frame) -> Answer {
    let asked: HeartbeatRequest<'_> = frame.message()?;
    let caller = Caller {
        member_id: asked.member_id,
        instance_id: asked.group_instance_id,
        generation: Generation(asked.generation_id),
    };
    let error = match coordinator.direct(|groups, now| groups.heartbeat(now, asked.group_id, caller)) {
        Ok(Ok(())) => KafkaError::NONE,
        Ok(Err(error)) => error_map::of_group(&error),
        Err(error) => error_map::of_unavailable(error),
    };
    heartbeat_reply(frame, error)
}

fn heartbeat_reply(frame: &Frame, error_code: KafkaError) -> Answer {
    frame.reply(&HeartbeatReply { error_code, ..HeartbeatReply::default() })
}

pub(super) async fn leave(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: LeaveGroupRequest<'_> = request.message()?;
    let work = async |coordinator: CoordinatorRef, frame: Arc<Frame>| leave_here(&coordinator, &frame).await;
    at_group(connection, request, ticket, asked.group_id, work, leave_refused).await
}

async fn leave_here(coordinator: &CoordinatorRef, frame: &Frame) -> Answer {
    let asked: LeaveGroupRequest<'_> = frame.message()?;
    let is_single = frame.version < SEVERAL_LEAVE_FROM;
    let leaving: Vec<Leaving<'_>> = if is_single {
        vec![Leaving { member_id: asked.member_id, instance_id: None }]
    } else {
        let members = asked.members.iter();
        members.map(|row| Leaving { member_id: row.member_id, instance_id: row.group_instance_id }).collect()
    };
    let left = match coordinator.ask(|groups, now, waiter| groups.leave(now, waiter, asked.group_id, &leaving)).await {
        Ok(Reply::Leave(Ok(left))) => left,
        Ok(Reply::Leave(Err(error))) => return leave_refused(frame, error_map::of_group(&error)),
        Ok(other) => unreachable!("a leave was answered with {other:?}"),
        Err(error) => return leave_refused(frame, error_map::of_unavailable(error)),
    };
    let code = |outcome: &Result<(), GroupError>| outcome.as_ref().err().map_or(KafkaError::NONE, error_map::of_group);
    if is_single {
        // The one member's fate is the whole reply.
        return leave_refused(frame, left.first().map_or(KafkaError::NONE, |row| code(&row.outcome)));
    }
    let members = left.iter().map(|row| LeftMember {
        member_id: row.member_id.as_str(),
        group_instance_id: row.instance_id.as_ref().map(InstanceId::as_str),
        error_code: code(&row.outcome),
    });
    frame.reply(&LeaveGroupReply { members: members.collect(), ..LeaveGroupReply::default() })
}

fn leave_refused(frame: &Frame, error_code: KafkaError) -> Answer {
    frame.reply(&LeaveGroupReply { error_code, ..LeaveGroupReply::default() })
}

//! Groups over the native protocol: the way of a request to the coordinator of its group, one file for each family. Owns no
//! state; what an answer means is decided in `broker/core`. Runs on the connection's shard, and at the coordinator on its own.
//!
//! A group, member or epoch that is wrong refuses the request as a whole, in the header of the reply; errors of single
//! partitions stand in their rows.

mod describe;
mod heartbeat;
mod list;
mod offsets;

use std::rc::Rc;

use ouzel_broker_core::group::GroupError;
use ouzel_protocol::native::{
    Api, DeleteOffsetsRequest, DescribeGroupRequest, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, GroupHeartbeatRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest, StatusReply, reply_frame,
};
use ouzel_protocol::{ErrorCode, TopicId};

use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::{Unavailable, ensure_offsets_topic};
use crate::handlers::refresh;
use crate::request::Request;
use crate::shard::ShardState;

pub(crate) use describe::described;

/// Why a request about a group is refused as a whole.
pub(super) struct Refusal {
    error: ErrorCode,
    message: String,
}

impl Refusal {
    fn of(error: ErrorCode) -> Self {
        Self { error, message: error.to_string() }
    }

    fn by_group(error: &GroupError) -> Self {
        Self { error: error_map::native_of_group(error), message: error.to_string() }
    }

    fn by_commit(error: &GroupError) -> Self {
        Self { error: error_map::native_of_commit(error), message: error.to_string() }
    }

    /// The group does not exist.
    fn no_group() -> Self {
        Self::by_group(&GroupError::UnknownGroup)
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        Self::of(error_map::native_of_unavailable(error))
    }
}

/// Whether members depend on a quick answer to it.
pub(super) fn is_of_member(api: Api) -> bool {
    matches!(api, Api::GroupHeartbeat | Api::OffsetCommit)
}

/// Answers a request about groups.
///
/// # Errors
/// The body is not what its layout says: the connection ends.
pub(super) async fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let state = &connection.state;
    let body = &request.body;
    match request.header.api {
        Api::GroupHeartbeat => {
            let asked = GroupHeartbeatRequest::decode(body)?;
            let answered = heartbeat::answer(connection, asked).await;
            reply(connection, request, answered, |reply, out| reply.encode(out));
        }
        Api::OffsetCommit => {
            let asked = OffsetCommitRequest::decode(body)?;
            let answered = offsets::commit(state, asked).await;
            reply(connection, request, answered, |reply, out| reply.encode(out));
        }
        Api::OffsetFetch => {
            let asked = OffsetFetchRequest::decode(body)?;
            let answered = offsets::fetch(state, asked).await;
            reply(connection, request, answered, |reply, out| reply.encode(out));
        }
        Api::DeleteOffsets => {
            let asked = DeleteOffsetsRequest::decode(body)?;
            let answered = offsets::delete(state, asked).await;
            reply(connection, request, answered, |reply, out| reply.encode(out));
        }
        Api::ListGroups => {
            let asked = ListGroupsRequest::decode(body)?;
            let answered = list::list(state, &asked).await;
            reply(connection, request, answered, |reply, out| reply.encode(out));
        }
        Api::DescribeGroup => {
            let asked = DescribeGroupRequest::decode(body)?;
            let answered = describe::describe(state, asked).await;
            reply(connection, request, answered, |reply, out| reply.encode(out));
        }
        Api::DeleteGroup => {
            let status = match list::delete(state, body).await? {
                Ok(()) => StatusReply { error: ErrorCode::None, message: String::new() },
                Err(Refusal { error, message }) => StatusReply { error, message },
            };
            reply(connection, request, Ok(status), |reply, out| reply.encode(out));
        }
        _ => return Err(Fault::Protocol("an api without a handler")),
    }
    Ok(())
}

/// Sends a reply, or says that it was refused, or that it is larger than any frame.
fn reply<R>(
    connection: &Connection,
    request: Request,
    answered: Result<R, Refusal>,
    encode: impl FnOnce(&R, &mut Vec<u8>),
) {
    let mut body = Vec::new();
    let refusal = match answered {
        Err(refusal) => refusal,
        Ok(reply) => {
            encode(&reply, &mut body);
            if body.len() <= FRAME_BYTES_MAX - FRAME_HEADER_BYTES {
                let header = request.header;
                let frame = reply_frame(header.api, header.correlation, |out| out.append(&mut body));
                return connection.reply(frame, request.held);
            }
            let message = format!("the answer has {} bytes, more than a frame may: ask for less", body.len());
            Refusal { error: ErrorCode::PolicyViolation, message }
        }
    };
    connection.refuse(&request.header, refusal.error, &refusal.message, request.held);
}

/// Sees to it that there are groups at all, for requests that may begin one.
async fn ensure_kept(state: &ShardState) -> Result<(), Refusal> {
    ensure_offsets_topic(state).await.map_err(|error| {
        tracing::warn!(shard = state.index.0, ?error, "the topic that groups are kept in could not be created");
        let message = format!("the topic that groups are kept in could not be created: {error}");
        Refusal { error: ErrorCode::CoordinatorNotAvailable, message }
    })
}

/// Makes sure that what is committed now is known here, if any of these topics is not (rule Q1: asked once).
async fn look_up(state: &ShardState, topics: impl Iterator<Item = TopicId>) {
    let image = state.topics.image();
    let mut topics = topics;
    if topics.any(|topic_id| image.topic(topic_id).is_none()) {
        drop(image);
        refresh(state).await;
    }
}

//! Groups of consumers over the Kafka protocol: one file for each family of requests. Owns the way of a request to the
//! coordinator of its group: the frame goes to the shard that has it, is read and answered there, and the reply's bytes come
//! back. What an answer means is decided in `broker/core`.

mod admin;
mod commits;
mod consumer;
mod find;
mod members;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ouzel_protocol::kafka::{ApiKey, KafkaError, Message, RequestHeader, append_reply};

use super::request::{KafkaRequest, Ticket, unspeakable};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::{CoordinatorRef, at_coordinator};

/// Whether a request is about groups. Those wait for other members, and never take the place of one that answers at once.
pub(super) fn is_about_groups(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::FindCoordinator
            | ApiKey::JoinGroup
            | ApiKey::SyncGroup
            | ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::OffsetCommit
            | ApiKey::OffsetFetch
            | ApiKey::OffsetDelete
            | ApiKey::DescribeGroups
            | ApiKey::ListGroups
            | ApiKey::DeleteGroups
            | ApiKey::ConsumerGroupHeartbeat
            | ApiKey::ConsumerGroupDescribe
    )
}

/// Whether members depend on a quick answer to it, which is small.
pub(super) fn is_of_member(api: ApiKey) -> bool {
    matches!(api, ApiKey::Heartbeat | ApiKey::ConsumerGroupHeartbeat | ApiKey::OffsetCommit | ApiKey::LeaveGroup)
}

/// Answers a request about groups.
pub(super) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    match request.api {
        ApiKey::FindCoordinator => find::answer(connection, request, ticket).await,
        ApiKey::JoinGroup => members::join(connection, request, ticket).await,
        ApiKey::SyncGroup => members::sync(connection, request, ticket).await,
        ApiKey::Heartbeat => members::heartbeat(connection, request, ticket).await,
        ApiKey::LeaveGroup => members::leave(connection, request, ticket).await,
        ApiKey::OffsetCommit => commits::commit(connection, request, ticket).await,
        ApiKey::OffsetFetch => commits::fetch(connection, request, ticket).await,
        ApiKey::OffsetDelete => commits::delete(connection, request, ticket).await,
        ApiKey::DescribeGroups => admin::describe(connection, request, ticket).await,
        ApiKey::ListGroups => admin::list(connection, request, ticket).await,
        ApiKey::DeleteGroups => admin::delete(connection, request, ticket).await,
        ApiKey::ConsumerGroupHeartbeat => consumer::heartbeat(connection, request, ticket).await,
        ApiKey::ConsumerGroupDescribe => consumer::describe(connection, request, ticket).await,
        _ => Err(Fault::Protocol("an api without a handler")),
    }
}

/// A reply's bytes, or why the connection ends without one.
type Answer = Result<Vec<u8>, Fault>;

/// A request on its way to the shard that has its group, and who sent it.
struct Frame {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    body: Bytes,
    client_id: String,
    /// As Kafka shows it: `/127.0.0.1`.
    client_host: String,
}

impl Frame {
    fn of(connection: &Connection, request: &KafkaRequest) -> Result<Self, Fault> {
        let (RequestHeader { client_id, .. }, _) = RequestHeader::decode(&request.frame)?;
        Ok(Self {
            api: request.api,
            version: request.version,
            correlation_id: request.correlation_id(),
            body: request.body(),
            client_id: client_id.unwrap_or_default().to_owned(),
            client_host: format!("/{}", connection.peer.ip().to_canonical()),
        })
    }

    /// The message; its strings lie in the frame.
    ///
    /// # Errors
    /// The body is not what its layout says: the connection ends.
    fn message<'a, M: Message<'a>>(&'a self) -> Result<M, Fault> {
        Ok(M::decode_from(&self.body, self.version)?)
    }

    /// A reply's bytes. One that its version cannot carry is our mistake, and ends the connection.
    fn reply<'a>(&self, reply: &impl Message<'a>) -> Answer {
        let mut out = Vec::new();
        append_reply(&mut out, self.version, self.correlation_id, reply)
            .map_err(|error| unspeakable(self.api, &error))?;
        Ok(out)
    }
}

/// Takes a request of one group to its coordinator and answers with what that says, or with `refused` where there is none.
async fn at_group<F: Future<Output = Answer> + 'static>(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
    group_id: &str,
    work: impl FnOnce(CoordinatorRef, Arc<Frame>) -> F + Send + 'static,
    refused: impl FnOnce(&Frame, KafkaError) -> Answer,
) -> Result<(), Fault> {
    let frame = Arc::new(Frame::of(connection, request)?);
    let sent = Arc::clone(&frame);
    let answered = at_coordinator(&connection.state, group_id, move |coordinator| work(coordinator, sent)).await;
    let reply = answered.unwrap_or_else(|error| refused(&frame, error_map::of_unavailable(error)))?;
    ticket.answer_bytes(connection, reply);
    Ok(())
}

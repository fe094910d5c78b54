//! One file for each api: decode, decide where it goes, ask the owners, encode. Handlers own no state; they run on the
//! connection's shard and reach other shards through the lanes only.

mod describe_cluster;
mod describe_node;
pub(crate) mod fetch;
mod groups;
pub(crate) mod hello;
mod init_producer_id;
pub(crate) mod list_offsets;
mod metadata;
pub(crate) mod produce;
mod topics;

pub(crate) use fetch::Gathered;
pub(crate) use groups::described as described_group;
pub(crate) use metadata::advertised_host;
pub(crate) use topics::{create_with_defaults, propose, statuses};

use std::rc::Rc;

use ouzel_protocol::native::Api;
use ouzel_protocol::{ErrorCode, MetadataVersion};
use ouzel_runtime::remote_oneshot::Sender;

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::lanes::{PartitionRef, ShardRequest};
use crate::metadata_plane::PlaneMessage;
use crate::request::{Arrived, Request};
use crate::shard::ShardState;
use crate::topic_table::Route;

/// Answers a request, or dispatches it, where that takes no waiting: its body is read where it was received. Else gives the
/// request back, and nothing has happened.
///
/// # Errors
/// The body is not what its layout says: the connection ends.
pub(crate) fn answer_at_once(
    connection: &Rc<Connection>,
    arrived: Arrived,
    body: &[u8],
) -> Result<Option<Arrived>, Fault> {
    match arrived.header.api {
        Api::Produce => produce::dispatch_at_once(connection, arrived, body),
        Api::Fetch => fetch::answer_at_once(connection, arrived, body),
        _ => Ok(Some(arrived)),
    }
}

/// Answers any request but Hello and Produce. Replies of one connection leave in the order in which they become ready.
///
/// # Errors
/// The body is not what its layout says: the connection ends.
pub(crate) async fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    if request.header.api == Api::Fetch {
        return fetch::answer(connection, request).await;
    }
    if groups::is_of_member(request.header.api) {
        // A member that is not heard in time is taken for dead: it waits for nobody's large answers.
        return groups::answer(connection, request).await;
    }
    // How large these answers are is known when they are made: few are made at once, none while many wait unsent.
    let state = &connection.state;
    let _one_of_few = state.answering.acquire(1).await;
    state.memory.answers_allowed().await;
    match request.header.api {
        Api::Metadata => metadata::answer(connection, request).await,
        Api::ListOffsets => list_offsets::answer(connection, request).await,
        Api::CreateTopic => topics::create(connection, request).await,
        Api::DeleteTopic => topics::delete(connection, request).await,
        Api::AlterTopic => topics::alter(connection, request).await,
        Api::DescribeTopic => topics::describe(connection, request).await,
        Api::ListTopics => topics::list(connection, request).await,
        Api::DescribeNode => describe_node::answer(connection, request).await,
        Api::DescribeCluster => describe_cluster::answer(connection, request),
        Api::InitProducerId => init_producer_id::answer(connection, request).await,
        Api::ListGroups
        | Api::DescribeGroup
        | Api::DeleteGroup
        | Api::OffsetFetch
        | Api::DeleteOffsets
        | Api::GroupHeartbeat
        | Api::OffsetCommit => groups::answer(connection, request).await,
        Api::Fetch | Api::Hello | Api::Produce => unreachable!("answered where frames are read"),
    }
}

/// The owners of partitions. When one is unknown here, shard 0 is asked for the newest version, once (rule Q1).
async fn routes(state: &ShardState, rows: impl Iterator<Item = PartitionRef> + Clone) -> Vec<Result<Route, ErrorCode>> {
    let routes: Vec<_> = rows.clone().map(|at| state.topics.route(at)).collect();
    let is_unknown =
        |error: &ErrorCode| matches!(error, ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition);
    if !routes.iter().any(|route| route.as_ref().err().is_some_and(is_unknown)) {
        return routes;
    }
    refresh(state).await;
    rows.map(|at| state.topics.route(at)).collect()
}

/// Waits until this shard has acted on whatever is committed now.
pub(crate) async fn refresh(state: &ShardState) {
    let newest: Result<MetadataVersion, _> =
        state.metadata_peer().ask_plane(|reply| PlaneMessage::Newest { reply }).await;
    if let Ok(version) = newest {
        state.topics.reached(version).await;
    }
}

/// Asks the owner of each row, whichever shard that is; the answers are in the order of the rows.
pub(crate) async fn of_owners<Row: Copy, Answer: Clone + Send>(
    state: &ShardState,
    asked: &[(PartitionRef, Row)],
    refused: impl Fn(ErrorCode) -> Answer,
    here: impl AsyncFn(&[(PartitionRef, Row)]) -> Vec<Answer>,
    question: impl Fn(MetadataVersion, Vec<(PartitionRef, Row)>, Sender<Vec<Answer>>) -> ShardRequest,
) -> Vec<Answer> {
    let routes = routes(state, asked.iter().map(|(at, _)| *at)).await;
    let mut answers: Vec<Answer> =
        routes.iter().map(|route| refused(route.as_ref().err().copied().unwrap_or(ErrorCode::Unknown))).collect();
    for (shard, indices) in by_shard(&routes) {
        let rows: Vec<_> = indices.iter().filter_map(|index| asked.get(*index)).copied().collect();
        let of_shard = if shard == state.index {
            here(&rows).await
        } else {
            let (version, count) = (state.topics.version(), rows.len());
            let answer = state.peer(shard).ask(|reply| question(version, rows, reply)).await;
            answer.unwrap_or_else(|_| vec![refused(ErrorCode::ShardUnavailable); count])
        };
        for (index, answer) in indices.into_iter().zip(of_shard) {
            if let Some(place) = answers.get_mut(index) {
                *place = answer;
            }
        }
    }
    answers
}

/// The indices of `routes` by owner shard, refused ones left out; groups in the order in which they first appear.
fn by_shard(routes: &[Result<Route, ErrorCode>]) -> Vec<(ouzel_protocol::ShardIndex, Vec<usize>)> {
    let mut groups: Vec<(ouzel_protocol::ShardIndex, Vec<usize>)> = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let Ok(route) = route else { continue };
        match groups.iter_mut().find(|(shard, _)| *shard == route.shard) {
            Some((_, indices)) => indices.push(index),
            None => groups.push((route.shard, vec![index])),
        }
    }
    groups
}

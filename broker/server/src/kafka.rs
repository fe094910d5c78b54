//! The Kafka protocol as it is served: one file for each api or small family, the order of a connection, and the conversion of
//! native batches. Owns what differs from the native protocol; owners, lanes and the metadata plane are the same.
//!
//! Only Produce overlaps Produce, and Fetch overlaps Fetch or Produce; every other api waits until what came before it on its
//! connection is answered (rule Q2). Replies leave in the order of the requests.

mod alter_configs;
mod api_versions;
mod cluster;
mod config_keys;
mod convert;
mod create_partitions;
mod create_topics;
mod delete_records;
mod delete_topics;
mod describe_configs;
mod fetch;
mod fetch_session;
mod groups;
mod in_order;
mod init_producer_id;
mod leader_epoch;
mod list_offsets;
mod log_dirs;
mod metadata;
mod names;
mod produce;
mod refusal;
mod replicas;
mod request;

use std::rc::Rc;

use ouzel_protocol::kafka::{ApiKey, FRAME_LENGTH_BYTES, HeaderError};

use crate::connection::{Connection, Language, read_body};
use crate::frame_reader::{Fault, FrameReader};
use crate::meter::Asked;
use crate::request::Held;

pub(crate) use fetch::SessionSlot;
pub(crate) use in_order::InOrder;
pub(crate) use request::native_name;
use request::{KafkaRequest, Ticket};

/// Reads and answers requests until the peer ends the connection.
///
/// # Errors
/// The peer broke the protocol, or the socket failed: the connection ends.
pub(crate) async fn read_requests(connection: &Rc<Connection>, frames: &mut FrameReader) -> Result<(), Fault> {
    let state = &connection.state;
    loop {
        let place = connection.place().await;
        let Some(bytes) = frames.kafka_frame(&state.shard, connection.watch()).await? else { return Ok(()) };
        if bytes > state.budget.frame_bytes_max {
            return Err(Fault::TooLarge { got: bytes, max: state.budget.frame_bytes_max });
        }
        let mut held = Held::new(place, state, state.shard.now());
        state.meter.received(Language::Kafka, FRAME_LENGTH_BYTES + bytes);
        let (frame, permits) = read_body(connection, frames, bytes).await?;
        held.body = Some(permits);
        let request = match KafkaRequest::parse(connection, frame.freeze()) {
            Ok(request) => request,
            Err(HeaderError::UnknownVersion { api: ApiKey::ApiVersions, correlation_id, .. }) => {
                held.asks(Asked::Kafka(ApiKey::ApiVersions));
                // Whatever version it is, the answer tells which ones there are (KIP-511).
                api_versions::answer_unknown(connection, correlation_id, held);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        held.asks(Asked::Kafka(request.api));
        let ticket = request.ticket(held);
        match request.api {
            // Awaited: the order of produce requests is fixed before the next frame is looked at.
            ApiKey::Produce => produce::dispatch(connection, request, ticket).await?,
            ApiKey::Fetch => {
                let connection = Rc::clone(connection);
                state.shard.spawn(async move {
                    if let Err(fault) = fetch::answer(&connection, request, ticket).await {
                        connection.fail(&fault);
                    }
                });
            }
            api if groups::is_about_groups(api) => {
                connection.in_order.turn_of(&request.place).await;
                // A member that is not heard in time is taken for dead: it waits for nobody's large answers.
                if !groups::is_of_member(api) {
                    state.memory.answers_allowed().await;
                }
                groups::answer(connection, &request, ticket).await?;
            }
            _ => {
                connection.in_order.turn_of(&request.place).await;
                answer(connection, &request, ticket).await?;
            }
        }
    }
}

/// Answers any request but Produce, Fetch and those about groups.
async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    // How large these answers are is known when they are made: few are made at once, none while many wait unsent.
    let state = &connection.state;
    let _one_of_few = state.answering.acquire(1).await;
    state.memory.answers_allowed().await;
    match request.api {
        ApiKey::ApiVersions => api_versions::answer(connection, request, ticket),
        ApiKey::Metadata => metadata::answer(connection, request, ticket).await,
        ApiKey::ListOffsets => list_offsets::answer(connection, request, ticket).await,
        ApiKey::InitProducerId => init_producer_id::answer(connection, request, ticket).await,
        ApiKey::CreateTopics => create_topics::answer(connection, request, ticket).await,
        ApiKey::DeleteTopics => delete_topics::answer(connection, request, ticket).await,
        ApiKey::CreatePartitions => create_partitions::answer(connection, request, ticket).await,
        ApiKey::DescribeConfigs => describe_configs::answer(connection, request, ticket).await,
        ApiKey::AlterConfigs => alter_configs::answer(connection, request, ticket).await,
        ApiKey::IncrementalAlterConfigs => alter_configs::answer_incremental(connection, request, ticket).await,
        ApiKey::DeleteRecords => delete_records::answer(connection, request, ticket).await,
        ApiKey::OffsetForLeaderEpoch => leader_epoch::answer(connection, request, ticket).await,
        ApiKey::DescribeCluster => cluster::describe(connection, request, ticket),
        ApiKey::DescribeLogDirs => log_dirs::answer(connection, request, ticket).await,
        ApiKey::ListPartitionReassignments => cluster::list_reassignments(connection, request, ticket),
        _ => Err(Fault::Protocol("an api without a handler")),
    }
}

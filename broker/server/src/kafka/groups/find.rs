//! FindCoordinator: this node, for every group. Creates the topic that groups are kept in when it is first needed, as Kafka
//! does.

use std::rc::Rc;

use ouzel_protocol::kafka::{Coordinator, FindCoordinatorReply, FindCoordinatorRequest, KafkaError, coordinator_type};

use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::{OFFSETS_TOPIC, ensure_offsets_topic};
use crate::kafka::metadata;
use crate::kafka::request::{KafkaRequest, Ticket};
use crate::shard::ShardState;

/// From here on several are asked for at once (KIP-699).
const SEVERAL_FROM: i16 = 4;

/// What is told of one key.
struct Found {
    error: KafkaError,
    message: Option<String>,
}

pub(super) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: FindCoordinatorRequest<'_> = request.message()?;
    let state = &connection.state;
    let found = find(state, asked.key_type).await;
    let host = metadata::host(connection);
    let broker = metadata::broker(state, &host);
    let is_found = found.error == KafkaError::NONE;
    let (node_id, host, port) = if is_found { (broker.node_id, broker.host, broker.port) } else { (-1, "", -1) };
    let reply = if request.version >= SEVERAL_FROM {
        let coordinators = asked.coordinator_keys.iter().map(|key| Coordinator {
            key,
            node_id,
            host,
            port,
            error_code: found.error,
            error_message: found.message.as_deref(),
        });
        FindCoordinatorReply { coordinators: coordinators.collect(), ..FindCoordinatorReply::default() }
    } else {
        let error_message = found.message.as_deref();
        let error_code = found.error;
        FindCoordinatorReply { error_code, error_message, node_id, host, port, ..FindCoordinatorReply::default() }
    };
    ticket.answer(connection, &reply)
}

async fn find(state: &ShardState, kind: i8) -> Found {
    let refused = |error, message: String| Found { error, message: Some(message) };
    match kind {
        coordinator_type::GROUP => {}
        coordinator_type::TRANSACTION | coordinator_type::SHARE => {
            let what = if kind == coordinator_type::SHARE { "share groups" } else { "transactions" };
            return refused(
                KafkaError::COORDINATOR_NOT_AVAILABLE,
                format!("This broker has no coordinator of {what}."),
            );
        }
        _ => return refused(KafkaError::INVALID_REQUEST, format!("There is no kind of coordinator {kind}.")),
    }
    match ensure_offsets_topic(state).await {
        Ok(()) => Found { error: KafkaError::NONE, message: None },
        Err(error) => {
            tracing::warn!(shard = state.index.0, ?error, "the topic {OFFSETS_TOPIC} could not be created");
            refused(
                KafkaError::COORDINATOR_NOT_AVAILABLE,
                format!("The topic {OFFSETS_TOPIC} could not be created: {}", error_map::kafka(error)),
            )
        }
    }
}

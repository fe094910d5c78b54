//! InitProducerId: a number for an idempotent producer. A producer that has one and asks again gets a new one, which does what
//! a raised epoch would: its sequences begin anew.

use std::rc::Rc;

use ouzel_protocol::kafka::{InitProducerIdReply, InitProducerIdRequest, KafkaError};

use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: InitProducerIdRequest<'_> = request.message()?;
    let state = &connection.state;
    let taken = if asked.transactional_id.is_some() {
        // Transactions need a coordinator, which this broker does not have.
        Err(KafkaError::UNSUPPORTED_VERSION)
    } else if state.stopping.is_set() {
        Err(KafkaError::COORDINATOR_NOT_AVAILABLE)
    } else {
        state.producer_ids.take(state).await.map_err(|(error, _)| error_map::kafka(error))
    };
    let reply = match taken {
        Ok(id) => InitProducerIdReply {
            producer_id: i64::try_from(id.0).unwrap_or(i64::MAX),
            ..InitProducerIdReply::default()
        },
        Err(error_code) => InitProducerIdReply { error_code, ..InitProducerIdReply::default() },
    };
    ticket.answer(connection, &reply)
}

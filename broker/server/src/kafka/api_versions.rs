//! ApiVersions: what this broker speaks.

use std::rc::Rc;

use ouzel_protocol::kafka::{ApiVersionsReply, ApiVersionsRequest, KafkaError, append_reply, is_software_name};

use super::in_order::Answer;
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::request::Held;

/// From here on a client says what it is.
const NAMED_FROM: i16 = 3;

pub(crate) fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: ApiVersionsRequest<'_> = request.message()?;
    let is_nameless = request.version >= NAMED_FROM
        && !(is_software_name(asked.client_software_name) && is_software_name(asked.client_software_version));
    let reply = if is_nameless {
        ApiVersionsReply { error_code: KafkaError::INVALID_REQUEST, ..ApiVersionsReply::default() }
    } else {
        ApiVersionsReply::offered()
    };
    ticket.answer(connection, &reply)
}

/// Answers a request of a version that nobody here knows.
pub(crate) fn answer_unknown(connection: &Rc<Connection>, correlation_id: i32, held: Held) {
    let mut out = Vec::new();
    let reply = ApiVersionsReply::unsupported_version();
    append_reply(&mut out, 0, correlation_id, &reply).expect("version 0 carries versions and an error");
    let place = connection.in_order.take();
    connection.in_order.fill(&connection.replies, &place, Answer { parts: vec![out.into()], held });
}

//! InitProducerId: a number for an idempotent producer, from this shard's block.

use std::rc::Rc;

use ouzel_protocol::native::{Api, InitProducerIdReply, InitProducerIdRequest, reply_frame};
use ouzel_protocol::{ErrorCode, ProducerEpoch, ProducerId};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::request::Request;

pub(crate) async fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let InitProducerIdRequest { transactional_id } = InitProducerIdRequest::decode(&request.body)?;
    let state = &connection.state;
    let taken = if transactional_id.is_some() {
        // Transactions need a coordinator, which this broker does not have.
        Err((ErrorCode::UnsupportedVersion, "this broker does no transactions".to_owned()))
    } else if state.stopping.is_set() {
        Err((ErrorCode::ShuttingDown, ErrorCode::ShuttingDown.to_string()))
    } else {
        state.producer_ids.take(state).await
    };
    let (error, message, producer_id) = match taken {
        Ok(producer_id) => (ErrorCode::None, String::new(), producer_id),
        Err((error, message)) => (error, message, ProducerId(0)),
    };
    let reply = InitProducerIdReply { error, message, producer_id, producer_epoch: ProducerEpoch(0) };
    let frame = reply_frame(Api::InitProducerId, request.header.correlation, |out| reply.encode(out));
    connection.reply(frame, request.held);
    Ok(())
}

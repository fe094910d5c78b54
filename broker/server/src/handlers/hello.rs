//! Hello: who speaks, and which version both sides do.

use std::rc::Rc;

use ouzel_protocol::ErrorCode;
use ouzel_protocol::native::{Api, HelloReply, HelloRequest, PROTOCOL_VERSION, reply_frame};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::limits;
use crate::request::Request;

/// Answers a Hello; `false` when no version is spoken by both sides, and the connection is to end once that is said.
pub(crate) fn answer(connection: &Rc<Connection>, request: Request) -> Result<bool, Fault> {
    let hello = HelloRequest::decode(&request.body)?;
    let state = &connection.state;
    if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
        let message = format!(
            "this broker speaks version {PROTOCOL_VERSION}, the client {} to {}",
            hello.version_min, hello.version_max
        );
        connection.refuse(&request.header, ErrorCode::UnsupportedVersion, &message, request.held);
        return Ok(false);
    }
    tracing::debug!(shard = state.index.0, peer = %connection.peer, client = %hello.client.escape_debug(), "hello");
    let name = &hello.client[..hello.client.floor_char_boundary(limits::CLIENT_NAME_BYTES_MAX)];
    let _ = connection.client.set(name.to_owned());
    let reply = HelloReply {
        version: PROTOCOL_VERSION,
        features: 0,
        node: state.node,
        shard: state.index,
        shards: u16::try_from(state.peers.len()).unwrap_or(u16::MAX),
        frame_bytes_max: u32::try_from(state.budget.frame_bytes_max).unwrap_or(u32::MAX),
        broker: concat!("ouzel ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let frame = reply_frame(Api::Hello, request.header.correlation, |out| reply.encode(out));
    connection.reply(frame, request.held);
    Ok(true)
}

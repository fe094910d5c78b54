//! DescribeCluster: which cluster this is. Every shard knows it from the metadata.

use std::rc::Rc;

use ouzel_protocol::native::{Api, DescribeClusterReply, DescribeClusterRequest, reply_frame};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::request::Request;

pub(crate) fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    DescribeClusterRequest::decode(&request.body)?;
    let reply = DescribeClusterReply { cluster_id: connection.state.cluster_id() };
    let frame = reply_frame(Api::DescribeCluster, request.header.correlation, |out| reply.encode(out));
    connection.reply(frame, request.held);
    Ok(())
}

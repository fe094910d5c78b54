//! DescribeNode: every shard is asked for its counters, and the process for what it uses. Owns no counter.

use std::rc::Rc;

use ouzel_protocol::ShardIndex;
use ouzel_protocol::native::{Api, DescribeNodeReply, DescribeNodeRequest, DescribedShard, reply_frame};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::lanes::ShardRequest;
use crate::request::Request;
use crate::shard::ShardState;
use crate::{process, shard_status};

pub(crate) async fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    DescribeNodeRequest::decode(&request.body)?;
    let state = &connection.state;
    let mut shards = Vec::with_capacity(state.peers.len());
    for index in 0..state.peers.len() {
        let shard = ShardIndex(u16::try_from(index).unwrap_or(u16::MAX));
        shards.push(described(state, shard).await);
    }
    let reply = DescribeNodeReply {
        node: state.node,
        uptime_ms: shard_status::uptime_ms(state),
        counters: process::counters(),
        shards,
    };
    connection.reply(reply_frame(Api::DescribeNode, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

async fn described(state: &ShardState, shard: ShardIndex) -> DescribedShard {
    if shard == state.index {
        return shard_status::describe(state);
    }
    let answer = state.peer(shard).ask(|reply| ShardRequest::Describe { reply }).await;
    answer.unwrap_or_else(|_| shard_status::gone(shard))
}

//! Members of classic groups, as far as they join and live.

use anyhow::{Result, ensure};
use ouzel_protocol::kafka::{
    ApiKey, HeartbeatReply, HeartbeatRequest, JoinGroupReply, JoinGroupRequest, JoinProtocol, KafkaError,
    SyncGroupReply, SyncGroupRequest,
};

use super::connection::Connection;
use super::heartbeats;

/// A member of one group.
pub(super) struct Member {
    connection: Connection,
    group: String,
    member_id: String,
    generation: i32,
}

impl heartbeats::Member for Member {
    fn open(address: &str, group: usize) -> Result<Member> {
        let (connection, group) = (Connection::open(address)?, format!("classic-{group}"));
        Ok(Member { connection, group, member_id: String::new(), generation: -1 })
    }

    /// They are given nothing.
    fn join(members: &mut [Member]) -> Result<()> {
        for member in &mut *members {
            let asked = JoinGroupRequest {
                group_id: &member.group,
                session_timeout_ms: 60_000,
                rebalance_timeout_ms: 60_000,
                protocol_type: "consumer",
                protocols: [JoinProtocol { name: "range", metadata: b"" }].into_iter().collect(),
                ..Default::default()
            };
            member.connection.send(3, &asked)?;
        }
        for member in &mut *members {
            member.connection.receive()?;
            let reply: JoinGroupReply<'_> = member.connection.reply(ApiKey::JoinGroup, 3)?;
            ensure!(reply.error_code == KafkaError::NONE, "a join was refused: {:?}", reply.error_code);
            (member.member_id, member.generation) = (reply.member_id.to_owned(), reply.generation_id);
        }
        for member in &mut *members {
            let asked = SyncGroupRequest {
                group_id: &member.group,
                generation_id: member.generation,
                member_id: &member.member_id,
                ..Default::default()
            };
            member.connection.send(2, &asked)?;
        }
        for member in &mut *members {
            member.connection.receive()?;
            let reply: SyncGroupReply<'_> = member.connection.reply(ApiKey::SyncGroup, 2)?;
            ensure!(reply.error_code == KafkaError::NONE, "a sync was refused: {:?}", reply.error_code);
        }
        Ok(())
    }

    fn beat(&mut self) -> Result<()> {
        let asked = HeartbeatRequest {
            group_id: &self.group,
            generation_id: self.generation,
            member_id: &self.member_id,
            ..Default::default()
        };
        self.connection.send(4, &asked)?;
        self.connection.receive()?;
        let reply: HeartbeatReply = self.connection.reply(ApiKey::Heartbeat, 4)?;
        ensure!(reply.error_code == KafkaError::NONE, "a heartbeat was refused: {:?}", reply.error_code);
        Ok(())
    }
}

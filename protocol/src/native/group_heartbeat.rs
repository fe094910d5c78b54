//! GroupHeartbeat: a member of a group whose broker assigns (KIP-848) says that it lives and what changed, and learns what it
//! is to have. Owns the layouts; never decides who gets what. Any core.

use super::group_assignment::{AssignedTopic, OwnedTopic};
use super::limits::TOPICS_MAX;
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::ids::MemberEpoch;

/// A member's sign of life. Options that are none say that nothing changed since the last; whoever joins, or has lost a
/// reply, says everything.
///
/// | Field | Bytes |
/// |---|---|
/// | `group_id` | 2 + n |
/// | `member_id` | 2 + n |
/// | `member_epoch` | 4 |
/// | `instance_id` | 1, then 2 + n when it is 1 |
/// | `rebalance_timeout_ms` | 1, then 4 |
/// | `topics` | 1, then 4 and names of 2 + n |
/// | `pattern` | 1, then 2 + n |
/// | `assignor` | 1, then 2 + n |
/// | `owned` | 1, then 4 and rows of [`OwnedTopic`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHeartbeatRequest {
    /// The group; it comes to be with its first member.
    pub group_id: String,
    /// The member, by an id that its client has drawn.
    pub member_id: String,
    /// Its epoch, or what it intends: see [`MemberEpoch`].
    pub member_epoch: MemberEpoch,
    /// What it calls itself, if it is a static member.
    pub instance_id: Option<String>,
    /// How long it may take to give partitions back.
    pub rebalance_timeout_ms: Option<u32>,
    /// Names of the topics it reads.
    pub topics: Option<Vec<String>>,
    /// A pattern of names of topics that it reads as well; an empty one takes it back.
    pub pattern: Option<String>,
    /// The broker's way to assign that it wants.
    pub assignor: Option<String>,
    /// The partitions that it has.
    pub owned: Option<Vec<OwnedTopic>>,
}

impl GroupHeartbeatRequest {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.string(&self.group_id);
        writer.string(&self.member_id);
        writer.member_epoch(self.member_epoch);
        writer.option(self.instance_id.as_deref(), Writer::string);
        writer.option(self.rebalance_timeout_ms, Writer::u32);
        writer.option(self.topics.as_deref(), |writer, topics| writer.names(topics, TOPICS_MAX));
        writer.option(self.pattern.as_deref(), Writer::string);
        writer.option(self.assignor.as_deref(), Writer::string);
        writer.option(self.owned.as_deref(), OwnedTopic::encode_all);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<GroupHeartbeatRequest, DecodeError> {
        let mut reader = Reader::new("group heartbeat request", bytes);
        let request = GroupHeartbeatRequest {
            group_id: reader.string("group_id")?,
            member_id: reader.string("member_id")?,
            member_epoch: reader.member_epoch("member_epoch")?,
            instance_id: reader.option("instance_id", |reader| reader.string("instance_id"))?,
            rebalance_timeout_ms: reader.option("rebalance_timeout_ms", |reader| reader.u32("rebalance_timeout_ms"))?,
            topics: reader.option("topics", |reader| reader.names("topics", TOPICS_MAX))?,
            pattern: reader.option("pattern", |reader| reader.string("pattern"))?,
            assignor: reader.option("assignor", |reader| reader.string("assignor"))?,
            owned: reader.option("owned", OwnedTopic::decode_all)?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// What the member is to do. A member that is none, or of another epoch, is refused as a whole.
///
/// | Field | Bytes |
/// |---|---|
/// | `member_epoch` | 4 |
/// | `heartbeat_interval_ms` | 4 |
/// | `assignment` | 1, then 4 and rows of [`AssignedTopic`] when it is 1 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHeartbeatReply {
    /// Its epoch from now on.
    pub member_epoch: MemberEpoch,
    /// After how long to give the next sign.
    pub heartbeat_interval_ms: u32,
    /// All that it is to have; none where that is what it was told before.
    pub assignment: Option<Vec<AssignedTopic>>,
}

impl GroupHeartbeatReply {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.member_epoch(self.member_epoch);
        writer.u32(self.heartbeat_interval_ms);
        writer.option(self.assignment.as_deref(), AssignedTopic::encode_all);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<GroupHeartbeatReply, DecodeError> {
        let mut reader = Reader::new("group heartbeat reply", bytes);
        let reply = GroupHeartbeatReply {
            member_epoch: reader.member_epoch("member_epoch")?,
            heartbeat_interval_ms: reader.u32("heartbeat_interval_ms")?,
            assignment: reader.option("assignment", AssignedTopic::decode_all)?,
        };
        reader.finish()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{PartitionIndex, TopicId};
    use crate::native::testing::{check_golden, check_round_trip};

    fn unchanged() -> GroupHeartbeatRequest {
        GroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            member_epoch: MemberEpoch(3),
            instance_id: None,
            rebalance_timeout_ms: None,
            topics: None,
            pattern: None,
            assignor: None,
            owned: None,
        }
    }

    #[test]
    fn the_request_has_its_golden_bytes() {
        let golden = "0100 67 0100 6d 03000000 00 00 00 00 00 00";
        check_golden(&unchanged(), golden, GroupHeartbeatRequest::encode, GroupHeartbeatRequest::decode);
        let full = GroupHeartbeatRequest {
            member_epoch: MemberEpoch::LEAVE,
            instance_id: Some("i".into()),
            rebalance_timeout_ms: Some(1000),
            topics: Some(vec!["a".into(), String::new()]),
            pattern: Some("a.*".into()),
            assignor: Some("range".into()),
            owned: Some(vec![OwnedTopic { topic_id: TopicId(2), partitions: vec![PartitionIndex(5)] }]),
            ..unchanged()
        };
        let golden = "0100 67 0100 6d ffffffff 01 0100 69 01 e8030000
            01 02000000 0100 61 0000 01 0300 612e2a 01 0500 72616e6765
            01 01000000 02000000000000000000000000000000 01000000 05000000";
        check_golden(&full, golden, GroupHeartbeatRequest::encode, GroupHeartbeatRequest::decode);
    }

    #[test]
    fn the_reply_has_its_golden_bytes() {
        let reply =
            |assignment| GroupHeartbeatReply { member_epoch: MemberEpoch(7), heartbeat_interval_ms: 5000, assignment };
        let golden = "07000000 88130000 00";
        check_golden(&reply(None), golden, GroupHeartbeatReply::encode, GroupHeartbeatReply::decode);
        let topic = AssignedTopic { topic_id: TopicId(2), name: "a".into(), partitions: vec![PartitionIndex(5)] };
        let golden = "07000000 88130000 01 01000000 02000000000000000000000000000000 0100 61 01000000 05000000";
        check_golden(&reply(Some(vec![topic])), golden, GroupHeartbeatReply::encode, GroupHeartbeatReply::decode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(
            epoch: i32,
            texts in vec(option::of(".{0,9}"), 4),
            timeout in option::of(any::<u32>()),
            topics in option::of(vec(".{0,9}", 0..4)),
            owned in option::of(vec((any::<u128>(), vec(any::<u32>(), 0..4)), 0..4)),
        ) {
            let partitions = |numbers: &[u32]| numbers.iter().copied().map(PartitionIndex).collect::<Vec<_>>();
            let assignment = owned.as_ref().map(|rows| {
                rows.iter().map(|(id, numbers)| AssignedTopic {
                    topic_id: TopicId(*id), name: id.to_string(), partitions: partitions(numbers),
                }).collect()
            });
            let owned = owned.as_ref().map(|rows| {
                rows.iter().map(|(id, numbers)| OwnedTopic { topic_id: TopicId(*id), partitions: partitions(numbers) })
                    .collect()
            });
            let request = GroupHeartbeatRequest {
                group_id: texts[0].clone().unwrap_or_default(),
                member_epoch: MemberEpoch(epoch),
                instance_id: texts[1].clone(),
                pattern: texts[2].clone(),
                assignor: texts[3].clone(),
                rebalance_timeout_ms: timeout,
                topics,
                owned,
                ..unchanged()
            };
            check_round_trip(&request, GroupHeartbeatRequest::encode, GroupHeartbeatRequest::decode);
            let reply = GroupHeartbeatReply {
                member_epoch: MemberEpoch(epoch), heartbeat_interval_ms: timeout.unwrap_or(0), assignment,
            };
            check_round_trip(&reply, GroupHeartbeatReply::encode, GroupHeartbeatReply::decode);
        }
    }
}

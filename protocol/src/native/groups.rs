//! ListGroups, DescribeGroup and DeleteGroup: groups as operators see them. Owns the layouts; never decides who is a member.
//! Any core.

use super::group_assignment::AssignedTopic;
use super::limits::{GROUP_FILTERS_MAX, GROUP_MEMBERS_MAX, GROUPS_MAX, TOPICS_MAX};
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::ids::MemberEpoch;

/// `states` list of strings, `kinds` list of strings; an empty list lets all through. Names are Kafka's, in whatever case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListGroupsRequest {
    /// Only groups in one of these states.
    pub states: Vec<String>,
    /// Only groups of one of these kinds: `Classic`, `Consumer`.
    pub kinds: Vec<String>,
}

impl ListGroupsRequest {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.names(&self.states, GROUP_FILTERS_MAX);
        writer.names(&self.kinds, GROUP_FILTERS_MAX);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ListGroupsRequest, DecodeError> {
        let mut reader = Reader::new("list groups request", bytes);
        let request = ListGroupsRequest {
            states: reader.names("states", GROUP_FILTERS_MAX)?,
            kinds: reader.names("kinds", GROUP_FILTERS_MAX)?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// A list of [`ListedGroup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGroupsReply {
    /// The groups, in no order.
    pub groups: Vec<ListedGroup>,
}

/// One group: `group_id`, `kind`, `protocol_type` and `state`, a string each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group_id: String,
    /// `Classic`, or `Consumer` for one whose broker assigns.
    pub kind: String,
    /// What its members say it is for, `consumer` usually; empty for one that only stores offsets.
    pub protocol_type: String,
    /// Kafka's name of its state.
    pub state: String,
}

const LISTED_GROUP_BYTES_MIN: usize = 4 * 2;

impl ListGroupsReply {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).list(&self.groups, GROUPS_MAX, |writer, group| {
            writer.string(&group.group_id);
            writer.string(&group.kind);
            writer.string(&group.protocol_type);
            writer.string(&group.state);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ListGroupsReply, DecodeError> {
        let mut reader = Reader::new("list groups reply", bytes);
        let groups = reader.list("groups", GROUPS_MAX, LISTED_GROUP_BYTES_MIN, |reader| {
            Ok(ListedGroup {
                group_id: reader.string("group_id")?,
                kind: reader.string("kind")?,
                protocol_type: reader.string("protocol_type")?,
                state: reader.string("state")?,
            })
        })?;
        reader.finish()?;
        Ok(ListGroupsReply { groups })
    }
}

/// `group_id` string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeGroupRequest {
    /// The group.
    pub group_id: String,
}

impl DescribeGroupRequest {
    /// Appends the body to `out`. Panics when the id exceeds the longest string.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).string(&self.group_id);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeGroupRequest, DecodeError> {
        let mut reader = Reader::new("describe group request", bytes);
        let request = DescribeGroupRequest { group_id: reader.string("group_id")? };
        reader.finish()?;
        Ok(request)
    }
}

/// A group, or a refusal as a whole where there is none.
///
/// | Field | Bytes |
/// |---|---|
/// | `kind` | 2 + n |
/// | `state` | 2 + n |
/// | `protocol_type` | 2 + n |
/// | `assignor` | 2 + n |
/// | `epoch` | 4 |
/// | `assignment_epoch` | 4 |
/// | `members` | 4, then rows of [`DescribedMember`] |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeGroupReply {
    /// `Classic`, or `Consumer` for one whose broker assigns.
    pub kind: String,
    /// Kafka's name of its state.
    pub state: String,
    /// What its members say it is for; empty for one that only stores offsets.
    pub protocol_type: String,
    /// How it assigns; empty of a classic group that is not stable.
    pub assignor: String,
    /// Its epoch; the generation of a classic group.
    pub epoch: MemberEpoch,
    /// The epoch for which its assignment was made.
    pub assignment_epoch: MemberEpoch,
    /// Its members, by their ids.
    pub members: Vec<DescribedMember>,
}

/// One member: `member_id` string, `instance_id` optional string, `client_id` string, `host` string, `epoch` i32, `topics` list
/// of strings, `pattern` optional string, `assignment` and `target` as lists of [`AssignedTopic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// What it calls itself, if it is a static member.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where its client is.
    pub host: String,
    /// Its epoch; the group's, in a classic group.
    pub epoch: MemberEpoch,
    /// Names of the topics it reads, where that can be known.
    pub topics: Vec<String>,
    /// A pattern of names of topics that it reads as well.
    pub pattern: Option<String>,
    /// What it has. Of a classic group it is what its leader assigned, where that is of the type `consumer` and stable.
    pub assignment: Vec<AssignedTopic>,
    /// What it is to have: differs from what it has while the group reconciles.
    pub target: Vec<AssignedTopic>,
}

const MEMBER_BYTES_MIN: usize = 2 + 1 + 2 + 2 + 4 + 4 + 1 + 4 + 4;

impl DescribedMember {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string(&self.member_id);
        writer.option(self.instance_id.as_deref(), Writer::string);
        writer.string(&self.client_id);
        writer.string(&self.host);
        writer.member_epoch(self.epoch);
        writer.names(&self.topics, TOPICS_MAX);
        writer.option(self.pattern.as_deref(), Writer::string);
        AssignedTopic::encode_all(writer, &self.assignment);
        AssignedTopic::encode_all(writer, &self.target);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<DescribedMember, DecodeError> {
        Ok(DescribedMember {
            member_id: reader.string("member_id")?,
            instance_id: reader.option("instance_id", |reader| reader.string("instance_id"))?,
            client_id: reader.string("client_id")?,
            host: reader.string("host")?,
            epoch: reader.member_epoch("member epoch")?,
            topics: reader.names("topics", TOPICS_MAX)?,
            pattern: reader.option("pattern", |reader| reader.string("pattern"))?,
            assignment: AssignedTopic::decode_all(reader)?,
            target: AssignedTopic::decode_all(reader)?,
        })
    }
}

impl DescribeGroupReply {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.string(&self.kind);
        writer.string(&self.state);
        writer.string(&self.protocol_type);
        writer.string(&self.assignor);
        writer.member_epoch(self.epoch);
        writer.member_epoch(self.assignment_epoch);
        writer.list(&self.members, GROUP_MEMBERS_MAX, |writer, member| member.encode(writer));
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeGroupReply, DecodeError> {
        let mut reader = Reader::new("describe group reply", bytes);
        let reply = DescribeGroupReply {
            kind: reader.string("kind")?,
            state: reader.string("state")?,
            protocol_type: reader.string("protocol_type")?,
            assignor: reader.string("assignor")?,
            epoch: reader.member_epoch("epoch")?,
            assignment_epoch: reader.member_epoch("assignment_epoch")?,
            members: reader.list("members", GROUP_MEMBERS_MAX, MEMBER_BYTES_MIN, DescribedMember::decode)?,
        };
        reader.finish()?;
        Ok(reply)
    }
}

/// `group_id` string. Answered by a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteGroupRequest {
    /// The group.
    pub group_id: String,
}

impl DeleteGroupRequest {
    /// Appends the body to `out`. Panics when the id exceeds the longest string.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).string(&self.group_id);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DeleteGroupRequest, DecodeError> {
        let mut reader = Reader::new("delete group request", bytes);
        let request = DeleteGroupRequest { group_id: reader.string("group_id")? };
        reader.finish()?;
        Ok(request)
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

    fn member() -> DescribedMember {
        let assigned = AssignedTopic { topic_id: TopicId(2), name: "a".into(), partitions: vec![PartitionIndex(5)] };
        DescribedMember {
            member_id: "m".into(),
            instance_id: Some("i".into()),
            client_id: "c".into(),
            host: "/h".into(),
            epoch: MemberEpoch(3),
            topics: vec!["a".into()],
            pattern: Some("b.*".into()),
            assignment: vec![assigned],
            target: Vec::new(),
        }
    }

    #[test]
    fn requests_have_their_golden_bytes() {
        let golden = "00000000 00000000";
        check_golden(&ListGroupsRequest::default(), golden, ListGroupsRequest::encode, ListGroupsRequest::decode);
        let request = ListGroupsRequest { states: vec!["Empty".into()], kinds: vec!["Classic".into()] };
        let golden = "01000000 0500 456d707479 01000000 0700 436c6173736963";
        check_golden(&request, golden, ListGroupsRequest::encode, ListGroupsRequest::decode);
        let request = DescribeGroupRequest { group_id: "g".into() };
        check_golden(&request, "0100 67", DescribeGroupRequest::encode, DescribeGroupRequest::decode);
        let request = DeleteGroupRequest { group_id: "g".into() };
        check_golden(&request, "0100 67", DeleteGroupRequest::encode, DeleteGroupRequest::decode);
    }

    #[test]
    fn a_list_has_its_golden_bytes() {
        let group = ListedGroup {
            group_id: "g".into(),
            kind: "Classic".into(),
            protocol_type: String::new(),
            state: "Empty".into(),
        };
        let golden = "01000000 0100 67 0700 436c6173736963 0000 0500 456d707479";
        let reply = ListGroupsReply { groups: vec![group] };
        check_golden(&reply, golden, ListGroupsReply::encode, ListGroupsReply::decode);
    }

    #[test]
    fn a_description_has_its_golden_bytes() {
        let reply = DescribeGroupReply {
            kind: "k".into(),
            state: "s".into(),
            protocol_type: "p".into(),
            assignor: "a".into(),
            epoch: MemberEpoch(4),
            assignment_epoch: MemberEpoch(3),
            members: vec![member()],
        };
        let golden = "0100 6b 0100 73 0100 70 0100 61 04000000 03000000 01000000
            0100 6d 01 0100 69 0100 63 0200 2f68 03000000 01000000 0100 61 01 0300 622e2a
            01000000 02000000000000000000000000000000 0100 61 01000000 05000000 00000000";
        check_golden(&reply, golden, DescribeGroupReply::encode, DescribeGroupReply::decode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(
            texts in vec(".{0,9}", 4),
            names in vec(".{0,9}", 0..4),
            pattern in option::of(".{0,9}"),
            epoch: i32,
            count in 0_usize..4,
        ) {
            let member = DescribedMember {
                client_id: texts[0].clone(), topics: names.clone(), pattern, epoch: MemberEpoch(epoch), ..member()
            };
            let reply = DescribeGroupReply {
                kind: texts[0].clone(),
                state: texts[1].clone(),
                protocol_type: texts[2].clone(),
                assignor: texts[3].clone(),
                epoch: MemberEpoch(epoch),
                assignment_epoch: MemberEpoch(epoch),
                members: vec![member; count],
            };
            check_round_trip(&reply, DescribeGroupReply::encode, DescribeGroupReply::decode);
            let groups = names.iter().map(|name| ListedGroup {
                group_id: name.clone(),
                kind: texts[0].clone(),
                protocol_type: texts[1].clone(),
                state: texts[2].clone(),
            });
            let reply = ListGroupsReply { groups: groups.collect() };
            check_round_trip(&reply, ListGroupsReply::encode, ListGroupsReply::decode);
        }
    }
}

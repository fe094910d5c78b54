//! The native protocol: frames and messages, little-endian, length-prefixed, many requests in flight and replies in
//! any order. Owns the bytes of every native message; never reads a socket, never decides what a broker answers, never
//! looks inside a record batch. Runs on whichever core holds the bytes. The layout tables are in
//! `docs/formats/native-protocol.md` and, one by one, on the types.
//!
//! A connection starts with a Hello request. Every frame is one [`FrameHeader`] of [`FRAME_HEADER_BYTES`] and a body.
//! Rules of all bodies: integers are little-endian; a string is a `u16` length and UTF-8; a list is a `u32` count and its
//! rows; an option is one byte (0 or 1) and, when 1, the value; bytes after the last known field are an error.
//!
//! A reply whose header carries an error other than none refuses the request as a whole: its body is an [`ErrorReply`],
//! whatever the api. Errors of single partitions or topics stand in their rows, under a header without error.

mod describe_cluster;
mod describe_node;
mod fetch;
mod frame;
mod group_assignment;
mod group_heartbeat;
mod group_offsets;
mod groups;
mod hello;
mod init_producer_id;
pub mod limits;
mod list_offsets;
mod metadata;
mod produce;
mod reader;
mod status;
#[cfg(test)]
mod testing;
mod topics;
mod writer;

pub use describe_cluster::{DescribeClusterReply, DescribeClusterRequest};
pub use describe_node::{Counter, DescribeNodeReply, DescribeNodeRequest, DescribedShard, counters};
pub use fetch::{FetchPartition, FetchReply, FetchRequest, FetchResult, FetchRow, FetchView, append_fetch_reply};
pub use frame::{
    Api, FLAG_REPLY, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameError, FrameHeader, PROTOCOL_VERSION, append_reply,
    encode_frame, error_frame, reply_frame, request_frame,
};
pub use group_assignment::{AssignedTopic, OwnedTopic};
pub use group_heartbeat::{GroupHeartbeatReply, GroupHeartbeatRequest};
pub use group_offsets::{
    CommitRow, CommittedRow, DeleteOffsetsReply, DeleteOffsetsRequest, GroupMember, GroupPartition,
    GroupPartitionResult, OffsetCommitReply, OffsetCommitRequest, OffsetFetchReply, OffsetFetchRequest, TopicOffsets,
};
pub use groups::{
    DeleteGroupRequest, DescribeGroupReply, DescribeGroupRequest, DescribedMember, ListGroupsReply, ListGroupsRequest,
    ListedGroup,
};
pub use hello::{HELLO_MAGIC, HelloReply, HelloRequest};
pub use init_producer_id::{InitProducerIdReply, InitProducerIdRequest};
pub use list_offsets::{ListOffsetsPartition, ListOffsetsReply, ListOffsetsRequest, ListOffsetsResult, OffsetSpec};
pub use metadata::{MetadataReply, MetadataRequest, NodeInfo, PartitionInfo, TopicInfo};
pub use produce::{
    ProducePartition, ProduceReply, ProduceRequest, ProduceResult, ProduceRow, ProduceView, StageTimings,
};
pub use reader::{DecodeError, DecodeProblem};
pub use status::{ErrorReply, StatusReply};
pub use topics::{
    AlterTopicRequest, CreateTopicReply, CreateTopicRequest, DeleteTopicRequest, DescribeTopicReply,
    DescribeTopicRequest, DescribedPartition, ListTopicsReply, ListTopicsRequest,
};

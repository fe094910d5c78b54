//! Kafka's protocol: requests and replies as its clients send and expect them, each in every version that is still met.
//! Owns the bytes of every message; never reads a socket, never decides what a broker answers, never looks inside a record
//! batch but in [`check_records`]. Runs on whichever core holds the bytes.
//!
//! A connection carries frames: four bytes of length, a [`RequestHeader`] and a body, and replies in the order of the
//! requests. A message is one structure whatever its version: fields that a version does not have are absent on the wire and
//! have their default here. The tables (macro `structures!` in `table.rs`) say which field is in which version, as Kafka's own
//! definitions do. Decoding checks the whole body once and allocates nothing: strings and bytes are slices of the frame,
//! an [`Array`] reads its elements again when it is walked.

mod api;
mod api_versions;
mod array;
mod cluster;
mod configs;
mod consumer_assignment;
mod consumer_group;
pub mod consumer_protocol;
mod coordinator;
mod delete_records;
mod error;
mod fetch;
mod field;
mod group_admin;
mod group_members;
mod group_offsets;
mod group_records;
mod header;
mod init_producer_id;
mod leader;
mod leader_epoch;
pub mod limits;
mod list_offsets;
mod message;
mod messages;
mod metadata;
#[cfg(test)]
mod oracle;
mod produce;
mod reader;
mod records;
#[cfg(any(test, feature = "samples"))]
pub mod sample;
mod table;
mod topics;
mod writer;

pub use api::{Api, ApiKey};
pub use api_versions::{
    ApiVersion, ApiVersionsReply, ApiVersionsRequest, FinalizedFeature, SupportedFeature, is_software_name,
};
pub use array::{Array, Iter};
pub use cluster::{
    ClusterBroker, DescribeClusterReply, DescribeClusterRequest, DescribeLogDirsReply, DescribeLogDirsRequest,
    ListPartitionReassignmentsReply, ListPartitionReassignmentsRequest, LogDir, LogDirPartition, LogDirTopic,
    LogDirsTopic, MovingPartition, MovingTopic, ReassignmentsTopic,
};
pub use configs::{
    AlterConfigsReply, AlterConfigsRequest, AlterConfigsResource, AlterableConfig, AlteredResource, ConfigSynonym,
    DescribeConfigsReply, DescribeConfigsRequest, DescribeConfigsResource, DescribedConfig, DescribedResource,
    IncrementalAlterConfigsReply, IncrementalAlterConfigsRequest, IncrementalConfig, IncrementalResource,
    config_operation, config_source, config_type, resource_type,
};
pub use consumer_assignment::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopic};
pub use consumer_group::{
    ConsumerGroup, ConsumerGroupDescribeReply, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatReply,
    ConsumerGroupHeartbeatRequest, ConsumerGroupMember, MemberAssignment, MemberTopic, NamedAssignment,
    NamedMemberTopic,
};
pub use coordinator::{Coordinator, FindCoordinatorReply, FindCoordinatorRequest, coordinator_type};
pub use delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionReply, DeleteRecordsReply, DeleteRecordsRequest, DeleteRecordsTopic,
    DeleteRecordsTopicReply,
};
pub use error::KafkaError;
pub use fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchPartitionReply, FetchReply, FetchRequest, FetchTopic,
    FetchTopicReply, ForgottenTopic, ReplicaState, SnapshotId,
};
pub use field::{Field, Records, Structure};
pub use group_admin::{
    DeleteGroupsReply, DeleteGroupsRequest, DeletedGroup, DescribeGroupsReply, DescribeGroupsRequest, DescribedGroup,
    DescribedMember, ListGroupsReply, ListGroupsRequest, ListedGroup,
};
pub use group_members::{
    HeartbeatReply, HeartbeatRequest, JoinGroupReply, JoinGroupRequest, JoinProtocol, JoinedMember, LeaveGroupReply,
    LeaveGroupRequest, LeavingMember, LeftMember, SyncAssignment, SyncGroupReply, SyncGroupRequest,
};
pub use group_offsets::{
    OffsetCommitPartition, OffsetCommitPartitionReply, OffsetCommitReply, OffsetCommitRequest, OffsetCommitTopic,
    OffsetCommitTopicReply, OffsetDeletePartition, OffsetDeletePartitionReply, OffsetDeleteReply, OffsetDeleteRequest,
    OffsetDeleteTopic, OffsetDeleteTopicReply, OffsetFetchGroup, OffsetFetchGroupReply, OffsetFetchPartitionReply,
    OffsetFetchReply, OffsetFetchRequest, OffsetFetchTopic, OffsetFetchTopicReply,
};
pub use group_records::{
    ClassicMemberMetadata, ClassicMemberProtocol, ConsumerGroupKey, ConsumerGroupMemberKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataValue, CurrentMemberAssignmentValue, CurrentTopicPartitions, GroupMetadataKey,
    GroupMetadataMember, GroupMetadataValue, MemberMetadataValue, OffsetCommitKey, OffsetCommitValue, RackedPartition,
    RegularExpressionKey, RegularExpressionValue, StoredGroupRecord, SubscribedTopic, TargetAssignmentMemberValue,
    TargetAssignmentMetadataValue, TargetTopicPartitions,
};
pub use header::{HeaderError, RequestHeader, decode_reply_header, encode_reply_header};
pub use init_producer_id::{InitProducerIdReply, InitProducerIdRequest};
pub use leader::{CurrentLeader, NodeEndpoint};
pub use leader_epoch::{
    LeaderEpochPartition, LeaderEpochPartitionReply, LeaderEpochTopic, LeaderEpochTopicReply,
    OffsetForLeaderEpochReply, OffsetForLeaderEpochRequest,
};
pub use list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionReply, ListOffsetsReply, ListOffsetsRequest, ListOffsetsTopic,
    ListOffsetsTopicReply,
};
pub use message::{FRAME_LENGTH_BYTES, Message, append_reply, append_reply_parts, append_request, range_in};
pub use messages::{Reply, Request};
pub use metadata::{
    AUTHORIZED_OPERATIONS_NONE, MetadataBroker, MetadataPartition, MetadataReply, MetadataRequest,
    MetadataRequestTopic, MetadataTopic,
};
pub use produce::{
    ProducePartition, ProducePartitionReply, ProduceReply, ProduceRequest, ProduceTopic, ProduceTopicReply, RecordError,
};
pub use reader::{DecodeError, DecodeProblem, Reader, Shape};
pub use records::{RecordsError, check_records};
pub use topics::{
    CreatableAssignment, CreatableConfig, CreatableTopic, CreatePartitionsAssignment, CreatePartitionsReply,
    CreatePartitionsRequest, CreatePartitionsResult, CreatePartitionsTopic, CreateTopicsReply, CreateTopicsRequest,
    CreatedConfig, CreatedTopic, DeletableTopic, DeleteTopicsReply, DeleteTopicsRequest, DeletedTopic,
};
pub use writer::{EncodeError, EncodeProblem, Gap, Writer};

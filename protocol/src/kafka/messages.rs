//! The list of messages: which structure is the request and which the reply of each API. Owns the two sums over it. Any core.

use super::*;

macro_rules! messages {
    ($($api:ident: $request:ty, $reply:ty;)*) => {
        /// A request of any API.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Request<'a> {
            $(
                #[doc = concat!("One of ", stringify!($api), ".")]
                $api($request),
            )*
        }

        /// A reply of any API.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Reply<'a> {
            $(
                #[doc = concat!("One of ", stringify!($api), ".")]
                $api($reply),
            )*
        }

        $(
            impl<'a> Message<'a> for $request {
                const API: ApiKey = ApiKey::$api;
                const NAME: &'static str = concat!(stringify!($api), " request");
            }

            impl<'a> Message<'a> for $reply {
                const API: ApiKey = ApiKey::$api;
                const NAME: &'static str = concat!(stringify!($api), " reply");
            }
        )*

        either! { Request: $($api: $request;)* }
        either! { Reply: $($api: $reply;)* }
    };
}

macro_rules! either {
    ($sum:ident: $($api:ident: $message:ty;)*) => {
        impl<'a> $sum<'a> {
            /// Reads the body of a message of this API and version.
            ///
            /// # Errors
            /// As [`Message::decode`].
            pub fn decode(api: ApiKey, version: i16, body: &'a [u8]) -> Result<$sum<'a>, DecodeError> {
                match api {
                    $(ApiKey::$api => <$message>::decode(body, version).map($sum::$api),)*
                }
            }

            /// Appends the body.
            ///
            /// # Errors
            /// As [`Message::encode`].
            pub fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                match self {
                    $($sum::$api(message) => message.encode(version, out),)*
                }
            }

            /// Its API.
            #[must_use]
            pub fn api(&self) -> ApiKey {
                match self {
                    $($sum::$api(_) => ApiKey::$api,)*
                }
            }

            /// A random message of this API that this version can carry.
            #[cfg(any(test, feature = "samples"))]
            pub fn sample(api: ApiKey, version: i16, sampler: &mut sample::Sampler) -> $sum<'a> {
                let shape = Shape { version, flexible: api.is_flexible(version) };
                match api {
                    $(ApiKey::$api => $sum::$api(Field::sample(sampler, shape)),)*
                }
            }
        }
    };
}

messages! {
    Produce: ProduceRequest<'a>, ProduceReply<'a>;
    Fetch: FetchRequest<'a>, FetchReply<'a>;
    ListOffsets: ListOffsetsRequest<'a>, ListOffsetsReply<'a>;
    Metadata: MetadataRequest<'a>, MetadataReply<'a>;
    OffsetCommit: OffsetCommitRequest<'a>, OffsetCommitReply<'a>;
    OffsetFetch: OffsetFetchRequest<'a>, OffsetFetchReply<'a>;
    FindCoordinator: FindCoordinatorRequest<'a>, FindCoordinatorReply<'a>;
    JoinGroup: JoinGroupRequest<'a>, JoinGroupReply<'a>;
    Heartbeat: HeartbeatRequest<'a>, HeartbeatReply;
    LeaveGroup: LeaveGroupRequest<'a>, LeaveGroupReply<'a>;
    SyncGroup: SyncGroupRequest<'a>, SyncGroupReply<'a>;
    DescribeGroups: DescribeGroupsRequest<'a>, DescribeGroupsReply<'a>;
    ListGroups: ListGroupsRequest<'a>, ListGroupsReply<'a>;
    ApiVersions: ApiVersionsRequest<'a>, ApiVersionsReply<'a>;
    CreateTopics: CreateTopicsRequest<'a>, CreateTopicsReply<'a>;
    DeleteTopics: DeleteTopicsRequest<'a>, DeleteTopicsReply<'a>;
    DeleteRecords: DeleteRecordsRequest<'a>, DeleteRecordsReply<'a>;
    InitProducerId: InitProducerIdRequest<'a>, InitProducerIdReply;
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest<'a>, OffsetForLeaderEpochReply<'a>;
    DescribeConfigs: DescribeConfigsRequest<'a>, DescribeConfigsReply<'a>;
    AlterConfigs: AlterConfigsRequest<'a>, AlterConfigsReply<'a>;
    DescribeLogDirs: DescribeLogDirsRequest<'a>, DescribeLogDirsReply<'a>;
    CreatePartitions: CreatePartitionsRequest<'a>, CreatePartitionsReply<'a>;
    DeleteGroups: DeleteGroupsRequest<'a>, DeleteGroupsReply<'a>;
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest<'a>, IncrementalAlterConfigsReply<'a>;
    ListPartitionReassignments: ListPartitionReassignmentsRequest<'a>, ListPartitionReassignmentsReply<'a>;
    OffsetDelete: OffsetDeleteRequest<'a>, OffsetDeleteReply<'a>;
    DescribeCluster: DescribeClusterRequest, DescribeClusterReply<'a>;
    ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest<'a>, ConsumerGroupHeartbeatReply<'a>;
    ConsumerGroupDescribe: ConsumerGroupDescribeRequest<'a>, ConsumerGroupDescribeReply<'a>;
}

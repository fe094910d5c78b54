//! Targets of the native protocol: the frame header and every body. One line each: the oracle is the same for all. A body
//! that holds error codes or sentences for people settles; every other comes back as it was.

use bytes::Bytes;
use ouzel_protocol::ErrorCode;
use ouzel_protocol::native::*;

use crate::oracle::{Heap, bounded, exact, settles};

/// The header is 24 bytes and takes no memory; only an error code that is not known here is forgotten.
pub(super) fn frame(bytes: &[u8]) -> bool {
    let Ok(header) = bounded(Heap::NONE, bytes.len(), || FrameHeader::parse(bytes)) else { return false };
    let mut read = bytes.first_chunk::<FRAME_HEADER_BYTES>().copied().expect("it was parsed");
    if header.error == ErrorCode::Unknown {
        read[10..12].fill(0xff);
    }
    assert_eq!(header.to_bytes(), read, "{header:?}");
    assert!(
        header.frame_bytes() <= FRAME_BYTES_MAX && header.frame_bytes() == FRAME_HEADER_BYTES + header.body_bytes()
    );
    true
}

macro_rules! bodies {
    ($($name:ident: $oracle:ident($message:ident);)*) => {
        $(
            pub(super) fn $name(bytes: &[u8]) -> bool {
                $oracle(Heap::MESSAGE, bytes, $message::decode, $message::encode)
            }
        )*
    };
}

bodies! {
    hello_request: exact(HelloRequest);
    hello_reply: exact(HelloReply);
    metadata_request: exact(MetadataRequest);
    metadata_reply: settles(MetadataReply);
    produce_reply: settles(ProduceReply);
    fetch_request: exact(FetchRequest);
    list_offsets_request: exact(ListOffsetsRequest);
    list_offsets_reply: settles(ListOffsetsReply);
    create_topic_request: exact(CreateTopicRequest);
    create_topic_reply: settles(CreateTopicReply);
    delete_topic_request: exact(DeleteTopicRequest);
    alter_topic_request: exact(AlterTopicRequest);
    describe_topic_request: exact(DescribeTopicRequest);
    describe_topic_reply: settles(DescribeTopicReply);
    list_topics_request: exact(ListTopicsRequest);
    list_topics_reply: exact(ListTopicsReply);
    describe_node_request: exact(DescribeNodeRequest);
    describe_node_reply: settles(DescribeNodeReply);
    describe_cluster_request: exact(DescribeClusterRequest);
    describe_cluster_reply: exact(DescribeClusterReply);
    init_producer_id_request: exact(InitProducerIdRequest);
    init_producer_id_reply: settles(InitProducerIdReply);
    group_heartbeat_request: exact(GroupHeartbeatRequest);
    group_heartbeat_reply: exact(GroupHeartbeatReply);
    offset_commit_request: exact(OffsetCommitRequest);
    offset_commit_reply: settles(OffsetCommitReply);
    offset_fetch_request: exact(OffsetFetchRequest);
    offset_fetch_reply: exact(OffsetFetchReply);
    list_groups_request: exact(ListGroupsRequest);
    list_groups_reply: exact(ListGroupsReply);
    describe_group_request: exact(DescribeGroupRequest);
    describe_group_reply: exact(DescribeGroupReply);
    delete_group_request: exact(DeleteGroupRequest);
    delete_offsets_request: exact(DeleteOffsetsRequest);
    delete_offsets_reply: settles(DeleteOffsetsReply);
    error_reply: settles(ErrorReply);
    status_reply: settles(StatusReply);
}

pub(super) fn produce_request(bytes: &[u8]) -> bool {
    exact(Heap::MESSAGE, bytes, |bytes| ProduceRequest::decode(Bytes::copy_from_slice(bytes)), ProduceRequest::encode)
}

pub(super) fn fetch_reply(bytes: &[u8]) -> bool {
    settles(Heap::MESSAGE, bytes, |bytes| FetchReply::decode(Bytes::copy_from_slice(bytes)), FetchReply::encode)
}

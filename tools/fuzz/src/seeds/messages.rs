//! Seeds of the native protocol: every message once with all it can hold, and once with as little as it may.

use bytes::Bytes;
use ouzel_protocol::native::*;
use ouzel_protocol::{
    ClusterId, CorrelationId, Durability, ErrorCode, LeaderEpoch, MemberEpoch, MetadataVersion, NodeId, Offset,
    PartitionIndex, ProducerEpoch, ProducerId, ShardIndex, TopicId,
};

const TOPIC: TopicId = TopicId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
const PARTITION: PartitionIndex = PartitionIndex(3);

macro_rules! encoded {
    ($($message:expr),* $(,)?) => {
        vec![$({
            let mut out = Vec::new();
            $message.encode(&mut out);
            out
        }),*]
    };
}

pub(super) fn of(target: &str) -> Option<Vec<Vec<u8>>> {
    requests(target)
        .or_else(|| replies_of_records(target))
        .or_else(|| replies_of_topics(target))
        .or_else(|| requests_of_groups(target))
        .or_else(|| replies_of_groups(target))
}

fn requests(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "frame" => vec![
            request_frame(Api::ListTopics, CorrelationId(1), |_| {}),
            reply_frame(Api::Fetch, CorrelationId(u64::MAX), |out| FetchReply { partitions: vec![] }.encode(out)),
            error_frame(Api::Produce, CorrelationId(7), ErrorCode::Overloaded, "no room"),
        ],
        "hello-request" => encoded![
            HelloRequest { version_min: 1, version_max: 1, features: 0, client: "ouzel-client 0.1.0".into() },
            HelloRequest { version_min: 0, version_max: u16::MAX, features: u64::MAX, client: String::new() },
        ],
        "metadata-request" => encoded![
            MetadataRequest { topics: None },
            MetadataRequest { topics: Some(vec![]) },
            MetadataRequest { topics: Some(vec!["orders".into(), String::new(), "é".into()]) },
        ],
        "produce-request" => {
            let row = |batch: &'static [u8]| ProducePartition {
                topic_id: TOPIC,
                partition: PARTITION,
                batch: Bytes::from_static(batch),
            };
            encoded![
                ProduceRequest { acks: 1, timeout_ms: 0, timings: false, partitions: vec![] },
                ProduceRequest {
                    acks: -1,
                    timeout_ms: 30_000,
                    timings: true,
                    partitions: vec![row(b"one batch"), row(b""), row(b"another")],
                },
            ]
        }
        "fetch-request" => {
            let row = |offset| FetchPartition { topic_id: TOPIC, partition: PARTITION, offset, max_bytes: 1 << 20 };
            encoded![
                FetchRequest { max_wait_ms: 0, min_bytes: 0, max_bytes: 0, partitions: vec![] },
                FetchRequest {
                    max_wait_ms: 500,
                    min_bytes: 1,
                    max_bytes: 1 << 24,
                    partitions: vec![row(Offset::ZERO), row(Offset::MAX)],
                },
            ]
        }
        "list-offsets-request" => {
            let row = |at| ListOffsetsPartition { topic_id: TOPIC, partition: PARTITION, at };
            let rows = vec![row(OffsetSpec::Earliest), row(OffsetSpec::Latest), row(OffsetSpec::Timestamp(-1))];
            encoded![ListOffsetsRequest { partitions: vec![] }, ListOffsetsRequest { partitions: rows }]
        }
        "create-topic-request" => encoded![
            CreateTopicRequest { name: "a".into(), partitions: 0, replication_factor: 0, configs: vec![] },
            CreateTopicRequest {
                name: "orders".into(),
                partitions: 12,
                replication_factor: 1,
                configs: vec![("segment.bytes".into(), "1048576".into()), (String::new(), String::new())],
            },
        ],
        "delete-topic-request" => encoded![DeleteTopicRequest { name: "orders".into() }],
        "alter-topic-request" => encoded![
            AlterTopicRequest { name: String::new(), partitions: None, configs: vec![] },
            AlterTopicRequest {
                name: "orders".into(),
                partitions: Some(24),
                configs: vec![("segment.bytes".into(), Some("2097152".into())), ("max.message.bytes".into(), None)],
            },
        ],
        "describe-topic-request" => encoded![DescribeTopicRequest { name: "orders".into() }],
        "init-producer-id-request" => encoded![
            InitProducerIdRequest { transactional_id: None },
            InitProducerIdRequest { transactional_id: Some("payments".into()) },
        ],
        "init-producer-id-reply" => encoded![
            InitProducerIdReply {
                error: ErrorCode::None,
                message: String::new(),
                producer_id: ProducerId(4_000),
                producer_epoch: ProducerEpoch(0),
            },
            InitProducerIdReply {
                error: ErrorCode::Overloaded,
                message: "later".into(),
                producer_id: ProducerId(0),
                producer_epoch: ProducerEpoch(0),
            },
        ],
        "describe-node-request" => encoded![DescribeNodeRequest {}],
        "describe-cluster-request" => encoded![DescribeClusterRequest {}],
        "list-topics-request" => encoded![ListTopicsRequest {}],
        _ => return None,
    })
}

fn replies_of_records(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "produce-reply" => {
            let row = ProduceResult {
                topic_id: TOPIC,
                partition: PARTITION,
                error: ErrorCode::None,
                base_offset: Offset(1000),
                leader_epoch: LeaderEpoch(4),
                durability: Durability::Written,
                log_start: Offset(10),
            };
            let refused = ProduceResult { error: ErrorCode::DiskFull, durability: Durability::Disk, ..row };
            let timings = StageTimings { received_us: 1, queued_us: 2, appended_us: 3, committed_us: 4 };
            encoded![
                ProduceReply { partitions: vec![], timings: None },
                ProduceReply { partitions: vec![row, refused], timings: Some(timings) },
            ]
        }
        "fetch-reply" => {
            let row = |records: &[&'static [u8]]| FetchResult {
                topic_id: TOPIC,
                partition: PARTITION,
                error: ErrorCode::None,
                high_watermark: Offset(9),
                log_start: Offset(2),
                records: records.iter().map(|piece| Bytes::from_static(piece)).collect(),
            };
            encoded![
                FetchReply { partitions: vec![] },
                FetchReply { partitions: vec![row(&[b"records in", b" two pieces"]), row(&[]), row(&[b"more"])] },
            ]
        }
        "list-offsets-reply" => {
            let row = |error, timestamp| ListOffsetsResult {
                topic_id: TOPIC,
                partition: PARTITION,
                error,
                offset: Offset(77),
                timestamp,
                leader_epoch: LeaderEpoch(1),
            };
            let rows = vec![row(ErrorCode::None, 1_700_000_000_000), row(ErrorCode::NotLeader, -1)];
            encoded![ListOffsetsReply { partitions: vec![] }, ListOffsetsReply { partitions: rows }]
        }
        "error-reply" => encoded![
            ErrorReply { message: String::new() },
            ErrorReply { message: "the topic orders has 12 partitions, got 13: é".into() },
        ],
        "status-reply" => encoded![
            StatusReply { error: ErrorCode::None, message: String::new() },
            StatusReply { error: ErrorCode::InvalidConfig, message: "unknown topic config".into() },
        ],
        _ => return None,
    })
}

fn replies_of_topics(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "hello-reply" => encoded![HelloReply {
            version: PROTOCOL_VERSION,
            features: 0,
            node: NodeId(1),
            shard: ShardIndex(2),
            shards: 4,
            frame_bytes_max: FRAME_BYTES_MAX as u32,
            broker: "ouzel 0.1.0".into(),
        }],
        "metadata-reply" => {
            let partition =
                |leader| PartitionInfo { index: PARTITION, leader, shard: ShardIndex(1), leader_epoch: LeaderEpoch(8) };
            let node = NodeInfo { node: NodeId(1), host: "localhost".into(), port: 9092, shard_ports: vec![1, 2] };
            let topic =
                |partitions| TopicInfo { error: ErrorCode::None, name: "orders".into(), topic_id: TOPIC, partitions };
            encoded![
                MetadataReply { version: MetadataVersion(0), nodes: vec![], topics: vec![] },
                MetadataReply {
                    version: MetadataVersion(42),
                    nodes: vec![node.clone(), NodeInfo { host: String::new(), shard_ports: vec![], ..node }],
                    topics: vec![topic(vec![partition(Some(NodeId(1))), partition(None)]), topic(vec![])],
                },
            ]
        }
        "create-topic-reply" => encoded![
            CreateTopicReply { error: ErrorCode::None, message: String::new(), topic_id: TOPIC },
            CreateTopicReply { error: ErrorCode::InvalidTopic, message: "no".into(), topic_id: TopicId(0) },
        ],
        "describe-topic-reply" => {
            let partition = |leader| DescribedPartition {
                index: PARTITION,
                shard: ShardIndex(1),
                leader,
                leader_epoch: LeaderEpoch(2),
                log_start: Offset(3),
                end_offset: Offset(4),
                bytes: 5,
                state: "online".into(),
            };
            encoded![DescribeTopicReply {
                error: ErrorCode::None,
                message: String::new(),
                name: "orders".into(),
                topic_id: TOPIC,
                configs: vec![("segment.bytes".into(), "1048576".into(), true)],
                partitions: vec![partition(Some(NodeId(1))), partition(None)],
            }]
        }
        "describe-node-reply" => {
            let counters = vec![Counter { name: counters::PAYLOAD_BYTES.into(), value: u64::MAX }];
            let shard = DescribedShard {
                shard: ShardIndex(1),
                state: "online".into(),
                reason: String::new(),
                counters: counters.clone(),
            };
            encoded![
                DescribeNodeReply { node: NodeId(1), uptime_ms: 0, counters: vec![], shards: vec![] },
                DescribeNodeReply { node: NodeId(1), uptime_ms: 86_400_000, counters, shards: vec![shard] },
            ]
        }
        "describe-cluster-reply" => encoded![DescribeClusterReply { cluster_id: ClusterId(TOPIC.0) }],
        "list-topics-reply" => {
            let topics = vec![("orders".into(), TOPIC, 12), ("é".into(), TopicId(0), u32::MAX)];
            encoded![ListTopicsReply { topics: vec![] }, ListTopicsReply { topics }]
        }
        _ => return None,
    })
}

fn requests_of_groups(target: &str) -> Option<Vec<Vec<u8>>> {
    let group_id = || "payments".to_owned();
    let at = GroupPartition { topic_id: TOPIC, partition: PARTITION };
    Some(match target {
        "group-heartbeat-request" => {
            let unchanged = GroupHeartbeatRequest {
                group_id: group_id(),
                member_id: "0123456789abcdef".into(),
                member_epoch: MemberEpoch(7),
                instance_id: None,
                rebalance_timeout_ms: None,
                topics: None,
                pattern: None,
                assignor: None,
                owned: None,
            };
            let full = GroupHeartbeatRequest {
                member_epoch: MemberEpoch::JOIN,
                instance_id: Some("till-1".into()),
                rebalance_timeout_ms: Some(60_000),
                topics: Some(vec!["orders".into(), "é".into()]),
                pattern: Some("order.*".into()),
                assignor: Some("uniform".into()),
                owned: Some(vec![OwnedTopic { topic_id: TOPIC, partitions: vec![PARTITION, PartitionIndex(0)] }]),
                ..unchanged.clone()
            };
            encoded![unchanged, full]
        }
        "offset-commit-request" => {
            let member = GroupMember { member_id: "m".into(), epoch: MemberEpoch(7), instance_id: Some("i".into()) };
            let row = |leader_epoch, metadata: &str| CommitRow {
                topic_id: TOPIC,
                partition: PARTITION,
                offset: Offset(1000),
                leader_epoch,
                metadata: metadata.into(),
            };
            let rows = vec![row(None, ""), row(Some(LeaderEpoch(3)), "a note")];
            encoded![
                OffsetCommitRequest { group_id: group_id(), member: None, partitions: vec![] },
                OffsetCommitRequest { group_id: group_id(), member: Some(member), partitions: rows },
            ]
        }
        "offset-fetch-request" => encoded![
            OffsetFetchRequest { group_id: group_id(), partitions: None },
            OffsetFetchRequest { group_id: group_id(), partitions: Some(vec![at, at]) },
        ],
        "delete-offsets-request" => {
            encoded![DeleteOffsetsRequest { group_id: group_id(), partitions: vec![at, at] }]
        }
        "list-groups-request" => encoded![
            ListGroupsRequest::default(),
            ListGroupsRequest { states: vec!["Empty".into()], kinds: vec!["Classic".into(), "Consumer".into()] },
        ],
        "describe-group-request" => encoded![DescribeGroupRequest { group_id: group_id() }],
        "delete-group-request" => encoded![DeleteGroupRequest { group_id: group_id() }],
        _ => return None,
    })
}

fn replies_of_groups(target: &str) -> Option<Vec<Vec<u8>>> {
    let topic = |name: &str| AssignedTopic { topic_id: TOPIC, name: name.into(), partitions: vec![PARTITION] };
    let result = |error| GroupPartitionResult { topic_id: TOPIC, partition: PARTITION, error };
    let results = vec![result(ErrorCode::None), result(ErrorCode::GroupSubscribedToTopic)];
    Some(match target {
        "group-heartbeat-reply" => {
            let reply = |assignment| GroupHeartbeatReply {
                member_epoch: MemberEpoch(8),
                heartbeat_interval_ms: 5_000,
                assignment,
            };
            encoded![reply(None), reply(Some(vec![])), reply(Some(vec![topic("orders"), topic("")]))]
        }
        "offset-commit-reply" => encoded![OffsetCommitReply { partitions: results }],
        "delete-offsets-reply" => encoded![DeleteOffsetsReply { partitions: results }],
        "offset-fetch-reply" => {
            let row = |leader_epoch| CommittedRow {
                partition: PARTITION,
                offset: Offset(77),
                leader_epoch,
                metadata: "a note".into(),
            };
            let rows = vec![row(None), row(Some(LeaderEpoch(3)))];
            let topic = |partitions| TopicOffsets { topic_id: TOPIC, name: "orders".into(), partitions };
            encoded![OffsetFetchReply { topics: vec![] }, OffsetFetchReply { topics: vec![topic(rows), topic(vec![])] }]
        }
        "list-groups-reply" => {
            let group = ListedGroup {
                group_id: "payments".into(),
                kind: "Consumer".into(),
                protocol_type: "consumer".into(),
                state: "Stable".into(),
            };
            encoded![ListGroupsReply { groups: vec![] }, ListGroupsReply { groups: vec![group.clone(), group] }]
        }
        "describe-group-reply" => {
            let member = DescribedMember {
                member_id: "m".into(),
                instance_id: Some("till-1".into()),
                client_id: "ouzel-client".into(),
                host: "/127.0.0.1".into(),
                epoch: MemberEpoch(8),
                topics: vec!["orders".into()],
                pattern: Some("order.*".into()),
                assignment: vec![topic("orders")],
                target: vec![topic("orders"), topic("")],
            };
            let bare = DescribedMember { instance_id: None, topics: vec![], pattern: None, ..member.clone() };
            let reply = |members| DescribeGroupReply {
                kind: "Consumer".into(),
                state: "Reconciling".into(),
                protocol_type: "consumer".into(),
                assignor: "uniform".into(),
                epoch: MemberEpoch(9),
                assignment_epoch: MemberEpoch(8),
                members,
            };
            encoded![reply(vec![]), reply(vec![member, bare])]
        }
        _ => return None,
    })
}

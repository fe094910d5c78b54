//! The table of targets: one parser each. Owns the names, which are those of the corpus directories.
//!
//! A target is added here, given seeds in `src/seeds.rs`, and is then run by everything that runs targets. Any core.

mod batches;
mod groups;
mod kafka;
mod messages;
mod metadata;
mod store;

pub(crate) use store::{INCARNATION, SEGMENT};

/// One parser under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus directory.
    pub name: &'static str,
    /// Parses the bytes and panics where a promise is broken. Returns whether the parser accepted them.
    pub run: fn(&[u8]) -> bool,
    /// Mutations that one campaign runs on stable; fewer for a target that simulates a disk.
    pub rounds: u32,
}

/// Rounds of a target that only parses.
const PARSE: u32 = 5_000;
/// Rounds of a target that decompresses.
const INFLATE: u32 = 1_500;
/// Rounds of a target that recovers a simulated disk.
const RECOVER: u32 = 120;

/// Every target there is.
pub const TARGETS: &[Target] = &[
    Target { name: "frame", run: messages::frame, rounds: PARSE },
    Target { name: "hello-request", run: messages::hello_request, rounds: PARSE },
    Target { name: "hello-reply", run: messages::hello_reply, rounds: PARSE },
    Target { name: "metadata-request", run: messages::metadata_request, rounds: PARSE },
    Target { name: "metadata-reply", run: messages::metadata_reply, rounds: PARSE },
    Target { name: "produce-request", run: messages::produce_request, rounds: PARSE },
    Target { name: "produce-reply", run: messages::produce_reply, rounds: PARSE },
    Target { name: "fetch-request", run: messages::fetch_request, rounds: PARSE },
    Target { name: "fetch-reply", run: messages::fetch_reply, rounds: PARSE },
    Target { name: "list-offsets-request", run: messages::list_offsets_request, rounds: PARSE },
    Target { name: "list-offsets-reply", run: messages::list_offsets_reply, rounds: PARSE },
    Target { name: "create-topic-request", run: messages::create_topic_request, rounds: PARSE },
    Target { name: "create-topic-reply", run: messages::create_topic_reply, rounds: PARSE },
    Target { name: "delete-topic-request", run: messages::delete_topic_request, rounds: PARSE },
    Target { name: "alter-topic-request", run: messages::alter_topic_request, rounds: PARSE },
    Target { name: "describe-topic-request", run: messages::describe_topic_request, rounds: PARSE },
    Target { name: "describe-topic-reply", run: messages::describe_topic_reply, rounds: PARSE },
    Target { name: "list-topics-request", run: messages::list_topics_request, rounds: PARSE },
    Target { name: "list-topics-reply", run: messages::list_topics_reply, rounds: PARSE },
    Target { name: "describe-node-request", run: messages::describe_node_request, rounds: PARSE },
    Target { name: "describe-node-reply", run: messages::describe_node_reply, rounds: PARSE },
    Target { name: "describe-cluster-request", run: messages::describe_cluster_request, rounds: PARSE },
    Target { name: "describe-cluster-reply", run: messages::describe_cluster_reply, rounds: PARSE },
    Target { name: "init-producer-id-request", run: messages::init_producer_id_request, rounds: PARSE },
    Target { name: "init-producer-id-reply", run: messages::init_producer_id_reply, rounds: PARSE },
    Target { name: "group-heartbeat-request", run: messages::group_heartbeat_request, rounds: PARSE },
    Target { name: "group-heartbeat-reply", run: messages::group_heartbeat_reply, rounds: PARSE },
    Target { name: "offset-commit-request", run: messages::offset_commit_request, rounds: PARSE },
    Target { name: "offset-commit-reply", run: messages::offset_commit_reply, rounds: PARSE },
    Target { name: "offset-fetch-request", run: messages::offset_fetch_request, rounds: PARSE },
    Target { name: "offset-fetch-reply", run: messages::offset_fetch_reply, rounds: PARSE },
    Target { name: "list-groups-request", run: messages::list_groups_request, rounds: PARSE },
    Target { name: "list-groups-reply", run: messages::list_groups_reply, rounds: PARSE },
    Target { name: "describe-group-request", run: messages::describe_group_request, rounds: PARSE },
    Target { name: "describe-group-reply", run: messages::describe_group_reply, rounds: PARSE },
    Target { name: "delete-group-request", run: messages::delete_group_request, rounds: PARSE },
    Target { name: "delete-offsets-request", run: messages::delete_offsets_request, rounds: PARSE },
    Target { name: "delete-offsets-reply", run: messages::delete_offsets_reply, rounds: PARSE },
    Target { name: "error-reply", run: messages::error_reply, rounds: PARSE },
    Target { name: "status-reply", run: messages::status_reply, rounds: PARSE },
    Target { name: "kafka-produce-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-produce-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-fetch-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-fetch-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-list-offsets-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-list-offsets-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-metadata-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-metadata-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-offset-commit-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-offset-commit-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-offset-fetch-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-offset-fetch-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-find-coordinator-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-find-coordinator-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-join-group-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-join-group-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-heartbeat-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-heartbeat-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-leave-group-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-leave-group-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-sync-group-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-sync-group-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-describe-groups-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-describe-groups-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-list-groups-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-list-groups-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-api-versions-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-api-versions-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-create-topics-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-create-topics-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-delete-topics-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-delete-topics-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-delete-records-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-delete-records-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-init-producer-id-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-init-producer-id-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-offset-for-leader-epoch-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-offset-for-leader-epoch-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-describe-configs-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-describe-configs-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-alter-configs-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-alter-configs-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-describe-log-dirs-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-describe-log-dirs-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-create-partitions-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-create-partitions-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-delete-groups-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-delete-groups-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-incremental-alter-configs-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-incremental-alter-configs-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-list-partition-reassignments-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-list-partition-reassignments-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-offset-delete-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-offset-delete-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-describe-cluster-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-describe-cluster-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-consumer-group-heartbeat-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-consumer-group-heartbeat-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-consumer-group-describe-request", run: kafka::request, rounds: PARSE },
    Target { name: "kafka-consumer-group-describe-reply", run: kafka::reply, rounds: PARSE },
    Target { name: "kafka-records", run: kafka::records, rounds: PARSE },
    Target { name: "group-assignment", run: groups::assignment, rounds: PARSE },
    Target { name: "group-record", run: groups::record, rounds: PARSE },
    Target { name: "batch-header", run: batches::header, rounds: PARSE },
    Target { name: "batch-kafka2", run: batches::kafka2, rounds: INFLATE },
    Target { name: "batch-native", run: batches::native, rounds: INFLATE },
    Target { name: "codec-gzip", run: batches::gzip, rounds: INFLATE },
    Target { name: "codec-snappy", run: batches::snappy, rounds: INFLATE },
    Target { name: "codec-lz4", run: batches::lz4, rounds: INFLATE },
    Target { name: "codec-zstd", run: batches::zstd, rounds: INFLATE },
    Target { name: "journal-commit", run: store::commit, rounds: PARSE },
    Target { name: "journal", run: store::journal, rounds: RECOVER },
    Target { name: "checkpoint", run: store::checkpoint, rounds: PARSE },
    Target { name: "segment-check", run: store::check_file, rounds: PARSE },
    Target { name: "segment-index", run: store::index_file, rounds: PARSE },
    Target { name: "metadata-entry", run: store::metadata_entry, rounds: PARSE },
    Target { name: "metadata-log", run: store::metadata_log, rounds: RECOVER },
    Target { name: "metadata-record", run: metadata::record, rounds: PARSE },
    Target { name: "metadata-snapshot", run: metadata::snapshot, rounds: PARSE },
    Target { name: "metadata-history", run: metadata::history, rounds: PARSE },
    Target { name: "metadata-command", run: metadata::command, rounds: PARSE },
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

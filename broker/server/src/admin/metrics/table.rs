//! Every metric there is: its name, type, labels and meaning. `docs/metrics.md` is this table in words, and a test holds the
//! two and the dashboard and the alerts together. Names say the unit last; times are seconds, sizes bytes.

/// What a metric's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, from 0 at the start of the broker.
    Counter,
    Gauge,
    /// Of times: recorded in nanoseconds, shown in seconds.
    SecondsHistogram,
    /// Of numbers of things.
    CountHistogram,
}

impl Kind {
    /// The type as Prometheus calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::SecondsHistogram | Self::CountHistogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! metrics {
    ($($name:ident = $kind:ident $text:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            pub(super) static $name: Metric =
                Metric { name: $text, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them, for whoever checks what is written about them.
        #[cfg(test)]
        pub(super) static ALL: &[&Metric] = &[$(&$name),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "ouzel_build_info" ["version"] "Always 1; which version runs.";
    NODE_INFO = Gauge "ouzel_node_info" ["cluster_id", "node"] "Always 1; which node this is, and of which cluster.";
    READY = Gauge "ouzel_ready" [] "Whether the broker has recovered and serves clients: 1 or 0, as /ready says.";
    TOPICS = Gauge "ouzel_cluster_topics" [] "Topics of the cluster.";
    CLUSTER_PARTITIONS = Gauge "ouzel_cluster_partitions" [] "Partitions of all topics of the cluster.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" [] "Time that the process had a core, user and system.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" [] "Resident memory of the process.";
    PROCESS_START = Gauge "process_start_time_seconds" [] "When the broker started, in seconds since 1970.";
    PROCESS_OPEN_FDS = Gauge "process_open_fds" [] "Open file descriptors.";
    PROCESS_MAX_FDS = Gauge "process_max_fds" [] "File descriptors that the process may have open.";
    THREAD_CPU = Counter "ouzel_thread_cpu_seconds_total" ["thread"]
        "Time that a thread had a core; a shard is a thread, so 1 a second is a shard that can do no more. Threads of one name count together; the kernel's workers are in process_cpu_seconds_total alone.";

    SHARD_UP = Gauge "ouzel_shard_up" ["shard"] "Whether the shard answered this scrape in time: 1 or 0. What stands below of a shard that did not is missing, or of its last answer where shards are summed.";
    SHARD_UPTIME = Gauge "ouzel_shard_uptime_seconds" ["shard"] "Since the shard began to serve.";
    LOG_STATE = Gauge "ouzel_log_state" ["shard", "state"] "1 for the state that the shard's log is in, 0 for the others: online, disk-full (appends are refused), poisoned (a write or flush failed; nothing is acknowledged until a restart).";
    PARTITIONS = Gauge "ouzel_partitions" ["shard"] "Partitions that the shard owns.";
    CONNECTIONS = Gauge "ouzel_connections" ["shard", "protocol"] "Connections of clients that are open.";
    CONNECTIONS_OPENED = Counter "ouzel_connections_opened_total" ["shard", "protocol"] "Connections that were accepted.";
    CONNECTIONS_REFUSED = Counter "ouzel_connections_refused_total" ["shard"] "Connections that were closed as they came, because there were too many.";
    REQUESTS_IN_FLIGHT = Gauge "ouzel_requests_in_flight" ["shard"] "Requests that are not answered yet, long polls among them.";
    QUEUE_LENGTH = Gauge "ouzel_queue_length" ["shard", "lane"] "Messages of other shards and of the admin server that the shard has not taken up yet.";
    HOPS = Counter "ouzel_shard_hops_total" ["shard"] "Parts of produce and fetch requests that went to another shard, at the shard of the connection.";
    RECEIVED_BYTES = Counter "ouzel_network_received_bytes_total" ["shard", "protocol"] "Bytes of requests.";
    SENT_BYTES = Counter "ouzel_network_sent_bytes_total" ["shard", "protocol"] "Bytes of replies that the kernel has taken.";
    CONNECTION_MEMORY = Gauge "ouzel_connection_memory_bytes" ["shard"] "Memory of requests, replies and fetch sessions.";

    REQUESTS = Counter "ouzel_requests_total" ["protocol", "api"] "Requests taken.";
    REQUEST_TIME = SecondsHistogram "ouzel_request_seconds" ["protocol", "api"] "From the first byte of a request until the kernel had taken its reply; long polls wait as long as their clients ask them to.";
    PRODUCE_STAGE = SecondsHistogram "ouzel_produce_stage_seconds" ["stage"] "Where the time of an acknowledgement went, of the slowest batch of each produce request: receive (its bytes), queue or, where batches went to another shard, hop (until the owner took it up), append (until its place was fixed), commit (until it was at its durability level), reply (until the kernel had taken the reply).";
    PRODUCE_REFUSED = Counter "ouzel_produce_batches_refused_total" ["error"] "Batches that were not acknowledged, by the native protocol's name of the error.";

    PAYLOAD_BYTES = Counter "ouzel_payload_bytes_total" ["shard"] "Bytes of batches that became durable.";
    JOURNAL_BYTES = Counter "ouzel_journal_written_bytes_total" ["shard"] "Bytes written into the journal, padding included.";
    JOURNAL_COMMITS = Counter "ouzel_journal_commits_total" ["shard"] "Commits written.";
    COMMIT_BATCHES = CountHistogram "ouzel_journal_commit_batches" [] "Batches that one commit made durable together.";
    JOURNAL_WRITE = SecondsHistogram "ouzel_journal_write_seconds" [] "Putting together and writing one commit.";
    JOURNAL_SYNCS = Counter "ouzel_journal_syncs_total" ["shard"] "fdatasyncs of the journal.";
    JOURNAL_SYNC = SecondsHistogram "ouzel_journal_sync_seconds" [] "One fdatasync of the journal.";
    JOURNAL_USED = Gauge "ouzel_journal_used_bytes" ["shard"] "Bytes of the journal that a recovery would read.";
    JOURNAL_LIMIT = Gauge "ouzel_journal_limit_bytes" ["shard"] "Bytes that the journal may have.";
    JOURNAL_OCCUPANCY = Gauge "ouzel_journal_occupancy_ratio" ["shard"] "Share of the journal in use, from 0 to 1; producers are slowed down before it is full.";
    JOURNAL_WRAPS = Counter "ouzel_journal_wraps_total" ["shard"] "Times the journal came round.";
    CARRIES = Counter "ouzel_journal_carries_total" ["shard"] "Small remainders that were carried forward in the journal.";
    CARRY_BYTES = Counter "ouzel_journal_carried_bytes_total" ["shard"] "Bytes of those.";
    CHECKPOINTS = Counter "ouzel_checkpoints_total" ["shard"] "Checkpoints written.";
    SEGMENT_BYTES = Counter "ouzel_segment_written_bytes_total" ["shard"] "Bytes written into segment files.";
    SEGMENT_SYNCS = Counter "ouzel_segment_syncs_total" ["shard"] "fdatasyncs of segments and their side files.";
    DIRTY_BYTES = Gauge "ouzel_dirty_bytes" ["shard"] "Appended bytes that no segment holds yet.";
    CACHE_BYTES = Gauge "ouzel_cache_bytes" ["shard"] "Memory of the tail cache.";
    CACHE_HITS = Counter "ouzel_cache_hits_total" ["shard"] "Reads of one partition that memory answered.";
    CACHE_MISSES = Counter "ouzel_cache_misses_total" ["shard"] "Reads of one partition that took the disk.";
    RESERVE_BYTES = Gauge "ouzel_reserve_bytes" ["shard"] "Space held on the disk for the time when it is full.";

    TOPIC_PARTITIONS = Gauge "ouzel_topic_partitions" ["topic"] "Partitions of the topic that answered.";
    TOPIC_BYTES_IN = Counter "ouzel_topic_bytes_in_total" ["topic"] "Bytes of batches appended.";
    TOPIC_RECORDS_IN = Counter "ouzel_topic_records_in_total" ["topic"] "Records appended.";
    TOPIC_BYTES_OUT = Counter "ouzel_topic_bytes_out_total" ["topic"] "Bytes of records in replies to fetches, as they are stored.";
    TOPIC_STORED = Gauge "ouzel_topic_stored_bytes" ["topic"] "Bytes stored.";

    GROUPS = Gauge "ouzel_consumergroups" [] "Groups of consumers.";
    GROUP_LOGS_UNREAD = Gauge "ouzel_consumergroup_logs_unread" [] "Partitions of __consumer_offsets whose groups are not known yet, because their log is being read or cannot be.";
    GROUP_STATE = Gauge "ouzel_consumergroup_state" ["consumergroup", "state"] "Always 1; Kafka's name of the state that the group is in.";
    GROUP_MEMBERS = Gauge "ouzel_consumergroup_members" ["consumergroup"] "Members of the group.";
    GROUP_OFFSET = Gauge "ouzel_consumergroup_current_offset" ["consumergroup", "topic", "partition"] "Offset that the group has committed.";
    GROUP_LAG = Gauge "ouzel_consumergroup_lag" ["consumergroup", "topic", "partition"] "Records between what the group has committed and the high watermark; missing where the partition is not known.";
    GROUP_LAG_SUM = Gauge "ouzel_consumergroup_lag_sum" ["consumergroup"] "The same of all partitions of the group that are shown.";

    LEFT_OUT = Gauge "ouzel_series_left_out" ["kind"] "Topics, groups and partitions of groups that have no series of their own because there are too many.";
}

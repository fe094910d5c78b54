//! Every setting there is. Owns the keys, defaults and words; bounds come from the crates that hold them. Constants only.

use ouzel_broker::BrokerConfig;
use ouzel_broker_core::group::limits::SESSION_TIMEOUT_MS_MAX;
use ouzel_broker_core::limits::{SHARD_COUNT_MAX, TOPIC_PARTITION_COUNT_MAX};
use ouzel_runtime::ExecutorKind;

use super::setting::{Kind, Scope, Setting};

/// What a setting of Kafka's of the type INT can hold.
const KAFKA_INT_MAX: u64 = i32::MAX as u64;
/// More connections than a process can have open files where the kernel's own bound (`fs.nr_open`) is not raised, tenfold.
const CONNECTION_COUNT_MAX: u64 = 10_000_000;
/// Spinning for longer only burns what the next request needs.
const SPIN_US_MAX: u64 = 1_000;

/// Every setting there is, in the order in which they are listed: those of the cluster first.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "auto.create.topics.enable",
        scope: Scope::Cluster,
        kind: Kind::Switch,
        default: "true",
        explain: "Whether a topic that a Kafka client asks for is created; the native protocol never does",
        why: "Kafka's default: programs that rely on it are many",
    },
    Setting {
        key: "num.partitions",
        scope: Scope::Cluster,
        kind: Kind::Number { unit: "partitions", least: 1, most: TOPIC_PARTITION_COUNT_MAX as u64 },
        default: "1",
        explain: "Partitions of a topic that a Kafka client creates without saying how many",
        why: "Kafka's default; one partition keeps all records in order, and more can be added",
    },
    Setting {
        key: "group.initial.rebalance.delay.ms",
        scope: Scope::Cluster,
        kind: Kind::Number { unit: "ms", least: 0, most: SESSION_TIMEOUT_MS_MAX as u64 },
        default: "3000",
        explain: "How long the first members of an empty group wait for others; 0 suits single consumers",
        why: "Kafka's default: a fleet that starts together then has one rebalance instead of one for each member",
    },
    Setting {
        key: "group.consumer.session.timeout.ms",
        scope: Scope::Cluster,
        kind: Kind::Number { unit: "ms", least: 1, most: SESSION_TIMEOUT_MS_MAX as u64 },
        default: "45000",
        explain: "Time without a sign of life after which a member of a group whose broker assigns is taken for dead",
        why: "Kafka's default: nine missed heartbeats, longer than a pause for garbage collection or a restart",
    },
    Setting {
        key: "group.consumer.heartbeat.interval.ms",
        scope: Scope::Cluster,
        kind: Kind::Number { unit: "ms", least: 1, most: SESSION_TIMEOUT_MS_MAX as u64 },
        default: "5000",
        explain: "Longest time between the signs of life of such a member, which is asked for one a second while there are few; less than its session",
        why: "Kafka's default: however many members there are, each learns of its new partitions within five seconds",
    },
    Setting {
        key: "offsets.retention.minutes",
        scope: Scope::Cluster,
        kind: Kind::Number { unit: "minutes", least: 1, most: KAFKA_INT_MAX },
        default: "10080",
        explain: "How long committed offsets outlive the last member of their group",
        why: "Kafka's default, seven days: a consumer that was stopped over a weekend goes on where it was",
    },
    Setting {
        key: "data_dir",
        scope: Scope::Node,
        kind: Kind::Path,
        default: "./ouzel-data",
        explain: "Directory of journals, segments and metadata; one broker at a time",
        why: "beside where it was started, so that a first try needs no rights; the package sets /var/lib/ouzel",
    },
    Setting {
        key: "kafka",
        scope: Scope::Node,
        kind: Kind::Address,
        default: "127.0.0.1:9092",
        explain: "Address of the Kafka listener, and what its clients are told to come back to",
        why: "Kafka's port; this host only, as nothing is encrypted or asked for a password yet",
    },
    Setting {
        key: "native",
        scope: Scope::Node,
        kind: Kind::Address,
        default: "127.0.0.1:9192",
        explain: "Address of the native listener; shards listen on the ports after it, on free ones if it is 0",
        why: "a hundred above Kafka's port, with room for shards above it; this host only, as for kafka",
    },
    Setting {
        key: "admin",
        scope: Scope::Node,
        kind: Kind::Address,
        default: "127.0.0.1:9191",
        explain: "Address of the web console, metrics, health and the JSON API",
        why: "below the native port, out of the way of the shards' ports; this host only",
    },
    Setting {
        key: "shards",
        scope: Scope::Node,
        kind: Kind::Number { unit: "shards", least: 1, most: SHARD_COUNT_MAX as u64 },
        default: "auto",
        explain: "Number of shards, one thread and one core each; may change between starts",
        why: "auto is the number of cores that this process may use: fewer leave cores idle, more take turns on one",
    },
    Setting {
        key: "cpus",
        scope: Scope::Node,
        kind: Kind::Cores,
        default: "any",
        explain: "Core of each shard, in the order of shards; any leaves it to the kernel",
        why: "the kernel places well where the broker shares its host; pin where it is alone",
    },
    Setting {
        key: "memory.bytes.max",
        scope: Scope::Node,
        kind: Kind::Bytes { least_a_shard: BrokerConfig::MEMORY_BYTES_MIN },
        default: "auto",
        explain: "Memory for records, requests, replies and the tail cache, of all shards together",
        why: "auto is 512MiB, or the 16MiB that each shard needs where that is more: small enough for a host that does other things; give a broker that is alone on its host half of the memory: what consumers read soon is read from it",
    },
    Setting {
        key: "journal.bytes.max",
        scope: Scope::Node,
        kind: Kind::Bytes { least_a_shard: BrokerConfig::JOURNAL_BYTES_MIN },
        default: "auto",
        explain: "Size of all journals together, on disk; recovery time depends on it, and bursts need it",
        why: "auto is 512MiB, or the 8MiB that each shard needs where that is more: a start after a crash reads it in about a second from flash; more lets bursts run longer before producers are slowed",
    },
    Setting {
        key: "connections.max",
        scope: Scope::Node,
        kind: Kind::Number { unit: "connections", least: 1, most: CONNECTION_COUNT_MAX },
        default: "50000",
        explain: "Connections at once; more are closed as they come. Each needs an open file",
        why: "more than most clusters ever see, and a bound all the same: a client in a loop cannot take every open file",
    },
    Setting {
        key: "connections.per.source.max",
        scope: Scope::Node,
        kind: Kind::Number { unit: "connections", least: 1, most: CONNECTION_COUNT_MAX },
        default: "auto",
        explain: "Connections of one address at each shard",
        why: "auto is no limit: behind a proxy or a NAT all clients have one address",
    },
    Setting {
        key: "connections.max.idle.ms",
        scope: Scope::Node,
        kind: Kind::Number { unit: "ms", least: 1, most: KAFKA_INT_MAX },
        default: "600000",
        explain: "Time after which a connection that asks nothing is closed",
        why: "Kafka's default, ten minutes: its clients close their idle connections after nine",
    },
    Setting {
        key: "spin.us",
        scope: Scope::Node,
        kind: Kind::Number { unit: "us", least: 0, most: SPIN_US_MAX },
        default: "0",
        explain: "Time that a shard polls before it sleeps; never while a disk operation is in flight",
        why: "an idle broker uses no CPU; 50 saves the wake-up of requests that come one after another, on a core of its own",
    },
    Setting {
        key: "executor",
        scope: Scope::Node,
        kind: Kind::Executor,
        default: ExecutorKind::COMPILED[0].name(),
        explain: "Who runs the tasks of a shard: own, or glommio in a build with the cargo feature of that name",
        why: "the faster one here, see docs/decisions/0007",
    },
];

//! The keys of configurations as Kafka's clients know them: those of topics come from the metadata, those of the broker are listed
//! here. Owns which key of the broker a topic's key falls back to, by name; owns no value. Lives on the connection's shard.

use ouzel_broker_core::group::GroupConfig;
use ouzel_broker_core::{ConfigEntry, ConfigKind, Topic, TopicConfig, limits};
use ouzel_protocol::kafka::{config_source, config_type};

use super::metadata;
use crate::config::{PeerLimits, TopicDefaults};
use crate::groups::OFFSETS_PARTITION_COUNT;
use crate::shard::ShardState;

/// A key with its value, as it is described.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) read_only: bool,
    pub(super) source: i8,
    pub(super) kind: i8,
    pub(super) about: &'static str,
    /// Name, value and source of what holds and of what would hold without it.
    pub(super) synonyms: Vec<(&'static str, String, i8)>,
}

/// The broker's keys that say what holds for topics that do not say otherwise.
const OF_BROKER: [(&str, &str); 8] = [
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.type", "compression.type"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
];

fn of_broker(key: &str) -> Option<&'static str> {
    OF_BROKER.iter().find(|(of_topic, _)| *of_topic == key).map(|(_, of_broker)| *of_broker)
}

/// Where the value of a topic's key comes from.
pub(super) fn source(entry: &ConfigEntry) -> i8 {
    if entry.is_default { config_source::DEFAULT } else { config_source::TOPIC }
}

fn kind(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Word => config_type::STRING,
        ConfigKind::List => config_type::LIST,
        ConfigKind::Int => config_type::INT,
        ConfigKind::Long => config_type::LONG,
    }
}

/// Every key of a topic.
pub(super) fn topic_rows(topic: &Topic) -> Vec<Row> {
    let entries = topic.config.describe().into_iter().zip(TopicConfig::default().describe());
    let rows = entries.zip(TopicConfig::KEYS).map(|((entry, default), key)| {
        let source = source(&entry);
        let mut synonyms = Vec::new();
        if !entry.is_default {
            synonyms.push((entry.key, entry.value.clone(), source));
        }
        synonyms.push((of_broker(key.name).unwrap_or(key.name), default.value, config_source::DEFAULT));
        Row {
            name: entry.key,
            value: entry.value,
            read_only: false,
            source,
            kind: kind(key.kind),
            about: key.about,
            synonyms,
        }
    });
    rows.collect()
}

/// Every key of this broker. None can be changed while it runs.
pub(super) fn broker_rows(state: &ShardState) -> Vec<Row> {
    let (topics, peers, groups) = (state.topic_defaults, state.limits, state.groups.config());
    let group_defaults = GroupConfig::default();
    let (topic_defaults, peer_defaults) = (TopicDefaults::default(), PeerLimits::default());
    let row = |name, kind, value: String, is_default: bool, about| {
        let source = if is_default { config_source::DEFAULT } else { config_source::STATIC_BROKER };
        let synonyms = vec![(name, value.clone(), source)];
        Row { name, value, read_only: true, source, kind, about, synonyms }
    };
    let address = state.addresses.kafka.map_or(String::new(), |address| format!("PLAINTEXT://{address}"));
    let mut rows = vec![
        row(
            "auto.create.topics.enable",
            config_type::BOOLEAN,
            topics.auto_create.to_string(),
            topics.auto_create == topic_defaults.auto_create,
            "Whether asking for a topic creates it.",
        ),
        row(
            "connections.max.idle.ms",
            config_type::LONG,
            peers.idle_ms.to_string(),
            peers.idle_ms == peer_defaults.idle_ms,
            "Time without a request after which a connection is closed, in milliseconds.",
        ),
        row(
            "default.replication.factor",
            config_type::INT,
            limits::REPLICATION_FACTOR_DEFAULT.to_string(),
            true,
            "Replicas of a topic that is created without a number of them.",
        ),
        row("delete.topic.enable", config_type::BOOLEAN, true.to_string(), true, "Whether topics can be deleted."),
        row(
            "group.consumer.heartbeat.interval.ms",
            config_type::INT,
            groups.consumer.heartbeat_interval_ms.to_string(),
            groups.consumer.heartbeat_interval_ms == group_defaults.consumer.heartbeat_interval_ms,
            "Time between the signs of life of a member of a group whose broker assigns, in milliseconds.",
        ),
        row(
            "group.consumer.session.timeout.ms",
            config_type::INT,
            groups.consumer.session_timeout_ms.to_string(),
            groups.consumer.session_timeout_ms == group_defaults.consumer.session_timeout_ms,
            "Time without a sign of life after which such a member is taken for dead, in milliseconds.",
        ),
        row(
            "group.initial.rebalance.delay.ms",
            config_type::INT,
            groups.initial_rebalance_delay_ms.to_string(),
            groups.initial_rebalance_delay_ms == group_defaults.initial_rebalance_delay_ms,
            "Time that the first members of an empty group wait for others, in milliseconds.",
        ),
        row("listeners", config_type::LIST, address, false, "Where this broker listens."),
        row("log.dirs", config_type::STRING, state.log_dir(), false, "Where this broker keeps its data."),
        row(
            "node.id",
            config_type::INT,
            metadata::node(state.node).to_string(),
            false,
            "The number of this node in the cluster.",
        ),
        row(
            "num.partitions",
            config_type::INT,
            topics.partitions.to_string(),
            topics.partitions == topic_defaults.partitions,
            "Partitions of a topic that is created without a number of them.",
        ),
        row(
            "offsets.retention.minutes",
            config_type::INT,
            (groups.offsets_retention_ms / 60_000).to_string(),
            groups.offsets_retention_ms == group_defaults.offsets_retention_ms,
            "How long committed offsets outlive the last member of their group, in minutes.",
        ),
        row(
            "offsets.topic.num.partitions",
            config_type::INT,
            OFFSETS_PARTITION_COUNT.to_string(),
            true,
            "Partitions of the topic that groups are kept in.",
        ),
        row(
            "socket.request.max.bytes",
            config_type::INT,
            state.budget.frame_bytes_max.to_string(),
            false,
            "The largest request that is taken, in bytes; it follows from the memory of a shard.",
        ),
    ];
    for (entry, key) in TopicConfig::default().describe().into_iter().zip(TopicConfig::KEYS) {
        if let Some(name) = of_broker(key.name) {
            rows.push(row(name, kind(key.kind), entry.value, true, key.about));
        }
    }
    rows.sort_by_key(|row| row.name);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_topic_that_falls_back_exists() {
        for (of_topic, _) in OF_BROKER {
            assert!(TopicConfig::key(of_topic).is_some(), "{of_topic}");
        }
    }
}

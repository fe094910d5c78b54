//! The broker's settings, and the sizes that follow from them. Owns no state; read once, at start, on the thread that
//! starts the broker. Where settings come from (flags, files, environment) is the caller's business.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ouzel_broker_core::group::GroupConfig;
use ouzel_protocol::NodeId;
use ouzel_protocol::native::FRAME_BYTES_MAX;
use ouzel_runtime::ExecutorKind;
use ouzel_storage::{SEGMENT_DESCRIPTORS, StoreConfig};

use crate::limits;

const MIB: u64 = 1024 * 1024;
/// One receive buffer.
pub(crate) const RECV_BUFFER_BYTES: u32 = 64 * 1024;
const RECV_BUFFERS_MIN: usize = 8;
/// Segments that a shard may keep open however few descriptors there are.
const SEGMENTS_OPEN_MIN: usize = 16;
const RECV_BUFFERS_MAX: usize = 128;

/// A setting that cannot work, by itself or beside the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub struct ImpossibleSetting {
    /// The key by which operators know it.
    pub key: &'static str,
    /// What is wrong, and what is possible.
    pub reason: String,
}

/// Settings of one broker process.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where everything durable lives; created if missing.
    pub data_dir: PathBuf,
    /// This node's number in the cluster.
    pub node: NodeId,
    /// Public address of the native protocol; port 0 asks for ephemeral ports. Shard `i` also listens on port + 1 + i.
    pub native: SocketAddr,
    /// Public address of the Kafka protocol; `None` to do without it.
    pub kafka: Option<SocketAddr>,
    /// Address of the admin HTTP server; `None` to do without it.
    pub admin: Option<SocketAddr>,
    /// Shards, each one thread with one ring.
    pub shards: u16,
    /// Memory of all shards together, in bytes.
    pub memory_bytes_max: u64,
    /// Journals of all shards together, in bytes.
    pub journal_bytes_max: u64,
    /// Core of each shard, by index; empty leaves placing to the kernel.
    pub cpus: Vec<usize>,
    /// How long an idle shard polls before it sleeps, in microseconds; 0 never polls.
    pub spin_us: u32,
    /// Whose run queue the tasks of the shards stand in.
    pub executor: ExecutorKind,
    /// What connections may do before they are refused or closed.
    pub peers: PeerLimits,
    /// Topics that a client of the Kafka protocol creates without saying how.
    pub topic_defaults: TopicDefaults,
    /// Groups of consumers.
    pub groups: GroupConfig,
    /// All settings as whoever starts the broker was told them, to be shown and for nothing else.
    pub settings: Vec<ShownSetting>,
}

/// One setting, for people.
#[derive(Clone, Debug)]
pub struct ShownSetting {
    /// Its key in a file.
    pub key: String,
    /// Its value, as it was given.
    pub value: String,
    /// What the value comes to on this host: what stands for `auto`, and the value itself where it is another.
    pub effective: String,
    /// Where the value came from.
    pub source: String,
    /// The value that it would have without any source.
    pub default: String,
    /// What it may be.
    pub range: String,
    /// What it does.
    pub explain: String,
    /// Why the default is what it is.
    pub why: String,
}

/// What becomes of topics that a client of the Kafka protocol creates without saying how.
#[derive(Clone, Copy, Debug)]
pub struct TopicDefaults {
    /// Whether asking for a topic creates it (`auto.create.topics.enable`).
    pub auto_create: bool,
    /// Partitions of a topic that is created without a number of them (`num.partitions`).
    pub partitions: u32,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self { auto_create: true, partitions: 1 }
    }
}

/// What connections may do before they are refused or closed. Times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct PeerLimits {
    /// Connections of the node at once; more are closed as they come.
    pub count_max: usize,
    /// Connections of one address at each shard.
    pub count_per_source_max: usize,
    /// Until the hello has arrived.
    pub hello_ms: u64,
    /// Without a request.
    pub idle_ms: u64,
    /// Until a frame has arrived whole or a reply is taken, beside the time that its bytes take at 1 MiB a second.
    pub wait_ms: u64,
    /// Until progress is seen where others wait for the memory that a peer holds.
    pub shortage_ms: u64,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            count_max: limits::CONNECTION_COUNT_MAX,
            count_per_source_max: usize::MAX,
            hello_ms: limits::HELLO_WAIT_MS_MAX,
            idle_ms: limits::IDLE_MS_MAX,
            wait_ms: limits::PEER_WAIT_MS_MAX,
            shortage_ms: limits::SHORTAGE_MS_MAX,
        }
    }
}

impl PeerLimits {
    /// How long a peer may take to send or to take this many bytes.
    pub(crate) fn wait(&self, bytes: usize) -> Duration {
        Duration::from_millis(self.wait_ms + bytes as u64 / limits::PEER_BYTES_PER_MS_MIN)
    }

    /// How often connections are looked at.
    pub(crate) fn look_ms(&self) -> u64 {
        (self.idle_ms.min(self.wait_ms) / limits::LOOKS_PER_WAIT).min(limits::LOOK_MS_MAX)
    }
}

impl BrokerConfig {
    /// Smallest journal of one shard, in bytes: four files that each hold two commits.
    pub const JOURNAL_BYTES_MIN: u64 = 8 * MIB;
    /// Smallest memory of one shard, in bytes.
    pub const MEMORY_BYTES_MIN: u64 = 16 * MIB;

    /// Journals of this many shards where nobody says how large they may be, in bytes: one size for most hosts, and on those
    /// with more cores as much as their shards need.
    #[must_use]
    pub fn journal_bytes_auto(shards: u16) -> u64 {
        (512 * MIB).max(u64::from(shards) * Self::JOURNAL_BYTES_MIN)
    }

    /// Memory of this many shards where nobody says how much there is, in bytes: as for the journals.
    #[must_use]
    pub fn memory_bytes_auto(shards: u16) -> u64 {
        (512 * MIB).max(u64::from(shards) * Self::MEMORY_BYTES_MIN)
    }

    /// Defaults for a data directory: loopback, the usual ports, one shard a core.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = u16::try_from(cores).unwrap_or(u16::MAX).min(ouzel_broker_core::limits::SHARD_COUNT_MAX);
        Self {
            data_dir: data_dir.into(),
            node: NodeId(0),
            native: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9192),
            kafka: None,
            admin: None,
            shards,
            memory_bytes_max: Self::memory_bytes_auto(shards),
            journal_bytes_max: Self::journal_bytes_auto(shards),
            cpus: Vec::new(),
            spin_us: 0,
            executor: ExecutorKind::default(),
            peers: PeerLimits::default(),
            topic_defaults: TopicDefaults::default(),
            groups: GroupConfig::default(),
            settings: Vec::new(),
        }
    }

    /// Checks what can be checked without touching the host.
    ///
    /// # Errors
    /// The first setting that cannot work (operator).
    pub fn check(&self) -> Result<(), ImpossibleSetting> {
        self.check_shards()?;
        self.check_clients()?;
        self.check_ports()
    }

    fn check_shards(&self) -> Result<(), ImpossibleSetting> {
        let shards = u64::from(self.shards);
        let shards_max = ouzel_broker_core::limits::SHARD_COUNT_MAX;
        if self.shards == 0 || self.shards > shards_max {
            return impossible("shards", format!("{shards} shards are not possible: from 1 to {shards_max} are"));
        }
        if let Err(error) = self.executor.require() {
            return impossible("executor", error.to_string());
        }
        if self.journal_bytes_max / shards < Self::JOURNAL_BYTES_MIN {
            let (bytes, needed) = (self.journal_bytes_max, shards * Self::JOURNAL_BYTES_MIN);
            let reason = format!("a journal of {bytes} bytes is too small for {shards} shards: {needed} are needed");
            return impossible("journal.bytes.max", reason);
        }
        if self.memory_bytes_max / shards < Self::MEMORY_BYTES_MIN {
            let (bytes, needed) = (self.memory_bytes_max, shards * Self::MEMORY_BYTES_MIN);
            let reason = format!("{bytes} bytes of memory are too little for {shards} shards: {needed} are needed");
            return impossible("memory.bytes.max", reason);
        }
        if !self.cpus.is_empty() && self.cpus.len() != usize::from(self.shards) {
            return impossible("cpus", format!("{} cores were named for {shards} shards", self.cpus.len()));
        }
        let mut named = BTreeSet::new();
        if let Some(twice) = self.cpus.iter().find(|cpu| !named.insert(**cpu)) {
            return impossible("cpus", format!("core {twice} is named twice: two shards would take turns on it"));
        }
        Ok(())
    }

    fn check_clients(&self) -> Result<(), ImpossibleSetting> {
        let peers = [
            ("connections.max", self.peers.count_max == 0),
            ("connections.per.source.max", self.peers.count_per_source_max == 0),
            ("connections.max.idle.ms", self.peers.idle_ms == 0),
        ];
        if let Some((key, _)) = peers.into_iter().find(|(_, is_zero)| *is_zero) {
            return impossible(key, "0 serves nobody: at least 1 is needed".to_owned());
        }
        let partitions_max = ouzel_broker_core::limits::TOPIC_PARTITION_COUNT_MAX;
        let partitions = self.topic_defaults.partitions;
        if partitions == 0 || partitions > partitions_max {
            let reason = format!("a topic of {partitions} partitions is not possible: from 1 to {partitions_max} are");
            return impossible("num.partitions", reason);
        }
        let (heartbeat_ms, session_ms) =
            (self.groups.consumer.heartbeat_interval_ms, self.groups.consumer.session_timeout_ms);
        if heartbeat_ms >= session_ms {
            let reason =
                format!("{heartbeat_ms} must be less than `group.consumer.session.timeout.ms`, which is {session_ms}");
            return impossible("group.consumer.heartbeat.interval.ms", reason);
        }
        Ok(())
    }

    /// No listener may have a port of another's.
    fn check_ports(&self) -> Result<(), ImpossibleSetting> {
        let (first, shards) = (u32::from(self.native.port()), u32::from(self.shards));
        if first + shards > u32::from(u16::MAX) {
            return impossible("native", format!("port {first} leaves no room for {shards} shard ports above it"));
        }
        for (key, other) in [("kafka", self.kafka), ("admin", self.admin)] {
            let Some(other) = other.filter(|other| first != 0 && is_on_one_host(*other, self.native)) else { continue };
            let (port, last) = (u32::from(other.port()), first + shards);
            if (first..=last).contains(&port) {
                let reason = format!("port {port} is one of the native listener and its shards, {first} to {last}");
                return impossible(key, reason);
            }
        }
        match (self.kafka, self.admin) {
            (Some(kafka), Some(admin))
                if kafka.port() == admin.port() && kafka.port() != 0 && is_on_one_host(kafka, admin) =>
            {
                impossible("admin", format!("port {} is the Kafka listener's", admin.port()))
            }
            _ => Ok(()),
        }
    }

    /// What one shard's storage may use.
    pub(crate) fn store_config(&self) -> StoreConfig {
        let shards = u64::from(self.shards);
        let memory_bytes = usize::try_from(self.memory_bytes_max / shards).unwrap_or(usize::MAX);
        StoreConfig::for_shard(self.journal_bytes_max / shards, memory_bytes)
    }

    /// How many segments a shard may keep open: half of the descriptors are for segments, half for connections and the rest.
    pub(crate) fn segments_open_max(&self, open_files_max: u64) -> usize {
        let files = usize::try_from(open_files_max / 2).unwrap_or(usize::MAX) / usize::from(self.shards);
        (files / SEGMENT_DESCRIPTORS).max(SEGMENTS_OPEN_MIN)
    }

    /// How many receive buffers a shard has: a thirty-second of its memory.
    pub(crate) fn recv_buffer_count(&self) -> u16 {
        let buffers = self.shard_bytes() / 32 / RECV_BUFFER_BYTES as usize;
        u16::try_from(buffers.clamp(RECV_BUFFERS_MIN, RECV_BUFFERS_MAX)).expect("at most the constant above")
    }

    fn shard_bytes(&self) -> usize {
        usize::try_from(self.memory_bytes_max / u64::from(self.shards)).unwrap_or(usize::MAX)
    }

    /// How a shard's memory is divided, in 64ths: 9 stay aside for what is fixed (receive buffers, journal images, indexes,
    /// connections); of the other 55, requests, replies and fetch sessions take what they use, at most 27, and the log's chunks
    /// the rest.
    pub(crate) fn connection_budget(&self) -> ConnectionBudget {
        let part = self.shard_bytes() / 64;
        let (begun_bytes, body_bytes) = (4 * part, 17 * part);
        ConnectionBudget {
            shared_bytes: 55 * part,
            begun_bytes,
            body_bytes,
            record_bytes: 3 * part,
            answer_bytes: part,
            session_bytes: 2 * part,
            held_bytes: 4 * part,
            frame_bytes_max: body_bytes.min(FRAME_BYTES_MAX),
        }
    }
}

/// Whether two listeners would meet on an address, whatever their ports.
fn is_on_one_host(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified()
}

fn impossible(key: &'static str, reason: String) -> Result<(), ImpossibleSetting> {
    Err(ImpossibleSetting { key, reason })
}

/// Memory of one shard's connections, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionBudget {
    /// Everything below together with the log's chunks.
    pub(crate) shared_bytes: usize,
    /// Small bodies of requests that are not answered yet, and the beginnings of large ones.
    pub(crate) begun_bytes: usize,
    /// The rest of large bodies.
    pub(crate) body_bytes: usize,
    /// Records read from disk or held from the tail for replies that are not sent yet.
    pub(crate) record_bytes: usize,
    /// Replies without records that are not sent yet.
    pub(crate) answer_bytes: usize,
    /// Fetch sessions; where it is used up, clients have none.
    pub(crate) session_bytes: usize,
    /// Chunks that the cache has let go and replies still hold: beyond it, whoever takes no replies is closed.
    pub(crate) held_bytes: usize,
    /// Largest frame taken: one must fit the budget, or it would wait for ever.
    pub(crate) frame_bytes_max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_refused_with_the_bound() {
        let good = BrokerConfig { shards: 2, ..BrokerConfig::new("d") };
        assert!(good.check().is_ok());
        let cases = [
            (BrokerConfig { shards: 0, ..good.clone() }, "from 1 to"),
            (BrokerConfig { journal_bytes_max: 1, ..good.clone() }, "16777216 are needed"),
            (BrokerConfig { memory_bytes_max: 1, ..good.clone() }, "33554432 are needed"),
            (BrokerConfig { cpus: vec![0], ..good.clone() }, "1 cores were named for 2"),
            (BrokerConfig { cpus: vec![3, 3], ..good.clone() }, "core 3 is named twice"),
            (BrokerConfig { native: SocketAddr::from(([127, 0, 0, 1], 65_534)), ..good.clone() }, "leaves no room"),
            (
                BrokerConfig { kafka: Some(SocketAddr::from(([127, 0, 0, 1], 9194))), ..good.clone() },
                "`kafka`: port 9194",
            ),
            (
                BrokerConfig { admin: Some(SocketAddr::from(([0, 0, 0, 0], 9192))), ..good.clone() },
                "`admin`: port 9192",
            ),
            (
                BrokerConfig {
                    kafka: Some(SocketAddr::from(([127, 0, 0, 1], 9092))),
                    admin: Some(SocketAddr::from(([127, 0, 0, 1], 9092))),
                    ..good.clone()
                },
                "`admin`: port 9092",
            ),
        ];
        let mut slow = good.clone();
        slow.groups.consumer.heartbeat_interval_ms = slow.groups.consumer.session_timeout_ms;
        let cases = cases.into_iter().chain([(slow, "must be less than `group.consumer.session.timeout.ms`")]);
        for (config, expected) in cases {
            let refusal = config.check().expect_err(expected).to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    #[test]
    fn defaults_are_possible_on_a_host_of_any_size() {
        for shards in 1..=ouzel_broker_core::limits::SHARD_COUNT_MAX {
            let (memory_bytes_max, journal_bytes_max) =
                (BrokerConfig::memory_bytes_auto(shards), BrokerConfig::journal_bytes_auto(shards));
            assert!(memory_bytes_max >= 512 * MIB && journal_bytes_max >= 512 * MIB);
            assert_sane(&BrokerConfig { shards, memory_bytes_max, journal_bytes_max, ..BrokerConfig::new("d") });
        }
        let here = BrokerConfig::new("d");
        assert_eq!(here.memory_bytes_max, BrokerConfig::memory_bytes_auto(here.shards));
        assert_eq!(here.journal_bytes_max, BrokerConfig::journal_bytes_auto(here.shards));
    }

    #[test]
    fn every_legal_size_gives_sane_budgets() {
        for (shards, mib) in [(1, 16), (2, 512), (7, 1000), (64, 4096)] {
            assert_sane(&BrokerConfig {
                shards,
                memory_bytes_max: mib * MIB,
                journal_bytes_max: u64::from(shards) * 8 * MIB,
                ..BrokerConfig::new("d")
            });
        }
    }

    fn assert_sane(config: &BrokerConfig) {
        config.check().expect("legal");
        config.store_config().assert_sane();
        let budget = config.connection_budget();
        let requests = budget.begun_bytes + budget.body_bytes;
        let connections = requests + budget.record_bytes + budget.answer_bytes + budget.session_bytes;
        assert!(budget.shared_bytes - connections >= config.store_config().cache_bytes_max / 2);
        assert!((budget.shared_bytes as u64) < config.memory_bytes_max / u64::from(config.shards));
        assert!(budget.frame_bytes_max <= budget.body_bytes && budget.begun_bytes >= limits::BODY_BEGIN_BYTES);
    }
}

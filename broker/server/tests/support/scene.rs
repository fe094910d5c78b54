//! A broker under hostile clients: somebody who behaves beside them, and somebody who looks at what they leave behind.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ouzel_broker::{Broker, BrokerConfig, PeerLimits, RunningBroker};
use ouzel_protocol::Codec;
use ouzel_protocol::kafka::KafkaError;
use ouzel_protocol::native::counters;
use tempfile::TempDir;

use super::kafka::{KafkaClient, address, batch};
use super::{Client, config, directory, log, raw};

/// A limit that a test does not wait for.
const NEVER_MS: u64 = 3_600_000;
/// Long enough for any machine: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Limits that no test waits for.
pub fn patient() -> PeerLimits {
    PeerLimits { idle_ms: NEVER_MS, wait_ms: NEVER_MS, ..PeerLimits::default() }
}

/// The topic of whoever behaves.
pub const TOPIC: &str = "honest";

/// A broker of one shard and 64 MiB with somebody who behaves, and somebody who looks at its memory.
pub struct Scene {
    pub broker: RunningBroker,
    pub honest: KafkaClient,
    pub witness: Client,
    pub records: i64,
    _directory: TempDir,
}

impl Scene {
    pub fn start(peers: PeerLimits) -> Self {
        log::keep();
        let directory = directory();
        let kafka = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = BrokerConfig { peers, kafka, ..config(directory.path(), 1) };
        let broker = Broker::start(config).expect("the broker starts");
        let mut honest = KafkaClient::connect(&broker);
        honest.create(TOPIC);
        let witness = Client::connect(broker.addresses().native);
        Self { broker, honest, witness, records: 0, _directory: directory }
    }

    /// A connection that has said nothing yet.
    pub fn stranger(&self) -> TcpStream {
        raw(address(&self.broker))
    }

    /// Whoever behaves is served.
    pub fn serves(&mut self) {
        let row = self.honest.produce(TOPIC, 0, &batch(Codec::None, &["one"]));
        assert_eq!((row.error_code, row.base_offset), (KafkaError::NONE, self.records));
        let (row, records) = self.honest.fetch(TOPIC, 0, self.records);
        self.records += 1;
        assert_eq!((row.error_code, row.high_watermark), (KafkaError::NONE, self.records));
        assert!(!records.is_empty());
    }

    /// Whoever behaves is served, and nothing is held for anybody else any more.
    pub fn recovers(&mut self) {
        self.serves();
        let limit = Instant::now() + PATIENCE;
        loop {
            let node = self.witness.describe_node();
            let now = [counters::CONNECTIONS, counters::REQUESTS_IN_FLIGHT, counters::CONNECTION_BYTES]
                .map(|name| node.shard_total(name));
            // Two connections, and the witness's own question.
            if now == [2, 1, 0] {
                return;
            }
            assert!(Instant::now() < limit, "connections, requests and bytes are left: {now:?}");
        }
    }

    /// Ends the test: nothing is left.
    pub fn ends(mut self) {
        self.recovers();
        self.broker.stop().expect("a clean stop");
    }
}

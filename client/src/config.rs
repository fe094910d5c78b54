//! Every setting of the client, its default and its bounds. Owns the values; never reads a file or the environment.

use std::time::Duration;

use ouzel_protocol::limits::BATCH_BYTES_MAX;
use ouzel_protocol::{Codec, Dialect, Offset, PartitionIndex};

use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::partitioner::Partitioner;

/// Settings of all connections of one [`Client`](crate::Client).
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// What the client calls itself in the broker's logs.
    pub name: String,
    /// How long connecting and the Hello may take together. 5 s.
    pub connect_timeout: Duration,
    /// How long a broker may take to answer one request. 30 s.
    pub request_timeout: Duration,
    /// How long an operation of [`Admin`](crate::Admin), or a lookup on behalf of a producer or consumer, is tried again
    /// before its last error is returned. 60 s.
    pub operation_timeout: Duration,
    /// How old metadata may get. 60 s.
    pub metadata_refresh_interval: Duration,
    /// Shortest wait before trying again; doubles up to `backoff_max`, with jitter. 50 ms.
    pub backoff_min: Duration,
    /// Longest wait before trying again. 2 s.
    pub backoff_max: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            name: concat!("ouzel-client/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(60),
            metadata_refresh_interval: Duration::from_secs(60),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
        }
    }
}

impl ClientConfig {
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff { min: self.backoff_min, max: self.backoff_max }
    }

    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.name.len() > 256 {
            return Err(invalid("name", "longer than 256 bytes"));
        }
        Ok(())
    }
}

/// When a produced record counts as acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// When it was written to the socket; the broker does not answer.
    Zero,
    /// When the topic's durability level holds at the leader.
    One,
    /// When it holds at the leader and every in-sync replica has it.
    #[default]
    All,
}

impl Acks {
    pub(crate) fn to_wire(self) -> i8 {
        match self {
            Acks::Zero => 0,
            Acks::One => 1,
            Acks::All => -1,
        }
    }
}

impl std::str::FromStr for Acks {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Acks, ClientError> {
        match text {
            "0" => Ok(Acks::Zero),
            "1" => Ok(Acks::One),
            "all" | "-1" => Ok(Acks::All),
            _ => Err(invalid("acks", "expected 0, 1 or all")),
        }
    }
}

/// Settings of one [`Producer`](crate::Producer).
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// When a record counts as acknowledged. All.
    pub acks: Acks,
    /// How long the first record of a batch waits for others. 5 ms.
    pub linger: Duration,
    /// Bytes of records, uncompressed, at which a batch goes out without waiting. 64 KiB.
    pub batch_bytes: usize,
    /// Bytes of records held until acknowledged; beyond it `enqueue` and `send` wait. 32 MiB.
    pub buffer_bytes: usize,
    /// How batches are compressed. Not at all.
    pub compression: Codec,
    /// Level on the codec's own scale; none for its default.
    pub compression_level: Option<i32>,
    /// How records are laid out. Native; Kafka's for topics that mostly Kafka clients read.
    pub dialect: Dialect,
    /// Requests in flight to one owner shard. 5. A partition never has more than one of them.
    pub requests_in_flight: usize,
    /// How often a batch is tried again at most; `delivery_timeout` ends it as well. No limit of its own.
    pub retries: u32,
    /// How long a record may take from `enqueue` to its acknowledgement, retries included. 120 s.
    pub delivery_timeout: Duration,
    /// Whether the broker is to recognise a batch that is sent again, so that a retry is never in the log twice. Yes; of
    /// no effect at acks 0.
    pub idempotence: bool,
    /// Which partition a record goes to that does not say. By key as Kafka's Java client, sticky without a key.
    pub partitioner: Partitioner,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            acks: Acks::All,
            linger: Duration::from_millis(5),
            batch_bytes: 64 * 1024,
            buffer_bytes: 32 * 1024 * 1024,
            compression: Codec::None,
            compression_level: None,
            dialect: Dialect::Native,
            requests_in_flight: 5,
            retries: u32::MAX,
            delivery_timeout: Duration::from_secs(120),
            idempotence: true,
            partitioner: Partitioner::default(),
        }
    }
}

impl ProducerConfig {
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.batch_bytes == 0 || self.batch_bytes > BATCH_BYTES_MAX {
            return Err(invalid("batch_bytes", "expected 1 byte to 64 MiB"));
        }
        if self.buffer_bytes < self.batch_bytes || self.buffer_bytes > u32::MAX as usize {
            return Err(invalid("buffer_bytes", "expected batch_bytes to 4 GiB"));
        }
        if self.requests_in_flight == 0 {
            return Err(invalid("requests_in_flight", "expected at least 1"));
        }
        if self.delivery_timeout.is_zero() {
            return Err(invalid("delivery_timeout", "expected more than nothing"));
        }
        Ok(())
    }
}

/// Where a consumer starts to read a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// At the first record that the partition still has.
    Earliest,
    /// After the last record that is there now.
    #[default]
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first record whose timestamp is not before this one, in milliseconds since 1970.
    Timestamp(i64),
}

/// Which partitions of a topic a consumer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitions {
    /// All that the topic has now.
    All,
    /// Only these.
    Only(Vec<PartitionIndex>),
}

/// What a consumer does when its position lies outside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRange {
    /// Returns [`ClientError::OffsetOutOfRange`] once and leaves the partition until it is sought.
    #[default]
    Error,
    /// Goes on at the first record there is.
    Earliest,
    /// Goes on after the last record there is.
    Latest,
}

/// Settings of one [`Consumer`](crate::Consumer).
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// How long a broker may hold a fetch until records are there. 500 ms.
    pub fetch_wait: Duration,
    /// Bytes of records worth an answer before `fetch_wait` has passed. 1.
    pub fetch_bytes_min: u32,
    /// Bytes of records in one answer. 8 MiB.
    pub fetch_bytes_max: u32,
    /// Bytes of records of one partition in one answer. 1 MiB.
    pub partition_bytes_max: u32,
    /// Bytes of records fetched ahead, over all partitions; answers in flight may exceed it. 32 MiB.
    pub prefetch_bytes: usize,
    /// What to do when a position lies outside the log. Error.
    pub out_of_range: OutOfRange,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            fetch_wait: Duration::from_millis(500),
            fetch_bytes_min: 1,
            fetch_bytes_max: 8 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            prefetch_bytes: 32 * 1024 * 1024,
            out_of_range: OutOfRange::Error,
        }
    }
}

impl ConsumerConfig {
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.fetch_bytes_max == 0 || self.partition_bytes_max == 0 || self.prefetch_bytes == 0 {
            let problem = "fetch_bytes_max, partition_bytes_max and prefetch_bytes take at least 1";
            return Err(invalid("consumer bytes", problem));
        }
        if self.fetch_wait > Duration::from_secs(3600) {
            return Err(invalid("fetch_wait", "expected at most an hour"));
        }
        Ok(())
    }
}

pub(crate) fn invalid(field: &'static str, problem: &str) -> ClientError {
    ClientError::InvalidConfig { field, problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        ClientConfig::default().check().unwrap();
        ProducerConfig::default().check().unwrap();
        ConsumerConfig::default().check().unwrap();
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let default = ProducerConfig::default;
        assert!(ProducerConfig { batch_bytes: 0, ..default() }.check().is_err());
        assert!(ProducerConfig { buffer_bytes: 1, ..default() }.check().is_err());
        assert!(ProducerConfig { requests_in_flight: 0, ..default() }.check().is_err());
        assert!("2".parse::<Acks>().is_err());
    }
}

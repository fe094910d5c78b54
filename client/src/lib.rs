//! The native Rust client of ouzel, on tokio.
//!
//! Owns what a program needs to produce, consume and administer: batching, routing to the shard that owns a partition,
//! retries that keep order, prefetching. Never knows how a broker stores anything. Protocol decisions are pure values
//! (`accumulator`, `partitioner`, `fetch_state`, `backoff`, `metadata`); tasks around them do the I/O. Runs on whatever
//! tokio runtime calls it.
//!
//! # Produce
//! ```no_run
//! use ouzel_client::{Client, ClientConfig, ProducerConfig, Record};
//!
//! # async fn example() -> Result<(), ouzel_client::ClientError> {
//! let client = Client::connect("127.0.0.1:9192", ClientConfig::default()).await?;
//! let producer = client.producer(ProducerConfig::default())?;
//!
//! // One await: buffered, sent, acknowledged.
//! let metadata = producer.send(Record::to("orders").key(b"42").value(b"one tea")).await?;
//! println!("partition {} offset {}", metadata.partition, metadata.offset);
//!
//! // Bulk: await only the room in the buffer, and learn of failures from `flush`.
//! for number in 0..100_000 {
//!     producer.enqueue(Record::to("orders").value(number.to_string().as_bytes())).await?;
//! }
//! producer.flush().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Consume
//! ```no_run
//! use ouzel_client::{Client, ClientConfig, ConsumerConfig, Partitions, StartAt};
//!
//! # async fn example() -> Result<(), ouzel_client::ClientError> {
//! let client = Client::connect("127.0.0.1:9192", ClientConfig::default()).await?;
//! let mut consumer = client.consumer(ConsumerConfig::default())?;
//! consumer.assign("orders", Partitions::All, StartAt::Earliest).await?;
//! loop {
//!     let record = consumer.next().await?;
//!     println!("{} {}: {:?}", record.partition, record.offset, record.value);
//! }
//! # }
//! ```
//!
//! # Consume as a member of a group
//! ```no_run
//! use ouzel_client::{Client, ClientConfig, GroupConsumerConfig, OutOfRange, Subscription};
//!
//! # async fn example() -> Result<(), ouzel_client::ClientError> {
//! let client = Client::connect("127.0.0.1:9192", ClientConfig::default()).await?;
//! let config = GroupConsumerConfig {
//!     offset_reset: OutOfRange::Earliest,
//!     ..GroupConsumerConfig::new("billing", Subscription::topics(["orders"]))
//! };
//! let mut consumer = client.group_consumer(config)?;
//! for _ in 0..1000 {
//!     let record = consumer.recv().await?;
//!     println!("{} {}: {:?}", record.partition, record.offset, record.value);
//! }
//! // Commits, gives its partitions back, and leaves.
//! consumer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Administer
//! ```no_run
//! use ouzel_client::{Client, ClientConfig, NewTopic};
//!
//! # async fn example() -> Result<(), ouzel_client::ClientError> {
//! let admin = Client::connect("127.0.0.1:9192", ClientConfig::default()).await?.admin();
//! admin.create_topic(NewTopic::named("orders").partitions(6)).await?;
//! for (name, topic_id, partitions) in admin.list_topics().await? {
//!     println!("{name} {topic_id} {partitions}");
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod accumulator;
mod address;
mod admin;
mod backoff;
mod client;
mod cluster;
mod config;
mod connection;
mod consumed;
mod consumer;
mod delivery;
mod error;
mod fetch_state;
mod fetcher;
mod group_admin;
mod group_calls;
mod group_config;
mod group_consumer;
mod inbound;
mod metadata;
mod partitioner;
mod producer;
mod record;
mod sender;
#[cfg(test)]
mod testing;

pub use address::{Address, Bootstrap};
pub use admin::{Admin, NewTopic, TopicChange};
pub use client::Client;
pub use config::{Acks, ClientConfig, ConsumerConfig, OutOfRange, Partitions, ProducerConfig, StartAt};
pub use connection::Connection;
pub use consumed::{ConsumedHeader, ConsumedRecord};
pub use consumer::Consumer;
pub use delivery::{Delivery, RecordMetadata};
pub use error::ClientError;
pub use group_admin::{OffsetReset, ResetTo};
pub use group_calls::TopicPartition;
pub use group_config::{GroupConsumerConfig, Subscription};
pub use group_consumer::{Calling, GroupConsumer, OffsetCommitter, RebalanceListener};
pub use partitioner::{CustomPartitioner, Partitioner};
pub use producer::Producer;
pub use record::Record;

pub use ouzel_protocol as protocol;
pub use ouzel_protocol::{ClusterId, Codec, Dialect, Durability, ErrorCode, Offset, PartitionIndex, TopicId};

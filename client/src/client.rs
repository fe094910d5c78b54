//! The entry: one client for one cluster. Owns nothing but the way to it; producers, consumers and admins share it.

use std::sync::Arc;

use crate::address::Bootstrap;
use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::config::{ClientConfig, ConsumerConfig, ProducerConfig};
use crate::consumer::Consumer;
use crate::error::ClientError;
use crate::group_config::GroupConsumerConfig;
use crate::group_consumer::GroupConsumer;
use crate::producer::Producer;

/// A connected client. Clones share connections and metadata.
#[derive(Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to any of the bootstrap addresses and learns the cluster from it. The other addresses are tried again
    /// whenever no owner can be reached. Must be called within a tokio runtime with time and net enabled.
    ///
    /// # Errors
    /// No address is legal, or none of them answers.
    pub async fn connect(bootstrap: impl Into<Bootstrap>, config: ClientConfig) -> Result<Client, ClientError> {
        config.check()?;
        let bootstrap = bootstrap.into().parse()?;
        Ok(Client { cluster: Cluster::connect(bootstrap, config).await? })
    }

    /// A new producer with its own buffer.
    ///
    /// # Errors
    /// The settings cannot work.
    pub fn producer(&self, config: ProducerConfig) -> Result<Producer, ClientError> {
        config.check()?;
        Ok(Producer::start(Arc::clone(&self.cluster), config))
    }

    /// A new consumer with nothing assigned.
    ///
    /// # Errors
    /// The settings cannot work.
    pub fn consumer(&self, config: ConsumerConfig) -> Result<Consumer, ClientError> {
        config.check()?;
        Ok(Consumer::start(Arc::clone(&self.cluster), config))
    }

    /// A new member of a group. It joins at once, in the background; what it reads is decided by the broker.
    ///
    /// # Errors
    /// The settings cannot work.
    pub fn group_consumer(&self, config: GroupConsumerConfig) -> Result<GroupConsumer, ClientError> {
        config.check()?;
        Ok(GroupConsumer::start(Arc::clone(&self.cluster), config))
    }

    /// What administers topics and groups.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.cluster))
    }
}

//! The client's way to the cluster: connections by address, the routing table and its renewal. Owns which connection a
//! request takes; never knows what the request says. Shared by every producer, consumer and admin of one client.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ouzel_protocol::native::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResult, MetadataRequest, OffsetSpec,
};
use ouzel_protocol::{ErrorCode, PartitionIndex, check_topic_name};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::config::ClientConfig;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::metadata::{MetadataImage, Topic, TopicState};

pub(crate) struct Cluster {
    pub(crate) config: ClientConfig,
    bootstrap: Vec<Address>,
    slots: Mutex<HashMap<Address, Arc<tokio::sync::Mutex<Slot>>>>,
    image: watch::Sender<Arc<MetadataImage>>,
    /// Topics that a refresh asks for: those that somebody used.
    topics: Mutex<HashSet<String>>,
    refreshing: tokio::sync::Mutex<()>,
}

/// What is known of one address.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    failures: u32,
    /// Until when the last failure is the answer.
    failed: Option<(Instant, ClientError)>,
}

// A panic while holding a lock would have been ours; the maps are plain values and stay sound.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Connects to any of `bootstrap` and reads the nodes. A task keeps the metadata young while the cluster is in use.
    pub(crate) async fn connect(bootstrap: Vec<Address>, config: ClientConfig) -> Result<Arc<Cluster>, ClientError> {
        let cluster = Arc::new(Cluster {
            bootstrap,
            slots: Mutex::default(),
            image: watch::Sender::new(Arc::default()),
            topics: Mutex::default(),
            refreshing: tokio::sync::Mutex::new(()),
            config,
        });
        cluster.refresh(0).await?;
        tokio::spawn(keep_young(Arc::downgrade(&cluster), cluster.config.metadata_refresh_interval));
        Ok(cluster)
    }

    /// The routing table as it is now.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// A connection to `address`, shared with all who want one. While the last attempt to make one is younger than its
    /// backoff, its error is the answer.
    pub(crate) async fn connection(&self, address: &Address) -> Result<Connection, ClientError> {
        let slot = Arc::clone(locked(&self.slots).entry(address.clone()).or_default());
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|open| !open.is_ended()) {
            return Ok(connection.clone());
        }
        slot.connection = None;
        if let Some((until, error)) = &slot.failed
            && Instant::now() < *until
        {
            return Err(error.clone());
        }
        match Connection::connect(address.clone(), &self.config).await {
            Ok(connection) => {
                *slot = Slot { connection: Some(connection.clone()), ..Slot::default() };
                Ok(connection)
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                let wait = self.config.backoff().random_delay(slot.failures);
                slot.failed = Some((Instant::now() + wait, error.clone()));
                tracing::debug!(%address, %error, failures = slot.failures, "connecting failed");
                Err(error)
            }
        }
    }

    /// A connection to any broker: the bootstrap addresses in order, then every node that is known.
    pub(crate) async fn any_connection(&self) -> Result<Connection, ClientError> {
        let image = self.image();
        let mut last = None;
        for address in self.bootstrap.iter().chain(image.public_addresses()) {
            match self.connection(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("the bootstrap list has at least one address"))
    }

    /// A connection to `owner`, or to any broker when it cannot be had: every shard takes every request.
    pub(crate) async fn connection_towards(&self, owner: Option<&Address>) -> Result<Connection, ClientError> {
        if let Some(owner) = owner
            && let Ok(connection) = self.connection(owner).await
        {
            return Ok(connection);
        }
        self.any_connection().await
    }

    /// Renews the routing table unless somebody did since generation `seen`. One request at a time, whoever asks.
    pub(crate) async fn refresh(&self, seen: u64) -> Result<Arc<MetadataImage>, ClientError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let image = self.image();
        if image.generation > seen {
            return Ok(image);
        }
        let topics = locked(&self.topics).iter().cloned().collect();
        let connection = self.any_connection().await?;
        let request = MetadataRequest { topics: Some(topics) };
        let reply = connection.metadata(&request, self.config.request_timeout).await?;
        let next = Arc::new(image.merged(reply, connection.address()));
        self.drop_strangers(&next);
        self.image.send_replace(Arc::clone(&next));
        Ok(next)
    }

    /// Forgets connections to addresses that are nobody's any more.
    fn drop_strangers(&self, image: &MetadataImage) {
        let known = image.addresses();
        locked(&self.slots).retain(|address, _| known.contains(address) || self.bootstrap.contains(address));
    }

    /// The topic of that name, from the routing table or a broker.
    ///
    /// # Errors
    /// No such topic, or no broker answered within the operation timeout.
    pub(crate) async fn topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        match self.image().topic(name) {
            Some(TopicState::Known(topic)) => Ok(Arc::clone(topic)),
            _ => self.fresh_topic(name).await,
        }
    }

    /// The topic of that name as a broker knows it now.
    ///
    /// # Errors
    /// As [`topic`](Self::topic).
    pub(crate) async fn fresh_topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        check_topic_name(name)?;
        locked(&self.topics).insert(name.to_owned());
        let mut retries = self.retries();
        loop {
            match self.ask_for_topic(name).await {
                Ok(topic) => return Ok(topic),
                Err(error) => retries.pause(error).await?,
            }
        }
    }

    async fn ask_for_topic(&self, name: &str) -> Result<Arc<Topic>, ClientError> {
        let mut seen = self.image().generation;
        // A refresh that was under way may not have asked for this topic.
        loop {
            let image = self.refresh(seen).await?;
            seen = image.generation;
            match image.topic(name) {
                Some(TopicState::Known(topic)) => return Ok(Arc::clone(topic)),
                Some(TopicState::Refused(code)) => return Err(self.refused_topic(name, *code)),
                None => {}
            }
        }
    }

    fn refused_topic(&self, name: &str, code: ErrorCode) -> ClientError {
        if matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId) {
            locked(&self.topics).remove(name);
            return ClientError::UnknownTopic { topic: name.to_owned() };
        }
        ClientError::Topic { topic: name.to_owned(), code, message: String::new() }
    }

    /// Waits between attempts of one operation, until the operation timeout.
    pub(crate) fn retries(&self) -> Retries {
        let deadline = Instant::now() + self.config.operation_timeout;
        Retries { backoff: self.config.backoff(), deadline, failures: 0 }
    }

    /// The offsets asked for, in the order of `wanted`; asks the owners, and again while the errors may pass.
    ///
    /// # Errors
    /// No such topic or partition, or no answer within the operation timeout.
    pub(crate) async fn list_offsets(
        &self,
        name: &str,
        wanted: &[(PartitionIndex, OffsetSpec)],
    ) -> Result<Vec<ListOffsetsResult>, ClientError> {
        let mut retries = self.retries();
        let mut topic = self.topic(name).await?;
        loop {
            match self.ask_for_offsets(&topic, wanted).await {
                Ok(results) => return Ok(results),
                Err(error) => retries.pause(error).await?,
            }
            // Whatever went wrong may be cured by newer metadata.
            topic = self.fresh_topic(name).await?;
        }
    }

    async fn ask_for_offsets(
        &self,
        topic: &Topic,
        wanted: &[(PartitionIndex, OffsetSpec)],
    ) -> Result<Vec<ListOffsetsResult>, ClientError> {
        let mut results: Vec<Option<ListOffsetsResult>> = vec![None; wanted.len()];
        for (owner, rows) in by_owner(topic, wanted)? {
            let connection = self.connection_towards(owner.as_ref()).await?;
            let partitions = rows.iter().map(|row| {
                let (partition, at) = wanted[*row];
                ListOffsetsPartition { topic_id: topic.id, partition, at }
            });
            let request = ListOffsetsRequest { partitions: partitions.collect() };
            let reply = connection.list_offsets(&request, self.config.request_timeout).await?;
            if reply.partitions.len() != rows.len() {
                let problem = format!("{} rows for {}", reply.partitions.len(), rows.len());
                let address = connection.address().clone();
                return Err(ClientError::Protocol { address, problem });
            }
            // Rows answer the request's rows, in its order.
            for (row, answer) in rows.into_iter().zip(reply.partitions) {
                let partition = wanted[row].0;
                if answer.topic_id != topic.id || answer.partition != partition {
                    let problem = format!("no row for partition {partition} of {}", topic.name);
                    let address = connection.address().clone();
                    return Err(ClientError::Protocol { address, problem });
                }
                if !answer.error.is_none() {
                    let (topic, code) = (topic.name.to_string(), answer.error);
                    return Err(ClientError::Partition { topic, partition, code });
                }
                results[row] = Some(answer);
            }
        }
        Ok(results.into_iter().flatten().collect())
    }
}

/// The waits between attempts of one operation.
pub(crate) struct Retries {
    backoff: Backoff,
    deadline: Instant,
    failures: u32,
}

impl Retries {
    /// Whether there is time for another attempt.
    pub(crate) fn has_time(&self) -> bool {
        Instant::now() < self.deadline
    }

    /// Waits before the next attempt, or gives the error back when it will not pass or there is no time left.
    pub(crate) async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.failures = self.failures.saturating_add(1);
        let wait = self.backoff.random_delay(self.failures);
        if !error.is_retriable() || Instant::now() + wait >= self.deadline {
            return Err(error);
        }
        tracing::debug!(%error, failures = self.failures, "trying again");
        sleep(wait).await;
        Ok(())
    }
}

type Rows = Vec<usize>;

/// Rows of `wanted` by the owner of their partition.
fn by_owner(
    topic: &Topic,
    wanted: &[(PartitionIndex, OffsetSpec)],
) -> Result<HashMap<Option<Address>, Rows>, ClientError> {
    let mut owners: HashMap<Option<Address>, Rows> = HashMap::new();
    for (row, (partition, _)) in wanted.iter().enumerate() {
        if !topic.has(*partition) {
            let count = topic.partition_count();
            let topic = topic.name.to_string();
            return Err(ClientError::UnknownPartition { topic, partition: *partition, count });
        }
        owners.entry(topic.owner(*partition).cloned()).or_default().push(row);
    }
    Ok(owners)
}

async fn keep_young(cluster: Weak<Cluster>, interval: Duration) {
    loop {
        sleep(interval).await;
        let Some(cluster) = cluster.upgrade() else { return };
        let seen = cluster.image().generation;
        if let Err(error) = cluster.refresh(seen).await {
            tracing::debug!(%error, "metadata not refreshed");
        }
    }
}

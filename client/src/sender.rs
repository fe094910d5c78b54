//! The task behind a producer: takes batches that may go from the accumulator, sends them to their owners, and brings
//! the results back. Owns the I/O of producing and the clock; decides nothing that the accumulator could decide.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ouzel_protocol::native::{ProducePartition, ProduceReply, ProduceRequest, ProduceResult};
use ouzel_protocol::{ErrorCode, LeaderEpoch, Offset};
use tokio::sync::{Notify, Semaphore};

use crate::accumulator::{Accumulator, Dispatch, Identity, Sending};
use crate::cluster::Cluster;
use crate::config::Acks;
use crate::delivery::BatchAck;
use crate::error::ClientError;
use crate::metadata::TopicState;

/// What a producer's handles, its sender and its requests share.
pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) acks: Acks,
    accumulator: Mutex<Accumulator>,
    /// Bytes that records may still take.
    pub(crate) room: Semaphore,
    /// There is something new to look at.
    pub(crate) wake: Notify,
}

impl Shared {
    pub(crate) fn new(cluster: Arc<Cluster>, acks: Acks, accumulator: Accumulator, buffer_bytes: usize) -> Shared {
        Shared {
            cluster,
            acks,
            accumulator: Mutex::new(accumulator),
            room: Semaphore::new(buffer_bytes),
            wake: Notify::new(),
        }
    }

    // A panic while holding the lock would have been ours; no state in it is left half changed across a call out.
    pub(crate) fn accumulator(&self) -> MutexGuard<'_, Accumulator> {
        self.accumulator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more records come; the sender ends once all that are here are settled.
    pub(crate) fn close(&self) {
        self.room.close();
        self.accumulator().close();
        self.wake.notify_one();
    }
}

/// Runs until the producer is closed and everything it took is settled.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let image = shared.cluster.image();
        let (dispatches, deadline, freed, done, asks) = {
            let mut accumulator = shared.accumulator();
            let now = Instant::now();
            accumulator.update(&image);
            accumulator.advance(now);
            let dispatches = accumulator.take_ready(now);
            let (deadline, done) = (accumulator.next_deadline(), accumulator.is_done());
            let asks = accumulator.asks_for_identity();
            (dispatches, deadline, accumulator.take_freed(), done, asks)
        };
        shared.room.add_permits(freed);
        if asks {
            tokio::spawn(identify(Arc::clone(&shared)));
        }
        for dispatch in dispatches {
            tokio::spawn(send(Arc::clone(&shared), dispatch));
        }
        if done {
            return;
        }
        match deadline {
            Some(at) => tokio::select! {
                () = shared.wake.notified() => {}
                () = tokio::time::sleep_until(at.into()) => {}
            },
            None => shared.wake.notified().await,
        }
    }
}

/// Gets a number for an idempotent producer, for as long as something waits for it.
async fn identify(shared: Arc<Shared>) {
    let config = &shared.cluster.config;
    let mut failures = 0;
    loop {
        let asked = async {
            let connection = shared.cluster.any_connection().await?;
            connection.init_producer_id(config.request_timeout).await
        };
        match asked.await {
            Ok(reply) => {
                let identity = Identity { id: reply.producer_id, epoch: reply.producer_epoch };
                shared.accumulator().identified(identity);
                break;
            }
            Err(error) if error.is_retriable() => {
                failures += 1;
                tracing::debug!(%error, failures, "no producer id, trying again");
                // What has no time left fails meanwhile.
                shared.wake.notify_one();
                tokio::time::sleep(config.backoff().random_delay(failures)).await;
                let mut accumulator = shared.accumulator();
                if !accumulator.wants_identity() {
                    accumulator.not_identified();
                    break;
                }
            }
            Err(error) => {
                shared.accumulator().identity_refused(&error);
                break;
            }
        }
    }
    shared.wake.notify_one();
}

/// Sends one request and hands every batch of it back to the accumulator with its result.
async fn send(shared: Arc<Shared>, dispatch: Dispatch) {
    let time_left = dispatch.time_left(Instant::now());
    let Dispatch { owner, mut batches, .. } = dispatch;
    let (request, mut failed) = build(&shared, &mut batches);
    let timeout = shared.cluster.config.request_timeout.min(time_left);
    let seen = shared.cluster.image().generation;
    let mut results = if request.partitions.is_empty() {
        Vec::new()
    } else {
        let replied = async {
            let connection = shared.cluster.connection_towards(owner.as_ref()).await?;
            connection.produce(&request, timeout).await
        };
        match replied.await {
            Ok(reply) => results(&batches, &failed, reply),
            Err(error) => vec![Err(error); request.partitions.len()],
        }
    };
    // A refused batch waits at least its backoff; newer metadata first makes the next attempt go to the right shard.
    if results.iter().any(|result| result.as_ref().is_err_and(ClientError::wants_metadata)) {
        if let Err(error) = shared.cluster.refresh(seen).await {
            tracing::debug!(%error, "metadata not refreshed");
        }
        let image = shared.cluster.image();
        let sent = batches.iter().zip(&failed).filter(|(_, failed)| failed.is_none());
        for ((sending, _), result) in sent.zip(&mut results) {
            if result.as_ref().is_err_and(is_unknown_topic)
                && let Some(TopicState::Refused(ErrorCode::UnknownTopicOrPartition)) = image.topic(&sending.topic)
            {
                *result = Err(ClientError::UnknownTopic { topic: sending.topic.to_string() });
            }
        }
    }
    let freed = {
        let mut accumulator = shared.accumulator();
        let mut results = results.into_iter();
        let now = Instant::now();
        for (sending, failed) in batches.into_iter().zip(&mut failed) {
            let result = match failed.take() {
                Some(error) => Err(error),
                None => results.next().unwrap_or(Err(ClientError::Closed)),
            };
            accumulator.returned(sending, result, now, rand::random());
        }
        accumulator.request_done(&owner);
        accumulator.take_freed()
    };
    shared.room.add_permits(freed);
    shared.wake.notify_one();
}

fn is_unknown_topic(error: &ClientError) -> bool {
    matches!(error.code(), Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId))
}

/// The request of these batches, and the error of each that could not be built and is not in it.
fn build(shared: &Shared, batches: &mut [Sending]) -> (ProduceRequest, Vec<Option<ClientError>>) {
    let timeout_ms = u32::try_from(shared.cluster.config.request_timeout.as_millis());
    let mut request = ProduceRequest {
        acks: shared.acks.to_wire(),
        timeout_ms: timeout_ms.unwrap_or(u32::MAX),
        timings: false,
        partitions: Vec::with_capacity(batches.len()),
    };
    let failed = batches.iter_mut().map(|sending| match sending.batch.build() {
        Ok(batch) => {
            let (topic_id, partition) = (sending.topic_id, sending.partition);
            request.partitions.push(ProducePartition { topic_id, partition, batch });
            None
        }
        Err(source) => {
            let topic = sending.topic.to_string();
            Some(ClientError::Batch { topic, partition: sending.partition, source })
        }
    });
    let failed = failed.collect();
    (request, failed)
}

/// The result of every batch that was sent, in order.
fn results(
    batches: &[Sending],
    failed: &[Option<ClientError>],
    reply: Option<ProduceReply>,
) -> Vec<Result<BatchAck, ClientError>> {
    let sent = batches.iter().zip(failed).filter(|(_, failed)| failed.is_none());
    let rows = reply.as_ref().map(|reply| &reply.partitions);
    sent.enumerate()
        .map(|(index, (sending, _))| {
            let Some(rows) = rows else {
                let (base_offset, leader_epoch) = (Offset::MAX, LeaderEpoch::NONE);
                return Ok(BatchAck { base_offset, leader_epoch, durability: None });
            };
            let is_ours = |row: &&ProduceResult| row.topic_id == sending.topic_id && row.partition == sending.partition;
            // The row stands where its request's did; a broker that orders them otherwise is understood all the same.
            let row = rows.get(index).filter(is_ours).or_else(|| rows.iter().find(is_ours));
            let refused =
                |code| ClientError::Partition { topic: sending.topic.to_string(), partition: sending.partition, code };
            match row {
                Some(row) if row.error.is_none() => Ok(BatchAck {
                    base_offset: row.base_offset,
                    leader_epoch: row.leader_epoch,
                    durability: Some(row.durability),
                }),
                Some(row) => Err(refused(row.error)),
                None => Err(refused(ErrorCode::Unknown)),
            }
        })
        .collect()
}

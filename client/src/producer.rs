//! What a program holds to produce. Owns the hand-over of records, back-pressure, flush and close; the accumulator owns the
//! batches and the sender their way.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::accumulator::{Accumulator, Pushed};
use crate::cluster::Cluster;
use crate::config::ProducerConfig;
use crate::delivery::{Delivery, RecordMetadata};
use crate::error::ClientError;
use crate::record::Record;
use crate::sender::{self, Shared};

/// Produces records. Clones share the buffer and the order.
///
/// Records of one partition keep the order in which `enqueue` or `send` took them, retries included: one batch of a
/// partition is in flight at a time. A batch whose connection was lost, or whose reply did not come in time, is sent
/// again. With [`idempotence`](ProducerConfig::idempotence), the default, the broker recognises it, so that it is in the
/// log once; without, it may be there twice.
///
/// Dropping the last clone lets what was taken go out in the background; [`close`](Self::close) waits for it.
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    buffer_bytes: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    pub(crate) fn start(cluster: Arc<Cluster>, config: ProducerConfig) -> Producer {
        let (acks, buffer_bytes) = (config.acks, config.buffer_bytes);
        let accumulator = Accumulator::new(config, cluster.config.backoff(), rand::random());
        let shared = Arc::new(Shared::new(cluster, acks, accumulator, buffer_bytes));
        tokio::spawn(sender::run(Arc::clone(&shared)));
        Producer { handle: Arc::new(Handle { shared, buffer_bytes }) }
    }

    /// Produces a record and waits for its acknowledgement. To have many on their way, call it from many tasks or use
    /// [`enqueue`](Self::enqueue).
    ///
    /// Cancel-safe in that nothing breaks; a record that was already taken is delivered all the same.
    ///
    /// # Errors
    /// The record cannot be sent (the caller's fault), or was not acknowledged within the delivery timeout.
    pub async fn send(&self, record: Record<'_>) -> Result<RecordMetadata, ClientError> {
        self.enqueue(record).await?.await
    }

    /// Takes a record: copies it into its partition's batch, which fixes its order, and returns the future of its
    /// acknowledgement. Waits while the buffer is full. The cheap path for bulk loads is to drop what it returns and to
    /// learn of failures from [`flush`](Self::flush).
    ///
    /// Cancel-safe: a record whose future was dropped before it resolved was not taken.
    ///
    /// # Errors
    /// The topic or partition does not exist, the record is too large, no broker could be asked about the topic, or the
    /// producer was closed.
    pub async fn enqueue(&self, record: Record<'_>) -> Result<Delivery, ClientError> {
        let shared = &*self.handle.shared;
        let (bytes, bytes_max) = (record.bytes(), self.handle.buffer_bytes);
        let permits = match u32::try_from(bytes) {
            Ok(permits) if bytes <= bytes_max => permits,
            _ => return Err(ClientError::RecordTooLarge { bytes, bytes_max }),
        };
        let room = match shared.room.try_acquire_many(permits) {
            Ok(room) => room,
            // Open batches are not closed early for it: under load a full buffer is the rule, and their linger is short.
            Err(_) => shared.room.acquire_many(permits).await.map_err(|_| ClientError::Closed)?,
        };
        loop {
            let pushed = {
                let wall_ms = if record.timestamp.is_some() { 0 } else { wall_ms() };
                shared.accumulator().push(&record, bytes, wall_ms, Instant::now())?
            };
            match pushed {
                Pushed::Accepted { delivery, wake } => {
                    // Given back when the batch is settled.
                    room.forget();
                    if wake {
                        shared.wake.notify_one();
                    }
                    return Ok(delivery);
                }
                Pushed::UnknownTopic => {
                    let topic = shared.cluster.topic(record.topic).await?;
                    shared.accumulator().add_topic(&topic);
                }
            }
        }
    }

    /// Sends everything that was taken before this call, whatever its linger, and waits until all of it is acknowledged or
    /// has failed.
    ///
    /// # Errors
    /// The first failure of any record since the last flush.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let shared = &*self.handle.shared;
        let outstanding = {
            let mut accumulator = shared.accumulator();
            accumulator.close_all();
            accumulator.outstanding()
        };
        shared.wake.notify_one();
        for completion in outstanding {
            // Its error, if any, is among those that the accumulator kept.
            let _ = completion.delivery(0).await;
        }
        let failed = shared.accumulator().take_error();
        failed.map_or(Ok(()), Err)
    }

    /// Flushes, and refuses records from then on, from every clone.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn close(self) -> Result<(), ClientError> {
        self.handle.shared.close();
        self.flush().await
    }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;

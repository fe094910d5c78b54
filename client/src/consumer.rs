//! What a program holds to consume. Owns the order in which records are given out and what was given out; the fetch state
//! owns what is fetched ahead and the fetcher its way.

use std::collections::VecDeque;
use std::sync::Arc;

use ouzel_protocol::native::OffsetSpec;
use ouzel_protocol::{Offset, PartitionIndex, TopicId};

use crate::cluster::Cluster;
use crate::config::{ConsumerConfig, Partitions, StartAt};
use crate::consumed::{ConsumedRecord, read_batch};
use crate::error::ClientError;
use crate::fetch_state::{FetchState, Slot};
use crate::fetcher::{self, Shared};

/// Reads records of assigned partitions; partitions take turns, batch by batch.
///
/// Restarts of a broker, moves of a partition and lost connections are invisible but for the wait: every record from the
/// start position on is given out once, in the order of its partition. While no broker can be reached, [`next`](Self::next)
/// waits; put a timeout around it to bound that.
pub struct Consumer {
    pub(crate) shared: Arc<Shared>,
    /// Records of one batch, read and not yet given out.
    decoded: VecDeque<ConsumedRecord>,
    /// The partition they are of, and the position after the batch.
    decoded_slot: Option<(Slot, Offset)>,
    /// Next offset to give out, by slot.
    positions: Vec<Offset>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Consumer {
    pub(crate) fn start(cluster: Arc<Cluster>, config: ConsumerConfig) -> Consumer {
        let state = FetchState::new(config, cluster.config.backoff());
        let shared = Arc::new(Shared::new(cluster, state));
        tokio::spawn(fetcher::run(Arc::clone(&shared)));
        Consumer { shared, decoded: VecDeque::new(), decoded_slot: None, positions: Vec::new() }
    }

    /// Adds partitions of a topic, from `start` on. The start is looked up before this returns: with [`StartAt::Latest`],
    /// whatever is produced afterwards is read. Partitions that are assigned already are sought.
    ///
    /// # Errors
    /// The topic or a partition does not exist, or no owner answered within the operation timeout; nothing is changed then.
    pub async fn assign(&mut self, topic: &str, partitions: Partitions, start: StartAt) -> Result<(), ClientError> {
        let known = self.shared.cluster.fresh_topic(topic).await?;
        let partitions = match partitions {
            Partitions::All => (0..known.partition_count()).map(PartitionIndex).collect(),
            Partitions::Only(partitions) => partitions,
        };
        if let Some(&partition) = partitions.iter().find(|partition| !known.has(**partition)) {
            let (topic, count) = (topic.to_owned(), known.partition_count());
            return Err(ClientError::UnknownPartition { topic, partition, count });
        }
        self.start_at(&known.name, None, &partitions, start).await
    }

    /// Stops reading a topic.
    pub fn unassign(&mut self, topic: &str) {
        let gone = self.shared.state().unassign(topic);
        self.forget_decoded(&gone);
    }

    /// Goes on reading one assigned partition from `to` on; what was fetched ahead is dropped.
    ///
    /// # Errors
    /// The partition is not assigned, or no owner answered within the operation timeout.
    pub async fn seek(&mut self, topic: &str, partition: PartitionIndex, to: StartAt) -> Result<(), ClientError> {
        if self.shared.state().slot(topic, partition).is_none() {
            return Err(ClientError::NothingAssigned);
        }
        self.start_at(&topic.into(), None, &[partition], to).await
    }

    /// [`seek`](Self::seek) for all assigned partitions of a topic.
    ///
    /// # Errors
    /// None of them is assigned, or no owner answered within the operation timeout.
    pub async fn seek_all(&mut self, topic: &str, to: StartAt) -> Result<(), ClientError> {
        let partitions = self.shared.state().partitions_of(topic);
        if partitions.is_empty() {
            return Err(ClientError::NothingAssigned);
        }
        self.start_at(&topic.into(), None, &partitions, to).await
    }

    /// The offset that the next record of an assigned partition will have at least.
    #[must_use]
    pub fn position(&self, topic: &str, partition: PartitionIndex) -> Option<Offset> {
        let slot = self.shared.state().slot(topic, partition)?;
        self.positions.get(slot).copied()
    }

    /// Stops reading one partition; what was fetched ahead of it is dropped.
    pub(crate) fn release(&mut self, topic: &str, partition: PartitionIndex) {
        let gone = self.shared.state().release(topic, partition);
        self.forget_decoded(gone.as_slice());
    }

    /// Reads partitions from `start` on; with a `topic_id` of no other topic of that name ([`FetchState::assign`]).
    pub(crate) async fn start_at(
        &mut self,
        topic: &Arc<str>,
        topic_id: Option<TopicId>,
        partitions: &[PartitionIndex],
        start: StartAt,
    ) -> Result<(), ClientError> {
        let offsets = match (start.spec(), start) {
            (None, StartAt::Offset(offset)) => vec![offset; partitions.len()],
            (spec, _) => {
                let spec = spec.unwrap_or(OffsetSpec::Latest);
                let wanted: Vec<_> = partitions.iter().map(|partition| (*partition, spec)).collect();
                let found = self.shared.cluster.list_offsets(topic, &wanted).await?;
                found.iter().map(|row| row.offset).collect()
            }
        };
        let mut slots = Vec::with_capacity(partitions.len());
        {
            let mut state = self.shared.state();
            for (partition, offset) in partitions.iter().zip(offsets) {
                let slot = state.assign(topic, topic_id, *partition, offset);
                if self.positions.len() <= slot {
                    self.positions.resize(slot + 1, Offset::ZERO);
                }
                self.positions[slot] = offset;
                slots.push(slot);
            }
        }
        self.forget_decoded(&slots);
        self.shared.wake.notify_one();
        Ok(())
    }

    fn forget_decoded(&mut self, slots: &[Slot]) {
        if self.decoded_slot.is_some_and(|(slot, _)| slots.contains(&slot)) {
            self.decoded.clear();
            self.decoded_slot = None;
        }
    }

    /// The next record. Waits for one; cancel-safe: no record is lost with a dropped future.
    ///
    /// # Errors
    /// Something that waiting does not cure, of one partition: its topic is gone, its position out of range, a batch
    /// damaged. Other partitions go on with the next call; that one after a seek.
    pub async fn next(&mut self) -> Result<ConsumedRecord, ClientError> {
        loop {
            if let Some(record) = self.pop() {
                return Ok(record);
            }
            self.wait_for_batch().await?;
        }
    }

    /// Up to `records_max` records that are there, at least one; waits for the first. Cancel-safe as [`next`](Self::next).
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn poll(&mut self, records_max: usize) -> Result<Vec<ConsumedRecord>, ClientError> {
        while self.decoded.is_empty() {
            self.wait_for_batch().await?;
        }
        let mut records = Vec::new();
        while records.len() < records_max.max(1) {
            match self.pop() {
                Some(record) => records.push(record),
                // An error waits for the next call: what was read before it comes first.
                None => match self.read_chunk(false) {
                    Ok(true) => {}
                    Ok(false) | Err(_) => break,
                },
            }
        }
        Ok(records)
    }

    /// Whether a record can be taken at once.
    pub(crate) fn has_decoded(&self) -> bool {
        !self.decoded.is_empty()
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<ConsumedRecord> {
        let record = self.decoded.pop_front()?;
        if let Some((slot, end)) = self.decoded_slot {
            self.positions[slot] = if self.decoded.is_empty() { end } else { record.offset.next() };
        }
        Some(record)
    }

    async fn wait_for_batch(&mut self) -> Result<(), ClientError> {
        while self.decoded.is_empty() {
            if !self.read_chunk(true)? {
                self.shared.arrived.notified().await;
            }
        }
        Ok(())
    }

    /// Reads the next batch that was fetched; false when there is none. With `errors`, what went wrong comes first.
    pub(crate) fn read_chunk(&mut self, errors: bool) -> Result<bool, ClientError> {
        let (chunk, has_room) = {
            let mut state = self.shared.state();
            if state.is_empty() {
                return Err(ClientError::NothingAssigned);
            }
            if errors && let Some(error) = state.take_error() {
                return Err(error);
            }
            match state.take_chunk() {
                Some(taken) => taken,
                None => return Ok(false),
            }
        };
        if has_room {
            self.shared.wake.notify_one();
        }
        let (topic, partition) = (&chunk.topic, chunk.partition);
        let read = read_batch(&chunk.batch, chunk.from, topic, partition, &mut self.decoded);
        if let Err(source) = read {
            let topic = topic.to_string();
            let error = ClientError::Corrupt { topic, partition, offset: chunk.from, source };
            self.shared.state().damaged(&chunk, error.clone());
            return if errors { self.read_chunk(true) } else { Err(error) };
        }
        self.decoded_slot = Some((chunk.slot, chunk.end));
        if self.decoded.is_empty() {
            // A control batch, or one whose records are all below the position.
            self.positions[chunk.slot] = chunk.end;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests;

//! Records of one partition as JSON: what was asked for, read part by part from the owner (`reading.rs`), opened and shown here.
//! Owns the bounds of that: records and bytes of an answer, and what batches may grow to. Lives on the admin's thread, so that no
//! shard opens a batch for somebody who looks.

mod query;
mod row;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use ouzel_broker_core::Topic;
use ouzel_protocol::{BatchError, BatchHeader, DecodeLimits, DecodedBatch, ErrorCode, Offset, PartitionIndex, batches};
use ouzel_runtime::remote_oneshot;
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Answer, Named, Refusal, json_of};
use super::lane::AdminQuestion;
use super::reading::{ReadFrom, ReadPart, Reading};
use crate::lanes::PartitionRef;
use crate::limits;
use query::Query;

/// What was gathered for one answer.
struct Gathered {
    limit: usize,
    record_bytes: usize,
    rows: Vec<Value>,
    /// Bytes of the rows as JSON.
    row_bytes: usize,
    /// Bytes of the batches that were read, and of the records that came out of them.
    read_bytes: usize,
    opened_bytes: usize,
    next: Offset,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Named((name, partition)): Named<(String, u32)>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = Query::parse(query.as_deref().unwrap_or_default())?;
    let image = admin.shards.asking().image().await?;
    let topic = image.topic_named(&name).ok_or_else(|| {
        Refusal::not_found(format!("there is no topic {name}"), "the metadata has no topic of this name")
    })?;
    let mut gathered = Gathered::new(&query);
    let mut from = query.from;
    loop {
        let part = read(&admin, topic, PartitionIndex(partition), from, &mut gathered).await?;
        // Where nothing moved there is nothing more to be had by asking again.
        let is_end = gathered.next >= part.high_watermark || gathered.next == part.from;
        if is_end || gathered.is_full() {
            return Ok(json_of(&json!({
                "topic": name,
                "partition": partition,
                "log_start_offset": part.log_start.0,
                "end_offset": part.high_watermark.0,
                "next_offset": gathered.next.0,
                "records": gathered.rows,
            })));
        }
        from = ReadFrom::Offset(gathered.next);
    }
}

/// What one part says, but for its records.
struct Marks {
    from: Offset,
    log_start: Offset,
    high_watermark: Offset,
}

/// Reads one part from the owner and opens it. Its memory is let go of before anything else is waited for.
async fn read(
    admin: &Admin,
    topic: &Topic,
    partition: PartitionIndex,
    from: ReadFrom,
    gathered: &mut Gathered,
) -> Result<Marks, Refusal> {
    let place = format!("partition {} of {}", partition.0, topic.name);
    let owner = topic.partition(partition).ok_or_else(|| {
        Refusal::not_found(format!("there is no {place}"), format!("the topic has {}", topic.partitions.len()))
    })?;
    let at = PartitionRef { topic_id: topic.topic_id, partition };
    let (letting_go, held) = remote_oneshot::channel();
    let question = |reply| {
        AdminQuestion::Read(Box::new(Reading { at, from, bytes_max: limits::ADMIN_READ_BYTES_MAX, reply, held }))
    };
    let within = Duration::from_millis(limits::ADMIN_TASK_MS_MAX);
    let answer = admin.shards.ask_within(within, owner.shard, question).await;
    let part = answer.map_err(|why| Refusal::by_shard(owner.shard, why))?.map_err(|error| refused(&place, error))?;
    let opened = gathered.open(&part);
    let ReadPart { from, log_start, high_watermark, records } = part;
    drop((records, letting_go));
    opened.map_err(|why| Refusal::unavailable(format!("{place} cannot be read at offset {from}"), why.to_string()))?;
    Ok(Marks { from, log_start, high_watermark })
}

fn refused(place: &str, error: ErrorCode) -> Refusal {
    let what = format!("{place} was not read");
    let status = match error {
        ErrorCode::OffsetOutOfRange => StatusCode::BAD_REQUEST,
        ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Refusal::of(status, what, error.sentence())
}

impl Gathered {
    fn new(query: &Query) -> Self {
        let Query { limit, record_bytes, .. } = *query;
        Self { limit, record_bytes, rows: Vec::new(), row_bytes: 0, read_bytes: 0, opened_bytes: 0, next: Offset::ZERO }
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.limit
            || self.row_bytes >= limits::ADMIN_REPLY_BYTES_MAX
            || self.read_bytes >= limits::ADMIN_READ_BYTES_MAX
            || self.opened_bytes >= limits::ADMIN_OPENED_BYTES_MAX
    }

    /// Opens batches until they end or the answer is full. Fails where there is nothing to show before what is no batch.
    fn open(&mut self, part: &ReadPart) -> Result<(), BatchError> {
        self.next = part.from;
        let joined;
        let bytes: &[u8] = match part.records.as_slice() {
            [whole] => whole,
            pieces => {
                joined = pieces.concat();
                &joined
            }
        };
        self.read_bytes += bytes.len();
        for batch in batches(bytes) {
            if self.rows.len() >= self.limit || self.opened_bytes >= limits::ADMIN_OPENED_BYTES_MAX {
                break;
            }
            let (header, batch) = match batch {
                Ok(whole) => whole,
                Err(why) if self.rows.is_empty() => return Err(why),
                Err(_) => break,
            };
            match self.open_batch(&header, batch, part.from) {
                Ok(true) => self.next = self.next.max(header.end_offset()),
                Ok(false) => break,
                Err(why) => {
                    // It may have grown to the limit before it was refused.
                    self.opened_bytes += limits::ADMIN_BATCH_OPENED_BYTES_MAX;
                    if !self.push(row::unreadable(&header, &why)) {
                        break;
                    }
                    self.next = self.next.max(header.end_offset());
                }
            }
        }
        Ok(())
    }

    /// Shows the records of one batch; false where the answer was full before its end.
    fn open_batch(&mut self, header: &BatchHeader, batch: &[u8], from: Offset) -> Result<bool, BatchError> {
        let opening = DecodeLimits { bytes_max: limits::ADMIN_BATCH_OPENED_BYTES_MAX, ..DecodeLimits::default() };
        let decoded = DecodedBatch::decode(batch, &opening)?;
        if header.is_control() {
            return Ok(true);
        }
        for record in decoded.records() {
            let record = record?;
            self.opened_bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            if record.offset < from.max(self.next) {
                continue;
            }
            if self.rows.len() >= self.limit || !self.push(row::of(&record, self.record_bytes)) {
                return Ok(false);
            }
            self.next = Offset(record.offset.0 + 1);
        }
        Ok(true)
    }

    /// False where there is no room for it. The first always has room.
    fn push(&mut self, row: Value) -> bool {
        let bytes = row.to_string().len();
        if !self.rows.is_empty() && self.row_bytes + bytes > limits::ADMIN_REPLY_BYTES_MAX {
            self.row_bytes = limits::ADMIN_REPLY_BYTES_MAX;
            return false;
        }
        self.row_bytes += bytes;
        self.rows.push(row);
        true
    }
}

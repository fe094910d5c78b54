//! Fetch: the same reads and long polls as in the native protocol, within a session (`fetch_session.rs`) or outside of any. Records
//! go out as they are stored; native batches are converted. Owns where the session of a connection is kept, and what it takes of
//! the shard's memory. Lives on the connection's shard.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use ouzel_protocol::Offset;
use ouzel_protocol::kafka::{FetchReply, FetchRequest, FetchTopicReply, KafkaError};
use ouzel_runtime::sync::Permit;

use super::fetch_session::{FetchSession, Finding, read_row};
use super::request::{KafkaRequest, Ticket};
use super::{convert, metadata, names};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::fetch::{Wanted, collect, trim};
use crate::lanes::{PartitionRef, ReadOutcome, ReadRow};
use crate::limits;
use crate::shard::ShardState;

/// The session of a connection while no request reads in it, and the memory that it takes.
#[derive(Default)]
pub(crate) struct SessionSlot {
    kept: RefCell<Option<FetchSession>>,
    memory: RefCell<Option<Permit>>,
}

impl SessionSlot {
    /// Takes up the session that a request reads in, see [`FetchSession::take_up`].
    fn take_up(&self, state: &ShardState, fetch: &FetchRequest<'_>) -> Result<Option<FetchSession>, KafkaError> {
        let mut kept = self.kept.borrow_mut();
        let had = self.memory.take();
        let had_bytes = had.as_ref().map_or(0, Permit::count);
        drop(had);
        let id = rand::random_range(1..=i32::MAX);
        let taken = FetchSession::take_up(&mut kept, fetch, id, state.memory.session_bytes_free());
        let session = taken.as_ref().ok().and_then(Option::as_ref).or(kept.as_ref());
        let bytes = session.map_or(0, FetchSession::bytes);
        if bytes > 0 {
            self.memory.replace(Some(state.memory.session(bytes)));
        }
        if bytes != had_bytes {
            state.memory_changed();
        }
        taken
    }

    fn put_back(&self, session: FetchSession) {
        self.kept.replace(Some(session));
    }
}

pub(crate) async fn answer(
    connection: &Rc<Connection>,
    request: KafkaRequest,
    mut ticket: Ticket,
) -> Result<(), Fault> {
    // Its session is as the request before it leaves it. And behind another long poll it has no bytes: those would be what the
    // first one waits for.
    connection.in_order.turn_of(&request.place).await;
    let fetch: FetchRequest<'_> = request.message()?;
    let wait_ms = u64::try_from(fetch.max_wait_ms).unwrap_or(0).min(limits::FETCH_WAIT_MS_MAX.into());
    let wanted = Wanted {
        bytes_min: usize::try_from(fetch.min_bytes).unwrap_or(0),
        bytes_max: u32::try_from(fetch.max_bytes).unwrap_or(0),
        deadline: request.received + Duration::from_millis(wait_ms),
    };
    match connection.fetch_session.take_up(&connection.state, &fetch) {
        Err(error_code) => ticket.answer(connection, &FetchReply { error_code, ..FetchReply::default() }),
        Ok(None) => answer_outside(connection, &request, wanted, ticket).await,
        Ok(Some(session)) => {
            // The session has every name: a long poll need not keep the memory of its question.
            drop(request);
            ticket.held.body = None;
            answer_within(connection, session, wanted, ticket).await
        }
    }
}

/// Answers a request in no session. The frame names the topics of the reply, so it lives until then, and so does what was granted
/// for it: what stands behind the message counts as well.
async fn answer_outside(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    wanted: Wanted,
    mut ticket: Ticket,
) -> Result<(), Fault> {
    let fetch: FetchRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, fetch.topics.iter().map(|topic| topic.topic)).await;
    let mut rows = Vec::new();
    let mut epochs = Vec::new();
    for topic in &fetch.topics {
        let topic_id = names::topic_id(state, topic.topic);
        for asked in &topic.partitions {
            rows.push(read_row(topic_id, &asked));
            epochs.push(asked.current_leader_epoch);
        }
    }
    let refused = epoch_errors(state, rows.iter().map(|row: &ReadRow| row.at).zip(epochs));
    let (outcomes, permits) = read(connection, &rows, &refused, wanted).await;
    let mut records = Vec::with_capacity(outcomes.len());
    let mut findings = Vec::with_capacity(outcomes.len());
    for (outcome, refused) in outcomes.into_iter().zip(refused) {
        let (finding, pieces) = found(state, outcome, refused).await;
        findings.push(finding);
        records.push(pieces);
    }
    ticket.held.records = Some(trim(permits, findings.iter().map(|finding| finding.records_bytes).sum()));
    let mut findings = findings.into_iter();
    let topics = fetch.topics.iter().map(|topic| FetchTopicReply {
        topic: topic.topic,
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .zip(&mut findings)
            .map(|(asked, finding)| finding.reply(asked.partition))
            .collect(),
    });
    let reply = FetchReply { responses: topics.collect(), ..FetchReply::default() };
    ticket.answer_with_records(connection, &reply, records.into_iter().filter(|pieces| !pieces.is_empty()))
}

/// Answers a request in a session with what is news to the client, and puts the session back.
async fn answer_within(
    connection: &Rc<Connection>,
    mut session: FetchSession,
    wanted: Wanted,
    mut ticket: Ticket,
) -> Result<(), Fault> {
    let state = &connection.state;
    if !session.is_found_at(state.topics.version()) {
        names::look_up(state, session.names()).await;
        session.find(state.topics.version(), |name| names::topic_id(state, name));
    }
    let refused = epoch_errors(state, session.rows().iter().map(|row| (row.at(), row.leader_epoch())));
    let (outcomes, permits) = read(connection, session.rows(), &refused, wanted).await;
    let (mut records, mut news) = (Vec::new(), Vec::new());
    for (position, (outcome, refused)) in outcomes.into_iter().zip(refused).enumerate() {
        let (finding, pieces) = found(state, outcome, refused).await;
        if session.note(position, &finding) {
            news.push((position, finding));
        }
        if !pieces.is_empty() {
            records.push(pieces);
        }
    }
    ticket.held.records = Some(trim(permits, news.iter().map(|(_, finding)| finding.records_bytes).sum()));
    let responses = session.replies(&news).into();
    let reply = FetchReply { session_id: session.id(), responses, ..FetchReply::default() };
    let answered = ticket.answer_with_records(connection, &reply, records.into_iter());
    session.take_turns();
    connection.fetch_session.put_back(session);
    answered
}

/// Reads rows as the native protocol does; at once where one is refused already.
async fn read<Row: AsRef<ReadRow>>(
    connection: &Rc<Connection>,
    rows: &[Row],
    refused: &[Option<KafkaError>],
    mut wanted: Wanted,
) -> (Vec<ReadOutcome>, (Permit, Permit)) {
    if refused.iter().any(Option::is_some) {
        wanted.deadline = connection.state.shard.now();
    }
    collect(connection, rows, wanted).await
}

/// What to tell of a partition, and its records as a client of Kafka's protocol reads them.
async fn found(state: &ShardState, outcome: ReadOutcome, refused: Option<KafkaError>) -> (Finding, Vec<Bytes>) {
    let ReadOutcome { error, high_watermark, log_start, records } = outcome;
    let (error, pieces) = match refused {
        Some(error) => (error, Vec::new()),
        None => match convert::for_kafka(&state.shard, records).await {
            Ok(pieces) => (error_map::of_fetch(error), pieces),
            Err(error) => {
                tracing::error!(shard = state.index.0, %error, "a stored batch cannot be converted");
                (KafkaError::CORRUPT_MESSAGE, Vec::new())
            }
        },
    };
    let is_known = !matches!(error, KafkaError::UNKNOWN_TOPIC_OR_PARTITION | KafkaError::NOT_LEADER_OR_FOLLOWER);
    let signed = |offset: Offset| if is_known { i64::try_from(offset.0).unwrap_or(i64::MAX) } else { -1 };
    let finding = Finding {
        error,
        high_watermark: signed(high_watermark),
        log_start: signed(log_start),
        records_bytes: pieces.iter().map(Bytes::len).sum(),
    };
    (finding, pieces)
}

/// What the epochs that a client knows say of partitions that are led here.
fn epoch_errors(state: &ShardState, asked: impl Iterator<Item = (PartitionRef, i32)>) -> Vec<Option<KafkaError>> {
    let image = state.topics.image();
    let judge = |(at, epoch): (PartitionRef, i32)| {
        let partition = image.partition(at.topic_id, at.partition)?;
        check_epoch(epoch, metadata::epoch(partition)).err()
    };
    asked.map(judge).collect()
}

/// Judges the leader epoch that a client knows, -1 for none, by the one there is (KIP-320).
pub(super) fn check_epoch(asked: i32, current: i32) -> Result<(), KafkaError> {
    match asked {
        ..0 => Ok(()),
        _ if asked < current => Err(KafkaError::FENCED_LEADER_EPOCH),
        _ if asked > current => Err(KafkaError::UNKNOWN_LEADER_EPOCH),
        _ => Ok(()),
    }
}

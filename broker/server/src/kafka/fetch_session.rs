//! A fetch session (KIP-227): the partitions that a client reads again and again, named once. Owns which request goes on with a
//! session, what is read in it and in which order, and what of that its client has not been told yet. Never reads a partition,
//! draws an id or grants memory: all that varies is an argument. Lives with its connection, on the connection's shard.
//!
//! A connection has one session at most, and nobody else has it. Kafka lets a session be used from any connection to its broker,
//! but clients have one session and one connection for a broker, and whoever names a session that is not there is told so and
//! makes another one, as after an eviction. So there is no map between shards, nothing grows old, and nothing is evicted: the
//! next full fetch of the connection takes the session's place, which also serves clients that make one for each poll, and the
//! connection's end is its end. The fetches of a connection read one after the other, so a session never has two at once.
//!
//! Topics go by their names: no version that is offered has their ids (they come with version 13).

use std::collections::BTreeMap;
use std::rc::Rc;

use ouzel_protocol::kafka::{
    FetchPartition, FetchPartitionReply, FetchRequest, FetchTopicReply, ForgottenTopic, KafkaError, Records,
};
use ouzel_protocol::{MetadataVersion, Offset, TopicId};

use super::names;
use crate::lanes::{PartitionRef, ReadRow};
use crate::limits::SESSION_PARTITION_COUNT_MAX;

/// Says that a request is in no session and wants none.
const FINAL_EPOCH: i32 = -1;
/// Says that a request is the first of a session.
const INITIAL_EPOCH: i32 = 0;
/// What no partition has: the client is to be told whatever there is.
const UNTOLD: i64 = -1;

/// What a session takes beside its partitions, in bytes.
const SESSION_BYTES: usize = 1024;
/// What a topic takes beside its name: its node in the tree, and the first one of the tree of its partitions.
const TOPIC_BYTES: usize = 256;
/// What a partition takes: its row with the spare room behind the rows, and its place in the tree.
const ROW_BYTES: usize = size_of::<SessionRow>() * 9 / 8 + 24;
/// What a key takes, also while no partition has it.
const KEY_BYTES: usize = 16;

/// The session of a connection.
#[derive(Debug)]
pub(crate) struct FetchSession {
    id: i32,
    /// The epoch that the next request has to name.
    epoch: i32,
    /// In the order in which they are read, as the owners want them: a fetch makes nothing anew.
    rows: Vec<SessionRow>,
    /// The keys of all partitions, by topic.
    topics: BTreeMap<Rc<str>, BTreeMap<i32, u32>>,
    /// By key: where the row is. Rows move with every fetch, and a tree is not to be written for that.
    positions: Vec<u32>,
    keys_free: Vec<u32>,
    /// Bytes of the topics' names.
    name_bytes: usize,
    /// The metadata by which every topic was found; `None` where one was not.
    found_at: Option<MetadataVersion>,
}

/// A partition of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionRow {
    read: ReadRow,
    topic: Rc<str>,
    /// The partition's number as it was sent.
    partition: i32,
    leader_epoch: i32,
    key: u32,
    had_records: bool,
    /// What the client was told last.
    high_watermark: i64,
    log_start: i64,
}

/// What there is to tell of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    pub(crate) error: KafkaError,
    /// -1 where it is not known.
    pub(crate) high_watermark: i64,
    /// -1 where it is not known.
    pub(crate) log_start: i64,
    pub(crate) records_bytes: usize,
}

/// There is no room for another partition.
#[derive(Debug)]
struct Full;

impl AsRef<ReadRow> for SessionRow {
    fn as_ref(&self) -> &ReadRow {
        &self.read
    }
}

impl SessionRow {
    /// Which partition it is.
    pub(crate) fn at(&self) -> PartitionRef {
        self.read.at
    }

    /// The leader epoch that the client knows, -1 for none.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }
}

impl Finding {
    /// The row that tells it.
    pub(crate) fn reply(self, partition: i32) -> FetchPartitionReply<'static> {
        FetchPartitionReply {
            partition_index: partition,
            error_code: self.error,
            high_watermark: self.high_watermark,
            last_stable_offset: self.high_watermark,
            log_start_offset: self.log_start,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Records::Elsewhere(self.records_bytes),
            ..FetchPartitionReply::default()
        }
    }
}

/// What to read for a row of a request.
pub(crate) fn read_row(topic_id: TopicId, asked: &FetchPartition) -> ReadRow {
    ReadRow {
        at: names::partition_ref(topic_id, asked.partition),
        // A negative offset is in no log, and the largest number is beyond every one.
        offset: Offset(u64::try_from(asked.fetch_offset).unwrap_or(u64::MAX)),
        bytes_max: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
    }
}

impl FetchSession {
    /// Judges a request by the session that its connection keeps, and takes that out, changed as the request says; a new one
    /// gets `new_id`. `None` where the request reads what it names itself, in no session. All of the session may take
    /// `bytes_max`.
    ///
    /// # Errors
    /// The request names a session that is not there, or that ends here because it no longer fits; or another epoch than the
    /// session's, which stays as it is.
    pub(crate) fn take_up(
        kept: &mut Option<Self>,
        fetch: &FetchRequest<'_>,
        new_id: i32,
        bytes_max: usize,
    ) -> Result<Option<Self>, KafkaError> {
        let (id, epoch) = (fetch.session_id, fetch.session_epoch);
        let named = kept.take_if(|session| session.id == id);
        match epoch {
            FINAL_EPOCH => return Ok(None),
            INITIAL_EPOCH => {
                *kept = None;
                let mut session = Self::new(new_id);
                return Ok(session.add(fetch, bytes_max).ok().map(|()| session));
            }
            _ => {}
        }
        let mut session = named.ok_or(KafkaError::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            *kept = Some(session);
            return Err(KafkaError::INVALID_FETCH_SESSION_EPOCH);
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        session.add(fetch, bytes_max).map_err(|Full| KafkaError::FETCH_SESSION_ID_NOT_FOUND)?;
        session.forget(fetch.forgotten_topics_data.iter());
        Ok(if session.rows.is_empty() { None } else { Some(session) })
    }

    fn new(id: i32) -> Self {
        Self {
            id,
            epoch: 1,
            rows: Vec::new(),
            topics: BTreeMap::new(),
            positions: Vec::new(),
            keys_free: Vec::new(),
            name_bytes: 0,
            found_at: None,
        }
    }

    /// The number that requests name it by.
    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// What is read, in order.
    pub(crate) fn rows(&self) -> &[SessionRow] {
        &self.rows
    }

    /// The memory it takes, or a little more.
    pub(crate) fn bytes(&self) -> usize {
        SESSION_BYTES
            + self.rows.len() * ROW_BYTES
            + self.positions.len() * KEY_BYTES
            + self.topics.len() * TOPIC_BYTES
            + self.name_bytes
    }

    /// Adds the partitions that a request names, or what has changed of them.
    fn add(&mut self, fetch: &FetchRequest<'_>, bytes_max: usize) -> Result<(), Full> {
        for topic in &fetch.topics {
            for asked in &topic.partitions {
                match self.topics.get(topic.topic).and_then(|keys| keys.get(&asked.partition)) {
                    Some(key) => self.update(*key, &asked),
                    None => self.insert(topic.topic, &asked, bytes_max)?,
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, key: u32, asked: &FetchPartition) {
        let row = self.positions.get(key as usize).and_then(|position| self.rows.get_mut(*position as usize));
        let row = row.expect("every key leads to a row");
        row.read = read_row(row.read.at.topic_id, asked);
        row.leader_epoch = asked.current_leader_epoch;
    }

    fn insert(&mut self, topic: &str, asked: &FetchPartition, bytes_max: usize) -> Result<(), Full> {
        let known = self.topics.get_key_value(topic).map(|(name, _)| Rc::clone(name));
        let needed = ROW_BYTES + KEY_BYTES + if known.is_none() { TOPIC_BYTES + topic.len() } else { 0 };
        if self.rows.len() >= SESSION_PARTITION_COUNT_MAX || self.bytes() + needed > bytes_max {
            return Err(Full);
        }
        let name = known.unwrap_or_else(|| {
            self.name_bytes += topic.len();
            Rc::from(topic)
        });
        let position = small(self.rows.len());
        let key = self.keys_free.pop().unwrap_or_else(|| {
            self.positions.push(position);
            small(self.positions.len() - 1)
        });
        *self.position_of(key) = position;
        self.topics.entry(Rc::clone(&name)).or_default().insert(asked.partition, key);
        self.found_at = None;
        // Twice as much, as a list grows by itself, would double what every session takes.
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(spare(self.rows.len()));
        }
        self.rows.push(SessionRow {
            read: read_row(TopicId(0), asked),
            topic: name,
            partition: asked.partition,
            leader_epoch: asked.current_leader_epoch,
            key,
            had_records: false,
            high_watermark: UNTOLD,
            log_start: UNTOLD,
        });
        Ok(())
    }

    /// Takes partitions out; those that are not in it are no mistake.
    fn forget<'a>(&mut self, forgotten: impl Iterator<Item = ForgottenTopic<'a>>) {
        let mut has_gone = false;
        for topic in forgotten {
            let Some(keys) = self.topics.get_mut(topic.topic) else { continue };
            for key in topic.partitions.iter().filter_map(|partition| keys.remove(&partition)) {
                self.keys_free.push(key);
                has_gone = true;
            }
            if keys.is_empty() {
                self.topics.remove(topic.topic);
                self.name_bytes -= topic.topic.len();
            }
        }
        if has_gone {
            let topics = &self.topics;
            self.rows.retain(|row| topics.get(&row.topic).is_some_and(|keys| keys.contains_key(&row.partition)));
            self.rows.shrink_to(self.rows.len() + spare(self.rows.len()));
            self.number();
        }
    }

    /// Whether every topic was found by this metadata.
    pub(crate) fn is_found_at(&self, version: MetadataVersion) -> bool {
        self.found_at == Some(version)
    }

    /// Its topics.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(|name| &**name)
    }

    /// Gives every partition the id that its topic has by this metadata, where 0 stands for none: a name may have gone over to
    /// another topic.
    pub(crate) fn find(&mut self, version: MetadataVersion, topic_id: impl Fn(&str) -> TopicId) {
        let mut last: Option<(Rc<str>, TopicId)> = None;
        let mut has_all = true;
        for row in &mut self.rows {
            let id = match &last {
                Some((name, id)) if Rc::ptr_eq(name, &row.topic) => *id,
                _ => last.insert((Rc::clone(&row.topic), topic_id(&row.topic))).1,
            };
            row.read.at.topic_id = id;
            has_all &= id != TopicId(0);
        }
        self.found_at = has_all.then_some(version);
    }

    /// Notes what was found of the row at `position`. Returns whether that is news for the client: records, an error, or another
    /// offset than it knows. What follows an error is news in any case.
    pub(crate) fn note(&mut self, position: usize, finding: &Finding) -> bool {
        let row = self.rows.get_mut(position).expect("a finding is of a row that was read");
        let Finding { error, high_watermark, log_start, records_bytes } = *finding;
        row.had_records = records_bytes > 0;
        let is_known = (row.high_watermark, row.log_start) == (high_watermark, log_start);
        row.high_watermark = if error.is_none() { high_watermark } else { UNTOLD };
        row.log_start = log_start;
        row.had_records || !error.is_none() || !is_known
    }

    /// The rows of a reply that tells these findings, each with its row's position.
    pub(crate) fn replies(&self, findings: &[(usize, Finding)]) -> Vec<FetchTopicReply<'_>> {
        let row = |position: usize| self.rows.get(position).expect("a finding is of a row that was read");
        let is_same =
            |one: &(usize, Finding), next: &(usize, Finding)| Rc::ptr_eq(&row(one.0).topic, &row(next.0).topic);
        let of_topic = |findings: &[(usize, Finding)]| FetchTopicReply {
            topic: findings.first().map_or("", |(position, _)| &row(*position).topic),
            partitions: findings.iter().map(|(position, finding)| finding.reply(row(*position).partition)).collect(),
            ..FetchTopicReply::default()
        };
        findings.chunk_by(is_same).map(of_topic).collect()
    }

    /// Puts those that had records behind all others: under a limit of bytes the others come first the next time.
    pub(crate) fn take_turns(&mut self) {
        let moved: Vec<SessionRow> = self.rows.extract_if(.., |row| row.had_records).collect();
        if !moved.is_empty() {
            self.rows.extend(moved);
            self.number();
        }
    }

    /// Notes where each row is.
    fn number(&mut self) {
        for (position, row) in (0..).zip(&self.rows) {
            *self.positions.get_mut(row.key as usize).expect("every row has a key") = position;
        }
    }

    fn position_of(&mut self, key: u32) -> &mut u32 {
        self.positions.get_mut(key as usize).expect("a key is a place among the positions")
    }
}

/// Rows that there is room for behind so many.
fn spare(count: usize) -> usize {
    count / 8 + 4
}

fn small(count: usize) -> u32 {
    const _: () = assert!(SESSION_PARTITION_COUNT_MAX <= u32::MAX as usize);
    u32::try_from(count).expect("a session has no more partitions than its limit")
}

#[cfg(test)]
mod tests;

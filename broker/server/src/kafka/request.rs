//! A request of the Kafka protocol between its arrival and its reply. Owns its frame, what it holds and its place in the order
//! of replies. Lives on the connection's shard.

use std::rc::Rc;

use bytes::Bytes;
use ouzel_protocol::kafka::{ApiKey, Gap, HeaderError, Message, RequestHeader, append_reply, append_reply_parts};
use ouzel_protocol::native::Api;
use ouzel_runtime::Instant;

use super::in_order::{Answer, Place};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::request::{AnswerBytes, Held};

/// What was asked.
pub(crate) struct KafkaRequest {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    correlation_id: i32,
    pub(crate) frame: Bytes,
    /// When its last byte was read.
    pub(crate) received: Instant,
    pub(crate) place: Rc<Place>,
    body_at: usize,
}

/// What answers a request: its number, its place, and what it holds until then.
pub(crate) struct Ticket {
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    place: Rc<Place>,
    pub(crate) held: Held,
}

impl KafkaRequest {
    /// A request that was read just now. Takes the next place in the order of replies.
    ///
    /// # Errors
    /// The frame does not begin with a header that can be answered; no place is taken.
    pub(crate) fn parse(connection: &Connection, frame: Bytes) -> Result<Self, HeaderError> {
        let (header, body) = RequestHeader::decode(&frame)?;
        let RequestHeader { api, version, correlation_id, .. } = header;
        if !api.is_offered(version) {
            return Err(HeaderError::UnknownVersion { api, version, correlation_id });
        }
        let body_at = frame.len() - body.len();
        let place = Rc::new(connection.in_order.take());
        Ok(Self { api, version, correlation_id, frame, received: connection.state.shard.now(), place, body_at })
    }

    /// What pairs its reply with it.
    pub(crate) fn correlation_id(&self) -> i32 {
        self.correlation_id
    }

    /// What comes behind its header.
    pub(crate) fn body(&self) -> Bytes {
        self.frame.slice(self.body_at..)
    }

    /// What answers it, and holds what it holds until then.
    pub(crate) fn ticket(&self, held: Held) -> Ticket {
        let Self { api, version, correlation_id, .. } = *self;
        Ticket { api, version, correlation_id, place: Rc::clone(&self.place), held }
    }

    /// The request's message; its strings and records lie in the frame.
    ///
    /// # Errors
    /// The body is not what its layout says: the connection ends.
    pub(crate) fn message<'a, M: Message<'a>>(&'a self) -> Result<M, Fault> {
        Ok(M::decode_from(self.frame.get(self.body_at..).unwrap_or_default(), self.version)?)
    }
}

impl Ticket {
    /// Answers. A reply that its version cannot carry is our mistake, and ends the connection.
    pub(crate) fn answer<'a>(self, connection: &Rc<Connection>, reply: &impl Message<'a>) -> Result<(), Fault> {
        let mut out = Vec::new();
        append_reply(&mut out, self.version, self.correlation_id, reply)
            .map_err(|error| unspeakable(self.api, &error))?;
        self.send(connection, vec![Bytes::from(out)], 0);
        Ok(())
    }

    /// Answers with a reply that was written elsewhere.
    pub(crate) fn answer_bytes(self, connection: &Rc<Connection>, reply: Vec<u8>) {
        self.send(connection, vec![Bytes::from(reply)], 0);
    }

    /// Answers with records that are not copied: `records` has those of each row that has any, in the order of the reply's
    /// rows.
    pub(crate) fn answer_with_records<'a>(
        self,
        connection: &Rc<Connection>,
        reply: &impl Message<'a>,
        records: impl Iterator<Item = Vec<Bytes>>,
    ) -> Result<(), Fault> {
        let (mut out, mut gaps) = (Vec::new(), Vec::new());
        append_reply_parts(&mut out, &mut gaps, self.version, self.correlation_id, reply)
            .map_err(|error| unspeakable(self.api, &error))?;
        let own = Bytes::from(out);
        let mut parts = Vec::new();
        let (mut sent, mut records_bytes) = (0, 0);
        for (Gap { at, bytes }, records) in gaps.into_iter().zip(records) {
            parts.push(own.slice(sent..at));
            parts.extend(records);
            (sent, records_bytes) = (at, records_bytes + bytes);
        }
        parts.push(own.slice(sent..));
        self.send(connection, parts, records_bytes);
        Ok(())
    }

    /// Ends a request that wants no reply.
    pub(crate) fn answer_nothing(self, connection: &Connection) {
        self.fill(connection, Vec::new());
    }

    fn send(mut self, connection: &Rc<Connection>, parts: Vec<Bytes>, records_bytes: usize) {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        self.held._answer = Some(AnswerBytes::of(&connection.state, bytes - records_bytes));
        self.fill(connection, parts);
    }

    fn fill(self, connection: &Connection, parts: Vec<Bytes>) {
        let Self { place, held, .. } = self;
        connection.in_order.fill(&connection.replies, &place, Answer { parts, held });
    }
}

pub(super) fn unspeakable(api: ApiKey, error: &ouzel_protocol::kafka::EncodeError) -> Fault {
    tracing::error!(?api, %error, "a reply could not be written");
    Fault::Protocol("the reply cannot be said in this version")
}

/// The native api that asks the same, under whose name requests are counted.
pub(crate) fn native_name(api: ApiKey) -> Option<Api> {
    Some(match api {
        ApiKey::Produce => Api::Produce,
        ApiKey::Fetch => Api::Fetch,
        ApiKey::ListOffsets => Api::ListOffsets,
        ApiKey::Metadata => Api::Metadata,
        ApiKey::CreateTopics => Api::CreateTopic,
        ApiKey::DeleteTopics => Api::DeleteTopic,
        ApiKey::InitProducerId => Api::InitProducerId,
        ApiKey::ConsumerGroupHeartbeat => Api::GroupHeartbeat,
        ApiKey::OffsetCommit => Api::OffsetCommit,
        ApiKey::OffsetFetch => Api::OffsetFetch,
        ApiKey::ListGroups => Api::ListGroups,
        ApiKey::DescribeGroups => Api::DescribeGroup,
        ApiKey::DeleteGroups => Api::DeleteGroup,
        ApiKey::OffsetDelete => Api::DeleteOffsets,
        _ => return None,
    })
}

//! Whole messages: decoding a body, encoding one, and the frames around them. Owns the length in front of a frame. Never reads
//! a socket. Any core.

use std::ops::Range;

use super::api::ApiKey;
use super::field::Field;
use super::header::{RequestHeader, encode_reply_header};
use super::reader::{DecodeError, DecodeProblem, Reader, Shape};
use super::writer::{EncodeError, EncodeProblem, Gap, Writer};

/// Bytes of the length in front of every frame; it does not count itself.
pub const FRAME_LENGTH_BYTES: usize = 4;

/// A request or reply of one API.
pub trait Message<'a>: Field<'a> {
    /// Its API.
    const API: ApiKey;
    /// Its name, as errors give it.
    const NAME: &'static str;

    /// Reads a body. Nothing is allocated; arrays and strings of the result lie in `body`, and all of them were checked.
    ///
    /// # Errors
    /// The peer sent something else, or the codec does not have the version.
    fn decode(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        let (message, reader) = read_from(body, version)?;
        reader.finish("end of message")?;
        Ok(message)
    }

    /// As [`decode`](Self::decode), whatever stands behind the message: Kafka's broker does not look there, and librdkafka leaves
    /// three bytes behind when it asks for the metadata of all topics.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_from(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        read_from(body, version).map(|(message, _)| message)
    }

    /// Appends the body. Fields that the version does not have are left out.
    ///
    /// # Errors
    /// The version cannot carry a value: the caller is at fault, and `out` is as it was.
    fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write(self, version, out, None)
    }
}

fn read_from<'a, M: Message<'a>>(body: &'a [u8], version: i16) -> Result<(M, Reader<'a>), DecodeError> {
    let count_max = M::API.api().elements_max;
    let mut reader = Reader::new(M::NAME, body, shape::<M>(version), count_max);
    if !M::API.api().versions.contains(&version) {
        return Err(reader.error("version", DecodeProblem::Version { got: version }));
    }
    let message = M::read(&mut reader, M::NAME)?;
    Ok((message, reader))
}

fn shape<'a, M: Message<'a>>(version: i16) -> Shape {
    Shape { version, flexible: M::API.is_flexible(version) }
}

fn write<'a, M: Message<'a>>(
    message: &M,
    version: i16,
    out: &mut Vec<u8>,
    gaps: Option<&mut Vec<Gap>>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let mut writer = Writer::new(M::NAME, out, shape::<M>(version), gaps);
    if !M::API.api().versions.contains(&version) {
        return Err(writer.error("version", EncodeProblem::Version));
    }
    let result = message.write(&mut writer, M::NAME);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends a whole request: length, header, body.
///
/// # Errors
/// As [`Message::encode`]; `out` is as it was.
pub fn append_request<'a, M: Message<'a>>(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &M,
) -> Result<(), EncodeError> {
    frame(out, |out| {
        RequestHeader { api: M::API, version, correlation_id, client_id }.encode(out)?;
        request.encode(version, out)?;
        Ok(0)
    })?;
    Ok(())
}

/// Appends a whole reply to a request of `version`: length, header, body.
///
/// # Errors
/// As [`Message::encode`]; `out` is as it was.
pub fn append_reply<'a, M: Message<'a>>(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    reply: &M,
) -> Result<(), EncodeError> {
    frame(out, |out| {
        encode_reply_header(M::API, version, correlation_id, out);
        reply.encode(version, out)?;
        Ok(0)
    })?;
    Ok(())
}

/// As [`append_reply`], for a reply whose records are not copied: of every [`Elsewhere`](super::Records::Elsewhere) in it (but
/// those of no bytes) a [`Gap`] is appended to `gaps`, in the order of the wire. What goes out is `out` up to the first gap,
/// then that gap's records, and so on, and `out` behind the last one. The length in front counts all of it. Returns the bytes
/// of the whole frame.
///
/// # Errors
/// As [`Message::encode`]; `out` and `gaps` are as they were.
pub fn append_reply_parts<'a, M: Message<'a>>(
    out: &mut Vec<u8>,
    gaps: &mut Vec<Gap>,
    version: i16,
    correlation_id: i32,
    reply: &M,
) -> Result<usize, EncodeError> {
    let gaps_start = gaps.len();
    let result = frame(out, |out| {
        encode_reply_header(M::API, version, correlation_id, out);
        write(reply, version, out, Some(&mut *gaps))?;
        Ok(gaps.iter().skip(gaps_start).map(|gap| gap.bytes).sum())
    });
    if result.is_err() {
        gaps.truncate(gaps_start);
    }
    result
}

/// Puts the length in front of what `put` appends and of as many bytes as it says stand elsewhere.
fn frame(
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<usize, EncodeError>,
) -> Result<usize, EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_LENGTH_BYTES]);
    let result = put(out).and_then(|elsewhere| {
        let bytes = out.len() - start - FRAME_LENGTH_BYTES + elsewhere;
        let too_long = EncodeProblem::TooLong { max: i32::MAX as usize, got: bytes };
        let length = i32::try_from(bytes).map_err(|_| EncodeError {
            message: "frame",
            version: 0,
            what: "length",
            problem: too_long,
        })?;
        if let Some(place) = out.get_mut(start..start + FRAME_LENGTH_BYTES) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(bytes + FRAME_LENGTH_BYTES)
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Where in `frame` a slice of it lies, `None` for one of other memory. What a decoder gives lies in what it was given.
#[must_use]
pub fn range_in(frame: &[u8], slice: &[u8]) -> Option<Range<usize>> {
    let start = slice.as_ptr().addr().checked_sub(frame.as_ptr().addr())?;
    let end = start.checked_add(slice.len())?;
    (end <= frame.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicId;
    use crate::kafka::*;

    #[test]
    fn a_slice_is_found_in_its_frame_and_nowhere_else() {
        let frame = [1, 2, 3, 4];
        assert_eq!(range_in(&frame, &frame[1..3]), Some(1..3));
        assert_eq!(range_in(&frame, &frame[4..]), Some(4..4));
        assert_eq!(range_in(&frame[1..3], &frame), None);
        assert_eq!(range_in(&frame[..2], &frame[1..3]), None);
    }

    fn fetched(records: [Records<'_>; 3]) -> FetchReply<'_> {
        let row = |(index, records)| FetchPartitionReply {
            partition_index: index,
            high_watermark: 100,
            records,
            ..FetchPartitionReply::default()
        };
        let topic = FetchTopicReply {
            topic: "orders",
            topic_id: TopicId(7),
            partitions: (0..).zip(records).map(row).collect(),
        };
        FetchReply { responses: [topic].into_iter().collect(), ..FetchReply::default() }
    }

    #[test]
    fn parts_with_their_records_between_are_the_frame() {
        let records = [&b"a batch"[..], b"", &[9; 300]];
        for version in ApiKey::Fetch.api().versions.clone() {
            let mut whole = b"before".to_vec();
            append_reply(&mut whole, version, 5, &fetched(records.map(Records::Here))).unwrap();
            let mut out = b"before".to_vec();
            let mut gaps = Vec::new();
            let elsewhere = fetched(records.map(|bytes| Records::Elsewhere(bytes.len())));
            let bytes = append_reply_parts(&mut out, &mut gaps, version, 5, &elsewhere).unwrap();
            assert_eq!(bytes + b"before".len(), whole.len());
            assert_eq!(gaps.iter().map(|gap| gap.bytes).collect::<Vec<_>>(), [7, 300]);
            let (mut sent, mut at) = (Vec::new(), 0);
            for (gap, records) in gaps.iter().zip([records[0], records[2]]) {
                sent.extend_from_slice(&out[at..gap.at]);
                sent.extend_from_slice(records);
                at = gap.at;
            }
            sent.extend_from_slice(&out[at..]);
            assert_eq!(sent, whole, "version {version}");
        }
    }

    #[test]
    fn what_a_version_cannot_carry_leaves_the_buffer_as_it_was() {
        let mut out = b"before".to_vec();
        let reply = FetchReply { session_id: 7, ..FetchReply::default() };
        let error = append_reply(&mut out, 6, 1, &reply).unwrap_err();
        assert_eq!((error.what, error.problem), ("session_id", EncodeProblem::Absent));
        let error = append_reply(&mut out, 99, 1, &reply).unwrap_err();
        assert_eq!(error.problem, EncodeProblem::Version);
        let mut gaps = Vec::new();
        let error = append_reply_parts(&mut out, &mut gaps, 6, 1, &reply).unwrap_err();
        assert_eq!((error.what, gaps.len()), ("session_id", 0));
        let elsewhere = fetched([Records::Elsewhere(1), Records::Null, Records::Null]);
        let error = append_reply(&mut out, 12, 1, &elsewhere).unwrap_err();
        assert_eq!((error.what, error.problem), ("records", EncodeProblem::Elsewhere));
        assert_eq!(MetadataRequest::decode(&[0; 4], 99).unwrap_err().problem, DecodeProblem::Version { got: 99 });
        let all = MetadataRequest { topics: None, ..MetadataRequest::default() };
        let error = append_request(&mut out, 0, 1, None, &all).unwrap_err();
        assert_eq!((error.what, error.problem), ("topics", EncodeProblem::Null));
        assert_eq!(out, b"before");
    }

    #[test]
    fn an_array_of_a_frame_can_be_written_in_another_version() {
        let mut out = Vec::new();
        fetched([Records::Here(b"x"), Records::Null, Records::Null]).encode(12, &mut out).unwrap();
        let flexible = FetchReply::decode(&out, 12).unwrap();
        let mut old = Vec::new();
        flexible.encode(4, &mut old).unwrap();
        let topic = FetchReply::decode(&old, 4).unwrap().responses.iter().next().unwrap();
        assert_eq!(topic.topic, "orders");
        assert_eq!(topic.partitions.iter().next().unwrap().records.bytes(), Some(&b"x"[..]));
    }

    #[test]
    fn records_of_a_request_are_a_range_of_its_frame() {
        let partition = ProducePartition { index: 3, records: Records::Here(b"a batch") };
        let topic =
            ProduceTopic { name: "orders", partition_data: [partition].into_iter().collect(), ..Default::default() };
        let request = ProduceRequest { acks: -1, topic_data: [topic].into_iter().collect(), ..Default::default() };
        let mut frame = Vec::new();
        append_request(&mut frame, 9, 1, Some("test"), &request).unwrap();
        let (header, body) = RequestHeader::decode(&frame[FRAME_LENGTH_BYTES..]).unwrap();
        let request = ProduceRequest::decode(body, header.version).unwrap();
        let topic = request.topic_data.iter().next().unwrap();
        let records = topic.partition_data.iter().next().unwrap().records.bytes().unwrap();
        assert_eq!(frame[range_in(&frame, records).unwrap()], *b"a batch");
    }

    #[test]
    fn a_count_that_lies_is_refused_in_a_body_of_eight_bytes() {
        let body = [0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff];
        let error = ListOffsetsRequest::decode(&body, 1).unwrap_err();
        let max = ApiKey::ListOffsets.api().elements_max;
        assert_eq!(error.problem, DecodeProblem::TooMany { max, got: i32::MAX as usize });
        let body = [0, 0, 0, 0, 0, 0, 0x10, 0];
        let error = ListOffsetsRequest::decode(&body, 1).unwrap_err();
        // A topic is at least two bytes of name and four of count.
        assert_eq!(error.problem, DecodeProblem::Truncated { expected: 0x1000 * 6, got: 0 });
    }
}

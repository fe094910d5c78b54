//! Targets of Kafka's wire: a whole request or reply of any API and version, and the records of a produce. The targets of one
//! direction are one function over different corpora: which API it is stands in the bytes.
//!
//! Reading takes no memory at all, whatever the bytes say. What was read is written and read again, and is the same: tagged
//! fields that are not known here and varints that are longer than they must be are forgotten.

use ouzel_protocol::kafka::{
    ApiKey, HeaderError, Records, Reply, Request, RequestHeader, check_records, decode_reply_header,
    encode_reply_header, range_in,
};
use ouzel_protocol::{BATCH_HEADER_BYTES, Magic};

use crate::oracle::{Heap, bounded};
use crate::reseal;

/// What a refusal of records may take: the sentence of a decoder.
const REFUSAL: Heap = Heap { fixed: 512, times: 0 };

/// A frame of a client: header and body.
pub(super) fn request(bytes: &[u8]) -> bool {
    let (header, body) = match bounded(Heap::NONE, bytes.len(), || RequestHeader::decode(bytes)) {
        Ok(parsed) => parsed,
        Err(HeaderError::UnknownVersion { api, version, .. }) => {
            assert!(!api.api().versions.contains(&version));
            return false;
        }
        Err(_) => return false,
    };
    let RequestHeader { api, version, .. } = header;
    let decoded = bounded(Heap::NONE, bytes.len(), || Request::decode(api, version, body));
    let Ok(request) = decoded else { return false };
    let mut written = Vec::new();
    header.encode(&mut written).expect("it was read");
    let body_at = written.len();
    request.encode(version, &mut written).unwrap_or_else(|error| panic!("{request:?}: {error}"));
    assert!(written.len() <= bytes.len(), "{request:?} grew from {} to {} bytes", bytes.len(), written.len());
    let (header_again, body_again) = RequestHeader::decode(&written).expect("it was written");
    assert_eq!((header_again, body_again), (header, &written[body_at..]));
    let again = Request::decode(api, version, body_again).unwrap_or_else(|error| panic!("{request:?}: {error}"));
    assert_eq!(again, request, "{api:?} {version}");
    if let Request::Produce(request) = &request {
        for topic in &request.topic_data {
            for partition in &topic.partition_data {
                if let Records::Here(records) = partition.records {
                    let range = range_in(bytes, records).expect("records lie in their frame");
                    assert_eq!(bytes.get(range), Some(records));
                }
                checked(partition.records.bytes(), version);
            }
        }
    }
    true
}

/// Two bytes of API key, two of version, then a frame of a broker: header and body.
pub(super) fn reply(bytes: &[u8]) -> bool {
    let Some((&[key, key_low, version, version_low], frame)) = bytes.split_first_chunk::<4>() else { return false };
    let Some(api) = ApiKey::from_wire(i16::from_be_bytes([key, key_low])) else { return false };
    let version = i16::from_be_bytes([version, version_low]);
    let decoded = bounded(Heap::NONE, bytes.len(), || {
        let (correlation_id, body) = decode_reply_header(api, version, frame).ok()?;
        Some((correlation_id, Reply::decode(api, version, body).ok()?))
    });
    let Some((correlation_id, reply)) = decoded else { return false };
    let mut written = Vec::new();
    encode_reply_header(api, version, correlation_id, &mut written);
    reply.encode(version, &mut written).unwrap_or_else(|error| panic!("{reply:?}: {error}"));
    assert!(written.len() <= frame.len(), "{reply:?} grew from {} to {} bytes", frame.len(), written.len());
    let (correlation_again, body) = decode_reply_header(api, version, &written).expect("it was written");
    assert_eq!(correlation_again, correlation_id);
    let again = Reply::decode(api, version, body).unwrap_or_else(|error| panic!("{reply:?}: {error}"));
    assert_eq!(again, reply, "{api:?} {version}");
    true
}

/// One byte of version, then the records of one partition of a produce: as they are, and made to fit their checksum.
pub(super) fn records(bytes: &[u8]) -> bool {
    let Some((&version, records)) = bytes.split_first() else { return false };
    let version = i16::from(version);
    let raw = checked(Some(records), version);
    checked(Some(&reseal::batch(records, Magic::Kafka2 as u8)), version) || raw
}

fn checked(records: Option<&[u8]>, version: i16) -> bool {
    let bytes = records.unwrap_or_default();
    let Ok(header) = bounded(REFUSAL, bytes.len(), || check_records(records, version)) else { return false };
    assert_eq!(bytes.get(..BATCH_HEADER_BYTES), Some(&header.to_bytes()[..]), "{header:?}");
    assert_eq!(bytes.len(), header.total_bytes());
    assert_eq!(header.last_offset_delta + 1, header.record_count);
    true
}

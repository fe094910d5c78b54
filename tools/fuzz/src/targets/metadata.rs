//! Targets of the metadata state machine: the bytes of records and snapshots, and what histories of records and the
//! commands of clients do to an image.
//!
//! Whatever is accepted leaves an image that holds its invariants and comes back from its own snapshot.

use bytes::Buf;
use ouzel_broker_core::{Command, MetadataImage, Record};
use ouzel_protocol::native::{AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest};
use ouzel_protocol::{Incarnation, NodeId, TopicId};

use crate::oracle::{Heap, bounded, settles};

/// A partition takes 24 bytes and had 14; a refusal quotes what it refuses, escaped.
const RECORD: Heap = Heap { fixed: 16 * 1024, times: 8 };

/// A topic without a name takes two tree nodes, and trees are not full.
const SNAPSHOT: Heap = Heap { fixed: 32 * 1024, times: 32 };

pub(super) fn record(bytes: &[u8]) -> bool {
    settles(RECORD, bytes, Record::decode, |record, out| out.extend(record.encode()))
}

pub(super) fn snapshot(bytes: &[u8]) -> bool {
    let Ok(image) = bounded(SNAPSHOT, bytes.len(), || MetadataImage::decode_snapshot(bytes)) else { return false };
    check(&image);
    // A start is what comes next of every snapshot.
    let command = Command::NodeStarted { node: NodeId(0), incarnation: image.next_incarnation(NodeId(0)), shards: 2 };
    advance(&mut image.clone(), command);
    true
}

/// A snapshot (of no bytes: the empty image), then records, each behind a `u16` length: what a start reads.
pub(super) fn history(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let image = match row(&mut rest) {
        None => return false,
        Some([]) => Ok(MetadataImage::new()),
        Some(snapshot) => MetadataImage::decode_snapshot(snapshot),
    };
    let Ok(mut image) = image else { return false };
    let mut applied = 0;
    while let Some(record) = row(&mut rest) {
        let Ok(record) = Record::decode(record) else { break };
        let before = image.clone();
        match image.apply(&record) {
            Ok(()) => applied += 1,
            Err(_) => assert_eq!(image, before, "a record that does not fit changes nothing: {record:?}"),
        }
        image.assert_invariants();
    }
    check(&image);
    applied > 0
}

/// What clients may ask: bodies of requests, each behind a byte for its kind and a `u16` length.
pub(super) fn command(bytes: &[u8]) -> bool {
    let mut image = MetadataImage::new();
    let start = Command::NodeStarted { node: NodeId(0), incarnation: Incarnation(1), shards: 2 };
    advance(&mut image, start);
    let mut rest = bytes;
    let mut applied = 0;
    while let Some((kind, body)) = rest.split_first() {
        rest = body;
        let Some(body) = row(&mut rest) else { break };
        let topic_id = TopicId(u128::from(image.version().0));
        if let Some(command) = request(*kind, body, topic_id) {
            applied += usize::from(advance(&mut image, command));
        }
    }
    check(&image);
    applied > 0
}

/// The command of a request, as the broker makes it.
fn request(kind: u8, body: &[u8], topic_id: TopicId) -> Option<Command> {
    match kind {
        0 => CreateTopicRequest::decode(body).ok().map(|request| {
            let CreateTopicRequest { name, partitions, replication_factor, configs } = request;
            // Thousands of partitions are a matter of limits, which are tested, and of time, which is not.
            Command::CreateTopic { name, topic_id, partitions: partitions % 20_000, replication_factor, configs }
        }),
        1 => AlterTopicRequest::decode(body).ok().map(|request| {
            let AlterTopicRequest { name, partitions, configs } = request;
            Command::AlterTopic { name, partitions, configs }
        }),
        _ => DeleteTopicRequest::decode(body).ok().map(|request| Command::DeleteTopic { name: request.name }),
    }
}

/// Proposes and applies: what was proposed is read back from its bytes and fits.
fn advance(image: &mut MetadataImage, command: Command) -> bool {
    let Ok(record) = image.propose(command) else { return false };
    assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record), "what is proposed can be read back");
    let applied = image.apply(&record);
    assert_eq!(applied, Ok(()), "what is proposed fits: {record:?}");
    image.assert_invariants();
    true
}

fn check(image: &MetadataImage) {
    image.assert_invariants();
    let bytes = image.encode_snapshot();
    assert_eq!(MetadataImage::decode_snapshot(&bytes).as_ref(), Ok(image), "an image comes back from its snapshot");
}

/// Takes a row off the front: a `u16` length and that many bytes, or fewer at the end.
fn row<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(rest.try_get_u16_le().ok()?);
    let (row, behind) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    *rest = behind;
    Some(row)
}

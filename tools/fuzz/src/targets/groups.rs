//! Targets of what groups keep in `__consumer_offsets`: a key and a value of any kind; and of what leaders of classic groups
//! assign, in bytes of their own.
//!
//! Reading a record takes no memory at all. What was read is written in the version of today and read again, and is the same from then on:
//! fields that today's version does not have, and tagged fields that are not known here, are forgotten.

use ouzel_protocol::kafka::StoredGroupRecord;
use ouzel_protocol::kafka::consumer_protocol::assigned_partitions;

use crate::oracle::{Heap, bounded};

/// A byte of how long the key is, the key, then the value; of no bytes: a tombstone.
pub(super) fn record(bytes: &[u8]) -> bool {
    let Some((&key_bytes, rest)) = bytes.split_first() else { return false };
    let Some((key, value)) = rest.split_at_checked(usize::from(key_bytes)) else { return false };
    let value = (!value.is_empty()).then_some(value);
    let decoded = bounded(Heap::NONE, bytes.len(), || StoredGroupRecord::decode(key, value));
    let Ok(Some(record)) = decoded else { return false };
    let (key, value) = written(&record);
    let again = StoredGroupRecord::decode(&key, value.as_deref()).unwrap_or_else(|error| panic!("{record:?}: {error}"));
    let again = again.expect("a kind that was read");
    assert_eq!(written(&again), (key.clone(), value.clone()), "{record:?}");
    true
}

/// Only read, never written: what stands in it is no more than its bytes have room for.
pub(super) fn assignment(bytes: &[u8]) -> bool {
    let Ok(topics) = bounded(Heap::MESSAGE, bytes.len(), || assigned_partitions(bytes)) else { return false };
    let least: usize = topics.iter().map(|(topic, partitions)| topic.len() + 4 * partitions.len()).sum();
    assert!(least <= bytes.len(), "{topics:?}");
    true
}

fn written(record: &StoredGroupRecord<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    record.encode_key(&mut key).unwrap_or_else(|error| panic!("{record:?}: {error}"));
    let present = record.encode_value(&mut value).unwrap_or_else(|error| panic!("{record:?}: {error}"));
    (key, present.then_some(value))
}

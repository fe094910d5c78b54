//! Target of what groups keep in `__consumer_offsets`: a key and a value of any kind.
//!
//! Reading takes no memory at all. What was read is written in the version of today and read again, and is the same from then on:
//! fields that today's version does not have, and tagged fields that are not known here, are forgotten.

use ouzel_protocol::kafka::StoredGroupRecord;

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

fn written(record: &StoredGroupRecord<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut key, mut value) = (Vec::new(), Vec::new());
    record.encode_key(&mut key).unwrap_or_else(|error| panic!("{record:?}: {error}"));
    let present = record.encode_value(&mut value).unwrap_or_else(|error| panic!("{record:?}: {error}"));
    (key, present.then_some(value))
}

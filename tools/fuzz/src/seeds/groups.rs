//! Seeds of what groups keep: a few records of every kind, a tombstone among them.

use ouzel_protocol::kafka::StoredGroupRecord;
use ouzel_protocol::kafka::sample::Sampler;

/// Records of each kind.
const DRAWS: usize = 3;

/// The longest seed that is wanted.
const SEED_BYTES_MAX: usize = 600;

/// One topic with two partitions and user data, as a leader writes them to a member.
const ASSIGNMENT: &[u8] =
    b"\x00\x01\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x01u";
/// Nothing.
const ASSIGNMENT_OF_NOTHING: &[u8] = b"\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff";

pub(super) fn of(target: &str) -> Option<Vec<Vec<u8>>> {
    let drawn = |kind: i16| (0..).filter_map(move |draw| record(kind, draw)).take(DRAWS);
    if target == "group-assignment" {
        return Some(vec![ASSIGNMENT.to_vec(), ASSIGNMENT_OF_NOTHING.to_vec()]);
    }
    (target == "group-record").then(|| StoredGroupRecord::KINDS.iter().flat_map(|&kind| drawn(kind)).collect())
}

/// The record of a draw, unless it is a long one.
fn record(kind: i16, draw: u64) -> Option<Vec<u8>> {
    let record = StoredGroupRecord::sample(kind, &mut Sampler::new(u64::from(kind.unsigned_abs()) << 32 | draw));
    let (mut out, mut key) = (Vec::new(), Vec::new());
    record.encode_key(&mut key).expect("short names");
    out.push(u8::try_from(key.len()).ok()?);
    out.append(&mut key);
    record.encode_value(&mut out).expect("short names");
    (out.len() <= SEED_BYTES_MAX).then_some(out)
}

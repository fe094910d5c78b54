//! What a damaged commit still says: whose it was, and which partitions and offsets it spoke of. For reports to people
//! only; nothing found here is ever applied. Pure functions over bytes, on no core.

use std::collections::BTreeMap;
use std::fmt;

use ouzel_protocol::{Incarnation, Offset, PartitionId, check_batch};
use zerocopy::FromBytes;

use super::{COMMIT_HEADER_BYTES, COMMIT_MAGIC, Entries, EntryKind, HeaderBytes};

/// Partitions that a report names before it only counts the rest.
const NAMED_MAX: usize = 16;

/// The remains of one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvage {
    /// The sequence it states.
    pub sequence: u64,
    /// The checksum it states of the commit before it.
    pub previous_checksum: u32,
    entry_count: u32,
    entries_read: u32,
    /// Entries whose batch is what its own checksum says.
    batches_whole: u32,
    /// First and end offset of what can be read of each partition.
    offsets: BTreeMap<PartitionId, (Offset, Offset)>,
}

impl Salvage {
    /// Whether these are the remains of the commit that continues a chain: named by its place or by what it follows,
    /// because either may be the damaged one.
    pub fn continues(&self, sequence: u64, previous_checksum: u32) -> bool {
        self.sequence == sequence || self.previous_checksum == previous_checksum
    }

    /// First offset, and offset after the last one, that the readable entries of each partition speak of.
    pub fn offsets(&self) -> &BTreeMap<PartitionId, (Offset, Offset)> {
        &self.offsets
    }
}

/// Looks for a commit of this journal in damaged bytes. Two of magic, journal id and incarnation must be whole: one
/// flipped bit, wherever it is, leaves that many. `None` for blank, old and foreign bytes.
pub fn salvage(bytes: &[u8], journal_id: u64, incarnation: Incarnation) -> Option<Salvage> {
    let (raw, _) = HeaderBytes::read_from_prefix(bytes).ok()?;
    let matches =
        [raw.magic == COMMIT_MAGIC, raw.journal_id.get() == journal_id, raw.incarnation.get() == incarnation.0];
    if matches.iter().filter(|matches| **matches).count() < 2 {
        return None;
    }
    let mut salvage = Salvage {
        sequence: raw.sequence.get(),
        previous_checksum: raw.previous_checksum.get(),
        entry_count: raw.entry_count.get(),
        entries_read: 0,
        batches_whole: 0,
        offsets: BTreeMap::new(),
    };
    // Either number may be the damaged one: what is not an entry ends the walk.
    let body = bytes.get(COMMIT_HEADER_BYTES..).unwrap_or(&[]);
    let body = (raw.length.get() as usize)
        .checked_sub(COMMIT_HEADER_BYTES)
        .and_then(|length| body.get(..length))
        .unwrap_or(body);
    for (entry, payload) in Entries::new(body, salvage.entry_count).map_while(Result::ok) {
        let from = entry.base_offset.min(entry.end_offset);
        let offsets = salvage.offsets.entry(entry.partition).or_insert((from, entry.end_offset));
        *offsets = (offsets.0.min(from), offsets.1.max(entry.end_offset));
        salvage.entries_read += 1;
        let is_whole = entry.kind == EntryKind::Data
            && check_batch(payload).is_ok_and(|batch| batch.base_offset == entry.base_offset);
        salvage.batches_whole += u32::from(is_whole);
    }
    Some(salvage)
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entry_count == 0 && self.entries_read == 0 {
            return write!(f, "a damaged commit without entries");
        }
        let Self { entry_count, entries_read, batches_whole, .. } = self;
        write!(f, "a damaged commit, {entries_read} of {entry_count} entries readable, {batches_whole} batches whole")?;
        for (partition, (from, end)) in self.offsets.iter().take(NAMED_MAX) {
            write!(f, ", partition {partition} offsets {from}..{end}")?;
        }
        match self.offsets.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more partitions"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{Incarnation, LeaderEpoch};

    use super::super::*;
    use super::*;
    use crate::format::testing::for_every_flipped_bit;

    fn commit() -> Vec<u8> {
        let mut buf = vec![0; BLOCK];
        let fields = CommitHeaderFields {
            journal_id: 0x0123_4567_89ab_cdef,
            incarnation: Incarnation(7),
            sequence: 12,
            durable_sequence: 11,
            previous_checksum: 0xfeed_beef,
            written_at_ms: 0,
        };
        let mut writer = CommitWriter::new(&mut buf, fields);
        for (partition, base) in [(3, 100), (9, 40), (3, 110)] {
            let header = EntryHeader {
                kind: EntryKind::Data,
                first_fragment: true,
                last_fragment: true,
                partition: PartitionId(partition),
                base_offset: Offset(base),
                end_offset: Offset(base + 10),
                segment_base: Offset(0),
                position: 0,
                ownership_epoch: 0,
                leader_epoch: LeaderEpoch(1),
            };
            writer.push(&header, &[&[5; 100]]).expect("fits");
        }
        writer.finish();
        buf
    }

    #[test]
    fn whatever_bit_is_flipped_the_commit_is_known_by_its_place_in_the_chain() {
        for_every_flipped_bit(&commit(), |position, bytes| {
            let found = salvage(bytes, 0x0123_4567_89ab_cdef, Incarnation(7));
            let found = found.unwrap_or_else(|| panic!("byte {position}"));
            assert!(found.continues(12, 0xfeed_beef), "byte {position}");
        });
    }

    #[test]
    fn a_damaged_payload_leaves_partitions_and_offsets_readable() {
        let mut bytes = commit();
        bytes[COMMIT_HEADER_BYTES + ENTRY_HEADER_BYTES + 3] ^= 1;
        let found = salvage(&bytes, 0x0123_4567_89ab_cdef, Incarnation(7)).expect("ours");
        let text = "a damaged commit, 3 of 3 entries readable, 0 batches whole, \
                    partition 3 offsets 100..120, partition 9 offsets 40..50";
        assert_eq!(found.to_string(), text);
        assert_eq!(salvage(&bytes, 1, Incarnation(8)), None);
        assert_eq!(salvage(&[0; BLOCK], 1, Incarnation(8)), None);
    }
}

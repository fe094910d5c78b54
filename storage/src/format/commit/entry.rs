//! The entries of a journal commit: what happened to one partition.
//!
//! Owns the bytes of an entry. Never applies one: that is replay's. Lives on no core. An entry starts at a multiple of 8
//! within its commit: a header of 56 bytes, the payload, zeros to a multiple of 8.
//!
//! | Bytes | Entry field | Why here |
//! |---|---|---|
//! | 0 | kind: 1 data, 2 carry, 3 truncate, 4 log start, 5 drop, 6 handoff | |
//! | 1 | flags: bit 0 first, bit 1 last fragment | a batch exists only when its last fragment does (J14) |
//! | 2..4 | zero | |
//! | 4..8 | length of the payload | then zeros to a multiple of 8 |
//! | 8..16 | partition | |
//! | 16..24 | base offset | |
//! | 24..32 | end offset | |
//! | 32..40 | segment base | with position: replay repeats the write at the same place, it never searches one |
//! | 40..48 | position in that segment | |
//! | 48..52 | ownership epoch | |
//! | 52..56 | leader epoch | |

use ouzel_protocol::{LeaderEpoch, Offset, PartitionId};
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::{FormatError, is_blank};

/// Size of the header of an entry.
pub const ENTRY_HEADER_BYTES: usize = 56;

pub(super) const ENTRY_ALIGN: usize = 8;
const FRAGMENT_FIRST: u8 = 1;
const FRAGMENT_LAST: u8 = 2;

const _: () = assert!(size_of::<EntryBytes>() == ENTRY_HEADER_BYTES);

/// What an entry does to its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// Appended batches, or a fragment of one.
    Data = 1,
    /// Bytes of an earlier commit, carried forward so that its file may be reused (J9).
    Carry = 2,
    /// The log was cut.
    Truncate = 3,
    /// The log start moved.
    LogStart = 4,
    /// The partition was dropped.
    Drop = 5,
    /// The partition was handed to another shard.
    Handoff = 6,
}

impl EntryKind {
    /// True if the payload is bytes of the log, whose offsets must be in order.
    pub fn carries_batches(self) -> bool {
        matches!(self, Self::Data | Self::Carry)
    }

    fn from_byte(byte: u8) -> Result<Self, FormatError> {
        Ok(match byte {
            1 => Self::Data,
            2 => Self::Carry,
            3 => Self::Truncate,
            4 => Self::LogStart,
            5 => Self::Drop,
            6 => Self::Handoff,
            other => {
                return Err(FormatError::new("kind of journal entry (at most)", 6u8, other));
            }
        })
    }
}

/// The header of an entry. The length of the payload is the payload's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// What it does.
    pub kind: EntryKind,
    /// The payload starts at a batch boundary.
    pub first_fragment: bool,
    /// The payload ends at a batch boundary.
    pub last_fragment: bool,
    /// Whose log.
    pub partition: PartitionId,
    /// First offset concerned.
    pub base_offset: Offset,
    /// Offset after the last one concerned.
    pub end_offset: Offset,
    /// Base offset of the segment the payload belongs into.
    pub segment_base: Offset,
    /// Byte position in that segment.
    pub position: u64,
    /// Ownership epoch of the partition at this shard (J7).
    pub ownership_epoch: u32,
    /// Leader epoch of the partition.
    pub leader_epoch: LeaderEpoch,
}

/// Iterator over the entries of a commit; stops after the first error.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(EntryHeader, &'a [u8]), FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let entry = self.parse_next();
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}

impl<'a> Entries<'a> {
    pub(super) fn new(body: &'a [u8], entry_count: u32) -> Self {
        Self { rest: body, left: entry_count }
    }

    /// Bytes behind the entries that were returned so far.
    pub(super) fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    fn parse_next(&mut self) -> Result<(EntryHeader, &'a [u8]), FormatError> {
        let short = |bytes: usize| FormatError::new("bytes of journal entry", ENTRY_HEADER_BYTES as u64, bytes as u64);
        let (raw, rest) = EntryBytes::read_from_prefix(self.rest).map_err(|_| short(self.rest.len()))?;
        let length = raw.length.get() as usize;
        let cut = |_: ()| FormatError::new("payload of journal entry (at most)", rest.len() as u64, length as u64);
        let (payload, rest) = rest.split_at_checked(length).ok_or(()).map_err(cut)?;
        let padding = length.next_multiple_of(ENTRY_ALIGN) - length;
        let (zeros, rest) = rest.split_at_checked(padding).ok_or(()).map_err(cut)?;
        if !is_blank(zeros) {
            return Err(FormatError::new("padding of journal entry", 0u8, 1u8));
        }
        self.rest = rest;
        Ok((raw.header()?, payload))
    }
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct EntryBytes {
    kind: u8,
    flags: u8,
    reserved: U16,
    length: U32,
    partition: U64,
    base_offset: U64,
    end_offset: U64,
    segment_base: U64,
    position: U64,
    ownership_epoch: U32,
    leader_epoch: U32,
}

impl EntryBytes {
    pub(super) fn of(header: &EntryHeader, length: u32) -> Self {
        let first = if header.first_fragment { FRAGMENT_FIRST } else { 0 };
        let last = if header.last_fragment { FRAGMENT_LAST } else { 0 };
        Self {
            kind: header.kind as u8,
            flags: first | last,
            reserved: U16::ZERO,
            length: U32::new(length),
            partition: U64::new(header.partition.0),
            base_offset: U64::new(header.base_offset.0),
            end_offset: U64::new(header.end_offset.0),
            segment_base: U64::new(header.segment_base.0),
            position: U64::new(header.position),
            ownership_epoch: U32::new(header.ownership_epoch),
            leader_epoch: U32::new(header.leader_epoch.0),
        }
    }

    fn header(&self) -> Result<EntryHeader, FormatError> {
        FormatError::at_most("flags of journal entry (at most)", FRAGMENT_FIRST | FRAGMENT_LAST, self.flags)?;
        FormatError::equal("reserved bytes of journal entry", 0u8, self.reserved.get())?;
        let kind = EntryKind::from_byte(self.kind)?;
        if kind.carries_batches() {
            let (base, end) = (self.base_offset.get(), self.end_offset.get());
            FormatError::at_least("end offset of journal entry (at least)", base, end)?;
        }
        Ok(EntryHeader {
            kind,
            first_fragment: self.flags & FRAGMENT_FIRST != 0,
            last_fragment: self.flags & FRAGMENT_LAST != 0,
            partition: PartitionId(self.partition.get()),
            base_offset: Offset(self.base_offset.get()),
            end_offset: Offset(self.end_offset.get()),
            segment_base: Offset(self.segment_base.get()),
            position: self.position.get(),
            ownership_epoch: self.ownership_epoch.get(),
            leader_epoch: LeaderEpoch(self.leader_epoch.get()),
        })
    }
}

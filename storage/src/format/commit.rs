//! The journal commit: one aligned write that holds the appends of many partitions, all or nothing.
//!
//! Owns the bytes of a commit and of its entries. Never decides what a break in the chain means, that is recovery's,
//! and never reads a file. Lives on no core.
//!
//! A journal file is nothing but commits at multiples of 4 KiB from byte 0, followed by old bytes or zeros.
//!
//! | Bytes | Header field | Why here |
//! |---|---|---|
//! | 0..4 | magic `OZJC` | tells a commit from blank or foreign bytes before anything else is believed |
//! | 4..6 | version = 1 | the reader of the rest |
//! | 6..8 | flags: bit 0 seal | a commit without entries is a seal and says so |
//! | 8..16 | journal id | random per journal directory: old bytes of another journal never chain |
//! | 16..24 | incarnation | raised at every start before the first write (J1) |
//! | 24..32 | sequence, from 1 | place in the chain |
//! | 32..40 | durable sequence | highest commit known durable when this one was written: tells torn from corrupt (J4) |
//! | 40..44 | previous checksum | the chain itself; 0 for sequence 1 |
//! | 44..48 | checksum | CRC-32C over the whole padded commit with this field as zero |
//! | 48..52 | length | from the header to the end of the entries, before padding |
//! | 52..56 | entry count | |
//! | 56..64 | written at, ms | for people: `ouzel inspect`, reports of cut tails |
//!
//! Everything needed to decide whether to go on (magic to chain) stands in one 512-byte sector, so it is never torn.
//! Entries follow, each 8-byte aligned: see [`EntryHeader`] for theirs.

mod entry;
mod salvage;

use ouzel_protocol::Incarnation;
use ouzel_protocol::crc;
use zerocopy::byteorder::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use entry::{ENTRY_ALIGN, EntryBytes};
pub use entry::{ENTRY_HEADER_BYTES, Entries, EntryHeader, EntryKind};
pub use salvage::{Salvage, salvage};

use super::{BLOCK, FormatError, checksum_with_hole, is_blank, padded_to_block};

/// First bytes of every commit.
pub const COMMIT_MAGIC: [u8; 4] = *b"OZJC";
/// The version this code writes and the only one it reads.
pub const COMMIT_VERSION: u16 = 1;
/// Size of the header of a commit.
pub const COMMIT_HEADER_BYTES: usize = 64;
/// Largest padded commit that a reader accepts: what a damaged length can make it read.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;

const FLAG_SEAL: u16 = 1;
const CHECKSUM_AT: usize = 44;

const _: () = assert!(size_of::<HeaderBytes>() == COMMIT_HEADER_BYTES);
const _: () = assert!(std::mem::offset_of!(HeaderBytes, checksum) == CHECKSUM_AT);
const _: () =
    assert!(COMMIT_HEADER_BYTES.is_multiple_of(ENTRY_ALIGN) && ENTRY_HEADER_BYTES.is_multiple_of(ENTRY_ALIGN));
const _: () = assert!(COMMIT_BYTES_MAX.is_multiple_of(BLOCK) && COMMIT_BYTES_MAX < u32::MAX as usize);

/// What the writer of a commit decides; magic, version, flags, lengths and checksum follow from the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHeaderFields {
    /// Random number of the journal directory.
    pub journal_id: u64,
    /// Start of the node this journal belongs to.
    pub incarnation: Incarnation,
    /// Place in the chain, from 1.
    pub sequence: u64,
    /// Highest sequence known durable; lower than `sequence`.
    pub durable_sequence: u64,
    /// Checksum of commit `sequence - 1` of this journal; 0 for sequence 1.
    pub previous_checksum: u32,
    /// Wall clock, milliseconds since the epoch; for people only.
    pub written_at_ms: i64,
}

/// The header of a commit as read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitHeader {
    /// What its writer decided.
    pub fields: CommitHeaderFields,
    /// A commit without entries, written when the journal falls idle.
    pub seal: bool,
    /// Checksum of the whole padded commit.
    pub checksum: u32,
    /// Bytes from the header to the end of the entries.
    pub length: u32,
    /// Number of entries.
    pub entry_count: u32,
}

impl CommitHeader {
    /// Bytes the commit takes in the file: a multiple of [`BLOCK`].
    pub fn padded_bytes(&self) -> usize {
        padded_to_block(self.length as usize)
    }
}

/// The entry does not fit in what is left of the commit; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room in the commit")]
pub struct NoRoom;

/// Why bytes are not a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The place of the header holds zeros only: never written.
    #[error("blank block")]
    Blank,
    /// Another magic: old or foreign bytes, or a damaged first byte.
    #[error("not a commit: magic {got:#010x}")]
    NotACommit {
        /// The first four bytes, little-endian.
        got: u32,
    },
    /// The slice ends before the commit does; call again with this many bytes.
    #[error("the commit has {bytes} bytes, fewer are at hand")]
    NeedMore {
        /// Bytes of the whole padded commit (of one block if not even the header is there).
        bytes: usize,
    },
    /// The checksum holds but this code cannot read the version: refuse, never cut.
    #[error("commit of version {got} is not known to this version of ouzel")]
    UnknownVersion {
        /// The version found.
        got: u16,
    },
    /// A commit once, but not these bytes.
    #[error("damaged commit: {0}")]
    Damaged(#[from] FormatError),
}

/// Bytes copied before their checksum is taken: they fit a core's first cache.
const CHECKSUM_PIECE_BYTES: usize = 16 * 1024;

/// Builds one commit in place. The buffer becomes the commit; it may hold any bytes before.
#[derive(Debug)]
pub struct CommitWriter<'a> {
    buf: &'a mut [u8],
    fields: CommitHeaderFields,
    /// End of the last entry; always a multiple of [`ENTRY_ALIGN`].
    at: usize,
    entry_count: u32,
    /// Checksum of what stands behind the header so far, taken while it is in the core's cache.
    checksum: u32,
}

impl<'a> CommitWriter<'a> {
    /// Starts a commit. `buf` holds a multiple of [`BLOCK`] bytes, at least one block, at most [`COMMIT_BYTES_MAX`].
    pub fn new(buf: &'a mut [u8], fields: CommitHeaderFields) -> Self {
        assert!(!buf.is_empty() && buf.len().is_multiple_of(BLOCK) && buf.len() <= COMMIT_BYTES_MAX);
        assert!(fields.sequence >= 1 && fields.durable_sequence < fields.sequence, "{fields:?}");
        assert!(fields.sequence > 1 || fields.previous_checksum == 0, "{fields:?}");
        Self { buf, fields, at: COMMIT_HEADER_BYTES, entry_count: 0, checksum: 0 }
    }

    /// Payload bytes that fit in one more entry. 0 also when no entry fits at all.
    pub fn room(&self) -> usize {
        (self.buf.len() - self.at).saturating_sub(ENTRY_HEADER_BYTES)
    }

    /// Entries so far.
    pub fn entry_count(&self) -> u32 {
        self.entry_count
    }

    /// Appends an entry whose payload is the concatenation of `payload`.
    ///
    /// # Errors
    /// [`NoRoom`] if it does not fit; the commit stays as it was.
    pub fn push(&mut self, header: &EntryHeader, payload: &[&[u8]]) -> Result<(), NoRoom> {
        assert!(!header.kind.carries_batches() || header.base_offset <= header.end_offset, "{header:?}");
        let length: usize = payload.iter().map(|part| part.len()).sum();
        let padded = length.checked_next_multiple_of(ENTRY_ALIGN).ok_or(NoRoom)?;
        let left = self.buf.len() - self.at;
        if left < ENTRY_HEADER_BYTES || left - ENTRY_HEADER_BYTES < padded {
            return Err(NoRoom);
        }
        let bytes = EntryBytes::of(header, length as u32);
        self.put(bytes.as_bytes());
        for part in payload {
            self.put(part);
        }
        self.put(&[0; ENTRY_ALIGN][..padded - length]);
        self.entry_count += 1;
        Ok(())
    }

    /// Pads with zeros and seals the content by its checksum. Returns how many bytes of the buffer to write and the
    /// checksum that the next commit names. A commit without entries is a seal.
    pub fn finish(self) -> (usize, u32) {
        let padded_bytes = padded_to_block(self.at);
        let commit = &mut self.buf[..padded_bytes];
        commit[self.at..].fill(0);
        let behind = crc::crc32c_append(self.checksum, &commit[self.at..]);
        let mut header = HeaderBytes {
            magic: COMMIT_MAGIC,
            version: U16::new(COMMIT_VERSION),
            flags: U16::new(if self.entry_count == 0 { FLAG_SEAL } else { 0 }),
            journal_id: U64::new(self.fields.journal_id),
            incarnation: U64::new(self.fields.incarnation.0),
            sequence: U64::new(self.fields.sequence),
            durable_sequence: U64::new(self.fields.durable_sequence),
            previous_checksum: U32::new(self.fields.previous_checksum),
            checksum: U32::ZERO,
            length: U32::new(self.at as u32),
            entry_count: U32::new(self.entry_count),
            written_at_ms: I64::new(self.fields.written_at_ms),
        };
        let checksum = crc::crc32c_combine(crc::crc32c(header.as_bytes()), behind, padded_bytes - COMMIT_HEADER_BYTES);
        header.checksum = U32::new(checksum);
        commit[..COMMIT_HEADER_BYTES].copy_from_slice(header.as_bytes());
        (padded_bytes, checksum)
    }

    fn put(&mut self, bytes: &[u8]) {
        // Piece by piece: what was just copied is nearest.
        for piece in bytes.chunks(CHECKSUM_PIECE_BYTES) {
            let copy = &mut self.buf[self.at..self.at + piece.len()];
            copy.copy_from_slice(piece);
            self.checksum = crc::crc32c_append(self.checksum, copy);
            self.at += piece.len();
        }
    }
}

/// One whole, undamaged commit; borrows the bytes it was parsed from.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    header: CommitHeader,
    /// The entries without the padding of the commit.
    body: &'a [u8],
}

impl<'a> Commit<'a> {
    /// Its header.
    pub fn header(&self) -> &CommitHeader {
        &self.header
    }

    /// Bytes it takes in the file: the next commit starts that much further.
    pub fn padded_bytes(&self) -> usize {
        self.header.padded_bytes()
    }

    /// Its entries in order. [`parse_commit`] has walked them, so an error here is impossible unless it is a bug.
    pub fn entries(&self) -> Entries<'a> {
        Entries::new(self.body, self.header.entry_count)
    }
}

/// Reads the header of a commit without proving it: only magic and the bound of the length are checked, so that the
/// caller learns how many bytes [`parse_commit`] needs. A seal or a stale commit looks like any other.
///
/// # Errors
/// As [`parse_commit`], but never `NeedMore` or `UnknownVersion`.
pub fn peek_header(bytes: &[u8; COMMIT_HEADER_BYTES]) -> Result<CommitHeader, CommitError> {
    let raw = HeaderBytes::read_from_bytes(bytes).map_err(|_| CommitError::NeedMore { bytes: BLOCK })?;
    if raw.magic != COMMIT_MAGIC {
        let got = u32::from_le_bytes(raw.magic);
        return Err(if is_blank(bytes) { CommitError::Blank } else { CommitError::NotACommit { got } });
    }
    let length = raw.length.get();
    FormatError::at_least("length of commit (at least)", COMMIT_HEADER_BYTES as u64, length)?;
    FormatError::at_most("length of commit (at most)", COMMIT_BYTES_MAX as u64, length)?;
    Ok(raw.header())
}

/// Parses the commit that starts at the first byte; bytes after its padded end are ignored. The checksum is proved
/// first, then every rule of the layout, then every entry is walked: a returned commit may be applied whole.
///
/// Whether it continues the chain (journal id, incarnation, sequence, previous checksum) is the caller's question.
///
/// # Errors
/// See [`CommitError`]; only the caller can tell a torn commit from a corrupt one.
pub fn parse_commit(bytes: &[u8]) -> Result<Commit<'_>, CommitError> {
    let first = bytes.first_chunk::<COMMIT_HEADER_BYTES>().ok_or(CommitError::NeedMore { bytes: BLOCK })?;
    let header = peek_header(first)?;
    let padded_bytes = header.padded_bytes();
    let commit = bytes.get(..padded_bytes).ok_or(CommitError::NeedMore { bytes: padded_bytes })?;
    let computed = checksum_with_hole(commit, CHECKSUM_AT).ok_or(CommitError::NeedMore { bytes: padded_bytes })?;
    FormatError::equal("checksum of commit", computed, header.checksum)?;

    let raw = HeaderBytes::read_from_bytes(first).map_err(|_| CommitError::NeedMore { bytes: BLOCK })?;
    if raw.version.get() != COMMIT_VERSION {
        return Err(CommitError::UnknownVersion { got: raw.version.get() });
    }
    let fields = &header.fields;
    FormatError::equal("flags of commit", if header.entry_count == 0 { FLAG_SEAL } else { 0 }, raw.flags.get())?;
    FormatError::at_least("sequence of commit (at least)", 1u8, fields.sequence)?;
    FormatError::at_most("durable sequence of commit (at most)", fields.sequence - 1, fields.durable_sequence)?;
    if fields.sequence == 1 {
        FormatError::equal("previous checksum of the first commit", 0u8, fields.previous_checksum)?;
    }
    let (body, padding) = commit
        .get(COMMIT_HEADER_BYTES..)
        .and_then(|rest| rest.split_at_checked(header.length as usize - COMMIT_HEADER_BYTES))
        .ok_or(CommitError::NeedMore { bytes: padded_bytes })?;
    if !is_blank(padding) {
        return Err(FormatError::new("padding of commit", 0u8, 1u8).into());
    }
    let parsed = Commit { header, body };
    let mut entries = parsed.entries();
    for entry in entries.by_ref() {
        entry?;
    }
    FormatError::equal("bytes after the last entry of commit", 0u8, entries.rest_bytes() as u64)?;
    Ok(parsed)
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 4],
    version: U16,
    flags: U16,
    journal_id: U64,
    incarnation: U64,
    sequence: U64,
    durable_sequence: U64,
    previous_checksum: U32,
    checksum: U32,
    length: U32,
    entry_count: U32,
    written_at_ms: I64,
}

impl HeaderBytes {
    fn header(&self) -> CommitHeader {
        CommitHeader {
            fields: CommitHeaderFields {
                journal_id: self.journal_id.get(),
                incarnation: Incarnation(self.incarnation.get()),
                sequence: self.sequence.get(),
                durable_sequence: self.durable_sequence.get(),
                previous_checksum: self.previous_checksum.get(),
                written_at_ms: self.written_at_ms.get(),
            },
            seal: self.flags.get() & FLAG_SEAL != 0,
            checksum: self.checksum.get(),
            length: self.length.get(),
            entry_count: self.entry_count.get(),
        }
    }
}

#[cfg(test)]
mod tests;

//! The entry of the metadata log: a snapshot, a change, or a seal.
//!
//! Owns the bytes of an entry. Never decides what damage means and never reads a file: that is `metadata_log`'s.
//! Lives on no core. A log file is nothing but entries at multiples of 4 KiB from byte 0, followed by zeros.
//!
//! | Bytes | Header field | Why here |
//! |---|---|---|
//! | 0..4 | magic `OZML` | |
//! | 4..6 | version = 1 | |
//! | 6 | kind: 1 snapshot, 2 entry, 3 seal | |
//! | 7 | zero | |
//! | 8..16 | generation | that of the file: entries of another file never chain |
//! | 16..24 | index | of the change; of the last change covered (snapshot) or sealed (seal) |
//! | 24..32 | term | 0 on a quorum of one; the door for a replicated log |
//! | 32..36 | previous checksum | of the entry before it in this file; 0 in the snapshot that starts the file |
//! | 36..40 | checksum | CRC-32C over the whole padded entry with this field as zero |
//! | 40..44 | length of the payload | the payload follows the header, then zeros to 4 KiB |
//! | 44..48 | zero | keeps what follows 8-byte aligned |
//! | 48..56 | durable index | highest index known durable when this was written: tells torn from corrupt (J4) |
//! | 56..64 | zero | |
//!
//! A seal has no payload and no successor: the next entry overwrites it and names the entry before it as previous.

use ouzel_protocol::crc;
use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BLOCK, FormatError, checksum_with_hole, is_blank, padded_to_block};

/// First bytes of every entry.
pub const METADATA_MAGIC: [u8; 4] = *b"OZML";
/// The version this code writes and the only one it reads.
pub const METADATA_VERSION: u16 = 1;
/// Size of the header of an entry.
pub const METADATA_HEADER_BYTES: usize = 64;
/// Largest payload of an entry or snapshot.
pub const METADATA_PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

const CHECKSUM_AT: usize = 36;

const _: () = assert!(size_of::<HeaderBytes>() == METADATA_HEADER_BYTES);
const _: () = assert!(std::mem::offset_of!(HeaderBytes, checksum) == CHECKSUM_AT);
const _: () = assert!(METADATA_PAYLOAD_BYTES_MAX + METADATA_HEADER_BYTES + BLOCK < u32::MAX as usize);

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MetadataKind {
    /// The whole state at `index`; the first entry of every file. Without payload: nothing has happened yet.
    Snapshot = 1,
    /// The change number `index`.
    Entry = 2,
    /// Written after a sync: everything up to `index` is durable.
    Seal = 3,
}

/// The header of an entry. Length and checksum follow from the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataHeader {
    /// What it is.
    pub kind: MetadataKind,
    /// Generation of its file.
    pub generation: u64,
    /// Number of the change, from 1; see [`MetadataKind`].
    pub index: u64,
    /// 0 on a quorum of one.
    pub term: u64,
    /// Checksum of the entry before it in the file; 0 in a snapshot.
    pub previous_checksum: u32,
    /// Highest index known durable when this was written.
    pub durable_index: u64,
}

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataEntryError {
    /// The place of the header holds zeros only: never written, or cut.
    #[error("blank block")]
    Blank,
    /// The slice ends before the entry does; call again with this many bytes.
    #[error("the entry has {bytes} bytes, fewer are at hand")]
    NeedMore {
        /// Bytes of the whole padded entry (of one block if not even the header is there).
        bytes: usize,
    },
    /// The checksum holds but this code cannot read the version: refuse, never cut.
    #[error("metadata entry of version {got} is not known to this version of ouzel")]
    UnknownVersion {
        /// The version found.
        got: u16,
    },
    /// No entry, or one that is not what was written.
    #[error("damaged metadata entry: {0}")]
    Damaged(#[from] FormatError),
}

/// One whole, undamaged entry; borrows the bytes it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataEntry<'a> {
    /// Its header.
    pub header: MetadataHeader,
    /// Its checksum, which the next entry names.
    pub checksum: u32,
    /// Its payload.
    pub payload: &'a [u8],
}

impl MetadataEntry<'_> {
    /// Bytes it takes in the file.
    pub fn padded_bytes(&self) -> usize {
        metadata_padded_bytes(self.payload.len())
    }
}

/// Bytes that an entry with such a payload takes in the file: a multiple of [`BLOCK`].
pub const fn metadata_padded_bytes(payload_bytes: usize) -> usize {
    padded_to_block(METADATA_HEADER_BYTES + payload_bytes)
}

/// Writes an entry to the start of `out`, padding included, and returns its checksum. `out` holds at least
/// [`metadata_padded_bytes`]; the payload at most [`METADATA_PAYLOAD_BYTES_MAX`].
pub fn encode_metadata_entry(out: &mut [u8], header: &MetadataHeader, payload: &[u8]) -> u32 {
    assert!(payload.len() <= METADATA_PAYLOAD_BYTES_MAX);
    assert!(header.durable_index <= header.index, "{header:?}");
    assert!(header.kind != MetadataKind::Seal || payload.is_empty(), "a seal has no payload");
    let entry = &mut out[..metadata_padded_bytes(payload.len())];
    let mut raw = HeaderBytes {
        magic: METADATA_MAGIC,
        version: U16::new(METADATA_VERSION),
        kind: header.kind as u8,
        reserved: 0,
        generation: U64::new(header.generation),
        index: U64::new(header.index),
        term: U64::new(header.term),
        previous_checksum: U32::new(header.previous_checksum),
        checksum: U32::ZERO,
        length: U32::new(payload.len() as u32),
        reserved_middle: U32::ZERO,
        durable_index: U64::new(header.durable_index),
        reserved_end: U64::ZERO,
    };
    entry[..METADATA_HEADER_BYTES].copy_from_slice(raw.as_bytes());
    let (body, padding) = entry[METADATA_HEADER_BYTES..].split_at_mut(payload.len());
    body.copy_from_slice(payload);
    padding.fill(0);
    let checksum = crc::crc32c(entry);
    raw.checksum = U32::new(checksum);
    entry[..METADATA_HEADER_BYTES].copy_from_slice(raw.as_bytes());
    checksum
}

/// Parses the entry that starts at the first byte; bytes after its padded end are ignored. Whether it continues the
/// chain (generation, index, previous checksum) is the caller's question.
///
/// # Errors
/// See [`MetadataEntryError`]; only the caller can tell a torn entry from a corrupt one.
pub fn parse_metadata_entry(bytes: &[u8]) -> Result<MetadataEntry<'_>, MetadataEntryError> {
    let need_more = |bytes| move |_| MetadataEntryError::NeedMore { bytes };
    let (raw, _) = HeaderBytes::read_from_prefix(bytes).map_err(|_| need_more(BLOCK)(()))?;
    if is_blank(raw.as_bytes()) {
        return Err(MetadataEntryError::Blank);
    }
    let magic = u32::from_le_bytes;
    FormatError::equal("magic of metadata entry", magic(METADATA_MAGIC), magic(raw.magic))?;
    FormatError::at_most("length of metadata entry (at most)", METADATA_PAYLOAD_BYTES_MAX as u64, raw.length.get())?;
    let payload_bytes = raw.length.get() as usize;
    let padded_bytes = metadata_padded_bytes(payload_bytes);
    let entry = bytes.get(..padded_bytes).ok_or(()).map_err(need_more(padded_bytes))?;
    let computed = checksum_with_hole(entry, CHECKSUM_AT).ok_or(()).map_err(need_more(padded_bytes))?;
    FormatError::equal("checksum of metadata entry", computed, raw.checksum.get())?;

    if raw.version.get() != METADATA_VERSION {
        return Err(MetadataEntryError::UnknownVersion { got: raw.version.get() });
    }
    let (payload, padding) = entry
        .get(METADATA_HEADER_BYTES..)
        .and_then(|rest| rest.split_at_checked(payload_bytes))
        .ok_or(())
        .map_err(need_more(padded_bytes))?;
    FormatError::equal("reserved bytes of metadata entry", 0u8, raw.reserved)?;
    FormatError::equal("reserved bytes of metadata entry", 0u8, raw.reserved_middle.get())?;
    FormatError::equal("reserved bytes of metadata entry", 0u8, raw.reserved_end.get())?;
    FormatError::at_most("durable index (at most)", raw.index.get(), raw.durable_index.get())?;
    FormatError::equal("padding of metadata entry", 0u8, !is_blank(padding))?;
    let kind = match raw.kind {
        1 => MetadataKind::Snapshot,
        2 => MetadataKind::Entry,
        3 => MetadataKind::Seal,
        other => {
            return Err(FormatError::new("kind of metadata entry (at most)", 3u8, other).into());
        }
    };
    if kind == MetadataKind::Seal {
        FormatError::equal("payload of a seal", 0u8, raw.length.get())?;
    }
    let header = MetadataHeader {
        kind,
        generation: raw.generation.get(),
        index: raw.index.get(),
        term: raw.term.get(),
        previous_checksum: raw.previous_checksum.get(),
        durable_index: raw.durable_index.get(),
    };
    Ok(MetadataEntry { header, checksum: raw.checksum.get(), payload })
}

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 4],
    version: U16,
    kind: u8,
    reserved: u8,
    generation: U64,
    index: U64,
    term: U64,
    previous_checksum: U32,
    checksum: U32,
    length: U32,
    reserved_middle: U32,
    durable_index: U64,
    reserved_end: U64,
}

#[cfg(test)]
mod tests {
    use super::super::testing::for_every_flipped_bit;
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/metadata-entry-v1.bin");
    const HEADER: MetadataHeader = MetadataHeader {
        kind: MetadataKind::Entry,
        generation: 3,
        index: 17,
        term: 0,
        previous_checksum: 0xdead_beef,
        durable_index: 16,
    };

    fn encode(header: &MetadataHeader, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0xaa; metadata_padded_bytes(payload.len())];
        let checksum = encode_metadata_entry(&mut out, header, payload);
        assert_eq!(parse_metadata_entry(&out).unwrap().checksum, checksum);
        out
    }

    fn reseal(bytes: &mut [u8]) {
        let checksum = checksum_with_hole(bytes, CHECKSUM_AT).unwrap();
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        for payload_bytes in [0, 1, BLOCK - METADATA_HEADER_BYTES, BLOCK, 3 * BLOCK] {
            let payload = vec![7; payload_bytes];
            let mut bytes = encode(&HEADER, &payload);
            bytes.push(0xff);
            let entry = parse_metadata_entry(&bytes).unwrap();
            assert_eq!((entry.header, entry.payload), (HEADER, payload.as_slice()));
            assert_eq!(entry.padded_bytes(), bytes.len() - 1);
        }
        for kind in [MetadataKind::Snapshot, MetadataKind::Seal] {
            let header = MetadataHeader { kind, durable_index: 17, ..HEADER };
            assert_eq!(parse_metadata_entry(&encode(&header, b"")).unwrap().header, header);
        }
    }

    #[test]
    fn the_bytes_of_version_1_are_the_golden_ones() {
        assert_eq!(encode(&HEADER, b"hello, ouzel!"), GOLDEN);
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_detected() {
        let of_kind = |kind| MetadataHeader { kind, durable_index: 17, ..HEADER };
        for bytes in [
            encode(&HEADER, b"hello, ouzel!"),
            encode(&of_kind(MetadataKind::Snapshot), b"a whole image"),
            encode(&of_kind(MetadataKind::Seal), b""),
        ] {
            for_every_flipped_bit(&bytes, |position, copy| {
                assert!(parse_metadata_entry(copy).is_err(), "flipped bit at byte {position} was not detected");
            });
        }
    }

    #[test]
    fn a_truncated_entry_asks_for_more_bytes() {
        let bytes = encode(&HEADER, &[1; BLOCK]);
        for cut in 0..bytes.len() {
            let bytes_needed = if cut < METADATA_HEADER_BYTES { BLOCK } else { 2 * BLOCK };
            let error = parse_metadata_entry(&bytes[..cut]).unwrap_err();
            assert_eq!(error, MetadataEntryError::NeedMore { bytes: bytes_needed });
        }
    }

    #[test]
    fn every_rule_behind_the_checksum_is_checked() {
        assert_eq!(parse_metadata_entry(&[0; BLOCK]).unwrap_err(), MetadataEntryError::Blank);
        let broken: &[(usize, u8, &str)] = &[
            (6, 0, "kind 0"),
            (6, 4, "kind 4"),
            (6, 3, "a seal with payload"),
            (7, 1, "reserved"),
            (44, 1, "reserved"),
            (56, 1, "reserved"),
            (48, 18, "durable index above index"),
            (METADATA_HEADER_BYTES + 13, 1, "padding"),
            (BLOCK - 1, 1, "padding"),
        ];
        for (position, value, rule) in broken {
            let mut bytes = encode(&HEADER, b"hello, ouzel!");
            bytes[*position] = *value;
            reseal(&mut bytes);
            assert!(matches!(parse_metadata_entry(&bytes), Err(MetadataEntryError::Damaged(_))), "{rule}");
        }
        let mut bytes = encode(&HEADER, b"");
        bytes[4] = 2;
        reseal(&mut bytes);
        assert_eq!(parse_metadata_entry(&bytes).unwrap_err(), MetadataEntryError::UnknownVersion { got: 2 });
    }
}

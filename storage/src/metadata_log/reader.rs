//! Reading one file of the metadata log: entries where they should stand, and evidence behind the last of them.
//!
//! Owns the read window. Never writes and decides nothing: `open` does. Lives on the shard that opens the log.

use std::path::Path;

use ouzel_runtime::{AlignedBuf, File};

use super::{MetadataLogError, STEP};
use crate::format::BLOCK;
use crate::format::metadata::{MetadataEntryError, MetadataHeader, MetadataKind, parse_metadata_entry};

/// How far the accepted entries reach.
pub(super) struct Chain {
    pub(super) index: u64,
    pub(super) checksum: u32,
    pub(super) tail: u64,
}

/// An entry read from the file.
pub(super) struct OwnedEntry {
    pub(super) header: MetadataHeader,
    pub(super) checksum: u32,
    pub(super) payload: Vec<u8>,
    pub(super) padded_bytes: u64,
}

impl OwnedEntry {
    pub(super) fn starts(&self, generation: u64) -> bool {
        let header = &self.header;
        header.kind == MetadataKind::Snapshot && header.generation == generation && header.previous_checksum == 0
    }

    pub(super) fn continues(&self, generation: u64, chain: &Chain) -> bool {
        let header = &self.header;
        header.kind == MetadataKind::Entry
            && header.generation == generation
            && header.previous_checksum == chain.checksum
            && chain.index.checked_add(1) == Some(header.index)
            && header.durable_index <= chain.index
    }

    pub(super) fn seals(&self, generation: u64, chain: &Chain) -> bool {
        let header = &self.header;
        header.kind == MetadataKind::Seal
            && header.generation == generation
            && header.previous_checksum == chain.checksum
            && header.index == chain.index
    }
}

/// What stands at a place of the file.
pub(super) enum Found {
    /// The end of the file.
    Nothing,
    /// Zeros where a header would be.
    Blank,
    /// An undamaged entry, wherever it belongs.
    Entry(OwnedEntry),
    /// Neither.
    Bad(MetadataEntryError),
}

impl Found {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Nothing => "end of file".to_owned(),
            Self::Blank => "blank block".to_owned(),
            Self::Entry(OwnedEntry { header, .. }) => {
                format!("{:?} {} of generation {}", header.kind, header.index, header.generation)
            }
            Self::Bad(error) => error.to_string(),
        }
    }
}

/// What stands behind the end of the chain.
#[derive(Default)]
pub(super) struct Evidence {
    /// First block that is not zeros.
    pub(super) first_dirty: Option<u64>,
    /// First undamaged entry of this generation.
    pub(super) entry: Option<u64>,
    /// Where something proves that the entry asked about was durable, and what it is.
    pub(super) durable: Option<(u64, String)>,
}

/// Reads blocks and entries through one window; larger entries get a buffer of their own size, bounded by the file.
pub(super) struct Reader<'a> {
    file: &'a File,
    path: &'a Path,
    file_bytes: u64,
    window: AlignedBuf,
    /// Where the window starts in the file; `None` before the first read.
    window_at: Option<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path, file_bytes: u64) -> Self {
        Self { file, path, file_bytes, window: AlignedBuf::zeroed(STEP), window_at: None }
    }

    pub(super) fn path(&self) -> &Path {
        self.path
    }

    pub(super) async fn entry_at(&mut self, at: u64) -> Result<Found, MetadataLogError> {
        if at >= self.file_bytes {
            return Ok(Found::Nothing);
        }
        let bytes = match self.parse_window(at).await? {
            Found::Bad(MetadataEntryError::NeedMore { bytes }) => bytes,
            found => return Ok(found),
        };
        if bytes as u64 > self.file_bytes.next_multiple_of(BLOCK as u64) - at {
            return Ok(Found::Bad(MetadataEntryError::NeedMore { bytes }));
        }
        if bytes <= STEP {
            self.window_at = None;
            return self.parse_window(at).await;
        }
        let (_, buf) = self.read(AlignedBuf::zeroed(bytes), at).await?;
        Ok(parse(&buf))
    }

    async fn parse_window(&mut self, at: u64) -> Result<Found, MetadataLogError> {
        self.fill_window(at).await?;
        let from = at - self.window_at.unwrap_or(at);
        Ok(parse(self.window.get(from as usize..).unwrap_or(&[])))
    }

    /// Makes the window hold at least the block at `at`, zeros behind the end of the file.
    async fn fill_window(&mut self, at: u64) -> Result<(), MetadataLogError> {
        if let Some(window_at) = self.window_at
            && (window_at..window_at + STEP as u64).contains(&at)
        {
            return Ok(());
        }
        let window = std::mem::replace(&mut self.window, AlignedBuf::zeroed(BLOCK));
        self.window_at = None;
        let (bytes, mut window) = self.read(window, at).await?;
        window.get_mut(bytes..).unwrap_or(&mut []).fill(0);
        self.window = window;
        self.window_at = Some(at);
        Ok(())
    }

    async fn read(&self, buf: AlignedBuf, at: u64) -> Result<(usize, AlignedBuf), MetadataLogError> {
        let bytes = buf.len();
        let (read, buf) = self.file.read_at(buf, bytes, at).await;
        let bytes = read.map_err(|error| MetadataLogError::io("read", self.path, error))?;
        Ok((bytes, buf))
    }

    /// Looks at every block from `from` to the end of the file for anything, for entries of this generation, and for
    /// proof that entry `index` was durable.
    pub(super) async fn evidence(
        &mut self,
        from: u64,
        generation: u64,
        index: u64,
    ) -> Result<Evidence, MetadataLogError> {
        let mut evidence = Evidence::default();
        let mut at = from;
        while at < self.file_bytes {
            let found = self.entry_at(at).await?;
            let mut step = BLOCK as u64;
            match found {
                Found::Nothing => break,
                Found::Blank => {
                    self.fill_window(at).await?;
                    let from = (at - self.window_at.unwrap_or(at)) as usize;
                    let block = self.window.get(from..).and_then(|rest| rest.get(..BLOCK)).unwrap_or(&[]);
                    if !crate::format::is_blank(block) {
                        evidence.first_dirty.get_or_insert(at);
                    }
                }
                Found::Bad(MetadataEntryError::UnknownVersion { .. }) => {
                    evidence.first_dirty.get_or_insert(at);
                    evidence.durable.get_or_insert((at, found.describe()));
                }
                Found::Bad(_) => {
                    evidence.first_dirty.get_or_insert(at);
                }
                Found::Entry(ref entry) => {
                    evidence.first_dirty.get_or_insert(at);
                    step = entry.padded_bytes;
                    if entry.header.generation == generation {
                        if entry.header.kind == MetadataKind::Entry {
                            evidence.entry.get_or_insert(at);
                        }
                        if entry.header.durable_index >= index {
                            evidence.durable.get_or_insert((at, found.describe()));
                        }
                    }
                }
            }
            at += step;
        }
        Ok(evidence)
    }
}

fn parse(bytes: &[u8]) -> Found {
    match parse_metadata_entry(bytes) {
        Ok(entry) => Found::Entry(OwnedEntry {
            header: entry.header,
            checksum: entry.checksum,
            payload: entry.payload.to_vec(),
            padded_bytes: entry.padded_bytes() as u64,
        }),
        Err(MetadataEntryError::Blank) => Found::Blank,
        Err(error) => Found::Bad(error),
    }
}

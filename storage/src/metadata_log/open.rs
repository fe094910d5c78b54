//! Opening the metadata log: which generation counts, where its tail is, and whether damage is torn or corrupt.
//!
//! Owns the decisions of recovery. Never appends. Lives on the shard that opens the log, before anything is served.
//!
//! | Found where entry N should stand | Later valid entry or seal with durable index >= N | Decision |
//! |---|---|---|
//! | entry N, right generation and previous checksum | any | accept |
//! | seal of N-1, zeros behind it | none | end |
//! | zeros, zeros behind | none | end (the seal is not synced and may be lost) |
//! | anything else, or anything behind the end | none | torn tail: zeros over it, synced, reported |
//! | anything else | one | corrupt: N was durable. Refuse |
//! | damaged snapshot, older generation there, no entry in the damaged file | | nothing was appended yet: use the older one |
//! | damaged snapshot otherwise | | corrupt: a generation has its name only when its snapshot is durable. Refuse |

use std::path::{Path, PathBuf};

use ouzel_runtime::{Fs, OpenMode};

use super::reader::{Chain, Found, Reader};
use super::{
    CutTail, LoadedLog, METADATA_GENERATION_BYTES_MAX, METADATA_STEP_BYTES, MetadataLog, MetadataLogError, log_name,
    write_zeros,
};
use crate::format::BLOCK;
use crate::format::metadata::MetadataEntryError;

/// See [`MetadataLog::open`].
pub(super) async fn open(fs: &Fs, dir: &Path) -> Result<(MetadataLog, LoadedLog), MetadataLogError> {
    fs.create_dir_all(dir).await.map_err(|error| MetadataLogError::io("create of directory", dir, error))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(fs, parent).await?;
    }
    let found = Generations::list(fs, dir).await?;
    found.remove_unfinished(fs, dir).await?;
    let Some((&newest, older)) = found.complete.split_last() else {
        let log = MetadataLog::create(fs, dir, 1, 0, &[]).await?;
        return Ok((log, LoadedLog { generation: 1, ..LoadedLog::default() }));
    };

    let mut discarded = None;
    let (log, mut loaded) = match load(fs, dir, newest).await? {
        Ok(sound) => sound,
        Err(bad) => {
            let Some(&older) = older.last().filter(|_| !bad.used) else {
                return Err(bad.error());
            };
            // Nothing was appended to the damaged generation. It must be gone before the older one grows again.
            remove(fs, &bad.path).await?;
            sync_dir(fs, dir).await?;
            discarded = Some(CutTail { path: bad.path, position: 0, index: 0, detail: bad.detail });
            load(fs, dir, older).await?.map_err(BadSnapshot::error)?
        }
    };
    loaded.discarded = discarded;
    // Also makes the name of this generation durable, in case the process before died just short of it.
    sync_dir(fs, dir).await?;
    let outdated: Vec<u64> = older.iter().copied().filter(|generation| *generation < log.generation).collect();
    for generation in &outdated {
        remove(fs, &dir.join(log_name(*generation))).await?;
    }
    if !outdated.is_empty() {
        sync_dir(fs, dir).await?;
    }
    Ok((log, loaded))
}

/// What the directory holds. Files with other names are left alone.
struct Generations {
    /// Generations under their final name, ascending.
    complete: Vec<u64>,
    /// Generations that a crash left unfinished.
    unfinished: Vec<(u64, PathBuf)>,
}

impl Generations {
    async fn list(fs: &Fs, dir: &Path) -> Result<Self, MetadataLogError> {
        let entries = fs.read_dir(dir).await.map_err(|error| MetadataLogError::io("read of directory", dir, error))?;
        let mut found = Self { complete: Vec::new(), unfinished: Vec::new() };
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            let Some((stem, extension)) = entry.name.split_once('.') else {
                continue;
            };
            let Ok(generation) = u64::from_str_radix(stem, 16) else {
                continue;
            };
            if stem != format!("{generation:016x}") {
                continue;
            }
            match extension {
                "log" => found.complete.push(generation),
                "tmp" => found.unfinished.push((generation, dir.join(&entry.name))),
                _ => {}
            }
        }
        found.complete.sort_unstable();
        Ok(found)
    }

    async fn remove_unfinished(&self, fs: &Fs, dir: &Path) -> Result<(), MetadataLogError> {
        let orphan = self.unfinished.iter().find(|(generation, _)| self.complete.is_empty() && *generation > 1);
        if let Some((generation, path)) = orphan {
            let detail = format!("generation {} that it was to replace is missing", generation - 1);
            return Err(MetadataLogError::Corrupt { path: path.clone(), position: 0, index: 0, detail });
        }
        for (_, path) in &self.unfinished {
            remove(fs, path).await?;
        }
        if self.unfinished.is_empty() { Ok(()) } else { sync_dir(fs, dir).await }
    }
}

/// A generation that cannot be used, for want of its snapshot.
struct BadSnapshot {
    path: PathBuf,
    detail: String,
    /// Entries were appended to it, or a newer version of ouzel wrote it: nothing older may take its place.
    used: bool,
}

impl BadSnapshot {
    fn error(self) -> MetadataLogError {
        MetadataLogError::Corrupt {
            path: self.path,
            position: 0,
            index: 0,
            detail: format!("snapshot: {}", self.detail),
        }
    }
}

/// Reads one generation, cuts its torn tail, syncs what was accepted and seals it.
async fn load(
    fs: &Fs,
    dir: &Path,
    generation: u64,
) -> Result<Result<(MetadataLog, LoadedLog), BadSnapshot>, MetadataLogError> {
    let path = dir.join(log_name(generation));
    let io = |stage: &'static str| {
        let path = path.clone();
        move |error| MetadataLogError::io(stage, &path, error)
    };
    let file = fs.open(&path, OpenMode::ReadWrite).await.map_err(io("open"))?;
    let file_bytes = file.len().await.map_err(io("stat"))?;
    if file_bytes > METADATA_GENERATION_BYTES_MAX {
        let detail = format!("{file_bytes} bytes, more than a generation ever has");
        return Err(MetadataLogError::Corrupt { path, position: METADATA_GENERATION_BYTES_MAX, index: 0, detail });
    }
    let mut contents = match read(&mut Reader::new(&file, &path, file_bytes), generation).await? {
        Ok(contents) => contents,
        Err(bad) => return Ok(Err(bad)),
    };
    let Chain { index, checksum, tail } = contents.chain;
    let tail_end = tail + BLOCK as u64;
    let whole_bytes = file_bytes.max(tail_end).next_multiple_of(METADATA_STEP_BYTES);
    if file_bytes != whole_bytes && contents.cut.is_none() {
        let detail = format!("the file ends there, inside a step of {METADATA_STEP_BYTES} bytes");
        contents.cut = Some((file_bytes, detail));
    }
    if contents.cut.is_some() {
        let from = if contents.sealed { tail_end } else { tail };
        write_zeros(&file, from, whole_bytes).await.map_err(io("write"))?;
    }
    // Accepted bytes may be in the drive's cache only, and the cut must hold before anything is appended (J1, J3).
    file.sync_all().await.map_err(io("fsync"))?;
    let mut log = MetadataLog {
        fs: fs.clone(),
        dir: dir.to_owned(),
        path: path.clone(),
        file,
        generation,
        last_index: index,
        last_checksum: checksum,
        tail,
        file_bytes: whole_bytes,
        snapshot_bytes: contents.snapshot_bytes,
        poison: None,
        in_flight: false,
    };
    if !contents.sealed {
        log.write_seal().await?;
    }
    let index = index.saturating_add(1);
    let cut = contents.cut.map(|(position, detail)| CutTail { path, position, index, detail });
    Ok(Ok((log, LoadedLog { cut, ..contents.loaded })))
}

/// What one file holds, before anything in it is changed.
struct Contents {
    loaded: LoadedLog,
    snapshot_bytes: u64,
    chain: Chain,
    /// The seal of the last entry stands at the tail.
    sealed: bool,
    /// First byte of a torn tail, and what was found at the end of the chain.
    cut: Option<(u64, String)>,
}

/// Follows the chain to its end and looks at everything behind it.
async fn read(reader: &mut Reader<'_>, generation: u64) -> Result<Result<Contents, BadSnapshot>, MetadataLogError> {
    let (snapshot, mut chain) = match reader.entry_at(0).await? {
        Found::Entry(entry) if entry.starts(generation) => {
            let chain = Chain { index: entry.header.index, checksum: entry.checksum, tail: entry.padded_bytes };
            (entry.payload, chain)
        }
        other => {
            let detail = other.describe();
            let unreadable = matches!(other, Found::Bad(MetadataEntryError::UnknownVersion { .. }));
            let used = unreadable || reader.evidence(0, generation, 0).await?.entry.is_some();
            return Ok(Err(BadSnapshot { path: reader.path().to_owned(), detail, used }));
        }
    };
    let snapshot_bytes = chain.tail;
    let mut loaded = LoadedLog { generation, snapshot_index: chain.index, ..LoadedLog::default() };
    loaded.snapshot = (!snapshot.is_empty()).then_some(snapshot);
    let end = loop {
        match reader.entry_at(chain.tail).await? {
            Found::Entry(entry) if entry.continues(generation, &chain) => {
                let tail = chain.tail + entry.padded_bytes;
                chain = Chain { index: entry.header.index, checksum: entry.checksum, tail };
                loaded.entries.push(entry.payload);
            }
            other => break other,
        }
    };
    let sealed = matches!(&end, Found::Entry(entry) if entry.seals(generation, &chain));
    let behind = if sealed { chain.tail + BLOCK as u64 } else { chain.tail };
    let next = chain.index.saturating_add(1);
    let evidence = reader.evidence(behind, generation, next).await?;
    if let Some((position, proof)) = evidence.durable {
        let detail = format!("{}; it was durable, by {proof} at byte {position}", end.describe());
        let path = reader.path().to_owned();
        return Err(MetadataLogError::Corrupt { path, position: chain.tail, index: next, detail });
    }
    let cut = evidence.first_dirty.map(|position| (position, end.describe()));
    Ok(Ok(Contents { loaded, snapshot_bytes, chain, sealed, cut }))
}

async fn remove(fs: &Fs, path: &Path) -> Result<(), MetadataLogError> {
    fs.remove_file(path).await.map_err(|error| MetadataLogError::io("remove", path, error))
}

async fn sync_dir(fs: &Fs, dir: &Path) -> Result<(), MetadataLogError> {
    fs.sync_dir(dir).await.map_err(|error| MetadataLogError::io("sync of directory", dir, error))
}

//! What inspections share: damage, notes, tables, and reading files in pieces. Owns no format. Runs on the CLI's main
//! thread.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::output::table;

/// One place where bytes are not what they must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Damage {
    /// The file.
    pub(super) file: String,
    /// The first byte concerned.
    pub(super) offset: u64,
    /// What is wrong, and what it means.
    pub(super) what: String,
}

/// Everything worth saying about what was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    /// What is wrong.
    pub(super) damage: Vec<Damage>,
    /// What is not wrong, but should be known.
    pub(super) notes: Vec<String>,
}

impl Findings {
    /// Adds damage.
    pub(super) fn damage(&mut self, file: &Path, offset: u64, what: impl Into<String>) {
        self.damage.push(Damage { file: file.display().to_string(), offset, what: what.into() });
    }

    /// Adds all of another's.
    pub(super) fn extend(&mut self, other: Findings) {
        self.damage.extend(other.damage);
        self.notes.extend(other.notes);
    }
}

/// A titled table.
#[derive(Clone, Debug)]
pub(super) struct Section {
    /// What it lists.
    pub(super) title: String,
    /// Names of its columns.
    pub(super) header: Vec<&'static str>,
    /// Columns of numbers.
    pub(super) numbers: Vec<usize>,
    /// Its rows.
    pub(super) rows: Vec<Vec<String>>,
}

impl Section {
    /// Title and table.
    pub(super) fn text(&self) -> String {
        if self.rows.is_empty() {
            return self.title.clone();
        }
        format!("{}\n{}", self.title, table(&self.header, &self.numbers, self.rows.iter().cloned()))
    }
}

/// Names in a directory, sorted.
pub(super) fn list(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// A whole file, but no more than `bytes_max` of it.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// The hexadecimal number that a name without its suffix is.
pub(super) fn hex_name(name: &str, suffix: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(suffix)?, 16).ok()
}

/// A file read forwards through a window that grows to what its reader needs at once.
pub(super) struct Window {
    file: File,
    bytes: Vec<u8>,
    at: u64,
    end: u64,
}

/// Bytes a window reads at once where nothing asks for more.
const WINDOW_BYTES: usize = 1024 * 1024;

impl Window {
    /// Opens a file to be read up to `end`, or to its end if that is less.
    pub(super) fn open(path: &Path, end: u64) -> Result<Window> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let end = end.min(file.metadata()?.len());
        Ok(Window { file, bytes: Vec::new(), at: 0, end })
    }

    /// First byte that is not read.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes from `position` on: at least `wanted`, unless the end comes first.
    pub(super) fn get(&mut self, position: u64, wanted: usize) -> io::Result<&[u8]> {
        let available = usize::try_from(self.end.saturating_sub(position)).unwrap_or(usize::MAX);
        let wanted = wanted.min(available);
        let covered = self.at + self.bytes.len() as u64;
        if position < self.at || position + wanted as u64 > covered {
            let bytes = wanted.max(WINDOW_BYTES).min(available);
            self.file.seek(SeekFrom::Start(position))?;
            self.bytes.clear();
            self.file.by_ref().take(bytes as u64).read_to_end(&mut self.bytes)?;
            self.at = position;
        }
        let skip = usize::try_from(position - self.at).unwrap_or(usize::MAX);
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_gives_what_is_asked_for_wherever_it_stands() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("file");
        let bytes: Vec<u8> = (0..3 * WINDOW_BYTES).map(|index| (index / 7) as u8).collect();
        std::fs::write(&path, &bytes).expect("file");
        let mut window = Window::open(&path, u64::MAX).expect("open");
        for (position, wanted) in [(0, 10), (WINDOW_BYTES - 5, 10), (10, 2 * WINDOW_BYTES), (bytes.len() - 3, 100)] {
            let got = window.get(position as u64, wanted).expect("read");
            assert!(got.len() >= wanted.min(bytes.len() - position));
            assert_eq!(got, &bytes[position..position + got.len()]);
        }
        assert!(window.get(bytes.len() as u64 + 5, 10).expect("read").is_empty());
    }

    #[test]
    fn names_are_numbers_in_hexadecimal() {
        assert_eq!(hex_name("000000000000001f.segment", ".segment"), Some(31));
        assert_eq!(hex_name("x.segment", ".segment"), None);
        assert_eq!(hex_name("1f.check", ".segment"), None);
    }
}

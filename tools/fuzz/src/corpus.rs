//! The committed corpus: `corpus/<target>/<name>`, one input a file. Owns where it lies and how it is read and written.
//! Never changes an input: a file stays for ever, as the bytes of an old version stay readable. Test code, any core.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The largest input that is worth keeping.
pub const FILE_BYTES_MAX: u64 = 32 * 1024;

/// What all inputs together may take in the repository.
pub const CORPUS_BYTES_MAX: u64 = 2 * 1024 * 1024;

/// One input.
#[derive(Clone, Debug)]
pub struct Input {
    /// Name of its file.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The directory of a target's inputs.
pub fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Every committed input of a target, by name.
///
/// # Errors
/// What the file system says; a target without a directory has no input.
pub fn read(target: &str) -> io::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    let entries = match fs::read_dir(directory(target)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(inputs),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        inputs.push(Input { name: entry.file_name().to_string_lossy().into_owned(), bytes: fs::read(entry.path())? });
    }
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(inputs)
}

/// Adds an input, unless one of that name is there: that one stays. Returns whether it was added.
///
/// # Errors
/// What the file system says.
pub fn add(target: &str, input: &Input) -> io::Result<bool> {
    let directory = directory(target);
    fs::create_dir_all(&directory)?;
    let path = directory.join(&input.name);
    if path.exists() {
        return Ok(false);
    }
    fs::write(path, &input.bytes)?;
    Ok(true)
}

//! The file that says how the last start ended. Owns its name and its writing, which is durable before the process ends;
//! what it holds is storage's format. Used on the thread that stops the broker, and by shard 0 before anything is served.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use ouzel_protocol::Incarnation;
use ouzel_storage::format::clean;

const NAME: &str = "clean-stop";
const NAME_NEW: &str = "clean-stop.new";

/// Says durably that this start ended in good order. Nothing may be written to the data directory afterwards.
///
/// # Errors
/// What the disk said; the next start then takes this stop for a crash, which costs nothing but the word.
pub(crate) fn write(data_dir: &Path, incarnation: Incarnation) -> io::Result<()> {
    let new = data_dir.join(NAME_NEW);
    let mut file = File::create(&new)?;
    file.write_all(&clean::encode(incarnation))?;
    file.sync_all()?;
    fs::rename(&new, data_dir.join(NAME))?;
    File::open(data_dir)?.sync_all()
}

/// The start that last ended in good order, if the file is there and sound.
pub(crate) fn read(data_dir: &Path) -> Option<Incarnation> {
    let path = data_dir.join(NAME);
    let bytes = fs::read(&path).ok()?;
    clean::decode(&bytes)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "the mark of a clean stop is not sound"))
        .ok()
}

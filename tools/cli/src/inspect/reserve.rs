//! The reserve of a shard offline: space that is held and not used. Owns nothing but the sentence about it; nothing in the
//! file means anything. Runs on the CLI's main thread.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::Inspection;
use super::findings::{Findings, Section};

/// Name of the directory of the reserves in a data directory.
pub(super) const DIRECTORY: &str = "reserve";

/// Whether a path is a reserve, by where it lies.
pub(super) fn is_reserve(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|directory| directory == DIRECTORY)
}

/// Says how much the reserve holds.
pub(super) fn inspect(path: &Path) -> Result<Inspection> {
    let about = std::fs::metadata(path).with_context(|| format!("cannot inspect {}", path.display()))?;
    let bytes = about.len();
    let title = format!("the reserve of a shard for a full disk: {bytes} bytes held, never read");
    let section = Section { title, header: Vec::new(), numbers: Vec::new(), rows: Vec::new() };
    let json = json!({ "kind": "reserve", "bytes": bytes });
    Ok(Inspection { sections: vec![section], json, findings: Findings::default() })
}

//! The mark of a clean stop offline. Owns nothing but the sentence about it; the format is storage's. Runs on the CLI's
//! main thread.

use std::path::Path;

use anyhow::{Context, Result};
use ouzel_storage::format::clean;
use serde_json::json;

use super::Inspection;
use super::findings::{Findings, Section};

/// Name of the mark in a data directory.
pub(super) const NAME: &str = "clean-stop";

/// Says which start a mark names. A mark is no evidence, but a damaged one shows that something touched the file.
pub(super) fn inspect(path: &Path) -> Result<Inspection> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut findings = Findings::default();
    let (title, incarnation) = match clean::decode(&bytes) {
        Ok(incarnation) => (format!("start {incarnation} was stopped in good order"), Some(incarnation.0)),
        Err(error) => {
            findings.damage(path, 0, error.to_string());
            ("a damaged mark of a clean stop: recovery ignores it".to_owned(), None)
        }
    };
    let section = Section { title, header: Vec::new(), numbers: Vec::new(), rows: Vec::new() };
    Ok(Inspection {
        sections: vec![section],
        json: json!({ "kind": "clean mark", "incarnation": incarnation }),
        findings,
    })
}

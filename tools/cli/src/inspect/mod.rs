//! `ouzel inspect`: reads a data directory, or one file of it, without a broker and without io_uring. Owns the choice of
//! what a path is, and the printing; never writes, never locks, never repairs. Runs on the CLI's main thread.
//!
//! A broker may be running on the directory: files then change while they are read. Damage is therefore reported only
//! if it is found again, at the same place, when everything is read once more.

mod clean_mark;
mod data_dir;
mod findings;
mod journal;
mod metadata;
mod reserve;
mod segment;

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::args::InspectArgs;
use crate::output::{print_json, print_line};
use findings::{Findings, Section};

/// Times everything is read again before damage is believed.
const CONFIRMATIONS: usize = 2;

/// What a path is, by its name and what lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    DataDir,
    JournalDir,
    JournalsDir,
    PartitionDir,
    MetadataDir,
    JournalFile,
    Checkpoint,
    Segment,
    Check,
    Index,
    MetadataFile,
    CleanMark,
    Reserve,
}

/// What an inspection found: for people, for programs, and what is wrong.
struct Inspection {
    sections: Vec<Section>,
    json: Value,
    findings: Findings,
}

/// Inspects a path and prints what it found.
pub(crate) fn run(args: &InspectArgs, json: bool) -> Result<()> {
    let path = &args.path;
    let kind = kind_of(path)?;
    let mut inspection = inspect(kind, path, args.verify)?;
    for _ in 0..CONFIRMATIONS {
        if inspection.findings.damage.is_empty() {
            break;
        }
        let again = inspect(kind, path, args.verify)?;
        let confirmed = inspection.findings.damage;
        inspection = again;
        inspection.findings.damage.retain(|damage| confirmed.contains(damage));
    }
    print(&mut inspection, args.verify, json)?;
    match inspection.findings.damage.as_slice() {
        [] => Ok(()),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            bail!("damaged: {} at byte {}: {}{more}", first.file, first.offset, first.what)
        }
    }
}

fn inspect(kind: Kind, path: &Path, verify: bool) -> Result<Inspection> {
    match kind {
        Kind::DataDir => data_dir::inspect(path, verify),
        Kind::JournalsDir => data_dir::inspect_journals(path, verify),
        Kind::JournalDir => journal::inspect_directory(path, verify),
        Kind::JournalFile => journal::inspect_file(path, verify),
        Kind::Checkpoint => journal::inspect_checkpoint(path),
        Kind::PartitionDir => segment::inspect_directory(path, verify),
        Kind::Segment => segment::inspect_segment(path, verify),
        Kind::Check => segment::inspect_check(path),
        Kind::Index => segment::inspect_index(path),
        Kind::MetadataDir => metadata::inspect_directory(path),
        Kind::MetadataFile => metadata::inspect_file(path),
        Kind::CleanMark => clean_mark::inspect(path),
        Kind::Reserve => reserve::inspect(path),
    }
}

fn kind_of(path: &Path) -> Result<Kind> {
    let about = std::fs::metadata(path).with_context(|| format!("cannot inspect {}", path.display()))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if about.is_dir() {
        let kinds = [
            (path.join("journals").is_dir() || path.join("metadata").is_dir(), Kind::DataDir),
            (holds(path, ".journal") || holds(path, "checkpoint.0") || holds(path, "checkpoint.1"), Kind::JournalDir),
            (holds(path, ".segment"), Kind::PartitionDir),
            (holds(path, ".log"), Kind::MetadataDir),
            (name == "journals", Kind::JournalsDir),
            (name == "metadata", Kind::MetadataDir),
        ];
        return kinds.into_iter().find(|(is_it, _)| *is_it).map(|(_, kind)| kind).with_context(|| {
            format!(
                "{} is neither an ouzel data directory nor a part of one: name the directory given to --data-dir",
                path.display()
            )
        });
    }
    if reserve::is_reserve(path) {
        return Ok(Kind::Reserve);
    }
    let kinds = [
        (".journal", Kind::JournalFile),
        (".segment", Kind::Segment),
        (".check", Kind::Check),
        (".index", Kind::Index),
        (".log", Kind::MetadataFile),
        ("checkpoint.0", Kind::Checkpoint),
        ("checkpoint.1", Kind::Checkpoint),
        (clean_mark::NAME, Kind::CleanMark),
    ];
    kinds.into_iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, kind)| kind).with_context(|| {
        format!(
            "{} is no file of ouzel: journal, checkpoint, segment, check, index, metadata log, clean-stop and reserve are",
            path.display()
        )
    })
}

/// Whether a directory holds a file whose name ends so.
fn holds(path: &Path, suffix: &str) -> bool {
    findings::list(path).is_ok_and(|names| names.iter().any(|name| name.ends_with(suffix)))
}

fn print(inspection: &mut Inspection, verify: bool, json: bool) -> Result<()> {
    if json {
        let Value::Object(object) = &mut inspection.json else { bail!("an inspection is an object") };
        object.insert("verified".to_string(), verify.into());
        object.insert("notes".to_string(), serde_json::to_value(&inspection.findings.notes)?);
        object.insert("damage".to_string(), serde_json::to_value(&inspection.findings.damage)?);
        return print_json(object);
    }
    let mut text = Vec::new();
    for section in &inspection.sections {
        text.push(section.text());
    }
    for note in &inspection.findings.notes {
        text.push(format!("note: {note}"));
    }
    if !inspection.findings.damage.is_empty() {
        let damage = inspection.findings.damage.iter();
        let rows = damage.map(|damage| vec![damage.file.clone(), damage.offset.to_string(), damage.what.clone()]);
        text.push(format!("Damage\n{}", crate::output::table(&["file", "byte", "what"], &[1], rows)));
    } else if verify {
        text.push("every checksum holds".to_string());
    }
    print_line(&text.join("\n\n"))
}

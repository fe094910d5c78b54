//! The metadata log offline: its entries, and the topics they add up to. Owns the walk; formats and meaning are
//! storage's and the core's. Runs on the CLI's main thread.

use std::path::Path;

use anyhow::{Context, Result};
use ouzel_broker_core::{MetadataImage, Record};
use ouzel_protocol::Incarnation;
use ouzel_storage::format::BLOCK;
use ouzel_storage::format::metadata::{MetadataEntryError, MetadataKind, parse_metadata_entry};
use serde_json::{Value, json};

use super::Inspection;
use super::findings::{Findings, Section, Window, hex_name, list};

/// What one file of the metadata log holds.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Everything applied; `None` if not even the snapshot is whole.
    pub(super) image: Option<MetadataImage>,
    entries: Vec<Entry>,
    findings: Findings,
}

#[derive(Debug)]
struct Entry {
    position: u64,
    kind: &'static str,
    index: u64,
    what: String,
}

impl Log {
    /// The latest start of any node: the journals that count.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.image.as_ref()?.nodes().map(|(_, node)| node.incarnation).max()
    }

    /// What is wrong.
    pub(super) fn take_findings(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }
}

/// Reads the newest generation of a metadata directory that is whole.
pub(super) fn read(directory: &Path) -> Result<Log> {
    let mut generations: Vec<u64> = list(directory)?.iter().filter_map(|name| hex_name(name, ".log")).collect();
    generations.sort_unstable();
    let mut last = Log::default();
    for generation in generations.iter().rev() {
        let log = read_file(&directory.join(format!("{generation:016x}.log")))?;
        if log.image.is_some() {
            return Ok(log);
        }
        last.findings.extend(log.findings);
    }
    Ok(last)
}

fn read_file(path: &Path) -> Result<Log> {
    let mut log = Log::default();
    let mut window = Window::open(path, u64::MAX)?;
    let (mut position, mut wanted) = (0, BLOCK);
    let mut previous: Option<u32> = None;
    let mut broken: Option<(u64, String)> = None;
    let mut durable = 0;
    let mut last_index = 0;
    while position < window.end() {
        let bytes = window.get(position, wanted).with_context(|| format!("cannot read {}", path.display()))?;
        let at_hand = bytes.len();
        let step = match parse_metadata_entry(bytes) {
            Ok(entry) => {
                durable = durable.max(entry.header.durable_index);
                let chains =
                    entry.header.kind == MetadataKind::Snapshot || previous == Some(entry.header.previous_checksum);
                if broken.is_none() && !chains {
                    broken = Some((position, format!("entry {} does not continue the chain", entry.header.index)));
                }
                if broken.is_none() {
                    if entry.header.kind != MetadataKind::Seal {
                        previous = Some(entry.checksum);
                        last_index = entry.header.index;
                    }
                    apply(&mut log, path, position, entry.header.kind, entry.header.index, entry.payload);
                }
                entry.padded_bytes()
            }
            Err(MetadataEntryError::NeedMore { bytes: needed }) if at_hand >= wanted && needed > at_hand => {
                wanted = needed;
                continue;
            }
            Err(MetadataEntryError::Blank) => BLOCK,
            Err(error) => {
                if broken.is_none() {
                    broken = Some((position, error.to_string()));
                }
                BLOCK
            }
        };
        position += step as u64;
        wanted = BLOCK;
    }
    // An entry that is not whole is damage if it was known durable, or if nothing at all is whole.
    match broken {
        Some((position, why)) if durable > last_index || log.image.is_none() => {
            log.findings.damage(path, position, why)
        }
        Some((position, why)) => {
            log.findings
                .notes
                .push(format!("{} byte {position}: {why}, as a crash leaves a last entry", path.display()));
        }
        None => {}
    }
    Ok(log)
}

fn apply(log: &mut Log, path: &Path, position: u64, kind: MetadataKind, index: u64, payload: &[u8]) {
    let (kind, what) = match kind {
        MetadataKind::Seal => ("seal", String::new()),
        MetadataKind::Snapshot if payload.is_empty() => {
            log.image = Some(MetadataImage::new());
            ("snapshot", "empty".to_string())
        }
        MetadataKind::Snapshot => match MetadataImage::decode_snapshot(payload) {
            Ok(image) => {
                let what = format!("{} topics, {} partitions", image.topics().count(), image.partition_count());
                log.image = Some(image);
                ("snapshot", what)
            }
            Err(error) => {
                log.findings.damage(path, position, error.to_string());
                ("snapshot", "unreadable".to_string())
            }
        },
        MetadataKind::Entry => {
            let applied = Record::decode(payload).and_then(|record| {
                if let Some(image) = &mut log.image {
                    image.apply(&record)?;
                }
                Ok(record)
            });
            match applied {
                Ok(record) => ("entry", describe(&record)),
                Err(error) => {
                    log.findings.damage(path, position, error.to_string());
                    ("entry", "unreadable".to_string())
                }
            }
        }
    };
    log.entries.push(Entry { position, kind, index, what });
}

fn describe(record: &Record) -> String {
    match record {
        Record::NodeStarted { node, incarnation, shards, moves } => {
            format!("node {node} started: start {incarnation}, {shards} shards, {} partitions moved", moves.len())
        }
        Record::TopicCreated { name, topic_id, partitions, .. } => {
            format!("topic {name} created: {topic_id}, {} partitions", partitions.len())
        }
        Record::TopicDeleted { topic_id } => format!("topic {topic_id} deleted"),
        Record::ProducerIdBlock { first, count } => format!("{count} producer ids taken from {first} on"),
        Record::ClusterNamed { cluster_id } => format!("cluster named {cluster_id}"),
        Record::TopicAltered { topic_id, added, .. } => {
            format!("topic {topic_id} altered: {} partitions added", added.len())
        }
    }
}

/// Inspects a metadata directory: its newest generation.
pub(super) fn inspect_directory(path: &Path) -> Result<Inspection> {
    Ok(inspection(path, read(path)?))
}

/// Inspects one file of the metadata log.
pub(super) fn inspect_file(path: &Path) -> Result<Inspection> {
    Ok(inspection(path, read_file(path)?))
}

fn inspection(path: &Path, mut log: Log) -> Inspection {
    let row = |entry: &Entry| {
        vec![entry.position.to_string(), entry.kind.to_string(), entry.index.to_string(), entry.what.clone()]
    };
    let section = Section {
        title: "Metadata log".to_string(),
        header: vec!["byte", "kind", "index", "what"],
        numbers: vec![0, 2],
        rows: log.entries.iter().map(row).collect(),
    };
    let entry = |entry: &Entry| json!({ "position": entry.position, "kind": entry.kind, "index": entry.index, "what": entry.what });
    let json = json!({
        "path": path.display().to_string(),
        "kind": "metadata",
        "entries": log.entries.iter().map(entry).collect::<Vec<_>>(),
        "topics": log.image.as_ref().map(topics_json),
    });
    Inspection { sections: vec![section], json, findings: log.take_findings() }
}

/// The topics of an image for programs.
pub(super) fn topics_json(image: &MetadataImage) -> Value {
    image
        .topics()
        .map(|topic| {
            json!({
                "topic": topic.name,
                "topic_id": topic.topic_id.to_string(),
                "partitions": topic.partitions.len(),
            })
        })
        .collect()
}

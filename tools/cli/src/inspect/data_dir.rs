//! A whole data directory offline: metadata, the journals in force, and what segments and journals together hold of each
//! partition. Owns how the three fit; never decides what recovery would do. Runs on the CLI's main thread.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use ouzel_protocol::{Incarnation, Offset, PartitionId};
use ouzel_storage::format::check::SegmentId;
use ouzel_storage::format::producers::ProducerSnapshot;
use serde_json::{Value, json};

use super::findings::{Findings, Section, hex_name, list};
use super::journal::{self, Journal};
use super::{Inspection, metadata, segment};
use crate::units::human_bytes;

/// What is known of a partition.
#[derive(Clone, Debug, Default)]
struct Held {
    name: Option<String>,
    shard: Option<u16>,
    log_start: Offset,
    end: Offset,
    segments: usize,
    bytes: u64,
    /// What the checkpoint says of idempotent producers.
    producers: Option<ProducerSnapshot>,
}

/// Inspects a data directory.
pub(super) fn inspect(path: &Path, verify: bool) -> Result<Inspection> {
    let mut findings = Findings::default();
    let metadata_path = path.join("metadata");
    let mut log = if metadata_path.is_dir() { metadata::read(&metadata_path)? } else { metadata::Log::default() };
    let incarnation = log.incarnation();
    findings.extend(log.take_findings());
    let (journals, retired) = read_journals(&path.join("journals"), incarnation)?;
    if retired > 0 {
        findings.notes.push(format!("{retired} journal(s) of other starts are not in force and were not read"));
    }

    let mut partitions: BTreeMap<PartitionId, Held> = BTreeMap::new();
    for (topic, index, partition) in log.image.iter().flat_map(|image| image.partitions()) {
        let held = partitions.entry(partition.partition_id).or_default();
        held.name = Some(format!("{}-{index}", topic.name));
        held.shard = Some(partition.shard.0);
    }
    for journal in &journals {
        add_checkpoint(&mut partitions, journal, &mut findings);
    }
    for journal in &journals {
        add_commits(&mut partitions, journal);
        findings.extend(journal.findings.clone());
    }
    if log.image.is_some() {
        let before = partitions.len();
        partitions.retain(|_, held| held.name.is_some());
        if partitions.len() < before {
            findings
                .notes
                .push(format!("{} dropped partition(s) are still in the journals", before - partitions.len()));
        }
    }
    if verify {
        for journal in &journals {
            verify_segments(path, journal, &mut findings)?;
        }
    } else {
        findings.damage.clear();
    }

    let topics = log.image.as_ref().map_or(0, |image| image.topics().count());
    let start = incarnation.map_or_else(|| "never started".to_string(), |incarnation| format!("start {incarnation}"));
    let head = Section {
        title: format!("{}: {start}, {topics} topics, {} partitions", path.display(), partitions.len()),
        header: Vec::new(),
        numbers: Vec::new(),
        rows: Vec::new(),
    };
    let json = json!({
        "path": path.display().to_string(),
        "kind": "data_dir",
        "incarnation": incarnation.map(|incarnation| incarnation.0),
        "topics": log.image.as_ref().map(metadata::topics_json),
        "journals": journals.iter().map(journal::summary_json).collect::<Vec<_>>(),
        "partitions": partitions_json(&partitions),
    });
    let sections = vec![head, journal::summary_section(&journals), partitions_section(&partitions)];
    Ok(Inspection { sections, json, findings })
}

/// Inspects all journals of a data directory.
pub(super) fn inspect_journals(path: &Path, verify: bool) -> Result<Inspection> {
    let (journals, _) = read_journals(path, None)?;
    let mut findings = Findings::default();
    for journal in &journals {
        findings.extend(journal.findings.clone());
    }
    if !verify {
        findings.damage.clear();
    }
    let json = json!({
        "path": path.display().to_string(),
        "kind": "journals",
        "journals": journals.iter().map(journal::summary_json).collect::<Vec<_>>(),
    });
    Ok(Inspection { sections: vec![journal::summary_section(&journals)], json, findings })
}

/// Reads the journals of one start, or all if it is not known which counts; says how many others there are.
fn read_journals(path: &Path, incarnation: Option<Incarnation>) -> Result<(Vec<Journal>, usize)> {
    let mut journals = Vec::new();
    let mut retired = 0;
    if !path.is_dir() {
        return Ok((journals, retired));
    }
    for name in list(path)? {
        let Some((start, _shard)) = name.split_once('-') else { continue };
        let Some(start) = hex_name(start, "") else { continue };
        if incarnation.is_some_and(|incarnation| incarnation.0 != start) {
            retired += 1;
            continue;
        }
        journals.push(journal::read(&path.join(&name))?);
    }
    Ok((journals, retired))
}

fn add_checkpoint(partitions: &mut BTreeMap<PartitionId, Held>, journal: &Journal, findings: &mut Findings) {
    for partition in journal.checkpoint.iter().flat_map(|checkpoint| &checkpoint.partitions) {
        let held = partitions.entry(partition.partition).or_default();
        held.log_start = partition.log_start;
        held.end = partition.end_offset;
        held.segments = partition.segments.len();
        held.bytes = partition.segments.iter().map(|segment| segment.bytes).sum();
        held.producers = match partition.producers.as_slice() {
            [] => None,
            bytes => match ProducerSnapshot::decode(bytes) {
                Ok(snapshot) => Some(snapshot),
                Err(error) => {
                    let what = format!("producer snapshot of partition {}: {error}", partition.partition);
                    findings.damage(&journal.directory.join("checkpoint"), 0, what);
                    None
                }
            },
        };
    }
}

/// The journal may know of appends that the checkpoint does not have yet.
fn add_commits(partitions: &mut BTreeMap<PartitionId, Held>, journal: &Journal) {
    let from = journal.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.replay_sequence);
    for commit in journal.commits.range(from..).map(|(_, commit)| commit) {
        for (partition, end) in &commit.ends {
            let held = partitions.entry(*partition).or_default();
            held.end = held.end.max(*end);
        }
    }
}

fn verify_segments(path: &Path, journal: &Journal, findings: &mut Findings) -> Result<()> {
    for partition in journal.checkpoint.iter().flat_map(|checkpoint| &checkpoint.partitions) {
        let directory = path.join("partitions").join(format!("{:016x}", partition.partition.0));
        for known in &partition.segments {
            let file = directory.join(format!("{:016x}.segment", known.base_offset.0));
            if known.bytes > 0 && !file.exists() {
                findings.damage(&file, 0, "the segment is not there, but the checkpoint has it");
                continue;
            }
            let id = SegmentId { partition: partition.partition, base: known.base_offset };
            segment::verify(&file, id, Some(known.bytes), findings)?;
        }
    }
    Ok(())
}

fn partitions_section(partitions: &BTreeMap<PartitionId, Held>) -> Section {
    let rows = partitions.iter().map(|(id, held)| {
        vec![
            held.name.clone().unwrap_or_else(|| "?".to_string()),
            id.to_string(),
            held.shard.map_or_else(|| "-".to_string(), |shard| shard.to_string()),
            held.log_start.to_string(),
            held.end.to_string(),
            held.segments.to_string(),
            human_bytes(held.bytes),
            held.producers.as_ref().map_or(0, |snapshot| snapshot.producers.len()).to_string(),
        ]
    });
    Section {
        title: "Partitions".to_string(),
        header: vec!["partition", "id", "shard", "log start", "end", "segments", "in segments", "producers"],
        numbers: (1..8).collect(),
        rows: rows.collect(),
    }
}

fn partitions_json(partitions: &BTreeMap<PartitionId, Held>) -> Value {
    partitions
        .iter()
        .map(|(id, held)| {
            json!({
                "partition": held.name,
                "partition_id": id.0,
                "shard": held.shard,
                "log_start_offset": held.log_start.0,
                "end_offset": held.end.0,
                "segments": held.segments,
                "segment_bytes": held.bytes,
                "producers": held.producers.as_ref().map(producers_json),
            })
        })
        .collect()
}

fn producers_json(snapshot: &ProducerSnapshot) -> Value {
    let producers = snapshot.producers.iter().map(|(id, producer)| {
        json!({
            "producer_id": id.0,
            "epoch": producer.epoch.0,
            "last_sequence": producer.last().last_sequence().0,
            "last_offset": producer.last().last_offset().0,
            "batches": producer.batches().len(),
            "last_used_ms": producer.last_used_ms,
        })
    });
    json!({ "at_offset": snapshot.end_offset.0, "producers": producers.collect::<Vec<_>>() })
}

//! Segments offline: their batches, their side files and their indexes. Owns the walk; the formats are storage's and the
//! protocol's. Runs on the CLI's main thread.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ouzel_protocol::{BATCH_HEADER_BYTES, BatchHeader, Offset, PartitionId, check_batch, parse_header};
use ouzel_storage::format::check::{CHECK_SLOT_BYTES, CheckMap, SegmentId};
use ouzel_storage::format::index::{IndexEnd, IndexMap};
use serde_json::json;

use super::Inspection;
use super::findings::{Findings, Section, Window, hex_name, list, read_file};
use crate::units::human_bytes;

/// Largest side file or index that is read.
const SIDE_BYTES_MAX: u64 = 1 << 30;

/// Checks everything about one segment: side file, ranges, batches, index. `bytes` is what is known to be valid; without
/// it, what the side file covers is.
pub(super) fn verify(segment: &Path, id: SegmentId, bytes: Option<u64>, findings: &mut Findings) -> Result<()> {
    let check_path = segment.with_extension("check");
    if bytes == Some(0) {
        return Ok(());
    }
    if !check_path.exists() {
        if bytes.is_some() {
            findings.damage(&check_path, 0, "the side file of the segment is not there");
        }
        return Ok(());
    }
    let check_bytes = read_file(&check_path, SIDE_BYTES_MAX)?;
    let (map, bytes) = match bytes {
        Some(bytes) => (CheckMap::from_bytes(id, &check_bytes, bytes), bytes),
        None => {
            let covered = covered_bytes(id, &check_bytes);
            (CheckMap::from_bytes(id, &check_bytes, covered), covered)
        }
    };
    let map = match map {
        Ok(map) => map,
        Err(error) => {
            let offset = first_bad_slot(id, &check_bytes) * CHECK_SLOT_BYTES as u64;
            findings.damage(&check_path, offset, error.to_string());
            return Ok(());
        }
    };
    let mut window = Window::open(segment, bytes)?;
    let mut is_whole = true;
    for slot in map.slots() {
        let read = window
            .get(u64::from(slot.position), slot.length as usize)
            .with_context(|| format!("cannot read {}", segment.display()))?;
        let range = read.get(..slot.length as usize).unwrap_or(read);
        if let Err(error) = map.verify(slot, range) {
            findings.damage(segment, u64::from(slot.position), error.to_string());
            is_whole = false;
        }
    }
    if is_whole {
        walk(segment, bytes, true, findings, |_, _| {})?;
    }
    verify_index(&segment.with_extension("index"), id, bytes, findings)
}

fn verify_index(path: &Path, id: SegmentId, bytes: u64, findings: &mut Findings) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    if let (_, IndexEnd::BadSlot(slot)) = IndexMap::from_bytes(id, &read_file(path, SIDE_BYTES_MAX)?, bytes) {
        let offset = (slot * ouzel_storage::format::index::INDEX_SLOT_BYTES) as u64;
        findings.damage(path, offset, format!("slot {slot} of the index is not valid; it is rebuilt from the segment"));
    }
    Ok(())
}

/// Bytes that the valid slots from the start of a side file cover: what can be known without the checkpoint.
fn covered_bytes(id: SegmentId, bytes: &[u8]) -> u64 {
    let mut covered = 0;
    while let Some(length) = slot_length(bytes, covered_slots(bytes, covered)) {
        if CheckMap::from_bytes(id, bytes, covered + length).is_err() {
            break;
        }
        covered += length;
    }
    covered
}

/// Slots, header excluded, that the first `covered` bytes take, by their own lengths.
fn covered_slots(bytes: &[u8], covered: u64) -> usize {
    let (mut slots, mut sum) = (0, 0);
    while sum < covered {
        let Some(length) = slot_length(bytes, slots) else { break };
        sum += length;
        slots += 1;
    }
    slots
}

/// The length field of a slot, unproved.
fn slot_length(bytes: &[u8], slot: usize) -> Option<u64> {
    let at = (slot + 1) * CHECK_SLOT_BYTES + 4;
    let length = u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?);
    (length > 0).then_some(u64::from(length))
}

/// Number of the first slot, the header counted, that is not valid.
fn first_bad_slot(id: SegmentId, bytes: &[u8]) -> u64 {
    if CheckMap::from_bytes(id, bytes, 0).is_err() {
        return 0;
    }
    1 + covered_slots(bytes, covered_bytes(id, bytes)) as u64
}

/// Walks the batches of a segment up to `bytes`; with `check`, every checksum too.
fn walk(
    path: &Path,
    bytes: u64,
    check: bool,
    findings: &mut Findings,
    mut visit: impl FnMut(u64, &BatchHeader),
) -> Result<()> {
    let mut window = Window::open(path, bytes)?;
    let mut position = 0;
    while position + BATCH_HEADER_BYTES as u64 <= window.end() {
        let end = window.end();
        let head =
            window.get(position, BATCH_HEADER_BYTES).with_context(|| format!("cannot read {}", path.display()))?;
        let header = match parse_header(head) {
            Ok(header) => header,
            Err(error) => {
                findings.damage(path, position, error.to_string());
                return Ok(());
            }
        };
        if position + header.total_bytes() as u64 > end {
            // The rest of this batch is not in the segment yet: it is in the journal.
            return Ok(());
        }
        if check {
            let batch = window.get(position, header.total_bytes())?;
            if let Err(error) = check_batch(batch.get(..header.total_bytes()).unwrap_or(batch)) {
                findings.damage(path, position, error.to_string());
            }
        }
        visit(position, &header);
        position += header.total_bytes() as u64;
    }
    Ok(())
}

/// Which segment a path names: the file gives the base, the directory the partition.
fn id_of(path: &Path, suffix: &str) -> Result<SegmentId> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let absolute = path.canonicalize().with_context(|| format!("cannot inspect {}", path.display()))?;
    let parent = absolute.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    match (hex_name(&name, suffix), parent.and_then(|name| hex_name(&name, ""))) {
        (Some(base), Some(partition)) => Ok(SegmentId { partition: PartitionId(partition), base: Offset(base) }),
        _ => bail!(
            "{} does not lie where a segment does: DATA_DIR/partitions/<partition id>/<base offset>{suffix}",
            path.display()
        ),
    }
}

/// Inspects one segment: its batches.
pub(super) fn inspect_segment(path: &Path, check: bool) -> Result<Inspection> {
    let id = id_of(path, ".segment")?;
    let mut findings = Findings::default();
    if check {
        verify(path, id, None, &mut findings)?;
    }
    let check_path = path.with_extension("check");
    let covered = if check_path.exists() { covered_bytes(id, &read_file(&check_path, SIDE_BYTES_MAX)?) } else { 0 };
    let mut batches = Vec::new();
    // What is listed is what the side file vouches for; damage is reported by verification only.
    walk(path, covered, false, &mut Findings::default(), |position, header| batches.push((position, *header)))?;
    let rows = batches.iter().map(|(position, header)| {
        vec![
            position.to_string(),
            header.base_offset.to_string(),
            header.last_offset().to_string(),
            header.record_count.to_string(),
            header.total_bytes().to_string(),
            (header.magic as u8).to_string(),
            header.codec().map_or_else(|_| "?".to_string(), |codec| codec.to_string()),
            header.leader_epoch.to_string(),
            header.max_timestamp.to_string(),
        ]
    });
    let section = Section {
        title: format!("Batches in the {} that the side file covers", human_bytes(covered)),
        header: vec![
            "byte",
            "first offset",
            "last offset",
            "records",
            "bytes",
            "magic",
            "codec",
            "epoch",
            "max timestamp",
        ],
        numbers: (0..9).collect(),
        rows: rows.collect(),
    };
    let batch = |(position, header): &(u64, BatchHeader)| {
        json!({
            "position": position,
            "base_offset": header.base_offset.0,
            "last_offset": header.last_offset().0,
            "records": header.record_count,
            "bytes": header.total_bytes(),
            "magic": header.magic as u8,
            "leader_epoch": header.leader_epoch.0,
            "max_timestamp": header.max_timestamp,
        })
    };
    let json = json!({
        "path": path.display().to_string(),
        "kind": "segment",
        "bytes": covered,
        "batches": batches.iter().map(batch).collect::<Vec<_>>(),
    });
    Ok(Inspection { sections: vec![section], json, findings })
}

/// Inspects one side file: the ranges that its valid slots cover.
pub(super) fn inspect_check(path: &Path) -> Result<Inspection> {
    let id = id_of(path, ".check")?;
    let bytes = read_file(path, SIDE_BYTES_MAX)?;
    let mut findings = Findings::default();
    let covered = covered_bytes(id, &bytes);
    let slots = match CheckMap::from_bytes(id, &bytes, covered) {
        Ok(map) => map.slots().to_vec(),
        Err(error) => {
            findings.damage(path, 0, error.to_string());
            Vec::new()
        }
    };
    let rows =
        slots.iter().map(|slot| vec![slot.position.to_string(), slot.length.to_string(), format!("{:08x}", slot.crc)]);
    let section = Section {
        title: format!("Ranges, {} in all", human_bytes(covered)),
        header: vec!["byte", "bytes", "CRC-32C"],
        numbers: vec![0, 1],
        rows: rows.collect(),
    };
    let json = json!({ "path": path.display().to_string(), "kind": "check", "bytes": covered, "ranges": slots.len() });
    Ok(Inspection { sections: vec![section], json, findings })
}

/// Inspects one index.
pub(super) fn inspect_index(path: &Path) -> Result<Inspection> {
    let id = id_of(path, ".index")?;
    let mut findings = Findings::default();
    let (map, _) = IndexMap::from_bytes(id, &read_file(path, SIDE_BYTES_MAX)?, u64::MAX);
    verify_index(path, id, u64::MAX, &mut findings)?;
    let rows = map
        .slots()
        .iter()
        .map(|slot| vec![slot.offset.to_string(), slot.position.to_string(), slot.max_timestamp_before.to_string()]);
    let section = Section {
        title: "Index".to_string(),
        header: vec!["offset", "byte", "max timestamp before"],
        numbers: vec![0, 1, 2],
        rows: rows.collect(),
    };
    let json = json!({ "path": path.display().to_string(), "kind": "index", "slots": map.slots().len() });
    Ok(Inspection { sections: vec![section], json, findings })
}

/// Inspects the directory of one partition.
pub(super) fn inspect_directory(path: &Path, check: bool) -> Result<Inspection> {
    let mut findings = Findings::default();
    let mut rows = Vec::new();
    let mut segments = Vec::new();
    for segment in segments_of(path)? {
        let id = id_of(&segment, ".segment")?;
        let check_path = segment.with_extension("check");
        let covered = if check_path.exists() { covered_bytes(id, &read_file(&check_path, SIDE_BYTES_MAX)?) } else { 0 };
        let file_bytes = std::fs::metadata(&segment).map_or(0, |about| about.len());
        if check {
            verify(&segment, id, None, &mut findings)?;
        }
        rows.push(vec![id.base.to_string(), human_bytes(covered), human_bytes(file_bytes)]);
        segments.push(json!({ "base_offset": id.base.0, "bytes": covered, "file_bytes": file_bytes }));
    }
    let section = Section {
        title: "Segments".to_string(),
        header: vec!["base offset", "covered", "file"],
        numbers: vec![0, 1, 2],
        rows,
    };
    let json = json!({ "path": path.display().to_string(), "kind": "partition", "segments": segments });
    Ok(Inspection { sections: vec![section], json, findings })
}

/// The segments in a partition's directory, by base offset.
fn segments_of(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(list(path)?.iter().filter(|name| name.ends_with(".segment")).map(|name| path.join(name)).collect())
}

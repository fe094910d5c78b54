//! The read path: a plan made synchronously under the borrow, then executed without one. Owner shard.
//!
//! The tail is answered from memory without a copy; older offsets are read by O_DIRECT past the cache, proved by the
//! side file, and completed from memory where the last batch crosses the written boundary.

use std::rc::Rc;

use bytes::Bytes;
use ouzel_protocol::batch::{BATCH_HEADER_BYTES, parse_header};
use ouzel_protocol::records::{DecodeLimits, DecodedBatch};
use ouzel_protocol::{Offset, PartitionId};
use ouzel_runtime::SharedSlice;

use crate::config::INDEX_INTERVAL_BYTES;
use crate::core::Core;
use crate::error::StorageError;
use crate::format::check::SegmentId;
use crate::partition::{Partition, Slices, align_up};

/// Cuts in a row that a read keeps up with.
const REPLANS_MAX: usize = 4;

/// What a batch may grow to when it is opened to look for a time in it. Producers fill batches of a megabyte or so.
const LOOKUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a read will do; owns everything it needs.
#[derive(Debug)]
pub struct ReadPlan(Kind);

#[derive(Debug)]
enum Kind {
    Memory(Vec<SharedSlice>),
    Disk(DiskPlan),
}

#[derive(Debug)]
struct DiskPlan {
    segment: SegmentId,
    /// How often the log had been cut when the plan was made.
    cuts: u64,
    /// Bytes of the segment file that were synced when the plan was made: after a failed sync the file may hold
    /// anything behind them, and memory has it all.
    valid: u64,
    end_offset: Offset,
    from: Offset,
    bytes_max: usize,
    at_least_one: bool,
    /// What memory adds to the last batch of the file.
    straddle: Slices,
}

impl ReadPlan {
    /// Whether executing it needs the disk.
    pub fn needs_disk(&self) -> bool {
        matches!(self.0, Kind::Disk(_))
    }

    /// Bytes that memory will answer with; 0 for a disk read.
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Kind::Memory(parts) => parts.iter().map(|part| part.len()).sum(),
            Kind::Disk(_) => 0,
        }
    }
}

/// Whether the partition has this offset, or will have it next.
///
/// # Errors
/// [`StorageError::OffsetOutOfRange`].
pub(crate) fn check_range(partition: &Partition, from: Offset) -> Result<(), StorageError> {
    if from < partition.log_start || from > partition.durable_end {
        return Err(StorageError::OffsetOutOfRange {
            partition: partition.id,
            offset: from,
            log_start: partition.log_start,
            end: partition.durable_end,
        });
    }
    Ok(())
}

/// See [`crate::Store::plan_read`].
pub(crate) fn plan(
    partition: &Partition,
    from: Offset,
    bytes_max: usize,
    at_least_one: bool,
) -> Result<ReadPlan, StorageError> {
    check_range(partition, from)?;
    if from == partition.durable_end {
        return Ok(ReadPlan(Kind::Memory(Vec::new())));
    }
    let mut parts = Vec::new();
    if partition.cached_from(from, bytes_max, at_least_one, &mut parts).is_some() {
        return Ok(ReadPlan(Kind::Memory(parts)));
    }
    let at = partition.segments.iter().rposition(|segment| segment.base <= from).unwrap_or(0);
    let segment = &partition.segments[at];
    let segment_end = align_up(segment.end);
    let valid = partition.synced.clamp(segment.start, segment_end) - segment.start;
    let in_this_segment = partition.synced >= segment.start && partition.synced < segment_end;
    let straddle =
        if in_this_segment { partition.slices(partition.synced, partition.straddle_end()) } else { Slices::new() };
    Ok(ReadPlan(Kind::Disk(DiskPlan {
        segment: SegmentId { partition: partition.id, base: segment.base },
        cuts: partition.cuts,
        valid,
        end_offset: segment.end_offset.min(partition.durable_end),
        from,
        bytes_max,
        at_least_one,
        straddle,
    })))
}

/// See [`crate::Store::read`].
pub(crate) async fn execute(core: &Rc<Core>, plan: ReadPlan) -> Result<Vec<Bytes>, StorageError> {
    match &plan.0 {
        Kind::Memory(parts) if parts.is_empty() => {}
        Kind::Memory(_) => core.meter.read_memory(),
        Kind::Disk(_) => core.meter.read_disk(),
    }
    let mut plan = plan;
    for _ in 0..REPLANS_MAX {
        let error = match &plan.0 {
            Kind::Memory(parts) => return Ok(shared(parts)),
            Kind::Disk(disk) => match read_disk(core, disk).await {
                Err(error) if is_overtaken(core, disk)? => error,
                result => return result,
            },
        };
        // What failed is no longer part of the log: the log as it is now answers, with an offset out of range if need be.
        let Kind::Disk(disk) = &plan.0 else { return Err(error) };
        let handle = core.partition(disk.segment.partition)?;
        plan = self::plan(&handle.borrow(), disk.from, disk.bytes_max, disk.at_least_one)?;
    }
    match &plan.0 {
        Kind::Memory(parts) => Ok(shared(parts)),
        Kind::Disk(disk) => read_disk(core, disk).await,
    }
}

fn shared(parts: &[SharedSlice]) -> Vec<Bytes> {
    parts.iter().cloned().map(Bytes::from).collect()
}

/// Whether the log was cut, or lost its beginning, since the plan was made.
fn is_overtaken(core: &Rc<Core>, plan: &DiskPlan) -> Result<bool, StorageError> {
    let handle = core.partition(plan.segment.partition)?;
    let partition = handle.borrow();
    Ok(partition.cuts != plan.cuts || !partition.segments.iter().any(|segment| segment.base == plan.segment.base))
}

async fn read_disk(core: &Rc<Core>, plan: &DiskPlan) -> Result<Vec<Bytes>, StorageError> {
    if plan.valid == 0 {
        return read_straddle(plan, Vec::new());
    }
    let open = core.open_segment(plan.segment).await?;
    let mut position = open.index.borrow().floor_by_offset(plan.from).map_or(0, |slot| slot.position).min(plan.valid);
    let mut wanted = plan.bytes_max as u64 + INDEX_INTERVAL_BYTES;
    while position < plan.valid {
        let to = (position + wanted).min(plan.valid);
        let (buf, start, bytes) = open.read(position, to).await?;
        let window = Bytes::from(buf).slice(..bytes);
        // Whole batches from the first that reaches `from`; `take` is their range in the window.
        let mut take: Option<(usize, usize)> = None;
        let mut missing = None;
        while position - start < bytes as u64 {
            let at = (position - start) as usize;
            let rest = &window[at..];
            let Ok(header) = parse_header(rest) else {
                if rest.len() >= BATCH_HEADER_BYTES && start + (bytes as u64) < plan.valid && take.is_none() {
                    return Err(open.corrupt(position, "no batch starts here".to_owned()));
                }
                missing = Some(BATCH_HEADER_BYTES as u64);
                break;
            };
            let total = header.total_bytes();
            if header.base_offset >= plan.end_offset {
                break;
            }
            if header.end_offset() > plan.from {
                let taken = take.map_or(0, |(from, to)| to - from);
                let fits = taken + total <= plan.bytes_max || (taken == 0 && plan.at_least_one);
                if !fits {
                    return Ok(taken_bytes(&window, take));
                }
                if at + total > bytes {
                    missing = Some(total as u64);
                    break;
                }
                take = Some((take.map_or(at, |(from, _)| from), at + total));
            }
            position += total as u64;
        }
        if take.is_some() {
            return Ok(taken_bytes(&window, take));
        }
        let Some(missing) = missing else {
            if position >= plan.valid || start + bytes as u64 >= plan.valid {
                break;
            }
            continue;
        };
        if position + missing <= plan.valid && missing > wanted {
            wanted = missing;
        } else if start + bytes as u64 >= plan.valid {
            // The batch crosses the written boundary: its beginning is here, its end in memory.
            let head = window.get((position - start) as usize..).unwrap_or(&[]).to_vec();
            return read_straddle(plan, head);
        } else {
            wanted = wanted.max(missing);
        }
    }
    read_straddle(plan, Vec::new())
}

fn taken_bytes(window: &Bytes, take: Option<(usize, usize)>) -> Vec<Bytes> {
    take.map(|(from, to)| window.slice(from..to)).into_iter().collect()
}

/// The batch that crosses the written boundary, put together: the one copy of the read path, at most once a read.
fn read_straddle(plan: &DiskPlan, mut head: Vec<u8>) -> Result<Vec<Bytes>, StorageError> {
    for slice in &plan.straddle {
        head.extend_from_slice(slice);
    }
    let Ok(header) = parse_header(&head) else { return Ok(Vec::new()) };
    if header.end_offset() <= plan.from
        || head.len() < header.total_bytes()
        || (head.len() > plan.bytes_max && !plan.at_least_one)
    {
        return Ok(Vec::new());
    }
    head.truncate(header.total_bytes());
    Ok(vec![Bytes::from(head)])
}

/// See [`crate::Store::offset_for_timestamp`].
pub(crate) async fn offset_for_timestamp(
    core: &Rc<Core>,
    id: PartitionId,
    timestamp: i64,
) -> Result<Option<(Offset, i64)>, StorageError> {
    let handle = core.partition(id)?;
    let (segments, log_start, end) = {
        let partition = handle.borrow();
        let segments: Vec<_> =
            partition.segments.iter().filter(|segment| segment.max_timestamp >= timestamp).cloned().collect();
        (segments, partition.log_start, partition.durable_end)
    };
    for segment in segments {
        let view = crate::view::SegmentView::open(core, &handle, &segment).await?;
        let mut from = view.floor_by_timestamp(timestamp);
        // A batch's maximum says that some record of it may match; only its records tell which.
        loop {
            let mut found = None;
            view.walk(from, |position, header| {
                let hit =
                    header.max_timestamp >= timestamp && header.end_offset() > log_start && header.base_offset < end;
                if hit {
                    found = Some((position, *header));
                }
                !hit
            })
            .await?;
            let Some((position, header)) = found else { break };
            // Opening a batch takes milliseconds, and others wait meanwhile.
            core.shard.yield_now().await;
            let bytes = view.bytes(position, position + header.total_bytes() as u64).await?;
            if let Some(hit) = first_record_at(&bytes, timestamp, log_start) {
                return Ok(Some(hit));
            }
            from = position + header.total_bytes() as u64;
        }
    }
    Ok(None)
}

/// The first record of a batch at or after a timestamp. A batch that cannot be opened, or would grow too large, answers with its
/// own offset: at worst a reader begins a batch too early.
fn first_record_at(batch: &[u8], timestamp: i64, log_start: Offset) -> Option<(Offset, i64)> {
    let header = parse_header(batch).ok()?;
    let limits = DecodeLimits { bytes_max: LOOKUP_BYTES_MAX, ..DecodeLimits::default() };
    let Ok(decoded) = DecodedBatch::decode(batch, &limits) else {
        return Some((header.base_offset.max(log_start), header.max_timestamp));
    };
    decoded
        .records()
        .flatten()
        .find(|record| record.timestamp >= timestamp && record.offset >= log_start)
        .map(|record| (record.offset, record.timestamp))
}

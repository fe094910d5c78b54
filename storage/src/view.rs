//! One segment seen whole: its file up to the written boundary, memory from there on. Owner shard. For the rare walks
//! (truncation, search by time); the hot read path is `read.rs`.

use std::rc::Rc;

use ouzel_protocol::Offset;
use ouzel_protocol::batch::{BATCH_HEADER_BYTES, BatchHeader, parse_header};

use crate::core::Core;
use crate::error::StorageError;
use crate::format::check::SegmentId;
use crate::partition::{Segment, align_up};
use crate::segment::OpenSegment;
use crate::store::SharedPartition;

const WINDOW_BYTES: u64 = 1024 * 1024;

pub(crate) struct SegmentView {
    handle: SharedPartition,
    segment: Segment,
    /// The file, if it holds anything.
    open: Option<Rc<OpenSegment>>,
    /// Bytes that the file holds; memory has the rest.
    valid: u64,
}

impl SegmentView {
    /// The view as of now. The partition must not be truncated while it is used.
    pub(crate) async fn open(
        core: &Rc<Core>,
        handle: &SharedPartition,
        segment: &Segment,
    ) -> Result<Self, StorageError> {
        let (id, valid) = {
            let partition = handle.borrow();
            let valid = partition.written.clamp(segment.start, align_up(segment.end)) - segment.start;
            (SegmentId { partition: partition.id, base: segment.base }, valid)
        };
        let open = if valid > 0 { Some(core.open_segment(id).await?) } else { None };
        Ok(Self { handle: handle.clone(), segment: segment.clone(), open, valid })
    }

    /// Where a walk towards `offset` may start: the start of a batch at or below it.
    pub(crate) fn floor_by_offset(&self, offset: Offset) -> u64 {
        self.floor(|open| open.index.borrow().floor_by_offset(offset).map(|slot| slot.position))
    }

    /// Where a walk towards the first batch that reaches `timestamp` may start.
    pub(crate) fn floor_by_timestamp(&self, timestamp: i64) -> u64 {
        self.floor(|open| open.index.borrow().floor_by_timestamp(timestamp).map(|slot| slot.position))
    }

    /// Start of a batch at or below a byte position.
    pub(crate) fn floor_by_position(&self, position: u64) -> u64 {
        self.floor(|open| {
            let index = open.index.borrow();
            let after = index.slots().partition_point(|slot| slot.position <= position);
            index.slots().get(after.checked_sub(1)?).map(|slot| slot.position)
        })
    }

    fn floor(&self, find: impl Fn(&OpenSegment) -> Option<u64>) -> u64 {
        self.open.as_deref().and_then(find).unwrap_or(0)
    }

    /// End of the last checked range at or below a byte position; 0 if there is none.
    pub(crate) fn range_boundary(&self, position: u64) -> u64 {
        let Some(open) = &self.open else { return 0 };
        let check = open.check.borrow();
        let whole = check.slots().partition_point(|slot| slot.end() <= position.min(self.valid));
        whole.checked_sub(1).and_then(|last| check.slots().get(last)).map_or(0, |slot| slot.end())
    }

    /// The stored bytes of `from..to` (bytes in the segment), copied.
    pub(crate) async fn bytes(&self, from: u64, to: u64) -> Result<Vec<u8>, StorageError> {
        let mut bytes = Vec::with_capacity((to - from) as usize);
        if let Some(open) = &self.open
            && from < self.valid.min(to)
        {
            let end = to.min(self.valid);
            let (buf, start, _) = open.read(from, end).await?;
            bytes.extend_from_slice(&buf[(from - start) as usize..(end - start) as usize]);
        }
        if to > self.valid {
            let start = self.segment.start;
            for slice in self.handle.borrow().slices(start + from.max(self.valid), start + to) {
                bytes.extend_from_slice(&slice);
            }
        }
        Ok(bytes)
    }

    /// Visits batches from byte `position` on, until the visitor returns false or the segment's data ends.
    pub(crate) async fn walk(
        &self,
        mut position: u64,
        mut visit: impl FnMut(u64, &BatchHeader) -> bool,
    ) -> Result<(), StorageError> {
        let data_end = self.segment.end - self.segment.start;
        let header_bytes = BATCH_HEADER_BYTES as u64;
        while position + header_bytes <= data_end {
            let window_at = position;
            let window = self.bytes(position, (position + WINDOW_BYTES).min(data_end)).await?;
            while let Some(rest) = window.get((position - window_at) as usize..) {
                if rest.len() < BATCH_HEADER_BYTES
                    && position + header_bytes <= data_end
                    && !window.is_empty()
                    && position > window_at
                {
                    break;
                }
                // Zeros: the padding of a rolled segment.
                let Ok(header) = parse_header(rest) else { return Ok(()) };
                if !visit(position, &header) {
                    return Ok(());
                }
                position += header.total_bytes() as u64;
            }
        }
        Ok(())
    }
}

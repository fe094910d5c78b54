//! How long a device takes to make a small write durable, and how much it makes durable a second, measured the way a journal
//! uses it: blocks that were written before are overwritten by direct I/O, each write followed by fdatasync. Owns the
//! measurement and its bounds in time and space; judges nothing. Blocks the calling thread.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::buf::{ALIGN, AlignedBuf};

use super::direct_io::nameless_file;

/// One commit of a busy journal.
const LARGE_BYTES: usize = 1024 * 1024;
/// Small commits that are measured at most: more would say nothing new, and take memory.
const SMALL_COUNT_MAX: usize = 1_000_000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct FlushPlan {
    /// Bytes of the file that is overwritten, rounded up to whole MiB.
    pub file_bytes: u64,
    /// Time for commits of one block.
    pub small: Duration,
    /// Time for commits of 1 MiB.
    pub large: Duration,
}

/// What is being done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushStage {
    /// The file that is to be overwritten is written: as long as that takes.
    Writing,
    /// Commits of one block, for this long.
    Small(Duration),
    /// Commits of 1 MiB, for this long.
    Large(Duration),
}

/// What was measured. Each time is sorted, shortest first; none is empty.
#[derive(Debug, Clone)]
pub struct FlushTimes {
    /// Direct writes of one block.
    pub writes: Vec<Duration>,
    /// The fdatasync after each.
    pub flushes: Vec<Duration>,
    /// Both together: what a commit takes.
    pub commits: Vec<Duration>,
    /// Bytes a second that commits of 1 MiB made durable.
    pub bytes_per_second: u64,
}

impl FlushTimes {
    /// The time that this share of `sorted` (0 to 1) does not exceed.
    ///
    /// # Panics
    /// When it is empty.
    #[must_use]
    pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
        let index = (sorted.len() as f64 * share).ceil() as usize;
        sorted[index.saturating_sub(1).min(sorted.len() - 1)]
    }
}

/// Measures in a file of its own in `dir`, which has no name and goes with the process. `begins` is told of each stage before it.
///
/// # Errors
/// The file system's, of no space among them (operator).
pub fn measure_flushes(dir: &Path, plan: FlushPlan, mut begins: impl FnMut(FlushStage)) -> io::Result<FlushTimes> {
    begins(FlushStage::Writing);
    let file = nameless_file(dir)?;
    let large_count = plan.file_bytes.div_ceil(LARGE_BYTES as u64).max(1);
    let mut large = AlignedBuf::zeroed(LARGE_BYTES);
    large.fill(0x5A);
    for index in 0..large_count {
        file.write_all_at(&large, index * LARGE_BYTES as u64)?;
    }
    file.sync_all()?;

    let (mut writes, mut flushes, mut commits) = (Vec::new(), Vec::new(), Vec::new());
    let block = AlignedBuf::zeroed(ALIGN);
    let block_count = large_count * (LARGE_BYTES / ALIGN) as u64;
    begins(FlushStage::Small(plan.small));
    let begun = Instant::now();
    for index in (0..SMALL_COUNT_MAX as u64).map(|index| index % block_count) {
        let before = Instant::now();
        file.write_all_at(&block, index * ALIGN as u64)?;
        let written = Instant::now();
        file.sync_data()?;
        let flushed = Instant::now();
        writes.push(written - before);
        flushes.push(flushed - written);
        commits.push(flushed - before);
        if begun.elapsed() >= plan.small {
            break;
        }
    }

    begins(FlushStage::Large(plan.large));
    let begun = Instant::now();
    let mut large_commits = 0;
    while large_commits == 0 || begun.elapsed() < plan.large {
        file.write_all_at(&large, large_commits % large_count * LARGE_BYTES as u64)?;
        file.sync_data()?;
        large_commits += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let bytes_per_second = (large_commits as f64 * LARGE_BYTES as f64 / seconds) as u64;
    for times in [&mut writes, &mut flushes, &mut commits] {
        times.sort_unstable();
    }
    Ok(FlushTimes { writes, flushes, commits, bytes_per_second })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_counted_once_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary directory");
        let plan = FlushPlan { file_bytes: 1, small: Duration::ZERO, large: Duration::ZERO };
        let mut stages = Vec::new();
        let times =
            measure_flushes(dir.path(), plan, |stage| stages.push(stage)).expect("a file system with direct I/O");
        let zero = Duration::ZERO;
        assert_eq!(stages, [FlushStage::Writing, FlushStage::Small(zero), FlushStage::Large(zero)]);
        assert_eq!((times.writes.len(), times.flushes.len(), times.commits.len()), (1, 1, 1));
        assert!(times.commits[0] >= times.flushes[0] && times.bytes_per_second > 0);
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_percentile_is_one_of_the_times() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_micros).collect();
        for (share, microseconds) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(FlushTimes::percentile(&times, share), Duration::from_micros(microseconds));
        }
        assert_eq!(FlushTimes::percentile(&times[..1], 0.999), Duration::from_micros(1));
    }
}

//! How late `sleep` of 1 ms is while a shard does what producing makes it do: large writes, each followed by fdatasync; a
//! second file that is written in the background; and tasks that work on bytes whenever they may. Prints one JSON object
//! with the lateness at its percentiles; bench/bars judges it.
//!
//! `cargo run --release -p ouzel-runtime --features glommio --example timers -- --seconds 3 --cpu 0 --executor glommio`

#[path = "support/flags.rs"]
mod flags;

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hasher};
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use flags::Flags;
use ouzel_runtime::{AlignedBuf, ExecutorKind, File, OpenMode, RunConfig, Shard, run};

const SLEEP: Duration = Duration::from_millis(1);
const SLEEPERS: usize = 4;
/// Tasks that are always ready; each works on this many bytes in one turn, about as long as one request takes.
const BUSY_TASKS: usize = 8;
const BUSY_BYTES: usize = 32 * 1024;
/// One commit of a journal, and how much of a file is written before it starts again.
const COMMIT_BYTES: usize = 1 << 20;
const FILE_BYTES: u64 = 64 << 20;
/// One write of a segment.
const SEGMENT_BYTES: usize = 256 * 1024;

fn main() -> io::Result<()> {
    let flags = Flags::read(&["seconds", "cpu", "executor", "data-dir"]);
    let seconds: f64 = flags.get("seconds").unwrap_or(3.0);
    let executor: ExecutorKind = flags.get("executor").unwrap_or_default();
    let place: PathBuf = flags.get("data-dir").unwrap_or_else(|| ".".into());
    let dir = tempfile::tempdir_in(place)?;
    let config = RunConfig { cpu: flags.get("cpu"), executor, ..RunConfig::default() };
    let path = dir.path().to_owned();
    let measured = run(config, |shard| async move { measure(&shard, &path, Duration::from_secs_f64(seconds)).await })??;
    println!("{}", measured.json(executor));
    Ok(())
}

struct Measured {
    /// In nanoseconds, ascending.
    late: Vec<u64>,
    commits: u64,
    busy_turns: u64,
}

impl Measured {
    fn late_us(&self, percentile: f64) -> f64 {
        let at = (self.late.len() as f64 * percentile / 100.0) as usize;
        self.late.get(at.min(self.late.len().saturating_sub(1))).map_or(f64::NAN, |nanos| *nanos as f64 / 1000.0)
    }

    fn json(&self, executor: ExecutorKind) -> String {
        format!(
            "{{\"p50_late_us\": {:.1}, \"p99_late_us\": {:.1}, \"max_late_us\": {:.1}, \"sleeps\": {}, \"commits\": {}, \
             \"busy_turns\": {}, \"executor\": \"{executor}\"}}",
            self.late_us(50.0),
            self.late_us(99.0),
            self.late_us(100.0),
            self.late.len(),
            self.commits,
            self.busy_turns,
        )
    }
}

async fn measure(shard: &Shard, dir: &Path, length: Duration) -> io::Result<Measured> {
    let journal = shard.fs().open(&dir.join("journal"), OpenMode::Create).await?;
    let segment = shard.fs().open(&dir.join("segment"), OpenMode::Create).await?;
    // Written once, so that what is measured overwrites, as a recycled journal file does.
    for offset in (0..FILE_BYTES).step_by(COMMIT_BYTES) {
        journal.write_at(AlignedBuf::zeroed(COMMIT_BYTES), offset).await.0?;
    }
    journal.fdatasync().await?;
    segment.allocate(0, FILE_BYTES).await?;

    let commits = Rc::new(Cell::new(0));
    let busy_turns = Rc::new(Cell::new(0));
    let mut load = vec![
        shard.spawn(write_round(journal, COMMIT_BYTES, Rc::clone(&commits))),
        shard.spawn(write_round(segment, SEGMENT_BYTES, Rc::default())),
    ];
    load.extend((0..BUSY_TASKS).map(|_| shard.spawn(stay_busy(shard.clone(), Rc::clone(&busy_turns)))));
    let late = Rc::new(RefCell::new(Vec::new()));
    load.extend((0..SLEEPERS).map(|_| shard.spawn(keep_sleeping(shard.clone(), Rc::clone(&late)))));
    shard.sleep(length).await;
    load.iter().for_each(ouzel_runtime::TaskHandle::cancel);
    let mut late = late.take();
    late.sort_unstable();
    Ok(Measured { late, commits: commits.get(), busy_turns: busy_turns.get() })
}

/// Writes and syncs, round and round.
async fn write_round(file: File, bytes: usize, count: Rc<Cell<u64>>) {
    let mut buf = AlignedBuf::zeroed(bytes);
    for offset in (0..FILE_BYTES).step_by(bytes).cycle() {
        let (result, returned) = file.write_at(buf, offset).await;
        result.expect("written");
        file.fdatasync().await.expect("synced");
        count.set(count.get() + 1);
        buf = returned;
    }
}

async fn stay_busy(shard: Shard, turns: Rc<Cell<u64>>) {
    let bytes = vec![5_u8; BUSY_BYTES];
    loop {
        let mut hasher = DefaultHasher::new();
        hasher.write(black_box(&bytes));
        black_box(hasher.finish());
        turns.set(turns.get() + 1);
        shard.yield_now().await;
    }
}

async fn keep_sleeping(shard: Shard, late: Rc<RefCell<Vec<u64>>>) {
    loop {
        let deadline = shard.now() + SLEEP;
        shard.sleep_until(deadline).await;
        late.borrow_mut().push((shard.now() - deadline).as_nanos() as u64);
    }
}

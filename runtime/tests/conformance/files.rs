//! Direct file I/O, on real files (the build directory is on a real file system).

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;

use ouzel_runtime::{ALIGN, AlignedBuf, AlignedPool, OpenMode, RunConfig, Shard, TailChunk, probe, run};
use tempfile::TempDir;

use super::config;

fn on_shard<F: Future<Output = T>, T>(main: impl FnOnce(Shard, PathBuf) -> F) -> T {
    let dir = scratch();
    let path = dir.path().to_owned();
    run(RunConfig { ring_entries: 1024, ..config() }, |shard| main(shard, path)).expect("io_uring works here")
}

fn scratch() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build directory is writable")
}

fn patterned(bytes: usize, seed: u8) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(bytes);
    buf.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at / 7) as u8 ^ seed);
    buf
}

#[test]
fn what_was_written_and_synced_is_read_back() {
    on_shard(|shard, dir| async move {
        let path = dir.join("a");
        let file = shard.fs().open(&path, OpenMode::Create).await.expect("created");
        let (result, written) = file.write_at(patterned(3 * ALIGN, 1), 2 * ALIGN as u64).await;
        result.expect("written");
        file.fdatasync().await.expect("synced");
        file.sync_all().await.expect("synced");
        assert_eq!(file.len().await.expect("length"), 5 * ALIGN as u64);
        let (count, read) = file.read_at(AlignedBuf::zeroed(8 * ALIGN), 8 * ALIGN, 0).await;
        assert_eq!(count.expect("read"), 5 * ALIGN);
        assert!(read[..2 * ALIGN].iter().all(|byte| *byte == 0));
        assert_eq!(read[2 * ALIGN..5 * ALIGN], written[..]);
        assert_eq!(std::fs::read(&path).expect("read")[2 * ALIGN..], written[..]);
        let (count, _) = file.read_at(AlignedBuf::zeroed(ALIGN), ALIGN, 64 * ALIGN as u64).await;
        assert_eq!(count.expect("beyond the end"), 0);
        assert_eq!(shard.disk_in_flight(), 0);
    });
}

#[test]
fn a_file_that_ends_inside_a_block_gives_a_short_read() {
    on_shard(|shard, dir| async move {
        let path = dir.join("odd");
        std::fs::write(&path, vec![9_u8; ALIGN + 100]).expect("written");
        let file = shard.fs().open(&path, OpenMode::Read).await.expect("opened");
        let (count, buf) = file.read_at(AlignedBuf::zeroed(4 * ALIGN), 4 * ALIGN, 0).await;
        assert_eq!(count.expect("read"), ALIGN + 100);
        assert!(buf[..ALIGN + 100].iter().all(|byte| *byte == 9) && buf[ALIGN + 100..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn new_memory_holds_what_was_read_and_zeros_behind_it() {
    on_shard(|shard, dir| async move {
        let path = dir.join("odd");
        std::fs::write(&path, vec![9_u8; ALIGN + 100]).expect("written");
        let file = shard.fs().open(&path, OpenMode::Read).await.expect("opened");
        for _ in 0..4 {
            // Memory that is likely to come back with this in it.
            let mut used = AlignedBuf::zeroed(4 * ALIGN);
            used.fill(0xff);
            drop(used);
            let (count, buf) = file.read_new(4 * ALIGN, 0).await.expect("read");
            assert_eq!((count, buf.len()), (ALIGN + 100, 4 * ALIGN));
            assert!(buf[..count].iter().all(|byte| *byte == 9) && buf[count..].iter().all(|byte| *byte == 0));
        }
        let (count, buf) = file.read_new(ALIGN, 64 * ALIGN as u64).await.expect("beyond the end");
        assert!(count == 0 && buf.iter().all(|byte| *byte == 0));
        assert_eq!(file.read_new(100, 0).await.expect_err("length").kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn misaligned_transfers_are_refused_and_leave_the_file_usable() {
    on_shard(|shard, dir| async move {
        let file = shard.fs().open(&dir.join("a"), OpenMode::Create).await.expect("created");
        let (result, buf) = file.write_at(AlignedBuf::zeroed(ALIGN), 512).await;
        assert_eq!(result.expect_err("offset").kind(), ErrorKind::InvalidInput);
        let (result, buf) = file.read_at(buf, 100, 0).await;
        assert_eq!(result.expect_err("length").kind(), ErrorKind::InvalidInput);
        let (result, buf) = file.read_at(buf, 2 * ALIGN, 0).await;
        assert_eq!(result.expect_err("more than the buffer").kind(), ErrorKind::InvalidInput);
        let mut chunk = TailChunk::with_capacity(2 * ALIGN);
        chunk.append(&[1; 2 * ALIGN]);
        for slice in [chunk.slice(1..ALIGN + 1), chunk.slice(0..100)] {
            let (result, _) = file.write_at(slice, 0).await;
            assert_eq!(result.expect_err("slice").kind(), ErrorKind::InvalidInput);
        }
        let (result, _) = file.write_at(buf, 0).await;
        result.expect("a proper write still works");
    });
}

#[test]
fn a_failed_write_is_sticky_for_writes_and_syncs() {
    on_shard(|shard, dir| async move {
        let path = dir.join("a");
        std::fs::write(&path, vec![1_u8; ALIGN]).expect("written");
        let file = shard.fs().open(&path, OpenMode::Read).await.expect("opened");
        let (result, buf) = file.write_at(AlignedBuf::zeroed(ALIGN), 0).await;
        let first = result.expect_err("a read-only file");
        assert_eq!(first.raw_os_error(), Some(9), "EBADF: {first}");
        let again = file.clone();
        assert_eq!(again.fdatasync().await.expect_err("poisoned").kind(), first.kind());
        let (result, buf) = again.write_at(buf, 0).await;
        assert_eq!(result.expect_err("poisoned").kind(), first.kind());
        let (count, _) = file.read_at(buf, ALIGN, 0).await;
        assert_eq!(count.expect("reading is not affected"), ALIGN);
    });
}

#[test]
fn paths_are_created_listed_renamed_and_removed() {
    on_shard(|shard, dir| async move {
        let fs = shard.fs();
        let deep = dir.join("x/y");
        fs.create_dir_all(&deep).await.expect("created");
        let file = fs.open(&deep.join("one"), OpenMode::Create).await.expect("created");
        file.allocate(0, 4 * ALIGN as u64).await.expect("allocated");
        assert_eq!(file.len().await.expect("length"), 4 * ALIGN as u64);
        file.truncate(ALIGN as u64).await.expect("truncated");
        let exists = fs.open(&deep.join("one"), OpenMode::Create).await.expect_err("exists");
        assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
        fs.rename(&deep.join("one"), &deep.join("two")).await.expect("renamed");
        fs.sync_dir(&deep).await.expect("synced");
        let entries = fs.read_dir(&dir.join("x")).await.expect("listed");
        assert_eq!(
            entries.iter().map(|entry| (&*entry.name, entry.is_dir, entry.bytes)).collect::<Vec<_>>(),
            [("y", true, 0)]
        );
        let entries = fs.read_dir(&deep).await.expect("listed");
        assert_eq!(
            entries.iter().map(|entry| (&*entry.name, entry.bytes)).collect::<Vec<_>>(),
            [("two", ALIGN as u64)]
        );
        assert!(fs.free_bytes(&deep).await.expect("free space") > 0);
        fs.remove_file(&deep.join("two")).await.expect("removed");
        let gone = fs.open(&deep.join("two"), OpenMode::ReadWrite).await.expect_err("gone");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        fs.remove_dir_all(&dir.join("x")).await.expect("removed");
        assert!(fs.read_dir(&deep).await.is_err());
    });
}

#[test]
fn many_transfers_run_at_once_from_pool_chunk_and_heap() {
    on_shard(|shard, dir| async move {
        const TASKS: u8 = 48;
        let file = shard.fs().open(&dir.join("a"), OpenMode::Create).await.expect("created");
        let pool = AlignedPool::new(5, 2 * ALIGN);
        let tasks: Vec<_> = (0..TASKS)
            .map(|number| {
                let (file, pool) = (file.clone(), pool.clone());
                shard.spawn(async move {
                    let offset = u64::from(number) * 2 * ALIGN as u64;
                    match number % 3 {
                        0 => {
                            let mut buf = pool.get().await;
                            buf.fill(number);
                            file.write_at(buf, offset).await.0.expect("written");
                        }
                        1 => {
                            let mut chunk = TailChunk::with_capacity(4 * ALIGN);
                            chunk.append(&[0; ALIGN]);
                            chunk.append(&[number; 2 * ALIGN]);
                            let slice = chunk.slice(ALIGN..3 * ALIGN);
                            // The chunk grows while the write runs.
                            let write = file.write_at(slice, offset);
                            chunk.append(&[0xEE; ALIGN]);
                            write.await.0.expect("written");
                        }
                        _ => {
                            let mut buf = AlignedBuf::zeroed(2 * ALIGN);
                            buf.fill(number);
                            file.write_at(buf, offset).await.0.expect("written");
                        }
                    }
                })
            })
            .collect();
        for task in &tasks {
            task.join().await;
        }
        assert_eq!(pool.available(), 5);
        let bytes = usize::from(TASKS) * 2 * ALIGN;
        let (count, buf) = file.read_at(AlignedBuf::zeroed(bytes), bytes, 0).await;
        assert_eq!(count.expect("read"), bytes);
        for (number, block) in buf.chunks(2 * ALIGN).enumerate() {
            assert!(block.iter().all(|byte| usize::from(*byte) == number), "block {number}");
        }
    });
}

#[test]
fn abandoned_transfers_keep_their_buffers_and_the_run_ends() {
    on_shard(|shard, dir| async move {
        let file = shard.fs().open(&dir.join("a"), OpenMode::Create).await.expect("created");
        for round in 0..50_u64 {
            let tasks: Vec<_> = (0..8_u64)
                .map(|number| {
                    let file = file.clone();
                    shard.spawn(async move {
                        let offset = (round * 8 + number) * 16 * ALIGN as u64;
                        match number % 3 {
                            0 => drop(file.fdatasync().await),
                            1 => drop(file.read_at(AlignedBuf::zeroed(16 * ALIGN), 16 * ALIGN, offset).await),
                            _ => drop(file.write_at(patterned(16 * ALIGN, 3), offset).await),
                        }
                    })
                })
                .collect();
            shard.yield_now().await;
            assert!(round > 0 || shard.disk_in_flight() > 0);
            tasks.iter().for_each(ouzel_runtime::TaskHandle::cancel);
        }
        // What was cancelled is no failure of the disk.
        let (result, _) = file.write_at(patterned(ALIGN, 1), 0).await;
        result.expect("the file is not poisoned");
    });
}

#[test]
fn a_small_ring_carries_far_more_operations_than_it_has_entries() {
    const READS: u64 = 600;
    let dir = scratch();
    let path = dir.path().join("a");
    // 8 submissions and 32 completions; the backlog and the kernel's overflow list take the rest.
    let config = RunConfig { ring_entries: 8, ..config() };
    let done = run(config, |shard| async move {
        let file = shard.fs().open(&path, OpenMode::Create).await.expect("created");
        let (result, _) = file.write_at(patterned(64 * ALIGN, 9), 0).await;
        result.expect("written");
        let expected = Rc::new(patterned(64 * ALIGN, 9));
        let done = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..READS)
            .map(|number| {
                let (file, expected, done) = (file.clone(), Rc::clone(&expected), Rc::clone(&done));
                shard.spawn(async move {
                    let at = (number % 64) as usize * ALIGN;
                    let (count, buf) = file.read_at(AlignedBuf::zeroed(ALIGN), ALIGN, at as u64).await;
                    assert_eq!(count.expect("read"), ALIGN);
                    assert!(buf[..] == expected[at..at + ALIGN]);
                    done.set(done.get() + 1);
                })
            })
            .collect();
        for task in &tasks {
            task.join().await;
        }
        done.get()
    });
    assert_eq!(done.expect("io_uring works here"), READS);
}

#[test]
fn a_file_that_outlives_its_run_fails_politely() {
    let dir = scratch();
    let path = dir.path().join("a");
    let file = run(config(), |shard| async move { shard.fs().open(&path, OpenMode::Create).await.expect("created") })
        .expect("io_uring works here");
    let error = run(config(), |_| async move { file.fdatasync().await }).expect("io_uring works here");
    assert_eq!(error.expect_err("its ring is gone").kind(), ErrorKind::NotConnected);
}

#[test]
fn this_host_has_what_the_runtime_needs() {
    let dir = scratch();
    let report = probe(dir.path()).expect("this host can run the tests");
    assert!(report.direct_io_align <= ALIGN && report.open_files_max > 0 && !report.kernel.is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0, "the probe leaves nothing behind");
}

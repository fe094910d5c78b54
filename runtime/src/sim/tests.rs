//! Tests of a simulated run as its users see it: `run_sim`, `Shard`, `Fs` and `File` on a `SimDisk`.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::{AlignedBuf, File, OpenMode, Shard};

fn block(fill: u8) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(4096);
    buf.fill(fill);
    buf
}

async fn new_file(shard: &Shard) -> File {
    shard.fs().open(Path::new("/file"), OpenMode::Create).await.unwrap()
}

/// Eight tasks write a block each and note the order in which they were answered.
async fn eight_writers(shard: Shard) -> Vec<u8> {
    let file = new_file(&shard).await;
    let order = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..8u8)
        .map(|index| {
            let (file, order) = (file.clone(), order.clone());
            shard.spawn(async move {
                let (result, _) = file.write_at(block(index + 1), u64::from(index) * 4096).await;
                result.unwrap();
                file.fdatasync().await.unwrap();
                order.borrow_mut().push(index);
            })
        })
        .collect();
    for task in tasks {
        let _ = task.join().await;
    }
    order.take()
}

#[test]
fn one_seed_is_one_run_and_other_seeds_order_completions_otherwise() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let run = || {
            let disk = SimDisk::new(seed);
            let SimOutcome::Done(order) = run_sim(seed, disk.clone(), eight_writers) else { panic!("the run ends") };
            (order, disk.trace_hash(), disk.stats())
        };
        let first = run();
        assert_eq!(first, run());
        orders.insert(first.0);
    }
    assert!(orders.len() > 5, "{orders:?}");
}

#[test]
fn bytes_written_are_read_back_and_short_only_at_the_end() {
    let disk = SimDisk::new(1);
    let outcome = run_sim(1, disk, |shard| async move {
        let file = new_file(&shard).await;
        assert!(file.write_at(block(7), 4096).await.0.is_ok());
        assert_eq!(file.len().await.unwrap(), 8192);
        let (read, buf) = file.read_at(AlignedBuf::zeroed(12288), 12288, 0).await;
        assert_eq!((read.unwrap(), buf[0], buf[4096], buf[8191]), (8192, 0, 7, 7));
        file.truncate(4096).await.unwrap();
        file.allocate(0, 8192).await.unwrap();
        let (read, buf) = file.read_at(buf, 4096, 4096).await;
        assert_eq!((read.unwrap(), buf[0]), (4096, 0));
        let entries = shard.fs().read_dir(Path::new("/")).await.unwrap();
        assert_eq!((entries.len(), entries[0].bytes), (1, 8192));
        let read_only = shard.fs().open(Path::new("/file"), OpenMode::Read).await.unwrap();
        assert!(read_only.write_at(block(1), 0).await.0.is_err());
    });
    assert_eq!(outcome, SimOutcome::Done(()));
}

#[test]
fn the_clock_jumps_and_sleepers_wake_in_order() {
    let outcome = run_sim(1, SimDisk::new(1), |shard| async move {
        let start = shard.now();
        let order = Rc::new(RefCell::new(Vec::new()));
        for seconds in [3600, 1, 60] {
            let (inner, order) = (shard.clone(), order.clone());
            shard.spawn(async move {
                inner.sleep(Duration::from_secs(seconds)).await;
                order.borrow_mut().push(seconds);
            });
        }
        shard.sleep(Duration::from_secs(7200)).await;
        assert!(shard.now() - start >= Duration::from_secs(7200));
        order.take()
    });
    assert_eq!(outcome, SimOutcome::Done(vec![1, 60, 3600]));
}

#[test]
fn a_power_cut_drops_every_task_where_it_stands() {
    struct Dropped(Rc<Cell<u32>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    let disk = SimDisk::new(1);
    disk.cut_power_after(9);
    let guard = dropped.clone();
    let outcome = run_sim(1, disk.clone(), |shard| async move {
        let _main = Dropped(guard.clone());
        let file = new_file(&shard).await;
        let (inner, task) = (shard.clone(), Dropped(guard));
        shard.spawn(async move {
            let _task = task;
            inner.sleep(Duration::from_secs(1_000_000)).await;
        });
        loop {
            assert!(file.write_at(block(1), 0).await.0.is_ok());
        }
    });
    assert_eq!((outcome, dropped.get()), (SimOutcome::<()>::PowerCut, 2));
    assert_eq!((disk.stats().cuts, disk.stats().events), (1, 9));
}

#[test]
fn a_run_in_which_nothing_can_happen_is_stalled() {
    let outcome = run_sim(1, SimDisk::new(1), |_shard| std::future::pending::<()>());
    assert_eq!(outcome, SimOutcome::Stalled);
}

#[test]
fn what_was_synced_survives_a_cut_and_what_a_kill_leaves_is_read_by_the_next_run() {
    let mut lost = 0;
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let write = |fill: u8, sync: bool| {
            move |shard: Shard| async move {
                let file = match fill {
                    1 => new_file(&shard).await,
                    _ => shard.fs().open(Path::new("/file"), OpenMode::ReadWrite).await.unwrap(),
                };
                file.write_at(block(fill), u64::from(fill - 1) * 4096).await.0.unwrap();
                if sync {
                    file.fdatasync().await.unwrap();
                    shard.fs().sync_dir(Path::new("/")).await.unwrap();
                }
            }
        };
        assert_eq!(run_sim(seed, disk.clone(), write(1, true)), SimOutcome::Done(()));
        assert_eq!(run_sim(seed + 1, disk.clone(), write(2, false)), SimOutcome::Done(()));
        assert_eq!(disk.read_file(Path::new("/file")).unwrap(), [[1; 4096], [2; 4096]].concat());
        disk.cut_power();
        let bytes = disk.read_file(Path::new("/file")).unwrap();
        assert_eq!(bytes[..4096], [1; 4096]);
        lost += u32::from(bytes.get(4096..).is_none_or(|rest| rest != [2; 4096]));
    }
    assert!((1..40).contains(&lost));
}

#[test]
fn a_short_write_is_resumed_and_a_failed_sync_sticks() {
    let disk = SimDisk::new(8);
    let outcome = run_sim(8, disk.clone(), |shard| {
        let disk = disk.clone();
        async move {
            let file = new_file(&shard).await;
            disk.fail_op(1, Fault::Short);
            let mut buf = AlignedBuf::zeroed(16384);
            buf.fill(3);
            file.write_at(buf, 0).await.0.unwrap();
            assert_eq!(disk.read_file(Path::new("/file")).unwrap(), vec![3; 16384]);
            disk.fail_op(1, Fault::Eio);
            let failed = file.fdatasync().await.unwrap_err().raw_os_error();
            assert_eq!(failed, Some(libc::EIO));
            assert!(file.fdatasync().await.is_err(), "the file remembers");
            assert!(file.write_at(block(1), 0).await.0.is_err());
        }
    });
    assert_eq!(outcome, SimOutcome::Done(()));
}

//! Wakers used from threads that run no shard, while the shard runs and after it has ended.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;

use ouzel_runtime::sync::remote_oneshot;
use ouzel_runtime::{RunConfig, run};

/// What one thread gives to one task: a number, and the waker to tell it by.
#[derive(Default)]
struct Mark {
    number: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

#[test]
fn a_hundred_thousand_wake_ups_from_foreign_threads_arrive() {
    const THREADS: usize = 4;
    const WAKES: u32 = 25_000;
    for spin_us in [0, 50] {
        let marks: Vec<_> = (0..THREADS).map(|_| Arc::new(Mark::default())).collect();
        let threads: Vec<_> = marks
            .iter()
            .map(|mark| {
                let mark = Arc::clone(mark);
                thread::spawn(move || {
                    for number in 1..=WAKES {
                        mark.number.store(number, Ordering::Release);
                        let waker = mark.waker.lock().expect("no panic").take();
                        if let Some(waker) = waker {
                            waker.wake();
                        }
                    }
                })
            })
            .collect();
        let polls = run(RunConfig { spin_us, ..super::config() }, |shard| async move {
            let polls = Rc::new(Cell::new(0_u64));
            let tasks: Vec<_> = marks
                .into_iter()
                .map(|mark| {
                    let polls = Rc::clone(&polls);
                    shard.spawn(poll_fn(move |cx| {
                        polls.set(polls.get() + 1);
                        *mark.waker.lock().expect("no panic") = Some(cx.waker().clone());
                        // The waker first, then the look: a thread that stored the last number before sees the waker.
                        if mark.number.load(Ordering::Acquire) == WAKES { Poll::Ready(()) } else { Poll::Pending }
                    }))
                })
                .collect();
            for task in &tasks {
                task.join().await;
            }
            polls.get()
        })
        .expect("io_uring works here");
        assert!(polls >= THREADS as u64);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
}

#[test]
fn a_question_and_an_answer_from_another_thread_never_get_lost() {
    const ROUNDS: u32 = 20_000;
    let (ask, questions) = std::sync::mpsc::channel::<remote_oneshot::Sender<u32>>();
    let thread = thread::spawn(move || {
        for (number, answer) in (0..).zip(questions) {
            answer.send(number).expect("the asker waits");
        }
    });
    // Each answer finds the shard asleep, or on its way to sleep: the moment at which a wake-up can be lost.
    let answers = run(RunConfig { spin_us: 0, ..super::config() }, |_| async move {
        for number in 0..ROUNDS {
            let (answer, answered) = remote_oneshot::channel();
            ask.send(answer).expect("the thread runs");
            assert_eq!(answered.await, Ok(number));
        }
        ROUNDS
    });
    assert_eq!(answers.expect("io_uring works here"), ROUNDS);
    thread.join().expect("no panic");
}

#[test]
fn threads_that_go_on_waking_tasks_of_a_shard_that_ends_do_no_harm() {
    for _ in 0..20 {
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let has_ended = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (wakers, has_ended) = (Arc::clone(&wakers), Arc::clone(&has_ended));
                thread::spawn(move || {
                    let mut wakes_after_the_end = 0;
                    while wakes_after_the_end < 1_000 {
                        let wakers = wakers.lock().expect("no panic").clone();
                        wakers.iter().for_each(Waker::wake_by_ref);
                        wakes_after_the_end += u32::from(has_ended.load(Ordering::Acquire));
                    }
                })
            })
            .collect();
        let registered = Arc::clone(&wakers);
        run(super::config(), |shard| async move {
            for _ in 0..8 {
                let registered = Arc::clone(&registered);
                let mut is_new = true;
                drop(shard.spawn(poll_fn(move |cx| {
                    if std::mem::replace(&mut is_new, false) {
                        registered.lock().expect("no panic").push(cx.waker().clone());
                    }
                    Poll::Pending
                })));
            }
            for _ in 0..50 {
                shard.yield_now().await;
            }
        })
        .expect("io_uring works here");
        has_ended.store(true, Ordering::Release);
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        // Dropping the last wakers on a foreign thread, long after the end, is harmless as well.
        let last = std::mem::take(&mut *wakers.lock().expect("no panic"));
        assert_eq!(last.len(), 8);
        thread::spawn(move || drop(last)).join().expect("no panic");
    }
}

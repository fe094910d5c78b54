//! Tasks, timers and wake-ups of one core, on a real ring.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use ouzel_runtime::sync::{Event, Notify, Semaphore, oneshot, remote_oneshot};
use ouzel_runtime::{Shard, run, timeout_at};

use super::config;

fn on_shard<F: Future<Output = T>, T>(main: impl FnOnce(Shard) -> F) -> T {
    run(config(), main).expect("io_uring works here")
}

#[test]
fn timers_fire_in_order_of_their_deadlines() {
    let fired = on_shard(|shard| async move {
        let fired = Rc::new(RefCell::new(Vec::new()));
        let start = shard.now();
        let tasks: Vec<_> = [7, 3, 5, 1, 3]
            .into_iter()
            .enumerate()
            .map(|(number, ms)| {
                let (inner, fired) = (shard.clone(), Rc::clone(&fired));
                shard.spawn(async move {
                    inner.sleep_until(start + Duration::from_millis(ms)).await;
                    assert!(inner.now() >= start + Duration::from_millis(ms));
                    fired.borrow_mut().push((ms, number));
                })
            })
            .collect();
        for task in &tasks {
            task.join().await;
        }
        fired.take()
    });
    assert_eq!(fired, [(1, 3), (3, 1), (3, 4), (5, 2), (7, 0)]);
}

#[test]
fn a_task_that_yields_for_ever_starves_neither_timers_nor_io() {
    on_shard(|shard| async move {
        let turns = Rc::new(Cell::new(0_u64));
        for _ in 0..3 {
            let (inner, turns) = (shard.clone(), Rc::clone(&turns));
            drop(shard.spawn(async move {
                loop {
                    turns.set(turns.get() + 1);
                    inner.yield_now().await;
                }
            }));
        }
        shard.sleep(Duration::from_millis(2)).await;
        assert!(turns.get() > 0);
        let listener = shard.adopt_listener(std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let address = listener.local_addr();
        let (server, client) = (
            shard.spawn(async move {
                let (socket, _) = listener.accept().await.expect("a connection");
                let bytes = socket.recv().await.expect("no error").expect("bytes");
                socket.send(bytes.to_vec().into()).await.expect("sent");
            }),
            shard.connect(address).await.expect("connected"),
        );
        client.send("hello".into()).await.expect("sent");
        assert_eq!(&*client.recv().await.expect("no error").expect("bytes"), b"hello");
        server.join().await;
    });
}

#[test]
fn a_cancelled_task_drops_its_future_and_ends_its_join() {
    on_shard(|shard| async move {
        struct SetOnDrop(Rc<Cell<bool>>);
        impl Drop for SetOnDrop {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Rc::new(Cell::new(false));
        let guard = SetOnDrop(Rc::clone(&dropped));
        let task = shard.spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        shard.yield_now().await;
        assert!(!task.is_finished());
        task.cancel();
        assert!(dropped.get() && task.is_finished());
        task.join().await;
        task.cancel();
    });
}

#[test]
fn a_task_may_cancel_itself() {
    on_shard(|shard| async move {
        let (sender, receiver) = oneshot::channel();
        let handle = Rc::new(RefCell::new(None::<ouzel_runtime::TaskHandle>));
        let own = Rc::clone(&handle);
        *handle.borrow_mut() = Some(shard.spawn(async move {
            if let Some(handle) = own.borrow_mut().take() {
                handle.cancel();
            }
            pending::<()>().await;
            let _ = sender.send(());
        }));
        // The sender goes with the future.
        assert_eq!(receiver.await, Err(oneshot::Canceled));
    });
}

#[test]
fn a_detached_task_is_dropped_at_the_end_of_the_run() {
    let alive = Rc::new(());
    let inner = Rc::clone(&alive);
    on_shard(|shard| async move {
        drop(shard.spawn(async move {
            let _inner = inner;
            pending::<()>().await;
        }));
        shard.yield_now().await;
    });
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn wake_ups_from_a_foreign_thread_arrive() {
    const ROUNDS: u64 = 2_000;
    let sum = on_shard(|_shard| async move {
        let (to_thread, from_shard) = mpsc::channel::<remote_oneshot::Sender<u64>>();
        let thread = std::thread::spawn(move || {
            for (number, sender) in from_shard.into_iter().enumerate() {
                let _ = sender.send(number as u64);
            }
        });
        let mut sum = 0;
        for _ in 0..ROUNDS {
            let (sender, receiver) = remote_oneshot::channel();
            to_thread.send(sender).expect("the thread runs");
            sum += receiver.await.expect("an answer");
        }
        drop(to_thread);
        thread.join().expect("no panic");
        sum
    });
    assert_eq!(sum, ROUNDS * (ROUNDS - 1) / 2);
}

#[test]
fn a_waker_that_outlives_its_shard_is_harmless() {
    let waker = on_shard(|_shard| poll_fn(|cx| Poll::Ready(cx.waker().clone())));
    waker.wake_by_ref();
    std::thread::spawn(move || waker.wake()).join().expect("no panic");
}

#[test]
fn a_timeout_drops_the_future_that_is_late() {
    on_shard(|shard| async move {
        let late = timeout_at(&shard, shard.now() + Duration::from_millis(1), pending::<()>()).await;
        assert!(late.is_err());
        let ready = timeout_at(&shard, shard.now(), async { 7 }).await;
        assert_eq!(ready, Ok(7));
    });
}

#[test]
fn a_thread_runs_one_shard_at_a_time_and_another_one_after_it() {
    on_shard(|_shard| async {
        let nested = run(config(), |_| async {});
        assert_eq!(nested.expect_err("nested").kind(), std::io::ErrorKind::AlreadyExists);
    });
    assert_eq!(on_shard(|shard| async move { shard.index() }), 0);
}

#[test]
fn a_panic_takes_the_shard_down_in_order() {
    let result = std::panic::catch_unwind(|| {
        on_shard(|shard| async move {
            let listener = shard.adopt_listener(std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
            drop(shard.spawn(async move { drop(listener.accept().await) }));
            shard.yield_now().await;
            panic!("on purpose");
        })
    });
    assert!(result.is_err());
    on_shard(|_| async {});
}

#[test]
fn a_semaphore_serves_in_order_and_a_large_request_is_not_overtaken() {
    on_shard(|shard| async move {
        let semaphore = Semaphore::new(4);
        let held = semaphore.acquire(3).await;
        let order = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = [4_usize, 1, 2]
            .into_iter()
            .map(|count| {
                let (semaphore, order) = (semaphore.clone(), Rc::clone(&order));
                shard.spawn(async move {
                    let _permit = semaphore.acquire(count).await;
                    order.borrow_mut().push(count);
                })
            })
            .collect();
        shard.yield_now().await;
        // One is free, but the first in line wants four.
        assert!(order.borrow().is_empty() && semaphore.try_acquire(1).is_none() && semaphore.waiting() == 3);
        drop(held);
        for task in &tasks {
            task.join().await;
        }
        assert_eq!(*order.borrow(), [4, 1, 2]);
        assert_eq!(semaphore.available(), 4);
    });
}

#[test]
fn a_waiter_that_leaves_a_semaphore_lets_the_next_one_through() {
    on_shard(|shard| async move {
        let semaphore = Semaphore::new(1);
        let waiting = |count: usize| {
            let semaphore = semaphore.clone();
            shard.spawn(async move { drop(semaphore.acquire(count).await) })
        };
        let (large, small) = (waiting(5), waiting(1));
        shard.yield_now().await;
        assert!(!small.is_finished());
        large.cancel();
        small.join().await;
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn a_notification_for_a_waiter_that_left_goes_to_the_next() {
    on_shard(|shard| async move {
        let notify = Rc::new(Notify::new());
        let wait = || {
            let notify = Rc::clone(&notify);
            shard.spawn(async move { notify.notified().await })
        };
        let (first, second) = (wait(), wait());
        shard.yield_now().await;
        notify.notify_one();
        first.cancel();
        second.join().await;
        notify.notify_one();
        notify.notified().await;
    });
}

#[test]
fn an_event_wakes_all_who_wait_for_it() {
    on_shard(|shard| async move {
        let event = Rc::new(Event::new());
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let event = Rc::clone(&event);
                shard.spawn(async move { event.wait().await })
            })
            .collect();
        shard.yield_now().await;
        assert!(tasks.iter().all(|task| !task.is_finished()));
        event.set();
        for task in &tasks {
            task.join().await;
        }
        event.wait().await;
    });
}

#[test]
fn an_idle_shard_uses_no_cpu() {
    on_shard(|shard| async move {
        let cpu = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("procfs");
            let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
            fields[11].parse::<u64>().expect("user ticks") + fields[12].parse::<u64>().expect("system ticks")
        };
        let before = cpu();
        shard.sleep(Duration::from_millis(300)).await;
        // A thread that spins would have used 30 ticks of 10 ms.
        assert!(cpu() - before <= 3, "{} ticks", cpu() - before);
    });
}

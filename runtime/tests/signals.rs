//! SIGINT and SIGTERM. A binary of its own: signals are the process's, so this is one test.

use std::process::Command;
use std::time::Duration;

use ouzel_runtime::sync::oneshot;
use ouzel_runtime::{ExecutorKind, RunConfig, Signal, Signals, run};

fn raise(name: &str) {
    let status =
        Command::new("kill").args(["-s", name, &std::process::id().to_string()]).status().expect("kill exists");
    assert!(status.success());
}

#[test]
fn signals_are_reported_and_do_not_end_the_process() {
    let mut signals = Signals::install().expect("installed");
    assert!(Signals::install().is_err(), "the second time is refused");
    for executor in ExecutorKind::COMPILED {
        // Before anybody waits.
        raise("TERM");
        signals =
            run(RunConfig { executor: *executor, recv_buffer_count: 4, ..RunConfig::default() }, |shard| async move {
                assert_eq!(signals.next().await.expect("a signal"), Signal::Terminate);
                // While somebody waits.
                let (sender, interrupted) = oneshot::channel();
                let (give_back, returned) = oneshot::channel();
                drop(shard.spawn(async move {
                    assert_eq!(signals.next().await.expect("a signal"), Signal::Interrupt);
                    sender.send(()).expect("main waits");
                    for _ in 0..3 {
                        assert_eq!(signals.next().await.expect("a signal"), Signal::Terminate);
                    }
                    give_back.send(signals).expect("main waits");
                }));
                shard.yield_now().await;
                raise("INT");
                interrupted.await.expect("reported");
                for _ in 0..3 {
                    raise("TERM");
                    shard.sleep(Duration::from_millis(1)).await;
                }
                returned.await.expect("all were reported")
            })
            .expect("io_uring works here");
    }
}

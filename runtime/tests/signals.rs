//! SIGINT and SIGTERM. A binary of its own: signals are the process's, so this is one test.

use std::process::Command;

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
                // While somebody waits, and one after the other: two of a kind that come before the first was taken are one.
                for (name, expected) in
                    [("INT", Signal::Interrupt), ("TERM", Signal::Terminate), ("TERM", Signal::Terminate)]
                {
                    let (give_back, returned) = oneshot::channel();
                    drop(shard.spawn(async move {
                        assert_eq!(signals.next().await.expect("a signal"), expected);
                        give_back.send(signals).expect("main waits");
                    }));
                    shard.yield_now().await;
                    raise(name);
                    signals = returned.await.expect("reported");
                }
                signals
            })
            .expect("io_uring works here");
    }
}

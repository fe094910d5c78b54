//! SIGINT and SIGTERM. A binary of its own: signals are the process's, so this is one test.

use std::process::Command;

use ouzel_runtime::sync::oneshot;
use ouzel_runtime::{RunConfig, Signal, Signals, run};

fn raise(name: &str) {
    let status =
        Command::new("kill").args(["-s", name, &std::process::id().to_string()]).status().expect("kill exists");
    assert!(status.success());
}

#[test]
fn signals_are_reported_and_do_not_end_the_process() {
    let mut signals = Signals::install().expect("installed");
    assert!(Signals::install().is_err(), "the second time is refused");
    // Before anybody waits.
    raise("TERM");
    run(RunConfig { recv_buffer_count: 4, ..RunConfig::default() }, |shard| async move {
        assert_eq!(signals.next().await.expect("a signal"), Signal::Terminate);
        // While somebody waits.
        let (sender, interrupted) = oneshot::channel();
        let task = shard.spawn(async move {
            assert_eq!(signals.next().await.expect("a signal"), Signal::Interrupt);
            sender.send(()).expect("main waits");
            assert_eq!(signals.next().await.expect("a signal"), Signal::Terminate);
        });
        shard.yield_now().await;
        raise("INT");
        interrupted.await.expect("reported");
        raise("TERM");
        task.join().await;
    })
    .expect("io_uring works here");
}

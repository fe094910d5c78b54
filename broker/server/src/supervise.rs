//! What ends a broker: a signal, or a shard that ended by itself. Owns the waiting for both and the bound of the stop that
//! follows; the stop itself is `node.rs`. Runs on the thread that started the broker, on a small ring of its own.

use std::pin::Pin;
use std::sync::mpsc;
use std::time::Duration;

use ouzel_runtime::{Inbox, Mailbox, Shard, Signals};

use crate::error::StopError;
use crate::join;
use crate::limits::STOP_WAIT_MS_MAX;
use crate::node::RunningBroker;

/// What is waited for.
enum Event {
    Signal,
    SignalsFailed,
    ShardEnded(u16),
    Stopped(Result<(), StopError>),
    TimeIsUp,
}

/// Waits for a reason to stop, stops, and says how that went.
pub(crate) async fn supervise(
    shard: Shard,
    mut signals: Signals,
    exits: mpsc::Receiver<u16>,
    stopping: impl FnOnce(),
    broker: RunningBroker,
) -> Result<(), StopError> {
    let (events, mut inbox) = shard.mailbox(usize::from(u16::MAX));
    relay("exits", events.clone(), move |events| {
        while let Ok(index) = exits.recv() {
            // Nobody waits any more once the broker has stopped.
            let _ = events.send(Event::ShardEnded(index));
        }
    });
    let failed = match next(&shard, &mut signals, &mut inbox, None).await {
        Event::ShardEnded(index) => {
            tracing::error!(shard = index, "a shard has ended: the broker stops");
            Some(StopError::ShardEnded { shard: index, detail: "the broker could not go on without it".to_owned() })
        }
        _ => {
            tracing::info!("stopping");
            None
        }
    };
    stopping();
    relay("stop", events, move |events| {
        let _ = events.send(Event::Stopped(broker.stop()));
    });
    let deadline = shard.now() + Duration::from_millis(STOP_WAIT_MS_MAX);
    loop {
        match next(&shard, &mut signals, &mut inbox, Some(deadline)).await {
            Event::Stopped(outcome) => return failed.map_or(outcome, Err),
            Event::Signal => return Err(StopError::Forced { why: "a second signal came" }),
            Event::TimeIsUp => return Err(StopError::Forced { why: "the stop took too long" }),
            // The shards end one after the other: that is the stop.
            Event::ShardEnded(_) | Event::SignalsFailed => {}
        }
    }
}

/// Lets a thread wait for what no ring can wait for.
fn relay(name: &str, events: Mailbox<Event>, wait: impl FnOnce(Mailbox<Event>) + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || wait(events)).expect("a process that runs shards can have one more thread");
}

async fn next(
    shard: &Shard,
    signals: &mut Signals,
    inbox: &mut Inbox<Event>,
    deadline: Option<ouzel_runtime::Instant>,
) -> Event {
    let mut waiting: Vec<Pin<Box<dyn Future<Output = Event> + '_>>> = vec![
        Box::pin(async {
            match inbox.recv().await {
                Some(event) => event,
                None => std::future::pending().await,
            }
        }),
        Box::pin(async {
            match signals.next().await {
                Ok(signal) => {
                    tracing::info!(?signal, "received");
                    Event::Signal
                }
                Err(error) => {
                    tracing::error!(%error, "signals cannot be waited for");
                    Event::SignalsFailed
                }
            }
        }),
    ];
    if let Some(deadline) = deadline {
        waiting.push(Box::pin(async move {
            shard.sleep_until(deadline).await;
            Event::TimeIsUp
        }));
    }
    join::first(&mut waiting).await
}

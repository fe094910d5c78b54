//! Accepting connections: native ones on the public port and on the shard's own, Kafka's on its port. Owns the listeners of
//! a shard; what is said on a connection is `connection.rs`. Lives on every shard.

use std::rc::Rc;
use std::time::Duration;

use ouzel_runtime::{Listener, TaskHandle};

use crate::connection::{self, Language};
use crate::limits::ACCEPT_RETRY_MS;
use crate::listeners::ShardListeners;
use crate::shard::ShardState;

/// The accept loops of a shard.
pub(crate) struct Accepting {
    listeners: Vec<Rc<Listener>>,
    tasks: Vec<TaskHandle>,
}

/// Starts to accept.
pub(crate) fn start(state: &Rc<ShardState>, listeners: ShardListeners) -> Accepting {
    let ShardListeners { public, own, kafka } = listeners;
    let mut accepting = Accepting { listeners: Vec::new(), tasks: Vec::new() };
    let native = [public, own].map(|listener| (listener, Language::Native));
    for (listener, language) in native.into_iter().chain(kafka.into_iter().map(|listener| (listener, Language::Kafka)))
    {
        let listener = Rc::new(state.shard.adopt_listener(listener));
        accepting.tasks.push(state.shard.spawn(accept(Rc::clone(state), Rc::clone(&listener), language)));
        accepting.listeners.push(listener);
    }
    accepting
}

impl Accepting {
    /// Accepts nothing more; connections stay.
    pub(crate) fn stop(self) {
        self.tasks.iter().for_each(TaskHandle::cancel);
        self.listeners.iter().for_each(|listener| listener.close());
    }
}

async fn accept(state: Rc<ShardState>, listener: Rc<Listener>, language: Language) {
    while !state.stopping.is_set() {
        match listener.accept().await {
            Ok((socket, peer)) => match state.connection_opened(peer.ip(), language) {
                Some(open) => {
                    drop(state.shard.spawn(connection::serve(Rc::clone(&state), socket, peer, open, language)))
                }
                None => socket.shutdown(),
            },
            Err(error) => {
                tracing::warn!(shard = state.index.0, %error, "a connection was not accepted");
                state.shard.sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

//! Accepting connections on the public port and on the shard's own. Owns the two listeners of a shard; what is said on a
//! connection is `connection.rs`. Lives on every shard.

use std::rc::Rc;
use std::time::Duration;

use ouzel_runtime::{Listener, TaskHandle};

use crate::connection;
use crate::limits::ACCEPT_RETRY_MS;
use crate::listeners::ShardListeners;
use crate::shard::ShardState;

/// The accept loops of a shard.
pub(crate) struct Accepting {
    listeners: [Rc<Listener>; 2],
    tasks: [TaskHandle; 2],
}

/// Starts to accept.
pub(crate) fn start(state: &Rc<ShardState>, listeners: ShardListeners) -> Accepting {
    let ShardListeners { public, own } = listeners;
    let listeners = [public, own].map(|listener| Rc::new(state.shard.adopt_listener(listener)));
    let tasks = [0, 1].map(|which: usize| {
        let listener = Rc::clone(&listeners[which]);
        state.shard.spawn(accept(Rc::clone(state), listener))
    });
    Accepting { listeners, tasks }
}

impl Accepting {
    /// Accepts nothing more; connections stay.
    pub(crate) fn stop(self) {
        self.tasks.iter().for_each(TaskHandle::cancel);
        self.listeners.iter().for_each(|listener| listener.close());
    }
}

async fn accept(state: Rc<ShardState>, listener: Rc<Listener>) {
    while !state.stopping.is_set() {
        match listener.accept().await {
            Ok((socket, peer)) => match state.connection_opened(peer.ip()) {
                Some(open) => drop(state.shard.spawn(connection::serve(Rc::clone(&state), socket, peer, open))),
                None => socket.shutdown(),
            },
            Err(error) => {
                tracing::warn!(shard = state.index.0, %error, "a connection was not accepted");
                state.shard.sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
}

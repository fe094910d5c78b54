//! The admin server: metrics, health, JSON and the web console over HTTP, on a port and a thread of its own. Owns that thread and its tokio
//! runtime, neither of which ever runs what a shard runs. Shards are asked through their admin lane (`lane.rs`), with a
//! bounded time to answer; nothing here can hold one up.
//!
//! It listens before recovery begins, so that whoever watches sees a broker that starts and not one that is missing, and it
//! ends after the shards. What it serves is a router of parts (`routes.rs`); who wants to serve more adds a part there.

mod answer;
mod changes;
mod cluster;
mod configuration;
mod connections;
mod console;
mod groups;
mod guard;
mod health;
pub(crate) mod lane;
mod metrics;
mod open_connections;
mod reading;
mod records;
mod routes;
mod server;
mod shards;
mod topics;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use ouzel_protocol::NodeId;
use tokio::sync::oneshot;

use crate::config::{BrokerConfig, ShownSetting};
use crate::lanes::ShardAddress;
use crate::listeners::Addresses;
use shards::Shards;

/// What the handlers of requests share.
#[derive(Debug)]
struct Admin {
    shards: Shards,
    node: NodeId,
    addresses: Addresses,
    started: SystemTime,
    last_known: metrics::LastKnown,
    settings: Vec<ShownSetting>,
}

/// The thread of the admin server. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct AdminServer {
    admin: Arc<Admin>,
    /// Dropped to end the thread.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Begins to answer on `listener`; the broker is starting.
    ///
    /// # Errors
    /// There can be no further thread, or no runtime in it.
    pub(crate) fn start(listener: TcpListener, config: &BrokerConfig, addresses: Addresses) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _within = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let admin = Arc::new(Admin {
            shards: Shards::default(),
            node: config.node,
            addresses,
            started: SystemTime::now(),
            last_known: metrics::LastKnown::default(),
            settings: config.settings.clone(),
        });
        let (end, ended) = oneshot::channel();
        let of_thread = Arc::clone(&admin);
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(server::serve(listener, of_thread, ended));
        })?;
        Ok(Self { admin, end: Some(end), thread: Some(thread) })
    }

    /// The listeners of all shards are open.
    pub(crate) fn serving(&self, shards: Vec<ShardAddress>) {
        self.admin.shards.serve(shards);
    }

    /// The broker takes nothing new.
    pub(crate) fn stopping(&self) {
        self.admin.shards.stop();
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the admin server panicked");
        }
    }
}

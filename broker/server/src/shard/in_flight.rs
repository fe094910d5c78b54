//! What a shard counts for as long as it lasts: requests that are not answered, connections that are not closed. Owns the
//! guards; the counts are the shard's. Whoever waits for a count to fall is told when one is dropped.

use std::net::IpAddr;
use std::rc::Rc;

use super::ShardState;
use crate::connection::{Connection, Language};

/// A request that is not answered yet.
pub(crate) struct RequestInFlight {
    state: Rc<ShardState>,
    is_counted: bool,
}

impl RequestInFlight {
    pub(super) fn new(state: &Rc<ShardState>, is_counted: bool) -> Self {
        Self { state: Rc::clone(state), is_counted }
    }

    /// The shard that it is in flight at.
    pub(crate) fn state(&self) -> &ShardState {
        &self.state
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        self.state.requests_in_flight.set(self.state.requests_in_flight.get() - 1);
        if self.state.requests_in_flight.get() == 0 {
            self.state.idle.notify_all();
        }
    }
}

/// A connection that is not closed yet.
pub(crate) struct ConnectionOpen {
    state: Rc<ShardState>,
    id: u64,
    source: IpAddr,
    language: Language,
}

impl ConnectionOpen {
    pub(super) fn new(state: &Rc<ShardState>, id: u64, source: IpAddr, language: Language) -> Self {
        Self { state: Rc::clone(state), id, source, language }
    }

    /// The connection that is open, for those who look at all of them.
    pub(crate) fn serves(&self, connection: &Rc<Connection>) {
        self.state.connections.borrow_mut().insert(self.id, Some(Rc::clone(connection)));
    }
}

impl Drop for ConnectionOpen {
    fn drop(&mut self) {
        let connection = self.state.connections.borrow_mut().remove(&self.id);
        drop(connection);
        self.state.count.leave(self.source);
        self.state.meter.connection_closed(self.language);
        self.state.idle.notify_all();
    }
}

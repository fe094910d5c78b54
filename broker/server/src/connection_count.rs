//! How many connections there are, of the node and of each address at this shard. Owns the counts and the refusal, which
//! is logged when it begins, not for each connection. Lives on every shard; the node's count is the one number that the
//! shards share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::PeerLimits;

/// Counts the connections of one shard in and out.
#[derive(Debug)]
pub(crate) struct ConnectionCount {
    of_node: Arc<AtomicUsize>,
    of_sources: RefCell<BTreeMap<IpAddr, usize>>,
    limits: PeerLimits,
    is_refusing: Cell<bool>,
}

impl ConnectionCount {
    pub(crate) fn new(of_node: Arc<AtomicUsize>, limits: PeerLimits) -> Self {
        Self { of_node, of_sources: RefCell::default(), limits, is_refusing: Cell::new(false) }
    }

    /// Counts a connection in, unless there are too many. Whoever is counted in must be counted out.
    pub(crate) fn enter(&self, shard: u16, source: IpAddr) -> bool {
        let mut sources = self.of_sources.borrow_mut();
        let of_source = sources.get(&source).copied().unwrap_or(0);
        let of_node = self.of_node.fetch_add(1, Ordering::Relaxed);
        let is_refused = of_node >= self.limits.count_max || of_source >= self.limits.count_per_source_max;
        if is_refused {
            self.of_node.fetch_sub(1, Ordering::Relaxed);
            if !self.is_refusing.replace(true) {
                tracing::warn!(shard, %source, of_node, of_source, "connections are refused: there are too many");
            }
            return false;
        }
        sources.insert(source, of_source + 1);
        true
    }

    pub(crate) fn leave(&self, source: IpAddr) {
        self.of_node.fetch_sub(1, Ordering::Relaxed);
        self.is_refusing.set(false);
        let mut sources = self.of_sources.borrow_mut();
        match sources.get_mut(&source) {
            Some(1) | None => drop(sources.remove(&source)),
            Some(count) => *count -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_and_each_address_have_their_limits() {
        let of_node = Arc::new(AtomicUsize::new(0));
        let limits = PeerLimits { count_max: 3, count_per_source_max: 2, ..PeerLimits::default() };
        let count = ConnectionCount::new(Arc::clone(&of_node), limits);
        let elsewhere = ConnectionCount::new(of_node, limits);
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(count.enter(0, one) && count.enter(0, one));
        assert!(!count.enter(0, one), "one address has two");
        assert!(elsewhere.enter(1, two), "another shard counts addresses for itself");
        assert!(!count.enter(0, two), "the node has three");
        elsewhere.leave(two);
        assert!(count.enter(0, two));
        count.leave(one);
        assert!(count.enter(0, one), "whoever left makes room");
    }
}

//! The connections of the admin server: a bounded number, and what gives way when one more comes. Owns the count and the order
//! of age. Connections that ask nothing, however many, keep nobody out. Lives on the admin's thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;

use crate::limits::ADMIN_CONNECTION_COUNT_MAX;

/// Those that are open, the oldest first.
#[derive(Default)]
pub(super) struct OpenConnections(VecDeque<(JoinHandle<()>, InRequest)>);

impl OpenConnections {
    /// Runs `connection`. Where there are too many, the oldest that asks nothing is closed; where all of them ask, the new
    /// one is.
    pub(super) fn admit<F: Future<Output = ()> + Send + 'static>(&mut self, connection: impl FnOnce(InRequest) -> F) {
        self.0.retain(|(task, _)| !task.is_finished());
        if self.0.len() >= ADMIN_CONNECTION_COUNT_MAX {
            let Some(idle) = self.0.iter().position(|(_, in_request)| !in_request.is_busy()) else { return };
            if let Some((task, _)) = self.0.remove(idle) {
                task.abort();
            }
        }
        let in_request = InRequest::default();
        self.0.push_back((tokio::spawn(connection(in_request.clone())), in_request));
    }
}

/// Whether a connection asks something right now.
#[derive(Clone, Debug, Default)]
pub(super) struct InRequest(Arc<AtomicUsize>);

impl InRequest {
    /// It does until the guard is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.0.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A request is being answered: it is until the answer is written.
pub(super) struct Busy(InRequest);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_more_takes_the_place_of_the_oldest_that_asks_nothing() {
        let mut open = OpenConnections::default();
        let mut first = None;
        for _ in 0..ADMIN_CONNECTION_COUNT_MAX {
            open.admit(|in_request| {
                let busy = first.is_none().then(|| in_request.begin());
                first.get_or_insert(in_request);
                async move {
                    let _busy = busy;
                    std::future::pending().await
                }
            });
        }
        open.admit(|_| std::future::pending());
        assert_eq!(open.0.len(), ADMIN_CONNECTION_COUNT_MAX);
        assert!(open.0.front().is_some_and(|(_, in_request)| in_request.is_busy()), "the oldest asks something");
        let held: Vec<Busy> = open.0.iter().map(|(_, in_request)| in_request.begin()).collect();
        open.admit(|_| -> std::future::Pending<()> { panic!("there is no place for it") });
        drop(held);
    }
}

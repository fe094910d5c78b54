//! The task behind a consumer: sends the fetches that the state plans and hands it the results. Owns the I/O of consuming
//! and the clock; decides nothing that the state could decide.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ouzel_protocol::native::FetchReply;
use tokio::sync::Notify;

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::fetch_state::{FetchPlan, FetchState, Reset};

/// What a consumer and its fetches share.
pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    state: Mutex<FetchState>,
    /// There is something new to fetch.
    pub(crate) wake: Notify,
    /// There is something new to read.
    pub(crate) arrived: Notify,
}

impl Shared {
    pub(crate) fn new(cluster: Arc<Cluster>, state: FetchState) -> Shared {
        Shared { cluster, state: Mutex::new(state), wake: Notify::new(), arrived: Notify::new() }
    }

    // A panic while holding the lock would have been ours; no state in it is left half changed across a call out.
    pub(crate) fn state(&self) -> MutexGuard<'_, FetchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the consumer is dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let image = shared.cluster.image();
        let (plans, retry, wants_metadata) = {
            let mut state = shared.state();
            if state.closed {
                return;
            }
            let plans = state.plan(&image, Instant::now());
            if state.has_error() {
                shared.arrived.notify_one();
            }
            (plans, state.next_retry(), std::mem::take(&mut state.wants_metadata))
        };
        if wants_metadata {
            tokio::spawn(refresh(Arc::clone(&shared), image.generation));
        }
        for plan in plans {
            tokio::spawn(fetch(Arc::clone(&shared), plan));
        }
        match retry {
            Some(at) => tokio::select! {
                () = shared.wake.notified() => {}
                () = tokio::time::sleep_until(at.into()) => {}
            },
            None => shared.wake.notified().await,
        }
    }
}

async fn fetch(shared: Arc<Shared>, plan: FetchPlan) {
    let cluster = &shared.cluster;
    let seen = cluster.image().generation;
    let held = Duration::from_millis(plan.request.max_wait_ms.into());
    let replied = async {
        let connection = cluster.connection_towards(plan.owner.as_ref()).await?;
        let reply = connection.fetch(&plan.request, cluster.config.request_timeout + held).await?;
        check_rows(&plan, &reply, &connection)?;
        Ok::<FetchReply, ClientError>(reply)
    };
    let replied = replied.await;
    let mut wants_metadata = false;
    let mut wake_reader = false;
    {
        let mut state = shared.state();
        let now = Instant::now();
        for (row, asked) in plan.asked.iter().enumerate() {
            let result = match &replied {
                Ok(reply) => Ok(&reply.partitions[row]),
                Err(error) => Err(error.clone()),
            };
            let applied = state.apply(asked, result, now, rand::random());
            wants_metadata |= applied.wants_metadata;
            wake_reader |= applied.wake_reader;
            if let Some(reset) = applied.reset {
                tokio::spawn(look_up(Arc::clone(&shared), reset));
            }
        }
        state.fetch_done(&plan.owner);
    }
    if wake_reader {
        shared.arrived.notify_one();
    }
    shared.wake.notify_one();
    if wants_metadata {
        refresh(shared, seen).await;
    }
}

async fn refresh(shared: Arc<Shared>, seen: u64) {
    match shared.cluster.refresh(seen).await {
        Ok(_) => shared.wake.notify_one(),
        Err(error) => tracing::debug!(%error, "metadata not refreshed"),
    }
}

/// Rows answer the request's rows, in its order.
fn check_rows(plan: &FetchPlan, reply: &FetchReply, connection: &Connection) -> Result<(), ClientError> {
    let matches = plan.asked.len() == reply.partitions.len()
        && plan
            .asked
            .iter()
            .zip(&reply.partitions)
            .all(|(asked, row)| asked.topic_id == row.topic_id && asked.partition == row.partition);
    if matches {
        return Ok(());
    }
    let problem = "rows of a fetch reply are not those of its request".to_owned();
    Err(ClientError::Protocol { address: connection.address().clone(), problem })
}

async fn look_up(shared: Arc<Shared>, reset: Reset) {
    let wanted = [(reset.partition, reset.spec)];
    let found = shared.cluster.list_offsets(&reset.topic, &wanted).await;
    let found = found.and_then(|rows| match rows.first() {
        Some(row) => Ok(row.offset),
        None => Err(ClientError::NothingAssigned),
    });
    if shared.state().reset_done(&reset, found) {
        shared.arrived.notify_one();
    }
    shared.wake.notify_one();
}

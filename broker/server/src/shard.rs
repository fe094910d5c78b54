//! One shard: its state, and its life from the first message to the last.
//!
//! Owns what the tasks of one core share: the store, the view of the metadata, the ways to the other shards, the memory
//! budgets, the connections. One thread, one ring, no locks. The thread that starts the broker drives each shard through
//! `Control`, one step after another; the steps of all shards together are `node.rs`.

mod in_flight;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;
use std::time::Duration;

use ouzel_broker_core::MetadataImage;
use ouzel_broker_core::group::GroupConfig;
use ouzel_protocol::{ClusterId, Incarnation, NodeId, ShardIndex};
use ouzel_runtime::sync::{Event, Notify, Semaphore};
use ouzel_runtime::{Instant, Mailbox, Shard, timeout_at};
use ouzel_storage::{PartitionConfig, RecoveredPartition, RecoveryProgress, StorageError, Store, StoreConfig};

use crate::config::{BrokerConfig, ConnectionBudget, PeerLimits, TopicDefaults};
use crate::connection::{Connection, Language};
use crate::connection_count::ConnectionCount;
use crate::error::StartError;
use crate::groups::{self, Groups};
use crate::handlers::Gathered;
use crate::handlers::produce::Target;
use crate::lanes::{self, Peer, ShardAddress, ShardInboxes, ShardUp, report};
use crate::limits;
use crate::listeners::{Addresses, ShardListeners};
use crate::memory::ConnectionMemory;
use crate::metadata_plane::MetadataPlane;
use crate::meter::Meter;
use crate::producer_ids::ProducerIds;
use crate::recovery::{self, NodeRecovered};
use crate::spare_bodies::SpareBodies;
use crate::topic_table::TopicTable;
use crate::{accept, admin, join, owner, pulse, watch};
pub(crate) use in_flight::{ConnectionOpen, RequestInFlight};

/// What the thread that starts and stops the broker asks of a shard, in this order; each is answered once.
#[derive(Debug)]
pub(crate) enum Control {
    /// Shard 0 only: load the metadata and recover every partition.
    Recover { progress: Arc<RecoveryProgress>, reply: mpsc::Sender<Result<NodeRecovered, StartError>> },
    /// Create this start's journal with these partitions in it. Nothing of earlier starts is touched.
    OpenStore {
        incarnation: Incarnation,
        partitions: Vec<(RecoveredPartition, PartitionConfig)>,
        reply: mpsc::Sender<Result<(), StartError>>,
    },
    /// Shard 0 only: commit `NodeStarted`, the switch from the old journals to the new ones.
    CommitStart { incarnation: Incarnation, reply: mpsc::Sender<Result<Arc<MetadataImage>, StartError>> },
    /// Take requests.
    Serve { serving: Box<Serving>, reply: mpsc::Sender<Result<(), StartError>> },
    /// Take no more requests and finish those in flight.
    Drain { reply: mpsc::Sender<()> },
    /// End at once, as a failure would.
    Fail,
    /// Close the log and end.
    Close { reply: mpsc::Sender<Result<(), StorageError>> },
}

/// What a shard needs to serve, known once every shard is up.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) image: Arc<MetadataImage>,
    pub(crate) peers: Vec<ShardAddress>,
    pub(crate) listeners: ShardListeners,
    pub(crate) addresses: Arc<Addresses>,
}

/// What a shard is made of, given to its thread.
#[derive(Clone, Debug)]
pub(crate) struct ShardSetup {
    pub(crate) index: ShardIndex,
    pub(crate) node: NodeId,
    pub(crate) shards: u16,
    pub(crate) data_dir: PathBuf,
    pub(crate) journal_bytes_max: u64,
    pub(crate) store: StoreConfig,
    pub(crate) budget: ConnectionBudget,
    pub(crate) limits: PeerLimits,
    pub(crate) topic_defaults: TopicDefaults,
    pub(crate) groups: GroupConfig,
    /// Connections of the whole node.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl ShardSetup {
    pub(crate) fn new(config: &BrokerConfig, index: ShardIndex, connections: &Arc<AtomicUsize>) -> Self {
        Self {
            index,
            node: config.node,
            shards: config.shards,
            data_dir: config.data_dir.clone(),
            journal_bytes_max: config.journal_bytes_max,
            store: config.store_config(),
            budget: config.connection_budget(),
            limits: config.peers,
            topic_defaults: config.topic_defaults,
            groups: config.groups,
            connections: Arc::clone(connections),
        }
    }
}

/// What the tasks of a serving shard share.
pub(crate) struct ShardState {
    pub(crate) shard: Shard,
    pub(crate) index: ShardIndex,
    pub(crate) node: NodeId,
    pub(crate) store: Store,
    pub(crate) topics: TopicTable,
    pub(crate) peers: Rc<[Peer]>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) budget: ConnectionBudget,
    /// Numbers for idempotent producers.
    pub(crate) producer_ids: ProducerIds,
    pub(crate) limits: PeerLimits,
    pub(crate) topic_defaults: TopicDefaults,
    pub(crate) memory: ConnectionMemory,
    pub(crate) spare_bodies: SpareBodies,
    /// The lane of reads from disk.
    pub(crate) catch_up: Semaphore,
    /// Groups of consumers that this shard looks after.
    pub(crate) groups: Groups,
    /// What a fetch gathers before it answers at once; empty in between.
    pub(crate) gathered: RefCell<Gathered>,
    /// Where the batches of a produce request go, while it is dispatched at once; empty in between.
    pub(crate) targets: RefCell<Vec<Target>>,
    /// Requests for descriptions that are answered at once.
    pub(crate) answering: Semaphore,
    /// Set when the broker stops: nothing new is appended, long polls end.
    pub(crate) stopping: Event,
    pub(crate) serving_since: Instant,
    /// What was measured since then.
    pub(crate) meter: Meter,
    requests_in_flight: Cell<usize>,
    idle: Notify,
    count: ConnectionCount,
    /// Those that are served and those that are about to be.
    connections: RefCell<BTreeMap<u64, Option<Rc<Connection>>>>,
    next_connection: Cell<u64>,
}

impl ShardState {
    /// The peer with this index; this shard itself among them.
    pub(crate) fn peer(&self, shard: ShardIndex) -> &Peer {
        self.peers.get(usize::from(shard.0)).expect("the metadata places partitions on shards that run")
    }

    /// The path of the data directory from the root, in words.
    pub(crate) fn log_dir(&self) -> String {
        let path = self.store.data_dir();
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
    }

    /// What the cluster is called.
    pub(crate) fn cluster_id(&self) -> ClusterId {
        self.topics.image().cluster_id().expect("a start names the cluster before it serves")
    }

    /// The shard that runs the metadata plane.
    pub(crate) fn metadata_peer(&self) -> &Peer {
        self.peer(ShardIndex(0))
    }

    /// Counts a request in until the guard is dropped. Requests that arrive once the broker stops are not waited for: a
    /// client that tries again and again must not hold up the stop.
    pub(crate) fn request_taken(self: &Rc<Self>) -> RequestInFlight {
        let is_counted = !self.stopping.is_set();
        if is_counted {
            self.requests_in_flight.set(self.requests_in_flight.get() + 1);
        }
        RequestInFlight::new(self, is_counted)
    }

    /// Counts a connection in until the guard is dropped; `None` when there are too many.
    pub(crate) fn connection_opened(self: &Rc<Self>, source: IpAddr, language: Language) -> Option<ConnectionOpen> {
        if !self.count.enter(self.index.0, source) {
            self.meter.connection_refused();
            return None;
        }
        self.meter.connection_opened(language);
        let id = self.next_connection.replace(self.next_connection.get() + 1);
        self.connections.borrow_mut().insert(id, None);
        Some(ConnectionOpen::new(self, id, source, language))
    }

    /// The connections that are served now.
    pub(crate) fn connections(&self) -> Vec<Rc<Connection>> {
        self.connections.borrow().values().flatten().cloned().collect()
    }

    /// Connections use more or less memory than before: the log's chunks may take the rest.
    pub(crate) fn memory_changed(&self) {
        self.store.set_memory_budget(self.memory.left_for_chunks());
    }

    /// Connections that are open now.
    pub(crate) fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Requests that are not answered yet.
    pub(crate) fn request_in_flight_count(&self) -> usize {
        self.requests_in_flight.get()
    }

    async fn until_no_requests(&self) {
        while self.requests_in_flight.get() > 0 {
            self.idle.notified().await;
        }
    }

    async fn until_no_connections(&self) {
        while !self.connections.borrow().is_empty() {
            self.idle.notified().await;
        }
    }
}

/// The life of a shard: follows `Control` until it is told to close, or until whoever started it goes away.
pub(crate) async fn run(shard: Shard, setup: ShardSetup, up: mpsc::Sender<ShardUp>) {
    let (address, inboxes) = lanes::open(&shard, setup.shards);
    let (control, mut inbox) = shard.mailbox(limits::CONTROL_COUNT_MAX);
    report(&up, ShardUp { address, control, pulse: pulse::answer(&shard) });
    drop(up);
    let mut life = Life {
        shard,
        setup,
        inboxes: Some(inboxes),
        plane: None,
        store: None,
        state: None,
        tasks: Vec::new(),
        accepting: None,
        failed: Rc::new(Event::new()),
    };
    let failed = life.failed.clone();
    loop {
        let step = {
            let mut waiting: Vec<Pin<Box<dyn Future<Output = Option<Control>> + '_>>> = vec![
                Box::pin(inbox.recv()),
                Box::pin(async {
                    failed.wait().await;
                    Some(Control::Fail)
                }),
            ];
            join::first(&mut waiting).await
        };
        let Some(message) = step else { break };
        if life.step(message).await {
            return;
        }
    }
    life.stop_accepting();
}

struct Life {
    shard: Shard,
    setup: ShardSetup,
    inboxes: Option<ShardInboxes>,
    plane: Option<MetadataPlane>,
    store: Option<Store>,
    state: Option<Rc<ShardState>>,
    tasks: Vec<ouzel_runtime::TaskHandle>,
    accepting: Option<accept::Accepting>,
    /// A task that must not end has ended.
    failed: Rc<Event>,
}

impl Life {
    /// Spawns a task without which the shard is of no use: its end before the stop is the end of the shard, and that of
    /// the broker. Whoever waits for the shard then sees that it is gone.
    fn spawn_vital(&mut self, state: &Rc<ShardState>, name: &'static str, task: impl Future<Output = ()> + 'static) {
        let (state, failed) = (Rc::clone(state), Rc::clone(&self.failed));
        self.tasks.push(self.shard.spawn(async move {
            task.await;
            if !state.stopping.is_set() {
                tracing::error!(shard = state.index.0, task = name, "a task ended that must not: the shard ends");
                failed.set();
            }
        }));
    }

    fn stop_accepting(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.stop();
        }
    }

    /// Does one step; `true` after the last.
    async fn step(&mut self, message: Control) -> bool {
        match message {
            Control::Recover { progress, reply } => report(&reply, self.recover(&progress).await),
            Control::OpenStore { incarnation, partitions, reply } => {
                report(&reply, self.open_store(incarnation, partitions).await);
            }
            Control::CommitStart { incarnation, reply } => report(&reply, self.commit_start(incarnation).await),
            Control::Serve { serving, reply } => report(&reply, self.serve(*serving)),
            Control::Drain { reply } => {
                self.drain().await;
                report(&reply, ());
            }
            Control::Fail => {
                // New connections first: nobody is to be taken in by a shard that does not answer.
                self.stop_accepting();
                return true;
            }
            Control::Close { reply } => {
                report(&reply, self.close().await);
                return true;
            }
        }
        false
    }

    async fn recover(&mut self, progress: &RecoveryProgress) -> Result<NodeRecovered, StartError> {
        let plane = MetadataPlane::open(&self.shard, &self.setup.data_dir).await?;
        let recovered = recovery::recover(&self.shard, &self.setup, plane.image(), progress).await?;
        self.plane = Some(plane);
        Ok(recovered)
    }

    async fn open_store(
        &mut self,
        incarnation: Incarnation,
        partitions: Vec<(RecoveredPartition, PartitionConfig)>,
    ) -> Result<(), StartError> {
        let config = self.setup.store.clone();
        let store = Store::create(
            &self.shard,
            &self.setup.data_dir,
            self.setup.index,
            incarnation,
            rand::random(),
            config,
            partitions,
        )
        .await?;
        self.store = Some(store);
        Ok(())
    }

    async fn commit_start(&mut self, incarnation: Incarnation) -> Result<Arc<MetadataImage>, StartError> {
        let plane = self.plane.as_mut().expect("the start is committed on the shard that recovered");
        recovery::commit_start(plane, &self.setup, incarnation).await?;
        recovery::retire(&self.shard, &self.setup, incarnation, plane.image()).await;
        Ok(Arc::new(plane.image().clone()))
    }

    fn serve(&mut self, serving: Serving) -> Result<(), StartError> {
        let store = self.store.clone().expect("a shard serves from an open store");
        let inboxes = self.inboxes.take().expect("a shard serves once");
        let Serving { image, peers, listeners, addresses } = serving;
        let (index, node, budget) = (self.setup.index, self.setup.node, self.setup.budget);
        let state = Rc::new(ShardState {
            shard: self.shard.clone(),
            index,
            node,
            store,
            topics: TopicTable::new(node, index, image),
            peers: peers.into_iter().map(Peer::new).collect(),
            addresses,
            budget,
            producer_ids: ProducerIds::new(),
            limits: self.setup.limits,
            topic_defaults: self.setup.topic_defaults,
            memory: ConnectionMemory::new(budget),
            spare_bodies: SpareBodies::default(),
            catch_up: Semaphore::new(limits::CATCH_UP_COUNT_MAX),
            groups: Groups::new(self.setup.groups),
            gathered: RefCell::default(),
            targets: RefCell::default(),
            answering: Semaphore::new(limits::ANSWERING_COUNT_MAX),
            stopping: Event::new(),
            serving_since: self.shard.now(),
            meter: Meter::default(),
            requests_in_flight: Cell::new(0),
            idle: Notify::new(),
            count: ConnectionCount::new(Arc::clone(&self.setup.connections), self.setup.limits),
            connections: RefCell::default(),
            next_connection: Cell::new(0),
        });
        state.store.begin();
        let ShardInboxes { produce, requests, parked, groups, admin, publish, plane } = inboxes;
        self.spawn_vital(&state, "produce lane", owner::produce_lane(Rc::clone(&state), produce));
        self.spawn_vital(&state, "request lane", owner::request_lane(Rc::clone(&state), requests));
        self.spawn_vital(&state, "lane of long polls", owner::parked_lane(Rc::clone(&state), parked));
        self.spawn_vital(&state, "group lane", groups::group_lane(Rc::clone(&state), groups));
        self.spawn_vital(&state, "clock of groups", groups::clock(Rc::clone(&state)));
        self.spawn_vital(&state, "admin lane", admin::lane::serve(Rc::clone(&state), admin));
        self.spawn_vital(&state, "publish lane", owner::publish_lane(Rc::clone(&state), publish));
        self.spawn_vital(&state, "watch", watch::watchman(Rc::clone(&state)));
        for peer in 0..state.peers.len() {
            let state = Rc::clone(&state);
            self.tasks.push(self.shard.spawn(async move {
                let Some(peer) = state.peers.get(peer) else { return };
                peer.send_dispatched(|| state.topics.version()).await;
            }));
        }
        if let Some(metadata) = self.plane.take() {
            self.spawn_vital(&state, "metadata plane", metadata.run(plane, Rc::clone(&state.peers)));
        }
        groups::load_all(&state);
        self.accepting = Some(accept::start(&state, listeners));
        self.state = Some(state);
        Ok(())
    }

    async fn drain(&mut self) {
        self.stop_accepting();
        let Some(state) = &self.state else { return };
        state.stopping.set();
        groups::stop(state);
        let deadline = self.shard.now() + Duration::from_millis(limits::DRAIN_WAIT_MS_MAX);
        if timeout_at(&self.shard, deadline, state.until_no_requests()).await.is_err() {
            let left = state.requests_in_flight.get();
            tracing::warn!(shard = state.index.0, requests = left, "requests still in flight were given up");
        }
    }

    async fn close(&mut self) -> Result<(), StorageError> {
        if let Some(state) = self.state.take() {
            state.connections().iter().for_each(|connection| connection.shut());
            let deadline = self.shard.now() + Duration::from_millis(limits::DRAIN_WAIT_MS_MAX);
            if timeout_at(&self.shard, deadline, state.until_no_connections()).await.is_err() {
                tracing::warn!(shard = state.index.0, "connections still open were given up");
            }
        }
        self.tasks.drain(..).for_each(|task| task.cancel());
        let Some(store) = self.store.take() else { return Ok(()) };
        let stats = store.stats();
        let closed = store.close().await;
        tracing::info!(
            shard = self.setup.index.0,
            journal_commits = stats.journal_commits,
            journal_bytes = stats.journal_bytes,
            fdatasyncs = stats.fdatasyncs,
            wraps = stats.wraps,
            segment_bytes = stats.segment_bytes,
            payload_bytes = stats.payload_bytes,
            "log closed"
        );
        closed
    }
}

/// Sends a control message and waits for its answer on a thread that has no ring.
pub(crate) fn ask<T>(control: &Mailbox<Control>, question: impl FnOnce(mpsc::Sender<T>) -> Control) -> Option<T> {
    let (reply, answer) = mpsc::channel();
    control.send(question(reply)).ok()?;
    answer.recv().ok()
}

//! A broker from the outside: start, addresses, stop. Owns the shards' threads and drives them through the steps of a
//! start and of a stop, in order; knows nothing of requests. Runs on the thread that called it, which then only waits.
//!
//! Start: settings -> probe -> lock -> ports -> the admin server -> one thread a shard -> shard 0 recovers -> every shard opens its store ->
//! shard 0 commits `NodeStarted` (the switch to the new journals, which raises every epoch) -> every shard serves. A
//! failure anywhere ends the threads and leaves what was durable as it was.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use ouzel_protocol::{Incarnation, ShardIndex};
use ouzel_runtime::{Mailbox, RunConfig, Signals, probe};
use ouzel_storage::RecoveryProgress;

use crate::admin::AdminServer;
use crate::config::{BrokerConfig, RECV_BUFFER_BYTES};
use crate::data_dir::DataDir;
use crate::error::{StartError, StopError};
use crate::lanes::ShardUp;
use crate::listeners::{self, Addresses, Bound, ShardListeners};
use crate::pulse::Pulse;
use crate::recovery::{self, NodeRecovered, RecoverySummary};
use crate::shard::{self, Control, Serving, ShardSetup, ask};
use crate::supervise::{self, Started};
use crate::{clean_mark, pulse};

/// Starts brokers.
#[derive(Debug)]
pub struct Broker;

/// A broker that serves. Dropping it without [`RunningBroker::stop`] ends its threads without closing the log, which
/// loses nothing that was acknowledged.
#[derive(Debug)]
pub struct RunningBroker {
    shards: Vec<RunningShard>,
    addresses: Arc<Addresses>,
    summary: RecoverySummary,
    incarnation: Incarnation,
    /// Shards that have ended, each once.
    exits: mpsc::Receiver<u16>,
    data_dir: DataDir,
    admin: Option<AdminServer>,
}

#[derive(Debug)]
struct RunningShard {
    index: u16,
    control: Mailbox<Control>,
    pulse: Mailbox<pulse::Question>,
    thread: JoinHandle<Result<(), StartError>>,
}

/// Tells that a shard has ended, whatever ended it.
struct TellOfEnd {
    index: u16,
    exits: mpsc::Sender<u16>,
}

impl Drop for TellOfEnd {
    fn drop(&mut self) {
        // Nobody listens any more where the broker was stopped or did not start.
        let _ = self.exits.send(self.index);
    }
}

/// Ends the process when a shard panics: a broken invariant must not leave the other shards serving.
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl Broker {
    /// Starts a broker and returns when it serves. Blocks the calling thread meanwhile.
    ///
    /// # Errors
    /// [`StartError`], one line that says what is in the way; nothing is left running.
    pub fn start(config: BrokerConfig) -> Result<RunningBroker, StartError> {
        Self::start_watched(config, Arc::default())
    }

    /// As [`Broker::start`]; `progress` tells meanwhile how far recovery is.
    fn start_watched(config: BrokerConfig, progress: Arc<RecoveryProgress>) -> Result<RunningBroker, StartError> {
        config.check()?;
        let data_dir = DataDir::lock(&config.data_dir)?;
        let report = probe(data_dir.path())?;
        for warning in &report.warnings {
            tracing::warn!(%warning, "host");
        }
        let Bound { addresses, shards: listeners, admin } = listeners::bind(&config)?;
        let admin = admin
            .map(|listener| AdminServer::start(listener, &config, addresses.clone()))
            .transpose()
            .map_err(StartError::Admin)?;
        let (exit, exits) = mpsc::channel();
        let mut shards = spawn_shards(&config, report.open_files_max, &exit)?;
        drop(exit);
        let addresses = Arc::new(addresses);
        match bring_up(&shards, listeners, &addresses, progress) {
            Ok((summary, incarnation)) => {
                if let Some(admin) = &admin {
                    admin.serving(shards.iter().map(|(up, _)| up.address.clone()).collect());
                }
                let shards = shards.into_iter().map(|(_, shard)| shard).collect();
                Ok(RunningBroker { shards, addresses, summary, incarnation, exits, data_dir, admin })
            }
            Err(error) => {
                // A shard whose control is gone ends by itself.
                for (up, shard) in shards.drain(..) {
                    drop((up, shard.control));
                    drop(shard.thread.join());
                }
                Err(error)
            }
        }
    }
}

/// One thread a shard; returns once every ring runs.
fn spawn_shards(
    config: &BrokerConfig,
    open_files_max: u64,
    exits: &mpsc::Sender<u16>,
) -> Result<Vec<(ShardUp, RunningShard)>, StartError> {
    let mut shards = Vec::with_capacity(usize::from(config.shards));
    let connections = Arc::default();
    for index in 0..config.shards {
        let mut setup = ShardSetup::new(config, ShardIndex(index), &connections);
        setup.store.segments_open_max = setup.store.segments_open_max.min(config.segments_open_max(open_files_max));
        let run = RunConfig {
            shard: index,
            cpu: config.cpus.get(usize::from(index)).copied(),
            spin_us: config.spin_us,
            executor: config.executor,
            recv_buffer_count: config.recv_buffer_count(),
            recv_buffer_bytes: RECV_BUFFER_BYTES,
            ..RunConfig::default()
        };
        let (up, ups) = mpsc::channel();
        let tell = TellOfEnd { index, exits: exits.clone() };
        let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let _tell = tell;
            let _abort = AbortOnPanic;
            let result = ouzel_runtime::run(run, |shard| shard::run(shard, setup, up));
            result.map_err(|source| {
                tracing::error!(shard = index, error = %source, "the shard's ring failed");
                StartError::Shard { shard: index, source }
            })
        });
        let thread = thread.map_err(|source| StartError::Shard { shard: index, source })?;
        let Ok(up) = ups.recv() else {
            // The thread ended without coming up: its result says why.
            return Err(match thread.join() {
                Ok(Err(error)) => error,
                _ => StartError::ShardEnded { shard: index },
            });
        };
        let (control, pulse) = (up.control.clone(), up.pulse.clone());
        shards.push((up, RunningShard { index, control, pulse, thread }));
    }
    Ok(shards)
}

/// The steps of a start over all shards.
fn bring_up(
    shards: &[(ShardUp, RunningShard)],
    listeners: Vec<ShardListeners>,
    addresses: &Arc<Addresses>,
    progress: Arc<RecoveryProgress>,
) -> Result<(RecoverySummary, Incarnation), StartError> {
    let (_, first) = shards.first().expect("a broker has a shard");
    let NodeRecovered { summary, incarnation, shards: of_shards } =
        step(first, |reply| Control::Recover { progress, reply })?;
    summary.log(incarnation);
    // Stores open side by side: each carries its partitions' tails into its new journal.
    let mut opening = Vec::with_capacity(shards.len());
    for ((_, shard), partitions) in shards.iter().zip(of_shards) {
        let (reply, answer) = mpsc::channel();
        let sent = shard.control.send(Control::OpenStore { incarnation, partitions, reply });
        sent.map_err(|_| StartError::ShardEnded { shard: shard.index })?;
        opening.push((shard.index, answer));
    }
    for (shard, answer) in opening {
        answer.recv().map_err(|_| StartError::ShardEnded { shard })??;
    }
    let image = step(first, |reply| Control::CommitStart { incarnation, reply })?;
    let peers: Vec<_> = shards.iter().map(|(up, _)| up.address.clone()).collect();
    for ((_, shard), listeners) in shards.iter().zip(listeners) {
        let serving =
            Serving { image: Arc::clone(&image), peers: peers.clone(), listeners, addresses: Arc::clone(addresses) };
        step(shard, |reply| Control::Serve { serving: Box::new(serving), reply })?;
    }
    Ok((summary, incarnation))
}

fn step<T>(
    shard: &RunningShard,
    question: impl FnOnce(mpsc::Sender<Result<T, StartError>>) -> Control,
) -> Result<T, StartError> {
    ask(&shard.control, question).unwrap_or(Err(StartError::ShardEnded { shard: shard.index }))
}

impl RunningBroker {
    /// Where it listens, with the real ports.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What recovery found at this start.
    pub fn recovery(&self) -> &RecoverySummary {
        &self.summary
    }

    /// The line that tells scripts the broker serves.
    pub fn ready_line(&self) -> String {
        let or_dash =
            |address: Option<std::net::SocketAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        let Addresses { native, shards, kafka, admin } = &*self.addresses;
        format!(
            "ouzel ready kafka={} native={native} admin={} shards={}",
            or_dash(*kafka),
            or_dash(*admin),
            shards.len()
        )
    }

    /// Asks whether the loop of every shard turns; for a watchdog on a thread of its own, also while the broker stops.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(self.shards.iter().map(|shard| (shard.index, shard.pulse.clone())))
    }

    /// Stops: no new requests, those in flight are finished, logs are closed. Blocks until all threads have ended.
    ///
    /// # Errors
    /// The first thing that went wrong; all shards are stopped all the same.
    pub fn stop(self) -> Result<(), StopError> {
        let mut outcome = Ok(());
        if let Some(admin) = &self.admin {
            admin.stopping();
        }
        // All shards drain before any closes: a request of one may wait for another.
        let draining: Vec<_> = self
            .shards
            .iter()
            .filter_map(|shard| {
                let (reply, answer) = mpsc::channel();
                shard.control.send(Control::Drain { reply }).ok().map(|()| answer)
            })
            .collect();
        for answer in draining {
            // A shard that is gone has nothing to drain.
            let _ = answer.recv();
        }
        for RunningShard { index, control, thread, .. } in self.shards {
            let closed = match ask(&control, |reply| Control::Close { reply }) {
                Some(closed) => closed.map_err(|source| StopError::Storage { shard: index, source }),
                None => Err(StopError::ShardEnded { shard: index, detail: "its thread does not answer".to_owned() }),
            };
            let ended = match thread.join() {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(StopError::ShardEnded { shard: index, detail: error.to_string() }),
                Err(_) => Err(StopError::ShardEnded { shard: index, detail: "it panicked".to_owned() }),
            };
            outcome = outcome.and(closed).and(ended);
        }
        outcome?;
        if let Err(error) = clean_mark::write(self.data_dir.path(), self.incarnation) {
            tracing::warn!(%error, "the clean stop was not noted: the next start will speak of a crash");
        }
        Ok(())
    }

    /// Ends one shard as a failure of its own would: a test's way to see what the others do.
    #[doc(hidden)]
    pub fn fail_shard(&self, index: u16) {
        if let Some(shard) = self.shards.get(usize::from(index)) {
            // A shard that is gone already has failed.
            let _ = shard.control.send(Control::Fail);
        }
    }

    /// Waits for SIGINT or SIGTERM, then stops. A second signal, or a stop that takes too long, is an end at once: what
    /// was acknowledged is durable, and whoever calls this ends the process. A shard that ends by itself stops all others.
    /// `stopping` is called when the stop begins.
    ///
    /// # Errors
    /// As [`RunningBroker::stop`]; [`StopError::ShardEnded`] when a shard did not live; [`StopError::Forced`].
    pub fn stop_on(mut self, signals: Signals, stopping: impl FnOnce()) -> Result<(), StopError> {
        let small =
            RunConfig { shard: u16::MAX, spin_us: 0, ring_entries: 8, recv_buffer_count: 1, ..RunConfig::default() };
        let (_, none) = mpsc::channel();
        let exits = std::mem::replace(&mut self.exits, none);
        let supervised = ouzel_runtime::run(small, |shard| supervise::supervise(shard, signals, exits, stopping, self));
        supervised.unwrap_or_else(|error| {
            tracing::error!(%error, "signals cannot be waited for");
            Err(StopError::Forced { why: "signals cannot be waited for" })
        })
    }
}

/// Runs a broker until SIGINT or SIGTERM. `recovering` is called every few seconds until it serves, `ready` once it does, for the
/// ready line; `stopping` when its stop begins.
///
/// A signal that comes before the broker serves ends the start where it is, which is not waited for: what it has left on the disk is
/// what a crash leaves, and the next start begins anew. Whoever calls this then ends the process, which is what ends the shards.
///
/// # Errors
/// Why it did not start, or did not stop cleanly.
pub fn serve(
    config: BrokerConfig,
    mut recovering: impl FnMut(&RecoveryProgress),
    ready: impl FnOnce(&RunningBroker),
    stopping: impl FnOnce(),
) -> Result<(), ServeError> {
    let mut signals = Signals::install().map_err(StartError::Signals)?;
    let progress = Arc::new(RecoveryProgress::default());
    let told = Arc::clone(&progress);
    let started = supervise::start(
        move || Broker::start_watched(config, progress),
        || signals.arrived(),
        || {
            recovery::log_progress(&told);
            recovering(&told);
        },
    );
    match started {
        Started::Ended(broker) => {
            let broker = broker?;
            ready(&broker);
            Ok(broker.stop_on(signals, stopping)?)
        }
        Started::Signalled(signal) => {
            tracing::info!(?signal, "received before the broker serves: the start is given up");
            stopping();
            Ok(())
        }
    }
}

/// Why [`serve`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It did not start.
    #[error("{0}")]
    Start(#[from] StartError),
    /// It did not stop cleanly.
    #[error("{0}")]
    Stop(#[from] StopError),
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_start_tells_how_far_its_recovery_is() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary directory");
        let (memory_bytes_max, journal_bytes_max) =
            (2 * BrokerConfig::MEMORY_BYTES_MIN, 2 * BrokerConfig::JOURNAL_BYTES_MIN);
        let native = SocketAddr::from(([127, 0, 0, 1], 0));
        let plain = BrokerConfig::new(dir.path());
        let config = BrokerConfig { native, shards: 2, memory_bytes_max, journal_bytes_max, ..plain };
        let progress = Arc::new(RecoveryProgress::default());
        let first = Broker::start_watched(config.clone(), Arc::clone(&progress)).expect("it starts");
        assert_eq!((progress.journals_total(), progress.bytes_max()), (0, 0), "nothing is there to be read");
        first.stop().expect("a clean stop");
        let second = Broker::start_watched(config, Arc::clone(&progress)).expect("it starts");
        assert_eq!((progress.journals(), progress.journals_total()), (2, 2));
        assert!(progress.bytes() > second.recovery().bytes, "read once to see what is there, and what counts again");
        assert!(progress.bytes() <= progress.bytes_max());
        second.stop().expect("a clean stop");
    }
}

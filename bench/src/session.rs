//! What stands around a load: the broker that was started for it, the connection for questions, the topic, and the
//! report at the end. Owns their order of birth and death; never sends a record. Runs on the generator's thread.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result};
use ouzel_protocol::{Codec, Dialect};
use tokio::task::{JoinSet, LocalSet};

use crate::embedded::{Embedded, EmbeddedOptions};
use crate::load::{Findings, Limits, Run};
use crate::meter::{Cost, Meter, Observed, measure};
use crate::progress::Progress;
use crate::report::{Latencies, Report, cpu_s_per_gb, is_client_bound, rounded};
use crate::skew::Skew;
use crate::topic::{Lane, Topic, TopicOptions};
use crate::wire::Wire;

/// Requests that one connection carries well: the broker reads no further ahead than this.
const IN_FLIGHT_PER_CONNECTION: usize = 64;

/// What every run needs to know.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// host:port of a running broker; not used where one is embedded.
    pub bootstrap: String,
    /// Starts a broker for the run.
    pub embedded: Option<EmbeddedOptions>,
    /// Process whose cost is reported where the broker is not embedded.
    pub broker_pid: Option<u32>,
    /// The topic.
    pub topic: TopicOptions,
    /// Batches are those of idempotent producers, one for each connection.
    pub idempotence: bool,
    /// Bytes of each record's value.
    pub record_bytes: usize,
    /// Bytes of values in a batch.
    pub batch_bytes: usize,
    /// Codec of the batches.
    pub codec: Codec,
    /// Dialect of the batches.
    pub dialect: Dialect,
    /// Connections in all; `None`: enough for the requests in flight, and one a shard at least.
    pub connections: Option<usize>,
    /// Requests outstanding at most, in all.
    pub in_flight: usize,
    /// Batches of one produce request.
    pub batches_per_request: usize,
    /// How batches spread over partitions.
    pub skew: Skew,
    /// Core of the generator; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    /// When it ends.
    pub limits: Limits,
}

impl LoadOptions {
    /// Records of a full batch: at least one, however long it is.
    pub fn records_per_batch(&self) -> u64 {
        (self.batch_bytes / self.record_bytes.max(1)).max(1) as u64
    }

    /// Records of a full produce request.
    pub fn records_per_request(&self) -> u64 {
        self.records_per_batch() * self.batches_per_request as u64
    }

    /// Connections to open to a topic that `shards` shards own.
    pub fn connections(&self, shards: u16) -> usize {
        self.connections
            .unwrap_or_else(|| self.in_flight.div_ceil(IN_FLIGHT_PER_CONNECTION))
            .max(usize::from(shards))
            .max(1)
    }
}

/// A run's surroundings.
#[derive(Debug)]
pub struct Session {
    /// The broker, where it is ours.
    pub embedded: Option<Embedded>,
    /// A connection for questions.
    pub control: Wire,
    /// The topic.
    pub topic: Topic,
    broker_pid: Option<u32>,
}

impl Session {
    /// Starts the broker if asked to, connects, and finds or creates the topic.
    ///
    /// # Errors
    /// Any of that failed.
    pub async fn open(options: &LoadOptions) -> Result<Session> {
        let embedded = options.embedded.clone().map(Embedded::start).transpose()?;
        // After the broker was started: a child inherits the cores of its parent.
        if let Some(cpu) = options.cpu {
            crate::process::pin_to(cpu)?;
        }
        let broker_pid = embedded.as_ref().map(Embedded::pid).or(options.broker_pid);
        let bootstrap = embedded.as_ref().map_or(options.bootstrap.as_str(), Embedded::bootstrap).to_string();
        let mut control = connect_any(&bootstrap).await?;
        let topic = Topic::open(&mut control, &options.topic).await?;
        Ok(Session { embedded, control, topic, broker_pid })
    }

    /// Process id of the broker, where it is known.
    pub fn broker_pid(&self) -> Option<u32> {
        self.broker_pid
    }

    /// The broker as it can be observed while a load runs.
    pub fn observed(&mut self) -> Observed<'_> {
        Observed { pid: self.broker_pid, control: &mut self.control }
    }

    /// Kills the embedded broker and starts it again, so that nothing is in its memory.
    ///
    /// # Errors
    /// It did not come back.
    pub async fn restart(&mut self) -> Result<()> {
        let embedded = self.embedded.as_mut().context("only an embedded broker can be restarted")?;
        embedded.restart(None)?;
        self.broker_pid = Some(embedded.pid());
        self.control = Wire::connect(embedded.bootstrap()).await?;
        self.topic.relocate(&mut self.control).await
    }

    /// Deletes a temporary topic on a broker that lives on.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn close(mut self) -> Result<()> {
        if self.embedded.is_none() {
            self.topic.clean_up(&mut self.control).await?;
        }
        Ok(())
    }
}

/// Connects to the first of some addresses that answers.
async fn connect_any(bootstrap: &str) -> Result<Wire> {
    let mut last = None;
    for address in bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
        match Wire::connect(address).await {
            Ok(wire) => return Ok(wire),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no bootstrap address was given")))
}

/// Connects every lane, before any clock starts.
///
/// # Errors
/// One of them cannot be connected.
pub async fn connect_lanes(lanes: Vec<Lane>) -> Result<Vec<(Lane, Wire)>> {
    let mut connected = Vec::with_capacity(lanes.len());
    for lane in lanes {
        let wire = Wire::connect(&lane.address).await?;
        connected.push((lane, wire));
    }
    Ok(connected)
}

/// Runs `main` on a runtime of its own on this thread.
///
/// # Errors
/// As `main`.
pub fn block_on<T>(main: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, main)
}

/// Lets all lanes run to their end while the run is measured; the first that fails, or a silent broker, ends all.
///
/// # Errors
/// As the lanes.
pub async fn run_lanes(
    run: &Rc<Run>,
    mut broker: Observed<'_>,
    lanes: Vec<impl Future<Output = Result<()>> + 'static>,
) -> Result<Option<Cost>> {
    let mut meter: Option<Meter> = None;
    let mut tasks = JoinSet::new();
    for lane in lanes {
        tasks.spawn_local(lane);
    }
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended.context("a lane panicked")??;
        }
        Ok::<(), anyhow::Error>(())
    };
    let measuring = async {
        measure(run, &mut broker, &mut meter).await?;
        // The lanes end the run; this branch only fails.
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        result = all => result?,
        result = run.watch() => result?,
        result = measuring => result?,
    }
    match meter {
        // A question of the measuring branch may have been cut off; it is read to its end first.
        Some(meter) => {
            broker.control.settle().await?;
            Ok(Some(meter.stop(&mut broker).await?))
        }
        None => Ok(None),
    }
}

/// What a report says besides the findings.
#[derive(Debug)]
pub struct ReportHead<'a> {
    /// `produce`, `consume` or `e2e`.
    pub bench: &'a str,
    /// From what to what the latency is.
    pub latency_of: &'a str,
    /// Connections that were open.
    pub connections: usize,
    /// Records a second that were offered.
    pub rate: Option<f64>,
    /// Latencies of acknowledgements, where the main latency is another.
    pub acks: Option<&'a Latencies>,
}

/// Puts the report together.
pub fn report(
    head: &ReportHead<'_>,
    options: &LoadOptions,
    session: &Session,
    findings: &Findings,
    cost: Option<Cost>,
    progress: &Arc<Progress>,
) -> Report {
    let latencies = &findings.latencies;
    let share = cost.as_ref().map_or(0.0, |cost| cost.generator_cpu_share);
    let broker_cpu_s = cost.as_ref().and_then(|cost| cost.broker_cpu_s);
    Report {
        bench: head.bench.to_string(),
        records: findings.records,
        bytes: findings.bytes,
        seconds: rounded(findings.seconds, 6),
        records_per_s: rounded(findings.records as f64 / findings.seconds, 1),
        mb_per_s: rounded(findings.bytes as f64 / 1e6 / findings.seconds, 3),
        p50_us: latencies.quantile_us(0.5),
        p90_us: latencies.quantile_us(0.9),
        p99_us: latencies.quantile_us(0.99),
        p999_us: latencies.quantile_us(0.999),
        max_us: latencies.max_us(),
        latency_of: head.latency_of.to_string(),
        broker_cpu_s_per_gb: cpu_s_per_gb(broker_cpu_s, findings.bytes),
        durability: session.topic.durability.clone(),
        partitions: u32::try_from(session.topic.partitions.len()).unwrap_or(u32::MAX),
        errors: findings.errors,
        first_error: findings.first_error.clone(),
        record_bytes: options.record_bytes,
        batch_bytes: options.batch_bytes,
        connections: head.connections,
        in_flight: options.in_flight,
        shards: session.topic.shards,
        rate: head.rate,
        compression: options.codec.to_string(),
        ack_p50_us: head.acks.map(|acks| acks.quantile_us(0.5)),
        ack_p99_us: head.acks.map(|acks| acks.quantile_us(0.99)),
        broker_cpu_s: broker_cpu_s.map(|cpu_s| rounded(cpu_s, 3)),
        broker_rss_bytes: cost.as_ref().and_then(|cost| cost.broker_rss_bytes),
        broker_device_bytes: cost.as_ref().and_then(|cost| cost.broker_device_bytes),
        storage: cost.map(|cost| cost.storage),
        batches_per_request: options.batches_per_request,
        generator_cpu_share: rounded(share, 3),
        client_bound: is_client_bound(share),
        cancelled: progress.is_cancelled(),
    }
}

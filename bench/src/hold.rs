//! Connections that do not do what a client should: they stay idle, stop in the middle of a frame, or read a byte at a
//! time. Owns these connections and an honest one beside them that goes on producing; measures what they cost the broker
//! and whether the honest one notices. Never judges the figures. Runs on the generator's thread.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ouzel_protocol::native::{
    Api, FRAME_HEADER_BYTES, FetchPartition, FetchRequest, OffsetSpec, ProducePartition, ProduceReply, ProduceRequest,
    request_frame,
};
use ouzel_protocol::{BatchBuilder, Codec, CorrelationId, Dialect, ErrorCode, Offset};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::payload::Payloads;
use crate::process::Usage;
use crate::session::{LoadOptions, Session};
use crate::topic::Topic;
use crate::wire::Wire;

/// Between two bytes of a connection that sends or reads one at a time.
const BYTE_EVERY: Duration = Duration::from_secs(1);
/// Between two produce requests of the honest connection.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// Bytes of its batch: more than what a broker takes without granting memory for it.
const PROBE_BYTES: usize = 200 * 1024;
/// Time for buffers to be given back before memory is read.
const SETTLE: Duration = Duration::from_millis(500);
/// Fetches that a slow reader sends at once.
const SLOW_FETCHES: u64 = 4;
/// Longest wait for a reply of a long poll; the broker may use a shorter one.
const LONG_POLL_MS: u32 = 3_600_000;

/// What the connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldKind {
    /// Say hello and nothing more.
    Idle,
    /// Connect and say nothing at all.
    Silent,
    /// Park a fetch of one partition at its end, again and again.
    LongPoll,
    /// Send the header of a large frame, and no byte of its body.
    HeaderOnly,
    /// Send a large frame, a byte a second.
    ByteASecond,
    /// Ask for everything there is and read it a byte a second.
    SlowReader,
}

/// A hold.
#[derive(Clone, Debug)]
pub struct HoldOptions {
    /// Broker, topic, connections and seconds; what says how to load them is left aside.
    pub load: LoadOptions,
    /// What they do.
    pub kind: HoldKind,
    /// Bytes of the frames that are begun.
    pub frame_bytes: usize,
}

/// What a hold found.
#[derive(Clone, Debug, Serialize)]
pub struct HoldReport {
    /// What the connections did.
    pub kind: HoldKind,
    /// Connections asked for.
    pub connections: usize,
    /// Those that the broker took.
    pub opened: usize,
    /// Those that the broker closed before the end.
    pub ended: usize,
    /// Seconds held.
    pub seconds: f64,
    /// Resident memory of the broker before the first connection; 0 where the broker is not known.
    pub broker_rss_bytes_before: u64,
    /// At the end of the hold.
    pub broker_rss_bytes: u64,
    /// What the hold added to it.
    pub broker_rss_bytes_added: u64,
    /// The most it ever was, of the broker's whole life.
    pub broker_rss_bytes_max: u64,
    /// CPU of the broker during the hold, in per cent of a core.
    pub broker_cpu_percent: f64,
    /// Produce requests of the honest connection that were acknowledged.
    pub probes: u64,
    /// Those that were refused or never answered.
    pub probe_errors: u64,
    /// The slowest acknowledgement, in milliseconds.
    pub probe_ms_max: f64,
}

/// Opens the connections, holds them, and reports.
///
/// # Errors
/// The broker cannot be reached, or takes none of the connections.
pub fn run(options: &HoldOptions) -> Result<HoldReport> {
    crate::session::block_on(hold(options))
}

async fn hold(options: &HoldOptions) -> Result<HoldReport> {
    raise_open_files();
    let mut session = Session::open(&options.load).await?;
    let pid = session.broker_pid();
    let usage = || pid.and_then(|pid| Usage::of(pid).ok()).unwrap_or_default();
    let mut probe = Probe::open(&session.topic).await?;
    probe.produce().await.context("the honest connection's first produce")?;
    tokio::time::sleep(SETTLE).await;
    let before = usage();
    let (end, ended) = watch::channel(false);
    let mut held = JoinSet::new();
    let address = session.embedded.as_ref().map_or(options.load.bootstrap.clone(), |own| own.bootstrap().to_string());
    let ends = session.topic.offsets(&mut session.control, OffsetSpec::Latest).await?;
    let end_offset = session.topic.partitions.first().and_then(|(first, _)| ends.get(first)).copied();
    let begin = Rc::new(opening_bytes(options, &session.topic, end_offset.unwrap_or(Offset(0)))?);
    let connections = options.load.connections(session.topic.shards);
    let mut opened = 0;
    for _ in 0..connections {
        let Ok(stream) = open(&address, options.kind).await else { continue };
        opened += 1;
        held.spawn_local(keep(options.kind, stream, Rc::clone(&begin), ended.clone()));
    }
    if opened == 0 {
        bail!("the broker at {address} took none of {connections} connections");
    }
    tokio::time::sleep(SETTLE).await;
    let (started, cpu) = (Instant::now(), usage().cpu_s);
    let mut report = HoldReport {
        kind: options.kind,
        connections,
        opened,
        ended: 0,
        seconds: 0.0,
        broker_rss_bytes_before: before.rss_bytes,
        broker_rss_bytes: 0,
        broker_rss_bytes_added: 0,
        broker_rss_bytes_max: 0,
        broker_cpu_percent: 0.0,
        probes: 0,
        probe_errors: 0,
        probe_ms_max: 0.0,
    };
    let until = started + Duration::from_secs_f64(options.load.limits.seconds.unwrap_or_default());
    if is_quiet(options.kind) {
        // The broker's idle CPU is measured: nothing else happens meanwhile.
        tokio::time::sleep_until(until.into()).await;
    } else {
        probe.run(until, &session.topic, &mut report).await;
    }
    let after = usage();
    report.seconds = started.elapsed().as_secs_f64();
    report.broker_cpu_percent = (after.cpu_s - cpu) / report.seconds * 100.0;
    report.broker_rss_bytes = after.rss_bytes;
    report.broker_rss_bytes_added = after.rss_bytes.saturating_sub(before.rss_bytes);
    report.broker_rss_bytes_max = after.rss_bytes_max;
    end.send_replace(true);
    while let Some(kept) = held.join_next().await {
        report.ended += usize::from(!kept.unwrap_or(false));
    }
    // A connection for questions that was itself idle too long may be gone; a new one is not.
    session.control = Wire::connect(&address).await?;
    session.close().await?;
    Ok(report)
}

/// Whether the connections ask nothing of the broker.
fn is_quiet(kind: HoldKind) -> bool {
    matches!(kind, HoldKind::Idle | HoldKind::Silent | HoldKind::LongPoll)
}

/// Connects, and says hello where the kind does.
async fn open(address: &str, kind: HoldKind) -> Result<TcpStream> {
    if kind == HoldKind::Silent {
        return Ok(TcpStream::connect(address).await?);
    }
    Ok(Wire::connect(address).await?.into_stream())
}

/// What each connection sends first.
fn opening_bytes(options: &HoldOptions, topic: &Topic, end_offset: Offset) -> Result<Vec<u8>> {
    let fetch = |correlation: u64, everything: bool| {
        let partitions = topic.partitions.iter().map(|(partition, _)| FetchPartition {
            topic_id: topic.topic_id,
            partition: *partition,
            offset: if everything { Offset(0) } else { end_offset },
            max_bytes: u32::MAX,
        });
        let partitions = if everything { partitions.collect() } else { partitions.take(1).collect() };
        let request = FetchRequest {
            max_wait_ms: if everything { 0 } else { LONG_POLL_MS },
            min_bytes: 1,
            max_bytes: u32::MAX,
            partitions,
        };
        request_frame(Api::Fetch, CorrelationId(correlation), |out| request.encode(out))
    };
    Ok(match options.kind {
        HoldKind::Idle | HoldKind::Silent => Vec::new(),
        HoldKind::LongPoll => fetch(1, false),
        HoldKind::SlowReader => (1..=SLOW_FETCHES).flat_map(|correlation| fetch(correlation, true)).collect(),
        HoldKind::HeaderOnly | HoldKind::ByteASecond => {
            let body_bytes = options.frame_bytes.checked_sub(FRAME_HEADER_BYTES).context("a frame holds its header")?;
            let mut frame = request_frame(Api::Produce, CorrelationId(1), |out| out.resize(out.len() + body_bytes, 0));
            if options.kind == HoldKind::HeaderOnly {
                frame.truncate(FRAME_HEADER_BYTES);
            }
            frame
        }
    })
}

/// Keeps one connection in its state; `true` if the broker let it be until the end.
async fn keep(kind: HoldKind, mut stream: TcpStream, begin: Rc<Vec<u8>>, mut ended: watch::Receiver<bool>) -> bool {
    let misbehave = async {
        match kind {
            HoldKind::Idle | HoldKind::Silent | HoldKind::HeaderOnly => {
                stream.write_all(&begin).await?;
                // Returns when the broker ends the connection.
                stream.read_u8().await.map(drop)
            }
            HoldKind::LongPoll => {
                let mut sink = [0; 4096];
                loop {
                    stream.write_all(&begin).await?;
                    if stream.read(&mut sink).await? == 0 {
                        return Ok(());
                    }
                }
            }
            HoldKind::ByteASecond => {
                for byte in begin.iter() {
                    stream.write_u8(*byte).await?;
                    tokio::time::sleep(BYTE_EVERY).await;
                }
                Ok(())
            }
            HoldKind::SlowReader => {
                stream.write_all(&begin).await?;
                loop {
                    stream.read_u8().await?;
                    tokio::time::sleep(BYTE_EVERY).await;
                }
            }
        }
    };
    let result: std::io::Result<()> = tokio::select! {
        _ = ended.wait_for(|is_over| *is_over) => return true,
        result = misbehave => result,
    };
    drop(result);
    false
}

/// The honest connection.
struct Probe {
    wire: Wire,
    request: ProduceRequest,
}

impl Probe {
    async fn open(topic: &Topic) -> Result<Probe> {
        let (partition, address) = topic.partitions.first().context("a topic has a partition")?;
        let mut builder = BatchBuilder::new(Dialect::Native, Codec::None, None);
        builder.push(0, None, Some(&Payloads::new(1).make(PROBE_BYTES)), &[]);
        let batch = Bytes::from(builder.build()?);
        let row = ProducePartition { topic_id: topic.topic_id, partition: *partition, batch };
        let request = ProduceRequest { acks: -1, timeout_ms: 30_000, timings: false, partitions: vec![row] };
        Ok(Probe { wire: Wire::connect(address).await?, request })
    }

    async fn produce(&mut self) -> Result<()> {
        let body = self.wire.call(Api::Produce, |out| self.request.encode(out)).await?;
        match ProduceReply::decode(&body)?.partitions.first() {
            Some(result) if result.error == ErrorCode::None => Ok(()),
            Some(result) => bail!("the broker refused a produce: {}", result.error),
            None => bail!("the broker answered a produce without a row"),
        }
    }

    async fn run(&mut self, until: Instant, topic: &Topic, report: &mut HoldReport) {
        while Instant::now() < until {
            let sent = Instant::now();
            match self.produce().await {
                Ok(()) => {
                    report.probes += 1;
                    report.probe_ms_max = report.probe_ms_max.max(sent.elapsed().as_secs_f64() * 1000.0);
                }
                Err(_) => {
                    report.probe_errors += 1;
                    if let Ok(again) = Probe::open(topic).await {
                        *self = again;
                    }
                }
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }
}

/// As many descriptors as this process may have: each connection is one.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Too few show as connections that could not be opened.
    let _ = setrlimit(Resource::Nofile, limit);
}

//! `bench produce`: batches built once and sent again and again, so that the generator costs little more than its
//! system calls. Owns those templates; never reads a record back. Runs on the generator's thread.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use ouzel_protocol::{BatchBuilder, PartitionIndex};

use crate::load::{BatchSource, Limits, ProduceSettings, Run, pace, produce_lane};
use crate::payload::Payloads;
use crate::progress::Progress;
use crate::report::Report;
use crate::session::{LoadOptions, ReportHead, Session, block_on, connect_lanes, report, run_lanes};
use crate::skew::Skew;
use crate::topic::Lane;

/// Different batches that are sent in turn; together they fit a core's cache.
const TEMPLATES: u64 = 4;

/// What `bench produce` is asked for.
#[derive(Clone, Debug)]
pub struct ProduceOptions {
    /// What every run is asked for.
    pub load: LoadOptions,
    /// Records a second to offer; `None` closes the loop.
    pub rate: Option<f64>,
    /// 0, 1 or -1 for all.
    pub acks: i8,
}

/// Runs the bench on this thread until it is over.
///
/// # Errors
/// The broker cannot be started or reached, or a connection broke. Refused batches are in the report.
pub fn run(options: &ProduceOptions, progress: &Arc<Progress>) -> Result<Report> {
    block_on(async {
        let mut session = Session::open(&options.load).await?;
        let lanes = connect_lanes(lanes(&session, &options.load)).await?;
        let connections = lanes.len();
        let templates = Rc::new(Templates::build(&options.load)?);
        let run = Rc::new(Run::start(options.load.limits, progress.clone()));
        let mut tasks = Vec::with_capacity(connections);
        for (index, lane) in lanes.into_iter().enumerate() {
            let (interval, phase) = pace(options.rate, options.load.records_per_request(), connections, index);
            let settings = ProduceSettings {
                topic_id: session.topic.topic_id,
                acks: options.acks,
                record_bytes: options.load.record_bytes,
                interval,
                phase,
                batches_per_request: options.load.batches_per_request,
                skew: options.load.skew,
                idempotence: options.load.idempotence,
            };
            let source = TemplateSource { templates: templates.clone(), turn: index };
            tasks.push(produce_lane(run.clone(), lane, settings, source, |_, _| {}));
        }
        let cost = run_lanes(&run, session.observed(), tasks).await?;
        let head = ReportHead {
            bench: "produce",
            latency_of: if options.rate.is_some() { "intended send to ack" } else { "send to ack" },
            connections,
            rate: options.rate,
            acks: None,
        };
        let report = report(&head, &options.load, &session, &run.finish(), cost, progress);
        session.close().await?;
        Ok(report)
    })
}

/// Uniform lanes divide the partitions of a shard among them; skewed ones each draw from all of them, or the draw would be
/// another with each number of connections.
fn lanes(session: &Session, options: &LoadOptions) -> Vec<Lane> {
    let mut lanes = session.topic.lanes(options.connections(session.topic.shards), options.in_flight, false);
    if options.skew != Skew::Uniform {
        for lane in &mut lanes {
            let here = session.topic.partitions.iter().filter(|(_, address)| *address == lane.address);
            lane.partitions = here.map(|(partition, _)| *partition).collect();
        }
    }
    lanes
}

/// Writes `records` records to a session's topic, as fast as it takes them.
///
/// # Errors
/// A connection broke or a batch was refused.
pub(crate) async fn fill(
    session: &mut Session,
    options: &LoadOptions,
    records: u64,
    progress: &Arc<Progress>,
) -> Result<()> {
    let limits = Limits { records: Some(records), ..Limits::default() };
    let lanes = session.topic.lanes(options.connections(session.topic.shards), options.in_flight, false);
    let lanes = connect_lanes(lanes).await?;
    let templates = Rc::new(Templates::build(options)?);
    let run = Rc::new(Run::start(limits, progress.clone()));
    let settings = ProduceSettings {
        topic_id: session.topic.topic_id,
        acks: -1,
        record_bytes: options.record_bytes,
        interval: None,
        phase: std::time::Duration::ZERO,
        batches_per_request: 1,
        skew: Skew::Uniform,
        idempotence: false,
    };
    let lanes = lanes.into_iter().enumerate().map(|(index, lane)| {
        let source = TemplateSource { templates: templates.clone(), turn: index };
        produce_lane(run.clone(), lane, settings, source, |_, _| {})
    });
    run_lanes(&run, session.observed(), lanes.collect()).await?;
    let findings = run.finish();
    match findings.first_error {
        Some(error) => anyhow::bail!("cannot fill topic {}: {error}", session.topic.name),
        None => Ok(()),
    }
}

/// Batches that were built before the clock starts.
#[derive(Debug)]
struct Templates {
    options: LoadOptions,
    full: Vec<Bytes>,
}

impl Templates {
    fn build(options: &LoadOptions) -> Result<Templates> {
        let records = options.records_per_batch();
        let full = (0..TEMPLATES).map(|seed| build_batch(options, seed, records)).collect::<Result<_>>()?;
        Ok(Templates { options: options.clone(), full })
    }
}

/// The templates in turn; the last, shorter batch of a run is built when it comes.
#[derive(Debug)]
struct TemplateSource {
    templates: Rc<Templates>,
    turn: usize,
}

impl BatchSource for TemplateSource {
    fn records_per_batch(&self) -> u64 {
        self.templates.options.records_per_batch()
    }

    fn batch(&mut self, _partition: PartitionIndex, records: u64, _intended: Instant) -> Result<Bytes> {
        if records < self.records_per_batch() {
            return build_batch(&self.templates.options, TEMPLATES, records);
        }
        self.turn = (self.turn + 1) % self.templates.full.len();
        Ok(self.templates.full[self.turn].clone())
    }
}

fn build_batch(options: &LoadOptions, seed: u64, records: u64) -> Result<Bytes> {
    let mut payloads = Payloads::new(seed);
    let mut builder = BatchBuilder::new(options.dialect, options.codec, None);
    let now_ms = now_ms();
    for _ in 0..records {
        builder.push(now_ms, None, Some(&payloads.make(options.record_bytes)), &[]);
    }
    Ok(Bytes::from(builder.build().context("cannot build a batch of this size")?))
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) fn options_for_tests(record_bytes: usize, batch_bytes: usize) -> LoadOptions {
    LoadOptions {
        bootstrap: String::new(),
        embedded: None,
        broker_pid: None,
        topic: crate::topic::TopicOptions { name: None, partitions: 1, durability: None },
        idempotence: true,
        record_bytes,
        batch_bytes,
        codec: ouzel_protocol::Codec::None,
        dialect: ouzel_protocol::Dialect::Kafka2,
        connections: None,
        in_flight: 256,
        batches_per_request: 1,
        skew: Skew::Uniform,
        cpu: None,
        limits: Limits::default(),
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::check_produced;

    use super::*;

    #[test]
    fn templates_are_batches_a_broker_takes() {
        let options = options_for_tests(1024, 16 * 1024);
        let mut source = TemplateSource { templates: Rc::new(Templates::build(&options).expect("templates")), turn: 0 };
        for records in [16, 16, 16, 7] {
            let batch = source.batch(PartitionIndex(0), records, Instant::now()).expect("batch");
            let header = check_produced(&batch).expect("valid");
            assert_eq!(u64::from(header.record_count), records);
        }
    }

    #[test]
    fn a_record_longer_than_a_batch_is_a_batch_of_one() {
        assert_eq!(options_for_tests(100_000, 16 * 1024).records_per_batch(), 1);
        assert_eq!(options_for_tests(1024, 16 * 1024).records_per_batch(), 16);
    }

    #[test]
    fn connections_are_enough_for_the_requests_and_the_shards() {
        let options = options_for_tests(1024, 16 * 1024);
        assert_eq!(options.connections(1), 4);
        assert_eq!(options.connections(8), 8);
    }
}

//! `bench e2e`: produces and consumes at once, measures from intended send to receipt, and holds the broker to it that
//! every acknowledged record arrives exactly once and in the order of its partition. Owns the numbers in the records and
//! the check of them; never trusts an offset it has not counted itself. Runs on the generator's thread.
//!
//! A record's value starts with two little-endian u64: its number in its partition, from 0, and the nanoseconds from the
//! start of the run to its intended send. The rest is payload.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ouzel_protocol::native::OffsetSpec;
use ouzel_protocol::{BatchBuilder, DecodeLimits, DecodedBatch, ErrorCode, Offset, PartitionIndex, batches};

use crate::fetch::{FetchSettings, FetchSink, fetch_lane};
use crate::load::{BatchSource, ProduceSettings, Run, pace, produce_lane};
use crate::payload::Payloads;
use crate::produce::now_ms;
use crate::progress::Progress;
use crate::report::Report;
use crate::session::{LoadOptions, ReportHead, Session, block_on, connect_lanes, report, run_lanes};
use crate::skew::Skew;
use crate::topic::Lane;
use crate::wire::Wire;

/// Bytes of the number and the stamp.
const STAMP_BYTES: usize = 16;
/// Payloads that take turns, so that building a batch is copying.
const PAYLOADS: usize = 64;
/// Most bytes of one fetch reply.
const FETCH_BYTES: u32 = 4 * 1024 * 1024;
/// How long a fetch waits for records; also how soon the end of the run is noticed.
const WAIT_MS_MAX: u32 = 100;
/// Fetches outstanding at most on one connection: each covers several partitions.
const FETCHES_PER_LANE: usize = 8;
/// Acknowledged records that have not arrived this long after the last ones did are lost.
const MISSING_AFTER: Duration = Duration::from_secs(10);

/// What `bench e2e` is asked for.
#[derive(Clone, Debug)]
pub struct EndToEndOptions {
    /// What every run is asked for.
    pub load: LoadOptions,
    /// Records a second to offer; `None` closes the loop.
    pub rate: Option<f64>,
}

/// What producers and consumers of one run share.
#[derive(Debug, Default)]
struct Shared {
    acknowledged: RefCell<BTreeMap<PartitionIndex, u64>>,
    producers: Cell<usize>,
}

/// Runs the bench on this thread until it is over.
///
/// # Errors
/// The broker cannot be started or reached, or a connection broke. Lost, doubled and misplaced records are in the report.
pub fn run(options: &EndToEndOptions, progress: &Arc<Progress>) -> Result<Report> {
    if options.load.record_bytes < STAMP_BYTES {
        bail!("records of an e2e run hold a number and a time: --record-bytes must be at least {STAMP_BYTES}");
    }
    block_on(async {
        let mut session = Session::open(&options.load).await?;
        let starts = session.topic.offsets(&mut session.control, OffsetSpec::Latest).await?;
        let lanes = session.topic.lanes(options.load.connections(session.topic.shards), options.load.in_flight, true);
        let consuming = connect_lanes(lanes.clone()).await?;
        let lanes = connect_lanes(lanes).await?;
        let connections = lanes.len();
        let shared = Rc::new(Shared::default());
        shared.producers.set(connections);
        // Acknowledgements are measured beside the run proper: the records that count are those that arrive.
        let acks = Rc::new(Run::start_hidden(options.load.limits, progress.clone()));
        let run = Rc::new(Run::start_unlimited(&acks, progress.clone()));
        let mut tasks: Vec<std::pin::Pin<Box<dyn Future<Output = Result<()>>>>> = Vec::new();
        for (index, (lane, (mut fetched, wire))) in lanes.into_iter().zip(consuming).enumerate() {
            let (interval, phase) = pace(options.rate, options.load.records_per_batch(), connections, index);
            let settings = ProduceSettings {
                topic_id: session.topic.topic_id,
                acks: -1,
                record_bytes: options.load.record_bytes,
                interval,
                phase,
                batches_per_request: 1,
                skew: Skew::Uniform,
                idempotence: options.load.idempotence,
            };
            let producing = produce(acks.clone(), lane, settings, options.load.clone(), shared.clone());
            tasks.push(Box::pin(producing));
            fetched.in_flight = FETCHES_PER_LANE;
            let settings =
                FetchSettings { topic_id: session.topic.topic_id, bytes_max: FETCH_BYTES, wait_ms_max: WAIT_MS_MAX };
            let checks = fetched.partitions.iter().map(|partition| (*partition, Check::new(starts[partition])));
            let checker = Checker { run: run.clone(), shared: shared.clone(), checks: checks.collect() };
            tasks.push(Box::pin(fetch_lane(run.clone(), (fetched, wire), settings, checker)));
        }
        let cost = run_lanes(&run, session.observed(), tasks).await?;
        let acks = acks.finish();
        let mut findings = run.finish();
        findings.errors += acks.errors;
        findings.first_error = acks.first_error.or(findings.first_error);
        let head = ReportHead {
            bench: "e2e",
            latency_of: if options.rate.is_some() { "intended send to receipt" } else { "send to receipt" },
            // Each lane has one connection to produce and one to consume.
            connections: connections * 2,
            rate: options.rate,
            acks: Some(&acks.latencies),
        };
        let report = report(&head, &options.load, &session, &findings, cost, progress);
        session.close().await?;
        Ok(report)
    })
}

async fn produce(
    run: Rc<Run>,
    lane: (Lane, Wire),
    settings: ProduceSettings,
    options: LoadOptions,
    shared: Rc<Shared>,
) -> Result<()> {
    let source = StampedSource::new(&options, run.start);
    let result = produce_lane(run, lane, settings, source, |partition, records| {
        *shared.acknowledged.borrow_mut().entry(partition).or_default() += records;
    });
    result.await?;
    shared.producers.set(shared.producers.get() - 1);
    Ok(())
}

/// Builds batches of numbered, stamped records.
struct StampedSource {
    options: LoadOptions,
    start: Instant,
    numbers: BTreeMap<PartitionIndex, u64>,
    payloads: Vec<Vec<u8>>,
    value: Vec<u8>,
    builder: BatchBuilder,
}

impl StampedSource {
    fn new(options: &LoadOptions, start: Instant) -> StampedSource {
        let mut payloads = Payloads::new(0);
        StampedSource {
            options: options.clone(),
            start,
            numbers: BTreeMap::new(),
            payloads: (0..PAYLOADS).map(|_| payloads.make(options.record_bytes - STAMP_BYTES)).collect(),
            value: Vec::with_capacity(options.record_bytes),
            builder: BatchBuilder::new(options.dialect, options.codec, None),
        }
    }
}

impl BatchSource for StampedSource {
    fn records_per_batch(&self) -> u64 {
        self.options.records_per_batch()
    }

    fn batch(&mut self, partition: PartitionIndex, records: u64, intended: Instant) -> Result<Bytes> {
        let number = self.numbers.entry(partition).or_default();
        let stamp = u64::try_from(intended.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let timestamp = now_ms();
        for _ in 0..records {
            self.value.clear();
            self.value.extend_from_slice(&number.to_le_bytes());
            self.value.extend_from_slice(&stamp.to_le_bytes());
            self.value.extend_from_slice(&self.payloads[*number as usize % PAYLOADS]);
            self.builder.push(timestamp, None, Some(&self.value), &[]);
            *number += 1;
        }
        let mut out = Vec::new();
        self.builder.build_into(&mut out).context("cannot build a batch of this size")?;
        Ok(Bytes::from(out))
    }
}

/// How far the check of a partition is.
#[derive(Clone, Copy, Debug)]
struct Check {
    /// Next offset, and so what the next record's must be.
    offset: Offset,
    /// Number the next record must have.
    number: u64,
    last_arrival: Instant,
    is_given_up: bool,
}

impl Check {
    fn new(start: Offset) -> Check {
        Check { offset: start, number: 0, last_arrival: Instant::now(), is_given_up: false }
    }
}

/// Holds every record that arrives against the number and the offset it must have.
struct Checker {
    run: Rc<Run>,
    shared: Rc<Shared>,
    checks: BTreeMap<PartitionIndex, Check>,
}

impl FetchSink for Checker {
    fn position(&mut self, partition: PartitionIndex) -> Option<Offset> {
        let check = self.checks.get_mut(&partition)?;
        if check.is_given_up {
            return None;
        }
        if self.shared.producers.get() == 0 {
            let sent = self.shared.acknowledged.borrow().get(&partition).copied().unwrap_or(0);
            if check.number >= sent {
                return None;
            }
            if check.last_arrival.elapsed() > MISSING_AFTER {
                let got = check.number;
                check.is_given_up = true;
                self.run.fail(sent - got, || {
                    format!("partition {partition}: {sent} records were acknowledged, {got} arrived")
                });
                return None;
            }
        }
        Some(check.offset)
    }

    fn receive(&mut self, partition: PartitionIndex, records: &[u8], _sent: Instant, now: Instant) -> Result<()> {
        let Some(check) = self.checks.get_mut(&partition) else { bail!("partition {partition} was not asked for") };
        check.last_arrival = now;
        for batch in batches(records) {
            let (_, bytes) = batch?;
            let decoded = DecodedBatch::decode(bytes, &DecodeLimits::default())?;
            let mut stamped = Stamped::default();
            for record in decoded.records() {
                let record = record?;
                if record.offset < check.offset {
                    // A fetch may start inside a batch; what lies before was checked when it came.
                    continue;
                }
                let value = record.value.unwrap_or_default();
                let Some((number, stamp)) = parse_stamp(value) else {
                    bail!("partition {partition} offset {}: a record that this run did not send", record.offset);
                };
                if record.offset != check.offset || number != check.number {
                    let (offset, expected) = (check.offset, check.number);
                    self.run.fail(number.abs_diff(expected).max(1), || {
                        format!(
                            "partition {partition}: record {expected} should be at offset {offset}, but record \
                             {number} came at offset {}",
                            record.offset
                        )
                    });
                }
                check.offset = record.offset.next();
                check.number = number.max(check.number) + u64::from(number >= check.number);
                stamped.add(&self.run, now, stamp, value.len() as u64);
            }
            stamped.flush(&self.run, now);
        }
        Ok(())
    }

    fn refused(&mut self, partition: PartitionIndex, error: ErrorCode) {
        self.run.fail(1, || format!("partition {partition}: {error}"));
        if let Some(check) = self.checks.get_mut(&partition) {
            check.is_given_up = true;
        }
    }
}

/// Records of one stamp, counted together.
#[derive(Debug, Default)]
struct Stamped {
    stamp: u64,
    records: u64,
    bytes: u64,
}

impl Stamped {
    fn add(&mut self, run: &Run, now: Instant, stamp: u64, bytes: u64) {
        if stamp != self.stamp {
            self.flush(run, now);
            self.stamp = stamp;
        }
        self.records += 1;
        self.bytes += bytes;
    }

    fn flush(&mut self, run: &Run, now: Instant) {
        if self.records > 0 {
            let intended = run.start + Duration::from_nanos(self.stamp);
            run.done(now, now.saturating_duration_since(intended), self.records, self.bytes);
        }
        (self.records, self.bytes) = (0, 0);
    }
}

fn parse_stamp(value: &[u8]) -> Option<(u64, u64)> {
    let (number, rest) = value.split_first_chunk()?;
    let (stamp, _) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), u64::from_le_bytes(*stamp)))
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{LeaderEpoch, parse_header, patched_prefix};

    use super::*;
    use crate::load::Limits;
    use crate::produce::options_for_tests;

    const PARTITION: PartitionIndex = PartitionIndex(3);

    fn limits() -> Limits {
        Limits::default()
    }

    fn checker(start: u64) -> Checker {
        Checker {
            run: Rc::new(Run::start(limits(), Arc::default())),
            shared: Rc::new(Shared::default()),
            checks: BTreeMap::from([(PARTITION, Check::new(Offset(start)))]),
        }
    }

    /// Batches of two records each, placed at consecutive offsets.
    fn batches_from(start: u64, count: u64) -> Vec<Vec<u8>> {
        let mut source = StampedSource::new(&options_for_tests(64, 128), Instant::now());
        (0..count)
            .map(|index| {
                let mut bytes = source.batch(PARTITION, 2, Instant::now()).expect("batch").to_vec();
                let header = parse_header(&bytes).expect("header");
                let base = Offset(start + index * 2);
                bytes[..16].copy_from_slice(&patched_prefix(&header, base, LeaderEpoch(0)));
                bytes
            })
            .collect()
    }

    fn errors_of(start: u64, batches: &[Vec<u8>]) -> (u64, u64) {
        let mut checker = checker(start);
        let now = Instant::now();
        checker.receive(PARTITION, &batches.concat(), now, now).expect("received");
        let findings = checker.run.finish();
        (findings.records, findings.errors)
    }

    #[test]
    fn records_in_order_are_right_wherever_the_log_starts() {
        assert_eq!(errors_of(0, &batches_from(0, 3)), (6, 0));
        assert_eq!(errors_of(1000, &batches_from(1000, 3)), (6, 0));
    }

    #[test]
    fn a_lost_batch_is_an_error_for_each_of_its_records() {
        let mut batches = batches_from(0, 3);
        batches.remove(1);
        assert_eq!(errors_of(0, &batches), (4, 2));
    }

    #[test]
    fn a_doubled_batch_at_new_offsets_is_an_error() {
        let batches = batches_from(0, 1);
        let header = parse_header(&batches[0]).expect("header");
        let mut again = batches[0].clone();
        again[..16].copy_from_slice(&patched_prefix(&header, Offset(2), LeaderEpoch(0)));
        let (_, errors) = errors_of(0, &[batches[0].clone(), again]);
        assert!(errors > 0);
    }

    #[test]
    fn a_batch_fetched_twice_at_its_offsets_counts_once() {
        let batches = batches_from(0, 2);
        assert_eq!(errors_of(0, &[batches[0].clone(), batches[0].clone(), batches[1].clone()]), (4, 0));
    }

    #[test]
    fn a_consumer_is_done_when_all_that_was_acknowledged_has_arrived() {
        let mut checker = checker(0);
        checker.shared.producers.set(1);
        assert_eq!(checker.position(PARTITION), Some(Offset(0)));
        checker.shared.acknowledged.borrow_mut().insert(PARTITION, 4);
        checker.shared.producers.set(0);
        let now = Instant::now();
        let batches = batches_from(0, 2);
        checker.receive(PARTITION, &batches[0], now, now).expect("received");
        assert_eq!(checker.position(PARTITION), Some(Offset(2)));
        checker.receive(PARTITION, &batches[1], now, now).expect("received");
        assert_eq!(checker.position(PARTITION), None);
    }
}

//! `bench consume`: reads a topic from its first to its last record, or round and round, and measures each fetch. Owns
//! the count of what came; never opens a record. Runs on the generator's thread.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use ouzel_protocol::native::OffsetSpec;
use ouzel_protocol::{ErrorCode, Offset, PartitionIndex, batches, check_batch};

use crate::fetch::{FetchSettings, FetchSink, fetch_lane};
use crate::load::{Limits, Run};
use crate::produce::fill;
use crate::progress::{Phase, Progress};
use crate::report::Report;
use crate::session::{LoadOptions, ReportHead, Session, block_on, connect_lanes, report, run_lanes};

/// Records that are written first where there are none and nothing says how many: 256 MiB at 1 KiB each.
const FILL_RECORDS: u64 = 262_144;
/// How long a fetch may wait; the records are there, so it never should.
const WAIT_MS_MAX: u32 = 1_000;

/// What `bench consume` is asked for.
#[derive(Clone, Debug)]
pub struct ConsumeOptions {
    /// What every run is asked for. With neither records nor seconds the topic is read once.
    pub load: LoadOptions,
    /// Most bytes of one reply.
    pub fetch_bytes: u32,
    /// Whether to check every batch's CRC.
    pub check: bool,
    /// Whether to restart the embedded broker first, so that everything comes from disk.
    pub cold: bool,
}

/// Runs the bench on this thread until it is over.
///
/// # Errors
/// The broker cannot be started or reached, or a connection broke. Refused fetches and wrong batches are in the report.
pub fn run(options: &ConsumeOptions, progress: &Arc<Progress>) -> Result<Report> {
    block_on(async {
        let mut session = Session::open(&options.load).await?;
        let mut ranges = ranges(&mut session).await?;
        if ranges.values().all(Range::is_empty) {
            progress.enter(Phase::Filling);
            fill(&mut session, &options.load, options.load.limits.records.unwrap_or(FILL_RECORDS), progress).await?;
            progress.enter(Phase::Starting);
        }
        if options.cold {
            session.restart().await?;
        }
        ranges = self::ranges(&mut session).await?;
        if ranges.values().all(Range::is_empty) {
            bail!("topic {} is empty", session.topic.name);
        }
        let shards = session.topic.shards;
        let lanes = session.topic.lanes(options.load.connections(shards), options.load.in_flight, true);
        let lanes = connect_lanes(lanes).await?;
        let connections = lanes.len();
        let run = Rc::new(Run::start(limits(options.load.limits), progress.clone()));
        let settings = FetchSettings {
            topic_id: session.topic.topic_id,
            bytes_max: options.fetch_bytes,
            wait_ms_max: WAIT_MS_MAX,
        };
        let is_repeated = options.load.limits.seconds.is_some() || options.load.limits.records.is_some();
        let tasks = lanes
            .into_iter()
            .map(|(lane, wire)| {
                let mine = lane.partitions.iter().map(|partition| (*partition, ranges[partition])).collect();
                let sink = Counter {
                    run: run.clone(),
                    ranges: mine,
                    is_repeated,
                    check: options.check,
                    record_bytes: options.load.record_bytes as u64,
                };
                fetch_lane(run.clone(), (lane, wire), settings, sink)
            })
            .collect();
        let cost = run_lanes(&run, session.observed(), tasks).await?;
        let head = ReportHead { bench: "consume", latency_of: "fetch to reply", connections, rate: None, acks: None };
        let report = report(&head, &options.load, &session, &run.finish(), cost, progress);
        session.close().await?;
        Ok(report)
    })
}

/// When reading ends. Where both are given, the records say how much is written first, and the seconds how long it is read:
/// what fits in memory is read in a moment.
fn limits(asked: Limits) -> Limits {
    Limits { records: asked.records.filter(|_| asked.seconds.is_none()), ..asked }
}

/// What is to be read of a partition, and how far it got.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: Offset,
    end: Offset,
    next: Offset,
    is_given_up: bool,
}

impl Range {
    fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

async fn ranges(session: &mut Session) -> Result<BTreeMap<PartitionIndex, Range>> {
    let starts = session.topic.offsets(&mut session.control, OffsetSpec::Earliest).await?;
    let ends = session.topic.offsets(&mut session.control, OffsetSpec::Latest).await?;
    let range = |(partition, start): (&PartitionIndex, &Offset)| {
        (*partition, Range { start: *start, end: ends[partition], next: *start, is_given_up: false })
    };
    Ok(starts.iter().map(range).collect())
}

/// Counts records by their batches' headers.
struct Counter {
    run: Rc<Run>,
    ranges: BTreeMap<PartitionIndex, Range>,
    is_repeated: bool,
    check: bool,
    record_bytes: u64,
}

impl FetchSink for Counter {
    fn position(&mut self, partition: PartitionIndex) -> Option<Offset> {
        let range = self.ranges.get_mut(&partition)?;
        if range.is_given_up || range.is_empty() || self.run.is_over(Instant::now()) {
            return None;
        }
        if range.next >= range.end {
            if !self.is_repeated {
                return None;
            }
            range.next = range.start;
        }
        Some(range.next)
    }

    fn receive(&mut self, partition: PartitionIndex, records: &[u8], sent: Instant, now: Instant) -> Result<()> {
        let Some(range) = self.ranges.get_mut(&partition) else { bail!("partition {partition} was not asked for") };
        let mut count = 0;
        for batch in batches(records) {
            let (header, bytes) = batch?;
            if self.check
                && let Err(error) = check_batch(bytes)
            {
                self.run.fail(1, || format!("partition {partition} offset {}: {error}", header.base_offset));
            }
            if header.base_offset > range.next {
                let (expected, got) = (range.next, header.base_offset);
                self.run.fail(got.0 - expected.0, || format!("partition {partition}: offset {got} follows {expected}"));
            }
            let first = header.base_offset.max(range.next);
            let end = header.end_offset().min(range.end);
            count += end.0.saturating_sub(first.0);
            range.next = range.next.max(header.end_offset());
        }
        let count = self.run.take(count);
        if count > 0 {
            self.run.done(now, now - sent, count, count * self.record_bytes);
        }
        Ok(())
    }

    fn refused(&mut self, partition: PartitionIndex, error: ErrorCode) {
        self.run.fail(1, || format!("partition {partition}: {error}"));
        if let Some(range) = self.ranges.get_mut(&partition) {
            range.is_given_up = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{BatchBuilder, Codec, Dialect, LeaderEpoch, parse_header, patched_prefix};

    use super::*;

    fn batch(base: u64, records: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
        for _ in 0..records {
            builder.push(0, None, Some(b"value"), &[]);
        }
        let mut bytes = builder.build().expect("batch");
        let header = parse_header(&bytes).expect("header");
        bytes[..16].copy_from_slice(&patched_prefix(&header, Offset(base), LeaderEpoch(0)));
        bytes
    }

    fn counter(end: u64, is_repeated: bool) -> Counter {
        let limits = Limits::default();
        let range = Range { start: Offset(0), end: Offset(end), next: Offset(0), is_given_up: false };
        Counter {
            run: Rc::new(Run::start(limits, Arc::default())),
            ranges: BTreeMap::from([(PartitionIndex(0), range)]),
            is_repeated,
            check: true,
            record_bytes: 5,
        }
    }

    #[test]
    fn records_are_counted_once_and_a_pass_ends_at_the_end() {
        let mut counter = counter(6, false);
        let now = Instant::now();
        assert_eq!(counter.position(PartitionIndex(0)), Some(Offset(0)));
        counter.receive(PartitionIndex(0), &[batch(0, 2), batch(2, 2)].concat(), now, now).expect("received");
        // A batch that starts before the position counts only from there, one that ends behind the end only up to it.
        counter.receive(PartitionIndex(0), &[batch(2, 3), batch(5, 9)].concat(), now, now).expect("received");
        assert_eq!(counter.position(PartitionIndex(0)), None);
        let findings = counter.run.finish();
        assert_eq!((findings.records, findings.bytes, findings.errors), (6, 30, 0));
    }

    #[test]
    fn a_gap_and_a_damaged_batch_are_errors() {
        let mut counter = counter(100, true);
        let now = Instant::now();
        let mut damaged = batch(7, 1);
        *damaged.last_mut().expect("byte") ^= 1;
        counter.receive(PartitionIndex(0), &[batch(3, 4), damaged].concat(), now, now).expect("received");
        let findings = counter.run.finish();
        assert_eq!(findings.errors, 4);
        assert!(findings.first_error.expect("error").contains("follows 0"));
    }
}

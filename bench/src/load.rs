//! The loops that put load on a broker. Owns the pace (closed by replies, or open by a schedule), the requests in flight
//! and the clock each latency starts from; never decides what is in a batch. Runs on the generator's one thread.
//!
//! Closed loop: a request is sent when a reply makes room; its latency starts when it is handed to the socket. Open loop
//! (`rate`): requests have intended times that do not depend on replies, and every latency starts there, also when the
//! request had to wait for room: a broker that stalls pays for each request it held up (no coordinated omission).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use ouzel_protocol::native::{Api, ProducePartition, ProduceReply, ProduceRequest};
use ouzel_protocol::producer::restamp;
use ouzel_protocol::{
    CorrelationId, ErrorCode, PartitionIndex, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TopicId,
};
use tokio::sync::Notify;

use crate::meter::WrapLimits;
use crate::progress::{Phase, Progress};
use crate::report::Latencies;
use crate::skew::{Picks, Skew};
use crate::timer::Timer;
use crate::topic::Lane;
use crate::wire::{FrameReader, FrameWriter, Wire, check_whole};

/// Requests gathered into one write.
const GATHER_MAX: usize = 32;
/// A broker that answers nothing for this long, with requests outstanding, ends the run.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the broker may take for one request.
const REQUEST_TIMEOUT_MS: u32 = 30_000;

/// When a run ends: at the first of these that is reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Records to send or receive.
    pub records: Option<u64>,
    /// Seconds to measure.
    pub seconds: Option<f64>,
    /// Seconds of load before measuring starts.
    pub warmup: f64,
    /// A window counted in rounds of the journal, instead of both kinds of seconds.
    pub wraps: Option<WrapLimits>,
}

/// What all lanes of a run share: its clock, its budget of records and its findings.
#[derive(Debug)]
pub struct Run {
    /// When the load began; stamps count from here.
    pub start: Instant,
    /// `None` until the journal has come round often enough.
    measure_from: Cell<Option<Instant>>,
    deadline: Cell<Option<Instant>>,
    wrap_limits: Option<WrapLimits>,
    remaining: Cell<u64>,
    progress: Arc<Progress>,
    latencies: RefCell<Latencies>,
    records: Cell<u64>,
    bytes: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    last_done: Cell<Instant>,
    last_alive: Cell<Instant>,
    is_shown: bool,
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Latencies of the records that count.
    pub latencies: Latencies,
    /// Records that count.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Measured time.
    pub seconds: f64,
    /// Failures, warm-up included.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
}

impl Run {
    /// Starts the clock.
    pub fn start(limits: Limits, progress: Arc<Progress>) -> Run {
        let start = Instant::now();
        let measure_from = start + Duration::from_secs_f64(limits.warmup);
        Run {
            start,
            measure_from: Cell::new(limits.wraps.is_none().then_some(measure_from)),
            deadline: Cell::new(
                limits
                    .seconds
                    .filter(|_| limits.wraps.is_none())
                    .map(|seconds| measure_from + Duration::from_secs_f64(seconds)),
            ),
            wrap_limits: limits.wraps,
            remaining: Cell::new(limits.records.unwrap_or(u64::MAX)),
            progress,
            latencies: RefCell::new(Latencies::new()),
            records: Cell::new(0),
            bytes: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            last_done: Cell::new(start),
            last_alive: Cell::new(start),
            is_shown: true,
        }
    }

    /// Starts a clock whose records do not count on the progress line.
    pub fn start_hidden(limits: Limits, progress: Arc<Progress>) -> Run {
        Run { is_shown: false, ..Run::start(limits, progress) }
    }

    /// A run with the clock of another, without its limits.
    pub fn start_unlimited(other: &Run, progress: Arc<Progress>) -> Run {
        Run { start: other.start, measure_from: other.measure_from.clone(), ..Run::start(Limits::default(), progress) }
    }

    /// Whether nothing more may be sent: time or records are used up, or the operator asked to stop.
    pub fn is_over(&self, now: Instant) -> bool {
        self.remaining.get() == 0
            || self.deadline.get().is_some_and(|deadline| now >= deadline)
            || self.progress.is_cancelled()
    }

    /// Takes up to `records` from the budget; fewer, or none, when it runs out.
    pub fn take(&self, records: u64) -> u64 {
        let taken = records.min(self.remaining.get());
        self.remaining.set(self.remaining.get() - taken);
        taken
    }

    /// Records that came through, `latency` after they were intended.
    pub fn done(&self, now: Instant, latency: Duration, records: u64, bytes: u64) {
        self.last_done.set(now);
        self.last_alive.set(now);
        if self.is_shown {
            self.progress.add(records, bytes);
        }
        if self.measure_from.get().is_none_or(|from| now < from) {
            return;
        }
        self.latencies.borrow_mut().record(latency, records);
        self.records.set(self.records.get() + records);
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// The broker has answered, if only that there is nothing.
    pub fn alive(&self, now: Instant) {
        self.last_alive.set(now);
    }

    /// Something that went wrong `count` times; the first is kept in words.
    pub fn fail(&self, count: u64, message: impl FnOnce() -> String) {
        self.errors.set(self.errors.get() + count);
        self.progress.add_errors(count);
        let mut first = self.first_error.borrow_mut();
        if first.is_none() {
            *first = Some(message());
        }
    }

    /// The window in rounds of the journal, where the run has one.
    pub fn wrap_limits(&self) -> Option<WrapLimits> {
        self.wrap_limits
    }

    /// Waits until the seconds of warming up are over. Not for runs whose window is counted in rounds of the journal.
    pub async fn warmed_up(&self) {
        let measure_from = self.measure_from.get().expect("the clock decides");
        if measure_from > Instant::now() {
            self.progress.enter(Phase::WarmingUp);
            tokio::time::sleep_until(measure_from.into()).await;
        }
        self.progress.enter(Phase::Measuring);
    }

    /// Shows a phase on the progress line.
    pub fn enter(&self, phase: Phase) {
        self.progress.enter(phase);
    }

    /// What comes back from `now` on counts.
    pub fn start_measuring(&self, now: Instant) {
        self.progress.enter(Phase::Measuring);
        self.measure_from.set(Some(now));
    }

    /// Nothing more is to be sent.
    pub fn end(&self) {
        self.deadline.set(Some(Instant::now()));
    }

    /// Never returns but with an error: when replies have stayed out for too long although some are due.
    ///
    /// # Errors
    /// The broker fell silent.
    pub async fn watch(&self) -> Result<()> {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.last_alive.get().elapsed() > SILENCE_MAX {
                bail!("the broker has answered nothing for {} s", SILENCE_MAX.as_secs());
            }
        }
    }

    /// Ends the run.
    pub fn finish(&self) -> Findings {
        let end = if self.records.get() > 0 { self.last_done.get() } else { Instant::now() };
        Findings {
            latencies: self.latencies.borrow().clone(),
            records: self.records.get(),
            bytes: self.bytes.get(),
            seconds: end.saturating_duration_since(self.measure_from.get().unwrap_or(end)).as_secs_f64().max(1e-9),
            errors: self.errors.get(),
            first_error: self.first_error.borrow().clone(),
        }
    }
}

/// Where batches come from.
pub trait BatchSource {
    /// Records of a full batch.
    fn records_per_batch(&self) -> u64;
    /// One batch of `records` records for a partition, intended to be sent at `intended`.
    ///
    /// # Errors
    /// The batch cannot be built.
    fn batch(&mut self, partition: PartitionIndex, records: u64, intended: Instant) -> Result<Bytes>;
}

/// What a produce lane needs to know besides its connection.
#[derive(Clone, Copy, Debug)]
pub struct ProduceSettings {
    /// The topic.
    pub topic_id: TopicId,
    /// 0, 1 or -1 for all.
    pub acks: i8,
    /// Bytes of each record's value.
    pub record_bytes: usize,
    /// Time between two batches of this lane; `None` closes the loop.
    pub interval: Option<Duration>,
    /// Time of the lane's first batch after the start: lanes do not send in step.
    pub phase: Duration,
    /// Batches of one request, each for the partition that comes next; more than one may be for the same.
    pub batches_per_request: usize,
    /// Which partition comes next.
    pub skew: Skew,
    /// Each connection is an idempotent producer.
    pub idempotence: bool,
}

/// One request that has no reply yet.
#[derive(Clone, Copy, Debug)]
struct Slot {
    intended: Instant,
    records: u64,
    /// Records of each batch but the last, which may be shorter.
    records_per_batch: u64,
}

/// The requests in flight of one connection. The index of a slot is the request's correlation id.
#[derive(Debug)]
struct Slots {
    slots: RefCell<Vec<Option<Slot>>>,
    free: RefCell<Vec<usize>>,
    freed: Notify,
    outstanding: Cell<usize>,
    is_sender_done: Cell<bool>,
    sender_done: Notify,
}

/// Sends batches over one connection until the run is over, then waits for what is outstanding. `acknowledged` hears of
/// each batch's partition and records.
///
/// # Errors
/// The connection broke. A batch that the broker refuses is a finding of the run, not an error.
pub async fn produce_lane(
    run: Rc<Run>,
    (lane, mut wire): (Lane, Wire),
    settings: ProduceSettings,
    mut source: impl BatchSource,
    acknowledged: impl Fn(PartitionIndex, u64),
) -> Result<()> {
    let stamps = match settings.idempotence && settings.acks != 0 {
        true => Some(Stamps::new(wire.producer_id().await?)),
        false => None,
    };
    let slots = Slots {
        slots: RefCell::new(vec![None; lane.in_flight]),
        free: RefCell::new((0..lane.in_flight).rev().collect()),
        freed: Notify::new(),
        outstanding: Cell::new(0),
        is_sender_done: Cell::new(false),
        sender_done: Notify::new(),
    };
    let send = send_batches(&run, &lane, (settings, stamps.as_ref()), &mut source, &slots, wire.writer);
    let receive = receive_acks(&run, (settings, stamps.as_ref()), &slots, wire.reader, &acknowledged);
    tokio::try_join!(send, receive).with_context(|| format!("produce to {}", lane.address))?;
    Ok(())
}

async fn send_batches(
    run: &Run,
    lane: &Lane,
    (settings, stamps): (ProduceSettings, Option<&Stamps>),
    source: &mut impl BatchSource,
    slots: &Slots,
    mut writer: FrameWriter,
) -> Result<()> {
    let mut timer = Timer::new()?;
    let mut next_intended = run.start + settings.phase;
    let mut picks = Picks::new(settings.skew, &lane.partitions);
    loop {
        if settings.interval.is_some() {
            timer.wait_until(next_intended).await?;
        }
        while slots.free.borrow().is_empty() {
            slots.freed.notified().await;
        }
        let now = Instant::now();
        if run.is_over(now) {
            break;
        }
        let mut parts = Vec::new();
        let mut unanswered = Vec::new();
        for _ in 0..GATHER_MAX {
            let intended = if settings.interval.is_some() { next_intended } else { now };
            if intended > now {
                break;
            }
            let Some(slot) = slots.free.borrow_mut().pop() else { break };
            let records_per_batch = source.records_per_batch();
            let records = run.take(records_per_batch * settings.batches_per_request as u64);
            if records == 0 {
                slots.free.borrow_mut().push(slot);
                break;
            }
            next_intended += settings.interval.unwrap_or_default();
            let mut partitions = Vec::with_capacity(settings.batches_per_request);
            let mut left = records;
            while left > 0 {
                let (partition, of_batch) = (picks.next(), left.min(records_per_batch));
                left -= of_batch;
                let mut batch = source.batch(partition, of_batch, intended)?;
                if let Some(stamps) = stamps {
                    batch = stamps.stamped(partition, of_batch, &batch);
                }
                partitions.push(ProducePartition { topic_id: settings.topic_id, partition, batch });
            }
            let request =
                ProduceRequest { acks: settings.acks, timeout_ms: REQUEST_TIMEOUT_MS, timings: false, partitions };
            slots.slots.borrow_mut()[slot] = Some(Slot { intended, records, records_per_batch });
            slots.outstanding.set(slots.outstanding.get() + 1);
            parts.extend(request.encode_parts(CorrelationId(slot as u64)));
            unanswered.push(slot);
        }
        writer.send(parts).await?;
        if settings.acks == 0 {
            let now = Instant::now();
            for slot in unanswered {
                let sent = slots.complete(slot).expect("just taken");
                run.done(now, now - sent.intended, sent.records, sent.records * settings.record_bytes as u64);
            }
            // Nothing is waited for, so nothing else would let the other tasks run.
            tokio::task::yield_now().await;
        }
    }
    slots.is_sender_done.set(true);
    slots.sender_done.notify_one();
    Ok(())
}

async fn receive_acks(
    run: &Run,
    (settings, stamps): (ProduceSettings, Option<&Stamps>),
    slots: &Slots,
    mut reader: FrameReader,
    acknowledged: &impl Fn(PartitionIndex, u64),
) -> Result<()> {
    while !(slots.is_sender_done.get() && slots.outstanding.get() == 0) {
        let frame = tokio::select! {
            biased;
            frame = reader.next() => frame?,
            () = slots.sender_done.notified() => continue,
        };
        let Some((header, body)) = frame else {
            bail!("the broker closed the connection with {} requests outstanding", slots.outstanding.get());
        };
        let now = Instant::now();
        if header.api != Api::Produce {
            bail!("the broker answered {:?} to a produce request", header.api);
        }
        let slot = usize::try_from(header.correlation.0).ok().and_then(|slot| slots.complete(slot));
        let Some(sent) = slot else { bail!("the broker answered request {} twice", header.correlation) };
        slots.freed.notify_one();
        if let Err(error) = check_whole(&header, &body) {
            run.fail(sent.records, || error.to_string());
            continue;
        }
        let reply = ProduceReply::decode(&body)?;
        let batches = sent.records.div_ceil(sent.records_per_batch);
        if reply.partitions.len() as u64 != batches {
            bail!("the broker answered {} batches to a request of {batches}", reply.partitions.len());
        }
        let (mut left, mut done) = (sent.records, 0);
        for result in &reply.partitions {
            let records = left.min(sent.records_per_batch);
            left -= records;
            if result.error == ErrorCode::None {
                acknowledged(result.partition, records);
                done += records;
            } else {
                if let Some(stamps) = stamps {
                    stamps.begin_again(result.partition);
                }
                run.fail(records, || format!("partition {}: {}", result.partition, result.error));
            }
        }
        if done > 0 {
            run.done(now, now - sent.intended, done, done * settings.record_bytes as u64);
        }
    }
    Ok(())
}

/// What one connection stamps its batches with: its number, and epoch and next sequence of each partition.
#[derive(Debug)]
struct Stamps {
    id: ProducerId,
    next: RefCell<HashMap<PartitionIndex, (ProducerEpoch, Sequence)>>,
}

impl Stamps {
    fn new(id: ProducerId) -> Stamps {
        Stamps { id, next: RefCell::default() }
    }

    fn stamped(&self, partition: PartitionIndex, records: u64, batch: &[u8]) -> Bytes {
        let mut next = self.next.borrow_mut();
        let (epoch, sequence) = next.entry(partition).or_default();
        let stamp = ProducerStamp { id: self.id, epoch: *epoch, base_sequence: *sequence };
        *sequence = sequence.after(u32::try_from(records).unwrap_or(u32::MAX));
        let mut batch = batch.to_vec();
        restamp(&mut batch, stamp);
        Bytes::from(batch)
    }

    /// A batch was refused and is not sent again: what follows it begins anew.
    fn begin_again(&self, partition: PartitionIndex) {
        let mut next = self.next.borrow_mut();
        let (epoch, sequence) = next.entry(partition).or_default();
        (*epoch, *sequence) = (epoch.next().unwrap_or(*epoch), Sequence::ZERO);
    }
}

impl Slots {
    /// Frees a slot and gives back what it held; `None` if it held nothing.
    fn complete(&self, slot: usize) -> Option<Slot> {
        let sent = self.slots.borrow_mut().get_mut(slot)?.take()?;
        self.free.borrow_mut().push(slot);
        self.outstanding.set(self.outstanding.get() - 1);
        Some(sent)
    }
}

/// The interval between two requests of each of `lanes` lanes that together offer `rate` records a second, and the
/// phase of lane `index`.
pub fn pace(rate: Option<f64>, records_per_request: u64, lanes: usize, index: usize) -> (Option<Duration>, Duration) {
    let Some(rate) = rate else { return (None, Duration::ZERO) };
    let between_requests = records_per_request as f64 / rate;
    let interval = Duration::from_secs_f64((between_requests * lanes as f64).min(3600.0));
    (Some(interval), Duration::from_secs_f64((between_requests * index as f64).min(3600.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(records: Option<u64>, seconds: Option<f64>, warmup: f64) -> Run {
        Run::start(Limits { records, seconds, warmup, wraps: None }, Arc::new(Progress::default()))
    }

    #[test]
    fn a_budget_of_records_is_spent_exactly() {
        let run = run(Some(40), None, 0.0);
        assert_eq!((run.take(16), run.take(16), run.take(16), run.take(16)), (16, 16, 8, 0));
        assert!(run.is_over(Instant::now()));
    }

    #[test]
    fn what_comes_back_while_warming_up_does_not_count() {
        let run = run(None, Some(1.0), 3600.0);
        run.done(Instant::now(), Duration::from_micros(5), 16, 16_384);
        assert_eq!(run.finish().records, 0);
        let measure_from = run.measure_from.get().expect("the clock decides");
        run.done(measure_from + Duration::from_secs(1), Duration::from_micros(5), 16, 16_384);
        let findings = run.finish();
        assert_eq!((findings.records, findings.bytes, findings.latencies.count()), (16, 16_384, 16));
        assert!((findings.seconds - 1.0).abs() < 1e-6);
    }

    #[test]
    fn only_the_first_error_is_kept_in_words() {
        let run = run(None, None, 0.0);
        run.fail(2, || "first".to_string());
        run.fail(1, || "second".to_string());
        let findings = run.finish();
        assert_eq!((findings.errors, findings.first_error.as_deref()), (3, Some("first")));
    }

    #[test]
    fn lanes_share_the_rate_and_do_not_send_in_step() {
        let (interval, phase) = pace(Some(16_000.0), 16, 4, 3);
        assert_eq!((interval, phase), (Some(Duration::from_millis(4)), Duration::from_millis(3)));
        assert_eq!(pace(None, 16, 4, 3), (None, Duration::ZERO));
    }

    #[test]
    fn a_slot_is_completed_once() {
        let slots = Slots {
            slots: RefCell::new(vec![Some(Slot { intended: Instant::now(), records: 1, records_per_batch: 1 })]),
            free: RefCell::new(Vec::new()),
            freed: Notify::new(),
            outstanding: Cell::new(1),
            is_sender_done: Cell::new(false),
            sender_done: Notify::new(),
        };
        assert!(slots.complete(0).is_some());
        assert!(slots.complete(0).is_none() && slots.complete(7).is_none());
    }
}

//! What it costs that ten thousand members live. Owns the pace of their heartbeats and the measure of the broker's CPU.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ouzel_bench::embedded::Embedded;

use super::GROUPS;
use super::connection::on_threads;

const MEMBERS: usize = 10;
/// Threads of members, each with one member, and its connection, of every group in its part.
const THREADS: usize = 100;
const INTERVAL: Duration = Duration::from_secs(3);
const ROUNDS: u32 = 5;

/// The groups in which a thread has a member.
fn groups_of(number: usize) -> impl Iterator<Item = usize> {
    let part = THREADS / MEMBERS;
    (number % part..GROUPS).step_by(part)
}

/// A member of one group, of either kind.
pub(super) trait Member: Sized {
    /// One that is connected and no more.
    fn open(address: &str, group: usize) -> Result<Self>;

    /// All of one thread join, while those of others do.
    fn join(members: &mut [Self]) -> Result<()>;

    /// One heartbeat, and that it was heard.
    fn beat(&mut self) -> Result<()>;
}

/// Where threads wait for each other; a failure of one ends all.
struct Together {
    barrier: Barrier,
    has_failed: AtomicBool,
}

impl Together {
    fn wait<T>(&self, outcome: Result<T>) -> Result<T> {
        self.has_failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
        self.barrier.wait();
        let value = outcome?;
        ensure!(!self.has_failed.load(Ordering::Relaxed), "another member failed");
        Ok(value)
    }
}

/// CPU of the broker as a share of one core, and microseconds of it a heartbeat.
pub(super) fn cost<M: Member>(broker: &Embedded) -> Result<(f64, f64)> {
    let together = Together { barrier: Barrier::new(THREADS), has_failed: AtomicBool::new(false) };
    let usages = on_threads(THREADS, broker.kafka(), |number, _| {
        let opened = groups_of(number).map(|group| M::open(broker.kafka(), group)).collect();
        let mut members: Vec<M> = together.wait(opened)?;
        together.wait(M::join(&mut members))?;
        let (begun, before) = (Instant::now(), broker.usage()?.cpu_s);
        let every = INTERVAL / u32::try_from(members.len())?;
        let first = begun + every.mul_f64(number as f64 / THREADS as f64);
        together.wait(live(&mut members, first, every))?;
        Ok((broker.usage()?.cpu_s - before, begun.elapsed().as_secs_f64()))
    })?;
    let (cpu_s, wall_s) = usages.into_iter().next().context("there is a first connection")?;
    let count = (GROUPS * MEMBERS) as f64 * f64::from(ROUNDS);
    Ok((cpu_s / wall_s, cpu_s / count * 1e6))
}

fn live<M: Member>(members: &mut [M], first: Instant, every: Duration) -> Result<()> {
    let mut due = first;
    for _ in 0..ROUNDS {
        for member in &mut *members {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += every;
            member.beat()?;
        }
    }
    Ok(())
}

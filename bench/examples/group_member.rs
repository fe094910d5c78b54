//! Members of groups that are played and judged by ci/groups: each owns partitions, reads them, commits, and says so in its ledger.
//! Owns the translation between that ledger and [`GroupConsumer`]; what the lines mean is said in ci/groups.d/member.py.
//!
//! `group_member BOOTSTRAP`: a process holds any number of members, each with a connection of its own, and is driven by one object
//! of JSON a line on stdin; its end is the end of all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use ouzel_client::{
    Calling, Client, ClientConfig, ConsumedRecord, ConsumerConfig, GroupConsumer, GroupConsumerConfig, Offset,
    OffsetCommitter, OutOfRange, RebalanceListener, Subscription, TopicPartition,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// For so long what was read is not told, at most.
const TELL: Duration = Duration::from_millis(100);
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Command {
    Start(Settings),
    Close { name: String },
}

#[derive(Deserialize)]
struct Settings {
    name: String,
    group: String,
    #[serde(default)]
    topics: Vec<String>,
    pattern: Option<String>,
    commit_ms: u64,
    instance: Option<String>,
}

/// A member's own view of what it owns and how far it came.
struct Ledger {
    name: String,
    owned: BTreeSet<TopicPartition>,
    /// First and last offset of what was read and not told yet.
    untold: BTreeMap<TopicPartition, (u64, u64)>,
    /// The next record.
    positions: HashMap<TopicPartition, Offset>,
    acknowledged: HashMap<TopicPartition, Offset>,
}

/// Partitions as the ledger spells them, with something of each.
fn spelled<T: Serialize>(each: impl IntoIterator<Item = (TopicPartition, T)>) -> BTreeMap<String, T> {
    each.into_iter().map(|(at, what)| (format!("{}/{}", at.topic, at.partition.0), what)).collect()
}

impl Ledger {
    fn new(name: &str) -> Ledger {
        Ledger {
            name: name.to_owned(),
            owned: BTreeSet::new(),
            untold: BTreeMap::new(),
            positions: HashMap::new(),
            acknowledged: HashMap::new(),
        }
    }

    fn say(&self, event: &str, mut facts: Value) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        facts["m"] = json!(self.name);
        facts["t"] = json!(now.tv_sec * 1_000_000_000 + now.tv_nsec);
        facts["e"] = json!(event);
        let line = format!("{facts}\n");
        // Whoever reads the ledger is gone: nobody is left to play for.
        if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
            std::process::exit(0);
        }
    }

    /// A record was processed. A gap within what was read is told as it is: two ranges.
    fn record(&mut self, record: &ConsumedRecord) {
        let at = TopicPartition { topic: Arc::clone(&record.topic), partition: record.partition };
        let offset = record.offset.0;
        if self.untold.get(&at).is_some_and(|(_, last)| *last + 1 != offset) {
            self.flush();
        }
        self.untold.entry(at.clone()).or_insert((offset, offset)).1 = offset;
        self.positions.insert(at, Offset(offset + 1));
    }

    fn flush(&mut self) {
        let untold = std::mem::take(&mut self.untold);
        if !untold.is_empty() {
            self.say("read", json!({ "at": spelled(untold) }));
        }
    }

    fn owns(&mut self, change: impl FnOnce(&mut BTreeSet<TopicPartition>)) {
        self.flush();
        change(&mut self.owned);
        self.positions.retain(|at, _| self.owned.contains(at));
        self.acknowledged.retain(|at, _| self.owned.contains(at));
        let places: Vec<_> = spelled(self.owned.iter().map(|at| (at.clone(), ()))).into_keys().collect();
        self.say("owns", json!({ "at": places }));
    }

    /// What there is to commit: nothing that has not been told as read, and nothing twice.
    fn uncommitted(&mut self, is_asked: impl Fn(&TopicPartition) -> bool) -> Vec<(TopicPartition, Offset)> {
        self.flush();
        let is_new = |at: &TopicPartition, offset| self.acknowledged.get(at) != Some(&offset);
        let asked = self.positions.iter().filter(|(at, offset)| is_asked(at) && is_new(at, **offset));
        asked.map(|(at, offset)| (at.clone(), *offset)).collect()
    }
}

/// A member's ledger, which its listener writes as well.
#[derive(Clone)]
struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit(&self, committer: &OffsetCommitter, is_asked: impl Fn(&TopicPartition) -> bool) {
        let offsets = self.ledger().uncommitted(is_asked);
        if offsets.is_empty() {
            return;
        }
        let outcome = committer.commit(&offsets).await;
        let mut ledger = self.ledger();
        match outcome {
            Ok(()) => {
                ledger.acknowledged.extend(offsets.iter().cloned());
                let at = spelled(offsets.into_iter().map(|(at, offset)| (at, offset.0)));
                ledger.say("acked", json!({ "at": at }));
            }
            Err(error) => ledger.say("refused", json!({ "why": error.to_string() })),
        }
    }
}

impl RebalanceListener for Shared {
    fn assigned<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Calling<'a> {
        self.ledger().owns(|owned| owned.extend(partitions.iter().cloned()));
        Box::pin(std::future::ready(()))
    }

    fn revoked<'a>(&'a mut self, partitions: &'a [TopicPartition], offsets: &'a OffsetCommitter) -> Calling<'a> {
        Box::pin(async move {
            self.commit(offsets, |at| partitions.contains(at)).await;
            self.ledger().owns(|owned| owned.retain(|at| !partitions.contains(at)));
        })
    }

    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Calling<'a> {
        self.ledger().owns(|owned| owned.retain(|at| !partitions.contains(at)));
        Box::pin(std::future::ready(()))
    }
}

fn configuration(settings: &Settings) -> GroupConsumerConfig {
    let subscription = match &settings.pattern {
        Some(pattern) => Subscription::pattern(pattern),
        None => Subscription::topics(&settings.topics),
    };
    GroupConsumerConfig {
        instance_id: settings.instance.clone(),
        auto_commit_interval: None,
        offset_reset: OutOfRange::Earliest,
        fetch: ConsumerConfig { fetch_wait: FETCH_WAIT, ..ConsumerConfig::default() },
        ..GroupConsumerConfig::new(&settings.group, subscription)
    }
}

async fn read(
    mut consumer: GroupConsumer,
    shared: &Shared,
    every: Duration,
    mut closing: oneshot::Receiver<()>,
) -> Result<()> {
    let mut commit_at = Instant::now() + every;
    let mut tell_at = Instant::now() + TELL;
    loop {
        tokio::select! {
            biased;
            _ = &mut closing => break,
            () = sleep_until(commit_at) => {
                shared.commit(&consumer.committer(), |_| true).await;
                commit_at = Instant::now() + every;
            }
            () = sleep_until(tell_at) => {
                shared.ledger().flush();
                tell_at = Instant::now() + TELL;
            }
            record = consumer.recv() => shared.ledger().record(&record?),
        }
    }
    Ok(consumer.close().await?)
}

async fn play(bootstrap: String, settings: Settings, closing: oneshot::Receiver<()>) {
    let shared = Shared(Arc::new(Mutex::new(Ledger::new(&settings.name))));
    let played = async {
        let config = ClientConfig { name: settings.name.clone(), ..ClientConfig::default() };
        let client = Client::connect(bootstrap, config).await?;
        let mut consumer = client.group_consumer(configuration(&settings))?;
        consumer.set_listener(shared.clone());
        read(consumer, &shared, Duration::from_millis(settings.commit_ms), closing).await
    };
    match played.await {
        Ok(()) => shared.ledger().say("closed", json!({})),
        Err(error) => shared.ledger().say("failed", json!({ "why": format!("{error:#}") })),
    }
}

fn main() -> Result<()> {
    let bootstrap = std::env::args().nth(1).context("usage: group_member BOOTSTRAP")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut closing = HashMap::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        match serde_json::from_str(&line).with_context(|| line.clone())? {
            Command::Start(settings) => {
                let (close, is_closing) = oneshot::channel();
                closing.insert(settings.name.clone(), close);
                runtime.spawn(play(bootstrap.clone(), settings, is_closing));
            }
            Command::Close { name } => drop(closing.remove(&name)),
        }
    }
    // As everywhere in ci/groups, the members end without a word.
    std::process::exit(0);
}

//! Members of groups whose broker assigns (KIP-848): they join, live, and give back what they are to. Owns what such a client does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ouzel_bench::embedded::Embedded;
use ouzel_protocol::TopicId;
use ouzel_protocol::kafka::{
    ApiKey, ConsumerGroupHeartbeatReply, ConsumerGroupHeartbeatRequest, KafkaError, MemberTopic,
};

use super::connection::{Connection, PATIENCE, on_threads};
use super::heartbeats;
use super::{NARROW_TOPIC, PARTITIONS, TOPIC};

const VERSION: i16 = 1;
/// Members of the group that another one joins.
const SETTLED: usize = 100;

/// A member of one group that reads one topic.
pub(super) struct Member {
    connection: Connection,
    group: String,
    topic: &'static str,
    member_id: String,
    epoch: i32,
    topic_id: TopicId,
    owned: Vec<i32>,
    /// What it owns is not what it last said.
    has_news: bool,
    interval: Duration,
}

impl Member {
    fn new(address: &str, group: String, topic: &'static str) -> Result<Member> {
        let (connection, member_id) = (Connection::open(address)?, format!("{:032x}", rand::random::<u128>()));
        let (topic_id, interval) = (TopicId(0), Duration::ZERO);
        Ok(Member {
            connection,
            group,
            topic,
            member_id,
            epoch: 0,
            topic_id,
            owned: Vec::new(),
            has_news: true,
            interval,
        })
    }

    /// One heartbeat; what it is told to give back it gives back at once.
    fn speak(&mut self) -> Result<()> {
        let joins = self.epoch == 0;
        let partitions = self.owned.iter().copied().collect();
        let owned = MemberTopic { topic_id: self.topic_id, partitions };
        let owned = (!self.owned.is_empty()).then_some(owned);
        let asked = ConsumerGroupHeartbeatRequest {
            group_id: &self.group,
            member_id: &self.member_id,
            member_epoch: self.epoch,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            subscribed_topic_names: joins.then(|| [self.topic].into_iter().collect()),
            topic_partitions: self.has_news.then(|| owned.into_iter().collect()),
            ..Default::default()
        };
        self.connection.send(VERSION, &asked)?;
        self.connection.receive()?;
        let reply: ConsumerGroupHeartbeatReply<'_> = self.connection.reply(ApiKey::ConsumerGroupHeartbeat, VERSION)?;
        ensure!(reply.error_code == KafkaError::NONE, "{:?} {:?}", reply.error_code, reply.error_message);
        self.has_news = false;
        self.epoch = reply.member_epoch;
        self.interval = Duration::from_millis(u64::try_from(reply.heartbeat_interval_ms)?);
        if let Some(assignment) = reply.assignment {
            let topic = assignment.topic_partitions.iter().next();
            let partitions: Vec<i32> = topic.iter().flat_map(|topic| topic.partitions.iter()).collect();
            self.topic_id = topic.map_or(self.topic_id, |topic| topic.topic_id);
            self.has_news = partitions != self.owned;
            self.owned = partitions;
        }
        Ok(())
    }

    /// Until it has what it is to have, if that is free.
    fn settle(&mut self) -> Result<()> {
        self.speak()?;
        while self.has_news {
            self.speak()?;
        }
        Ok(())
    }
}

impl heartbeats::Member for Member {
    fn open(address: &str, group: usize) -> Result<Member> {
        Member::new(address, format!("consumer-{group}"), NARROW_TOPIC)
    }

    /// Each has one partition in the end.
    fn join(members: &mut [Member]) -> Result<()> {
        let limit = Instant::now() + PATIENCE;
        loop {
            for member in &mut *members {
                member.settle()?;
            }
            if members.iter().all(|member| member.owned.len() == 1) {
                return Ok(());
            }
            ensure!(Instant::now() < limit, "members of groups of ten do not have a partition each");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn beat(&mut self) -> Result<()> {
        self.settle()
    }
}

/// Milliseconds from when another member joins a group of a hundred until all have what they are to have. Members speak when the broker
/// asked them to, and at once when what they have has changed.
pub(super) fn join_to_settled(broker: &Embedded) -> Result<f64> {
    let counts: Vec<AtomicUsize> = (0..=SETTLED).map(|_| AtomicUsize::new(0)).collect();
    let is_over = AtomicBool::new(false);
    let partitions = usize::try_from(PARTITIONS)?;
    let are_shared = |members: usize| {
        let shares: Vec<usize> = counts[..members].iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let (least, most) = (shares.iter().min().copied().unwrap_or(0), shares.iter().max().copied().unwrap_or(0));
        shares.iter().sum::<usize>() == partitions && most - least <= 1
    };
    let until_shared = |members: usize| {
        let begun = Instant::now();
        while !are_shared(members) {
            if begun.elapsed() > PATIENCE || is_over.load(Ordering::Relaxed) {
                is_over.store(true, Ordering::Relaxed);
                bail!("a group of {members} does not settle");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let live = |number: usize| -> Result<Option<f64>> {
        let mut member = Member::new(broker.kafka(), "settled".to_owned(), TOPIC)?;
        while !is_over.load(Ordering::Relaxed) {
            member.settle()?;
            counts[number].store(member.owned.len(), Ordering::Relaxed);
            let until = Instant::now() + member.interval;
            while Instant::now() < until && !is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5).min(member.interval));
            }
        }
        Ok(None)
    };
    let outcomes = on_threads(SETTLED + 2, broker.kafka(), |number, _| match number {
        // It watches the others, and lets the last one in.
        0 => {
            let settled = until_shared(SETTLED).and_then(|_| {
                // Their heartbeats are as far apart as they will be.
                std::thread::sleep(Duration::from_secs(10));
                std::thread::scope(|scope| {
                    let last = scope.spawn(|| live(SETTLED));
                    let settled = until_shared(SETTLED + 1);
                    is_over.store(true, Ordering::Relaxed);
                    last.join().expect("no thread panics")?;
                    settled
                })
            });
            is_over.store(true, Ordering::Relaxed);
            settled.map(Some)
        }
        number if number <= SETTLED => live(number - 1),
        _ => Ok(None),
    })?;
    outcomes.into_iter().flatten().next().context("the watcher says how long it took")
}

//! Random schedules: members as clients are, with slow and lost messages, crashes, static restarts, changed subscriptions and topics, and
//! a coordinator that restarts from what was durable. Every failure prints its seed; `OUZEL_GROUP_SEED` runs one again.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::support::*;
use super::*;
use crate::group::error::GroupError;
use crate::group::partition_set::{PartitionSet, TopicPartition};

const SESSION_MS: u64 = 45_000;
/// Longer than a session, as Kafka's clients have it: who hears nothing for so long has given up before.
const REBALANCE_MS: u64 = 60_000;
const REQUEST_TIMEOUT_MS: u64 = 3_000;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A consumer as Kafka's clients behave.
#[derive(Debug)]
struct Client {
    number: u32,
    /// How often this consumer was started: with each start come a new member id and a new memory.
    starts: u32,
    instance: Option<String>,
    member_id: String,
    epoch: i32,
    /// What it reads from: what it believes to be its own.
    owned: PartitionSet,
    /// What it was last told to have.
    goal: PartitionSet,
    /// When it has given back what is not in its goal.
    revokes_at: Option<u64>,
    /// Until when the coordinator must have heard that: from then on another may have it, and all that this one has.
    revoked_until: Option<u64>,
    names: Vec<&'static str>,
    pattern: Option<&'static str>,
    is_full: bool,
    next_at: u64,
    /// The request that is on its way, and when it was sent.
    asking: Option<(u64, u64)>,
    heard_at: u64,
    is_alive: bool,
}

#[derive(Clone, Debug)]
struct Sent {
    client: usize,
    starts: u32,
    request: u64,
    member_id: String,
    epoch: i32,
    instance: Option<String>,
    owned: Option<PartitionSet>,
    subscription: Option<(Vec<&'static str>, Option<&'static str>)>,
}

enum Message {
    Request(Sent),
    Reply(Sent, Result<HeartbeatOutcome, GroupError>),
}

struct World {
    rng: SmallRng,
    scene: Scene,
    clients: Vec<Client>,
    /// By the time at which they arrive.
    messages: BTreeMap<(u64, u64), Message>,
    /// What the coordinator has done and is not durable: when it is, the records, and the reply.
    undurable: Vec<(u64, Vec<ConsumerRecord>, Option<Message>)>,
    sequence: u64,
    /// One of so many messages is lost; 0 for none.
    lost: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = SmallRng::seed_from_u64(seed);
        let count = |rng: &mut SmallRng| rng.random_range(1..8);
        let scene = Scene::new(&[("a", count(&mut rng)), ("b", count(&mut rng))]);
        let clients = (0..rng.random_range(1..6)).map(|number| Client::new(number, &mut rng)).collect();
        let lost = rng.random_range(0..2) * rng.random_range(3..30);
        World { rng, scene, clients, messages: BTreeMap::new(), undurable: Vec::new(), sequence: 0, lost }
    }

    fn send(&mut self, message: Message) {
        if self.lost > 0 && self.rng.random_ratio(1, self.lost) {
            return;
        }
        self.sequence += 1;
        // Of one client only one request is on its way, so that messages never overtake each other.
        let arrives = self.scene.now + self.rng.random_range(1..400);
        self.messages.insert((arrives, self.sequence), message);
    }

    /// Lets 50 ms pass.
    fn step(&mut self) {
        self.scene.now += 50;
        self.deliver();
        for index in 0..self.clients.len() {
            self.act(index);
        }
        let before = self.scene.records.len();
        self.scene.tick();
        self.keep(before, None);
        self.settle();
        self.check();
    }

    fn deliver(&mut self) {
        let later = self.messages.split_off(&(self.scene.now + 1, 0));
        for message in std::mem::replace(&mut self.messages, later).into_values() {
            match message {
                Message::Request(sent) => self.answer(sent),
                Message::Reply(sent, outcome) => self.hear(sent, outcome),
            }
        }
    }

    /// The coordinator hears a request.
    fn answer(&mut self, sent: Sent) {
        let before = self.scene.records.len();
        let names = sent.subscription.as_ref().map(|(names, _)| names.as_slice());
        let request = ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest {
            instance_id: sent.instance.as_deref(),
            rebalance_timeout_ms: if sent.subscription.is_some() { REBALANCE_MS as i32 } else { -1 },
            subscribed_topic_names: names.map(Into::into),
            subscribed_topic_regex: sent.subscription.as_ref().map(|(_, pattern)| pattern.unwrap_or_default()),
            topic_partitions: sent.owned.as_ref().map(rows),
            ..beat(&sent.member_id, sent.epoch)
        };
        let outcome = self.scene.hear(&request);
        self.keep(before, Some(Message::Reply(sent, outcome)));
    }

    /// Holds records and a reply back until they are durable, which comes in order.
    fn keep(&mut self, before: usize, reply: Option<Message>) {
        let records = self.scene.records.split_off(before);
        let last = self.undurable.last().map_or(0, |(at, ..)| *at);
        let at = last.max(self.scene.now + self.rng.random_range(0..150));
        self.undurable.push((at, records, reply));
    }

    fn settle(&mut self) {
        let durable = self.undurable.iter().take_while(|(at, ..)| *at <= self.scene.now).count();
        for (_, records, reply) in self.undurable.drain(..durable).collect::<Vec<_>>() {
            self.scene.records.extend(records);
            if let Some(reply) = reply {
                self.send(reply);
            }
        }
    }

    /// The coordinator ends and another starts from the log.
    fn restart(&mut self) {
        self.undurable.clear();
        let before = self.scene.records.len();
        self.scene.restart();
        self.keep(before, None);
    }

    /// A client hears a reply, unless it has given up on it.
    fn hear(&mut self, sent: Sent, outcome: Result<HeartbeatOutcome, GroupError>) {
        let now = self.scene.now;
        let slow = if self.rng.random_ratio(1, 12) { 80_000 } else { 6_000 };
        let delay = self.rng.random_range(0..slow);
        let client = &mut self.clients[sent.client];
        let Some((request, sent_at)) = client.asking else { return };
        if request != sent.request || client.starts != sent.starts || !client.is_alive {
            return;
        }
        client.asking = None;
        client.next_at = now + 3_000;
        match outcome {
            Ok(outcome) => {
                // It was asked to give back at some time since it was last heard.
                let asked_since = std::mem::replace(&mut client.heard_at, sent_at);
                // What has changed since that was sent is to be said still.
                let said_all = sent.owned.as_ref() == Some(&client.owned)
                    && sent.subscription == Some((client.names.clone(), client.pattern));
                client.is_full &= !said_all;
                client.epoch = outcome.epoch.0;
                if let Some(goal) = outcome.assignment {
                    client.goal = goal;
                    client.is_full |= client.owned != client.goal;
                }
                if client.owned.minus(&client.goal).is_empty() {
                    client.owned = client.goal.clone();
                    client.revokes_at = None;
                    if said_all {
                        client.revoked_until = None;
                    }
                } else if client.revokes_at.is_none() {
                    client.revokes_at = Some(now + delay);
                    client.revoked_until.get_or_insert(asked_since + REBALANCE_MS);
                }
            }
            Err(GroupError::UnreleasedInstance { .. }) => {}
            Err(GroupError::FencedMemberEpoch { .. } | GroupError::UnknownMember) => client.abandon(),
            // Another has its instance: it ends.
            Err(GroupError::FencedInstance) => client.is_alive = false,
            Err(error) => panic!("{error}"),
        }
    }

    /// What a client does of itself.
    fn act(&mut self, index: usize) {
        let now = self.scene.now;
        let client = &mut self.clients[index];
        if !client.is_alive {
            return;
        }
        let is_lost = now >= client.heard_at + SESSION_MS - 1_000;
        if client.revoked_until.is_some_and(|until| now >= until) {
            client.abandon();
        }
        if client.revokes_at.is_some_and(|at| now >= at) {
            client.owned = client.goal.clone();
            client.revokes_at = None;
            client.is_full = true;
            client.next_at = now;
        }
        if is_lost && client.epoch != 0 {
            client.abandon();
        }
        if client.asking.is_some_and(|(_, sent_at)| now >= sent_at + REQUEST_TIMEOUT_MS) {
            client.asking = None;
            client.is_full = true;
            client.next_at = now;
        }
        if client.asking.is_none() && now >= client.next_at {
            self.sequence += 1;
            let sent = client.request(index, self.sequence);
            if client.epoch == 0 {
                client.heard_at = now;
            }
            client.asking = Some((self.sequence, now));
            self.send(Message::Request(sent));
        }
    }

    /// Something goes wrong, or somebody wants something else.
    fn disturb(&mut self) {
        let index = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..12) {
            0 => self.restart(),
            1 => self.clients[index].is_alive = false,
            2 | 3 => self.leave(index),
            4 | 5 => {
                let client = &mut self.clients[index];
                if !client.is_alive {
                    client.start(self.scene.now);
                }
            }
            6 => {
                let (names, pattern) = wish(&mut self.rng);
                let client = &mut self.clients[index];
                client.names = names;
                client.pattern = pattern;
                client.is_full = true;
            }
            7 => {
                let name = NAMES[self.rng.random_range(0..3)];
                let count = self.scene.topics.topics.get(name).map_or(0, |view| view.partition_count);
                self.scene.topics.set(name, count + self.rng.random_range(1..4));
            }
            8 => self.scene.topics.delete(NAMES[self.rng.random_range(0..3)]),
            9 if self.clients.len() < 7 => {
                let number = self.clients.len() as u32;
                let mut client = Client::new(number, &mut self.rng);
                client.heard_at = self.scene.now;
                self.clients.push(client);
            }
            _ => {}
        }
    }

    /// A client says good-bye, a static one for a while.
    fn leave(&mut self, index: usize) {
        self.sequence += 1;
        let client = &mut self.clients[index];
        if !client.is_alive || client.epoch == 0 || client.asking.is_some() {
            return;
        }
        let epoch = if client.instance.is_some() { -2 } else { -1 };
        let sent = Sent { epoch, owned: None, subscription: None, ..client.request(index, self.sequence) };
        client.is_alive = false;
        self.send(Message::Request(sent));
    }

    /// No partition is read by two that have both reason to believe that it is their own.
    fn check(&self) {
        let mut readers: BTreeMap<TopicPartition, u32> = BTreeMap::new();
        for client in self.clients.iter().filter(|client| client.is_alive) {
            for partition in client.owned.iter() {
                if let Some(other) = readers.insert(partition, client.number) {
                    panic!("{other} and {} both read {partition:?}: {:#?}", client.number, self.clients);
                }
            }
        }
    }

    /// Everybody that is alive has its part, and together they have everything.
    fn check_settled(&self) {
        let alive: Vec<_> = self.clients.iter().filter(|client| client.is_alive).collect();
        let group = &self.scene.group;
        assert_eq!(group.member_count(), alive.len());
        let expected = if alive.is_empty() { ConsumerGroupPhase::Empty } else { ConsumerGroupPhase::Stable };
        assert_eq!(group.phase(), expected, "{group:#?}");
        let mut all = Vec::new();
        for client in &alive {
            assert_eq!(client.owned, self.scene.assigned(&client.member_id), "{client:?}");
            all.extend(client.owned.iter());
            let reads = |name: &str| client.names.contains(&name) || client.pattern.is_some_and(|_| name != "c");
            let ids = self.scene.topics.topics.iter().filter(|(name, _)| reads(name)).map(|(_, view)| view.topic_id);
            let ids: Vec<_> = ids.collect();
            assert!(client.owned.iter().all(|partition| ids.contains(&partition.topic_id)), "{client:?}");
        }
        let is_read = |name: &str| {
            alive.iter().any(|client| client.names.contains(&name) || client.pattern.is_some_and(|_| name != "c"))
        };
        let read = self.scene.topics.topics.iter().filter(|(name, _)| is_read(name));
        assert_eq!(all.len(), read.map(|(_, view)| view.partition_count as usize).sum::<usize>());
    }

    /// The group's epochs, as they became durable, never go back.
    fn check_epochs(&self) {
        let (mut group, mut target) = (Generation(0), Generation(0));
        for record in &self.scene.records {
            match record {
                ConsumerRecord::Group(Some(stored)) => {
                    assert!(stored.epoch >= group);
                    group = stored.epoch;
                }
                ConsumerRecord::TargetEpoch(Some(epoch)) => {
                    assert!(*epoch >= target);
                    target = *epoch;
                }
                _ => {}
            }
        }
    }
}

/// What a client may read: some names, or a pattern of all but the last.
fn wish(rng: &mut SmallRng) -> (Vec<&'static str>, Option<&'static str>) {
    if rng.random_ratio(1, 5) {
        return (Vec::new(), Some("[ab]"));
    }
    let names: Vec<_> = NAMES.into_iter().filter(|_| rng.random_bool(0.6)).collect();
    (if names.is_empty() { vec!["a"] } else { names }, None)
}

impl Client {
    fn new(number: u32, rng: &mut SmallRng) -> Client {
        let (names, pattern) = wish(rng);
        let instance = rng.random_bool(0.4).then(|| format!("instance-{number}"));
        let mut client = Client {
            number,
            starts: 0,
            instance,
            member_id: String::new(),
            epoch: 0,
            owned: PartitionSet::default(),
            goal: PartitionSet::default(),
            revokes_at: None,
            revoked_until: None,
            names,
            pattern,
            is_full: true,
            next_at: 0,
            asking: None,
            heard_at: 0,
            is_alive: false,
        };
        client.start(0);
        client
    }

    /// Starts anew, with nothing but its name.
    fn start(&mut self, now: u64) {
        self.starts += 1;
        self.member_id = format!("member-{}-{}", self.number, self.starts);
        self.abandon();
        self.asking = None;
        self.next_at = now;
        self.heard_at = now;
        self.is_alive = true;
    }

    /// Reads nothing any more, and joins again.
    fn abandon(&mut self) {
        self.epoch = 0;
        self.owned = PartitionSet::default();
        self.goal = PartitionSet::default();
        self.revokes_at = None;
        self.revoked_until = None;
        self.is_full = true;
    }

    fn request(&self, client: usize, request: u64) -> Sent {
        let is_full = self.is_full || self.epoch == 0;
        Sent {
            client,
            starts: self.starts,
            request,
            member_id: self.member_id.clone(),
            epoch: self.epoch,
            instance: self.instance.clone(),
            owned: is_full.then(|| self.owned.clone()),
            subscription: is_full.then(|| (self.names.clone(), self.pattern)),
        }
    }
}

fn run(seed: u64) {
    println!("OUZEL_GROUP_SEED={seed}");
    let mut world = World::new(seed);
    for _ in 0..world.rng.random_range(20..2_000) {
        if world.rng.random_ratio(1, 60) {
            world.disturb();
        }
        world.step();
    }
    // Whatever has happened, in a quiet world everybody has its part after a session and a rebalance, a few times over.
    world.lost = 0;
    for _ in 0..(3 * (SESSION_MS + REBALANCE_MS) / 50) {
        world.step();
    }
    world.check_settled();
    world.check_epochs();
}

#[test]
fn random_schedules_never_give_a_partition_twice_and_settle() {
    if let Ok(seed) = std::env::var("OUZEL_GROUP_SEED") {
        return run(seed.parse().expect("a number"));
    }
    (0..400).for_each(run);
}

//! A shard as far as groups see one, and clients: effects wait in a queue until they are durable, and a crash loses what
//! is not. Clients do what Kafka's do with each answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ouzel_broker_core::group::{
    Caller, ClassicProtocol, CommitPartition, CommitTopic, Effects, Generation, GroupConfig, GroupCoordinator,
    GroupError, GroupKind, GroupRecord, JoinRequest, Leaving, Now, OffsetCommitRequest, Reply, SyncRequest, Waiter,
};
use ouzel_protocol::{Offset, PartitionIndex};
use rand::Rng;
use rand::rngs::SmallRng;

use super::{GROUP, at, subscription};

const PARTITIONS: u8 = 12;
const TOPIC: &str = "orders";

/// How often schedules came to what they are about.
#[derive(Clone, Debug, Default)]
pub struct Commanded {
    pub assignments: usize,
    pub commits: usize,
    pub fenced: usize,
    pub restarts: usize,
    pub lost_batches: usize,
    pub rebalances: usize,
}

impl Commanded {
    pub fn add(&mut self, other: &Self) {
        self.assignments += other.assignments;
        self.commits += other.commits;
        self.fenced += other.fenced;
        self.restarts += other.restarts;
        self.lost_batches += other.lost_batches;
        self.rebalances += other.rebalances;
    }

    pub fn is_varied(&self) -> bool {
        let counts = [self.assignments, self.commits, self.fenced, self.restarts, self.lost_batches, self.rebalances];
        counts.iter().all(|count| *count > 1_000)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Out,
    Waits,
    /// In a generation, and for the leader who is in it.
    Joined {
        members: Vec<String>,
    },
    Assigned,
}

#[derive(Clone, Debug)]
struct Client {
    instance_id: Option<String>,
    session_ms: i32,
    rebalance_ms: i32,
    version: i16,
    offer: usize,
    /// Raised by every crash: what was for an earlier life is nobody's.
    life: u32,
    member_id: String,
    generation: i32,
    place: Place,
    assigned: Vec<u8>,
    /// Its last offset, as it counts.
    consumed: u64,
}

#[derive(Clone, Debug)]
enum Asked {
    Join,
    Sync,
    Leave,
    Commit { partition: u8, offset: u64 },
}

/// One member that is gone and does not know it.
#[derive(Clone, Debug)]
struct Ghost {
    slot: usize,
    life: u32,
    member_id: String,
    generation: i32,
}

pub struct Shard {
    coordinator: GroupCoordinator,
    config: GroupConfig,
    now: Now,
    log: Vec<GroupRecord>,
    queue: VecDeque<Effects>,
    owed: BTreeMap<Waiter, (usize, u32, Asked)>,
    next_waiter: u64,
    drawn: u128,
    clients: Vec<Client>,
    ghosts: Vec<Ghost>,
    /// Who was given a partition, by generation.
    given: BTreeMap<(i32, u8), String>,
    /// What each member was assigned in a generation, by the instance or else the id.
    dealt: BTreeMap<(i32, String), Vec<u8>>,
    /// The last acknowledged offset of each partition.
    acknowledged: BTreeMap<u8, u64>,
    /// Lives of static members whose successors are in.
    replaced: BTreeSet<(usize, u32)>,
    last_generation: i32,
    pub done: Commanded,
}

/// Everybody has both: the log keeps the one that won, and who lacks that cannot join what was loaded.
fn offers(offer: usize) -> Vec<ClassicProtocol> {
    let names: &[&str] = [&["range", "sticky"][..], &["sticky", "range"], &["sticky", "range", "other"]][offer];
    let metadata: Arc<[u8]> = Arc::from(subscription(&[TOPIC]));
    names.iter().map(|name| ClassicProtocol { name: Arc::from(*name), metadata: Arc::clone(&metadata) }).collect()
}

impl Client {
    fn caller(&self) -> Caller<'_> {
        Caller {
            member_id: &self.member_id,
            instance_id: self.instance_id.as_deref(),
            generation: Generation(self.generation),
        }
    }

    /// What it does when it is told that it cannot go on.
    fn stumble(&mut self, error: &GroupError) {
        self.place = Place::Out;
        self.assigned.clear();
        match error {
            GroupError::RebalanceInProgress | GroupError::IllegalGeneration { .. } => {}
            _ => self.member_id.clear(),
        }
    }
}

impl Shard {
    pub fn new(rng: &mut SmallRng) -> Self {
        let config = GroupConfig {
            initial_rebalance_delay_ms: [0, 500, 3_000][rng.random_range(0..3)],
            ..GroupConfig::default()
        };
        let client_count = rng.random_range(1..6);
        let clients = (0..client_count).map(|slot| Client {
            instance_id: rng.random_bool(0.4).then(|| format!("instance-{slot}")),
            session_ms: rng.random_range(6_000..15_000),
            rebalance_ms: rng.random_range(4_000..30_000),
            version: rng.random_range(3..10),
            offer: rng.random_range(0..3),
            life: 0,
            member_id: String::new(),
            generation: -1,
            place: Place::Out,
            assigned: Vec::new(),
            consumed: 0,
        });
        let clients = clients.collect();
        let mut shard = Self {
            coordinator: GroupCoordinator::new(config),
            config,
            now: at(0),
            log: Vec::new(),
            queue: VecDeque::new(),
            owed: BTreeMap::new(),
            next_waiter: 0,
            drawn: 0,
            clients,
            ghosts: Vec::new(),
            given: BTreeMap::new(),
            dealt: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            replaced: BTreeSet::new(),
            last_generation: 0,
            done: Commanded::default(),
        };
        let effects = shard.coordinator.start(shard.now);
        shard.queue.push_back(effects);
        shard
    }

    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    pub fn is_static(&self, slot: usize) -> bool {
        self.clients[slot].instance_id.is_some()
    }

    pub fn state(&self) -> &'static str {
        self.coordinator.describe_classic(GROUP).map_or("Dead", |group| group.state)
    }

    pub fn generation(&self) -> i32 {
        self.coordinator.describe_classic(GROUP).map_or(0, |group| group.generation.0)
    }

    fn owe(&mut self, slot: usize, asked: Asked) -> Waiter {
        let waiter = Waiter(self.next_waiter);
        self.next_waiter += 1;
        self.owed.insert(waiter, (slot, self.clients[slot].life, asked));
        waiter
    }

    /// A client does the next thing that it would do.
    pub fn act(&mut self, slot: usize, commits: bool) {
        match self.clients[slot].place.clone() {
            Place::Out => self.join(slot),
            Place::Waits => {}
            Place::Joined { members } => self.sync(slot, &members),
            Place::Assigned if commits => self.commit(slot),
            Place::Assigned => {
                let client = &self.clients[slot];
                let (now, generation) = (self.now, self.coordinator_generation());
                let outcome = self.coordinator.heartbeat(now, GROUP, client.caller());
                let client = &mut self.clients[slot];
                match outcome {
                    Ok(()) => assert_eq!(client.generation, generation, "who goes on is of the group's generation"),
                    Err(error) => client.stumble(&error),
                }
            }
        }
    }

    fn coordinator_generation(&self) -> i32 {
        match self.coordinator.group(GROUP).map(|group| group.kind()) {
            Some(GroupKind::Classic(group)) => group.generation().0,
            #[allow(unreachable_patterns, reason = "there may be other kinds")]
            _ => -1,
        }
    }

    fn join(&mut self, slot: usize) {
        let waiter = self.owe(slot, Asked::Join);
        self.drawn += 1;
        let client = &mut self.clients[slot];
        client.place = Place::Waits;
        client.assigned.clear();
        let request = JoinRequest {
            member_id: &client.member_id,
            instance_id: client.instance_id.as_deref(),
            client_id: "client",
            client_host: "/127.0.0.1",
            session_timeout_ms: client.session_ms,
            rebalance_timeout_ms: client.rebalance_ms,
            protocol_type: "consumer",
            protocols: offers(client.offer),
            drawn: self.drawn,
            takes_id_first: client.version >= 4,
            skips_assignment: client.version >= 9,
        };
        let effects = self.coordinator.join(self.now, waiter, GROUP, request);
        self.queue.push_back(effects);
    }

    /// A leader deals the partitions out to those that it was told of.
    fn sync(&mut self, slot: usize, members: &[String]) {
        let waiter = self.owe(slot, Asked::Sync);
        let client = &mut self.clients[slot];
        client.place = Place::Waits;
        let part = |at: usize| -> Arc<[u8]> {
            (0..PARTITIONS).filter(|partition| usize::from(*partition) % members.len() == at).collect()
        };
        let assignments = members.iter().enumerate().map(|(at, member_id)| (member_id.as_str(), part(at))).collect();
        let request =
            SyncRequest { caller: client.caller(), protocol_type: Some("consumer"), protocol: None, assignments };
        let effects = self.coordinator.sync(self.now, waiter, GROUP, request);
        self.queue.push_back(effects);
    }

    fn commit(&mut self, slot: usize) {
        let Some(partition) = self.clients[slot].assigned.first().copied() else { return };
        self.clients[slot].assigned.rotate_left(1);
        // Offsets of a partition rise with time, whoever commits them.
        let offset = self.now.monotonic.0 + self.next_waiter;
        self.clients[slot].consumed = offset;
        let waiter = self.owe(slot, Asked::Commit { partition, offset });
        let effects =
            send_commit(&mut self.coordinator, self.now, waiter, self.clients[slot].caller(), partition, offset);
        self.queue.push_back(effects);
    }

    /// A client is gone without a word; its process comes back, and what it was may still speak.
    pub fn crash(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        if !client.member_id.is_empty() {
            let (life, member_id) = (client.life, client.member_id.clone());
            self.ghosts.push(Ghost { slot, life, member_id, generation: client.generation });
        }
        client.life += 1;
        client.member_id.clear();
        client.generation = -1;
        client.place = Place::Out;
        client.assigned.clear();
    }

    /// A member that is gone speaks. One that was replaced must not be heard.
    pub fn act_as_ghost(&mut self, which: usize) {
        if self.ghosts.is_empty() {
            return;
        }
        let ghost = self.ghosts[which % self.ghosts.len()].clone();
        let instance_id = self.clients[ghost.slot].instance_id.clone();
        let caller = Caller {
            member_id: &ghost.member_id,
            instance_id: instance_id.as_deref(),
            generation: Generation(ghost.generation),
        };
        let outcome = self.coordinator.heartbeat(self.now, GROUP, caller);
        if self.replaced.contains(&(ghost.slot, ghost.life)) {
            let is_refused = matches!(outcome, Err(GroupError::FencedInstance | GroupError::UnknownMember));
            assert!(is_refused, "{ghost:?} was replaced and is heard: {outcome:?}");
            self.done.fenced += 1;
        }
    }

    pub fn leave(&mut self, slot: usize) {
        if self.clients[slot].member_id.is_empty() || self.clients[slot].place == Place::Waits {
            return;
        }
        let waiter = self.owe(slot, Asked::Leave);
        let client = &mut self.clients[slot];
        let leaving = Leaving { member_id: &client.member_id, instance_id: client.instance_id.as_deref() };
        let effects = self.coordinator.leave(self.now, waiter, GROUP, &[leaving]);
        self.queue.push_back(effects);
        self.clients[slot].stumble(&GroupError::UnknownMember);
    }

    /// A client has other protocols from now on, and joins again to say so.
    pub fn change(&mut self, slot: usize, offer: usize) {
        if self.clients[slot].place == Place::Assigned {
            self.clients[slot].offer = offer;
            self.join(slot);
        }
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.now.monotonic.0 + ms;
        let mut ticks = 0;
        while self.coordinator.next_deadline().0 <= end {
            self.now = at(self.coordinator.next_deadline().0.max(self.now.monotonic.0));
            let effects = self.coordinator.tick(self.now);
            self.queue.push_back(effects);
            ticks += 1;
            assert!(ticks < 10_000, "ticks come to an end");
        }
        self.now = at(end);
    }

    /// The oldest batches become durable, and their replies go out.
    pub fn flush(&mut self, batches: usize) {
        for _ in 0..batches {
            let Some(effects) = self.queue.pop_front() else { return };
            self.log.extend(effects.records);
            for (waiter, reply) in effects.replies {
                self.deliver(waiter, reply);
            }
        }
    }

    fn deliver(&mut self, waiter: Waiter, reply: Reply) {
        let (slot, life, asked) = self.owed.remove(&waiter).expect("a waiter is answered once");
        let is_present = self.clients[slot].life == life;
        match (asked, reply) {
            (Asked::Join, Reply::Join(outcome)) if is_present => {
                let client = &mut self.clients[slot];
                match outcome {
                    Ok(outcome) => {
                        client.member_id = outcome.member_id.to_string();
                        client.generation = outcome.generation.0;
                        let is_leader = outcome.leader == outcome.member_id && !outcome.skip_assignment;
                        let members = outcome.members.iter().filter(|_| is_leader);
                        let members = members.map(|member| member.member_id.to_string()).collect();
                        client.place = Place::Joined { members };
                        self.replaced
                            .extend((0..life).map(|earlier| (slot, earlier)).filter(|_| client.instance_id.is_some()));
                    }
                    Err(refusal) => {
                        client.stumble(&refusal.error);
                        if refusal.error == GroupError::MemberIdRequired {
                            client.member_id = refusal.member_id.expect("an id is given").to_string();
                        }
                    }
                }
            }
            (Asked::Sync, Reply::Sync(outcome)) => {
                if let Ok(outcome) = &outcome {
                    // Even one that has crashed since may act on what it is told.
                    self.check_given(slot, life, &outcome.assignment);
                }
                let client = &mut self.clients[slot];
                match outcome {
                    _ if !is_present => {}
                    Ok(outcome) => {
                        client.assigned = outcome.assignment.to_vec();
                        client.place = Place::Assigned;
                    }
                    Err(error) => client.stumble(&error),
                }
            }
            (Asked::Commit { partition, offset }, Reply::OffsetCommit(outcome)) => match outcome {
                Ok(rows) => {
                    assert_eq!(rows[0].partitions[0].outcome, Ok(()));
                    let acknowledged = self.acknowledged.entry(partition).or_default();
                    assert!(*acknowledged < offset, "acknowledgements come in the order of commits");
                    *acknowledged = offset;
                    self.done.commits += 1;
                }
                Err(error) if is_present && self.clients[slot].place == Place::Assigned => {
                    self.clients[slot].stumble(&error);
                }
                Err(_) => {}
            },
            (Asked::Leave, Reply::Leave(_)) => {}
            (Asked::Join, Reply::Join(_)) => {}
            (asked, reply) => panic!("{asked:?} is answered by {reply:?}"),
        }
    }

    /// Nobody else was given a partition in this generation. A static member that comes back is the same one.
    fn check_given(&mut self, slot: usize, life: u32, assignment: &[u8]) {
        let client = &self.clients[slot];
        if client.life != life {
            return;
        }
        let who = client.instance_id.clone().unwrap_or_else(|| client.member_id.clone());
        for partition in assignment {
            let owner = self.given.entry((client.generation, *partition)).or_insert_with(|| who.clone());
            assert_eq!(owner, &who, "partition {partition} of generation {}", client.generation);
        }
        self.done.assignments += 1;
    }

    /// The process ends. Of what is not acknowledged `durable` batches reached the disk; requests are lost, and clients
    /// join again as who they are.
    pub fn restart(&mut self, durable: usize) {
        let reached = self.queue.len().min(durable);
        for effects in self.queue.drain(..reached) {
            self.log.extend(effects.records);
        }
        self.done.lost_batches += self.queue.iter().filter(|effects| !effects.records.is_empty()).count();
        self.queue.clear();
        for (slot, life, asked) in std::mem::take(&mut self.owed).into_values() {
            let client = &mut self.clients[slot];
            if client.life == life && matches!(asked, Asked::Join | Asked::Sync) && client.place == Place::Waits {
                client.place = Place::Out;
            }
        }
        self.coordinator = self.rebuilt();
        let effects = self.coordinator.start(self.now);
        self.queue.push_back(effects);
        self.last_generation = 0;
        // A generation that was not written is counted again.
        self.dealt.clear();
        // A replacement that joined, and whose generation was never written, is not known any more; Kafka's neither.
        self.replaced.clear();
        self.done.restarts += 1;
    }

    fn rebuilt(&self) -> GroupCoordinator {
        let mut coordinator = GroupCoordinator::new(self.config);
        for record in &self.log {
            coordinator.apply(record.clone()).expect("what a coordinator wrote can be read");
        }
        coordinator
    }

    pub fn check(&mut self) {
        self.coordinator.assert_invariants();
        let queued = self.queue.iter().flat_map(|effects| effects.replies.iter().map(|(waiter, _)| *waiter));
        let mut answered: Vec<Waiter> = queued.chain(self.coordinator.parked()).collect();
        answered.sort_unstable();
        assert!(
            answered.iter().eq(self.owed.keys()),
            "each waiter has one reply before it: {answered:?}, {:?}",
            self.owed
        );

        let generation = self.generation();
        assert!(generation >= self.last_generation, "generations never go back");
        self.done.rebalances += usize::from(generation > self.last_generation);
        self.last_generation = generation;

        self.check_untouched();
        for (partition, offset) in &self.acknowledged {
            let group = self.coordinator.group(GROUP).expect("a group with offsets stays");
            let commit = group.offsets().get(TOPIC, PartitionIndex(u32::from(*partition)));
            let found = commit.map_or(0, |commit| commit.offset.0);
            assert!(found >= *offset, "partition {partition}: {offset} was acknowledged, {found} is there");
        }
    }

    /// What a member was assigned stays its own for the whole generation, whoever restarts in it.
    fn check_untouched(&mut self) {
        let Some(group) = self.coordinator.describe_classic(GROUP).filter(|group| group.state == "Stable") else {
            return;
        };
        for member in group.members {
            let who = member.instance_id.as_ref().map_or_else(|| member.member_id.to_string(), |id| id.to_string());
            let dealt = self.dealt.entry((group.generation.0, who)).or_insert_with(|| member.assignment.to_vec());
            assert_eq!(dealt[..], member.assignment[..], "{} in generation {}", member.member_id, group.generation.0);
        }
    }

    /// Faults end: clients do what they should, each second, until all of them are in one generation with a part each.
    pub fn calm(&mut self, steps: usize) {
        for _ in 0..steps {
            for slot in 0..self.clients.len() {
                // Joins and syncs take a few round trips.
                for _ in 0..3 {
                    self.act(slot, false);
                    self.flush(usize::MAX);
                    self.check();
                }
            }
            if self.is_at_rest() {
                self.check_rest();
                return;
            }
            self.pass(1_000);
            self.flush(usize::MAX);
            self.check();
        }
        let places: Vec<_> = self.clients.iter().map(|client| (&client.member_id, &client.place)).collect();
        panic!("not everybody is in: {places:?} {:?}", self.coordinator.describe_classic(GROUP));
    }

    fn is_at_rest(&self) -> bool {
        let group = self.coordinator.describe_classic(GROUP);
        let is_whole = group.is_some_and(|group| group.state == "Stable" && group.members.len() == self.clients.len());
        is_whole && self.clients.iter().all(|client| client.place == Place::Assigned)
    }

    fn check_rest(&self) {
        let generation = self.generation();
        let mut dealt: Vec<u8> = Vec::new();
        for client in &self.clients {
            assert_eq!(client.generation, generation, "one generation");
            dealt.extend(&client.assigned);
        }
        dealt.sort_unstable();
        assert!(dealt.into_iter().eq(0..PARTITIONS), "every partition has one reader");
        let rebuilt = self.rebuilt();
        assert_eq!(
            rebuilt.describe_classic(GROUP),
            self.coordinator.describe_classic(GROUP),
            "the log tells of the group as it is"
        );
        let offsets = |coordinator: &GroupCoordinator| coordinator.group(GROUP).map(|group| group.offsets().clone());
        assert_eq!(offsets(&rebuilt), offsets(&self.coordinator), "and of its offsets");
    }
}

fn send_commit(
    coordinator: &mut GroupCoordinator,
    now: Now,
    waiter: Waiter,
    caller: Caller<'_>,
    partition: u8,
    offset: u64,
) -> Effects {
    let partition = CommitPartition {
        partition: PartitionIndex(u32::from(partition)),
        offset: Offset(offset),
        leader_epoch: None,
        metadata: "",
    };
    let topics = vec![CommitTopic { topic: TOPIC, topic_id: None, partitions: vec![partition] }];
    coordinator.commit_offsets(now, waiter, GROUP, OffsetCommitRequest { caller, retention_ms: None, topics })
}

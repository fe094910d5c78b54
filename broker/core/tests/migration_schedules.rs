//! Random schedules of groups with members of both protocols, which change their kind back and forth: replies that are lost, members that
//! come, leave and die, static ones that come back with either protocol, coordinators that restart from the log. Every failure prints its seed; `OUZEL_GROUP_SEED` runs one again.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ouzel_broker_core::group::{
    Caller, ConsumerGroupDescription, ConsumerMemberDescription, Effects, GroupError, HeartbeatCaller, JoinedMember,
    Reply, Waiter,
};
use ouzel_protocol::kafka::{
    Array, ConsumerGroupHeartbeatRequest, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
    ConsumerProtocolTopic, MemberTopic,
};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use support::orders::{ORDERS, Orders};
use support::snapshot::Snapshots;
use support::{GROUP, Joining, Scene, caller, hasty, subscription};

const PARTITIONS: i32 = 7;

type Owned = BTreeSet<i32>;

fn assignment(partitions: &Owned) -> Vec<u8> {
    let row = ConsumerProtocolTopic { topic: "orders", partitions: partitions.iter().copied().collect() };
    let mut bytes = Vec::new();
    ConsumerProtocolAssignment { assigned_partitions: [row].into(), user_data: None }.encode(1, &mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Owned {
    let (_, assignment) = ConsumerProtocolAssignment::decode(bytes).unwrap();
    assignment.assigned_partitions.iter().flat_map(|row| row.partitions.iter().collect::<Vec<_>>()).collect()
}

/// What a member of the classic protocol is about to do.
#[derive(Clone, Debug)]
enum Next {
    Join(Option<Waiter>),
    Sync(Option<Waiter>, Vec<(String, Vec<u8>)>),
    Heartbeat,
}

#[derive(Clone, Debug)]
struct Client {
    is_classic: bool,
    instance: Option<String>,
    member_id: String,
    epoch: i32,
    /// What it reads.
    owned: Owned,
    next: Next,
    is_alive: bool,
}

impl Client {
    /// Reads nothing any more, and joins as a new one.
    fn forget(&mut self, keeps_id: bool) {
        if !keeps_id {
            self.member_id.clear();
        }
        self.epoch = 0;
        self.owned.clear();
        self.next = Next::Join(None);
    }

    fn caller(&self) -> Caller<'_> {
        Caller { instance_id: self.instance.as_deref(), ..caller(&self.member_id, self.epoch) }
    }
}

struct World {
    rng: SmallRng,
    scene: Scene,
    clients: Vec<Client>,
    /// Whether members of the classic protocol keep what they have while they join (KIP-429).
    is_cooperative: bool,
    lost: bool,
    names: u32,
    has_restarted: bool,
    /// The group after the last event, while its broker assigned.
    seen: Option<ConsumerGroupDescription>,
    /// The group when its broker last assigned.
    last_seen: Option<ConsumerGroupDescription>,
    snapshots: Snapshots,
    /// Apart from the other, so that snapshots change no schedule.
    snapshot_rng: SmallRng,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut scene = Scene::new(hasty());
        scene.coordinator.set_topics(Arc::new(Orders(PARTITIONS as u32)));
        let is_cooperative = rng.random_bool(0.5);
        let snapshots = Snapshots::new(hasty(), Arc::new(Orders(PARTITIONS as u32)));
        let snapshot_rng = SmallRng::seed_from_u64(!seed);
        let (clients, seen, last_seen) = (Vec::new(), None, None);
        World {
            rng,
            scene,
            clients,
            is_cooperative,
            lost: true,
            names: 0,
            has_restarted: false,
            seen,
            last_seen,
            snapshots,
            snapshot_rng,
        }
    }

    fn add(&mut self) {
        self.names += 1;
        let instance = self.rng.random_bool(0.3).then(|| format!("instance-{}", self.names));
        let client = self.started(instance);
        self.clients.push(client);
    }

    /// A client that knows nothing but its instance.
    fn started(&mut self, instance: Option<String>) -> Client {
        self.names += 1;
        let is_classic = self.rng.random_bool(0.5);
        let member_id = if is_classic { String::new() } else { format!("new-{}", self.names) };
        Client {
            is_classic,
            instance,
            member_id,
            epoch: 0,
            owned: Owned::new(),
            next: Next::Join(None),
            is_alive: true,
        }
    }

    fn is_lost(&mut self) -> bool {
        self.lost && self.rng.random_ratio(1, 8)
    }

    /// Lets a second pass.
    fn step(&mut self) {
        self.scene.pass(1_000);
        let mut order: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].is_alive).collect();
        order.shuffle(&mut self.rng);
        for at in order {
            let mut client = self.clients[at].clone();
            if client.is_classic {
                self.act_classic(&mut client)
            } else {
                self.act(&mut client)
            }
            self.clients[at] = client;
            self.check();
            let (coordinator, log) = (&self.scene.coordinator, &self.scene.log);
            self.snapshots.step(&mut self.snapshot_rng, coordinator, log, self.scene.now);
        }
    }

    fn act(&mut self, client: &mut Client) {
        let waiter = self.scene.waiter();
        let row = MemberTopic { topic_id: ORDERS, partitions: client.owned.iter().copied().collect() };
        let owned = if client.owned.is_empty() { Array::EMPTY } else { [row].into() };
        let request = ConsumerGroupHeartbeatRequest {
            group_id: GROUP,
            member_id: &client.member_id,
            member_epoch: client.epoch,
            instance_id: client.instance.as_deref(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(["orders"].into()),
            topic_partitions: Some(owned),
            ..Default::default()
        };
        let outcome = self.hear(waiter, &request);
        if self.is_lost() {
            return;
        }
        match outcome {
            Ok(outcome) => {
                client.epoch = outcome.epoch.0;
                let told = outcome.assignment.expect("who says everything is told everything");
                let goal: Owned = told.iter().map(|partition| partition.partition.0 as i32).collect();
                // What is to be given back is, and the next heartbeat says so.
                let kept: Owned = client.owned.intersection(&goal).copied().collect();
                client.owned = if kept == client.owned { goal } else { kept };
            }
            Err(GroupError::FencedMemberEpoch { .. } | GroupError::UnknownMember) => client.forget(true),
            // The group has become a classic one without it.
            Err(GroupError::UnknownGroup) if client.epoch != 0 => client.forget(true),
            // The one before it, which has not left, is still to be taken for dead.
            Err(GroupError::UnreleasedInstance { .. }) if client.instance.is_some() => {}
            Err(error) => panic!("{error}: {client:?}"),
        }
    }

    fn hear(
        &mut self,
        waiter: Waiter,
        request: &ConsumerGroupHeartbeatRequest<'_>,
    ) -> Result<ouzel_broker_core::group::HeartbeatOutcome, GroupError> {
        let caller = HeartbeatCaller { client_id: "new", client_host: "/host", drawn: 0, makes_its_id: true };
        let mut effects = Effects::new();
        self.scene.coordinator.consumer_heartbeat(self.scene.now, waiter, request, caller, &mut effects);
        self.scene.take(effects);
        match self.scene.replies.remove(&waiter) {
            Some(Reply::ConsumerHeartbeat(outcome)) => outcome,
            other => panic!("{other:?}"),
        }
    }

    fn act_classic(&mut self, client: &mut Client) {
        match client.next.clone() {
            Next::Heartbeat => {
                let outcome = self.scene.heartbeat(client.caller());
                if let Err(error) = outcome
                    && !self.is_lost()
                {
                    self.refused(client, &error);
                }
            }
            Next::Join(None) => {
                if !self.is_cooperative {
                    client.owned.clear();
                }
                let mut told = subscription(&["orders"]);
                let rows = assignment(&client.owned);
                told.extend_from_slice(&rows[2..rows.len() - 4]);
                let protocols = vec![("any", told)];
                // One that has an id need not say its instance again.
                let is_named = client.member_id.is_empty() || self.rng.random_ratio(3, 4);
                let instance_id = client.instance.as_deref().filter(|_| is_named);
                let joining = Joining { member_id: &client.member_id, instance_id, protocols, ..Joining::default() };
                let waiter = self.scene.ask_join(&joining);
                client.next = Next::Join(Some(waiter));
                self.hear_join(client, waiter);
            }
            Next::Join(Some(waiter)) => self.hear_join(client, waiter),
            Next::Sync(None, parts) => {
                let parts: Vec<(&str, &[u8])> = parts.iter().map(|(id, part)| (id.as_str(), part.as_slice())).collect();
                let waiter = self.scene.ask_sync(client.caller(), &parts);
                if let Next::Sync(asked, _) = &mut client.next {
                    *asked = Some(waiter);
                }
                self.hear_sync(client, waiter);
            }
            Next::Sync(Some(waiter), _) => self.hear_sync(client, waiter),
        }
    }

    fn hear_join(&mut self, client: &mut Client, waiter: Waiter) {
        match self.scene.replies.remove(&waiter) {
            None => assert!(self.scene.is_parked(waiter)),
            Some(_) if self.is_lost() => client.next = Next::Join(None),
            Some(Reply::Join(Ok(outcome))) => {
                client.member_id = outcome.member_id.to_string();
                client.epoch = outcome.generation.0;
                client.next = Next::Sync(None, share(&outcome.members));
            }
            Some(Reply::Join(Err(refusal))) if refusal.error == GroupError::MemberIdRequired => {
                client.member_id = refusal.member_id.expect("an id").to_string();
                client.next = Next::Join(None);
            }
            Some(Reply::Join(Err(refusal))) => self.refused(client, &refusal.error),
            other => panic!("{other:?}"),
        }
    }

    fn hear_sync(&mut self, client: &mut Client, waiter: Waiter) {
        match self.scene.replies.remove(&waiter) {
            None => assert!(self.scene.is_parked(waiter)),
            Some(_) if self.is_lost() => {
                if let Next::Sync(asked, _) = &mut client.next {
                    *asked = None;
                }
            }
            Some(Reply::Sync(Ok(outcome))) => {
                let goal = read(&outcome.assignment);
                let gives_back = !client.owned.is_subset(&goal);
                client.owned = goal;
                client.next = if gives_back { Next::Join(None) } else { Next::Heartbeat };
            }
            Some(Reply::Sync(Err(error))) => self.refused(client, &error),
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, client: &mut Client, error: &GroupError) {
        match error {
            GroupError::RebalanceInProgress => client.next = Next::Join(None),
            GroupError::UnknownMember => client.forget(false),
            // A generation whose leader had not assigned when the coordinator ended was written nowhere, nor who came back in it.
            GroupError::IllegalGeneration { expected, got } if self.has_restarted && got > expected => {
                client.forget(true);
            }
            GroupError::FencedInstance if self.has_restarted => client.forget(false),
            GroupError::IllegalGeneration { .. } => {
                // Only who was on its way to the assignment when the group went back has missed anything.
                let group = self.last_seen.as_ref().expect("its broker assigned once");
                let member = group.members.iter().find(|member| member.member_id.as_str() == client.member_id);
                let is_behind = member.is_some_and(|member| member.current.epoch < group.assignment_epoch);
                assert!(is_behind, "{error}: {client:?}, {group:#?}");
                client.forget(true);
            }
            error => panic!("{error}: {client:?}"),
        }
    }

    fn disturb(&mut self) {
        let alive: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].is_alive).collect();
        match self.rng.random_range(0..6) {
            0 | 1 if alive.len() < 5 => self.add(),
            2 => self.restart(),
            3 | 4 if !alive.is_empty() => {
                let at = alive[self.rng.random_range(0..alive.len())];
                self.clients[at].is_alive = false;
                self.clients[at].owned.clear();
                if self.rng.random_bool(0.5) {
                    self.leave(at);
                }
            }
            5 if alive.len() < 5 => {
                let is_away = |client: &Client| !client.is_alive && client.instance.is_some();
                if let Some(at) = self.clients.iter().position(is_away) {
                    self.clients[at] = self.started(self.clients[at].instance.clone());
                }
            }
            _ => {}
        }
    }

    fn leave(&mut self, at: usize) {
        let client = self.clients[at].clone();
        if client.is_classic {
            self.scene.leave(&[(&client.member_id, client.instance.as_deref())]);
        } else if client.epoch > 0 {
            let waiter = self.scene.waiter();
            let request = ConsumerGroupHeartbeatRequest {
                group_id: GROUP,
                member_id: &client.member_id,
                instance_id: client.instance.as_deref(),
                member_epoch: -1,
                ..Default::default()
            };
            let _ = self.hear(waiter, &request);
        }
    }

    /// Another coordinator starts from the log: those that wait ask again.
    fn restart(&mut self) {
        self.scene.restart();
        self.has_restarted = true;
        self.scene.coordinator.set_topics(Arc::new(Orders(PARTITIONS as u32)));
        self.snapshots.restarted();
        for client in &mut self.clients {
            match &mut client.next {
                Next::Join(waiter) | Next::Sync(waiter, _) => *waiter = None,
                Next::Heartbeat => {}
            }
        }
    }

    fn check(&mut self) {
        self.check_untouched();
        let mut readers = BTreeMap::new();
        for client in &self.clients {
            for partition in &client.owned {
                if let Some(other) = readers.insert(*partition, &client.member_id) {
                    panic!("{other} and {} both read {partition}: {:#?}", client.member_id, self.clients);
                }
            }
        }
    }

    /// What a member has and is to have stays its own, whatever else changes.
    fn check_untouched(&mut self) {
        let group = self.scene.coordinator.describe_consumer(GROUP);
        if let (Some(before), Some(after)) = (&self.seen, &group) {
            for member in &after.members {
                let instance = |member: &ConsumerMemberDescription| member.subscription.instance_id.clone();
                let is_same = |was: &&ConsumerMemberDescription| {
                    was.member_id == member.member_id || instance(was).is_some_and(|id| Some(id) == instance(member))
                };
                let Some(was) = before.members.iter().find(is_same) else { continue };
                let untouched = was.current.assigned.and(&member.target);
                assert!(untouched.minus(&member.current.assigned).is_empty(), "{before:#?}, {after:#?}");
            }
        }
        if group.is_some() {
            self.last_seen.clone_from(&group);
        }
        self.seen = group;
    }

    fn check_settled(&self) {
        let alive: Vec<_> = self.clients.iter().filter(|client| client.is_alive).collect();
        let all: usize = alive.iter().map(|client| client.owned.len()).sum();
        let expected = if alive.is_empty() { 0 } else { PARTITIONS as usize };
        assert_eq!(all, expected, "{:#?} {:#?}", self.clients, self.scene.coordinator.describe_consumer(GROUP));
        if alive.is_empty() {
            return;
        }
        let kind = if alive.iter().all(|client| client.is_classic) { "Classic" } else { "Consumer" };
        assert_eq!(self.scene.coordinator.list(&["Stable"], &[kind]).len(), 1);
        let most = alive.iter().map(|client| client.owned.len()).max().unwrap_or(0);
        let fewest = alive.iter().map(|client| client.owned.len()).min().unwrap_or(0);
        assert!(most <= fewest + 1, "{:#?}", self.clients);
    }
}

/// A leader gives everybody its part, but nothing that another still has: that one gives it back and joins again.
fn share(members: &[JoinedMember]) -> Vec<(String, Vec<u8>)> {
    let owned: Vec<Owned> = members
        .iter()
        .map(|member| {
            let (_, told) = ConsumerProtocolSubscription::decode(&member.metadata).unwrap();
            told.owned_partitions.iter().flat_map(|row| row.partitions.iter().collect::<Vec<_>>()).collect()
        })
        .collect();
    let mut parts = vec![Owned::new(); members.len()];
    for partition in 0..PARTITIONS {
        let Some(wanted) = (partition as usize).checked_rem(members.len()) else { break };
        let has = owned.iter().position(|owned| owned.contains(&partition));
        if has.is_none_or(|has| has == wanted) {
            parts[wanted].insert(partition);
        }
    }
    members.iter().zip(parts).map(|(member, part)| (member.member_id.to_string(), assignment(&part))).collect()
}

fn run(seed: u64) {
    println!("OUZEL_GROUP_SEED={seed}");
    let mut world = World::new(seed);
    for _ in 0..world.rng.random_range(10..250) {
        if world.rng.random_ratio(1, 4) {
            world.disturb();
        }
        world.step();
    }
    world.snapshots.check(&world.scene.log, world.scene.now);
    world.lost = false;
    (0..200).for_each(|_| world.step());
    world.check_settled();
}

#[test]
fn members_of_both_protocols_never_read_the_same_and_settle() {
    if let Ok(seed) = std::env::var("OUZEL_GROUP_SEED") {
        return run(seed.parse().expect("a number"));
    }
    (0..600).for_each(run);
}

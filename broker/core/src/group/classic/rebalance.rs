//! From one generation of a classic group to the next. Owns the wait for members, who is left behind, who leads, and
//! every deadline: sessions, ids that nobody joins with, joins and syncs that do not come. Lives on the shard that owns
//! the group.

use super::member::Member;
use super::{ClassicGroup, Context, InitialDelay, Phase};
use crate::group::effects::{Effects, JoinOutcome, Reply};
use crate::group::error::GroupError;
use crate::group::ids::MemberId;
use crate::group::now::MonotonicMs;

impl ClassicGroup {
    /// Members changed: a new rebalance begins, or the one that is under way may be complete.
    pub(super) fn rebalance_or_complete(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        if matches!(self.phase, Phase::Preparing { .. }) {
            self.complete_join_if_all_are_in(ctx, effects);
        } else {
            self.prepare_rebalance(ctx, effects);
        }
    }

    /// Asks everybody to join again.
    pub(in crate::group) fn prepare_rebalance(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        if matches!(self.phase, Phase::Completing { .. }) {
            self.abandon_syncs(ctx, effects);
        }
        self.all_are_synced();
        let now = ctx.now.monotonic;
        let timeout_ms = self.rebalance_timeout_ms();
        if self.phase == Phase::Empty {
            let delay_ms = ctx.config.initial_rebalance_delay_ms;
            let delay = InitialDelay { ends: now.after(timeout_ms.max(delay_ms)), is_extended: false };
            self.enter(Phase::Preparing { deadline: now.after(delay_ms), initial: Some(delay) }, ctx.now);
            if delay_ms == 0 {
                self.complete_join(ctx, effects);
            }
        } else {
            self.enter(Phase::Preparing { deadline: now.after(timeout_ms), initial: None }, ctx.now);
            self.complete_join_if_all_are_in(ctx, effects);
        }
    }

    /// The generation that was joined gets no assignment: who waits for one has to join again.
    fn abandon_syncs(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        for member in self.members.values_mut() {
            member.assignment = [].into();
            if let Some(waiter) = member.syncing.take() {
                effects.reply(waiter, Reply::Sync(Err(GroupError::RebalanceInProgress)));
            }
            member.renew(ctx.now.monotonic);
        }
        self.arm_sessions();
    }

    /// No more syncs are due in this generation.
    fn all_are_synced(&mut self) {
        self.unsynced_count = 0;
        for member in self.members.values_mut() {
            member.is_unsynced = false;
        }
    }

    pub(super) fn arm_sessions(&mut self) {
        let first = self.members.values().map(Member::deadline).min();
        self.arm(first.unwrap_or(MonotonicMs::NEVER));
    }

    /// Begins the generation when there is nobody to wait for. The first members of an empty group are waited with in
    /// any case.
    pub(super) fn complete_join_if_all_are_in(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        let are_in = self.joining_count == self.members.len() && self.pending.is_empty();
        if are_in && matches!(self.phase, Phase::Preparing { initial: None, .. }) {
            self.complete_join(ctx, effects);
        }
    }

    /// Begins the generation with those that have joined. Static members stay until their sessions end, or until they
    /// do not sync: they may be restarting.
    fn complete_join(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        let is_late = |member: &Member| member.joining.is_none() && member.instance_id.is_none();
        let late: Vec<MemberId> =
            self.members.iter().filter(|(_, member)| is_late(member)).map(|(member_id, _)| member_id.clone()).collect();
        for member_id in late {
            self.remove(member_id.as_str(), effects);
        }
        if self.members.is_empty() {
            self.generation = self.generation.next();
            self.protocol = None;
            self.subscribed = self.read_subscriptions();
            self.enter(Phase::Empty, ctx.now);
            self.store(effects);
        } else if self.elect_leader() {
            self.begin_generation(ctx, effects);
        } else {
            // Nobody joined: only static members are left, and their sessions decide.
            let deadline = ctx.now.monotonic.after(self.rebalance_timeout_ms().max(1));
            let Phase::Preparing { initial, .. } = self.phase else {
                unreachable!("joins complete while members join")
            };
            self.enter(Phase::Preparing { deadline, initial }, ctx.now);
        }
    }

    /// Makes sure that somebody leads who has joined; `false` when nobody has.
    fn elect_leader(&mut self) -> bool {
        let has_joined = |member: &Member| member.joining.is_some();
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        if leader.is_some_and(has_joined) {
            return true;
        }
        match self.members.iter().find(|(_, member)| has_joined(member)) {
            Some((member_id, _)) => {
                self.leader = Some(member_id.clone());
                true
            }
            None => false,
        }
    }

    fn begin_generation(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        self.generation = self.generation.next();
        let winner = self.votes.winner(self.members.values());
        self.protocol = Some(winner.expect("members join only with a protocol that all have"));
        self.subscribed = self.read_subscriptions();
        let joined: Vec<MemberId> = self.members.keys().cloned().collect();
        for member_id in joined {
            let member = self.members.get_mut(&member_id).expect("it was listed");
            member.is_new = false;
            member.is_unsynced = true;
            self.unsynced_count += 1;
            let Some(waiter) = member.joining.take() else { continue };
            // A static member that has not joined goes on with the session it has.
            member.renew(ctx.now.monotonic);
            self.joining_count -= 1;
            let members = if self.is_leader(member_id.as_str()) { self.joined_members() } else { Vec::new() };
            effects.reply(waiter, Reply::Join(Ok(JoinOutcome { members, ..self.outcome_for(&member_id) })));
        }
        let deadline = ctx.now.monotonic.after(self.rebalance_timeout_ms());
        self.enter(Phase::Completing { deadline }, ctx.now);
        self.arm_sessions();
    }

    /// Does what is due: ends sessions, forgets ids that nobody joined with, stops waiting for joins and syncs.
    pub(in crate::group) fn tick(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        let now = ctx.now.monotonic;
        if now < self.wake_at {
            return;
        }
        self.expire_members(ctx, effects);
        if self.phase_deadline() <= now {
            match self.phase {
                Phase::Empty => unreachable!("an empty group has no deadline"),
                Phase::Preparing { initial, .. } => self.stop_waiting_for_joins(ctx, initial, effects),
                Phase::Completing { .. } | Phase::Stable { .. } => self.stop_waiting_for_syncs(ctx, effects),
            }
        }
        self.rearm();
    }

    /// Members could not be heard until now: each has its session from now on, and so has the wait for joins or syncs.
    pub(in crate::group) fn begin_sessions(&mut self, now: MonotonicMs) {
        for member in self.members.values_mut() {
            member.renew(now);
        }
        let again = now.after(self.rebalance_timeout_ms());
        match &mut self.phase {
            Phase::Preparing { deadline, initial: None } | Phase::Completing { deadline } => *deadline = again,
            Phase::Stable { deadline } if *deadline != MonotonicMs::NEVER => *deadline = again,
            Phase::Preparing { .. } | Phase::Stable { .. } | Phase::Empty => {}
        }
        self.rearm();
    }

    fn expire_members(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        let now = ctx.now.monotonic;
        let pending_count = self.pending.len();
        self.pending.retain(|_, deadline| *deadline > now);
        let dead = self.members.iter().filter(|(_, member)| member.deadline() <= now);
        let dead: Vec<MemberId> = dead.map(|(member_id, _)| member_id.clone()).collect();
        for member_id in &dead {
            self.remove(member_id.as_str(), effects);
        }
        if !dead.is_empty() {
            self.rebalance_or_complete(ctx, effects);
        } else if self.pending.len() < pending_count {
            self.complete_join_if_all_are_in(ctx, effects);
        }
    }

    fn stop_waiting_for_joins(&mut self, ctx: Context<'_>, initial: Option<InitialDelay>, effects: &mut Effects) {
        let now = ctx.now.monotonic;
        match initial {
            Some(delay) if delay.is_extended && now < delay.ends => {
                let deadline = now.after(ctx.config.initial_rebalance_delay_ms).min(delay.ends);
                let initial = Some(InitialDelay { is_extended: false, ..delay });
                self.phase = Phase::Preparing { deadline, initial };
                self.arm(deadline);
            }
            _ => self.complete_join(ctx, effects),
        }
    }

    /// Members that joined and never asked for their part are gone, or stuck: the others go on without them.
    fn stop_waiting_for_syncs(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        let silent = self.members.iter().filter(|(_, member)| member.is_unsynced);
        let silent: Vec<MemberId> = silent.map(|(member_id, _)| member_id.clone()).collect();
        assert!(!silent.is_empty(), "the deadline goes with the last sync");
        for member_id in silent {
            self.remove(member_id.as_str(), effects);
        }
        self.prepare_rebalance(ctx, effects);
    }
}

//! What members do in a generation of a classic group: the leader assigns, everybody takes its part, and shows that it
//! lives. Owns the answers to syncs and heartbeats. Lives on the shard that owns the group.

use std::sync::Arc;

use super::{ClassicGroup, Context, Phase};
use crate::group::effects::{Effects, Reply, SyncOutcome, Waiter};
use crate::group::error::GroupError;
use crate::group::limits::GROUP_ASSIGNMENT_BYTES_MAX;
use crate::group::now::{MonotonicMs, Now};
use crate::group::request::{Caller, SyncRequest};

impl ClassicGroup {
    /// Answers a sync, or parks it until the leader has assigned. The leader's own is answered, and everybody's with it,
    /// when the assignment is in the log.
    pub(in crate::group) fn sync(
        &mut self,
        ctx: Context<'_>,
        waiter: Waiter,
        request: SyncRequest<'_>,
        effects: &mut Effects,
    ) {
        if let Err(error) = self.check_sync(&request) {
            effects.reply(waiter, Reply::Sync(Err(error)));
            return;
        }
        let member_id = request.caller.member_id;
        match self.phase {
            Phase::Empty => unreachable!("an empty group has no member"),
            Phase::Preparing { .. } => effects.reply(waiter, Reply::Sync(Err(GroupError::RebalanceInProgress))),
            Phase::Completing { .. } => {
                self.mark_synced(member_id);
                let member = self.members.get_mut(member_id).expect("it was checked to be a member");
                if let Some(older) = member.syncing.replace(waiter) {
                    effects.reply(older, Reply::Sync(Err(GroupError::RebalanceInProgress)));
                }
                if self.is_leader(member_id) {
                    self.assign(ctx, &request.assignments, effects);
                }
            }
            Phase::Stable { .. } => {
                self.mark_synced(member_id);
                let outcome = self.part_of(member_id);
                effects.reply(waiter, Reply::Sync(Ok(outcome)));
            }
        }
    }

    fn check_sync(&self, request: &SyncRequest<'_>) -> Result<(), GroupError> {
        self.check_member(request.caller.member_id, request.caller.instance_id)?;
        self.check_generation(request.caller.generation)?;
        let differs = |theirs: Option<&str>, ours: &Option<Arc<str>>| {
            theirs.zip(ours.as_deref()).is_some_and(|(theirs, ours)| theirs != ours)
        };
        if differs(request.protocol_type, &self.protocol_type) || differs(request.protocol, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        let got = request.assignments.iter().map(|(_, part)| part.len()).sum();
        if got > GROUP_ASSIGNMENT_BYTES_MAX {
            let (what, max) = ("the group's assignment", GROUP_ASSIGNMENT_BYTES_MAX);
            return Err(GroupError::TooLarge { what, got, max });
        }
        Ok(())
    }

    /// The member has asked for its part. After the last one nobody is waited for.
    fn mark_synced(&mut self, member_id: &str) {
        let member = self.members.get_mut(member_id).expect("it was checked to be a member");
        if std::mem::take(&mut member.is_unsynced) {
            self.unsynced_count -= 1;
        }
        if let (0, Phase::Stable { deadline }) = (self.unsynced_count, &mut self.phase) {
            *deadline = MonotonicMs::NEVER;
        }
    }

    /// Gives everybody its part, nothing to those that the leader does not name, and writes the generation.
    fn assign(&mut self, ctx: Context<'_>, assignments: &[(&str, Arc<[u8]>)], effects: &mut Effects) {
        let nothing: Arc<[u8]> = Arc::from([]);
        for member in self.members.values_mut() {
            member.assignment = Arc::clone(&nothing);
        }
        for (member_id, part) in assignments {
            // Members that have gone since the leader joined get nothing any more.
            if let Some(member) = self.members.get_mut(*member_id) {
                member.assignment = Arc::clone(part);
            }
        }
        let deadline = if self.unsynced_count == 0 { MonotonicMs::NEVER } else { self.phase_deadline() };
        self.enter(Phase::Stable { deadline }, ctx.now);
        self.store(effects);
        let (protocol_type, protocol) = self.protocols();
        for member in self.members.values_mut() {
            // Sessions stood still for those that waited.
            member.renew(ctx.now.monotonic);
            let Some(waiter) = member.syncing.take() else { continue };
            let (protocol_type, protocol) = (Arc::clone(&protocol_type), Arc::clone(&protocol));
            let outcome = SyncOutcome { protocol_type, protocol, assignment: Arc::clone(&member.assignment) };
            effects.reply(waiter, Reply::Sync(Ok(outcome)));
        }
        self.arm_sessions();
    }

    fn part_of(&self, member_id: &str) -> SyncOutcome {
        let (protocol_type, protocol) = self.protocols();
        let member = self.members.get(member_id).expect("it was checked to be a member");
        SyncOutcome { protocol_type, protocol, assignment: Arc::clone(&member.assignment) }
    }

    fn protocols(&self) -> (Arc<str>, Arc<str>) {
        let protocol_type = self.protocol_type.clone().expect("a generation has a protocol type");
        (protocol_type, self.protocol.clone().expect("a generation has a protocol"))
    }

    /// Takes note that a member lives. Allocates nothing, and moves no deadline but the member's own.
    ///
    /// # Errors
    /// The caller's fault: it is no member, or of another generation; or a rebalance is under way, and it has to join.
    pub(in crate::group) fn heartbeat(&mut self, now: Now, caller: Caller<'_>) -> Result<(), GroupError> {
        self.check_member(caller.member_id, caller.instance_id)?;
        self.check_generation(caller.generation)?;
        if let Some(member) = self.members.get_mut(caller.member_id) {
            member.renew(now.monotonic);
        }
        if matches!(self.phase, Phase::Preparing { .. }) { Err(GroupError::RebalanceInProgress) } else { Ok(()) }
    }
}

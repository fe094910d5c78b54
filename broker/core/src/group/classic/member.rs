//! One member of a classic group. Owns what the group knows of it: protocols, assignment, what it waits for and until
//! when it lives. Lives on the shard that owns the group.

use std::sync::Arc;

use crate::group::ids::{InstanceId, MemberId};
use crate::group::now::MonotonicMs;
use crate::group::request::{ClassicProtocol, JoinRequest};
use crate::group::{ClassicMemberState, Waiter};

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<InstanceId>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) rebalance_timeout_ms: u32,
    pub(super) session_timeout_ms: u32,
    /// No name twice, the dearest first.
    pub(super) protocols: Vec<ClassicProtocol>,
    pub(super) assignment: Arc<[u8]>,
    /// A join that is parked.
    pub(super) joining: Option<Waiter>,
    /// A sync that is parked.
    pub(super) syncing: Option<Waiter>,
    /// It waits in its first join: its client may be gone, and only this join tells of it.
    pub(super) is_new: bool,
    /// It has joined the generation and not yet asked for its part.
    pub(super) is_unsynced: bool,
    pub(super) session_deadline: MonotonicMs,
}

impl Member {
    pub(super) fn new(
        instance_id: Option<InstanceId>,
        request: &JoinRequest<'_>,
        protocols: Vec<ClassicProtocol>,
    ) -> Self {
        let mut member = Self {
            instance_id,
            client_id: Arc::from(request.client_id),
            client_host: Arc::from(request.client_host),
            rebalance_timeout_ms: 0,
            session_timeout_ms: 0,
            protocols,
            assignment: Arc::from([]),
            joining: None,
            syncing: None,
            is_new: true,
            is_unsynced: false,
            session_deadline: MonotonicMs::NEVER,
        };
        member.set_timeouts(request);
        member
    }

    /// As it stood in the log: with the one protocol that the group had then.
    pub(super) fn loaded(state: &ClassicMemberState, protocol: Option<&Arc<str>>) -> Self {
        Self {
            instance_id: state.instance_id.clone(),
            client_id: Arc::clone(&state.client_id),
            client_host: Arc::clone(&state.client_host),
            rebalance_timeout_ms: state.rebalance_timeout_ms,
            session_timeout_ms: state.session_timeout_ms,
            protocols: vec![ClassicProtocol {
                name: protocol.cloned().unwrap_or_else(|| Arc::from("")),
                metadata: Arc::clone(&state.subscription),
            }],
            assignment: Arc::clone(&state.assignment),
            joining: None,
            syncing: None,
            is_new: false,
            is_unsynced: false,
            session_deadline: MonotonicMs::NEVER,
        }
    }

    pub(super) fn set_timeouts(&mut self, request: &JoinRequest<'_>) {
        self.session_timeout_ms = u32::try_from(request.session_timeout_ms).unwrap_or(0);
        self.rebalance_timeout_ms = u32::try_from(request.rebalance_timeout_ms).unwrap_or(self.session_timeout_ms);
    }

    /// It was heard of.
    pub(super) fn renew(&mut self, now: MonotonicMs) {
        self.session_deadline = now.after(self.session_timeout_ms);
    }

    /// When it is taken for dead if nothing is heard of it. One that waits for others cannot send heartbeats; but the
    /// first join of a client that is gone must not keep the others waiting.
    pub(super) fn deadline(&self) -> MonotonicMs {
        let waits = self.joining.is_some() || self.syncing.is_some();
        if waits && !self.is_new { MonotonicMs::NEVER } else { self.session_deadline }
    }

    /// What it says under `protocol`; nothing where it does not have that.
    pub(super) fn metadata(&self, protocol: &str) -> Arc<[u8]> {
        let found = self.protocols.iter().find(|offered| &*offered.name == protocol);
        found.map_or_else(|| Arc::from([]), |offered| Arc::clone(&offered.metadata))
    }

    pub(super) fn metadata_bytes(&self) -> usize {
        protocol_bytes(&self.protocols)
    }

    pub(super) fn state(&self, member_id: &MemberId, protocol: &str) -> ClassicMemberState {
        ClassicMemberState {
            member_id: member_id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: Arc::clone(&self.client_id),
            client_host: Arc::clone(&self.client_host),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment: Arc::clone(&self.assignment),
        }
    }
}

/// What the names and bytes of `protocols` take.
pub(super) fn protocol_bytes(protocols: &[ClassicProtocol]) -> usize {
    protocols.iter().map(|protocol| protocol.name.len() + protocol.metadata.len()).sum()
}

//! One member of a group whose broker assigns. Owns what a heartbeat changes of what the member asks for. Lives on the shard that owns
//! the group.

use std::sync::Arc;

use ouzel_protocol::kafka::{Array, ConsumerGroupHeartbeatRequest};

use super::reconcile::CurrentAssignment;
use super::record::Subscription;
use crate::group::error::GroupError;
use crate::group::ids::{InstanceId, TopicName};
use crate::group::limits::{MEMBER_METADATA_BYTES_MAX, NAME_BYTES_MAX};
use crate::group::now::MonotonicMs;

/// A member: what it asks for, what it has, and until when it must be heard.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) subscription: Arc<Subscription>,
    pub(super) current: CurrentAssignment,
    /// When it is taken for dead.
    pub(super) session_ends: MonotonicMs,
    /// When it must have given back what it is to; never, where that is nothing.
    pub(super) revocation_ends: MonotonicMs,
    /// When a member of the classic protocol must have joined again, or fetched its assignment; never, where it need not.
    pub(super) classic_ends: MonotonicMs,
}

impl Member {
    pub(super) fn new(subscription: Arc<Subscription>, current: CurrentAssignment) -> Member {
        let never = MonotonicMs::NEVER;
        Member { subscription, current, session_ends: never, revocation_ends: never, classic_ends: never }
    }

    /// The first of its deadlines.
    pub(super) fn deadline(&self) -> MonotonicMs {
        self.session_ends.min(self.revocation_ends).min(self.classic_ends)
    }
}

/// Who sent a heartbeat, as far as the message does not say.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatCaller<'a> {
    /// What its client calls itself.
    pub client_id: &'a str,
    /// Where its client is.
    pub client_host: &'a str,
    /// Freshly drawn bits: its id, should it join without one.
    pub drawn: u128,
    /// Whether it must bring its own id (version 1, KIP-1082).
    pub makes_its_id: bool,
}

/// What a member asks for once this heartbeat is heard; `None` where that is what it asked for before. Allocates only for what
/// changed.
///
/// # Errors
/// The caller's fault: it asks for more than is possible.
pub(super) fn updated(
    before: Option<&Subscription>,
    request: &ConsumerGroupHeartbeatRequest<'_>,
    caller: HeartbeatCaller<'_>,
) -> Result<Option<Subscription>, GroupError> {
    check_sizes(request, caller)?;
    let Some(before) = before else { return Ok(Some(first(request, caller))) };
    let same_text = |new: Option<&str>, old: Option<&str>| new.is_none() || new == old;
    let pattern = request.subscribed_topic_regex.map(|pattern| Some(pattern).filter(|text| !text.is_empty()));
    let topics = request.subscribed_topic_names.as_ref();
    let same = before.client_id.as_ref() == caller.client_id
        && before.client_host.as_ref() == caller.client_host
        && same_text(request.instance_id, before.instance_id.as_ref().map(InstanceId::as_str))
        && same_text(request.rack_id, before.rack_id.as_deref())
        && same_text(request.server_assignor, before.server_assignor.as_deref())
        && pattern.is_none_or(|pattern| pattern == before.pattern.as_deref())
        && timeout(request).is_none_or(|ms| ms == before.rebalance_timeout_ms)
        && topics.is_none_or(|names| are_same(names, &before.topics))
        && before.classic.is_none();
    if same {
        return Ok(None);
    }
    let text = |new: Option<&str>, old: &Option<Arc<str>>| new.map(Arc::from).or_else(|| old.clone());
    let after = Subscription {
        instance_id: request.instance_id.map(InstanceId::from).or_else(|| before.instance_id.clone()),
        rack_id: text(request.rack_id, &before.rack_id),
        client_id: Arc::from(caller.client_id),
        client_host: Arc::from(caller.client_host),
        topics: topics.map_or_else(|| Arc::clone(&before.topics), sorted),
        pattern: pattern.map_or_else(|| before.pattern.clone(), |pattern| pattern.map(Arc::from)),
        rebalance_timeout_ms: timeout(request).unwrap_or(before.rebalance_timeout_ms),
        server_assignor: text(request.server_assignor, &before.server_assignor),
        classic: None,
    };
    Ok((after != *before).then_some(after))
}

fn first(request: &ConsumerGroupHeartbeatRequest<'_>, caller: HeartbeatCaller<'_>) -> Subscription {
    Subscription {
        instance_id: request.instance_id.map(InstanceId::from),
        rack_id: request.rack_id.map(Arc::from),
        client_id: Arc::from(caller.client_id),
        client_host: Arc::from(caller.client_host),
        topics: request.subscribed_topic_names.as_ref().map_or_else(|| Arc::from([]), sorted),
        pattern: request.subscribed_topic_regex.filter(|pattern| !pattern.is_empty()).map(Arc::from),
        rebalance_timeout_ms: timeout(request).unwrap_or(0),
        server_assignor: request.server_assignor.map(Arc::from),
        classic: None,
    }
}

fn check_sizes(request: &ConsumerGroupHeartbeatRequest<'_>, caller: HeartbeatCaller<'_>) -> Result<(), GroupError> {
    let names = [
        ("member id", Some(request.member_id)),
        ("instance id", request.instance_id),
        ("rack", request.rack_id),
        ("client id", Some(caller.client_id)),
    ];
    for (what, name) in names {
        let got = name.map_or(0, str::len);
        if got > NAME_BYTES_MAX {
            return Err(GroupError::TooLarge { what, got, max: NAME_BYTES_MAX });
        }
    }
    let topics = || request.subscribed_topic_names.as_ref().into_iter().flat_map(|names| names.iter().map(str::len));
    let got = topics().max().unwrap_or(0);
    if got > NAME_BYTES_MAX {
        return Err(GroupError::TooLarge { what: "topic name", got, max: NAME_BYTES_MAX });
    }
    let got = topics().sum();
    if got > MEMBER_METADATA_BYTES_MAX {
        return Err(GroupError::TooLarge { what: "subscription", got, max: MEMBER_METADATA_BYTES_MAX });
    }
    Ok(())
}

/// `None` where nothing changed.
fn timeout(request: &ConsumerGroupHeartbeatRequest<'_>) -> Option<u32> {
    u32::try_from(request.rebalance_timeout_ms).ok()
}

fn are_same(names: &Array<'_, &str>, topics: &[TopicName]) -> bool {
    names.len() == topics.len() && names.iter().zip(topics).all(|(name, topic)| name == topic.as_str())
        || sorted(names).as_ref() == topics
}

/// Names in order, none twice.
pub(super) fn sorted(names: &Array<'_, &str>) -> Arc<[TopicName]> {
    let mut list: Vec<TopicName> = names.iter().map(TopicName::from).collect();
    list.sort_unstable();
    list.dedup();
    list.into()
}

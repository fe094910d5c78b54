//! A member of a group as its own client knows it: who it is, what it was told to have, what it has, and what to say next. Owns
//! when everything that it had is lost. No clock, no socket. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ouzel_protocol::native::{GroupHeartbeatReply, GroupHeartbeatRequest, GroupMember, OwnedTopic};
use ouzel_protocol::{ErrorCode, MemberEpoch, TopicId};

use crate::error::ClientError;
use crate::group_calls::TopicPartition;
use crate::group_config::{GroupConsumerConfig, Subscription};

/// Partitions with the ids of their topics: a topic that is created anew under its name is another.
pub(crate) type Assignment = BTreeMap<TopicPartition, TopicId>;

/// Counts the memberships of one client. What was read or owned in one is nothing to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Life(u64);

/// Whether it is a member.
#[derive(Debug, Clone)]
enum Phase {
    Joining,
    Member,
    /// The program did not ask for records for too long: it joins again when that does.
    Lapsed,
    /// It will not be one any more.
    Failed(ClientError),
}

/// What to do after a heartbeat that failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// The same again, after a while.
    Retry,
    /// Join anew; everything is lost.
    Rejoin,
    /// Nothing more.
    End,
}

/// See the file's comment.
#[derive(Debug)]
pub(crate) struct Membership {
    config: GroupConsumerConfig,
    member_id: String,
    phase: Phase,
    epoch: MemberEpoch,
    life: Life,
    target: Arc<Assignment>,
    owned: Assignment,
    /// What changed since the broker was last told, and was heard.
    says_everything: bool,
    says_owned: bool,
    says_subscription: bool,
}

impl Membership {
    /// One that is to join, under an id that nobody else has.
    pub(crate) fn new(config: GroupConsumerConfig, member_id: String) -> Membership {
        Membership {
            config,
            member_id,
            phase: Phase::Joining,
            epoch: MemberEpoch::JOIN,
            life: Life::default(),
            target: Arc::default(),
            owned: Assignment::new(),
            says_everything: true,
            says_owned: false,
            says_subscription: false,
        }
    }

    pub(crate) fn member_id(&self) -> &str {
        &self.member_id
    }

    pub(crate) fn epoch(&self) -> MemberEpoch {
        self.epoch
    }

    /// What the member is to have, and in which of its lives.
    pub(crate) fn wanted(&self) -> (Life, Arc<Assignment>) {
        (self.life, Arc::clone(&self.target))
    }

    /// Why it is no member any more.
    pub(crate) fn failure(&self) -> Option<&ClientError> {
        if let Phase::Failed(error) = &self.phase { Some(error) } else { None }
    }

    /// Whether it reads what it is to read, as far as is known.
    pub(crate) fn has_what_it_is_to(&self) -> bool {
        *self.target == self.owned
    }

    /// Whether it is in the group, or about to be.
    pub(crate) fn may_lapse(&self) -> bool {
        matches!(self.phase, Phase::Joining | Phase::Member)
    }

    pub(crate) fn has_lapsed(&self) -> bool {
        matches!(self.phase, Phase::Lapsed)
    }

    /// As whom to commit what was read in `life`; none where that is over.
    pub(crate) fn committer(&self, life: Life) -> Option<GroupMember> {
        (self.life == life && matches!(self.phase, Phase::Member)).then(|| GroupMember {
            member_id: self.member_id.clone(),
            epoch: self.epoch,
            instance_id: self.config.instance_id.clone(),
        })
    }

    /// The member has these from now on; of no account where that was in another life. Whether the broker is to hear of it.
    pub(crate) fn acknowledge(&mut self, life: Life, owned: &Assignment) -> bool {
        if self.life != life || self.owned == *owned {
            return false;
        }
        self.owned.clone_from(owned);
        self.says_owned = true;
        true
    }

    /// The member reads other topics from now on.
    pub(crate) fn subscribe(&mut self, subscription: Subscription) {
        self.config.subscription = subscription;
        self.says_subscription = true;
    }

    /// What to say now.
    pub(crate) fn heartbeat(&mut self) -> GroupHeartbeatRequest {
        let everything = std::mem::take(&mut self.says_everything);
        let owned = std::mem::take(&mut self.says_owned) || everything;
        let subscription = std::mem::take(&mut self.says_subscription) || everything;
        let Subscription { topics, pattern } = &self.config.subscription;
        let timeout_ms = u32::try_from(self.config.rebalance_timeout.as_millis()).unwrap_or(u32::MAX);
        GroupHeartbeatRequest {
            group_id: self.config.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: self.epoch,
            instance_id: self.config.instance_id.clone(),
            rebalance_timeout_ms: everything.then_some(timeout_ms),
            topics: subscription.then(|| topics.clone()),
            // An empty one takes an earlier one back.
            pattern: subscription.then(|| pattern.clone().unwrap_or_default()),
            assignor: if everything { self.config.assignor.clone() } else { None },
            owned: owned.then(|| by_topic(&self.owned)),
        }
    }

    /// The last thing to say: a static member is away for a while, any other for good.
    pub(crate) fn farewell(&self) -> Option<GroupHeartbeatRequest> {
        let is_static = self.config.instance_id.is_some();
        // One that never joined has nothing to leave, unless the reply to its join is on its way: then its session ends it.
        let may_be_member = matches!(self.phase, Phase::Member);
        may_be_member.then(|| GroupHeartbeatRequest {
            group_id: self.config.group.clone(),
            member_id: self.member_id.clone(),
            member_epoch: if is_static { MemberEpoch::LEAVE_FOR_A_WHILE } else { MemberEpoch::LEAVE },
            instance_id: self.config.instance_id.clone(),
            rebalance_timeout_ms: None,
            topics: None,
            pattern: None,
            assignor: None,
            owned: None,
        })
    }

    /// The broker has heard it. Returns after how long to say the next thing.
    pub(crate) fn heard(&mut self, reply: GroupHeartbeatReply) -> Duration {
        self.phase = Phase::Member;
        self.epoch = reply.member_epoch;
        if let Some(topics) = reply.assignment {
            let mut target = Assignment::new();
            for topic in topics {
                let name: Arc<str> = topic.name.into();
                for partition in topic.partitions {
                    target.insert(TopicPartition { topic: Arc::clone(&name), partition }, topic.topic_id);
                }
            }
            self.target = Arc::new(target);
        }
        Duration::from_millis(reply.heartbeat_interval_ms.into())
    }

    /// The broker has not heard it, or refuses it.
    pub(crate) fn failed(&mut self, error: ClientError) -> AfterFailure {
        // Whatever was said may be lost, or heard and the answer lost: everything is said again.
        self.says_everything = true;
        match error.code() {
            Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => {
                self.lose(Phase::Joining);
                AfterFailure::Rejoin
            }
            // The member that has its name is away without a word, and its session ends soon.
            Some(ErrorCode::UnreleasedInstanceId) if matches!(self.phase, Phase::Joining) => AfterFailure::Retry,
            _ if error.is_retriable() => AfterFailure::Retry,
            _ => {
                self.lose(Phase::Failed(error));
                AfterFailure::End
            }
        }
    }

    /// It gave up waiting for something that should have passed.
    pub(crate) fn give_up(&mut self, error: ClientError) {
        self.lose(Phase::Failed(error));
    }

    /// The program is stuck: the member has left.
    pub(crate) fn lapse(&mut self) {
        self.lose(Phase::Lapsed);
    }

    /// The program goes on: the member joins again.
    pub(crate) fn revive(&mut self) {
        if self.has_lapsed() {
            self.phase = Phase::Joining;
        }
    }

    fn lose(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch = MemberEpoch::JOIN;
        self.life = Life(self.life.0 + 1);
        self.target = Arc::default();
        self.owned.clear();
        self.says_everything = true;
    }
}

fn by_topic(owned: &Assignment) -> Vec<OwnedTopic> {
    let mut topics: BTreeMap<TopicId, OwnedTopic> = BTreeMap::new();
    for (at, topic_id) in owned {
        let topic = topics.entry(*topic_id).or_insert(OwnedTopic { topic_id: *topic_id, partitions: Vec::new() });
        topic.partitions.push(at.partition);
    }
    topics.into_values().collect()
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::PartitionIndex;
    use ouzel_protocol::native::AssignedTopic;

    use super::*;

    fn member(instance_id: Option<&str>) -> Membership {
        let config = GroupConsumerConfig {
            instance_id: instance_id.map(str::to_owned),
            ..GroupConsumerConfig::new("g", Subscription::topics(["orders"]))
        };
        Membership::new(config, "m".to_owned())
    }

    fn reply(epoch: i32, partitions: Option<&[u32]>) -> GroupHeartbeatReply {
        let assignment = partitions.map(|numbers| {
            let partitions = numbers.iter().copied().map(PartitionIndex).collect();
            vec![AssignedTopic { topic_id: TopicId(5), name: "orders".to_owned(), partitions }]
        });
        GroupHeartbeatReply { member_epoch: MemberEpoch(epoch), heartbeat_interval_ms: 5000, assignment }
    }

    fn refusal(code: ErrorCode) -> ClientError {
        ClientError::Group { group: "g".to_owned(), code, message: String::new() }
    }

    fn owned(request: &GroupHeartbeatRequest) -> Option<Vec<u32>> {
        let topics = request.owned.as_ref()?;
        Some(topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.0).collect())
    }

    #[test]
    fn it_says_everything_at_first_and_then_only_what_is_new() {
        let mut member = member(None);
        let join = member.heartbeat();
        assert_eq!((join.member_epoch, owned(&join)), (MemberEpoch::JOIN, Some(Vec::new())));
        assert!(join.topics.is_some() && join.rebalance_timeout_ms == Some(300_000));
        assert_eq!(member.heard(reply(3, Some(&[0, 1]))), Duration::from_secs(5));
        let next = member.heartbeat();
        assert_eq!((next.member_epoch, owned(&next), next.topics), (MemberEpoch(3), None, None));
        let (life, target) = member.wanted();
        assert!(member.acknowledge(life, &target) && !member.acknowledge(life, &target), "news once");
        assert_eq!(owned(&member.heartbeat()), Some(vec![0, 1]));
        assert_eq!(owned(&member.heartbeat()), None);
        member.subscribe(Subscription::pattern("o.*"));
        let changed = member.heartbeat();
        assert_eq!((changed.topics, changed.pattern), (Some(Vec::new()), Some("o.*".to_owned())));
    }

    #[test]
    fn after_a_lost_reply_it_says_everything_again_under_the_epoch_it_knows() {
        let mut member = member(None);
        member.heartbeat();
        member.heard(reply(3, Some(&[0])));
        let (life, target) = member.wanted();
        member.acknowledge(life, &target);
        member.heartbeat();
        let lost =
            ClientError::Group { group: "g".to_owned(), code: ErrorCode::NotCoordinator, message: String::new() };
        assert_eq!(member.failed(lost), AfterFailure::Retry);
        let again = member.heartbeat();
        assert_eq!((again.member_epoch, owned(&again)), (MemberEpoch(3), Some(vec![0])));
        assert!(again.topics.is_some());
        assert_eq!(member.wanted(), (life, target), "it is still the same member");
    }

    #[test]
    fn one_that_is_fenced_has_lost_everything_and_what_it_did_before_does_not_count() {
        let mut member = member(None);
        member.heartbeat();
        member.heard(reply(3, Some(&[0])));
        let (life, target) = member.wanted();
        assert_eq!(member.committer(life).map(|caller| caller.epoch), Some(MemberEpoch(3)));
        assert_eq!(member.failed(refusal(ErrorCode::FencedMemberEpoch)), AfterFailure::Rejoin);
        assert!(!member.acknowledge(life, &target), "of another life");
        assert_eq!(member.committer(life), None);
        let (next_life, next) = member.wanted();
        assert!(next_life != life && next.is_empty());
        let join = member.heartbeat();
        assert_eq!((join.member_epoch, owned(&join)), (MemberEpoch::JOIN, Some(Vec::new())));
        member.heard(reply(9, Some(&[])));
        assert_eq!(member.committer(life), None, "not even once it is a member again");
        assert!(member.committer(next_life).is_some());
    }

    #[test]
    fn what_does_not_pass_ends_it() {
        for code in [ErrorCode::FencedInstanceId, ErrorCode::InvalidRegularExpression, ErrorCode::GroupMaxSizeReached] {
            let mut member = member(Some("i"));
            member.heartbeat();
            assert_eq!(member.failed(refusal(code)), AfterFailure::End);
            assert_eq!(member.failure().and_then(ClientError::code), Some(code));
        }
        let mut waiting = member(Some("i"));
        assert_eq!(waiting.failed(refusal(ErrorCode::UnreleasedInstanceId)), AfterFailure::Retry);
    }

    #[test]
    fn it_leaves_for_good_or_for_a_while() {
        assert_eq!(member(None).farewell(), None, "it has not joined");
        for (instance_id, epoch) in [(None, MemberEpoch::LEAVE), (Some("i"), MemberEpoch::LEAVE_FOR_A_WHILE)] {
            let mut member = member(instance_id);
            member.heartbeat();
            member.heard(reply(3, None));
            assert_eq!(member.farewell().map(|request| request.member_epoch), Some(epoch));
            member.lapse();
            assert!(member.has_lapsed() && member.farewell().is_none());
            member.revive();
            assert_eq!(member.heartbeat().member_epoch, MemberEpoch::JOIN);
        }
    }
}

//! What each member is to have. Owns when topics are looked at again, the hash by which a change of them is seen, and the step from
//! the group's names to the assignor's numbers and back. Lives on the shard that owns the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ouzel_protocol::{PartitionIndex, TopicId};

use super::record::{ConsumerRecord, ResolvedPattern, Subscription};
use super::{ConsumerContext, ConsumerGroup};
use crate::group::assignor::{Assignor, MemberIndex, Question, TopicIndex};
use crate::group::effects::Effects;
use crate::group::ids::{MemberId, TopicName};
use crate::group::limits::PATTERN_REFRESH_INTERVAL_MS;
use crate::group::partition_set::{PartitionSet, TopicPartition};
use crate::group::subscription_pattern::SubscriptionPattern;
use crate::group::topics::Topics;

/// Names and a pattern: what members that read the same have in common.
type Reads<'g> = (&'g [TopicName], Option<&'g str>);

/// The topics that an assignment is about, by their ids.
struct Known {
    ids: Vec<TopicId>,
    counts: Vec<u32>,
}

impl ConsumerGroup {
    /// How it assigns: as most of its members want, of those that want something that there is.
    pub(super) fn assignor(&self) -> Assignor {
        let mut votes = Assignor::ALL.map(|assignor| (assignor, 0_usize));
        for member in self.members.values() {
            let wanted = member.subscription.server_assignor.as_deref().and_then(Assignor::find);
            if let Some((_, count)) = votes.iter_mut().find(|(assignor, _)| Some(*assignor) == wanted) {
                *count += 1;
            }
        }
        // The first of those with most votes.
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(assignor, _)| assignor).unwrap_or_default()
    }

    /// Looks at the topics again if there is news of them, and begins a new epoch if that is news to the group, or if `is_changed`
    /// says that members changed.
    pub(super) fn refresh(&mut self, ctx: ConsumerContext<'_>, is_changed: bool, effects: &mut Effects) {
        let version = ctx.topics.version();
        if !is_changed && self.seen == Some(version) {
            return;
        }
        if is_changed {
            self.forget_patterns(effects);
        }
        // Patterns are work for as many names as there are: new ones at once, the others from time to time.
        let is_due = self.patterns.is_empty() || ctx.now.monotonic >= self.patterns_fresh_until;
        let resolved_count = self.resolve_patterns(ctx, is_due, effects);
        if is_due && self.patterns.values().all(|resolved| resolved.version == version) {
            self.seen = Some(version);
            self.patterns_fresh_until = ctx.now.monotonic.after(PATTERN_REFRESH_INTERVAL_MS);
        }
        if !is_changed && resolved_count == 0 && self.hashed == Some(version) {
            return;
        }
        self.hashed = Some(version);
        let hash = self.hash(ctx.topics);
        let is_news = hash != self.metadata_hash;
        self.metadata_hash = hash;
        if is_changed || (is_news && self.epoch == self.assignment_epoch) {
            self.bump(effects);
        } else if is_news {
            // An assignment is due already.
            self.store(effects);
        }
    }

    /// Makes the assignment, where the group has changed since the last.
    pub(super) fn assign(&mut self, ctx: ConsumerContext<'_>, effects: &mut Effects) {
        if self.epoch == self.assignment_epoch {
            return;
        }
        let members = self.assignment_order();
        let (known, question) = self.question(&members, ctx.topics);
        let owners = self.assignor().assign(&question);
        let mut targets = vec![Vec::new(); members.len()];
        let mut owner = owners.into_iter();
        for (&topic_id, &count) in known.ids.iter().zip(&known.counts) {
            for partition in (0..count).map(PartitionIndex) {
                let owner = owner.next().expect("every partition was asked for");
                if owner != MemberIndex::NONE {
                    targets[owner.0 as usize].push(TopicPartition { topic_id, partition });
                }
            }
        }
        for (member_id, target) in members.into_iter().zip(targets) {
            let target: PartitionSet = target.into_iter().collect();
            if self.targets.get(member_id.as_str()) != Some(&target) {
                self.record(ConsumerRecord::Target(member_id.clone(), Some(target.clone())), effects);
                self.targets.insert(member_id, target);
            }
        }
        self.assignment_epoch = self.epoch;
        self.record(ConsumerRecord::TargetEpoch(Some(self.epoch)), effects);
    }

    /// Static members by their instance ids, then the others by theirs: the order that a restart does not change.
    fn assignment_order(&self) -> Vec<MemberId> {
        let dynamic = self.members.iter().filter(|(_, member)| member.subscription.instance_id.is_none());
        self.instances.values().chain(dynamic.map(|(member_id, _)| member_id)).cloned().collect()
    }

    fn question(&self, members: &[MemberId], topics: &dyn Topics) -> (Known, Question) {
        let subscriptions = || members.iter().map(|member_id| &self.members[member_id.as_str()].subscription);
        // Members mostly read the same: what they read is looked up once.
        let mut reads: BTreeMap<Reads<'_>, BTreeMap<TopicId, u32>> = BTreeMap::new();
        for subscription in subscriptions() {
            reads.entry(key(subscription)).or_insert_with(|| self.topics_of(subscription, topics));
        }
        let all: BTreeMap<TopicId, u32> = reads.values().flatten().map(|(&id, &count)| (id, count)).collect();
        let known = Known { ids: all.keys().copied().collect(), counts: all.values().copied().collect() };
        let index = |id: &TopicId| TopicIndex(known.ids.binary_search(id).expect("it is one of them") as u32);
        let lists: BTreeMap<_, Arc<[TopicIndex]>> =
            reads.iter().map(|(key, ids)| (*key, ids.keys().map(index).collect())).collect();

        let mut question = Question { topics: known.counts.clone(), ..Question::default() };
        question.members = subscriptions().map(|subscription| Arc::clone(&lists[&key(subscription)])).collect();
        question.previous = vec![MemberIndex::NONE; question.partition_count()];
        let starts = question.starts();
        for (member, member_id) in (0..).map(MemberIndex).zip(members) {
            for partition in self.targets.get(member_id.as_str()).into_iter().flat_map(PartitionSet::iter) {
                let Ok(topic) = known.ids.binary_search(&partition.topic_id) else { continue };
                if partition.partition.0 < known.counts[topic] {
                    question.previous[starts[topic] + partition.partition.0 as usize] = member;
                }
            }
        }
        (known, question)
    }

    /// The topics that a member reads and that there are.
    fn topics_of(&self, subscription: &Subscription, topics: &dyn Topics) -> BTreeMap<TopicId, u32> {
        let by_pattern = subscription.pattern.as_ref().and_then(|pattern| self.patterns.get(pattern));
        let names =
            subscription.topics.iter().chain(by_pattern.into_iter().flat_map(|resolved| resolved.topics.iter()));
        let views = names.filter_map(|name| topics.find(name.as_str()));
        views.map(|view| (view.topic_id, view.partition_count)).collect()
    }

    /// Forgets the patterns of nobody.
    pub(super) fn forget_patterns(&mut self, effects: &mut Effects) {
        let wanted = self.wanted_patterns();
        for pattern in self.patterns.keys().filter(|pattern| !wanted.contains(*pattern)).cloned().collect::<Vec<_>>() {
            self.patterns.remove(&pattern);
            self.record(ConsumerRecord::Pattern(pattern, None), effects);
        }
    }

    /// The patterns of members.
    pub(super) fn wanted_patterns(&self) -> BTreeSet<Arc<str>> {
        self.members.values().filter_map(|member| member.subscription.pattern.clone()).collect()
    }

    /// Holds the patterns of members against the topics there are: those that are new, which were let in, and of the others, if
    /// `all` of them are wanted, as many as there is time for. Returns how many.
    fn resolve_patterns(&mut self, ctx: ConsumerContext<'_>, all: bool, effects: &mut Effects) -> usize {
        let mut count = 0;
        for pattern in self.wanted_patterns() {
            let is_wanted = match self.patterns.get(&pattern) {
                None => true,
                Some(resolved) if resolved.version == ctx.topics.version() => false,
                Some(_) => all && ctx.pattern_pace.get().has_room(ctx.now.monotonic),
            };
            if is_wanted {
                self.resolve_pattern(pattern, ctx, effects);
                count += 1;
            }
        }
        count
    }

    fn resolve_pattern(&mut self, pattern: Arc<str>, ctx: ConsumerContext<'_>, effects: &mut Effects) {
        let before = self.patterns.get(&pattern);
        let (mut names, mut name_count) = (Vec::new(), 0);
        // One that was stored and is none any more means nothing.
        if let Ok(parsed) = SubscriptionPattern::parse(&pattern) {
            ctx.topics.each(&mut |name| {
                name_count += 1;
                if parsed.fits(name) {
                    names.push(TopicName::from(name));
                }
            });
        }
        let mut pace = ctx.pattern_pace.get();
        pace.spend(ctx.now.monotonic, name_count);
        ctx.pattern_pace.set(pace);
        names.sort_unstable();
        let is_news = before.is_none_or(|resolved| resolved.topics.as_ref() != names);
        let topics = names.into();
        let resolved = ResolvedPattern { topics, version: ctx.topics.version(), resolved_at: ctx.now.wall };
        if is_news {
            self.record(ConsumerRecord::Pattern(Arc::clone(&pattern), Some(resolved.clone())), effects);
        }
        self.patterns.insert(pattern, resolved);
    }

    /// A hash of the topics that members read, as they are: names, ids, and numbers of partitions. It is stored, so it must never
    /// change its mind: 64 bits of FNV-1a, over names in order.
    fn hash(&self, topics: &dyn Topics) -> i64 {
        let of_members = self.members.values().flat_map(|member| member.subscription.topics.iter());
        let of_patterns = self.patterns.values().flat_map(|pattern| pattern.topics.iter());
        let names: BTreeSet<&TopicName> = of_members.chain(of_patterns).collect();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            bytes.iter().for_each(|&byte| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        };
        for name in names {
            if let Some(view) = topics.find(name.as_str()) {
                add(name.as_str().as_bytes());
                add(&view.topic_id.0.to_be_bytes());
                add(&view.partition_count.to_be_bytes());
            }
        }
        hash.cast_signed()
    }
}

/// By what members that read the same are known.
fn key(subscription: &Subscription) -> Reads<'_> {
    (&subscription.topics, subscription.pattern.as_deref())
}

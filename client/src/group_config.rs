//! Settings of a member of a group. Owns the values, their defaults and their bounds; never reads a file or the environment.

use std::time::Duration;

use ouzel_protocol::check_topic_name;
use ouzel_protocol::native::limits::STRING_BYTES_MAX;

use crate::config::{ConsumerConfig, OutOfRange, invalid};
use crate::error::ClientError;
use crate::group_calls::check_group_id;

/// Which topics a member reads: those named, and those whose names match a pattern, now and later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Names of topics; one that does not exist yet is read as soon as it does.
    pub topics: Vec<String>,
    /// A regular expression that whole names must match, in the syntax of RE2.
    pub pattern: Option<String>,
}

impl Subscription {
    /// Topics by their names.
    pub fn topics<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Subscription {
        Subscription { topics: names.into_iter().map(Into::into).collect(), pattern: None }
    }

    /// Topics whose names match.
    pub fn pattern(pattern: impl Into<String>) -> Subscription {
        Subscription { topics: Vec::new(), pattern: Some(pattern.into()) }
    }

    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.topics.is_empty() && self.pattern.is_none() {
            return Err(invalid("subscription", "expected a topic or a pattern"));
        }
        for topic in &self.topics {
            check_topic_name(topic)?;
        }
        match &self.pattern {
            Some(pattern) if pattern.is_empty() || pattern.len() > STRING_BYTES_MAX => {
                Err(invalid("pattern", "expected 1 to 65,535 bytes"))
            }
            _ => Ok(()),
        }
    }
}

/// Settings of one [`GroupConsumer`](crate::GroupConsumer).
#[derive(Debug, Clone)]
pub struct GroupConsumerConfig {
    /// The group; it comes to be with its first member.
    pub group: String,
    /// What to read.
    pub subscription: Subscription,
    /// What this member calls itself, the same after a restart: then it keeps its partitions while it is away for less than a
    /// session. None, for a member that is another each time.
    pub instance_id: Option<String>,
    /// The broker's way to assign. The broker's choice.
    pub assignor: Option<String>,
    /// How long the member may take to give partitions back, which it does when it asks for records. 5 min.
    pub rebalance_timeout: Duration,
    /// How long the program may be without asking for records before the member counts as stuck and leaves. 5 min.
    pub poll_interval_max: Duration,
    /// How often offsets are committed of what was given out before the last call for more; none leaves that to the
    /// program. 5 s.
    pub auto_commit_interval: Option<Duration>,
    /// Where to begin where the group has no offset, or one that the log does not have. After the last record.
    pub offset_reset: OutOfRange,
    /// How records are fetched. Its `out_of_range` is of no effect.
    pub fetch: ConsumerConfig,
}

impl GroupConsumerConfig {
    /// The defaults.
    pub fn new(group: impl Into<String>, subscription: Subscription) -> GroupConsumerConfig {
        GroupConsumerConfig {
            group: group.into(),
            subscription,
            instance_id: None,
            assignor: None,
            rebalance_timeout: Duration::from_secs(300),
            poll_interval_max: Duration::from_secs(300),
            auto_commit_interval: Some(Duration::from_secs(5)),
            offset_reset: OutOfRange::Latest,
            fetch: ConsumerConfig::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), ClientError> {
        check_group_id(&self.group)?;
        self.subscription.check()?;
        self.fetch.check()?;
        for (field, text) in [("instance_id", &self.instance_id), ("assignor", &self.assignor)] {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > STRING_BYTES_MAX) {
                return Err(invalid(field, "expected 1 to 65,535 bytes"));
            }
        }
        let is_possible = |time: Duration| !time.is_zero() && time <= Duration::from_secs(24 * 3600);
        if !is_possible(self.rebalance_timeout) || !is_possible(self.poll_interval_max) {
            return Err(invalid(
                "rebalance_timeout and poll_interval_max",
                "expected more than nothing and at most a day",
            ));
        }
        if self.auto_commit_interval.is_some_and(|interval| interval.is_zero()) {
            return Err(invalid("auto_commit_interval", "expected more than nothing"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds_and_what_cannot_work_is_refused() {
        let default = || GroupConsumerConfig::new("g", Subscription::topics(["orders"]));
        default().check().unwrap();
        assert!(GroupConsumerConfig::new("", Subscription::topics(["orders"])).check().is_err());
        assert!(GroupConsumerConfig::new("g", Subscription::default()).check().is_err());
        assert!(GroupConsumerConfig::new("g", Subscription::topics(["a/b"])).check().is_err());
        assert!(GroupConsumerConfig { instance_id: Some(String::new()), ..default() }.check().is_err());
        assert!(GroupConsumerConfig { rebalance_timeout: Duration::ZERO, ..default() }.check().is_err());
        assert!(GroupConsumerConfig { auto_commit_interval: Some(Duration::ZERO), ..default() }.check().is_err());
    }
}

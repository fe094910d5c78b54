//! What an operator may set of groups whose broker assigns. Owns the settings and their defaults, which are Kafka's. Plain
//! values, any core.

use crate::group::limits::{
    CONSUMER_HEARTBEAT_INTERVAL_MS_DEFAULT, CONSUMER_SESSION_TIMEOUT_MS_DEFAULT, MEMBER_COUNT_DEFAULT,
};

/// The settings of all such groups of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// Without a sign of life for so long a member is taken for dead, in ms.
    pub session_timeout_ms: u32,
    /// After how long members are to give the next sign, in ms.
    pub heartbeat_interval_ms: u32,
    /// Members of one group.
    pub member_count_max: usize,
    /// Whether members of the classic protocol and of this one may be in one group, and a group become one of the other kind.
    pub migration: Migration,
}

/// In which directions a group with members may change its kind (Kafka's `group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Migration {
    /// Both ways.
    #[default]
    Bidirectional,
    /// From classic to this.
    Upgrade,
    /// From this to classic.
    Downgrade,
    /// Neither.
    Disabled,
}

impl Migration {
    /// Whether a classic group may become one whose broker assigns.
    #[must_use]
    pub const fn upgrades(self) -> bool {
        matches!(self, Migration::Bidirectional | Migration::Upgrade)
    }

    /// Whether a group whose broker assigns may become a classic one.
    #[must_use]
    pub const fn downgrades(self) -> bool {
        matches!(self, Migration::Bidirectional | Migration::Downgrade)
    }
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: CONSUMER_SESSION_TIMEOUT_MS_DEFAULT,
            heartbeat_interval_ms: CONSUMER_HEARTBEAT_INTERVAL_MS_DEFAULT,
            member_count_max: MEMBER_COUNT_DEFAULT,
            migration: Migration::default(),
        }
    }
}

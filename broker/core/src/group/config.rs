//! What an operator may set of groups. Owns the settings and their defaults, which are Kafka's. Plain values, any core.

use super::consumer::ConsumerGroupConfig;
use super::limits::{
    INITIAL_REBALANCE_DELAY_MS_DEFAULT, MEMBER_COUNT_DEFAULT, OFFSETS_RETENTION_CHECK_INTERVAL_MS_DEFAULT,
    OFFSETS_RETENTION_MS_DEFAULT, SESSION_TIMEOUT_MS_MAX, SESSION_TIMEOUT_MS_MIN,
};

/// The settings of all groups of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Shortest session timeout that a member may ask for, in ms.
    pub session_timeout_ms_min: u32,
    /// Longest session timeout that a member may ask for, in ms.
    pub session_timeout_ms_max: u32,
    /// How long the first member of an empty group waits for others, in ms. A fleet that starts together then has one
    /// rebalance instead of one for each of its members; a lone consumer pays with that delay, once. Kafka's default
    /// stands: clients and their tests are tuned to it, and 0 is there for those who start one consumer at a time.
    pub initial_rebalance_delay_ms: u32,
    /// Members of one group.
    pub member_count_max: usize,
    /// How long offsets outlive their use, in ms.
    pub offsets_retention_ms: u64,
    /// How often expired offsets are looked for, in ms.
    pub offsets_retention_check_interval_ms: u32,
    /// Groups whose broker assigns.
    pub consumer: ConsumerGroupConfig,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms_min: SESSION_TIMEOUT_MS_MIN,
            session_timeout_ms_max: SESSION_TIMEOUT_MS_MAX,
            initial_rebalance_delay_ms: INITIAL_REBALANCE_DELAY_MS_DEFAULT,
            member_count_max: MEMBER_COUNT_DEFAULT,
            offsets_retention_ms: OFFSETS_RETENTION_MS_DEFAULT,
            offsets_retention_check_interval_ms: OFFSETS_RETENTION_CHECK_INTERVAL_MS_DEFAULT,
            consumer: ConsumerGroupConfig::default(),
        }
    }
}

//! The ids, offsets and epochs of ouzel, each its own type.
//!
//! Owns the types and their text forms. Never assigns one: ids come from the metadata log, offsets from the
//! owner of the partition. Plain values, any core.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

id! {
    /// A partition's number inside its topic, from 0.
    PartitionIndex(u32)
}
id! {
    /// A partition's name in the store: unique in the node, never used again after a deletion.
    PartitionId(u64)
}
id! {
    /// A record's number in its partition, from 0. On Kafka's wire an `i64`; ours is never negative and never
    /// above `i64::MAX`.
    Offset(u64)
}
id! {
    /// Counts the leaderships of a partition. On Kafka's wire an `i32` where -1 means "not known".
    LeaderEpoch(u32)
}
id! {
    /// Counts the changes of a group, and for a member those that it has learnt of: the generation of a classic group. As a
    /// member's it may stand for an intent: [`MemberEpoch::JOIN`] and those below.
    MemberEpoch(i32)
}
id! {
    /// Counts the starts of a node; names the journals that start wrote.
    Incarnation(u64)
}
id! {
    /// A broker of the cluster.
    NodeId(u32)
}
id! {
    /// A core's share of a node, from 0.
    ShardIndex(u16)
}
id! {
    /// Pairs a reply with its request on one connection.
    CorrelationId(u64)
}
id! {
    /// Counts the changes of the metadata.
    MetadataVersion(u64)
}

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Offset = Offset(0);
    /// The highest offset Kafka's wire can carry.
    pub const MAX: Offset = Offset(i64::MAX as u64);

    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl Add<u64> for Offset {
    type Output = Offset;

    fn add(self, records: u64) -> Offset {
        Offset(self.0 + records)
    }
}

impl AddAssign<u64> for Offset {
    fn add_assign(&mut self, records: u64) {
        self.0 += records;
    }
}

impl LeaderEpoch {
    /// What a client writes that knows no epoch: -1 on Kafka's wire.
    pub const NONE: LeaderEpoch = LeaderEpoch(u32::MAX);
}

impl MemberEpoch {
    /// The member joins.
    pub const JOIN: MemberEpoch = MemberEpoch(0);
    /// The member leaves for good.
    pub const LEAVE: MemberEpoch = MemberEpoch(-1);
    /// The member, a static one, leaves for no longer than its session: what it has stays its own.
    pub const LEAVE_FOR_A_WHILE: MemberEpoch = MemberEpoch(-2);
}

/// A topic's lasting name: 16 bytes, little-endian in native messages, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub u128);

impl TopicId {
    /// The 16 bytes of a native message.
    #[must_use]
    pub const fn to_le_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Reads the 16 bytes of a native message.
    #[must_use]
    pub const fn from_le_bytes(bytes: [u8; 16]) -> TopicId {
        TopicId(u128::from_le_bytes(bytes))
    }
}

impl From<u128> for TopicId {
    fn from(value: u128) -> Self {
        Self(value)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a topic id is 32 hexadecimal digits, got {got:?}")]
pub struct TopicIdError {
    /// The text as given.
    pub got: String,
}

impl FromStr for TopicId {
    type Err = TopicIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| digits)
            .map(TopicId)
            .ok_or_else(|| TopicIdError { got: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_id_is_shown_as_it_is_read() {
        let id = TopicId(0x00ab_cdef);
        assert_eq!(id.to_string(), "00000000000000000000000000abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TopicId::from_le_bytes(id.to_le_bytes()), id);
        for text in ["", "+0000000000000000000000000abcdef", "xyz", "ab"] {
            assert!(text.parse::<TopicId>().is_err(), "{text:?}");
        }
    }
}

//! The APIs of Kafka's protocol: one table of keys, versions and caps. Owns which versions the codec has, which of them a
//! broker offers, and from which on a message is flexible. Never decides whether a request may be answered. Any core.
//!
//! To offer one more version or API is one line here. Numbers are those of Kafka's protocol guide.

use std::ops::RangeInclusive;

use super::limits::{ADMIN_ELEMENTS_MAX, DATA_ELEMENTS_MAX, FEW_ELEMENTS_MAX};

/// What there is to know about one API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// Kafka's name for it.
    pub name: &'static str,
    /// The versions that the codec reads and writes.
    pub versions: RangeInclusive<i16>,
    /// The versions that a broker offers; `None` while it has no handler.
    pub offered: Option<RangeInclusive<i16>>,
    /// The first version whose lengths are varints and that has tagged fields; beyond every version for none.
    pub flexible_from: i16,
    /// The most elements that one array of a message may have.
    pub elements_max: usize,
}

macro_rules! apis {
    ($($name:ident = $key:literal, $versions:expr, $offered:expr, $flexible:expr, $elements:ident;)*) => {
        /// An API that the codec knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($key), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every API, by key.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name),*];

            /// The API of a key on the wire.
            #[must_use]
            pub const fn from_wire(key: i16) -> Option<ApiKey> {
                match key {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Its row of the table.
            #[must_use]
            pub fn api(self) -> &'static Api {
                match self {$(
                    ApiKey::$name => {
                        static API: Api = Api {
                            key: ApiKey::$name,
                            name: stringify!($name),
                            versions: $versions,
                            offered: $offered,
                            flexible_from: $flexible,
                            elements_max: $elements,
                        };
                        &API
                    }
                )*}
            }
        }
    };
}

/// No version is flexible.
const NEVER: i16 = i16::MAX;

apis! {
    // name                        key codec    offered        flexible cap
    Produce                     = 0,  0..=13,  Some(0..=11),  9,       DATA_ELEMENTS_MAX;
    Fetch                       = 1,  4..=17,  Some(4..=12),  12,      DATA_ELEMENTS_MAX;
    ListOffsets                 = 2,  1..=10,  Some(1..=7),   6,       DATA_ELEMENTS_MAX;
    Metadata                    = 3,  0..=13,  Some(0..=12),  9,       DATA_ELEMENTS_MAX;
    OffsetCommit                = 8,  2..=9,   Some(2..=9),   8,       DATA_ELEMENTS_MAX;
    OffsetFetch                 = 9,  1..=9,   Some(1..=9),   6,       DATA_ELEMENTS_MAX;
    FindCoordinator             = 10, 0..=6,   Some(0..=4),   3,       ADMIN_ELEMENTS_MAX;
    JoinGroup                   = 11, 0..=9,   Some(0..=9),   6,       ADMIN_ELEMENTS_MAX;
    Heartbeat                   = 12, 0..=4,   Some(0..=4),   4,       FEW_ELEMENTS_MAX;
    LeaveGroup                  = 13, 0..=5,   Some(0..=5),   4,       ADMIN_ELEMENTS_MAX;
    SyncGroup                   = 14, 0..=5,   Some(0..=5),   4,       ADMIN_ELEMENTS_MAX;
    DescribeGroups              = 15, 0..=6,   Some(0..=5),   5,       ADMIN_ELEMENTS_MAX;
    ListGroups                  = 16, 0..=5,   Some(0..=5),   3,       ADMIN_ELEMENTS_MAX;
    ApiVersions                 = 18, 0..=4,   Some(0..=4),   3,       FEW_ELEMENTS_MAX;
    CreateTopics                = 19, 0..=7,   Some(0..=7),   5,       ADMIN_ELEMENTS_MAX;
    DeleteTopics                = 20, 0..=6,   Some(0..=6),   4,       ADMIN_ELEMENTS_MAX;
    DeleteRecords               = 21, 0..=2,   Some(0..=2),   2,       ADMIN_ELEMENTS_MAX;
    InitProducerId              = 22, 0..=5,   Some(0..=4),   2,       FEW_ELEMENTS_MAX;
    OffsetForLeaderEpoch        = 23, 2..=4,   Some(2..=4),   4,       DATA_ELEMENTS_MAX;
    DescribeConfigs             = 32, 1..=4,   Some(1..=4),   4,       ADMIN_ELEMENTS_MAX;
    AlterConfigs                = 33, 0..=2,   Some(0..=2),   2,       ADMIN_ELEMENTS_MAX;
    DescribeLogDirs             = 35, 1..=4,   Some(1..=4),   2,       DATA_ELEMENTS_MAX;
    CreatePartitions            = 37, 0..=3,   Some(0..=3),   2,       ADMIN_ELEMENTS_MAX;
    DeleteGroups                = 42, 0..=2,   Some(0..=2),   2,       ADMIN_ELEMENTS_MAX;
    IncrementalAlterConfigs     = 44, 0..=1,   Some(0..=1),   1,       ADMIN_ELEMENTS_MAX;
    ListPartitionReassignments  = 46, 0..=0,   Some(0..=0),   0,       DATA_ELEMENTS_MAX;
    OffsetDelete                = 47, 0..=0,   Some(0..=0),   NEVER,   DATA_ELEMENTS_MAX;
    DescribeCluster             = 60, 0..=2,   Some(0..=1),   0,       FEW_ELEMENTS_MAX;
    ConsumerGroupHeartbeat      = 68, 0..=1,   Some(0..=1),   0,       DATA_ELEMENTS_MAX;
    ConsumerGroupDescribe       = 69, 0..=1,   Some(0..=1),   0,       DATA_ELEMENTS_MAX;
}

impl ApiKey {
    /// The key on the wire.
    #[must_use]
    pub const fn to_wire(self) -> i16 {
        self as i16
    }

    /// Whether a message of this version is flexible.
    #[must_use]
    #[inline]
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.api().flexible_from
    }

    /// Whether a broker offers this version.
    #[must_use]
    pub fn is_offered(self, version: i16) -> bool {
        self.api().offered.as_ref().is_some_and(|offered| offered.contains(&version))
    }

    /// Whether the reply's header has tagged fields. That of ApiVersions never has: a client reads it before it knows what
    /// the broker speaks (KIP-511).
    #[must_use]
    pub fn has_flexible_reply_header(self, version: i16) -> bool {
        self != ApiKey::ApiVersions && self.is_flexible(version)
    }

    /// The APIs that a broker offers and in which versions, by key.
    pub fn offered() -> impl Iterator<Item = (ApiKey, RangeInclusive<i16>)> {
        ApiKey::ALL.iter().filter_map(|&key| Some((key, key.api().offered.clone()?)))
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ApiKey as TheirKey;

    use super::*;

    #[test]
    fn keys_and_header_versions_are_those_of_another_implementation() {
        for &key in ApiKey::ALL {
            let Api { name, versions, offered, elements_max, .. } = key.api();
            let theirs = TheirKey::try_from(key.to_wire()).expect("they know it");
            assert_eq!(format!("{theirs:?}"), format!("{key:?}"));
            assert_eq!(format!("{key:?}"), *name);
            assert_eq!(ApiKey::from_wire(key.to_wire()), Some(key));
            assert!(*elements_max > 0);
            assert!(offered.as_ref().is_none_or(|o| versions.contains(o.start()) && versions.contains(o.end())));
            let known = theirs.valid_versions();
            for version in versions.clone().filter(|version| (known.min..=known.max).contains(version)) {
                let flexible = key.is_flexible(version);
                assert_eq!(theirs.request_header_version(version), 1 + i16::from(flexible), "{key:?} {version}");
                let reply = i16::from(key.has_flexible_reply_header(version));
                assert_eq!(theirs.response_header_version(version), reply, "{key:?} {version}");
            }
        }
    }

    #[test]
    fn keys_ascend_and_others_are_unknown() {
        assert!(ApiKey::ALL.is_sorted());
        for key in [-1, 4, 27, 71, i16::MAX, i16::MIN] {
            assert_eq!(ApiKey::from_wire(key), None);
        }
    }
}

//! The configs of a topic: which keys exist, what they default to and which values are legal. Strict: an unknown key
//! or a value out of bounds is an error, never ignored. Knows nothing of who acts on them.

use ouzel_protocol::Durability;

use crate::error::MetadataError;
use crate::limits;

const DURABILITY: &str = "ouzel.durability";
const FLUSH_INTERVAL_MS: &str = "ouzel.flush.interval.ms";
const SEGMENT_BYTES: &str = "segment.bytes";
const MESSAGE_BYTES_MAX: &str = "max.message.bytes";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// A setting of Kafka's with one value that is true of every topic here. It may be set to that, and to nothing else: a broker
/// that takes a wish and does not fulfil it is worse than one that says no.
struct Fixed {
    key: &'static str,
    value: &'static str,
    why: &'static str,
}

const FIXED: [Fixed; 5] = [
    Fixed { key: "cleanup.policy", value: "delete", why: "nothing is compacted by this version" },
    Fixed { key: "compression.type", value: "producer", why: "batches are kept as they came" },
    Fixed { key: "min.insync.replicas", value: "1", why: "a partition has one replica" },
    Fixed { key: "retention.bytes", value: "-1", why: "nothing is deleted for its size by this version" },
    Fixed { key: "retention.ms", value: "-1", why: "nothing is deleted for its age by this version" },
];

/// Whose clock the timestamps of a topic's records are from (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimestampType {
    Create,
    LogAppend,
}

impl TimestampType {
    /// Kafka's word for it.
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CreateTime",
            Self::LogAppend => "LogAppendTime",
        }
    }
}

/// The settings of one topic. A field is `None` where the topic follows the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicConfig {
    durability: Option<Durability>,
    flush_interval_ms: Option<u32>,
    segment_bytes: Option<u64>,
    message_bytes_max: Option<u32>,
    timestamp_type: Option<TimestampType>,
}

/// One effective setting, as shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub key: &'static str,
    /// Its effective value.
    pub value: String,
    /// Whether the value is the default.
    pub is_default: bool,
}

impl TopicConfig {
    /// Every key there is.
    pub const KEYS: [&'static str; 10] = [
        DURABILITY,
        FLUSH_INTERVAL_MS,
        MESSAGE_BYTES_MAX,
        TIMESTAMP_TYPE,
        SEGMENT_BYTES,
        FIXED[0].key,
        FIXED[1].key,
        FIXED[2].key,
        FIXED[3].key,
        FIXED[4].key,
    ];

    /// Settings from key and value pairs; a key given twice keeps its last value.
    ///
    /// # Errors
    /// Unknown keys and illegal values: the caller's fault.
    pub fn from_entries<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, MetadataError> {
        let mut config = Self::default();
        for (key, value) in entries {
            config.set(key, Some(value))?;
        }
        Ok(config)
    }

    /// When a producer is answered (`ouzel.durability`).
    pub fn durability(&self) -> Durability {
        self.durability.unwrap_or(Durability::Disk)
    }

    /// At `written`, the longest time between answer and fdatasync (`ouzel.flush.interval.ms`).
    pub fn flush_interval_ms(&self) -> u32 {
        self.flush_interval_ms.unwrap_or(limits::FLUSH_INTERVAL_MS_DEFAULT)
    }

    /// Size at which a segment is rolled (`segment.bytes`).
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes.unwrap_or(limits::SEGMENT_BYTES_DEFAULT)
    }

    /// Largest batch accepted, in bytes (`max.message.bytes`).
    pub fn message_bytes_max(&self) -> u32 {
        self.message_bytes_max.unwrap_or(limits::MESSAGE_BYTES_MAX_DEFAULT)
    }

    /// Whether records get the broker's time instead of keeping their producer's (`message.timestamp.type`).
    pub fn is_log_append_time(&self) -> bool {
        self.timestamp_type == Some(TimestampType::LogAppend)
    }

    /// Sets a key, or with `None` returns it to its default.
    ///
    /// # Errors
    /// Unknown keys and illegal values: the caller's fault; nothing is changed then.
    pub fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), MetadataError> {
        match key {
            DURABILITY => self.durability = value.map(parse_durability).transpose()?,
            FLUSH_INTERVAL_MS => {
                let bounds = (1, u64::from(limits::FLUSH_INTERVAL_MS_MAX));
                self.flush_interval_ms = parse_bounded(FLUSH_INTERVAL_MS, value, bounds)?.map(narrow);
            }
            SEGMENT_BYTES => {
                let bounds = (limits::SEGMENT_BYTES_MIN, limits::SEGMENT_BYTES_MAX);
                self.segment_bytes = parse_bounded(SEGMENT_BYTES, value, bounds)?;
            }
            MESSAGE_BYTES_MAX => {
                let bounds = (u64::from(limits::MESSAGE_BYTES_MAX_MIN), u64::from(limits::MESSAGE_BYTES_MAX_MAX));
                self.message_bytes_max = parse_bounded(MESSAGE_BYTES_MAX, value, bounds)?.map(narrow);
            }
            TIMESTAMP_TYPE => self.timestamp_type = value.map(parse_timestamp_type).transpose()?,
            _ if let Some(fixed) = FIXED.iter().find(|fixed| fixed.key == key) => {
                if let Some(value) = value.filter(|value| *value != fixed.value) {
                    return Err(MetadataError::InvalidConfig {
                        key: fixed.key,
                        value: value.to_owned(),
                        expected: format!("{}: {}", fixed.value, fixed.why),
                    });
                }
            }
            _ => return Err(MetadataError::UnknownConfig { key: key.to_owned(), known: Self::KEYS.join(", ") }),
        }
        Ok(())
    }

    /// Every key with its effective value, in the order of [`Self::KEYS`].
    pub fn describe(&self) -> Vec<ConfigEntry> {
        let values = [
            (DURABILITY, self.durability().to_string(), self.durability.is_none()),
            (FLUSH_INTERVAL_MS, self.flush_interval_ms().to_string(), self.flush_interval_ms.is_none()),
            (MESSAGE_BYTES_MAX, self.message_bytes_max().to_string(), self.message_bytes_max.is_none()),
            (
                TIMESTAMP_TYPE,
                self.timestamp_type.unwrap_or(TimestampType::Create).name().to_owned(),
                self.timestamp_type.is_none(),
            ),
            (SEGMENT_BYTES, self.segment_bytes().to_string(), self.segment_bytes.is_none()),
        ];
        let fixed = FIXED.iter().map(|fixed| (fixed.key, fixed.value.to_owned(), true));
        values.into_iter().chain(fixed).map(|(key, value, is_default)| ConfigEntry { key, value, is_default }).collect()
    }

    /// The keys that differ from following the default, as they are stored in records.
    pub(crate) fn overrides(&self) -> Vec<(&'static str, String)> {
        self.describe().into_iter().filter(|entry| !entry.is_default).map(|entry| (entry.key, entry.value)).collect()
    }
}

fn parse_durability(value: &str) -> Result<Durability, MetadataError> {
    value.parse().map_err(|_| MetadataError::InvalidConfig {
        key: DURABILITY,
        value: value.to_owned(),
        expected: format!("{} or {}", Durability::Disk, Durability::Written),
    })
}

fn parse_timestamp_type(value: &str) -> Result<TimestampType, MetadataError> {
    let types = [TimestampType::Create, TimestampType::LogAppend];
    types.into_iter().find(|known| known.name() == value).ok_or_else(|| MetadataError::InvalidConfig {
        key: TIMESTAMP_TYPE,
        value: value.to_owned(),
        expected: types.map(TimestampType::name).join(" or "),
    })
}

fn parse_bounded(key: &'static str, value: Option<&str>, (min, max): (u64, u64)) -> Result<Option<u64>, MetadataError> {
    let Some(value) = value else { return Ok(None) };
    match value.parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => Err(MetadataError::InvalidConfig {
            key,
            value: value.to_owned(),
            expected: format!("a whole number from {min} to {max}"),
        }),
    }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("the bounds of the key fit u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_default_that_is_legal() {
        let defaults = TopicConfig::default();
        assert_eq!(defaults.describe().len(), TopicConfig::KEYS.len());
        for entry in defaults.describe() {
            assert!(entry.is_default);
            let mut config = TopicConfig::default();
            config.set(entry.key, Some(&entry.value)).expect("a default is a legal value");
            let is_fixed = FIXED.iter().any(|fixed| fixed.key == entry.key);
            assert_eq!(config.overrides().pop(), (!is_fixed).then(|| (entry.key, entry.value.clone())));
            config.set(entry.key, None).expect("every key can be reset");
            assert_eq!(config, defaults);
        }
    }

    #[test]
    fn illegal_values_and_unknown_keys_are_refused_and_change_nothing() {
        let cases = [
            ("ouzel.durability", "memory"),
            ("ouzel.flush.interval.ms", "0"),
            ("ouzel.flush.interval.ms", "10001"),
            ("ouzel.flush.interval.ms", "ten"),
            ("segment.bytes", "1048575"),
            ("segment.bytes", "1073741825"),
            ("segment.bytes", "-1"),
            ("max.message.bytes", "127"),
            ("max.message.bytes", "67108865"),
            ("max.message.bytes", "18446744073709551616"),
            ("max.message.bytes", ""),
            ("retention.ms", "604800000"),
            ("cleanup.policy", "compact"),
            ("message.timestamp.type", "Sometimes"),
            ("retention.hours", "1"),
            ("", "1"),
        ];
        for (key, value) in cases {
            let mut config = TopicConfig::default();
            assert!(config.set(key, Some(value)).is_err(), "{key}={value}");
            assert_eq!(config, TopicConfig::default());
        }
    }
}

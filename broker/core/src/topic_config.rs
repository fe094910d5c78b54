//! The configs of a topic: which keys exist, what they default to and which values are legal. Strict: an unknown key
//! or a value out of bounds is an error, never ignored. Knows nothing of who acts on them.
//!
//! Kafka's clients and tools set and expect some keys that leave this version no choice: it keeps everything, compacts nothing
//! and stores what it was sent. They exist with that one value, so that whoever asks is told the truth, and whoever asks for
//! anything else is refused instead of disappointed.

use ouzel_protocol::Durability;

use crate::error::MetadataError;
use crate::limits;

const DURABILITY: &str = "ouzel.durability";
const FLUSH_INTERVAL_MS: &str = "ouzel.flush.interval.ms";
const SEGMENT_BYTES: &str = "segment.bytes";
const MESSAGE_BYTES_MAX: &str = "max.message.bytes";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPRESSION_TYPE: &str = "compression.type";
const REPLICAS_IN_SYNC_MIN: &str = "min.insync.replicas";
const RETENTION_BYTES: &str = "retention.bytes";
const RETENTION_MS: &str = "retention.ms";

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// One of a few words.
    Word,
    /// Words with commas between.
    List,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
}

/// A key of a topic's configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigKey {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: ConfigKind,
    /// What it is for, in a sentence.
    pub about: &'static str,
}

const fn key(name: &'static str, kind: ConfigKind, about: &'static str) -> ConfigKey {
    ConfigKey { name, kind, about }
}

/// A key with one legal value, and why there is no other.
struct OnlyValue {
    key: &'static str,
    value: &'static str,
    why: &'static str,
}

const ONLY_VALUES: [OnlyValue; 5] = [
    OnlyValue { key: CLEANUP_POLICY, value: "delete", why: "this version does not compact" },
    OnlyValue { key: COMPRESSION_TYPE, value: "producer", why: "this version stores batches as they were sent" },
    OnlyValue { key: REPLICAS_IN_SYNC_MIN, value: "1", why: "a partition of this version has one replica" },
    OnlyValue { key: RETENTION_BYTES, value: "-1", why: "this version keeps everything, whatever its size" },
    OnlyValue { key: RETENTION_MS, value: "-1", why: "this version keeps everything, for ever" },
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
    /// Which of the keys with one legal value were set to it.
    only_values: [bool; ONLY_VALUES.len()],
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
    pub const KEYS: [ConfigKey; 10] = [
        key(
            DURABILITY,
            ConfigKind::Word,
            "When a producer is answered: once its batch is on disk, or once it is written.",
        ),
        key(
            FLUSH_INTERVAL_MS,
            ConfigKind::Int,
            "Where producers are answered at written: the longest time between the answer and the flush, in milliseconds.",
        ),
        key(CLEANUP_POLICY, ConfigKind::List, "What becomes of old records: delete, as this version does not compact."),
        key(COMPRESSION_TYPE, ConfigKind::Word, "How batches are compressed: producer, that is as they were sent."),
        key(MESSAGE_BYTES_MAX, ConfigKind::Int, "The largest batch that is taken, in bytes."),
        key(
            TIMESTAMP_TYPE,
            ConfigKind::Word,
            "Whose time records have: their producer's (CreateTime) or the broker's (LogAppendTime).",
        ),
        key(
            REPLICAS_IN_SYNC_MIN,
            ConfigKind::Int,
            "Replicas that must have a batch: 1, as there is one of each partition.",
        ),
        key(
            RETENTION_BYTES,
            ConfigKind::Long,
            "Size beyond which old segments go: -1, as this version keeps everything.",
        ),
        key(RETENTION_MS, ConfigKind::Long, "Age at which segments go: -1, as this version keeps everything."),
        key(SEGMENT_BYTES, ConfigKind::Int, "Size at which a new segment file is begun, in bytes."),
    ];

    /// The key of this name.
    pub fn key(name: &str) -> Option<ConfigKey> {
        Self::KEYS.into_iter().find(|key| key.name == name)
    }

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
            _ => {
                let mut only_values = ONLY_VALUES.iter().zip(&mut self.only_values);
                let Some((only, is_set)) = only_values.find(|(only, _)| only.key == key) else {
                    let known = Self::KEYS.map(|key| key.name).join(", ");
                    return Err(MetadataError::UnknownConfig { key: key.to_owned(), known });
                };
                if let Some(value) = value.filter(|value| *value != only.value) {
                    return Err(MetadataError::InvalidConfig {
                        key: only.key,
                        value: value.to_owned(),
                        expected: format!("{}: {}", only.value, only.why),
                    });
                }
                *is_set = value.is_some();
            }
        }
        Ok(())
    }

    /// Every key with its effective value, in the order of [`Self::KEYS`].
    pub fn describe(&self) -> Vec<ConfigEntry> {
        Self::KEYS.iter().map(|key| self.entry(key.name)).collect()
    }

    fn entry(&self, key: &'static str) -> ConfigEntry {
        let (value, is_default) = match key {
            DURABILITY => (self.durability().to_string(), self.durability.is_none()),
            FLUSH_INTERVAL_MS => (self.flush_interval_ms().to_string(), self.flush_interval_ms.is_none()),
            MESSAGE_BYTES_MAX => (self.message_bytes_max().to_string(), self.message_bytes_max.is_none()),
            TIMESTAMP_TYPE => {
                let value = self.timestamp_type.unwrap_or(TimestampType::Create).name();
                (value.to_owned(), self.timestamp_type.is_none())
            }
            SEGMENT_BYTES => (self.segment_bytes().to_string(), self.segment_bytes.is_none()),
            _ => {
                let mut only_values = ONLY_VALUES.iter().zip(self.only_values);
                let (only, is_set) = only_values.find(|(only, _)| only.key == key).expect("every key has a value");
                (only.value.to_owned(), !is_set)
            }
        };
        ConfigEntry { key, value, is_default }
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
            assert_eq!(config.overrides(), [(entry.key, entry.value.clone())]);
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
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "delete,compact"),
            ("cleanup.policy", ""),
            ("compression.type", "lz4"),
            ("min.insync.replicas", "2"),
            ("retention.bytes", "0"),
            ("retention.ms", "604800000"),
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

    #[test]
    fn a_key_with_one_value_says_why_there_is_no_other() {
        let refusal = TopicConfig::default().set("cleanup.policy", Some("compact")).expect_err("not yet");
        assert_eq!(
            refusal.to_string(),
            "illegal value \"compact\" of topic config cleanup.policy: expected delete: this version does not compact"
        );
    }

    #[test]
    fn what_was_set_is_told_from_what_is_followed_even_where_they_are_equal() {
        let config = TopicConfig::from_entries([("retention.ms", "-1"), ("segment.bytes", "1048576")]).expect("legal");
        assert_eq!(config.overrides(), [("retention.ms", "-1".to_owned()), ("segment.bytes", "1048576".to_owned())]);
        let overrides = config.overrides();
        let again = TopicConfig::from_entries(overrides.iter().map(|(key, value)| (*key, value.as_str())));
        assert_eq!(again.expect("what is stored can be read"), config);
    }
}

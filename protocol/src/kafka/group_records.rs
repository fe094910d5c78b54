//! What stands in `__consumer_offsets`: the keys and values from which groups and their offsets are loaded, as Kafka writes
//! them. Owns the kinds of records and the step between one and its bytes; the tables stand with the families. Never decides
//! what a record means for a group. Any core.
//!
//! A key is two bytes of kind and the key's fields; a value is two bytes of version and the value's fields; no value is a
//! tombstone. Keys are never flexible. Kafka reads kind and fields alike for kinds 0 and 1, and so do we; we write 1. A kind that
//! is not known here is somebody else's (share groups, streams groups) and is skipped, as Kafka skips what is newer than itself.
//! Layouts: `group-coordinator/src/main/resources/common/message` of Apache Kafka.

mod classic;
mod consumer;
mod offset;
#[cfg(test)]
mod tests;

pub use classic::{GroupMetadataKey, GroupMetadataMember, GroupMetadataValue};
pub use consumer::{
    ClassicMemberMetadata, ClassicMemberProtocol, ConsumerGroupKey, ConsumerGroupMemberKey, ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataValue, CurrentMemberAssignmentValue, CurrentTopicPartitions, MemberMetadataValue,
    RackedPartition, RegularExpressionKey, RegularExpressionValue, SubscribedTopic, TargetAssignmentMemberValue,
    TargetAssignmentMetadataValue, TargetTopicPartitions,
};
pub use offset::{OffsetCommitKey, OffsetCommitValue};

use super::field::Field;
use super::limits::DATA_ELEMENTS_MAX;
use super::reader::{DecodeError, DecodeProblem, Reader, Shape};
#[cfg(any(test, feature = "samples"))]
use super::sample::Sampler;
use super::writer::{EncodeError, Writer};

/// Keys are not flexible, and their fields have no versions of their own.
const KEY: Shape = Shape { version: 0, flexible: false };

/// How a kind of value has changed.
struct Versions {
    /// The newest that is read.
    last: i16,
    /// The first flexible one.
    flexible_from: i16,
}

/// A value of some kind: says in which of its versions it is written.
trait Value<'a>: Field<'a> {
    const VERSIONS: Versions;

    /// The version that Kafka writes for what is in it.
    fn version(&self) -> i16;

    fn shape(version: i16) -> Shape {
        Shape { version, flexible: version >= Self::VERSIONS.flexible_from }
    }
}

macro_rules! records {
    ($($(#[$doc:meta])* $name:ident: $kind:literal $(| $older:literal)*, $key:ty => $value:ty;)*) => {
        /// A record of `__consumer_offsets`: its key, and its value unless it is a tombstone.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum StoredGroupRecord<'a> {
            $($(#[$doc])* $name($key, Option<$value>),)*
        }

        impl<'a> StoredGroupRecord<'a> {
            /// The kinds that are known, as they are written.
            pub const KINDS: &'static [i16] = &[$($kind),*];

            /// Reads a record; `None` for one of a kind that is not known here. Nothing is allocated; arrays and strings lie in
            /// `key` and `value`, and all of them were checked.
            ///
            /// # Errors
            /// What was stored is not what its kind says: the disk, or whoever wrote it, is at fault.
            pub fn decode(key: &'a [u8], value: Option<&'a [u8]>) -> Result<Option<Self>, DecodeError> {
                let mut reader = Reader::new("key of a group record", key, KEY, DATA_ELEMENTS_MAX);
                let kind = i16::read(&mut reader, "kind")?;
                match kind {
                    $($kind $(| $older)* => {
                        let key = read_key(reader, stringify!($name))?;
                        let value = value.map(|bytes| read_value(bytes, stringify!($name))).transpose()?;
                        Ok(Some(StoredGroupRecord::$name(key, value)))
                    })*
                    _ => Ok(None),
                }
            }

            /// Appends the key.
            ///
            /// # Errors
            /// A string is longer than its length can say: the caller is at fault, and `out` is as it was.
            pub fn encode_key(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                match self {
                    $(StoredGroupRecord::$name(key, _) => write(out, stringify!($name), $kind, KEY, key),)*
                }
            }

            /// Appends the value, in the version in which Kafka writes it. Returns whether there is one; nothing is appended
            /// for a tombstone.
            ///
            /// # Errors
            /// As [`encode_key`](Self::encode_key).
            pub fn encode_value(&self, out: &mut Vec<u8>) -> Result<bool, EncodeError> {
                match self {
                    $(StoredGroupRecord::$name(_, Some(value)) => {
                        let version = value.version();
                        write(out, stringify!($name), version, shape_of(value, version), value)?;
                        Ok(true)
                    })*
                    _ => Ok(false),
                }
            }

            /// A random record of this kind, of one that is not known by default the first.
            #[cfg(any(test, feature = "samples"))]
            pub fn sample(kind: i16, sampler: &mut Sampler) -> StoredGroupRecord<'a> {
                match kind {
                    $($kind => {
                        let key = Field::sample(sampler, KEY);
                        let version = sampler.below(<$value as Value<'_>>::VERSIONS.last as u64 + 1) as i16;
                        let value = (sampler.below(8) > 0).then(|| Field::sample(sampler, <$value as Value<'_>>::shape(version)));
                        StoredGroupRecord::$name(key, value)
                    })*
                    _ => StoredGroupRecord::sample(Self::KINDS[0], sampler),
                }
            }
        }
    };
}

records! {
    /// How far a group has read one partition.
    OffsetCommit: 1 | 0, OffsetCommitKey<'a> => OffsetCommitValue<'a>;
    /// A group of the classic protocol, with its members.
    GroupMetadata: 2, GroupMetadataKey<'a> => GroupMetadataValue<'a>;
    /// A group whose broker assigns (KIP-848).
    ConsumerGroupMetadata: 3, ConsumerGroupKey<'a> => ConsumerGroupMetadataValue;
    /// What such a group knew of its topics. Kafka before 4.1 wrote it; a hash in the group's own record has taken its place.
    ConsumerGroupPartitionMetadata: 4, ConsumerGroupKey<'a> => ConsumerGroupPartitionMetadataValue<'a>;
    /// A member of such a group, and what it asks for.
    MemberMetadata: 5, ConsumerGroupMemberKey<'a> => MemberMetadataValue<'a>;
    /// For which epoch of a group the assignment was made.
    TargetAssignmentMetadata: 6, ConsumerGroupKey<'a> => TargetAssignmentMetadataValue;
    /// What a member is to read.
    TargetAssignmentMember: 7, ConsumerGroupMemberKey<'a> => TargetAssignmentMemberValue<'a>;
    /// What a member reads.
    CurrentMemberAssignment: 8, ConsumerGroupMemberKey<'a> => CurrentMemberAssignmentValue<'a>;
    /// The topics whose names fit a pattern.
    RegularExpression: 16, RegularExpressionKey<'a> => RegularExpressionValue<'a>;
}

fn read_key<'a, K: Field<'a>>(mut reader: Reader<'a>, name: &'static str) -> Result<K, DecodeError> {
    let key = K::read(&mut reader, name)?;
    reader.finish("end of key")?;
    Ok(key)
}

fn read_value<'a, V: Value<'a>>(bytes: &'a [u8], name: &'static str) -> Result<V, DecodeError> {
    let mut reader = Reader::new(name, bytes, KEY, DATA_ELEMENTS_MAX);
    let version = i16::read(&mut reader, "version")?;
    if !(0..=V::VERSIONS.last).contains(&version) {
        return Err(reader.error("version", DecodeProblem::Version { got: version }));
    }
    reader.set_shape(V::shape(version));
    let value = V::read(&mut reader, name)?;
    reader.finish("end of value")?;
    Ok(value)
}

fn shape_of<'a, V: Value<'a>>(_: &V, version: i16) -> Shape {
    V::shape(version)
}

fn write<'a, T: Field<'a>>(
    out: &mut Vec<u8>,
    name: &'static str,
    prefix: i16,
    shape: Shape,
    fields: &T,
) -> Result<(), EncodeError> {
    let start = out.len();
    let mut writer = Writer::new(name, out, shape, None);
    writer.raw(&prefix.to_be_bytes());
    let result = fields.write(&mut writer, name);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

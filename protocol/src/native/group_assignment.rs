//! Partitions of many topics, as members of groups have them and are given them. Owns the rows; never decides who has what.
//! Any core.

use super::limits::{PARTITIONS_MAX, TOPICS_MAX};
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::ids::{PartitionIndex, TopicId};

/// What a member has of one topic: `topic_id` 16, partitions as a list of u32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedTopic {
    /// The topic.
    pub topic_id: TopicId,
    /// Their numbers.
    pub partitions: Vec<PartitionIndex>,
}

/// What a member is given of one topic: `topic_id` 16, `name` string, partitions as a list of u32. The name stands beside
/// the id, since a client that subscribes by a pattern knows neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignedTopic {
    /// The topic; zero for one that is gone.
    pub topic_id: TopicId,
    /// Its name; empty for one that is gone and was known by its id.
    pub name: String,
    /// Their numbers.
    pub partitions: Vec<PartitionIndex>,
}

const OWNED_TOPIC_BYTES_MIN: usize = 16 + 4;
const ASSIGNED_TOPIC_BYTES_MIN: usize = 16 + 2 + 4;
const PARTITION_BYTES: usize = 4;

impl OwnedTopic {
    pub(super) fn encode_all(writer: &mut Writer<'_>, topics: &[OwnedTopic]) {
        writer.list(topics, TOPICS_MAX, |writer, topic| {
            writer.topic_id(topic.topic_id);
            encode_partitions(writer, &topic.partitions);
        });
    }

    pub(super) fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<OwnedTopic>, DecodeError> {
        reader.list("owned topics", TOPICS_MAX, OWNED_TOPIC_BYTES_MIN, |reader| {
            Ok(OwnedTopic { topic_id: reader.topic_id("topic_id")?, partitions: decode_partitions(reader)? })
        })
    }
}

impl AssignedTopic {
    pub(super) fn encode_all(writer: &mut Writer<'_>, topics: &[AssignedTopic]) {
        writer.list(topics, TOPICS_MAX, |writer, topic| {
            writer.topic_id(topic.topic_id);
            writer.string(&topic.name);
            encode_partitions(writer, &topic.partitions);
        });
    }

    pub(super) fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<AssignedTopic>, DecodeError> {
        reader.list("assigned topics", TOPICS_MAX, ASSIGNED_TOPIC_BYTES_MIN, |reader| {
            Ok(AssignedTopic {
                topic_id: reader.topic_id("topic_id")?,
                name: reader.string("name")?,
                partitions: decode_partitions(reader)?,
            })
        })
    }
}

fn encode_partitions(writer: &mut Writer<'_>, partitions: &[PartitionIndex]) {
    writer.list(partitions, PARTITIONS_MAX, |writer, partition| writer.partition(*partition));
}

fn decode_partitions(reader: &mut Reader<'_>) -> Result<Vec<PartitionIndex>, DecodeError> {
    reader.list("partitions", PARTITIONS_MAX, PARTITION_BYTES, |reader| reader.partition("partition"))
}

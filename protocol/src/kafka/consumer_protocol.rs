//! What members of classic groups of consumers tell each other (Kafka's `ConsumerProtocolSubscription` and
//! `ConsumerProtocolAssignment`), as far as a broker may know it: the topics and partitions. Owns that prefix of their
//! layouts; never reads what comes after it, for it changes with every version, and the first fields stand. Any core.
//!
//! Two bytes of version, then the topics: four bytes of count, and each name with two bytes of length. In an assignment
//! each name is followed by its partitions: four bytes of count, and four bytes each.

use super::limits::ADMIN_ELEMENTS_MAX;
use super::reader::{DecodeError, DecodeProblem, Reader, Shape};

/// The protocol type of groups of consumers.
pub const PROTOCOL_TYPE: &str = "consumer";

/// Bytes of a name without its text.
const NAME_BYTES_MIN: usize = 2;
/// Bytes of a topic of an assignment without its name's text and without partitions.
const ASSIGNED_BYTES_MIN: usize = NAME_BYTES_MIN + 4;
/// Bytes of a partition's number.
const PARTITION_BYTES: usize = 4;

/// The topics that a member subscribes to, as it names them: names may repeat.
///
/// # Errors
/// The member's bytes are not a subscription: a group that calls itself one of consumers and speaks another language.
pub fn subscribed_topics(metadata: &[u8]) -> Result<Vec<&str>, DecodeError> {
    let mut reader = begin("ConsumerProtocolSubscription", metadata)?;
    let count = count(&mut reader, TOPICS, NAME_BYTES_MIN)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        topics.push(name(&mut reader)?);
    }
    Ok(topics)
}

/// The partitions that a leader has assigned to a member, by topic: names and numbers may repeat.
///
/// # Errors
/// The leader's bytes are not an assignment.
pub fn assigned_partitions(assignment: &[u8]) -> Result<Vec<(&str, Vec<i32>)>, DecodeError> {
    let mut reader = begin("ConsumerProtocolAssignment", assignment)?;
    let topic_count = count(&mut reader, TOPICS, ASSIGNED_BYTES_MIN)?;
    let mut topics = Vec::with_capacity(topic_count);
    for _ in 0..topic_count {
        let topic = name(&mut reader)?;
        let partition_count = count(&mut reader, PARTITIONS, PARTITION_BYTES)?;
        let mut partitions = Vec::with_capacity(partition_count);
        for _ in 0..partition_count {
            partitions.push(i32::from_be_bytes(reader.array(PARTITIONS)?));
        }
        topics.push((topic, partitions));
    }
    Ok(topics)
}

const TOPICS: &str = "topics";
const PARTITIONS: &str = "partitions";

/// At what comes after the version.
fn begin<'a>(message: &'static str, bytes: &'a [u8]) -> Result<Reader<'a>, DecodeError> {
    let shape = Shape { version: 0, flexible: false };
    let mut reader = Reader::new(message, bytes, shape, ADMIN_ELEMENTS_MAX);
    let version = i16::from_be_bytes(reader.array("version")?);
    if version < 0 {
        return Err(reader.error("version", DecodeProblem::Version { got: version }));
    }
    Ok(reader)
}

fn count(reader: &mut Reader<'_>, what: &'static str, bytes_min: usize) -> Result<usize, DecodeError> {
    let count = reader.count(what, bytes_min)?;
    count.ok_or_else(|| reader.error(what, DecodeProblem::Null))
}

fn name<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let name = reader.string(TOPICS, false)?;
    name.ok_or_else(|| reader.error(TOPICS, DecodeProblem::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a consumer of version 1 writes it: topics, user data, owned partitions.
    const SUBSCRIPTION: &[u8] = b"\x00\x01\x00\x00\x00\x02\x00\x01a\x00\x03b.c\xff\xff\xff\xff\x00\x00\x00\x00";

    #[test]
    fn the_topics_of_any_version_are_read() {
        assert_eq!(subscribed_topics(SUBSCRIPTION), Ok(vec!["a", "b.c"]));
        assert_eq!(subscribed_topics(&SUBSCRIPTION[..14]), Ok(vec!["a", "b.c"]), "nothing after them is needed");
        assert_eq!(subscribed_topics(b"\x7f\xff\x00\x00\x00\x00"), Ok(vec![]));
    }

    #[test]
    fn what_is_no_subscription_is_refused() {
        for end in 0..14 {
            assert!(subscribed_topics(&SUBSCRIPTION[..end]).is_err(), "cut at {end}");
        }
        let cases: [(&str, &[u8]); 5] = [
            ("a version below 0", b"\xff\xff\x00\x00\x00\x00"),
            ("no array", b"\x00\x00\xff\xff\xff\xff"),
            ("more topics than bytes", b"\x00\x00\x7f\xff\xff\xff"),
            ("a null name", b"\x00\x00\x00\x00\x00\x01\xff\xff"),
            ("a name that is not UTF-8", b"\x00\x00\x00\x00\x00\x01\x00\x01\xff"),
        ];
        for (what, bytes) in cases {
            assert!(subscribed_topics(bytes).is_err(), "{what}");
        }
    }

    /// As a leader writes it: one topic with two partitions, user data.
    const ASSIGNMENT: &[u8] =
        b"\x00\x01\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x07\xff\xff\xff\xff";

    #[test]
    fn the_partitions_of_an_assignment_are_read() {
        assert_eq!(assigned_partitions(ASSIGNMENT), Ok(vec![("a", vec![0, 7])]));
        assert_eq!(assigned_partitions(&ASSIGNMENT[..21]), Ok(vec![("a", vec![0, 7])]), "nothing after them is needed");
        assert_eq!(assigned_partitions(b"\x00\x00\x00\x00\x00\x00"), Ok(vec![]));
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        for end in 0..21 {
            assert!(assigned_partitions(&ASSIGNMENT[..end]).is_err(), "cut at {end}");
        }
        let more_than_bytes = b"\x00\x00\x00\x00\x00\x01\x00\x01a\x7f\xff\xff\xff\x00\x00\x00\x00";
        assert!(assigned_partitions(more_than_bytes).is_err());
        assert!(assigned_partitions(b"").is_err(), "a member that was assigned nothing yet");
    }
}

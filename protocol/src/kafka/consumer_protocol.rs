//! What members of classic groups of consumers tell each other (Kafka's `ConsumerProtocolSubscription`), as far as a broker
//! may know it: the topics. Owns that prefix of its layout; never reads what comes after it, for it changes with every
//! version, and the first fields stand. Any core.
//!
//! Two bytes of version, then the topics: four bytes of count, and each name with two bytes of length.

use super::limits::ADMIN_ELEMENTS_MAX;
use super::reader::{DecodeError, DecodeProblem, Reader, Shape};

/// The protocol type of groups of consumers.
pub const PROTOCOL_TYPE: &str = "consumer";

/// Bytes of a name without its text.
const NAME_BYTES_MIN: usize = 2;

/// The topics that a member subscribes to, as it names them: names may repeat.
///
/// # Errors
/// The member's bytes are not a subscription: a group that calls itself one of consumers and speaks another language.
pub fn subscribed_topics(metadata: &[u8]) -> Result<Vec<&str>, DecodeError> {
    const TOPICS: &str = "topics";
    let shape = Shape { version: 0, flexible: false };
    let mut reader = Reader::new("ConsumerProtocolSubscription", metadata, shape, ADMIN_ELEMENTS_MAX);
    let version = i16::from_be_bytes(reader.array("version")?);
    if version < 0 {
        return Err(reader.error("version", DecodeProblem::Version { got: version }));
    }
    let count = reader.count(TOPICS, NAME_BYTES_MIN)?.ok_or_else(|| reader.error(TOPICS, DecodeProblem::Null))?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = reader.string(TOPICS, false)?;
        topics.push(topic.ok_or_else(|| reader.error(TOPICS, DecodeProblem::Null))?);
    }
    Ok(topics)
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
}

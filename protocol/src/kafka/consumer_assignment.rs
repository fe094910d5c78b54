//! What members of classic groups of consumers tell each other, whole: subscriptions with what members have, and assignments (Kafka's
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`). A broker reads them only of members of the classic protocol in a
//! group that it assigns itself (KIP-848). Owns their layouts. Any core.
//!
//! Two bytes of version in front. What changed. Subscription: 1 partitions that the member has; 2 their generation; 3 racks. A
//! version of the future has more at its end, and is read as the last that is known. The assignment is the same in all.

use super::array::Array;
use super::field::Field;
use super::limits::DATA_ELEMENTS_MAX;
use super::reader::{DecodeError, DecodeProblem, Reader, Shape};
use super::table::structures;
use super::writer::{EncodeError, Writer};

/// The last version that is known.
const VERSION_LAST: i16 = 3;

structures! {
    /// What a member reads and has.
    ConsumerProtocolSubscription<'a> {
        /// Names of the topics it reads.
        topics: Array<'a, &'a str> => 0..;
        /// A note to its leader.
        user_data: Option<&'a [u8]> => 0..;
        /// What it has, and does not want to give up without being told: nothing for one that gives up everything first.
        owned_partitions: Array<'a, ConsumerProtocolTopic<'a>> => 1..;
        /// The generation in which it got that; -1 for none.
        generation_id: i32 => 2.., default -1;
        /// Its rack.
        rack_id: Option<&'a str> => 3.., default None;
    }

    /// What a member is to have.
    ConsumerProtocolAssignment<'a> {
        /// One row a topic.
        assigned_partitions: Array<'a, ConsumerProtocolTopic<'a>> => 0..;
        /// A note of its leader.
        user_data: Option<&'a [u8]> => 0..;
    }

    /// Partitions of one topic.
    ConsumerProtocolTopic<'a> {
        /// The topic's name.
        topic: &'a str => 0..;
        /// Their numbers.
        partitions: Array<'a, i32> => 0..;
    }
}

impl<'a> ConsumerProtocolSubscription<'a> {
    /// Reads one, and its version. Nothing is allocated.
    ///
    /// # Errors
    /// The member's bytes are not a subscription.
    pub fn decode(bytes: &'a [u8]) -> Result<(i16, Self), DecodeError> {
        read(bytes, "ConsumerProtocolSubscription")
    }
}

impl<'a> ConsumerProtocolAssignment<'a> {
    /// Reads one, and its version. No bytes at all are none: so leaders write it. Nothing is allocated.
    ///
    /// # Errors
    /// The leader's bytes are not an assignment.
    pub fn decode(bytes: &'a [u8]) -> Result<(i16, Self), DecodeError> {
        if bytes.is_empty() { Ok((0, Self::default())) } else { read(bytes, "ConsumerProtocolAssignment") }
    }

    /// Appends it in the version that its member speaks.
    ///
    /// # Errors
    /// A name is longer than its length can say: the caller is at fault, and `out` is as it was.
    pub fn encode(&self, version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        let mut writer = Writer::new("ConsumerProtocolAssignment", out, shape(version), None);
        writer.raw(&version.min(VERSION_LAST).to_be_bytes());
        let result = self.write(&mut writer, "assignment");
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}

fn shape(version: i16) -> Shape {
    Shape { version: version.min(VERSION_LAST), flexible: false }
}

/// What stands behind the last field that is known is left alone.
fn read<'a, T: Field<'a>>(bytes: &'a [u8], name: &'static str) -> Result<(i16, T), DecodeError> {
    let mut reader = Reader::new(name, bytes, shape(0), DATA_ELEMENTS_MAX);
    let version = i16::read(&mut reader, "version")?;
    if version < 0 {
        return Err(reader.error("version", DecodeProblem::Version { got: version }));
    }
    reader.set_shape(shape(version));
    Ok((version, T::read(&mut reader, name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a cooperative consumer of version 1 writes it: topics, no user data, one partition that it has.
    const SUBSCRIPTION: &[u8] = b"\x00\x01\x00\x00\x00\x02\x00\x01a\x00\x01b\xff\xff\xff\xff\x00\x00\x00\x01\x00\x01a\
        \x00\x00\x00\x01\x00\x00\x00\x07";

    #[test]
    fn what_a_member_has_is_read_in_every_version_that_says_it() {
        let (version, read) = ConsumerProtocolSubscription::decode(SUBSCRIPTION).unwrap();
        assert_eq!((version, read.topics.iter().collect::<Vec<_>>()), (1, vec!["a", "b"]));
        let has: Vec<_> = read.owned_partitions.iter().map(|row| (row.topic, row.partitions.len())).collect();
        assert_eq!(has, [("a", 1)]);
        for (version, tail) in
            [(2, &[0, 0, 0, 4][..]), (3, &[0, 0, 0, 4, 0, 1, b'r']), (9, &[0, 0, 0, 4, 0, 1, b'r', 1])]
        {
            let mut bytes = [SUBSCRIPTION, tail].concat();
            bytes[1] = version;
            let (got, read) = ConsumerProtocolSubscription::decode(&bytes).unwrap();
            assert_eq!((got, read.generation_id, read.owned_partitions.len()), (i16::from(version), 4, 1));
            assert_eq!(read.rack_id, (version >= 3).then_some("r"));
        }
        let old = [0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(ConsumerProtocolSubscription::decode(&old).unwrap().1, ConsumerProtocolSubscription::default());
    }

    #[test]
    fn an_assignment_is_the_bytes_that_consumers_read() {
        let row = ConsumerProtocolTopic { topic: "a", partitions: [1, 2].into() };
        let assignment = ConsumerProtocolAssignment { assigned_partitions: [row].into(), user_data: None };
        let mut out = Vec::new();
        assignment.encode(1, &mut out).unwrap();
        let expected =
            b"\x00\x01\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02\xff\xff\xff\xff";
        assert_eq!(out, expected);
        assert_eq!(ConsumerProtocolAssignment::decode(&out), Ok((1, assignment)));
        assert_eq!(ConsumerProtocolAssignment::decode(&[]), Ok((0, ConsumerProtocolAssignment::default())));
    }

    #[test]
    fn what_is_cut_is_refused() {
        for end in 0..SUBSCRIPTION.len() {
            assert!(ConsumerProtocolSubscription::decode(&SUBSCRIPTION[..end]).is_err(), "cut at {end}");
        }
        assert!(ConsumerProtocolAssignment::decode(&[0]).is_err());
        assert!(ConsumerProtocolAssignment::decode(&[0xff, 0xff, 0, 0, 0, 0]).is_err());
    }
}

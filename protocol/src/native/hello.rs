//! Hello: the first request of every connection. Owns its layout; never decides which version or feature is chosen.
//! Runs on the core of the connection.

use super::reader::{DecodeError, DecodeProblem, Reader};
use super::writer::Writer;
use crate::ids::{NodeId, ShardIndex};

/// The four bytes that every Hello starts with: what speaks first is an ouzel client and not something else's.
pub const HELLO_MAGIC: [u8; 4] = *b"OUZL";

/// Who connects, and which versions of the protocol it speaks. The magic comes first so that a stranger is refused before
/// anything else of his is read.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 4 | magic `OUZL` |
/// | 4 | 2 | `version_min` |
/// | 6 | 2 | `version_max` |
/// | 8 | 8 | `features` |
/// | 16 | 2 + n | `client` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloRequest {
    /// Lowest protocol version that the client speaks.
    pub version_min: u16,
    /// Highest protocol version that the client speaks.
    pub version_max: u16,
    /// Bits of optional features that the client understands; none exists yet.
    pub features: u64,
    /// Name and version of the client, for logs.
    pub client: String,
}

impl HelloRequest {
    /// Appends the body to `out`. Panics when `client` exceeds the longest string.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.raw(&HELLO_MAGIC);
        writer.u16(self.version_min);
        writer.u16(self.version_max);
        writer.u64(self.features);
        writer.string(&self.client);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The peer sent something else than a Hello.
    pub fn decode(bytes: &[u8]) -> Result<HelloRequest, DecodeError> {
        let mut reader = Reader::new("hello request", bytes);
        let magic = reader.magic("magic")?;
        if magic != HELLO_MAGIC {
            let got = u64::from(u32::from_le_bytes(magic));
            return Err(reader.error("magic", 0, DecodeProblem::Unknown { expected: "the bytes OUZL", got }));
        }
        let request = HelloRequest {
            version_min: reader.u16("version_min")?,
            version_max: reader.u16("version_max")?,
            features: reader.u64("features")?,
            client: reader.string("client")?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// Who answers, and what was chosen for this connection.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 2 | `version` |
/// | 2 | 8 | `features` |
/// | 10 | 4 | `node` |
/// | 14 | 2 | `shard` |
/// | 16 | 2 | `shards` |
/// | 18 | 4 | `frame_bytes_max` |
/// | 22 | 2 + n | `broker` |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelloReply {
    /// The protocol version of this connection.
    pub version: u16,
    /// Features that both sides understand.
    pub features: u64,
    /// The node that answers.
    pub node: NodeId,
    /// The shard that owns this connection.
    pub shard: ShardIndex,
    /// How many shards the node runs.
    pub shards: u16,
    /// Largest frame that the broker takes, header included.
    pub frame_bytes_max: u32,
    /// Name and version of the broker, for logs.
    pub broker: String,
}

impl HelloReply {
    /// Appends the body to `out`. Panics when `broker` exceeds the longest string.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u16(self.version);
        writer.u64(self.features);
        writer.node(self.node);
        writer.shard(self.shard);
        writer.u16(self.shards);
        writer.u32(self.frame_bytes_max);
        writer.string(&self.broker);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else than a Hello reply.
    pub fn decode(bytes: &[u8]) -> Result<HelloReply, DecodeError> {
        let mut reader = Reader::new("hello reply", bytes);
        let reply = HelloReply {
            version: reader.u16("version")?,
            features: reader.u64("features")?,
            node: reader.node("node")?,
            shard: reader.shard("shard")?,
            shards: reader.u16("shards")?,
            frame_bytes_max: reader.u32("frame_bytes_max")?,
            broker: reader.string("broker")?,
        };
        reader.finish()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    #[test]
    fn the_request_has_its_golden_bytes() {
        let request = HelloRequest { version_min: 1, version_max: 2, features: 3, client: "ab".into() };
        let golden = "4f555a4c 0100 0200 0300000000000000 0200 6162";
        check_golden(&request, golden, HelloRequest::encode, HelloRequest::decode);
    }

    #[test]
    fn the_reply_has_its_golden_bytes() {
        let reply = HelloReply {
            version: 1,
            features: 2,
            node: NodeId(3),
            shard: ShardIndex(4),
            shards: 5,
            frame_bytes_max: 0x0800_0000,
            broker: "ouzel".into(),
        };
        let golden = "0100 0200000000000000 03000000 0400 0500 00000008 0500 6f757a656c";
        check_golden(&reply, golden, HelloReply::encode, HelloReply::decode);
    }

    #[test]
    fn a_stranger_is_refused_by_the_magic() {
        let error = HelloRequest::decode(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
        assert_eq!((error.what, error.at), ("magic", 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(numbers: (u16, u16, u64, u32, u16, u16), name in ".{0,20}") {
            let (version, shards, features, node, shard, version_max) = numbers;
            let request = HelloRequest { version_min: version, version_max, features, client: name.clone() };
            check_round_trip(&request, HelloRequest::encode, HelloRequest::decode);
            let reply = HelloReply {
                version, features, node: NodeId(node), shard: ShardIndex(shard), shards, frame_bytes_max: node, broker: name,
            };
            check_round_trip(&reply, HelloReply::encode, HelloReply::decode);
        }
    }
}

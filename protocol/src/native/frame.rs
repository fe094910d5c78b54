//! The frame: a fixed header of 24 bytes in front of every request and every reply. Owns its layout and its bounds;
//! never reads a socket and never looks into the body. Runs on whichever core holds the bytes.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::status::ErrorReply;
use crate::error_code::ErrorCode;
use crate::ids::CorrelationId;

/// Bytes of the header, its length field included.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Largest frame, header included. A length above it is refused before anything is allocated.
pub const FRAME_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The one version of the protocol that exists.
pub const PROTOCOL_VERSION: u16 = 1;
/// Flag bit 0: the frame is a reply.
pub const FLAG_REPLY: u16 = 1;

/// Bytes of the length field, which does not count itself.
const LENGTH_BYTES: usize = 4;
const FLAGS_KNOWN: u16 = FLAG_REPLY;

const _: () = assert!(size_of::<WireHeader>() == FRAME_HEADER_BYTES);
const _: () = assert!(std::mem::offset_of!(WireHeader, correlation_id) == 16);

/// What a request asks for. The numbers are the wire's and are never used again for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Api {
    /// First frame of every connection.
    Hello = 1,
    /// Nodes, topics, partitions and their leaders.
    Metadata = 2,
    /// Appends batches.
    Produce = 3,
    /// Reads batches.
    Fetch = 4,
    /// Earliest, latest or by time.
    ListOffsets = 5,
    /// Creates a topic.
    CreateTopic = 6,
    /// Deletes a topic.
    DeleteTopic = 7,
    /// Adds partitions, changes configs.
    AlterTopic = 8,
    /// Configs and partitions of one topic.
    DescribeTopic = 9,
    /// Names of all topics.
    ListTopics = 10,
    /// A number for an idempotent producer.
    InitProducerId = 11,
    /// Counters and state of a node and its shards.
    DescribeNode = 12,
    /// Which cluster this is.
    DescribeCluster = 13,
    /// A member's sign of life in a group whose broker assigns.
    GroupHeartbeat = 14,
    /// Stores how far a group has read.
    OffsetCommit = 15,
    /// How far a group has read.
    OffsetFetch = 16,
    /// Names, kinds and states of groups.
    ListGroups = 17,
    /// Members of one group and what they have.
    DescribeGroup = 18,
    /// Deletes a group without members.
    DeleteGroup = 19,
    /// Forgets how far a group has read.
    DeleteOffsets = 20,
}

impl Api {
    /// Every api there is.
    pub const ALL: &'static [Api] = &[
        Api::Hello,
        Api::Metadata,
        Api::Produce,
        Api::Fetch,
        Api::ListOffsets,
        Api::CreateTopic,
        Api::DeleteTopic,
        Api::AlterTopic,
        Api::DescribeTopic,
        Api::ListTopics,
        Api::InitProducerId,
        Api::DescribeNode,
        Api::DescribeCluster,
        Api::GroupHeartbeat,
        Api::OffsetCommit,
        Api::OffsetFetch,
        Api::ListGroups,
        Api::DescribeGroup,
        Api::DeleteGroup,
        Api::DeleteOffsets,
    ];

    /// The api a wire number names.
    #[must_use]
    pub const fn from_wire(number: u16) -> Option<Api> {
        Some(match number {
            1 => Api::Hello,
            2 => Api::Metadata,
            3 => Api::Produce,
            4 => Api::Fetch,
            5 => Api::ListOffsets,
            6 => Api::CreateTopic,
            7 => Api::DeleteTopic,
            8 => Api::AlterTopic,
            9 => Api::DescribeTopic,
            10 => Api::ListTopics,
            11 => Api::InitProducerId,
            12 => Api::DescribeNode,
            13 => Api::DescribeCluster,
            14 => Api::GroupHeartbeat,
            15 => Api::OffsetCommit,
            16 => Api::OffsetFetch,
            17 => Api::ListGroups,
            18 => Api::DescribeGroup,
            19 => Api::DeleteGroup,
            20 => Api::DeleteOffsets,
            _ => return None,
        })
    }

    /// The name a person reads, in counters and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Api::Hello => "hello",
            Api::Metadata => "metadata",
            Api::Produce => "produce",
            Api::Fetch => "fetch",
            Api::ListOffsets => "list-offsets",
            Api::CreateTopic => "create-topic",
            Api::DeleteTopic => "delete-topic",
            Api::AlterTopic => "alter-topic",
            Api::DescribeTopic => "describe-topic",
            Api::ListTopics => "list-topics",
            Api::InitProducerId => "init-producer-id",
            Api::DescribeNode => "describe-node",
            Api::DescribeCluster => "describe-cluster",
            Api::GroupHeartbeat => "group-heartbeat",
            Api::OffsetCommit => "offset-commit",
            Api::OffsetFetch => "offset-fetch",
            Api::ListGroups => "list-groups",
            Api::DescribeGroup => "describe-group",
            Api::DeleteGroup => "delete-group",
            Api::DeleteOffsets => "delete-offsets",
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        self as u16
    }
}

/// Bytes that are no frame header. The peer is at fault; its stream cannot be followed any more, so the connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than a header; read more.
    #[error("a frame header takes {FRAME_HEADER_BYTES} bytes, got {got}")]
    Truncated {
        /// Bytes given.
        got: usize,
    },
    /// A length that does not cover the header or exceeds [`FRAME_BYTES_MAX`].
    #[error("frame length out of bounds: expected {min}..={max}, got {got}")]
    Length {
        /// Least length.
        min: usize,
        /// Greatest length.
        max: usize,
        /// The length received.
        got: u64,
    },
    /// An api number that names nothing.
    #[error("unknown api {got}")]
    Api {
        /// The number received.
        got: u16,
    },
    /// A flag bit that means nothing, or reserved bytes that are not zero.
    #[error("unknown {what}: {got:#x}")]
    Reserved {
        /// Which field.
        what: &'static str,
        /// The value received.
        got: u32,
    },
}

/// The header as it lies on the wire, little-endian. The length comes first because a stream is cut by it; the
/// correlation id comes last because only it needs eight bytes.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 4 | `length`: bytes after this field, 20 at least |
/// | 4 | 2 | `api` |
/// | 6 | 2 | `version` of the protocol |
/// | 8 | 2 | `flags`: bit 0 = reply, others 0 |
/// | 10 | 2 | `error`: 0 in requests |
/// | 12 | 4 | `reserved`: 0 |
/// | 16 | 8 | `correlation_id` |
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHeader {
    length: U32,
    api: U16,
    version: U16,
    flags: U16,
    error: U16,
    reserved: U32,
    correlation_id: U64,
}

/// A frame header that was checked: its length is within bounds and its api is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes after the length field.
    pub length: u32,
    /// What is asked or answered.
    pub api: Api,
    /// Version of the protocol. Not checked here: Hello negotiates it.
    pub version: u16,
    /// See [`FLAG_REPLY`].
    pub flags: u16,
    /// Why the request as a whole was refused; none in requests.
    pub error: ErrorCode,
    /// Pairs a reply with its request.
    pub correlation: CorrelationId,
}

impl FrameHeader {
    /// Reads the first [`FRAME_HEADER_BYTES`] of `bytes`; what follows them is not looked at.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] asks for more bytes; every other one means that the peer does not speak this protocol.
    pub fn parse(bytes: &[u8]) -> Result<FrameHeader, FrameError> {
        let Ok((wire, _)) = WireHeader::ref_from_prefix(bytes) else {
            return Err(FrameError::Truncated { got: bytes.len() });
        };
        const MIN: usize = FRAME_HEADER_BYTES - LENGTH_BYTES;
        const MAX: usize = FRAME_BYTES_MAX - LENGTH_BYTES;
        let length = wire.length.get();
        if !(MIN..=MAX).contains(&usize::try_from(length).unwrap_or(usize::MAX)) {
            return Err(FrameError::Length { min: MIN, max: MAX, got: u64::from(length) });
        }
        let Some(api) = Api::from_wire(wire.api.get()) else {
            return Err(FrameError::Api { got: wire.api.get() });
        };
        let flags = wire.flags.get();
        if flags & !FLAGS_KNOWN != 0 {
            return Err(FrameError::Reserved { what: "flags", got: u32::from(flags) });
        }
        if wire.reserved.get() != 0 {
            return Err(FrameError::Reserved { what: "reserved bytes", got: wire.reserved.get() });
        }
        Ok(FrameHeader {
            length,
            api,
            version: wire.version.get(),
            flags,
            error: ErrorCode::from_wire(wire.error.get()),
            correlation: CorrelationId(wire.correlation_id.get()),
        })
    }

    /// A header for a body of `body_bytes`. Panics when the frame would exceed [`FRAME_BYTES_MAX`]: whoever builds a
    /// frame bounds what goes into it.
    #[must_use]
    pub fn for_body(
        api: Api,
        version: u16,
        flags: u16,
        error: ErrorCode,
        correlation: CorrelationId,
        body_bytes: usize,
    ) -> FrameHeader {
        let frame_bytes = FRAME_HEADER_BYTES + body_bytes;
        assert!(frame_bytes <= FRAME_BYTES_MAX, "a frame of {frame_bytes} bytes exceeds {FRAME_BYTES_MAX}");
        let length = u32::try_from(frame_bytes - LENGTH_BYTES).expect("FRAME_BYTES_MAX fits u32");
        FrameHeader { length, api, version, flags, error, correlation }
    }

    /// The 24 bytes on the wire.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; FRAME_HEADER_BYTES] {
        let wire = WireHeader {
            length: U32::new(self.length),
            api: U16::new(self.api.to_wire()),
            version: U16::new(self.version),
            flags: U16::new(self.flags),
            error: U16::new(self.error.to_wire()),
            reserved: U32::new(0),
            correlation_id: U64::new(self.correlation.0),
        };
        zerocopy::transmute!(wire)
    }

    /// Bytes of the whole frame, header included.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        self.length as usize + LENGTH_BYTES
    }

    /// Bytes of the body.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.frame_bytes().saturating_sub(FRAME_HEADER_BYTES)
    }

    /// Whether the frame is a reply.
    #[must_use]
    pub const fn is_reply(&self) -> bool {
        self.flags & FLAG_REPLY != 0
    }
}

/// One whole frame: `body` appends the body behind room left for the header, which is then filled in. Panics when the
/// frame would exceed [`FRAME_BYTES_MAX`].
#[must_use]
pub fn encode_frame(
    api: Api,
    version: u16,
    flags: u16,
    error: ErrorCode,
    correlation: CorrelationId,
    body: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = vec![0; FRAME_HEADER_BYTES];
    body(&mut out);
    let body_bytes = out.len() - FRAME_HEADER_BYTES;
    let header = FrameHeader::for_body(api, version, flags, error, correlation, body_bytes);
    out[..FRAME_HEADER_BYTES].copy_from_slice(&header.to_bytes());
    out
}

/// Appends the frame of a reply to `out`, behind whatever stands there: `body` appends the body, and says how many bytes
/// of it follow by other ways. Panics when the frame would exceed [`FRAME_BYTES_MAX`].
pub fn append_reply(out: &mut Vec<u8>, api: Api, correlation: CorrelationId, body: impl FnOnce(&mut Vec<u8>) -> usize) {
    let start = out.len();
    out.resize(start + FRAME_HEADER_BYTES, 0);
    let elsewhere = body(out);
    let body_bytes = out.len() - start - FRAME_HEADER_BYTES + elsewhere;
    let header = FrameHeader::for_body(api, PROTOCOL_VERSION, FLAG_REPLY, ErrorCode::None, correlation, body_bytes);
    out[start..start + FRAME_HEADER_BYTES].copy_from_slice(&header.to_bytes());
}

/// A request in the current version of the protocol.
#[must_use]
pub fn request_frame(api: Api, correlation: CorrelationId, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    encode_frame(api, PROTOCOL_VERSION, 0, ErrorCode::None, correlation, body)
}

/// A reply to a request that was taken.
#[must_use]
pub fn reply_frame(api: Api, correlation: CorrelationId, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    encode_frame(api, PROTOCOL_VERSION, FLAG_REPLY, ErrorCode::None, correlation, body)
}

/// The reply that refuses a request as a whole: the code in the header, a sentence for a person in the body. `error` must
/// be one: a refusal without a code would be read as a reply of `api`.
#[must_use]
pub fn error_frame(api: Api, correlation: CorrelationId, error: ErrorCode, message: &str) -> Vec<u8> {
    assert!(!error.is_none(), "a refusal carries an error code");
    let reply = ErrorReply { message: message.to_owned() };
    encode_frame(api, PROTOCOL_VERSION, FLAG_REPLY, error, correlation, |out| reply.encode(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::testing::hex;

    fn header() -> FrameHeader {
        FrameHeader::for_body(
            Api::Fetch,
            PROTOCOL_VERSION,
            FLAG_REPLY,
            ErrorCode::ShuttingDown,
            CorrelationId(0x0102_0304_0506_0708),
            1000,
        )
    }

    #[test]
    fn the_header_has_its_golden_bytes() {
        assert_eq!(hex(&header().to_bytes()), "fc0300000400010001 00eb03000000000807060504030201".replace(' ', ""));
        assert_eq!(FrameHeader::parse(&header().to_bytes()), Ok(header()));
        assert_eq!((header().frame_bytes(), header().body_bytes()), (1024, 1000));
    }

    #[test]
    fn a_header_cut_at_any_length_asks_for_more() {
        let bytes = header().to_bytes();
        for got in 0..FRAME_HEADER_BYTES {
            assert_eq!(FrameHeader::parse(&bytes[..got]), Err(FrameError::Truncated { got }));
        }
    }

    #[test]
    fn lengths_out_of_bounds_are_refused() {
        for (length, legal) in [(19, false), (20, true), (128 * 1024 * 1024 - 4, true), (128 * 1024 * 1024 - 3, false)]
        {
            let mut bytes = header().to_bytes();
            bytes[..4].copy_from_slice(&u32::to_le_bytes(length));
            assert_eq!(FrameHeader::parse(&bytes).is_ok(), legal, "{length}");
        }
        let mut bytes = header().to_bytes();
        bytes[..4].copy_from_slice(&[0, 0, 0, 0x80]);
        assert!(matches!(FrameHeader::parse(&bytes), Err(FrameError::Length { got: 0x8000_0000, .. })));
    }

    #[test]
    fn unknown_apis_flags_and_reserved_bytes_are_refused() {
        for (at, what) in [(5, "api"), (8, "flags"), (12, "reserved")] {
            let mut bytes = header().to_bytes();
            bytes[at] ^= 0x80;
            assert!(FrameHeader::parse(&bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn flipping_any_bit_of_a_header_never_panics() {
        for bit in 0..FRAME_HEADER_BYTES * 8 {
            let mut bytes = header().to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = FrameHeader::parse(&bytes);
        }
    }

    #[test]
    fn every_api_comes_back_from_its_number() {
        for &api in Api::ALL {
            assert_eq!(Api::from_wire(api.to_wire()), Some(api));
        }
        assert_eq!(Api::from_wire(0), None);
        assert_eq!(Api::from_wire(21), None);
    }

    #[test]
    fn a_refusal_carries_its_code_in_the_header_and_its_sentence_in_the_body() {
        let frame = error_frame(Api::Produce, CorrelationId(7), ErrorCode::Overloaded, "later");
        let header = FrameHeader::parse(&frame).unwrap();
        assert_eq!((header.error, header.is_reply(), header.frame_bytes()), (ErrorCode::Overloaded, true, frame.len()));
        assert_eq!(ErrorReply::decode(&frame[FRAME_HEADER_BYTES..]).unwrap().message, "later");
    }
}

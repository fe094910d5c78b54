//! The headers in front of every request and reply. Owns their layout and which of their versions goes with which API and
//! version. Never reads a body. Any core.
//!
//! | Request header | Bytes |
//! |---|---|
//! | api key | 2 |
//! | api version | 2 |
//! | correlation id | 4 |
//! | client id | 2 of length (-1 for null) and UTF-8, in every version |
//! | tagged fields | with flexible versions only |
//!
//! A reply's is the correlation id, and tagged fields with flexible versions of every API but ApiVersions.

use super::api::ApiKey;
use super::field::Field;
use super::limits::FEW_ELEMENTS_MAX;
use super::reader::{DecodeError, Reader, Shape};
use super::writer::{EncodeError, Writer};

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API.
    pub api: ApiKey,
    /// Which version of it; one that the codec has.
    pub version: i16,
    /// Comes back in the reply's header.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
}

/// A request that cannot be read. The client is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The key names no API that the codec has. The connection is closed, as Kafka does.
    #[error("api key {key} is not known (version {version}, correlation {correlation_id})")]
    UnknownApi {
        /// The key.
        key: i16,
        /// The version claimed.
        version: i16,
        /// The correlation id.
        correlation_id: i32,
    },
    /// The API has no such version. For ApiVersions it is answered in version 0 with error 35
    /// ([`unsupported_version`](super::ApiVersionsReply::unsupported_version)); any other closes the connection, since nobody
    /// knows what a reply looks like.
    #[error("{api:?} has no version {version} here (correlation {correlation_id})")]
    UnknownVersion {
        /// The API.
        api: ApiKey,
        /// The version claimed.
        version: i16,
        /// The correlation id.
        correlation_id: i32,
    },
    /// The header is cut or is not what its layout says.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

impl<'a> RequestHeader<'a> {
    /// Reads the header of a frame (without its length) and returns it with the body that follows. A version is taken that
    /// the codec has, whether or not it is [offered](ApiKey::is_offered).
    ///
    /// # Errors
    /// The client's fault; what to do is said at each [`HeaderError`].
    pub fn decode(frame: &'a [u8]) -> Result<(RequestHeader<'a>, &'a [u8]), HeaderError> {
        let mut reader = reader("request header", frame);
        let key = i16::read(&mut reader, "api_key")?;
        let version = i16::read(&mut reader, "api_version")?;
        let correlation_id = i32::read(&mut reader, "correlation_id")?;
        let Some(api) = ApiKey::from_wire(key) else {
            return Err(HeaderError::UnknownApi { key, version, correlation_id });
        };
        if !api.api().versions.contains(&version) {
            return Err(HeaderError::UnknownVersion { api, version, correlation_id });
        }
        let client_id = reader.string("client_id", false)?;
        if api.is_flexible(version) {
            reader.tags(|_, _| Ok(false))?;
        }
        Ok((RequestHeader { api, version, correlation_id, client_id }, reader.rest()))
    }

    /// Appends the header.
    ///
    /// # Errors
    /// The client id is too long for its length; the caller is at fault.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut writer = writer("request header", out);
        self.api.to_wire().write(&mut writer, "api_key")?;
        self.version.write(&mut writer, "api_version")?;
        self.correlation_id.write(&mut writer, "correlation_id")?;
        writer.string("client_id", self.client_id, false)?;
        if self.api.is_flexible(self.version) {
            writer.uvarint(0);
        }
        Ok(())
    }
}

/// Reads the header of a reply to a request of this API and version (without the frame's length), and returns the
/// correlation id with the body that follows.
///
/// # Errors
/// The broker sent something else.
pub fn decode_reply_header(api: ApiKey, version: i16, frame: &[u8]) -> Result<(i32, &[u8]), DecodeError> {
    let mut reader = reader("reply header", frame);
    let correlation_id = i32::read(&mut reader, "correlation_id")?;
    if api.has_flexible_reply_header(version) {
        reader.tags(|_, _| Ok(false))?;
    }
    Ok((correlation_id, reader.rest()))
}

/// Appends the header of a reply to a request of this API and version.
pub fn encode_reply_header(api: ApiKey, version: i16, correlation_id: i32, out: &mut Vec<u8>) {
    let mut writer = writer("reply header", out);
    writer.raw(&correlation_id.to_be_bytes());
    if api.has_flexible_reply_header(version) {
        writer.uvarint(0);
    }
}

const HEADER: Shape = Shape { version: 0, flexible: false };

fn reader<'a>(message: &'static str, frame: &'a [u8]) -> Reader<'a> {
    Reader::new(message, frame, HEADER, FEW_ELEMENTS_MAX)
}

fn writer<'o>(message: &'static str, out: &'o mut Vec<u8>) -> Writer<'o> {
    Writer::new(message, out, HEADER, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(api: ApiKey, version: i16) -> RequestHeader<'static> {
        RequestHeader { api, version, correlation_id: 7, client_id: Some("kc") }
    }

    #[test]
    fn headers_have_their_golden_bytes() {
        for (header, golden) in [
            (header(ApiKey::Produce, 8), &[0, 0, 0, 8, 0, 0, 0, 7, 0, 2, b'k', b'c'][..]),
            (header(ApiKey::Produce, 9), &[0, 0, 0, 9, 0, 0, 0, 7, 0, 2, b'k', b'c', 0]),
            (header(ApiKey::ApiVersions, 3), &[0, 18, 0, 3, 0, 0, 0, 7, 0, 2, b'k', b'c', 0]),
            (RequestHeader { client_id: None, ..header(ApiKey::Metadata, 0) }, &[0, 3, 0, 0, 0, 0, 0, 7, 0xff, 0xff]),
        ] {
            let mut out = Vec::new();
            header.encode(&mut out).unwrap();
            assert_eq!(out, golden);
            out.extend_from_slice(b"body");
            assert_eq!(RequestHeader::decode(&out), Ok((header, &b"body"[..])));
            for cut in 0..golden.len() {
                assert!(matches!(RequestHeader::decode(&golden[..cut]), Err(HeaderError::Malformed(_))));
            }
        }
    }

    #[test]
    fn unknown_keys_and_versions_keep_what_an_answer_needs() {
        let frame = [0, 18, 0, 5, 0, 0, 0, 9, 0x80];
        let error = HeaderError::UnknownVersion { api: ApiKey::ApiVersions, version: 5, correlation_id: 9 };
        assert_eq!(RequestHeader::decode(&frame), Err(error));
        let frame = [0x7f, 0, 0, 1, 0, 0, 0, 9];
        let error = HeaderError::UnknownApi { key: 0x7f00, version: 1, correlation_id: 9 };
        assert_eq!(RequestHeader::decode(&frame), Err(error));
    }

    #[test]
    fn tagged_fields_of_a_header_are_skipped() {
        let mut frame = Vec::new();
        header(ApiKey::Produce, 9).encode(&mut frame).unwrap();
        frame.pop();
        frame.extend_from_slice(&[1, 0, 3, 1, 2, 3, 42]);
        assert_eq!(RequestHeader::decode(&frame), Ok((header(ApiKey::Produce, 9), &[42][..])));
    }

    #[test]
    fn the_reply_header_of_api_versions_is_never_flexible() {
        for (api, version, golden) in [
            (ApiKey::ApiVersions, 4, &[0, 0, 0, 7][..]),
            (ApiKey::Produce, 8, &[0, 0, 0, 7]),
            (ApiKey::Produce, 9, &[0, 0, 0, 7, 0]),
        ] {
            let mut out = Vec::new();
            encode_reply_header(api, version, 7, &mut out);
            assert_eq!(out, golden);
            assert_eq!(decode_reply_header(api, version, &out), Ok((7, &[][..])));
        }
    }
}

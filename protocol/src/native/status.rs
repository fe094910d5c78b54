//! Replies that say only how it went. Owns their layouts; never maps an error to a code. Any core.

use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::error_code::ErrorCode;

/// Body of every reply whose frame header carries an error.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 2 + n | `message`, cut to 4096 bytes |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// What was wrong, where, and what to do, for a person.
    pub message: String,
}

impl ErrorReply {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).text(&self.message);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ErrorReply, DecodeError> {
        let mut reader = Reader::new("error reply", bytes);
        let reply = ErrorReply { message: reader.string("message")? };
        reader.finish()?;
        Ok(reply)
    }
}

/// Reply to the deletion or alteration of a topic.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 2 | `error` |
/// | 2 | 2 + n | `message`, cut to 4096 bytes |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReply {
    /// None when it was done.
    pub error: ErrorCode,
    /// What was wrong, for a person; empty when nothing was.
    pub message: String,
}

impl StatusReply {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.error_code(self.error);
        writer.text(&self.message);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<StatusReply, DecodeError> {
        let mut reader = Reader::new("status reply", bytes);
        let reply = StatusReply { error: reader.error_code("error")?, message: reader.string("message")? };
        reader.finish()?;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::testing::check_golden;

    #[test]
    fn both_replies_have_their_golden_bytes() {
        let error = ErrorReply { message: "no".into() };
        check_golden(&error, "0200 6e6f", ErrorReply::encode, ErrorReply::decode);
        let status = StatusReply { error: ErrorCode::InvalidTopic, message: "é".into() };
        check_golden(&status, "1100 0200 c3a9", StatusReply::encode, StatusReply::decode);
    }

    #[test]
    fn a_code_of_a_newer_broker_becomes_unknown() {
        assert_eq!(StatusReply::decode(&[0xee, 0xee, 0, 0]).unwrap().error, ErrorCode::Unknown);
    }
}

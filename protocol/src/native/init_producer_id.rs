//! The number of an idempotent producer. Owns the layouts; never hands a number out. Runs on the core of the connection.

use super::reader::{DecodeError, DecodeProblem, Reader};
use super::writer::Writer;
use crate::error_code::ErrorCode;
use crate::producer::{ProducerEpoch, ProducerId};

/// `transactional_id` optional string: none asks for the number of a producer without transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitProducerIdRequest {
    /// Whose transactions; none for an idempotent producer.
    pub transactional_id: Option<String>,
}

impl InitProducerIdRequest {
    /// Appends the body to `out`. Panics when the id exceeds the longest string.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).option(self.transactional_id.as_deref(), Writer::string);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<InitProducerIdRequest, DecodeError> {
        let mut reader = Reader::new("init producer id request", bytes);
        let transactional_id = reader.option("transactional_id", |reader| reader.string("transactional_id"))?;
        reader.finish()?;
        Ok(InitProducerIdRequest { transactional_id })
    }
}

/// A number that nobody else has.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 2 | `error` |
/// | 2 | 2 + n | `message`, cut to 4096 bytes |
/// | | 8 | `producer_id`, at most 2^63 - 1 |
/// | | 2 | `producer_epoch`, at most 2^15 - 1 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitProducerIdReply {
    /// None when a number was given.
    pub error: ErrorCode,
    /// What was wrong, for a person; empty when nothing was.
    pub message: String,
    /// The number; without meaning after an error.
    pub producer_id: ProducerId,
    /// The epoch to begin with. The number is the producer's alone, so it raises the epoch itself.
    pub producer_epoch: ProducerEpoch,
}

impl InitProducerIdReply {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.error_code(self.error);
        writer.text(&self.message);
        writer.u64(self.producer_id.0);
        writer.u16(self.producer_epoch.0);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<InitProducerIdReply, DecodeError> {
        let mut reader = Reader::new("init producer id reply", bytes);
        let error = reader.error_code("error")?;
        let message = reader.string("message")?;
        let at = reader.position();
        let producer_id = reader.u64("producer_id")?;
        let producer_epoch = reader.u16("producer_epoch")?;
        if i64::try_from(producer_id).is_err() {
            return Err(reader.error(
                "producer_id",
                at,
                DecodeProblem::Unknown { expected: "at most i64::MAX", got: producer_id },
            ));
        }
        if producer_epoch > ProducerEpoch::MAX.0 {
            return Err(reader.error(
                "producer_epoch",
                at + 8,
                DecodeProblem::Unknown { expected: "at most i16::MAX", got: producer_epoch.into() },
            ));
        }
        reader.finish()?;
        Ok(InitProducerIdReply {
            error,
            message,
            producer_id: ProducerId(producer_id),
            producer_epoch: ProducerEpoch(producer_epoch),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::testing::check_golden;

    #[test]
    fn both_have_their_golden_bytes() {
        for (transactional_id, golden) in [(None, "00"), (Some("t".to_owned()), "01 0100 74")] {
            let request = InitProducerIdRequest { transactional_id };
            check_golden(&request, golden, InitProducerIdRequest::encode, InitProducerIdRequest::decode);
        }
        let reply = InitProducerIdReply {
            error: ErrorCode::None,
            message: String::new(),
            producer_id: ProducerId(0x0102),
            producer_epoch: ProducerEpoch(3),
        };
        let golden = "0000 0000 0201000000000000 0300";
        check_golden(&reply, golden, InitProducerIdReply::encode, InitProducerIdReply::decode);
    }

    #[test]
    fn numbers_that_kafkas_fields_cannot_carry_are_refused() {
        let reply = |id: u64, epoch: u16| {
            let mut bytes = vec![0; 4];
            bytes.extend_from_slice(&id.to_le_bytes());
            bytes.extend_from_slice(&epoch.to_le_bytes());
            InitProducerIdReply::decode(&bytes).is_ok()
        };
        assert!(reply(u64::MAX >> 1, 32_767));
        assert!(!reply(1 << 63, 0) && !reply(0, 32_768));
    }
}

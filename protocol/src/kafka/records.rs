//! What a broker demands of the records in a Produce request. Owns the rules that are Kafka's wire's alone; those of any batch
//! stand in `batch`. Never opens compressed records. Any core.

use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Magic, check_produced};
use crate::codec::Codec;
use crate::records::kafka2;

/// The first version of Produce whose batches may be compressed with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// The first version of Produce whose batches are of magic 2.
const MAGIC_2_FROM: i16 = 3;

/// Why records cannot be appended. The client is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// No batch, where there must be one.
    #[error("a partition needs exactly one batch, got none")]
    Missing,
    /// More than one batch.
    #[error("a partition needs exactly one batch, got more: the first has {first_bytes} of {got} bytes")]
    Several {
        /// Bytes of the first.
        first_bytes: usize,
        /// Bytes there are.
        got: usize,
    },
    /// The batch is not in Kafka's dialect.
    #[error("the magic byte of a Kafka client's batch is 2, got {got}")]
    Magic {
        /// The byte.
        got: u8,
    },
    /// The version of the request is older than batches of magic 2.
    #[error("batches of magic 2 need version {MAGIC_2_FROM} of Produce, got version {version}")]
    Version {
        /// The version.
        version: i16,
    },
    /// zstd in a version that is older than it.
    #[error("zstd needs version {ZSTD_FROM} of Produce, got version {version}")]
    Zstd {
        /// The version.
        version: i16,
    },
    /// The batch, or a record of it, breaks a rule of every batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Checks the records that a Produce request of this version has for one partition: exactly one batch, which passes
/// [`check_produced`], in magic 2. Records that are not compressed are walked: as many as the header says, at the offsets 0,
/// 1, 2 and so on, nothing behind them. Compressed ones are not opened.
///
/// Allocates nothing. Reads every byte once for the CRC, and the lengths in the records once more.
///
/// # Errors
/// Which rule the client broke.
pub fn check_records(records: Option<&[u8]>, version: i16) -> Result<BatchHeader, RecordsError> {
    if version < MAGIC_2_FROM {
        return Err(RecordsError::Version { version });
    }
    let bytes = records.filter(|bytes| !bytes.is_empty()).ok_or(RecordsError::Missing)?;
    let header = check_produced(bytes).map_err(|error| match error {
        BatchError::TrailingBytes { expected, got } => RecordsError::Several { first_bytes: expected, got },
        BatchError::UnknownMagic { got } => RecordsError::Magic { got },
        error => RecordsError::Batch(error),
    })?;
    if header.magic != Magic::Kafka2 {
        return Err(RecordsError::Magic { got: header.magic as u8 });
    }
    match header.codec().map_err(BatchError::Codec)? {
        // The header's last offset delta is one less than its count, and the walk takes ascending deltas up to it only: they
        // are 0, 1, 2 and so on.
        Codec::None => kafka2::Records::new(&header, bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default())
            .try_for_each(|record| record.map(|_| ()))?,
        Codec::Zstd if version < ZSTD_FROM => return Err(RecordsError::Zstd { version }),
        _ => {}
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchError, batch_crc};
    use crate::records::{BatchBuilder, Dialect};

    fn batch(dialect: Dialect, codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new(dialect, codec, None);
        // Long enough to be worth compressing.
        for value in [&[1; 300][..], &[2; 300], &[3; 300]] {
            builder.push(1000, Some(b"key"), Some(value), &[]);
        }
        builder.build().unwrap()
    }

    fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
        let crc = batch_crc(&bytes);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    #[test]
    fn exactly_one_batch_of_magic_2_is_taken() {
        let one = batch(Dialect::Kafka2, Codec::None);
        assert_eq!(check_records(Some(&one), 3).map(|header| header.record_count), Ok(3));
        assert_eq!(check_records(None, 9), Err(RecordsError::Missing));
        assert_eq!(check_records(Some(&[]), 9), Err(RecordsError::Missing));
        assert_eq!(check_records(Some(&one), 2), Err(RecordsError::Version { version: 2 }));
        let two = [&one[..], &one].concat();
        let several = RecordsError::Several { first_bytes: one.len(), got: two.len() };
        assert_eq!(check_records(Some(&two), 9), Err(several));
        let native = batch(Dialect::Native, Codec::None);
        assert_eq!(check_records(Some(&native), 9), Err(RecordsError::Magic { got: 79 }));
        for magic in [0, 1, 3] {
            let mut old = one.clone();
            old[16] = magic;
            assert_eq!(check_records(Some(&old), 9), Err(RecordsError::Magic { got: magic }));
        }
    }

    #[test]
    fn zstd_is_younger_than_version_7() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let bytes = batch(Dialect::Kafka2, codec);
            assert!(check_records(Some(&bytes), 7).is_ok());
            let expected = (codec == Codec::Zstd).then_some(RecordsError::Zstd { version: 6 });
            assert_eq!(check_records(Some(&bytes), 6).err(), expected);
        }
    }

    #[test]
    fn a_header_that_contradicts_its_records_is_refused_though_its_checksum_fits() {
        let one = batch(Dialect::Kafka2, Codec::None);
        let refused = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = one.clone();
            change(&mut bytes);
            match check_records(Some(&sealed(bytes)), 9) {
                Err(RecordsError::Batch(error)) => error,
                other => panic!("{other:?}"),
            }
        };
        let fewer = |bytes: &mut Vec<u8>| {
            bytes[26] -= 1;
            bytes[60] -= 1;
        };
        assert!(matches!(refused(&fewer), BatchError::TrailingRecords { .. }));
        let more = |bytes: &mut Vec<u8>| {
            bytes[26] += 1;
            bytes[60] += 1;
        };
        assert!(matches!(refused(&more), BatchError::Record { index: 3, .. }));
        // The first record's offset delta: two bytes of length, attributes, timestamp delta, then this.
        assert!(matches!(refused(&|bytes| bytes[65] = 2), BatchError::Record { index: 1, .. }));
        assert_eq!(refused(&|bytes| bytes[22] |= 0x20), BatchError::Control);
        assert!(matches!(refused(&|bytes| bytes[26] += 1), BatchError::SparseOffsets { .. }));
        let cut = |bytes: &mut Vec<u8>| {
            bytes.pop();
            bytes[11] -= 1;
        };
        assert!(matches!(refused(&cut), BatchError::Record { index: 2, .. }));
    }
}

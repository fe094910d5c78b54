//! What a field of a message can be, and how each kind stands on the wire. Owns the step between one Rust type and its bytes;
//! which fields a message has in which version is the business of its table. Any core.

use super::error::KafkaError;
use super::reader::{DecodeError, DecodeProblem, Reader, Shape};
#[cfg(any(test, feature = "samples"))]
use super::sample::Sampler;
use super::writer::{EncodeError, EncodeProblem, Writer};
use crate::ids::TopicId;

/// A type that stands on the wire: an integer, a string, an array, a structure of such. Structures implement it by their
/// table.
pub trait Field<'a>: Clone + Sized {
    /// Reads one; `what` names it in errors.
    ///
    /// # Errors
    /// The peer sent something else.
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError>;

    /// Writes it; `what` names it in errors.
    ///
    /// # Errors
    /// The version cannot carry the value; the caller is at fault.
    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError>;

    /// The least bytes one takes.
    fn bytes_min(shape: Shape) -> usize;

    /// A random value.
    #[cfg(any(test, feature = "samples"))]
    #[doc(hidden)]
    fn sample(sampler: &mut Sampler, shape: Shape) -> Self;
}

macro_rules! integers {
    ($($type:ty),*) => {
        $(
            impl<'a> Field<'a> for $type {
                #[inline]
                fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
                    Ok(<$type>::from_be_bytes(reader.array(what)?))
                }

                #[inline]
                fn write(&self, writer: &mut Writer<'_>, _: &'static str) -> Result<(), EncodeError> {
                    writer.raw(&self.to_be_bytes());
                    Ok(())
                }

                #[inline]
                fn bytes_min(_: Shape) -> usize {
                    size_of::<$type>()
                }

                #[cfg(any(test, feature = "samples"))]
                fn sample(sampler: &mut Sampler, _: Shape) -> Self {
                    sampler.integer(<$type>::BITS) as $type
                }
            }
        )*
    };
}

integers!(i8, i16, i32, i64, u16);

/// Any byte but 0 is true, as Kafka reads it.
impl<'a> Field<'a> for bool {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        Ok(i8::read(reader, what)? != 0)
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        i8::from(*self).write(writer, what)
    }

    #[inline]
    fn bytes_min(_: Shape) -> usize {
        1
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, _: Shape) -> Self {
        sampler.below(2) == 1
    }
}

impl<'a> Field<'a> for KafkaError {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        i16::read(reader, what).map(KafkaError)
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        self.0.write(writer, what)
    }

    #[inline]
    fn bytes_min(_: Shape) -> usize {
        2
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, shape: Shape) -> Self {
        KafkaError(i16::sample(sampler, shape))
    }
}

/// Kafka's `uuid`: sixteen bytes, the highest first. All zeros stand for none.
impl<'a> Field<'a> for TopicId {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        Ok(TopicId(u128::from_be_bytes(reader.array(what)?)))
    }

    fn write(&self, writer: &mut Writer<'_>, _: &'static str) -> Result<(), EncodeError> {
        writer.raw(&self.0.to_be_bytes());
        Ok(())
    }

    #[inline]
    fn bytes_min(_: Shape) -> usize {
        16
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, _: Shape) -> Self {
        TopicId(u128::from(sampler.draw()) << 64 | u128::from(sampler.draw()))
    }
}

impl<'a> Field<'a> for Option<&'a str> {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let flexible = reader.shape().flexible;
        reader.string(what, flexible)
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        let flexible = writer.shape().flexible;
        writer.string(what, *self, flexible)
    }

    #[inline]
    fn bytes_min(shape: Shape) -> usize {
        if shape.flexible { 1 } else { 2 }
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, shape: Shape) -> Self {
        (sampler.below(4) > 0).then(|| Field::sample(sampler, shape))
    }
}

impl<'a> Field<'a> for &'a str {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let value = Option::read(reader, what)?;
        value.ok_or_else(|| reader.error(what, DecodeProblem::Null))
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        Some(*self).write(writer, what)
    }

    #[inline]
    fn bytes_min(shape: Shape) -> usize {
        Option::<&str>::bytes_min(shape)
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, _: Shape) -> Self {
        sampler.text()
    }
}

impl<'a> Field<'a> for Option<&'a [u8]> {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        match reader.length(what, usize::MAX)? {
            Some(length) => reader.take(what, length).map(Some),
            None => Ok(None),
        }
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        writer.length(what, self.map(<[u8]>::len))?;
        writer.raw(self.unwrap_or_default());
        Ok(())
    }

    #[inline]
    fn bytes_min(shape: Shape) -> usize {
        if shape.flexible { 1 } else { 4 }
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, shape: Shape) -> Self {
        (sampler.below(4) > 0).then(|| Field::sample(sampler, shape))
    }
}

impl<'a> Field<'a> for &'a [u8] {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let value = Option::read(reader, what)?;
        value.ok_or_else(|| reader.error(what, DecodeProblem::Null))
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        Some(*self).write(writer, what)
    }

    #[inline]
    fn bytes_min(shape: Shape) -> usize {
        Option::<&[u8]>::bytes_min(shape)
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, _: Shape) -> Self {
        sampler.text().as_bytes()
    }
}

/// Record batches in a message: bytes that this module never looks into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Records<'a> {
    /// None at all.
    #[default]
    Null,
    /// These. What a decoder gives is a slice of the frame (see [`range_in`](super::range_in)).
    Here(&'a [u8]),
    /// So many bytes, sent by the caller from where they lie. Only where a message is written
    /// [in parts](super::append_reply_parts).
    Elsewhere(usize),
}

impl<'a> Records<'a> {
    /// The bytes, `None` for null or elsewhere.
    #[must_use]
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Records::Here(bytes) => Some(bytes),
            Records::Null | Records::Elsewhere(_) => None,
        }
    }
}

impl<'a> Field<'a> for Records<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        Ok(Option::read(reader, what)?.map_or(Records::Null, Records::Here))
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        match *self {
            Records::Null => None::<&[u8]>.write(writer, what),
            Records::Here(bytes) => bytes.write(writer, what),
            Records::Elsewhere(bytes) => {
                writer.length(what, Some(bytes))?;
                writer.gap(what, bytes)
            }
        }
    }

    #[inline]
    fn bytes_min(shape: Shape) -> usize {
        Option::<&[u8]>::bytes_min(shape)
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, shape: Shape) -> Self {
        Option::sample(sampler, shape).map_or(Records::Null, Records::Here)
    }
}

/// A structure of its own table, as against the kinds above. Only such may be null by a byte in front.
pub trait Structure<'a>: Field<'a> {}

/// A structure that may be null: one byte, -1 for null, in front of it.
impl<'a, T: Structure<'a>> Field<'a> for Option<T> {
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        match i8::read(reader, what)? {
            0.. => T::read(reader, what).map(Some),
            _ => Ok(None),
        }
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        match self {
            Some(value) => {
                1_i8.write(writer, what)?;
                value.write(writer, what)
            }
            None => (-1_i8).write(writer, what),
        }
    }

    fn bytes_min(_: Shape) -> usize {
        1
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, shape: Shape) -> Self {
        (sampler.below(4) > 0).then(|| T::sample(sampler, shape))
    }
}

/// Refuses null in a version that has none, on both ways.
pub(super) fn check_null<T>(
    reader: &Reader<'_>,
    what: &'static str,
    value: Option<&T>,
    legal: bool,
) -> Result<(), DecodeError> {
    if value.is_none() && !legal { Err(reader.error(what, DecodeProblem::Null)) } else { Ok(()) }
}

pub(super) fn check_null_written<T>(
    writer: &Writer<'_>,
    what: &'static str,
    value: Option<&T>,
    legal: bool,
) -> Result<(), EncodeError> {
    if value.is_none() && !legal { Err(writer.error(what, EncodeProblem::Null)) } else { Ok(()) }
}

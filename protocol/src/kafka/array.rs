//! Arrays: read lazily from the frame, or written from a slice or a list. Owns both faces of one type, so that one table
//! serves both directions. Never allocates when it reads. Any core.

use std::fmt;

use super::field::Field;
use super::reader::{DecodeError, DecodeProblem, Reader, Shape};
#[cfg(any(test, feature = "samples"))]
use super::sample::Sampler;
use super::writer::{EncodeError, Writer};

/// The elements of an array.
///
/// One that was decoded stands on the frame: every element was checked once, and is read again when it is asked for. One
/// that is to be encoded is made from a slice (no allocation) or a `Vec`.
#[derive(Clone)]
pub struct Array<'a, T>(Elements<'a, T>);

#[derive(Clone)]
enum Elements<'a, T> {
    /// At the first element of as many as `count`.
    Wire {
        reader: Reader<'a>,
        count: usize,
    },
    Slice(&'a [T]),
    List(Vec<T>),
}

impl<'a, T> Array<'a, T> {
    /// No element.
    pub const EMPTY: Array<'a, T> = Array(Elements::Slice(&[]));

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Elements::Wire { count, .. } => *count,
            Elements::Slice(slice) => slice.len(),
            Elements::List(list) => list.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Field<'a>> Array<'a, T> {
    /// The elements in order, each read from the frame (or cloned, where there is no frame).
    pub fn iter(&self) -> Iter<'_, 'a, T> {
        Iter(match &self.0 {
            Elements::Wire { reader, count } => Walk::Wire { reader: reader.clone(), count: *count },
            Elements::Slice(slice) => Walk::Slice(slice.iter()),
            Elements::List(list) => Walk::Slice(list.iter()),
        })
    }
}

/// The iterator of an [`Array`].
pub struct Iter<'s, 'a, T>(Walk<'s, 'a, T>);

enum Walk<'s, 'a, T> {
    Wire { reader: Reader<'a>, count: usize },
    Slice(std::slice::Iter<'s, T>),
}

impl<'a, T: Field<'a>> Iterator for Iter<'_, 'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Walk::Wire { reader, count } => {
                *count = count.checked_sub(1)?;
                // It was read once already, so it cannot fail now.
                T::read(reader, "element").ok()
            }
            Walk::Slice(slice) => slice.next().cloned(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = match &self.0 {
            Walk::Wire { count, .. } => *count,
            Walk::Slice(slice) => slice.len(),
        };
        (count, Some(count))
    }
}

impl<'a, T: Field<'a>> ExactSizeIterator for Iter<'_, 'a, T> {}

impl<'s, 'a, T: Field<'a>> IntoIterator for &'s Array<'a, T> {
    type Item = T;
    type IntoIter = Iter<'s, 'a, T>;

    fn into_iter(self) -> Iter<'s, 'a, T> {
        self.iter()
    }
}

impl<T> Default for Array<'_, T> {
    fn default() -> Self {
        Array::EMPTY
    }
}

impl<T> From<Vec<T>> for Array<'_, T> {
    fn from(list: Vec<T>) -> Self {
        Array(Elements::List(list))
    }
}

impl<T, const N: usize> From<[T; N]> for Array<'_, T> {
    fn from(elements: [T; N]) -> Self {
        Array(Elements::List(elements.into()))
    }
}

impl<'a, T> From<&'a [T]> for Array<'a, T> {
    fn from(slice: &'a [T]) -> Self {
        Array(Elements::Slice(slice))
    }
}

impl<'a, T> From<&'a Vec<T>> for Array<'a, T> {
    fn from(list: &'a Vec<T>) -> Self {
        Array(Elements::Slice(list))
    }
}

impl<'a, T, const N: usize> From<&'a [T; N]> for Array<'a, T> {
    fn from(slice: &'a [T; N]) -> Self {
        Array(Elements::Slice(slice))
    }
}

impl<T> FromIterator<T> for Array<'_, T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Array(Elements::List(elements.into_iter().collect()))
    }
}

impl<'a, T: Field<'a> + PartialEq> PartialEq for Array<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Field<'a> + Eq> Eq for Array<'a, T> {}

impl<'a, T: Field<'a> + fmt::Debug> fmt::Debug for Array<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<Array<'a, T>> {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let Some(count) = reader.count(what, T::bytes_min(reader.shape()))? else { return Ok(None) };
        let elements = reader.clone();
        for _ in 0..count {
            T::read(reader, what)?;
        }
        Ok(Some(Array(Elements::Wire { reader: elements, count })))
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        match self {
            Some(array) => array.write(writer, what),
            None => writer.length(what, None),
        }
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

impl<'a, T: Field<'a>> Field<'a> for Array<'a, T> {
    #[inline]
    fn read(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let value = Option::read(reader, what)?;
        value.ok_or_else(|| reader.error(what, DecodeProblem::Null))
    }

    fn write(&self, writer: &mut Writer<'_>, what: &'static str) -> Result<(), EncodeError> {
        writer.length(what, Some(self.len()))?;
        match &self.0 {
            Elements::Slice(slice) => slice.iter().try_for_each(|element| element.write(writer, what)),
            Elements::List(list) => list.iter().try_for_each(|element| element.write(writer, what)),
            // May be of another version than the one that is written.
            Elements::Wire { .. } => self.iter().try_for_each(|element| element.write(writer, what)),
        }
    }

    #[inline]
    fn bytes_min(shape: Shape) -> usize {
        Option::<Array<'a, T>>::bytes_min(shape)
    }

    #[cfg(any(test, feature = "samples"))]
    fn sample(sampler: &mut Sampler, shape: Shape) -> Self {
        let mut elements = Vec::new();
        for _ in 0..sampler.below(4) {
            elements.push(T::sample(sampler, shape));
        }
        elements.into()
    }
}

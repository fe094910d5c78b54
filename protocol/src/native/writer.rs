//! How native messages put their fields into a buffer. Owns the encoding of integers, strings, options and lists; never
//! reads, never checks a peer. What it is given is our own logic's, so a string or list above its cap is a broken
//! invariant and asserted. Runs on whichever core builds the message.

use super::limits::{STRING_BYTES_MAX, TEXT_BYTES_MAX};
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, MemberEpoch, NodeId, Offset, PartitionIndex, ShardIndex, TopicId};

/// Appends the fields of one message to a buffer.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.raw(&value.to_le_bytes());
    }

    pub(crate) fn error_code(&mut self, value: ErrorCode) {
        self.u16(value.to_wire());
    }

    pub(crate) fn offset(&mut self, value: Offset) {
        self.u64(value.0);
    }

    pub(crate) fn topic_id(&mut self, value: TopicId) {
        self.u128(value.0);
    }

    pub(crate) fn partition(&mut self, value: PartitionIndex) {
        self.u32(value.0);
    }

    pub(crate) fn leader_epoch(&mut self, value: LeaderEpoch) {
        self.u32(value.0);
    }

    pub(crate) fn member_epoch(&mut self, value: MemberEpoch) {
        self.i32(value.0);
    }

    pub(crate) fn shard(&mut self, value: ShardIndex) {
        self.u16(value.0);
    }

    pub(crate) fn node(&mut self, value: NodeId) {
        self.u32(value.0);
    }

    /// A string that must arrive whole. Panics above [`STRING_BYTES_MAX`]: whoever takes strings from outside bounds them.
    pub(crate) fn string(&mut self, value: &str) {
        assert!(
            value.len() <= STRING_BYTES_MAX,
            "a string of {} bytes exceeds the wire's {STRING_BYTES_MAX}",
            value.len()
        );
        self.u16(u16::try_from(value.len()).expect("bounded by the assertion above"));
        self.raw(value.as_bytes());
    }

    /// A sentence for a person, cut at a character boundary when it is longer than [`TEXT_BYTES_MAX`].
    pub(crate) fn text(&mut self, value: &str) {
        self.string(&value[..value.floor_char_boundary(TEXT_BYTES_MAX)]);
    }

    /// A length whose bytes may stand elsewhere.
    pub(crate) fn length(&mut self, value: usize) {
        self.u32(u32::try_from(value).expect("lengths inside a frame fit u32"));
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.bool(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// A list; `max` is the cap that its reader applies.
    pub(crate) fn list<T>(&mut self, rows: &[T], max: usize, mut put: impl FnMut(&mut Self, &T)) {
        self.rows(rows.iter(), max, |writer, row| put(writer, row));
    }

    /// A list of names.
    pub(crate) fn names(&mut self, names: &[String], max: usize) {
        self.list(names, max, |writer, name| writer.string(name));
    }

    /// As [`list`](Self::list), of rows that stand in no slice.
    pub(crate) fn rows<T>(
        &mut self,
        rows: impl ExactSizeIterator<Item = T>,
        max: usize,
        mut put: impl FnMut(&mut Self, T),
    ) {
        assert!(rows.len() <= max, "a list of {} rows exceeds its cap of {max}", rows.len());
        self.length(rows.len());
        for row in rows {
            put(self, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_is_cut_at_a_character_boundary() {
        let mut out = Vec::new();
        let sentence = format!("{}é", "a".repeat(TEXT_BYTES_MAX - 1));
        Writer::new(&mut out).text(&sentence);
        assert_eq!(out.len(), 2 + TEXT_BYTES_MAX - 1);
    }
}

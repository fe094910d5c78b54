//! A range of each topic for every member. Owns where topics are cut. Pure.
//!
//! As Kafka's since 4.0: the members stand in an order that a restart of a static one does not change, and topics of equal size with
//! the same readers are cut alike. Nothing is remembered: who keeps its place keeps its range.

use super::{MemberIndex, Question};

pub(super) fn assign(question: &Question) -> Vec<MemberIndex> {
    let mut owners = Vec::with_capacity(question.partition_count());
    for (readers, &count) in question.readers().iter().zip(&question.topics) {
        let end = owners.len() + count as usize;
        let reader_count = readers.len().max(1);
        let (least, extra) = (count as usize / reader_count, count as usize % reader_count);
        for (place, &reader) in readers.iter().enumerate() {
            owners.extend(std::iter::repeat_n(reader, least + usize::from(place < extra)));
        }
        owners.resize(end, MemberIndex::NONE);
    }
    owners
}

//! OffsetCommit (kinds 0 and 1): how far a group has read one partition. Owns its layout. Any core.
//!
//! What changed in the value: 1 a time of its own at which it expires; 2 none any more; 3 leader epochs; 4 flexible, and the id of
//! the topic as a tagged field.

use super::{Value, Versions};
use crate::ids::TopicId;
use crate::kafka::table::structures;

structures! {
    /// Whose offset it is.
    OffsetCommitKey<'a> {
        /// The group.
        group: &'a str => 0..;
        /// The topic's name.
        topic: &'a str => 0..;
        /// The partition's number.
        partition: i32 => 0..;
    }

    /// The offset.
    OffsetCommitValue<'a> {
        /// The next offset to read.
        offset: i64 => 0..;
        /// Epoch of the last record that was read, -1 for none.
        leader_epoch: i32 => 3.., default -1, ignorable true;
        /// A note of the client's own.
        metadata: &'a str => 0..;
        /// When it was committed, in ms of the wall clock.
        commit_timestamp: i64 => 0..;
        /// When it expires; -1 for when the group's offsets do.
        expire_timestamp: i64 => 1..=1, default -1, ignorable true;
        /// The topic's id; all zeros where the client did not know it.
        topic_id: TopicId => 4.., tag 0, ignorable true;
    }
}

impl<'a> Value<'a> for OffsetCommitValue<'a> {
    const VERSIONS: Versions = Versions { last: 4, flexible_from: 4 };

    fn version(&self) -> i16 {
        match (self.expire_timestamp, self.topic_id) {
            (-1, TopicId(0)) => 3,
            (-1, _) => 4,
            _ => 1,
        }
    }
}

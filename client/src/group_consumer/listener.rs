//! What a program is told when partitions come and go. Owns the trait; never calls it.

use std::pin::Pin;

use super::commits::OffsetCommitter;
use crate::group_calls::TopicPartition;

/// A call that is being answered.
pub type Calling<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Told when partitions come to a member and leave it, from within its calls for records: never at the same time as the program
/// works on a record. Where the future of such a call is dropped, the listener is called again by the next one.
pub trait RebalanceListener: Send + 'static {
    /// These are read from now on, from where the group stands.
    fn assigned<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Calling<'a> {
        let _ = partitions;
        Box::pin(std::future::ready(()))
    }

    /// These are given back when the answer is there, and not before: until then nobody else reads them. Nothing more of them
    /// is given out, and what auto-commit knows of them is committed. `offsets` commits what the program knows.
    fn revoked<'a>(&'a mut self, partitions: &'a [TopicPartition], offsets: &'a OffsetCommitter) -> Calling<'a> {
        let _ = (partitions, offsets);
        Box::pin(std::future::ready(()))
    }

    /// These were taken away: the member was shut out, and others may read them already. Nothing can be committed of them.
    fn lost<'a>(&'a mut self, partitions: &'a [TopicPartition]) -> Calling<'a> {
        let _ = partitions;
        Box::pin(std::future::ready(()))
    }
}

//! A record to be produced, borrowed: its bytes are copied once, straight into the batch. Owns the shape, nothing else.

use ouzel_protocol::PartitionIndex;

/// What [`Producer`](crate::Producer) takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// Name of the topic.
    pub topic: &'a str,
    /// The partition; without one the partitioner chooses.
    pub partition: Option<PartitionIndex>,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Names and values, in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Milliseconds since 1970; without it, the time of `enqueue`.
    pub timestamp: Option<i64>,
}

impl<'a> Record<'a> {
    /// A record for a topic, with nothing in it.
    #[must_use]
    pub fn to(topic: &'a str) -> Record<'a> {
        Record { topic, ..Record::default() }
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(self, partition: PartitionIndex) -> Record<'a> {
        Record { partition: Some(partition), ..self }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(self, key: &'a [u8]) -> Record<'a> {
        Record { key: Some(key), ..self }
    }

    /// Sets the value.
    #[must_use]
    pub fn value(self, value: &'a [u8]) -> Record<'a> {
        Record { value: Some(value), ..self }
    }

    /// Sets the headers.
    #[must_use]
    pub fn headers(self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Record<'a> {
        Record { headers, ..self }
    }

    /// Sets the timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(self, timestamp_ms: i64) -> Record<'a> {
        Record { timestamp: Some(timestamp_ms), ..self }
    }

    /// Bytes it takes in a batch at most, either dialect.
    pub(crate) fn bytes(&self) -> usize {
        // The larger of both dialects' costs: varints of Kafka's, the columns of the native one.
        const RECORD_BYTES_FIXED: usize = 40;
        const HEADER_BYTES_FIXED: usize = 16;
        let field = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let headers = self.headers.iter();
        let headers: usize = headers.map(|(key, value)| HEADER_BYTES_FIXED + key.len() + field(*value)).sum();
        RECORD_BYTES_FIXED + field(self.key) + field(self.value) + headers
    }
}

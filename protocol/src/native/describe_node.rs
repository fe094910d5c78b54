//! DescribeNode: what a node and each of its shards have done since their start, and how they are. Owns the layouts and the
//! names of the counters; never decides what a figure is worth. Any core.
//!
//! Counters travel by name, unlike every other field of the protocol: they are for people and for measuring, come and go with
//! the code they count, and must not cost a version each. A reader passes over names it does not know and must not rely on
//! any being there.

use super::limits::{COUNTERS_MAX, SHARDS_MAX};
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::ids::{NodeId, ShardIndex};

/// Names of the counters that tools and benchmarks read. Bytes and counts grow since the start of the process; those that
/// say "now" rise and fall.
pub mod counters {
    /// Of the node: user CPU time in microseconds, kernel workers included.
    pub const CPU_USER_US: &str = "cpu_user_us";
    /// Of the node: system CPU time in microseconds, kernel workers included.
    pub const CPU_SYSTEM_US: &str = "cpu_system_us";
    /// Of the node: resident memory now.
    pub const RSS_BYTES: &str = "rss_bytes";
    /// Batch bytes made durable.
    pub const PAYLOAD_BYTES: &str = "payload_bytes";
    /// Bytes written into the journal, padding included.
    pub const JOURNAL_BYTES: &str = "journal_bytes";
    /// Bytes written into segment files.
    pub const SEGMENT_BYTES: &str = "segment_bytes";
    /// Commits written, seals included.
    pub const JOURNAL_COMMITS: &str = "journal_commits";
    /// fdatasyncs of the journal.
    pub const JOURNAL_SYNCS: &str = "journal_syncs";
    /// fdatasyncs of segments and their side files.
    pub const SEGMENT_SYNCS: &str = "segment_syncs";
    /// Journal files taken into use. This over [`JOURNAL_FILES`] says how often the journal came round.
    pub const JOURNAL_FILES_TAKEN: &str = "journal_files_taken";
    /// Journal files there are now.
    pub const JOURNAL_FILES: &str = "journal_files";
    /// Bytes of the journal that replay may need, now.
    pub const JOURNAL_USED_BYTES: &str = "journal_used_bytes";
    /// Bytes the journal may have.
    pub const JOURNAL_BYTES_MAX: &str = "journal_bytes_max";
    /// Entries carried forward into a later journal file.
    pub const CARRIES: &str = "carries";
    /// Bytes of those entries.
    pub const CARRY_BYTES: &str = "carry_bytes";
    /// Checkpoints written.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// Appended bytes that no segment holds, now.
    pub const DIRTY_BYTES: &str = "dirty_bytes";
    /// Space held on the disk for the time when it is full, now.
    pub const RESERVE_BYTES: &str = "reserve_bytes";
    /// Memory of the tail cache now.
    pub const CACHE_BYTES: &str = "cache_bytes";
    /// Partitions open now.
    pub const PARTITIONS: &str = "partitions";
    /// Connections open now.
    pub const CONNECTIONS: &str = "connections";
    /// Memory that requests and replies of connections hold now, in bytes.
    pub const CONNECTION_BYTES: &str = "connection_bytes";
    /// Requests that are not answered yet, now.
    pub const REQUESTS_IN_FLIGHT: &str = "requests_in_flight";
    /// Prefix of the counters of requests taken, one for each api that was asked for: `requests.produce`.
    pub const REQUESTS_PREFIX: &str = "requests.";
}

/// An empty body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeNodeRequest {}

/// A counter or a level, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// See [`counters`].
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 4 | `node` |
/// | 4 | 8 | `uptime_ms` |
/// | 12 | 4 + n | `counters`: a `u32` count, then rows of `name` 2 + n and `value` 8 |
/// | | 4 + n | `shards`: a `u32` count, then rows of `shard` 2, `state` 2 + n, `reason` 2 + n and `counters` as above |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeNodeReply {
    /// The node that answers.
    pub node: NodeId,
    /// Milliseconds since it became ready.
    pub uptime_ms: u64,
    /// Of the process.
    pub counters: Vec<Counter>,
    /// Of each shard, in their order.
    pub shards: Vec<DescribedShard>,
}

/// How one shard is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedShard {
    /// Which.
    pub shard: ShardIndex,
    /// In a word: `online`, `disk-full`, `poisoned`, `gone`.
    pub state: String,
    /// Why it is not online, for a person; empty when it is. Cut to 4096 bytes.
    pub reason: String,
    /// What it has done.
    pub counters: Vec<Counter>,
}

const COUNTER_BYTES_MIN: usize = 2 + 8;
const SHARD_BYTES_MIN: usize = 2 + 2 + 2 + 4;

impl Counter {
    /// A counter.
    pub fn new(name: impl Into<String>, value: u64) -> Counter {
        Counter { name: name.into(), value }
    }

    fn encode_all(writer: &mut Writer<'_>, counters: &[Counter]) {
        writer.list(counters, COUNTERS_MAX, |writer, counter| {
            writer.string(&counter.name);
            writer.u64(counter.value);
        });
    }

    fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<Counter>, DecodeError> {
        reader.list("counters", COUNTERS_MAX, COUNTER_BYTES_MIN, |reader| {
            Ok(Counter { name: reader.string("name")?, value: reader.u64("value")? })
        })
    }
}

/// The value of a counter; 0 where the node does not have it.
fn value_of(counters: &[Counter], name: &str) -> u64 {
    counters.iter().find(|counter| counter.name == name).map_or(0, |counter| counter.value)
}

impl DescribeNodeRequest {
    /// Appends the body to `out`.
    pub fn encode(&self, _out: &mut Vec<u8>) {}

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeNodeRequest, DecodeError> {
        Reader::new("describe node request", bytes).finish()?;
        Ok(DescribeNodeRequest {})
    }
}

impl DescribeNodeReply {
    /// A counter of the process; 0 where the node does not have it.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        value_of(&self.counters, name)
    }

    /// The sum of a counter over all shards; 0 where no shard has it.
    #[must_use]
    pub fn shard_total(&self, name: &str) -> u64 {
        self.shards.iter().map(|shard| shard.counter(name)).fold(0, u64::saturating_add)
    }

    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.node(self.node);
        writer.u64(self.uptime_ms);
        Counter::encode_all(&mut writer, &self.counters);
        writer.list(&self.shards, SHARDS_MAX, |writer, shard| {
            writer.shard(shard.shard);
            writer.string(&shard.state);
            writer.text(&shard.reason);
            Counter::encode_all(writer, &shard.counters);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DescribeNodeReply, DecodeError> {
        let mut reader = Reader::new("describe node reply", bytes);
        let reply = DescribeNodeReply {
            node: reader.node("node")?,
            uptime_ms: reader.u64("uptime_ms")?,
            counters: Counter::decode_all(&mut reader)?,
            shards: reader.list("shards", SHARDS_MAX, SHARD_BYTES_MIN, |reader| {
                Ok(DescribedShard {
                    shard: reader.shard("shard")?,
                    state: reader.string("state")?,
                    reason: reader.string("reason")?,
                    counters: Counter::decode_all(reader)?,
                })
            })?,
        };
        reader.finish()?;
        Ok(reply)
    }
}

impl DescribedShard {
    /// A counter of this shard; 0 where it does not have it.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        value_of(&self.counters, name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    fn sample() -> DescribeNodeReply {
        DescribeNodeReply {
            node: NodeId(1),
            uptime_ms: 1000,
            counters: vec![Counter::new("rss_bytes", 7)],
            shards: vec![DescribedShard {
                shard: ShardIndex(2),
                state: "poisoned".into(),
                reason: "no".into(),
                counters: vec![Counter::new("a", 5), Counter::new("", u64::MAX)],
            }],
        }
    }

    #[test]
    fn the_request_has_its_golden_bytes() {
        check_golden(&DescribeNodeRequest {}, "", DescribeNodeRequest::encode, DescribeNodeRequest::decode);
    }

    #[test]
    fn the_reply_has_its_golden_bytes() {
        let golden = "01000000 e803000000000000
            01000000 0900 7273735f6279746573 0700000000000000
            01000000 0200 0800 706f69736f6e6564 0200 6e6f
            02000000 0100 61 0500000000000000 0000 ffffffffffffffff";
        check_golden(&sample(), golden, DescribeNodeReply::encode, DescribeNodeReply::decode);
    }

    #[test]
    fn a_counter_that_is_not_there_is_zero_and_totals_do_not_overflow() {
        let mut reply = sample();
        reply.shards.push(DescribedShard { counters: vec![Counter::new("", 9)], ..reply.shards[0].clone() });
        assert_eq!((reply.counter("rss_bytes"), reply.counter("none")), (7, 0));
        assert_eq!((reply.shard_total("a"), reply.shard_total("")), (5, u64::MAX));
        assert_eq!(reply.shards[1].counter("a"), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(rows in vec((any::<u16>(), ".{0,9}", any::<u64>()), 0..6), uptime_ms: u64) {
            let counters: Vec<Counter> = rows.iter().map(|(_, name, value)| Counter::new(name, *value)).collect();
            let shards = rows.iter().map(|(shard, text, _)| DescribedShard {
                shard: ShardIndex(*shard), state: text.clone(), reason: text.clone(), counters: counters.clone(),
            });
            let reply = DescribeNodeReply { node: NodeId(3), uptime_ms, shards: shards.collect(), counters };
            check_round_trip(&reply, DescribeNodeReply::encode, DescribeNodeReply::decode);
        }
    }
}

//! What a node says of itself, asked on any of its shards.

mod support;

use ouzel_protocol::native::counters;

use support::{Client, directory, start};

#[test]
fn every_shard_tells_what_it_wrote_and_who_asked() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut clients = broker.addresses().shards.iter().map(|address| Client::connect(*address)).collect::<Vec<_>>();
    let topic = clients[0].created("orders", 2, &[]);
    let before = clients[0].describe_node();
    assert_eq!(before.shards.len(), 2);
    assert!(before.counter(counters::RSS_BYTES) > 0);
    for partition in 0..2 {
        clients[0].produced(topic, partition, &["a record"]);
    }
    let after = clients[1].describe_node();
    let grown = |name: &str| after.shard_total(name) - before.shard_total(name);
    assert!(after.uptime_ms >= before.uptime_ms);
    assert_eq!(grown("requests.produce"), 2);
    assert_eq!(after.shard_total(counters::CONNECTIONS), 2);
    assert_eq!(after.shard_total(counters::PARTITIONS), 2);
    assert!(grown(counters::PAYLOAD_BYTES) >= 2 * "a record".len() as u64);
    assert!(grown(counters::JOURNAL_BYTES) >= grown(counters::PAYLOAD_BYTES));
    assert_eq!(grown(counters::DIRTY_BYTES), grown(counters::PAYLOAD_BYTES), "nothing is in a segment yet");
    for (index, shard) in after.shards.iter().enumerate() {
        assert_eq!((usize::from(shard.shard.0), shard.state.as_str(), shard.reason.as_str()), (index, "online", ""));
        assert!(shard.counter(counters::JOURNAL_COMMITS) > before.shards[index].counter(counters::JOURNAL_COMMITS));
        assert!(shard.counter(counters::JOURNAL_SYNCS) > 0);
        assert!(shard.counter(counters::JOURNAL_FILES_TAKEN) >= 1);
        assert!(shard.counter(counters::JOURNAL_USED_BYTES) <= shard.counter(counters::JOURNAL_BYTES_MAX));
    }
    broker.stop().expect("a clean stop");
}

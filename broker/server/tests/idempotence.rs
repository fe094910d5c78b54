//! Idempotent producers on a real broker: what is sent again is answered with its first place, and nothing else gets in.

mod support;

use std::collections::BTreeSet;

use ouzel_protocol::native::{Api, InitProducerIdReply, InitProducerIdRequest};
use ouzel_protocol::producer::restamp;
use ouzel_protocol::{ErrorCode, ProducerEpoch, ProducerId, ProducerStamp, Sequence, TopicId};
use support::{Client, batch, directory, fetch_one, numbered, start};

fn producer_id(client: &mut Client) -> u64 {
    let request = InitProducerIdRequest { transactional_id: None };
    let body = client.call(Api::InitProducerId, |out| request.encode(out));
    let reply = InitProducerIdReply::decode(&body).expect("a reply");
    assert_eq!((reply.error, reply.producer_epoch), (ErrorCode::None, ProducerEpoch(0)));
    reply.producer_id.0
}

/// A batch of these values as a producer sends it.
fn stamped(id: u64, epoch: u16, sequence: u32, values: &[&str]) -> Vec<u8> {
    let mut batch = batch(values);
    let base_sequence = Sequence(sequence);
    restamp(&mut batch, ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence });
    batch
}

/// Code and base offset of one batch sent to partition 0.
fn sent(client: &mut Client, topic: TopicId, batch: &[u8]) -> (ErrorCode, u64) {
    let result = client.produce(-1, &[(topic, 0, batch)]).remove(0);
    (result.error, result.base_offset.0)
}

#[test]
fn a_repetition_is_answered_with_its_first_place_before_and_after_restarts() {
    let dir = directory();
    let mut broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 1, &[]);
    let id = producer_id(&mut client);
    for at in 0..7u32 {
        let values = [format!("{at}a"), format!("{at}b")];
        let batch = stamped(id, 0, 2 * at, &[&values[0], &values[1]]);
        assert_eq!(sent(&mut client, topic, &batch), (ErrorCode::None, u64::from(2 * at)));
    }
    for shards in [2, 1, 3] {
        for at in 2..7u32 {
            let batch = stamped(id, 0, 2 * at, &["again", "again"]);
            assert_eq!(sent(&mut client, topic, &batch), (ErrorCode::None, u64::from(2 * at)), "batch {at}");
        }
        let refused = [
            (stamped(id, 0, 0, &["", ""]), ErrorCode::DuplicateSequence),
            (stamped(id, 0, 15, &[""]), ErrorCode::OutOfOrderSequence),
            (stamped(id, 0, 12, &[""]), ErrorCode::OutOfOrderSequence),
            (stamped(id, 1, 1, &[""]), ErrorCode::OutOfOrderSequence),
        ];
        for (batch, code) in &refused {
            assert_eq!(sent(&mut client, topic, batch).0, *code);
        }
        assert_eq!(client.read_all(topic, 0, 0).len(), 14, "the log has not changed");
        broker.stop().expect("a clean stop");
        broker = start(dir.path(), shards);
        client = Client::connect(broker.addresses().native);
    }
    assert_eq!(sent(&mut client, topic, &stamped(id, 0, 14, &["o"])), (ErrorCode::None, 14));
    assert_eq!(sent(&mut client, topic, &stamped(id, 1, 0, &["p"])), (ErrorCode::None, 15), "a higher epoch");
    assert_eq!(sent(&mut client, topic, &stamped(id, 0, 15, &["x"])).0, ErrorCode::InvalidProducerEpoch);
    assert_eq!(client.read_all(topic, 0, 14), numbered(14, &["o", "p"]));
    broker.stop().expect("a clean stop");
}

#[test]
fn repetitions_in_flight_together_are_appended_once_and_wait_for_the_first() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = Client::connect(broker.addresses().native);
    for durability in ["disk", "written"] {
        let topic = client.created(durability, 2, &[("ouzel.durability", durability)]);
        let id = producer_id(&mut client);
        let first = stamped(id, 0, 0, &["a"]);
        let second = stamped(id, 0, 1, &["b"]);
        // Both partitions, so that one of them is reached through another shard.
        for partition in 0..2 {
            let row = |batch| [(topic, partition, batch)];
            for batch in [&first, &second, &first, &second, &first] {
                client.send_produce(-1, &row(batch.as_slice()));
            }
            let mut offsets = Vec::new();
            for _ in 0..5 {
                let (_, body) = client.receive();
                let result = ouzel_protocol::native::ProduceReply::decode(&body).expect("a reply").partitions.remove(0);
                assert_eq!(result.error, ErrorCode::None);
                offsets.push(result.base_offset.0);
            }
            offsets.sort_unstable();
            assert_eq!(offsets, [0, 0, 0, 1, 1]);
            // At `written` readers see it a little later than its producer is answered.
            let mut visible = 0;
            while visible < 2 {
                let shown = client.fetch(&fetch_one(topic, partition, visible, 60_000, 1)).partitions.remove(0);
                visible = shown.high_watermark.0;
            }
            assert_eq!(client.read_all(topic, partition, 0), numbered(0, &["a", "b"]));
        }
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn what_follows_a_refused_batch_in_its_request_is_refused_too() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 1, &[]);
    let (first, other) = (producer_id(&mut client), producer_id(&mut client));
    assert_eq!(sent(&mut client, topic, &stamped(first, 0, 0, &["a"])).0, ErrorCode::None);
    let rows = [stamped(first, 0, 5, &["gap"]), stamped(first, 0, 1, &["next"]), stamped(other, 0, 0, &["b"])];
    let rows: Vec<_> = rows.iter().map(|batch| (topic, 0, batch.as_slice())).collect();
    let codes: Vec<ErrorCode> = client.produce(-1, &rows).iter().map(|row| row.error).collect();
    assert_eq!(codes, [ErrorCode::OutOfOrderSequence, ErrorCode::OutOfOrderSequence, ErrorCode::None]);
    assert_eq!(client.read_all(topic, 0, 0), numbered(0, &["a", "b"]));
    broker.stop().expect("a clean stop");
}

#[test]
fn no_producer_id_is_given_twice_on_any_shard_or_after_a_restart() {
    let dir = directory();
    let mut ids = BTreeSet::new();
    for shards in [3, 2] {
        let broker = start(dir.path(), shards);
        let addresses = broker.addresses().shards.clone();
        for _ in 0..40 {
            for address in &addresses {
                assert!(ids.insert(producer_id(&mut Client::connect(*address))), "given before");
            }
        }
        broker.stop().expect("a clean stop");
    }
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    for _ in 0..1100 {
        assert!(ids.insert(producer_id(&mut client)), "given before");
    }
    let request = InitProducerIdRequest { transactional_id: Some("t".to_owned()) };
    let body = client.call(Api::InitProducerId, |out| request.encode(out));
    assert_eq!(InitProducerIdReply::decode(&body).expect("a reply").error, ErrorCode::UnsupportedVersion);
    broker.stop().expect("a clean stop");
}

//! Batches that are not what they claim, from clients of Kafka's protocol: each is refused with Kafka's number and a sentence, nothing
//! of it is stored, and the connection goes on. What is compressed is not opened by those who only store and send it.

mod support;

use ouzel_protocol::batch::{BATCH_HEADER_BYTES, batch_crc};
use ouzel_protocol::kafka::sample::Sampler;
use ouzel_protocol::kafka::{
    KafkaError, ListOffsetsPartition, ListOffsetsReply, ListOffsetsRequest, ListOffsetsTopic, ProduceReply,
};
use ouzel_protocol::{Codec, DecodeLimits, DecodedBatch};
use support::Client;
use support::directory;
use support::kafka::{KafkaClient, as_sent, batch, produce_request, start};

const CORRUPT: KafkaError = KafkaError::CORRUPT_MESSAGE;
const INVALID: KafkaError = KafkaError::INVALID_RECORD;

/// Where the fields of a batch's header stand.
const LENGTH: usize = 8;
const MAGIC: usize = 16;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const BASE_SEQUENCE: usize = 53;
const RECORD_COUNT: usize = 57;

fn put(bytes: &mut [u8], at: usize, value: impl IntoIterator<Item = u8>) {
    bytes[at..].iter_mut().zip(value).for_each(|(byte, value)| *byte = value);
}

/// Makes the checksum fit.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = batch_crc(&bytes).to_be_bytes();
    put(&mut bytes, CRC, crc);
    bytes
}

/// Changes a good batch of three records, and makes its checksum fit.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = batch(Codec::None, &["one", "two", "three"]);
    change(&mut bytes);
    sealed(bytes)
}

fn set(at: usize, value: impl IntoIterator<Item = u8>) -> Vec<u8> {
    changed(|bytes| put(bytes, at, value))
}

/// Other bytes than records, as many as the header says.
fn with_records(records: &[u8]) -> Vec<u8> {
    changed(|bytes| {
        bytes.truncate(BATCH_HEADER_BYTES);
        bytes.extend_from_slice(records);
        let length = u32::try_from(bytes.len() - 12).expect("small");
        put(bytes, LENGTH, length.to_be_bytes());
    })
}

fn with_count(count: u32) -> Vec<u8> {
    changed(|bytes| {
        put(bytes, LAST_OFFSET_DELTA, count.wrapping_sub(1).to_be_bytes());
        put(bytes, RECORD_COUNT, count.to_be_bytes());
    })
}

/// What must be refused, and with which numbers.
fn cases() -> Vec<(&'static str, Vec<u8>, KafkaError)> {
    let good = batch(Codec::None, &["one", "two", "three"]);
    let mut flipped = good.clone();
    *flipped.last_mut().expect("it has records") ^= 1;
    let mut wrong_crc = good.clone();
    wrong_crc[CRC] ^= 0x80;
    let longer = u32::try_from(good.len() - 12 + 1).expect("small").to_be_bytes();
    let shorter = u32::try_from(good.len() - 12 - 1).expect("small").to_be_bytes();
    vec![
        ("a checksum that does not fit", wrong_crc, CORRUPT),
        ("a flipped bit in a record", flipped, CORRUPT),
        ("a length beyond the bytes", set(LENGTH, longer), CORRUPT),
        ("a length of 2 GiB", set(LENGTH, 0x7fff_ffff_u32.to_be_bytes()), KafkaError::MESSAGE_TOO_LARGE),
        ("a negative length", set(LENGTH, [0xff; 4]), CORRUPT),
        ("a length of less than a header", set(LENGTH, 48_u32.to_be_bytes()), CORRUPT),
        ("a length that leaves bytes behind", set(LENGTH, shorter), INVALID),
        ("two batches", [&good[..], &good].concat(), INVALID),
        ("no batch", Vec::new(), INVALID),
        ("magic 0", set(MAGIC, [0]), INVALID),
        ("magic 1", set(MAGIC, [1]), INVALID),
        ("magic 3", set(MAGIC, [3]), INVALID),
        ("the native magic", set(MAGIC, [79]), INVALID),
        ("a base offset", set(0, 7_u64.to_be_bytes()), INVALID),
        ("a codec that nobody knows", set(ATTRIBUTES + 1, [7]), KafkaError::UNSUPPORTED_COMPRESSION_TYPE),
        ("a control batch", set(ATTRIBUTES + 1, [0x20]), INVALID),
        ("the broker's own time", set(ATTRIBUTES + 1, [0x08]), INVALID),
        ("a last offset that contradicts the count", set(LAST_OFFSET_DELTA, 3_u32.to_be_bytes()), INVALID),
        ("a count that contradicts the last offset", set(RECORD_COUNT, 2_u32.to_be_bytes()), INVALID),
        ("a negative count", set(RECORD_COUNT, [0xff; 4]), INVALID),
        ("a negative last offset", set(LAST_OFFSET_DELTA, [0xff; 4]), INVALID),
        ("no records", with_count(0), INVALID),
        ("fewer records than there are", with_count(2), INVALID),
        ("more records than there are", with_count(4), INVALID),
        ("2 billion records", with_count(0x7fff_ffff), INVALID),
        ("records that are not there", with_records(&[]), INVALID),
        ("a record longer than the batch", with_records(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]), INVALID),
        ("a record of negative length", with_records(&[0x01, 0, 0, 0, 0, 0, 0]), INVALID),
        ("a length without an end", with_records(&[0xff; 40]), INVALID),
        ("zeros for records", with_records(&[0; 64]), INVALID),
        ("a producer without a sequence", set(PRODUCER_ID, 7_u64.to_be_bytes()), INVALID),
        (
            "a producer without an epoch",
            {
                changed(|bytes| {
                    put(bytes, PRODUCER_ID, 7_u64.to_be_bytes());
                    put(bytes, BASE_SEQUENCE, 0_u32.to_be_bytes());
                })
            },
            INVALID,
        ),
        ("a time at the end of time", set(MAX_TIMESTAMP, i64::MAX.to_be_bytes()), KafkaError::INVALID_TIMESTAMP),
        (
            "a batch larger than its topic takes",
            batch(Codec::None, &[&"x".repeat(1_100_000)]),
            KafkaError::MESSAGE_TOO_LARGE,
        ),
    ]
}

/// Sends one batch; returns the number and the sentence of the answer.
fn refusal(client: &mut KafkaClient, batch: &[u8]) -> (KafkaError, i64, String) {
    let reply = client.ask(8, &produce_request("orders", 0, batch, -1));
    let topic = reply.decode::<ProduceReply<'_>>().responses.iter().next().expect("one topic");
    let row = topic.partition_responses.iter().next().expect("one partition");
    (row.error_code, row.base_offset, row.error_message.unwrap_or_default().to_owned())
}

#[test]
fn batches_that_are_not_what_they_claim_are_refused_by_number_and_none_is_stored() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    for (what, bytes, expected) in cases() {
        let (error, offset, sentence) = refusal(&mut client, &bytes);
        assert_eq!((error, offset), (expected, -1), "{what}: {sentence}");
        assert!(!sentence.is_empty(), "{what} is refused without a word");
    }
    assert_eq!(client.produce("orders", 0, &batch(Codec::None, &["good"])).base_offset, 0, "nothing was stored");
    broker.stop().expect("a clean stop");
}

#[test]
fn a_batch_that_is_cut_anywhere_is_refused_and_the_connection_goes_on() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let whole = batch(codec, &["x".repeat(300).as_str(), "two", "three"]);
        for cut in 0..whole.len() {
            let (error, _, sentence) = refusal(&mut client, &whole[..cut]);
            assert!(error == CORRUPT || error == INVALID, "{codec:?} cut at {cut}: {error:?} {sentence}");
        }
    }
    assert_eq!(client.produce("orders", 0, &batch(Codec::None, &["good"])).base_offset, 0, "nothing was stored");
    broker.stop().expect("a clean stop");
}

#[test]
fn an_unacknowledged_batch_that_is_refused_ends_its_connection() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    let corrupt = set(RECORD_COUNT, 2_u32.to_be_bytes());
    client.send(8, &produce_request("orders", 0, &corrupt, 0));
    assert!(support::ends(&mut client.stream));
    let mut again = KafkaClient::connect(&broker);
    assert_eq!(again.produce("orders", 0, &batch(Codec::None, &["good"])).base_offset, 0, "nothing was stored");
    broker.stop().expect("a clean stop");
}

/// A batch of a few kilobytes that claims three records and would be `bytes` bytes of zeros.
fn bomb(codec: Codec, bytes: usize) -> Vec<u8> {
    let mut records = Vec::new();
    codec.compress_into(&vec![0; bytes], None, &mut records).expect("zeros");
    let mut bomb = with_records(&records);
    put(&mut bomb, ATTRIBUTES, u16::from(codec.to_wire()).to_be_bytes());
    sealed(bomb)
}

fn offset_at(client: &mut KafkaClient, topic: &str, timestamp: i64) -> (KafkaError, i64) {
    let row = ListOffsetsPartition { partition_index: 0, timestamp, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: topic, partitions: [row].into_iter().collect() };
    let asked = ListOffsetsRequest { replica_id: -1, topics: [topic].into_iter().collect(), ..Default::default() };
    let reply = client.ask(5, &asked);
    let topic = reply.decode::<ListOffsetsReply<'_>>().topics.iter().next().expect("one topic");
    let row = topic.partitions.iter().next().expect("one partition");
    (row.error_code, row.offset)
}

#[test]
fn a_bomb_is_stored_and_sent_as_it_came_and_whoever_opens_it_stops_at_a_limit() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = KafkaClient::connect(&broker);
    let mut native = Client::connect(broker.addresses().native);
    client.create("orders");
    client.create("late");
    let mut sent = Vec::new();
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let bomb = bomb(codec, 256 << 20);
        // lz4 is no better than 1 to 255.
        assert!(bomb.len() < 1_048_588 * 2, "{codec:?} makes {} bytes of it", bomb.len());
        if bomb.len() > 1_048_588 {
            assert_eq!(client.produce("orders", 0, &bomb).error_code, KafkaError::MESSAGE_TOO_LARGE);
            continue;
        }
        let row = client.produce("orders", 0, &bomb);
        assert_eq!((row.error_code, row.base_offset), (KafkaError::NONE, 3 * sent.len() as i64), "it is not opened");
        assert!(
            DecodedBatch::decode(&bomb, &DecodeLimits::default()).is_err(),
            "{codec:?}: whoever opens it is warned"
        );
        sent.push(bomb);
    }
    assert!(sent.len() >= 2, "gzip and zstd are good enough");
    let last = client.produce("orders", 0, &batch(Codec::None, &["good"]));
    assert_eq!(last.base_offset, 3 * sent.len() as i64);
    for (at, bomb) in sent.iter().enumerate() {
        let (_, records) = client.fetch("orders", 0, 3 * at as i64);
        assert_eq!(as_sent(&records[..bomb.len()]), as_sent(bomb));
        // Looked for by time, it answers with its own offset: it cannot be opened.
        assert_eq!(offset_at(&mut client, "orders", 0), (KafkaError::NONE, 0));
    }
    // This one keeps what every reader of it allows, and takes fifty megabytes: too much to look for a time in it.
    let zeros = "\0".repeat(50 << 20);
    let mut noise = Sampler::new(1);
    let noise: String = (0..200 << 10).map(|_| char::from(b'!' + noise.below(90) as u8)).collect();
    let large = batch(Codec::Zstd, &["before", &noise, &zeros]);
    assert!(DecodedBatch::decode(&large, &DecodeLimits::default()).is_ok());
    let first = client.produce("late", 0, &large).base_offset;
    assert_eq!((first, offset_at(&mut client, "late", 1001)), (0, (KafkaError::NONE, 0)), "it was opened");
    assert_eq!(client.produce("late", 0, &batch(Codec::Zstd, &["a", &noise, "c"])).base_offset, 3);
    assert_eq!(offset_at(&mut client, "late", 1003), (KafkaError::NONE, -1));
    let topic = native.topic("orders").topic_id;
    assert!(!native.produce(-1, &[(topic, 0, &sent[0])]).is_empty(), "a native client may send it as well");
    assert_eq!(client.fetch("orders", 0, last.base_offset).0.error_code, KafkaError::NONE);
    broker.stop().expect("a clean stop");
}

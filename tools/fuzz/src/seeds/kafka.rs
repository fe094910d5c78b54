//! Seeds of Kafka's wire: every API in every version, and batches that a broker takes.

use ouzel_protocol::kafka::sample::Sampler;
use ouzel_protocol::kafka::{
    ApiKey, Message, ProducePartition, ProduceRequest, ProduceTopic, Records, Reply, Request, RequestHeader,
    encode_reply_header,
};
use ouzel_protocol::{BatchBuilder, Codec, Dialect};

/// Of so many random messages the largest is the seed.
const DRAWS: u64 = 6;

/// The longest seed that is wanted.
const SEED_BYTES_MAX: usize = 1500;

pub(super) fn of(target: &str) -> Option<Vec<Vec<u8>>> {
    let name = target.strip_prefix("kafka-")?;
    match name {
        // What was drawn would change with the table of versions; these come first and stay.
        "produce-request" => {
            let real = [Codec::None, Codec::Zstd].map(produce);
            Some(real.into_iter().chain(drawn(ApiKey::Produce, request)).collect())
        }
        "records" => Some(CODECS.into_iter().map(|codec| [&[9], &batch(codec)[..]].concat()).collect()),
        name => match name.strip_suffix("-request") {
            Some(api) => Some(drawn(find(api)?, request)),
            None => Some(drawn(find(name.strip_suffix("-reply")?)?, reply)),
        },
    }
}

/// The API of a target: `ListOffsets` is `list-offsets` there.
fn find(words: &str) -> Option<ApiKey> {
    let letters = words.replace('-', "");
    ApiKey::ALL.iter().copied().find(|api| api.api().name.eq_ignore_ascii_case(&letters))
}

fn drawn(api: ApiKey, message: fn(ApiKey, i16, &mut Sampler) -> Vec<u8>) -> Vec<Vec<u8>> {
    let seed = |version: i16| {
        let first = u64::from(api.to_wire().unsigned_abs()) << 32 | u64::from(version.unsigned_abs()) << 16;
        let messages = (0..DRAWS).map(|draw| message(api, version, &mut Sampler::new(first + draw)));
        messages.filter(|bytes| bytes.len() <= SEED_BYTES_MAX).max_by_key(Vec::len)
    };
    api.api().versions.clone().filter_map(seed).collect()
}

fn request(api: ApiKey, version: i16, sampler: &mut Sampler) -> Vec<u8> {
    let mut out = Vec::new();
    let header = RequestHeader { api, version, correlation_id: 7, client_id: Some("client") };
    header.encode(&mut out).expect("a short name");
    Request::sample(api, version, sampler).encode(version, &mut out).expect("drawn for this version");
    out
}

fn reply(api: ApiKey, version: i16, sampler: &mut Sampler) -> Vec<u8> {
    let mut out = [api.to_wire().to_be_bytes(), version.to_be_bytes()].concat();
    encode_reply_header(api, version, 7, &mut out);
    Reply::sample(api, version, sampler).encode(version, &mut out).expect("drawn for this version");
    out
}

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn batch(codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, codec, None);
    builder.push(1_700_000_000_000, Some(b"key"), Some(&[b'v'; 200]), &[("trace", Some(b"1")), ("empty", None)]);
    builder.push(1_700_000_000_005, None, None, &[]);
    builder.push(1_700_000_000_003, Some(b""), Some(&[b'w'; 200]), &[]);
    builder.set_producer(4_000, 0, 17);
    builder.build().expect("small")
}

fn produce(codec: Codec) -> Vec<u8> {
    let batch = batch(codec);
    let partition = ProducePartition { index: 3, records: Records::Here(&batch) };
    let topic = ProduceTopic { name: "orders", partition_data: [partition].into(), ..ProduceTopic::default() };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: [topic].into(), ..ProduceRequest::default() };
    let mut out = Vec::new();
    let version = 9;
    let header = RequestHeader { api: ApiKey::Produce, version, correlation_id: 7, client_id: Some("client") };
    header.encode(&mut out).expect("a short name");
    request.encode(version, &mut out).expect("version 9 has all of it");
    out
}

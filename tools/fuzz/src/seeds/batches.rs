//! Seeds of batches: both dialects under every codec, with every kind of null, header and timestamp; and what each codec
//! makes of nothing, of one repeated byte and of text.

use ouzel_protocol::{BatchBuilder, Codec, Dialect};

const TIMESTAMP: i64 = 1_700_000_000_000;

pub(super) fn of(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "batch-header" => {
            let [one, two] = [Dialect::Kafka2, Dialect::Native].map(|dialect| batch(dialect, Codec::None, 1));
            let cut = &two[..two.len() / 2];
            vec![one.clone(), [&one[..], &two].concat(), [&two[..], &one, cut].concat()]
        }
        "batch-kafka2" => dialect(Dialect::Kafka2),
        "batch-native" => dialect(Dialect::Native),
        "codec-gzip" => codec(Codec::Gzip),
        "codec-snappy" => codec(Codec::Snappy),
        "codec-lz4" => codec(Codec::Lz4),
        "codec-zstd" => codec(Codec::Zstd),
        _ => return None,
    })
}

fn dialect(dialect: Dialect) -> Vec<Vec<u8>> {
    let mut batches: Vec<_> = Codec::ALL.map(|codec| batch(dialect, codec, 12)).into();
    batches.push(batch(dialect, Codec::None, 1));
    let mut numbered = BatchBuilder::new(dialect, Codec::None, None);
    numbered.push(0, None, None, &[]);
    numbered.set_producer(4711, 3, 17);
    batches.push(built(numbered));
    batches
}

fn batch(dialect: Dialect, codec: Codec, rounds: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(dialect, codec, None);
    let text = "a line that compresses well; ".repeat(rounds as usize);
    for round in 0..rounds {
        let headers = [("trace", Some(&b"1"[..])), ("trace", None), ("", Some(b""))];
        builder.push(TIMESTAMP + round, Some(b"key"), Some(text.as_bytes()), &headers);
        builder.push(TIMESTAMP - round, None, Some(b""), &[]);
        builder.push(TIMESTAMP, Some(b""), None, &headers[..1]);
    }
    if rounds == 1 {
        // A delta that 32 bits do not hold.
        builder.push(TIMESTAMP + 10_000_000_000, None, None, &[]);
    }
    built(builder)
}

fn built(builder: BatchBuilder) -> Vec<u8> {
    builder.build().expect("a batch of sound records builds")
}

fn codec(codec: Codec) -> Vec<Vec<u8>> {
    let text: Vec<u8> = (0..200).flat_map(|line| format!("line {line} of a text\n").into_bytes()).collect();
    [&[][..], &[7], &[0; 70_000], &text]
        .into_iter()
        .map(|plain| {
            let mut out = Vec::new();
            codec.compress_into(plain, None, &mut out).expect("every codec takes its default level");
            out
        })
        .collect()
}

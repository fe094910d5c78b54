//! Every message in every version against another implementation, in both directions, over random values. Owns the comparison.
//! Tests only.
//!
//! A random value is encoded here; the other side decodes it, and both values must look alike, field by field and name by name;
//! the other side encodes it again, to the same bytes; those are decoded here, and encoded once more. Then the bytes are
//! damaged.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as TheirKey, RequestKind, ResponseKind};

use super::sample::Sampler;
use super::*;

/// Values of each version of each message.
const ROUNDS: u64 = 40;

/// The first seed; `OUZEL_FUZZ_SEED` gives another.
fn seed() -> u64 {
    std::env::var("OUZEL_FUZZ_SEED").map_or(1, |text| text.parse().expect("a number"))
}

/// What `{:?}` of a value says, without the names of types.
#[derive(Debug, PartialEq)]
enum Tree {
    Atom(String),
    List(Vec<Tree>),
    Fields(Vec<(String, Tree)>),
}

fn tree(value: &impl Debug) -> Tree {
    let text = format!("{value:?}");
    let mut rest = text.as_str();
    let tree = parse(&mut rest);
    assert_eq!(rest, "", "{text}");
    tree
}

fn eat(rest: &mut &str, token: &str) -> bool {
    rest.strip_prefix(token).inspect(|after| *rest = after).is_some()
}

fn quoted<'t>(rest: &mut &'t str) -> &'t str {
    let mut escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let (text, after) = rest.split_at(end.expect("a closing quote"));
    *rest = &after[1..];
    text
}

/// The bytes of a literal `b"…"`, as a list of numbers.
fn bytes_literal(text: &str) -> Tree {
    let mut numbers = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let byte = match c {
            '\\' => match chars.next().expect("an escape") {
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                '0' => 0,
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                c => c as u8,
            },
            c => c as u8,
        };
        numbers.push(Tree::Atom(byte.to_string()));
    }
    Tree::List(numbers)
}

fn parse(rest: &mut &str) -> Tree {
    if eat(rest, "b\"") {
        return bytes_literal(quoted(rest));
    }
    if eat(rest, "\"") {
        return Tree::Atom(format!("\"{}\"", quoted(rest)));
    }
    if eat(rest, "[") {
        let mut elements = Vec::new();
        while !eat(rest, "]") {
            elements.push(parse(rest));
            eat(rest, ", ");
        }
        return Tree::List(elements);
    }
    if eat(rest, "{}") {
        return Tree::List(vec![]);
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    if eat(rest, "(") {
        // A newtype, or `Some`.
        let inner = parse(rest);
        assert!(eat(rest, ")"), "{rest}");
        return inner;
    }
    if eat(rest, " { ") {
        let mut fields = Vec::new();
        loop {
            let (name, after) = rest.split_once(": ").expect("a field");
            *rest = after;
            let value = parse(rest);
            if name != "unknown_tagged_fields" {
                fields.push((name.to_owned(), value));
            }
            if !eat(rest, ", ") {
                assert!(eat(rest, " }"), "{rest}");
                break;
            }
        }
        // The order of fields is that of the bytes, and checked by them.
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        return Tree::Fields(fields);
    }
    Tree::Atom(match word {
        "Null" => "None".to_owned(),
        // A UUID.
        word if word.len() == 36 => word.replace('-', ""),
        word => word.to_owned(),
    })
}

/// Takes out the fields that only the other side has, for versions that are not known here.
fn forget_newer(tree: &mut Tree) {
    match tree {
        Tree::Atom(_) => {}
        Tree::List(elements) => elements.iter_mut().for_each(forget_newer),
        Tree::Fields(fields) => {
            // Fetch 18; what has no version yet; InitProducerId 6.
            const NEWER: [&str; 4] =
                ["enable_2_pc", "keep_prepared_txn", "ongoing_txn_producer_epoch", "ongoing_txn_producer_id"];
            let fetched = fields.iter().any(|(name, _)| name == "fetch_offset");
            fields.retain(|(name, value)| match name.as_str() {
                "high_watermark" => !fetched,
                // OffsetCommit 10 and OffsetFetch 10; elsewhere it is zero on both sides.
                "topic_id" => *value != Tree::Atom("0".repeat(32)),
                name => !NEWER.contains(&name),
            });
            fields.iter_mut().for_each(|(_, value)| forget_newer(value));
        }
    }
}

/// What both sides need for one direction: requests or replies.
struct Side<Ours, Theirs> {
    sample: fn(ApiKey, i16, &mut Sampler) -> Ours,
    encode: fn(&Ours, i16, &mut Vec<u8>) -> Result<(), EncodeError>,
    /// Decodes, checks the bytes of what was decoded, and returns it.
    decode: fn(ApiKey, i16, &'static [u8]) -> Result<Ours, DecodeError>,
    their_decode: fn(TheirKey, &mut Bytes, i16) -> Theirs,
    their_encode: fn(&Theirs, i16) -> Vec<u8>,
}

fn check<Ours: Debug + PartialEq, Theirs: Debug>(side: &Side<Ours, Theirs>) {
    let base = seed();
    for &key in ApiKey::ALL {
        let theirs = TheirKey::try_from(key.to_wire()).expect("they know it");
        let known = theirs.valid_versions();
        for version in key.api().versions.clone() {
            let seed = base ^ u64::from(key.to_wire().cast_unsigned()) << 32 ^ u64::from(version.cast_unsigned()) << 16;
            for round in 0..ROUNDS {
                let context = || format!("{key:?} {version}, round {round}, OUZEL_FUZZ_SEED={base}");
                let value = (side.sample)(key, version, &mut Sampler::new(seed + round));
                let mut bytes = Vec::new();
                (side.encode)(&value, version, &mut bytes).unwrap_or_else(|e| panic!("{}: {e}", context()));
                if (known.min..=known.max).contains(&version) {
                    let mut input = Bytes::copy_from_slice(&bytes);
                    let their_value = (side.their_decode)(theirs, &mut input, version);
                    assert!(input.is_empty(), "{}: {} bytes are left", context(), input.len());
                    let (mut seen, mut expected) = (tree(&value), tree(&their_value));
                    forget_newer(&mut seen);
                    forget_newer(&mut expected);
                    assert_eq!(seen, expected, "{}", context());
                    assert_eq!((side.their_encode)(&their_value, version), bytes, "{}", context());
                }
                let bytes: &'static [u8] = bytes.leak();
                let decoded = (side.decode)(key, version, bytes).unwrap_or_else(|e| panic!("{}: {e}", context()));
                assert_eq!(decoded, value, "{}", context());
                let mut again = Vec::new();
                (side.encode)(&decoded, version, &mut again).expect("it was decoded");
                assert_eq!(again, bytes, "{}", context());
                if round < 4 {
                    damage(side, key, version, bytes);
                }
            }
        }
    }
}

/// Every cut is an error that names a place within it; no other damage panics or takes memory.
fn damage<Ours, Theirs>(side: &Side<Ours, Theirs>, key: ApiKey, version: i16, bytes: &'static [u8]) {
    let decode = |bytes: &[u8]| {
        let bytes: &'static [u8] = bytes.to_vec().leak();
        let mut result = None;
        let taken = allocation_counter::measure(|| result = Some((side.decode)(key, version, bytes))).bytes_max;
        assert_eq!(taken, 0, "{key:?} {version}: decoding takes no memory");
        result.expect("it was run")
    };
    for cut in 0..bytes.len() {
        match decode(&bytes[..cut]) {
            Ok(_) => panic!("{key:?} {version}: cut at {cut} of {} and taken", bytes.len()),
            Err(error) => assert!(error.at <= cut, "{error} speaks of a byte past {cut}"),
        }
    }
    let error = decode(&[bytes, &[0]].concat()).err().expect("a byte too many");
    assert_eq!(error.problem, DecodeProblem::Trailing { got: 1 }, "{key:?} {version}");
    for start in 0..bytes.len() {
        for lie in [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff, 0xfe], &[0x80, 0], &[0xc3]]
        {
            let mut lying = bytes.to_vec();
            let end = bytes.len().min(start + lie.len());
            lying[start..end].copy_from_slice(&lie[..end - start]);
            let _ = decode(&lying);
        }
    }
}

#[test]
fn requests_are_those_of_another_implementation() {
    check(&Side {
        sample: Request::sample,
        encode: Request::encode,
        decode: Request::decode,
        their_decode: |key, bytes, version| RequestKind::decode(key, bytes, version).expect("they read it"),
        their_encode: |value: &RequestKind, version| {
            let mut out = BytesMut::new();
            value.encode(&mut out, version).expect("they write it");
            out.to_vec()
        },
    });
}

#[test]
fn replies_are_those_of_another_implementation() {
    check(&Side {
        sample: Reply::sample,
        encode: Reply::encode,
        decode: Reply::decode,
        their_decode: |key, bytes, version| ResponseKind::decode(key, bytes, version).expect("they read it"),
        their_encode: |value: &ResponseKind, version| {
            let mut out = BytesMut::new();
            value.encode(&mut out, version).expect("they write it");
            out.to_vec()
        },
    });
}

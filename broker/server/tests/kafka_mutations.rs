//! The whole way of a request of Kafka's protocol under frames that nobody wrote: valid requests of every api and version, and
//! seeded mutations of them, through a real listener. Whatever they are, the broker lives, answers or closes, serves the next one who
//! behaves, and keeps nothing. `OUZEL_FUZZ_SEED` gives the mutations of a report again, or others; `OUZEL_FUZZ_TIMES` more of them.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;

use ouzel_protocol::Codec;
use ouzel_protocol::batch::{BATCH_HEADER_BYTES, batch_crc};
use ouzel_protocol::kafka::sample::Sampler;
use ouzel_protocol::kafka::{ApiKey, Request, RequestHeader, append_request};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use support::kafka::{batch, fetch_request, produce_request};
use support::scene::{Scene, patient};

/// Connections of one campaign.
const CONNECTIONS: u64 = 10_000;
/// Whoever behaves asks after so many.
const SERVES_EVERY: u64 = 20;
/// A frame is cut to this.
const FRAME_BYTES_MAX: usize = 64 * 1024;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// A message of this api and version, with its header.
fn sampled(rng: &mut SmallRng, api: ApiKey, version: i16) -> Vec<u8> {
    let mut frame = Vec::new();
    RequestHeader { api, version, correlation_id: 7, client_id: Some("x") }.encode(&mut frame).expect("short");
    let mut sampler = Sampler::new(rng.random());
    Request::sample(api, version, &mut sampler).encode(version, &mut frame).expect("of this version");
    frame
}

/// A request whose records were damaged before they were sealed, so that they are looked into.
fn produce(rng: &mut SmallRng, version: i16) -> Vec<u8> {
    let codec = Codec::from_wire(rng.random_range(0..5)).expect("there are five");
    let mut batch = batch(codec, &[&"x".repeat(200), "two", "three"]);
    if rng.random() {
        mutate(rng, &mut batch);
    }
    if batch.len() >= BATCH_HEADER_BYTES {
        let crc = batch_crc(&batch).to_be_bytes();
        batch[17..21].copy_from_slice(&crc);
    }
    let mut frame = Vec::new();
    let request = produce_request("orders", 0, &batch, rng.random_range(-1..=1));
    append_request(&mut frame, version, 7, Some("x"), &request).expect("it fits");
    frame.split_off(4)
}

fn fetch(rng: &mut SmallRng, version: i16) -> Vec<u8> {
    let mut frame = Vec::new();
    let request = fetch_request("orders", 0, rng.random_range(-1..20), rng.random_range(-1..50));
    append_request(&mut frame, version, 7, Some("x"), &request).expect("it fits");
    frame.split_off(4)
}

/// Damages bytes in one to four ways, without knowing what they mean.
fn mutate(rng: &mut SmallRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..8) {
            0..=2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
            3 | 4 => {
                // An extreme where a length or a count may stand.
                let width = [1, 2, 4, 8][rng.random_range(0..4usize)];
                let value = [0_u64, u64::MAX, u64::MAX >> 1, 1 << 63, 1 << 31, 127][rng.random_range(0..6usize)];
                let value = value.to_be_bytes();
                bytes.iter_mut().skip(at).zip(&value[..width]).for_each(|(byte, value)| *byte = *value);
            }
            5 => bytes.truncate(at),
            6 => drop(bytes.drain(at..(at + rng.random_range(0..9)).min(bytes.len()))),
            _ => {
                let more: Vec<u8> = (0..rng.random_range(0..9)).map(|_| rng.random()).collect();
                bytes.splice(at..at, more);
            }
        }
    }
    bytes.truncate(FRAME_BYTES_MAX);
}

/// One frame with its length, which now and then lies.
fn frame(rng: &mut SmallRng, offered: &[(ApiKey, i16)]) -> Vec<u8> {
    let (api, version) = offered[rng.random_range(0..offered.len())];
    let mut frame = match api {
        ApiKey::Produce if rng.random() => produce(rng, version),
        ApiKey::Fetch if rng.random() => fetch(rng, version),
        _ => sampled(rng, api, version),
    };
    if rng.random_ratio(2, 3) {
        mutate(rng, &mut frame);
    }
    let mut length = u32::try_from(frame.len()).expect("small").to_be_bytes().to_vec();
    if rng.random_ratio(1, 30) {
        mutate(rng, &mut length);
    }
    [length, frame].concat()
}

#[test]
fn whatever_is_sent_the_broker_lives_and_serves_whoever_behaves() {
    let seed = number("OUZEL_FUZZ_SEED", 1);
    // A broken invariant ends the process, and what the harness holds back with it: this is not held back.
    let _ = writeln!(std::io::stderr(), "mutations of seed OUZEL_FUZZ_SEED={seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut scene = Scene::start(patient());
    scene.honest.create("orders");
    let offered: Vec<(ApiKey, i16)> =
        ApiKey::offered().flat_map(|(api, versions)| versions.map(move |version| (api, version))).collect();
    // Any other stays behind a long poll, and with it the end of the connection, for as long as the poll may take.
    let is_overlapping = |(api, _): &(ApiKey, i16)| matches!(api, ApiKey::Produce | ApiKey::Fetch);
    let overlapping: Vec<_> = offered.iter().copied().filter(is_overlapping).collect();
    let mut answered = 0;
    for round in 0..CONNECTIONS * number("OUZEL_FUZZ_TIMES", 1) {
        let mut stream = scene.stranger();
        let mut polls = false;
        for _ in 0..rng.random_range(1..=6) {
            let frame = frame(&mut rng, if polls { &overlapping } else { &offered });
            polls |= frame.get(4..6) == Some(&ApiKey::Fetch.to_wire().to_be_bytes());
            // The broker may be rid of it after any of them.
            let _ = stream.write_all(&frame);
        }
        let _ = stream.shutdown(Shutdown::Write);
        // What can be answered is, long polls at once; then it ends, one way or the other.
        let mut answers = Vec::new();
        match stream.read_to_end(&mut answers) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "round {round}"),
        }
        answered += usize::from(!answers.is_empty());
        if round.is_multiple_of(SERVES_EVERY) {
            scene.serves();
        }
    }
    assert!(answered > 100, "only {answered} connections got an answer: hardly anything is reached behind the parsers");
    scene.ends();
}

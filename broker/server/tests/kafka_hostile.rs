//! Strangers on the Kafka port, and clients that lie, stall or never read: each is closed with a line in the log that says why,
//! or is waited for; none holds up anybody else, and what it held is given back.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use ouzel_broker::PeerLimits;
use ouzel_protocol::Codec;
use ouzel_protocol::kafka::sample::Sampler;
use ouzel_protocol::kafka::{
    ApiKey, ApiVersionsReply, FetchRequest, KafkaError, Message, MetadataReply, MetadataRequest, MetadataRequestTopic,
    Request, RequestHeader, append_request, decode_reply_header,
};
use support::kafka::{KafkaClient, batch, fetch_request, produce_request, read_frame, row_of_fetch, row_of_produce};
use support::scene::{Scene, TOPIC, patient};
use support::{ends, log};

const MIB: usize = 1024 * 1024;
/// A limit that a test waits for.
const SOON_MS: u64 = 100;
/// Long enough for any machine: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 10_000;
/// Kept for the broker's files, the test and whatever else is open.
const SPARE_FILES: usize = 500;

/// Sends bytes, perhaps with an end behind them: the broker must end the connection without a word and say why.
fn is_refused(scene: &Scene, what: &str, sent: &[u8], and_ends: bool, why: &str) {
    let mut stream = scene.stranger();
    let peer = log::name(&stream);
    // The broker may be gone before it has all.
    let _ = stream.write_all(sent);
    if and_ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    assert!(read.is_ok() || read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset), "{what}");
    assert!(answer.is_empty(), "{what}: answered with {answer:?}");
    let lines = log::lines_about(peer);
    let says_why = |line: &str| line.contains("connection closed") && line.contains(why);
    assert!(lines.lines().any(says_why), "{what}: {lines:?} does not say {why:?}");
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("small").to_be_bytes()[..], bytes].concat()
}

/// A whole frame with a random message of this api and version, and where its body begins.
fn sampled(api: ApiKey, version: i16, seed: u64) -> (Vec<u8>, usize) {
    let mut frame = vec![0; 4];
    RequestHeader { api, version, correlation_id: 7, client_id: Some("x") }.encode(&mut frame).expect("short");
    let body_at = frame.len();
    Request::sample(api, version, &mut Sampler::new(seed)).encode(version, &mut frame).expect("of this version");
    let length = u32::try_from(frame.len() - 4).expect("small");
    frame[..4].copy_from_slice(&length.to_be_bytes());
    (frame, body_at)
}

#[test]
fn lengths_that_lie_end_their_connection() {
    let mut scene = Scene::start(patient());
    for (what, sent, and_ends, why) in [
        ("-1", &[0xff; 4][..], false, "negative length"),
        ("the least", &[0x80, 0, 0, 0], false, "negative length"),
        ("0", &[0; 4], false, "expected 2 bytes, got 0"),
        ("2 GiB", &[0x7f, 0xff, 0xff, 0xff], false, "exceeds"),
        ("a byte more than any frame may have", &[0x06, 0x40, 0, 1], false, "exceeds"),
        ("a length that is cut", &[0, 0], true, "expected 4 bytes, got 2"),
        ("a body that does not come", &[0, 0, 0, 99], true, "expected 99 bytes, got 0"),
        ("a body that is cut", &[0, 0, 0, 99, 0, 18], true, "expected 99 bytes, got 2"),
        ("a large body that is cut", &[&[0, 16, 0, 0][..], &[0; 70_000]].concat(), true, "ended within a frame"),
        ("a header that is cut", &framed(&[0, 18, 0]), false, "malformed request header"),
        ("a client id that is not there", &framed(&[0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff]), false, "client_id"),
        ("a client id of -2", &framed(&[0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xfe]), false, "cannot be -2"),
        ("a client id that is no text", &framed(&[0, 18, 0, 0, 0, 0, 0, 1, 0, 1, 0xff]), false, "UTF-8"),
    ] {
        is_refused(&scene, what, sent, and_ends, why);
        scene.serves();
    }
    scene.ends();
}

#[test]
fn apis_and_versions_that_nobody_knows_end_their_connection() {
    let scene = Scene::start(patient());
    let request = |key: i16, version: i16| {
        framed(&[&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 1, 255, 255], &[0; 32]].concat())
    };
    for key in [-1, 4, 5, 6, 7, 17, 24, 36, 56, 9999, i16::MAX, i16::MIN] {
        is_refused(&scene, &format!("api {key}"), &request(key, 0), false, &format!("api key {key} is not known"));
    }
    for &api in ApiKey::ALL.iter().filter(|api| **api != ApiKey::ApiVersions) {
        let versions =
            api.api().offered.clone().map_or(vec![0], |offered| vec![offered.start() - 1, offered.end() + 1]);
        for version in versions.into_iter().chain([-2, i16::MAX, i16::MIN]) {
            let why = format!("{api:?} has no version {version} here");
            is_refused(&scene, &why, &request(api.to_wire(), version), false, &why);
        }
    }
    scene.ends();
}

#[test]
fn a_version_of_api_versions_that_nobody_knows_is_told_which_ones_there_are() {
    let scene = Scene::start(patient());
    let mut stream = scene.stranger();
    for version in [5_i16, 99, i16::MAX, -1, i16::MIN] {
        let body = [&[0, 18][..], &version.to_be_bytes(), &[0, 0, 0, 9, 255, 255], &[0xaa; 9]].concat();
        stream.write_all(&framed(&body)).expect("the broker reads");
        let frame = read_frame(&mut stream);
        let (correlation_id, body) = decode_reply_header(ApiKey::ApiVersions, 0, &frame).expect("a header");
        let reply = ApiVersionsReply::decode(body, 0).expect("a reply of version 0");
        assert_eq!((correlation_id, reply.error_code), (9, KafkaError::UNSUPPORTED_VERSION));
        assert!(reply.api_keys.iter().any(|row| row.api_key == 18 && row.max_version == 4));
    }
    drop(stream);
    scene.ends();
}

#[test]
fn every_request_that_is_cut_anywhere_ends_its_connection_and_does_nothing() {
    let mut scene = Scene::start(patient());
    for (api, offered) in ApiKey::offered() {
        for version in offered {
            let (frame, body_at) = sampled(api, version, 40 + u64::from(version.unsigned_abs()));
            let body_bytes = frame.len() - body_at;
            // Long ones are cut at a few hundred places.
            for cut in (0..body_bytes).step_by(1 + body_bytes / 300) {
                let mut short = frame[..body_at + cut].to_vec();
                let length = u32::try_from(short.len() - 4).expect("small");
                short[..4].copy_from_slice(&length.to_be_bytes());
                is_refused(&scene, &format!("{api:?} {version} cut at {cut}"), &short, false, "malformed");
            }
        }
    }
    scene.recovers();
    // Nothing was created, altered or deleted by a part of a request.
    let everything = MetadataRequest { topics: None, ..MetadataRequest::default() };
    let reply = scene.honest.ask(9, &everything);
    let names: Vec<_> = reply.decode::<MetadataReply<'_>>().topics.iter().map(|topic| topic.name).collect();
    assert_eq!(names, [Some(TOPIC)]);
    scene.ends();
}

#[test]
fn counts_that_lie_end_their_connection_before_anything_is_made_for_them() {
    let scene = Scene::start(patient());
    let with = |api: ApiKey, version: i16, body: &[u8]| {
        let mut frame = Vec::new();
        RequestHeader { api, version, correlation_id: 7, client_id: None }.encode(&mut frame).expect("short");
        frame.extend_from_slice(body);
        framed(&frame)
    };
    let fixed = 0x7fff_ffff_u32.to_be_bytes();
    let varint = [0xff, 0xff, 0xff, 0xff, 0x0f];
    let acks = [0xff, 0xff, 0, 0, 0, 1];
    let cases = [
        ("topics", with(ApiKey::Metadata, 1, &fixed)),
        ("topics, flexible", with(ApiKey::Metadata, 9, &varint)),
        ("a count that fits its cap", with(ApiKey::Metadata, 1, &200_000_u32.to_be_bytes())),
        ("topics of a produce", with(ApiKey::Produce, 8, &[&[0xff, 0xff][..], &acks, &fixed].concat())),
        ("topics of a produce, flexible", with(ApiKey::Produce, 9, &[&[0][..], &acks, &varint].concat())),
        ("a varint of more than 32 bits", with(ApiKey::Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x1f])),
        ("a varint without an end", with(ApiKey::Metadata, 9, &[0xff; 64])),
        ("topics to create", with(ApiKey::CreateTopics, 5, &varint)),
        ("resources", with(ApiKey::DescribeConfigs, 1, &fixed)),
        ("tagged fields", with(ApiKey::Metadata, 9, &[&[1, 0, 0, 0][..], &varint].concat())),
        ("a tagged field", with(ApiKey::Metadata, 9, &[&[1, 0, 0, 0, 1, 7][..], &varint].concat())),
        ("tagged fields of the header", framed(&[&[0, 3, 0, 9, 0, 0, 0, 1, 255, 255][..], &varint].concat())),
    ];
    for (what, sent) in cases {
        is_refused(&scene, what, &sent, false, "malformed");
    }
    scene.ends();
}

#[test]
fn tagged_fields_that_nobody_knows_are_passed_over_however_many_they_are() {
    let mut scene = Scene::start(patient());
    let with = |tags: &[u8]| {
        let mut frame = Vec::new();
        let header = RequestHeader { api: ApiKey::Metadata, version: 9, correlation_id: 7, client_id: None };
        header.encode(&mut frame).expect("short");
        // No topic, and three flags.
        frame.extend_from_slice(&[1, 0, 0, 0]);
        frame.extend_from_slice(tags);
        framed(&frame)
    };
    let large = [&[1, 9, 0x80, 0x80, 0x40][..], &vec![0xee; MIB]].concat();
    let many = [&[0x80, 0x80, 0x20][..], &[7, 0].repeat(512 * 1024)].concat();
    for tags in [large, many] {
        let mut stream = scene.stranger();
        stream.write_all(&with(&tags)).expect("the broker reads");
        assert_eq!(read_frame(&mut stream)[..4], [0, 0, 0, 7]);
        drop(stream);
        scene.recovers();
    }
    scene.ends();
}

#[test]
fn a_topic_that_is_asked_for_a_hundred_thousand_times_is_described_once() {
    let mut scene = Scene::start(patient());
    // Two thousand partitions take some forty kilobytes, so that all answers together would take four gigabytes.
    scene.witness.created("wide", 2_000, &[]);
    for version in [0, 9] {
        let wide = MetadataRequestTopic { name: Some("wide"), ..MetadataRequestTopic::default() };
        let topics = Some((0..100_000).map(|_| wide.clone()).collect());
        let reply = scene.honest.ask(version, &MetadataRequest { topics, ..MetadataRequest::default() });
        let topics: Vec<usize> =
            reply.decode::<MetadataReply<'_>>().topics.iter().map(|topic| topic.partitions.len()).collect();
        assert_eq!(topics, [2_000]);
    }
    assert_eq!(scene.witness.metadata(Some(&vec!["wide"; 100_000])).topics.len(), 1);
    scene.ends();
}

#[test]
fn what_is_not_kafka_at_all_ends_its_connection() {
    let mut scene = Scene::start(patient());
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    is_refused(&scene, "HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", false, "exceeds");
    is_refused(&scene, "TLS", &[&hello[..], &[0x5a; 600]].concat(), false, "exceeds");
    is_refused(&scene, "SSH", b"SSH-2.0-OpenSSH_9.6\r\n", false, "exceeds");
    is_refused(&scene, "a native hello", &[28, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], false, "exceeds");
    let mut noise = Sampler::new(1);
    for round in 0..200 {
        let bytes: Vec<u8> = (0..noise.below(400)).map(|_| noise.draw() as u8).collect();
        let mut stream = scene.stranger();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        assert!(ends(&mut stream), "noise {round}");
    }
    scene.serves();
    scene.ends();
}

#[test]
fn a_frame_that_comes_a_byte_at_a_time_is_answered_and_holds_up_nobody() {
    let mut scene = Scene::start(patient());
    let batch = batch(Codec::None, &["slow"]);
    let mut frame = Vec::new();
    append_request(&mut frame, 8, 7, None, &produce_request("slow", 0, &batch, -1)).expect("it fits");
    scene.honest.create("slow");
    let mut slow: Vec<KafkaClient> = (0..50).map(|_| KafkaClient::connect(&scene.broker)).collect();
    for byte in &frame {
        for client in &mut slow {
            client.stream.write_all(&[*byte]).expect("the broker reads");
        }
        scene.serves();
    }
    let mut offsets: Vec<i64> =
        slow.iter_mut().map(|client| row_of_produce(&client.receive(ApiKey::Produce, 8)).base_offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..50).collect::<Vec<_>>());
    drop(slow);
    scene.ends();
}

#[test]
fn whoever_stops_within_a_frame_is_closed_when_its_time_is_up() {
    let mut scene = Scene::start(PeerLimits { wait_ms: SOON_MS, ..patient() });
    for (what, sent) in [
        ("within a length", &[0, 0][..]),
        ("after a length", &[0, 0, 1, 0]),
        ("within a header", &[0, 0, 1, 0, 0, 3]),
        ("within a large body", &[&[0, 16, 0, 0][..], &[0; 100_000]].concat()),
    ] {
        let mut stream = scene.stranger();
        let peer = log::name(&stream);
        stream.write_all(sent).expect("the broker reads this much");
        assert!(ends(&mut stream), "a peer that stops {what}");
        let line = log::lines_about(peer);
        assert!(line.contains("a frame did not arrive whole"), "{what}: {line:?}");
    }
    scene.serves();
    scene.ends();
}

#[test]
fn frames_that_stop_within_their_body_are_closed_when_others_need_the_memory() {
    let mut scene = Scene::start(PeerLimits { shortage_ms: SOON_MS, ..patient() });
    let part = [&[0, 0x40, 0, 0][..], &[0; 100 * 1024]].concat();
    let stalled: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = scene.stranger();
            let _ = stream.write_all(&part);
            stream
        })
        .collect();
    let large = "x".repeat(500 * 1024);
    let row = scene.honest.produce(TOPIC, 0, &batch(Codec::None, &[&large]));
    assert_eq!(row.error_code, KafkaError::NONE);
    scene.records += 1;
    drop(stalled);
    scene.ends();
}

#[test]
fn whoever_takes_no_replies_is_closed_when_its_time_is_up_and_a_long_poll_is_not() {
    let mut scene = Scene::start(PeerLimits { wait_ms: SOON_MS, ..patient() });
    let value = "x".repeat(500 * 1024);
    scene.honest.create("large");
    for offset in 0..20 {
        assert_eq!(scene.honest.produce("large", 0, &batch(Codec::None, &[&value])).base_offset, offset);
    }
    let mut poller = KafkaClient::connect(&scene.broker);
    poller.send(11, &fetch_request("large", 0, 20, 60_000));
    let mut greedy = KafkaClient::connect(&scene.broker);
    let peer = log::name(&greedy.stream);
    for _ in 0..60 {
        greedy.send(11, &FetchRequest { max_bytes: 8 << 20, ..fetch_request("large", 0, 0, 0) });
    }
    let limit = Instant::now() + PATIENCE;
    // Its time is up, or, where the memory is short by then, that of others is.
    while !["does not take its replies", "replies are hardly taken"]
        .iter()
        .any(|why| log::lines_about(peer).contains(why))
    {
        assert!(Instant::now() < limit, "it keeps its replies waiting: {:?}", log::lines_about(peer));
        scene.serves();
    }
    assert!(ends(&mut greedy.stream));
    assert_eq!(scene.honest.produce("large", 0, &batch(Codec::None, &["late"])).base_offset, 20);
    assert!(!row_of_fetch(&poller.receive(ApiKey::Fetch, 11)).1.is_empty());
    drop((poller, greedy));
    scene.ends();
}

#[test]
fn whoever_asks_ten_thousand_times_and_reads_nothing_holds_up_nobody() {
    let mut scene = Scene::start(PeerLimits { shortage_ms: SOON_MS, ..patient() });
    let value = "x".repeat(100 * 1024);
    scene.honest.create("large");
    for offset in 0..100 {
        assert_eq!(scene.honest.produce("large", 0, &batch(Codec::None, &[&value])).base_offset, offset);
    }
    let mut request = Vec::new();
    append_request(&mut request, 11, 7, None, &fetch_request("large", 0, 0, 0)).expect("it fits");
    let mut everything = Vec::new();
    append_request(&mut everything, 9, 8, None, &MetadataRequest { topics: None, ..MetadataRequest::default() })
        .expect("it fits");
    for request in [request, everything] {
        let mut greedy: Vec<TcpStream> = (0..20).map(|_| scene.stranger()).collect();
        std::thread::scope(|scope| {
            for mut stream in &greedy {
                let request = &request;
                scope.spawn(move || {
                    // Until the broker reads no more, or is rid of it, or the test is done with it.
                    for _ in 0..10_000 {
                        if stream.write_all(request).is_err() {
                            break;
                        }
                    }
                });
            }
            for _ in 0..20 {
                scene.serves();
                let (row, records) = scene.honest.fetch("large", 0, 50);
                assert_eq!(row.error_code, KafkaError::NONE);
                assert!(records.len() > value.len());
            }
            greedy.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        });
        greedy.clear();
        scene.recovers();
    }
    scene.ends();
}

/// How many connections with both their ends in this process the limit of open files allows at once.
fn connections_at_once() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("procfs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of open files");
    let soft = line.split_whitespace().nth(3).expect("a soft limit");
    let files = soft.parse().unwrap_or(usize::MAX);
    (files.saturating_sub(SPARE_FILES) / 2).min(CONNECTIONS)
}

#[test]
fn ten_thousand_connections_that_stop_within_a_frame_cost_nobody_anything() {
    // The broker raises the limit of open files as far as it may.
    let mut scene = Scene::start(patient());
    let count = connections_at_once();
    assert!(count > 0, "the limit of open files leaves room for no connection");
    let mut left = CONNECTIONS;
    while left > 0 {
        let half: Vec<TcpStream> = (0..count.min(left))
            .map(|number| {
                let mut stream = scene.stranger();
                // Some say nothing, some a part of a length, some a length, some a part of a header.
                stream.write_all(&[0, 0, 1, 0, 0, 3, 0, 9][..number % 9]).expect("the broker reads");
                stream
            })
            .collect();
        scene.serves();
        left -= half.len();
        drop(half);
        scene.recovers();
    }
    scene.ends();
}

//! Peers that lie or stumble: only their own connection ends.

mod support;

use std::io::Write;

use ouzel_protocol::native::{
    Api, FLAG_REPLY, FRAME_HEADER_BYTES, FrameHeader, HelloRequest, PROTOCOL_VERSION, encode_frame, request_frame,
};
use ouzel_protocol::{CorrelationId, ErrorCode};
use support::{Client, batch, directory, ends, raw, start};

#[test]
fn garbage_lies_and_strangers_end_their_own_connection_only() {
    let dir = directory();
    let broker = start(dir.path(), 2);
    let address = broker.addresses().native;
    let mut bystander = Client::connect(address);
    let topic = bystander.created("orders", 2, &[]);
    let hello = HelloRequest {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        features: 0,
        client: String::new(),
    };
    let hello = request_frame(Api::Hello, CorrelationId(1), |out| hello.encode(out));
    let with_length = |length: u32| {
        let mut frame = hello.clone();
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame
    };
    let greeted = |frame: Vec<u8>| [hello.clone(), frame].concat();
    let mut state = 0x9e37_79b9_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    let megabyte: Vec<u8> = (0..1024 * 1024).map(|_| random()).collect();
    let reply = encode_frame(Api::Metadata, 1, FLAG_REPLY, ErrorCode::None, CorrelationId(2), |out| out.push(0));
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a megabyte of noise", megabyte),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n".to_vec()),
        ("a frame of 2 GiB", with_length(0x8000_0000)),
        ("a frame of 4 GiB", with_length(u32::MAX)),
        ("a first frame of 100 MiB", with_length(100 * 1024 * 1024)),
        ("a length that does not cover its header", with_length(3)),
        ("something else than a hello first", request_frame(Api::ListTopics, CorrelationId(1), |_| {})),
        ("a hello without its magic", request_frame(Api::Hello, CorrelationId(1), |out| out.extend([0; 18]))),
        ("a second hello", greeted(hello.clone())),
        ("a reply", greeted(reply)),
        ("a body cut short", greeted(request_frame(Api::Metadata, CorrelationId(2), |_| {}))),
        (
            "a count beyond its body",
            greeted(request_frame(Api::Metadata, CorrelationId(2), |out| out.extend([1, 255, 255, 255, 255]))),
        ),
        ("a produce that is none", greeted(request_frame(Api::Produce, CorrelationId(2), |out| out.extend([9; 40])))),
    ];
    for (what, bytes) in cases {
        let mut stream = raw(address);
        // The broker may close before it has read everything: then writing fails, which is as good.
        let _ = stream.write_all(&bytes);
        assert!(ends(&mut stream), "{what} did not end the connection");
        bystander.produced(topic, 0, &["unharmed"]);
    }
    broker.stop().expect("a clean stop");
}

#[test]
fn a_peer_that_goes_away_within_a_frame_harms_nobody() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let address = broker.addresses().native;
    let mut bystander = Client::connect(address);
    let topic = bystander.created("orders", 1, &[]);
    for cut in [1, FRAME_HEADER_BYTES - 1, FRAME_HEADER_BYTES + 7] {
        let mut client = Client::connect(address);
        let frame = request_frame(Api::Metadata, CorrelationId(9), |out| out.extend([0; 64]));
        client.stream().write_all(&frame[..cut]).expect("the broker reads");
        client.stream().shutdown(std::net::Shutdown::Write).expect("half a close");
        assert!(ends(client.stream()));
    }
    bystander.produced(topic, 0, &["unharmed"]);
    broker.stop().expect("a clean stop");
}

#[test]
fn a_peer_that_stops_sending_still_gets_its_replies() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut client = Client::connect(broker.addresses().native);
    let topic = client.created("orders", 1, &[]);
    client.send_produce(-1, &[(topic, 0, &batch(&["last words"]))]);
    client.stream().shutdown(std::net::Shutdown::Write).expect("half a close");
    let (header, _) = client.receive();
    assert_eq!(header.api, Api::Produce);
    assert!(ends(client.stream()));
    broker.stop().expect("a clean stop");
}

#[test]
fn a_version_that_is_not_spoken_is_refused_by_name() {
    let dir = directory();
    let broker = start(dir.path(), 1);
    let mut stream = raw(broker.addresses().native);
    let hello = HelloRequest { version_min: 90, version_max: 99, features: 0, client: "future".to_owned() };
    let frame = request_frame(Api::Hello, CorrelationId(1), |out| hello.encode(out));
    stream.write_all(&frame).expect("the broker reads");
    let mut header = [0; FRAME_HEADER_BYTES];
    std::io::Read::read_exact(&mut stream, &mut header).expect("a refusal");
    assert_eq!(FrameHeader::parse(&header).expect("legal").error, ErrorCode::UnsupportedVersion);
    assert!(ends(&mut stream));

    let mut client = Client::connect(broker.addresses().native);
    let frame = encode_frame(Api::Metadata, 2, 0, ErrorCode::None, CorrelationId(77), |out| out.push(0));
    client.stream().write_all(&frame).expect("the broker reads");
    let (header, _) = client.receive();
    assert_eq!((header.correlation, header.error), (CorrelationId(77), ErrorCode::UnsupportedVersion));
    assert!(client.metadata(None).topics.is_empty(), "the connection goes on");
    broker.stop().expect("a clean stop");
}

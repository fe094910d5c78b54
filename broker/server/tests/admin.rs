//! The admin server of a real broker: what it says of health and readiness, its JSON, and that nothing that is done to it
//! concerns data.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use ouzel_broker::{BrokerConfig, RunningBroker, StartError};
use ouzel_protocol::kafka::{
    FindCoordinatorReply, FindCoordinatorRequest, JoinGroupReply, JoinGroupRequest, JoinProtocol, KafkaError,
    SyncAssignment, SyncGroupReply, SyncGroupRequest,
};
use ouzel_protocol::native::counters;
use support::http::{self, Metrics};
use support::kafka::KafkaClient;
use support::{Client, directory, numbered};

/// More than the admin server has connections at once.
const IDLE_COUNT: usize = 1000;

fn with_admin(data_dir: &Path) -> BrokerConfig {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = BrokerConfig { admin: Some(any), kafka: Some(any), ..support::config(data_dir, 2) };
    config.groups.initial_rebalance_delay_ms = 0;
    config
}

fn start(data_dir: &Path) -> (RunningBroker, SocketAddr) {
    let broker = support::try_start(with_admin(data_dir)).expect("the broker starts");
    let admin = broker.addresses().admin.expect("it has an admin server");
    (broker, admin)
}

#[test]
fn it_is_not_ready_while_it_recovers_ready_while_it_serves_and_gone_after_the_stop() {
    let directory = directory();
    // The port has to be known before the start returns, so it is one that was free a moment ago.
    let (starting, admin) = loop {
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port");
        let config = BrokerConfig { admin: Some(free), ..with_admin(directory.path()) };
        let starting = std::thread::spawn(move || support::try_start(config));
        let mut first = None;
        while first.is_none() && !starting.is_finished() {
            first = http::try_request(free, "GET", "/ready");
        }
        match first {
            Some(first) => {
                assert_eq!(first.status, 503, "the first thing it says is that it starts: {}", first.body);
                assert!(first.json()["why"].as_str().is_some_and(|why| why.contains("recovers")), "{}", first.body);
                break (starting, free);
            }
            None => match starting.join().expect("no panic") {
                Err(StartError::PortInUse { .. }) => {}
                Err(error) => panic!("{error}"),
                Ok(_) => panic!("it served before it answered anybody"),
            },
        }
    };
    let broker = starting.join().expect("no panic").expect("the broker starts");
    assert_eq!(http::get(admin, "/ready").status, 200);
    assert_eq!(http::get(admin, "/health").status, 200);
    assert_eq!(Metrics::scrape(admin).sum("ouzel_ready", &[]), Some(1.0));
    broker.stop().expect("a clean stop");
    assert!(http::try_request(admin, "GET", "/ready").is_none(), "the server ends with the broker");
}

#[test]
fn a_shard_that_is_gone_is_said_to_be_and_the_other_is_still_shown() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let before = Metrics::scrape(admin);
    assert_eq!(before.sum("ouzel_shard_up", &[]), Some(2.0));
    broker.fail_shard(1);
    while http::get(admin, "/ready").status == 200 {}
    let ready = http::get(admin, "/ready");
    assert_eq!((ready.status, ready.json()["why"].clone()), (503, "shard 1 does not run".into()));
    let health = http::get(admin, "/health");
    assert_eq!((health.status, health.json()["shards"][1]["state"].clone()), (503, "silent".into()));
    let after = Metrics::scrape(admin);
    assert_eq!(after.sum("ouzel_shard_up", &[("shard", "0")]), Some(1.0));
    assert_eq!(after.sum("ouzel_shard_up", &[("shard", "1")]), Some(0.0));
    assert_eq!(after.sum("ouzel_ready", &[]), Some(0.0), "as /ready says");
    assert!(after.sum("ouzel_partitions", &[("shard", "0")]).is_some());
    assert_eq!(after.sum("ouzel_partitions", &[("shard", "1")]), None);
    let commits = |metrics: &Metrics| metrics.count("ouzel_journal_write_seconds", &[]);
    assert!(commits(&after) >= commits(&before), "what is summed over shards does not fall");
}

#[test]
fn the_json_api_says_of_topics_shards_and_connections_what_the_native_one_does() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let (mut client, _) = Client::hello(broker.addresses().native);
    let topic_id = client.created("orders", 4, &[("segment.bytes", "2097152")]);
    client.produced(topic_id, 3, &["a", "b", "c"]);

    let topics = http::json(admin, "/api/v1/topics");
    assert_eq!(topics["topics"][0]["topic"], "orders");
    assert_eq!((&topics["topics"][0]["partitions"], &topics["left_out"]), (&4.into(), &0.into()));
    let shown = http::json(admin, "/api/v1/topics/orders");
    let described = client.describe("orders");
    assert_eq!(
        (&shown["topic_id"], &shown["configs"]["segment.bytes"]),
        (&topic_id.to_string().into(), &"2097152".into())
    );
    for (shown, described) in shown["partitions"].as_array().expect("rows").iter().zip(&described.partitions) {
        assert_eq!(shown["partition"], described.index.0);
        assert_eq!(shown["shard"], described.shard.0);
        assert_eq!(shown["leader_epoch"], described.leader_epoch.0);
        assert_eq!(shown["end_offset"], described.end_offset.0);
        assert_eq!(shown["bytes"], described.bytes);
        assert_eq!(shown["state"], described.state.as_str());
    }
    assert_eq!(shown["partitions"][3]["end_offset"], 3);

    let cluster = http::json(admin, "/api/v1/cluster");
    let node = client.describe_node();
    let payload: u64 = node.shards.iter().map(|shard| shard.counter(counters::PAYLOAD_BYTES)).sum();
    let shards = cluster["nodes"][0]["shards"].as_array().expect("shards");
    let shown: u64 = shards.iter().filter_map(|shard| shard["counters"][counters::PAYLOAD_BYTES].as_u64()).sum();
    assert_eq!((shown, &cluster["partitions"]), (payload, &4.into()));
    assert_eq!(cluster["nodes"][0]["addresses"]["admin"], admin.to_string());

    let shards = http::json(admin, "/api/v1/shards");
    assert_eq!(shards["shards"][1]["queues"]["produce"], 0);
    assert!(shards["shards"][0]["journal"]["bytes_max"].as_u64().is_some_and(|bytes| bytes > 0));

    let connections = http::json(admin, "/api/v1/connections");
    let rows = connections["connections"].as_array().expect("rows");
    let own = client.stream().local_addr().expect("connected").to_string();
    let row = rows.iter().find(|row| row["peer"] == own).expect("the client's connection is there");
    assert_eq!((&row["protocol"], &row["client"]), (&"native".into(), &"test".into()));
}

/// A classic group of one member, whose leader, the member itself, assigns these bytes.
fn join_with(client: &mut KafkaClient, group_id: &str, assignment: &[u8]) {
    let request = FindCoordinatorRequest {
        coordinator_keys: [group_id].into_iter().collect(),
        ..FindCoordinatorRequest::default()
    };
    let reply = client.ask(4, &request);
    let found = reply.decode::<FindCoordinatorReply<'_>>().coordinators;
    assert!(found.iter().all(|row| row.error_code == KafkaError::NONE));
    let mut member_id = String::new();
    let mut generation_id = -1;
    // The first answer is the id to ask with.
    for error in [KafkaError::MEMBER_ID_REQUIRED, KafkaError::NONE] {
        let request = JoinGroupRequest {
            group_id,
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 10_000,
            member_id: &member_id,
            protocol_type: "consumer",
            protocols: [JoinProtocol { name: "range", metadata: b"\0\0\0\0\0\0" }].into_iter().collect(),
            ..JoinGroupRequest::default()
        };
        let reply = client.ask(9, &request);
        let reply: JoinGroupReply<'_> = reply.decode();
        assert_eq!(reply.error_code, error);
        (member_id, generation_id) = (reply.member_id.to_owned(), reply.generation_id);
    }
    let request = SyncGroupRequest {
        group_id,
        generation_id,
        member_id: &member_id,
        protocol_type: Some("consumer"),
        protocol_name: Some("range"),
        assignments: [SyncAssignment { member_id: &member_id, assignment }].into_iter().collect(),
        ..SyncGroupRequest::default()
    };
    let reply = client.ask(5, &request);
    assert_eq!(reply.decode::<SyncGroupReply<'_>>().error_code, KafkaError::NONE);
}

#[test]
fn a_member_that_claims_very_many_partitions_is_shown_with_some_of_them_and_holds_up_nobody() {
    const TOPICS: u16 = 4;
    const PARTITIONS: u32 = 65_536;
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut assignment = [&0_u16.to_be_bytes()[..], &u32::from(TOPICS).to_be_bytes()].concat();
    for topic in 0..TOPICS {
        assignment.extend([&2_u16.to_be_bytes()[..], format!("{topic:02}").as_bytes()].concat());
        assignment.extend(PARTITIONS.to_be_bytes());
        assignment.extend((0..PARTITIONS).flat_map(u32::to_be_bytes));
    }
    let mut client = KafkaClient::connect(&broker);
    join_with(&mut client, "greedy", &assignment);
    let group = http::json(admin, "/api/v1/groups/greedy");
    let rows = group["offsets"].as_array().expect("rows");
    assert_eq!((rows.len(), &group["left_out"]), (10_000, &0.into()));
    assert!(rows.iter().all(|row| row["member"] == group["members"][0]["member"] && row["topic"] == "00"));
    let assigned = &group["members"][0]["assignment"];
    assert_eq!(assigned.as_array().map(Vec::len), Some(1));
    assert_eq!(assigned[0]["partitions"].as_array().map(Vec::len), Some(10_000));
    assert_eq!(group["members_left_out"], u32::from(TOPICS) * PARTITIONS - 10_000);
}

#[test]
fn what_is_not_there_is_refused_with_what_and_why() {
    let directory = directory();
    let (_broker, admin) = start(directory.path());
    for (method, path, status) in [
        ("GET", "/api/v1/topics/nothing", 404),
        ("GET", "/api/v1/groups/nobody%20here", 404),
        ("GET", "/api/v1/groups/%FF", 400),
        ("GET", "/api/v1/topics/%FF", 400),
        ("GET", "/api/v1/topics/orders/partitions/abc/records", 400),
        ("GET", "/api/v1/topics/orders/partitions/-1/records", 400),
        ("GET", "/api/v2", 404),
        ("GET", "/metrics/more", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/api/v1/groups/nobody", 405),
        ("DELETE", "/api/v1/topics/nothing", 403),
    ] {
        let answer = http::try_request(admin, method, path).expect("an answer");
        assert_eq!(answer.status, status, "{method} {path}");
        let refusal = answer.json();
        for part in ["what", "why"] {
            assert!(refusal[part].as_str().is_some_and(|text| !text.is_empty()), "{method} {path}: {}", answer.body);
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_not_called_too_large() {
    let directory = directory();
    let (_broker, admin) = start(directory.path());
    for body in ["Content-Length: 100\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\nno length\r\n"] {
        let mut stream = http::connect(admin);
        write!(stream, "POST /api/v1/topics HTTP/1.1\r\nHost: {admin}\r\n{body}").expect("it reads");
        stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"what\":\"the body broke off\""), "{answer}");
    }
}

#[test]
fn garbage_ends_its_connection_and_nothing_else() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 64 * 1024]].concat();
    let many = [b"GET / HTTP/1.1\r\n".to_vec(), b"A: b\r\n".repeat(2000), b"\r\n".to_vec()].concat();
    let cases: [&[u8]; 6] = [
        b"\0\xff\xfe not http\r\n\r\n",
        b"GET /metrics HTTP/7.3\r\n\r\n",
        b"\r\n\r\n\r\n\r\n",
        b"GET",
        &endless,
        &many,
    ];
    for garbage in cases {
        let mut stream = http::connect(admin);
        // It may have ended before it has read everything.
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(http::get(admin, "/health").status, 200);
    let mut client = Client::connect(broker.addresses().native);
    let topic_id = client.created("orders", 1, &[]);
    assert_eq!(client.produced(topic_id, 0, &["a"]), 0);
}

#[test]
fn a_thousand_connections_that_ask_nothing_keep_out_neither_data_nor_scrapes() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let topic_id = client.created("orders", 2, &[]);
    let mut idle: Vec<_> = (0..IDLE_COUNT).map(|_| http::connect(admin)).collect();
    let values: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for (offset, value) in (0..).zip(&values) {
        assert_eq!(client.produced(topic_id, 1, &[value]), offset);
    }
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    assert_eq!(client.read_all(topic_id, 1, 0), numbered(0, &values));
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.sum("ouzel_topic_records_in_total", &[("topic", "orders")]), Some(100.0));
    assert!(metrics.sum("ouzel_connections", &[]).is_some_and(|open| open < 10.0), "they are not the clients'");
    // All were accepted before the scrape was: whoever is over the limit has been told.
    let is_open = |stream: &mut TcpStream| {
        stream.set_nonblocking(true).expect("a socket");
        matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    let open_count = idle.iter_mut().map(is_open).filter(|is_open| *is_open).count();
    assert!(open_count < IDLE_COUNT / 2, "{open_count} of {IDLE_COUNT} that ask nothing are open");
}

#[test]
fn an_admin_port_in_use_is_said_to_be() {
    let directory = directory();
    let (_broker, admin) = start(directory.path());
    let other = support::directory();
    let config = BrokerConfig { admin: Some(admin), ..with_admin(other.path()) };
    let refusal = support::try_start(config).expect_err("the port is taken").to_string();
    assert!(refusal.starts_with(&format!("admin address {admin} is in use")), "{refusal}");
}

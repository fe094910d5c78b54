//! The web console of a real broker, but for what a browser does with it (that is `ci/console`): how its files are served, whom
//! topics are made and deleted for, and what is shown of records.

mod support;

use std::net::SocketAddr;
use std::path::Path;

use ouzel_broker::{BrokerConfig, RunningBroker, ShownSetting};
use ouzel_protocol::{BatchBuilder, Codec, Dialect, ErrorCode, TopicId};
use serde_json::{Value, json};
use support::http::{self, Answer};
use support::{Client, directory};

const MIB: usize = 1024 * 1024;

fn start(data_dir: &Path) -> (RunningBroker, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let setting = ShownSetting {
        key: "shards".to_owned(),
        value: "auto".to_owned(),
        effective: "2".to_owned(),
        source: "default".to_owned(),
        default: "auto".to_owned(),
        range: "1 to 128".to_owned(),
        explain: "how many".to_owned(),
        why: "one a core".to_owned(),
    };
    let config = BrokerConfig { admin: Some(any), settings: vec![setting], ..support::config(data_dir, 2) };
    let broker = support::try_start(config).expect("the broker starts");
    let admin = broker.addresses().admin.expect("it has an admin server");
    (broker, admin)
}

fn records(admin: SocketAddr, place: &str, query: &str) -> Answer {
    let path = format!("/api/v1/topics/{}/records?{query}", place.replace(' ', "/partitions/"));
    http::own_page(admin, "GET", &path, "")
}

fn shown(admin: SocketAddr, place: &str, query: &str) -> Value {
    let answer = records(admin, place, query);
    assert_eq!(answer.status, 200, "{place}?{query}: {}", answer.body);
    answer.json()
}

fn offsets(shown: &Value) -> Vec<u64> {
    shown["records"].as_array().expect("rows").iter().map(|row| row["offset"].as_u64().expect("an offset")).collect()
}

fn text(text: &str) -> Value {
    json!({ "bytes": text.len(), "text": text, "cut": false })
}

#[test]
fn files_are_served_as_what_they_are_with_a_strict_policy_and_a_tag() {
    let directory = directory();
    let (_broker, admin) = start(directory.path());
    let page = http::get(admin, "/");
    let linked = page.body.split('"').filter(|word| word.starts_with("/console/"));
    let types = [(".css", "text/css"), (".js", "text/javascript"), (".svg", "image/svg+xml")];
    let mut count = 0;
    for (path, content_type) in linked.map(|path| (path, types.iter().find(|(end, _)| path.ends_with(end)))) {
        let (_, content_type) = content_type.unwrap_or_else(|| panic!("{path} is of no known kind"));
        let file = http::get(admin, path);
        assert_eq!(file.status, 200, "{path}");
        assert!(file.head.contains(&format!("content-type: {content_type}")), "{path}: {}", file.head);
        count += 1;
    }
    assert!(count >= 3 && page.head.contains("content-type: text/html"), "{}", page.body);
    for part in
        ["content-security-policy: default-src 'self';", "frame-ancestors 'none'", "x-content-type-options: nosniff"]
    {
        assert!(page.head.contains(part), "{}", page.head);
    }
    assert!(!page.head.contains("unsafe-inline") && !page.body.contains("style="), "nothing is inline");
    let tag = page.head.split("etag: ").nth(1).and_then(|rest| rest.lines().next()).expect("a tag");
    let again = http::try_send(admin, "GET", "/", &[("Host", "ouzel"), ("If-None-Match", tag)], "").expect("an answer");
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert!(http::get(admin, "/api/v1/topics").head.contains("nosniff"));
}

#[test]
fn a_topic_is_made_and_deleted_as_over_the_native_protocol() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let body = r#"{"topic":"orders","partitions":3,"configs":{"segment.bytes":"2097152"}}"#;
    let created = http::own_page(admin, "POST", "/api/v1/topics", body);
    assert_eq!((created.status, &created.json()["created"]), (201, &true.into()), "{}", created.body);
    let described = client.describe("orders");
    assert_eq!(
        (described.partitions.len(), described.topic_id.to_string()),
        (3, created.json()["topic_id"].as_str().expect("an id").to_owned())
    );
    assert!(described.configs.iter().any(|(key, value, _)| key == "segment.bytes" && value == "2097152"));
    for (method, path, body, status, word) in [
        ("POST", "/api/v1/topics", body, 409, "orders"),
        ("POST", "/api/v1/topics", r#"{"topic":"no good"}"#, 400, "was not created"),
        ("POST", "/api/v1/topics", r#"{"topic":"a","configs":{"segment.bites":"1"}}"#, 400, "segment.bites"),
        ("POST", "/api/v1/topics", r#"{"topic":"a","replicas":1}"#, 400, "replicas"),
        ("POST", "/api/v1/topics", "topic=a", 400, "not understood"),
        ("POST", "/api/v1/topics", "", 400, "not understood"),
        ("DELETE", "/api/v1/topics/order", "{}", 404, "order"),
    ] {
        let refused = http::own_page(admin, method, path, body);
        assert_eq!(refused.status, status, "{method} {path} {body}: {}", refused.body);
        assert!(refused.body.contains(word) && refused.json()["why"].is_string(), "{}", refused.body);
    }
    let large = format!(r#"{{"topic":"{}"}}"#, "x".repeat(128 * 1024));
    // It may be answered before all of it was taken, and the answer lost with the connection.
    let headers = [("Host", "localhost"), ("X-Ouzel-Console", "1"), ("Content-Type", "application/json")];
    let answer = http::try_send(admin, "POST", "/api/v1/topics", &headers, &large);
    assert!(answer.is_none_or(|answer| answer.status == 413), "a body has a limit");
    assert_eq!(http::own_page(admin, "DELETE", "/api/v1/topics/orders", "{}").status, 200);
    assert_eq!(client.describe("orders").error, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(http::json(admin, "/api/v1/topics")["topics"], json!([]));
}

#[test]
fn pages_of_other_sites_change_nothing_and_see_no_record() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    client.created("orders", 1, &[]);
    let host = admin.to_string();
    let own = [("Host", host.as_str()), ("X-Ouzel-Console", "1"), ("Content-Type", "application/json")];
    let rebound = [("Host", "evil.example"), own[1], own[2]];
    let other_origin = [own[0], own[1], own[2], ("Origin", "http://evil.example")];
    let form = [own[0], ("Content-Type", "text/plain"), ("Origin", "http://evil.example")];
    for headers in [&rebound[..], &other_origin, &form, &own[..2], &[own[0], own[2]]] {
        for (method, path) in [("DELETE", "/api/v1/topics/orders"), ("POST", "/api/v1/topics")] {
            let answer = http::try_send(admin, method, path, headers, r#"{"topic":"evil"}"#).expect("an answer");
            assert_eq!(answer.status, 403, "{method} with {headers:?}: {}", answer.body);
        }
    }
    let asked =
        |path: &str, headers: &[(&str, &str)]| http::try_send(admin, "GET", path, headers, "").expect("an answer");
    let from_other_site = [own[0], ("Sec-Fetch-Site", "cross-site")];
    for path in [
        "cluster",
        "shards",
        "topics",
        "topics/orders",
        "topics/orders/partitions/0/records",
        "groups",
        "groups/readers",
        "connections",
        "configuration",
    ] {
        let path = format!("/api/v1/{path}");
        for headers in [&rebound[..1], &other_origin, &from_other_site] {
            let answer = asked(&path, headers);
            assert_eq!(answer.status, 403, "{path} with {headers:?}: {}", answer.body);
        }
        assert!([200, 404].contains(&asked(&path, &own[..1]).status), "{path}");
    }
    // Whoever watches may know the broker by any name, but is no page of another site.
    for path in ["/metrics", "/health", "/ready"] {
        let named = ("Host", "broker-1.example:9191");
        assert_eq!(asked(path, &[named]).status, 200, "{path}");
        for page in [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
            assert_eq!(asked(path, &[named, page]).status, 403, "{path} with {page:?}");
        }
    }
    let preflight = http::try_send(admin, "OPTIONS", "/api/v1/topics/orders", &other_origin, "").expect("an answer");
    assert!(!preflight.head.contains("access-control-allow"), "{}", preflight.head);
    assert_eq!(http::json(admin, "/api/v1/topics")["topics"].as_array().map(Vec::len), Some(1));
}

#[test]
fn records_of_both_dialects_and_all_codecs_are_shown_with_key_headers_and_time() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let topic_id = client.created("orders", 1, &[]);
    let mut expected = Vec::new();
    for dialect in [Dialect::Kafka2, Dialect::Native] {
        for codec in Codec::ALL {
            let mut builder = BatchBuilder::new(dialect, codec, None);
            let headers: [(&str, Option<&[u8]>); 3] = [("trace", Some(b"1")), ("trace", Some(b"2")), ("none", None)];
            builder.push(1_764_000_000_000, Some(b"k"), Some("<script>ü</script>".as_bytes()), &headers);
            builder.push(1_764_000_000_001, None, Some(b"\x00\xff"), &[]);
            builder.push(1_764_000_000_002, Some(b""), None, &[]);
            let Ok(batch) = builder.build() else {
                assert_eq!(dialect, Dialect::Native, "{codec:?}");
                continue;
            };
            let result = client.produce(-1, &[(topic_id, 0, &batch)]).remove(0);
            if result.error == ErrorCode::None {
                expected.push(result.base_offset.0);
            }
        }
    }
    assert!(expected.len() >= 7, "five codecs of one dialect and two of the other: {expected:?}");
    let shown = shown(admin, "orders 0", "limit=100");
    let rows = shown["records"].as_array().expect("rows");
    assert_eq!(rows.len(), 3 * expected.len());
    for (batch, first) in rows.chunks(3).zip(expected) {
        assert_eq!(batch[0]["offset"], first);
        assert_eq!(batch[0]["timestamp"], 1_764_000_000_000_i64);
        assert_eq!((&batch[0]["key"], &batch[0]["value"]), (&text("k"), &text("<script>ü</script>")));
        let headers = json!([
            { "key": text("trace"), "value": text("1") },
            { "key": text("trace"), "value": text("2") },
            { "key": text("none"), "value": null },
        ]);
        assert_eq!((&batch[0]["headers"], &batch[0]["headers_left_out"]), (&headers, &0.into()));
        assert_eq!((&batch[1]["key"], &batch[1]["value"]["hex"]), (&Value::Null, &"00ff".into()));
        assert_eq!((&batch[2]["key"], &batch[2]["value"]), (&text(""), &Value::Null));
    }
}

#[test]
fn reading_begins_where_it_is_asked_to_and_goes_on_from_there() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let topic_id = client.created("orders", 2, &[]);
    for part in 0..10 {
        let values: Vec<String> = (0..10).map(|number| (part * 10 + number).to_string()).collect();
        client.produced(topic_id, 1, &values.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let all = shown(admin, "orders 1", "limit=500");
    assert_eq!(offsets(&all), (0..100).collect::<Vec<_>>());
    let marks = |shown: &Value| {
        ["log_start_offset", "end_offset", "next_offset"].map(|name| shown[name].as_u64().expect("an offset"))
    };
    assert_eq!(marks(&all), [0, 100, 100]);
    assert_eq!(offsets(&shown(admin, "orders 1", "from=latest&limit=7")), (93..100).collect::<Vec<_>>());
    assert_eq!(offsets(&shown(admin, "orders 1", "from=latest&limit=500")).len(), 100);
    // The test's batches have the times 1000 to 1009 each.
    assert_eq!(offsets(&shown(admin, "orders 1", "timestamp=1003&limit=2")), [3, 4]);
    assert_eq!(offsets(&shown(admin, "orders 1", "timestamp=5000")), [0_u64; 0]);
    let mut at = 0;
    let mut seen = Vec::new();
    while at < 100 {
        let part = shown(admin, "orders 1", &format!("offset={at}&limit=13"));
        seen.extend(offsets(&part));
        at = part["next_offset"].as_u64().expect("an offset");
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    let end = shown(admin, "orders 1", "offset=100");
    assert_eq!((offsets(&end), marks(&end)), (vec![], [0, 100, 100]));
    assert_eq!(marks(&shown(admin, "orders 0", "from=latest")), [0, 0, 0]);
    for (place, query, status) in [
        ("orders 1", "offset=101", 400),
        ("orders 1", "offset=-1", 400),
        ("orders 1", "limit=501", 400),
        ("orders 1", "form=latest", 400),
        ("orders 1", "from=latest&offset=1", 400),
        ("orders 2", "", 404),
        ("nothing 0", "", 404),
    ] {
        let refused = records(admin, place, query);
        assert_eq!(refused.status, status, "{place}?{query}: {}", refused.body);
        assert!(refused.json()["what"].is_string() && refused.json()["why"].is_string(), "{}", refused.body);
    }
}

fn produce(client: &mut Client, topic_id: TopicId, codec: Codec, values: &[&[u8]]) {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, codec, None);
    values.iter().for_each(|value| builder.push(1000, None, Some(value), &[]));
    let batch = builder.build().expect("a legal batch");
    let result = client.produce(-1, &[(topic_id, 0, &batch)]).remove(0);
    assert_eq!(result.error, ErrorCode::None);
}

#[test]
fn an_answer_is_bounded_whatever_the_records_are() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let topic_id = client.created("large", 1, &[("max.message.bytes", "8388608")]);
    // Two characters of JSON each.
    let quotes = vec![b'"'; 300 * 1024];
    produce(&mut client, topic_id, Codec::None, &[&quotes[..]; 8]);
    // Not so much of the same that it would not be compressed.
    let mut bomb = vec![0; 20 * MIB];
    bomb.iter_mut().step_by(256).for_each(|byte| *byte = rand::random());
    produce(&mut client, topic_id, Codec::Zstd, &[&bomb]);
    produce(&mut client, topic_id, Codec::None, &[b"behind it"]);
    let short = shown(admin, "large 0", "limit=8");
    assert_eq!(offsets(&short), (0..8).collect::<Vec<_>>());
    assert_eq!(
        (&short["records"][0]["value"]["cut"], &short["records"][0]["value"]["bytes"]),
        (&true.into(), &quotes.len().into())
    );
    let mut at = 0;
    let mut seen = 0;
    while at < 8 {
        let answer = records(admin, "large 0", &format!("offset={at}&limit=500&record_bytes=458752"));
        assert!(answer.body.len() < MIB + 1024, "{} bytes", answer.body.len());
        let part = answer.json();
        seen += part["records"]
            .as_array()
            .expect("rows")
            .iter()
            .filter(|row| row["value"]["bytes"] == quotes.len())
            .count();
        at = part["next_offset"].as_u64().expect("an offset");
    }
    assert_eq!(seen, 8);
    let bomb = shown(admin, "large 0", "offset=8");
    assert!(bomb["records"][0]["unreadable"].is_string() && bomb["records"][0]["offset"] == 8, "{bomb}");
    assert_eq!(bomb["records"][1]["value"], text("behind it"));
}

#[test]
fn the_memory_of_what_was_shown_is_given_back() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let topic_id = client.created("orders", 1, &[]);
    let value = "x".repeat(512 * 1024);
    for _ in 0..4 {
        client.produced(topic_id, 0, &[&value]);
    }
    // More than a shard has for records in replies, if none of it came back.
    for _ in 0..40 {
        assert_eq!(offsets(&shown(admin, "orders 0", "limit=2")), [0, 1]);
    }
    let held = |shards: &Value| {
        shards["shards"]
            .as_array()
            .map(|shards| shards.iter().filter_map(|shard| shard["memory"]["connection_bytes"].as_u64()).sum::<u64>())
    };
    while held(&http::json(admin, "/api/v1/shards")).is_none_or(|bytes| bytes >= value.len() as u64) {}
}

#[test]
fn settings_are_shown_as_they_were_told() {
    let directory = directory();
    let (_broker, admin) = start(directory.path());
    let shown = http::own_page(admin, "GET", "/api/v1/configuration", "").json();
    let setting = &shown["settings"][0];
    assert_eq!(
        (&setting["key"], &setting["value"], &setting["effective"], &setting["source"]),
        (&"shards".into(), &"auto".into(), &"2".into(), &"default".into())
    );
}

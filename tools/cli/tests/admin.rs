//! The admin port of the real binary: it is where the ready line says, and its JSON is what the commands print.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{Broker, SMALL, directory, run, stdout_of};
use serde_json::Value;

/// The body of what must be there.
fn get(broker: &Broker, path: &str) -> String {
    let admin = &broker.admin;
    let mut stream = TcpStream::connect(admin).expect("the admin server accepts");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    body.to_owned()
}

fn json(broker: &Broker, path: &str) -> Value {
    serde_json::from_str(&get(broker, path)).expect("one JSON object")
}

#[test]
fn the_json_of_the_admin_port_is_that_of_the_commands() {
    let directory = directory();
    let broker = Broker::start(directory.path(), &["--shards", "2"]);
    broker.let_billing_read_four_of_six_orders();

    assert_eq!(json(&broker, "/api/v1/topics/orders"), broker.json(&["topic", "describe", "orders"]));
    assert_eq!(json(&broker, "/api/v1/topics")["topics"], broker.json(&["topic", "list"])["topics"]);
    // A list over HTTP is bounded, and says what is missing.
    let mut billing = broker.json(&["group", "describe", "billing"]);
    (billing["left_out"], billing["members_left_out"]) = (0.into(), 0.into());
    assert_eq!(json(&broker, "/api/v1/groups/billing"), billing);
    let listed = &json(&broker, "/api/v1/groups")["groups"][0];
    let printed = broker.json(&["group", "list"])["groups"][0].clone();
    let fields = printed.as_object().expect("a group");
    assert!(fields.iter().all(|(field, value)| listed.get(field) == Some(value)), "{listed} has not all of {printed}");
    let (cluster, status) = (json(&broker, "/api/v1/cluster"), broker.json(&["cluster", "status"]));
    assert_eq!(cluster["cluster_id"], status["cluster_id"]);
    for (shard, printed) in cluster["nodes"][0]["shards"].as_array().expect("shards").iter().zip([0, 1]) {
        let printed = &status["nodes"][0]["shards"][printed];
        assert_eq!((&shard["shard"], &shard["state"]), (&printed["shard"], &printed["state"]));
        let names = |of: &Value| of["counters"].as_object().expect("counters").keys().cloned().collect::<Vec<_>>();
        let known = names(printed);
        assert!(names(shard).iter().all(|name| known.contains(name)), "{shard}");
    }

    let settings = ["--shards", "2", "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let settings = [&settings[..], SMALL, &["--data-dir", directory.path().to_str().expect("text")]].concat();
    let printed = stdout_of(&run(&[&["config", "--json", "--explain"], &settings[..]].concat()));
    let printed: Value = serde_json::from_str(&printed).expect("one JSON object");
    let shown = json(&broker, "/api/v1/configuration");
    let shown = shown["settings"].as_array().expect("settings");
    assert_eq!(shown.len(), printed.as_object().expect("settings").len());
    for setting in shown {
        let printed = &printed[setting["key"].as_str().expect("a key")];
        let fields = setting.as_object().expect("a setting").iter().filter(|(field, _)| *field != "key");
        fields.for_each(|(field, value)| assert_eq!(value, &printed[field], "{field} of {setting}"));
    }
    let of = |key: &str| shown.iter().find(|setting| setting["key"] == key).expect("a setting");
    assert_eq!(
        (&of("connections.per.source.max")["value"], &of("connections.per.source.max")["effective"]),
        (&"auto".into(), &"no limit".into())
    );

    assert!(get(&broker, "/ready").contains("\"ready\":true"));
    let lag = "ouzel_consumergroup_lag_sum{consumergroup=\"billing\"} 2";
    assert!(get(&broker, "/metrics").lines().any(|line| line == lag), "the group lags by two");
    broker.stop();
}

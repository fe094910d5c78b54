//! The metrics of a real broker, read by a parser that is not ours: what clients did is counted, once, where it belongs.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ouzel_broker::{BrokerConfig, RunningBroker};
use ouzel_client::{
    ClientConfig, GroupConsumerConfig, NewTopic, OutOfRange, PartitionIndex, ProducerConfig, Record, Subscription,
};
use ouzel_protocol::kafka::KafkaError;
use ouzel_protocol::{Codec, ErrorCode};
use support::http::{self, Metrics};
use support::kafka::{self, KafkaClient};
use support::{Client, batch, directory};
use tokio::time::timeout;

/// Long enough for any machine: a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(data_dir: &Path) -> (RunningBroker, SocketAddr) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = BrokerConfig { admin: Some(any), kafka: Some(any), ..support::config(data_dir, 2) };
    config.groups.initial_rebalance_delay_ms = 0;
    let broker = support::try_start(config).expect("the broker starts");
    let admin = broker.addresses().admin.expect("it has an admin server");
    (broker, admin)
}

#[test]
fn what_clients_did_is_counted_once_where_it_belongs() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    // To shard 0, which owns one of the two partitions: batches for the other hop.
    let mut client = Client::connect(broker.addresses().shards[0]);
    let (orders, other) = (client.created("orders", 2, &[]), client.created("other", 1, &[]));
    let bytes = batch(&["one", "two"]).len() as f64;
    for partition in [0, 1, 0, 1] {
        client.produced(orders, partition, &["one", "two"]);
    }
    client.produced(other, 0, &["one", "two"]);
    client.read_all(orders, 0, 0);
    client.read_all(orders, 1, 0);
    let topic = |name: &'static str| [("topic", name)];
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.sum("ouzel_topic_bytes_in_total", &topic("orders")), Some(4.0 * bytes));
    assert_eq!(metrics.sum("ouzel_topic_records_in_total", &topic("orders")), Some(8.0));
    assert_eq!(metrics.sum("ouzel_topic_bytes_out_total", &topic("orders")), Some(4.0 * bytes));
    assert_eq!(metrics.sum("ouzel_topic_bytes_in_total", &topic("other")), Some(bytes));
    assert_eq!(metrics.sum("ouzel_topic_bytes_out_total", &topic("other")), Some(0.0));
    assert_eq!(metrics.sum("ouzel_topic_partitions", &topic("orders")), Some(2.0));
    assert_eq!(metrics.sum("ouzel_payload_bytes_total", &[]), Some(5.0 * bytes));
    assert!(metrics.sum("ouzel_cache_hits_total", &[]).is_some_and(|hits| hits >= 2.0));

    let produce = [("protocol", "native"), ("api", "produce")];
    assert_eq!(metrics.sum("ouzel_requests_total", &produce), Some(5.0));
    assert_eq!(metrics.sum("ouzel_requests_total", &[("protocol", "kafka")]), None);
    let hops = metrics.count("ouzel_produce_stage_seconds", &[("stage", "hop")]);
    let local = metrics.count("ouzel_produce_stage_seconds", &[("stage", "queue")]);
    assert!(hops >= 2.0 && local >= 2.0 && hops + local == 5.0, "{hops} hops and {local} others");
    for stage in ["receive", "append", "commit"] {
        assert_eq!(metrics.count("ouzel_produce_stage_seconds", &[("stage", stage)]), 5.0, "{stage}");
    }
    assert!(metrics.sum("ouzel_shard_hops_total", &[("shard", "0")]).is_some_and(|hops| hops >= 2.0));
    assert_eq!(metrics.sum("ouzel_shard_hops_total", &[("shard", "1")]), Some(0.0));
    assert!(metrics.count("ouzel_journal_commit_batches", &[]) >= 1.0);
    assert!(metrics.count("ouzel_journal_sync_seconds", &[]) >= 1.0);
    assert_eq!(metrics.sum("ouzel_connections", &[("shard", "0"), ("protocol", "native")]), Some(1.0));
    assert!(metrics.sum("ouzel_network_received_bytes_total", &[("shard", "0")]).is_some_and(|got| got > 5.0 * bytes));
    assert!(metrics.sum("ouzel_network_sent_bytes_total", &[("shard", "0")]).is_some_and(|sent| sent > 4.0 * bytes));
    assert_eq!(metrics.sum("ouzel_network_sent_bytes_total", &[("shard", "1")]), Some(0.0));
    // So little is in no segment yet, and in the journal of both shards.
    assert!(metrics.sum("ouzel_dirty_bytes", &[]).is_some_and(|dirty| dirty >= 5.0 * bytes));
    for shard in ["0", "1"] {
        let value = |name| metrics.sum(name, &[("shard", shard)]).unwrap_or_else(|| panic!("no {name} of {shard}"));
        let [dirty, used, limit, occupancy] = [
            "ouzel_dirty_bytes",
            "ouzel_journal_used_bytes",
            "ouzel_journal_limit_bytes",
            "ouzel_journal_occupancy_ratio",
        ]
        .map(value);
        assert!(dirty >= 2.0 * bytes && used >= 2.0 * bytes && limit > used, "{dirty} dirty, {used} of {limit} used");
        assert!(occupancy > 0.0 && occupancy < 1.0, "{occupancy}");
        assert_eq!(metrics.sum("ouzel_queue_length", &[("shard", shard), ("lane", "produce")]), Some(0.0));
    }
    assert!(metrics.sum("ouzel_thread_cpu_seconds_total", &[("thread", "shard-1")]).is_some());
    let threads = metrics.values("ouzel_thread_cpu_seconds_total", "thread");
    assert!(threads.iter().all(|thread| !thread.starts_with("iou-wrk-")), "names that never end: {threads:?}");
}

#[test]
fn every_answer_is_timed_and_a_refused_batch_counted_by_its_reason() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let orders = client.created("orders", 1, &[("max.message.bytes", "128")]);
    let large = "x".repeat(200);
    let refused = client.produce(-1, &[(orders, 0, &batch(&[&large]))]).remove(0).error;
    client.produced(orders, 0, &["small"]);
    // Whoever has the answer to a later question knows that the answers before it were noted.
    client.describe("orders");
    client.describe("orders");
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.sum("ouzel_produce_batches_refused_total", &[("error", refused.name())]), Some(1.0));
    assert_eq!(metrics.count("ouzel_request_seconds", &[("protocol", "native"), ("api", "produce")]), 2.0);
    assert_eq!(metrics.count("ouzel_produce_stage_seconds", &[("stage", "reply")]), 1.0, "of what was appended");
    assert!(metrics.count("ouzel_request_seconds", &[("api", "describe-topic")]) >= 1.0);
}

#[test]
fn requests_of_kafkas_clients_have_kafkas_names() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = KafkaClient::connect(&broker);
    client.create("orders");
    let before = Metrics::scrape(admin);
    let row = client.produce("orders", 0, &kafka::batch(Codec::None, &["one", "two", "three"]));
    assert_eq!(row.error_code, KafkaError::NONE);
    let after = Metrics::scrape(admin);
    let produce = [("protocol", "kafka"), ("api", "Produce")];
    assert_eq!(
        (before.sum("ouzel_requests_total", &produce), after.sum("ouzel_requests_total", &produce)),
        (None, Some(1.0))
    );
    assert_eq!(after.sum("ouzel_topic_records_in_total", &[("topic", "orders")]), Some(3.0));
    assert_eq!(after.sum("ouzel_connections", &[("protocol", "kafka")]), Some(1.0));
    assert_eq!(after.count("ouzel_produce_stage_seconds", &[("stage", "commit")]), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_lags_by_what_it_has_not_committed() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let address = broker.addresses().native.to_string();
    let client = ouzel_client::Client::connect(address.as_str(), ClientConfig::default()).await.expect("an answer");
    client.admin().create_topic(NewTopic::named("orders").partitions(1)).await.expect("created");
    let producer = client.producer(ProducerConfig::default()).expect("a producer");
    for value in 0..10 {
        let text = value.to_string();
        producer.enqueue(Record::to("orders").value(text.as_bytes()).partition(PartitionIndex(0))).await.expect("room");
    }
    producer.flush().await.expect("acknowledged");
    let config = GroupConsumerConfig {
        offset_reset: OutOfRange::Earliest,
        auto_commit_interval: None,
        ..GroupConsumerConfig::new("billing", Subscription::topics(["orders"]))
    };
    let mut consumer = client.group_consumer(config).expect("a member");
    for _ in 0..4 {
        timeout(PATIENCE, consumer.recv()).await.expect("a record in time").expect("a record");
    }
    consumer.commit().await.expect("committed");
    let of_group = [("consumergroup", "billing")];
    let metrics = Metrics::scrape(admin);
    let row = [of_group[0], ("topic", "orders"), ("partition", "0")];
    assert_eq!(metrics.sum("ouzel_consumergroup_current_offset", &row), Some(4.0));
    assert_eq!(metrics.sum("ouzel_consumergroup_lag", &row), Some(6.0));
    assert_eq!(metrics.sum("ouzel_consumergroup_lag_sum", &of_group), Some(6.0));
    assert_eq!(metrics.sum("ouzel_consumergroup_members", &of_group), Some(1.0));
    assert_eq!(metrics.sum("ouzel_consumergroups", &[]), Some(1.0));

    assert_eq!(http::json(admin, "/api/v1/groups")["groups"][0]["group"], "billing");
    let group = http::json(admin, "/api/v1/groups/billing");
    assert_eq!((&group["offsets"][0]["lag"], &group["offsets"][0]["end_offset"]), (&6.into(), &10.into()));
    assert_eq!(group["members"][0]["assignment"][0]["topic"], "orders");
    assert_eq!(group["offsets"][0]["member"], group["members"][0]["member"]);
    consumer.close().await.expect("left");
}

#[test]
fn scrapes_beside_a_load_see_every_shard_and_counters_that_only_grow() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let native = broker.addresses().native;
    let orders = Client::connect(native).created("orders", 8, &[]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut client = Client::connect(native);
                while !is_over.load(Ordering::Relaxed) {
                    for partition in 0..4 {
                        client.produced(orders, 4 * writer + partition, &["value"]);
                    }
                }
            });
        }
        let mut last = 0.0;
        for _ in 0..30 {
            let metrics = Metrics::scrape(admin);
            assert_eq!(metrics.sum("ouzel_shard_up", &[]), Some(2.0));
            let records = metrics.sum("ouzel_topic_records_in_total", &[("topic", "orders")]).expect("the topic");
            assert!(records >= last, "{records} after {last}");
            last = records;
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let metrics = Metrics::scrape(admin);
    let records = metrics.sum("ouzel_topic_records_in_total", &[("topic", "orders")]);
    let in_batches = metrics.count("ouzel_journal_commit_batches", &[]);
    assert!(records.is_some_and(|records| records >= in_batches && in_batches > 0.0));
}

#[test]
fn beyond_the_thousandth_topic_all_share_one_series() {
    let directory = directory();
    let (broker, admin) = start(directory.path());
    let mut client = Client::connect(broker.addresses().native);
    let first = client.created("first", 1, &[]);
    client.produced(first, 0, &["one"]);
    for number in 0..1005 {
        client.created(&format!("a{number:04}"), 1, &[]);
    }
    let last = client.created("a-late-one", 1, &[]);
    client.produced(last, 0, &["one", "two"]);
    let metrics = Metrics::scrape(admin);
    assert_eq!(
        metrics.sum("ouzel_topic_records_in_total", &[("topic", "first")]),
        Some(1.0),
        "it is one of the oldest"
    );
    assert_eq!(metrics.sum("ouzel_topic_records_in_total", &[("topic", "a-late-one")]), None);
    assert_eq!(metrics.sum("ouzel_topic_records_in_total", &[("topic", "(other)")]), Some(2.0));
    assert_eq!(metrics.sum("ouzel_topic_partitions", &[("topic", "(other)")]), Some(7.0));
    assert_eq!(metrics.sum("ouzel_series_left_out", &[("kind", "topics")]), Some(7.0));
    assert_eq!(metrics.sum("ouzel_cluster_topics", &[]), Some(1007.0));

    // What one that is gone has counted stays: to Prometheus a counter that falls begins anew.
    assert_eq!(client.delete("a-late-one").error, ErrorCode::None);
    let records_of_others = || {
        let metrics = Metrics::scrape(admin);
        assert_eq!(metrics.sum("ouzel_topic_partitions", &[("topic", "(other)")]), Some(6.0));
        metrics.sum("ouzel_topic_records_in_total", &[("topic", "(other)")])
    };
    assert_eq!(records_of_others(), Some(2.0));
    let last = client.topic("a1004").topic_id;
    client.produced(last, 0, &["three"]);
    assert_eq!(records_of_others(), Some(3.0));
}

//! A producer whose answers are lost again and again, and whose broker is killed under it: every record is in the log once,
//! in order. A proxy stands between the two; it hands requests on and now and then closes the connection instead of handing
//! on the answer.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Broker, directory};
use ouzel_client::{Client, ClientConfig, ConsumerConfig, PartitionIndex, Partitions, ProducerConfig, Record, StartAt};
use ouzel_protocol::native::{Api, FRAME_HEADER_BYTES, FrameHeader, MetadataReply, reply_frame};

const PARTITIONS: u32 = 4;
/// One answer to a produce request in this many is lost.
const LOSE_EVERY: u32 = 7;

struct Proxy {
    port: u16,
    target: Arc<Mutex<String>>,
    answers: Arc<AtomicU32>,
}

impl Proxy {
    fn start(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let target = Arc::new(Mutex::new(target.to_owned()));
        let answers = Arc::new(AtomicU32::new(0));
        let (to, counter) = (Arc::clone(&target), Arc::clone(&answers));
        // Ends with the process, as the threads of its connections do.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let address = to.lock().expect("no panic under it").clone();
                // A broker that is down refuses; so does the proxy then, by closing.
                let Ok(broker) = TcpStream::connect(address) else { continue };
                client.set_nodelay(true).expect("a socket");
                broker.set_nodelay(true).expect("a socket");
                let (mut from_client, mut to_broker) = (clone(&client), clone(&broker));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_broker);
                    let _ = to_broker.shutdown(Shutdown::Both);
                });
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || {
                    let _ = hand_back(&broker, &client, port, &counter);
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = broker.shutdown(Shutdown::Both);
                });
            }
        });
        Proxy { port, target, answers }
    }

    fn lost(&self) -> u32 {
        self.answers.load(Ordering::Relaxed) / LOSE_EVERY
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a second handle")
}

/// Hands answers back until one is to be lost, or either side goes. Every address in them is the proxy's.
fn hand_back(mut broker: &TcpStream, mut client: &TcpStream, port: u16, answers: &AtomicU32) -> std::io::Result<()> {
    loop {
        let mut header = [0; FRAME_HEADER_BYTES];
        broker.read_exact(&mut header)?;
        let parsed = FrameHeader::parse(&header).expect("frames from a broker");
        let mut body = vec![0; parsed.body_bytes()];
        broker.read_exact(&mut body)?;
        match parsed.api {
            Api::Metadata => {
                let mut reply = MetadataReply::decode(&body).expect("a metadata reply");
                for node in &mut reply.nodes {
                    node.port = port;
                    node.shard_ports.fill(port);
                }
                client.write_all(&reply_frame(Api::Metadata, parsed.correlation, |out| reply.encode(out)))?;
            }
            Api::Produce if (answers.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(LOSE_EVERY) => return Ok(()),
            _ => {
                client.write_all(&[&header[..], &body].concat())?;
            }
        }
    }
}

fn impatient() -> ClientConfig {
    ClientConfig {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(50),
        request_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    }
}

async fn produce(port: u16, mut restart: impl FnMut()) -> u32 {
    let client = Client::connect(format!("127.0.0.1:{port}"), impatient()).await.expect("connected");
    let settings = ProducerConfig { batch_bytes: 200, linger: Duration::ZERO, ..ProducerConfig::default() };
    let producer = client.producer(settings).expect("sound settings");
    let mut count = 0;
    for _ in 0..4 {
        for _ in 0..1500 {
            let value = (count / PARTITIONS).to_string();
            let record = Record::to("orders").partition(PartitionIndex(count % PARTITIONS)).value(value.as_bytes());
            drop(producer.enqueue(record).await.expect("taken"));
            count += 1;
        }
        // In the middle of what is on its way.
        restart();
    }
    producer.close().await.expect("everything was acknowledged");
    count
}

async fn check(native: &str, count: u32) {
    let client = Client::connect(native, ClientConfig::default()).await.expect("connected");
    let mut consumer = client.consumer(ConsumerConfig::default()).expect("sound settings");
    consumer.assign("orders", Partitions::All, StartAt::Earliest).await.expect("assigned");
    let mut next = [0; PARTITIONS as usize];
    for _ in 0..count {
        let record = consumer.next().await.expect("a record");
        let at: &mut u32 = &mut next[record.partition.0 as usize];
        let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        assert_eq!((value, record.offset.0), (at.to_string(), u64::from(*at)), "partition {}", record.partition);
        *at += 1;
    }
}

#[test]
fn lost_answers_and_kills_neither_double_nor_drop_nor_reorder_a_record() {
    let directory = directory();
    let mut broker = Some(Broker::start(directory.path(), &["--shards", "2"]));
    let native = |broker: &Option<Broker>| broker.as_ref().expect("it runs").native.clone();
    broker.as_ref().expect("it runs").stdout(&["topic", "create", "orders", "--partitions", "4"]);
    let proxy = Proxy::start(&native(&broker));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let mut shards = ["1", "3", "2", "2"].into_iter();
    let count = runtime.block_on(produce(proxy.port, || {
        let restarted =
            broker.take().map(|broker| broker.kill_and_restart(&["--shards", shards.next().unwrap_or("2")]));
        broker = restarted;
        *proxy.target.lock().expect("no panic under it") = native(&broker);
    }));
    assert!(proxy.lost() > 20, "{} answers were lost", proxy.lost());
    runtime.block_on(check(&native(&broker), count));
    let topic = broker.as_ref().expect("it runs").json(&["topic", "describe", "orders"]);
    for partition in topic["partitions"].as_array().expect("partitions") {
        assert_eq!(partition["end_offset"], count / PARTITIONS, "nothing follows");
    }
    broker.expect("it runs").stop();
    let inspected = common::stdout_of(&common::run(&["inspect", &directory.path().display().to_string(), "--json"]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    for partition in inspected["partitions"].as_array().expect("partitions") {
        let producers = partition["producers"]["producers"].as_array().expect("producers");
        assert_eq!(producers.len(), 1);
        assert_eq!(producers[0]["last_offset"], count / PARTITIONS - 1);
    }
}

//! Produces a thousand records and prints where the last one went.
//!
//! `cargo run --example produce -- [HOST:PORT] [TOPIC]`, by default 127.0.0.1:9192 and `example`, which is created when it
//! does not exist.

use ouzel_client::{Client, ClientConfig, ClientError, ErrorCode, NewTopic, ProducerConfig, Record};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or_else(|| "127.0.0.1:9192".into());
    let topic = arguments.next().unwrap_or_else(|| "example".into());

    let client = Client::connect(bootstrap, ClientConfig::default()).await?;
    match client.admin().create_topic(NewTopic::named(&topic).partitions(3)).await {
        Ok(topic_id) => println!("created {topic} ({topic_id})"),
        Err(error) if error.code() == Some(ErrorCode::TopicAlreadyExists) => {}
        Err(error) => return Err(error),
    }

    let producer = client.producer(ProducerConfig::default())?;
    for number in 0..999 {
        let (key, value) = (format!("key-{}", number % 10), format!("value {number}"));
        producer.enqueue(Record::to(&topic).key(key.as_bytes()).value(value.as_bytes())).await?;
    }
    let headers = [("sent-by", Some(&b"the produce example"[..]))];
    let last = producer.send(Record::to(&topic).value(b"the last one").headers(&headers)).await?;
    producer.close().await?;

    let durability = last.durability.map_or_else(|| "unknown".to_owned(), |level| level.to_string());
    println!("last: partition {} offset {} durability {durability}", last.partition, last.offset);
    Ok(())
}

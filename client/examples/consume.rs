//! Prints the records of a topic from its beginning, until none has come for two seconds.
//!
//! `cargo run --example consume -- [HOST:PORT] [TOPIC]`, by default 127.0.0.1:9192 and `example`.

use std::time::Duration;

use ouzel_client::{Client, ClientConfig, ClientError, ConsumerConfig, Partitions, StartAt};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut arguments = std::env::args().skip(1);
    let bootstrap = arguments.next().unwrap_or_else(|| "127.0.0.1:9192".into());
    let topic = arguments.next().unwrap_or_else(|| "example".into());

    let client = Client::connect(bootstrap, ClientConfig::default()).await?;
    let mut consumer = client.consumer(ConsumerConfig::default())?;
    consumer.assign(&topic, Partitions::All, StartAt::Earliest).await?;

    let text =
        |bytes: Option<&[u8]>| bytes.map_or_else(|| "-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut count = 0;
    while let Ok(record) = tokio::time::timeout(Duration::from_secs(2), consumer.next()).await {
        let record = record?;
        count += 1;
        let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
        println!("{} {} {key} {value}", record.partition, record.offset);
    }
    eprintln!("{count} records");
    Ok(())
}

//! A load through librdkafka, for `bench/bars`: `librdkafka_produce HOST:PORT SECONDS` sends records of 1 KiB in batches of 64, idempotent
//! and as fast as they are acknowledged, and prints one line of JSON.

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

const RECORD_BYTES: usize = 1024;
const TOPIC: &str = "wire";
/// How long the last records may take.
const LAST: Duration = Duration::from_secs(60);

/// Ends the run at the first record that is not acknowledged: a figure without it would mean nothing.
struct EveryOne;

impl ClientContext for EveryOne {}

impl ProducerContext for EveryOne {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            eprintln!("a record was not acknowledged: {error}");
            std::process::exit(1);
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(bootstrap), Some(seconds)) = (words.next(), words.next()) else {
        return Err("usage: librdkafka_produce HOST:PORT SECONDS".into());
    };
    let lasting = Duration::from_secs_f64(seconds.parse()?);
    let producer: BaseProducer<EveryOne> = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("batch.num.messages", "64")
        // Beyond 64 records with their headers: their number is what ends a batch.
        .set("batch.size", "131072")
        .set("queue.buffering.max.messages", "16384")
        .create_with_context(EveryOne)?;
    let value = [0x5A_u8; RECORD_BYTES];
    let (started, mut records) = (Instant::now(), 0_u64);
    while started.elapsed() < lasting {
        match producer.send(BaseRecord::<(), [u8]>::to(TOPIC).payload(&value[..])) {
            Ok(()) => records += 1,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::from_millis(5));
            }
            Err((error, _)) => return Err(error.into()),
        }
        if records.is_multiple_of(256) {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LAST)?;
    println!(r#"{{"records": {records}, "seconds": {}}}"#, started.elapsed().as_secs_f64());
    Ok(())
}

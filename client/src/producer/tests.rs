//! Tests of the producer against a small broker in memory, over real sockets.

use std::time::Duration;

use ouzel_protocol::native::Api;
use ouzel_protocol::{Codec, Dialect, Durability, ErrorCode, Offset, PartitionIndex};

use crate::testing::{Fault, MiniBroker, config};
use crate::*;

async fn producer(broker: &MiniBroker, settings: ProducerConfig) -> (Client, Producer) {
    let client = Client::connect(broker.bootstrap.as_str(), config()).await.unwrap();
    let producer = client.producer(settings).unwrap();
    (client, producer)
}

fn quick() -> ProducerConfig {
    ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::default() }
}

/// All values of a topic, by partition.
async fn values(client: &Client, topic: &str, count: usize) -> Vec<Vec<Vec<u8>>> {
    let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
    consumer.assign(topic, Partitions::All, StartAt::Earliest).await.unwrap();
    let mut values = vec![Vec::new(); 16];
    for _ in 0..count {
        let record = consumer.next().await.unwrap();
        let partition = &mut values[record.partition.0 as usize];
        assert_eq!(record.offset.0, partition.len() as u64);
        partition.push(record.value.unwrap().to_vec());
    }
    values
}

#[tokio::test]
async fn every_record_gets_the_offset_at_which_it_is_read() {
    let broker = MiniBroker::start(&[("t", 4)]);
    for (dialect, codec) in [(Dialect::Native, Codec::Zstd), (Dialect::Kafka2, Codec::Lz4)] {
        let settings = ProducerConfig { dialect, compression: codec, batch_bytes: 500, ..quick() };
        let (_, producer) = producer(&broker, settings).await;
        let mut deliveries = Vec::new();
        for number in 0..500_u32 {
            let partition = PartitionIndex(number % 4);
            let value = format!("{dialect:?} {number}");
            let record = Record::to("t").partition(partition).value(value.as_bytes());
            deliveries.push((value.clone(), producer.enqueue(record).await.unwrap()));
        }
        let client = Client::connect(broker.bootstrap.as_str(), config()).await.unwrap();
        producer.flush().await.unwrap();
        let total = if dialect == Dialect::Native { 500 } else { 1000 };
        let values = values(&client, "t", total).await;
        for (value, delivery) in deliveries {
            let metadata = delivery.await.unwrap();
            assert_eq!(metadata.durability, Some(Durability::Disk));
            let partition = &values[metadata.partition.0 as usize];
            assert_eq!(partition[metadata.offset.0 as usize], value.into_bytes());
        }
    }
}

#[tokio::test]
async fn order_holds_and_nothing_is_lost_while_the_broker_misbehaves() {
    let broker = MiniBroker::start(&[("t", 4)]);
    let faults = [
        Fault::Refuse(ErrorCode::NotLeader),
        Fault::CloseBefore,
        Fault::Refuse(ErrorCode::Overloaded),
        Fault::Refuse(ErrorCode::DiskFull),
        Fault::CloseAfter,
    ];
    broker.misbehave(faults.iter().cycle().take(40).copied());
    let (client, producer) = producer(&broker, ProducerConfig { batch_bytes: 300, ..quick() }).await;
    for number in 0..2000_u32 {
        let value = number.to_string();
        let partition = PartitionIndex(number % 4);
        let record = Record::to("t").partition(partition).value(value.as_bytes());
        producer.enqueue(record).await.unwrap();
    }
    producer.flush().await.unwrap();
    assert_eq!(broker.faults_left(), 0);
    let values = values(&client, "t", 2000).await;
    for (partition, values) in values.iter().take(4).enumerate() {
        let numbers = values.iter().map(|value| String::from_utf8_lossy(value).parse::<u32>().unwrap());
        let expected = (0..2000).filter(|number| number % 4 == partition as u32);
        assert!(numbers.eq(expected), "partition {partition}");
    }
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_in_the_log_once_with_idempotence_and_twice_without() {
    for (idempotence, copies) in [(true, 1), (false, 2)] {
        let broker = MiniBroker::start(&[("t", 1)]);
        broker.misbehave([Fault::CloseAfter]);
        let (_, producer) = producer(&broker, ProducerConfig { idempotence, ..quick() }).await;
        let metadata = producer.send(Record::to("t").value(b"a")).await.unwrap();
        assert_eq!(metadata.offset, Offset(copies - 1), "the first place it got, or the second");
        assert_eq!(broker.batch_sizes("t", 0), vec![1; copies as usize]);
    }
}

#[tokio::test]
async fn a_broker_that_lost_what_it_acknowledged_gets_the_rest_in_a_higher_epoch() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let (client, producer) = producer(&broker, quick()).await;
    for value in [b"a", b"b"] {
        producer.send(Record::to("t").value(value)).await.unwrap();
    }
    broker.misbehave([Fault::ForgetProducers]);
    assert_eq!(producer.send(Record::to("t").value(b"c")).await.unwrap().offset, Offset(2));
    assert_eq!(producer.send(Record::to("t").value(b"d")).await.unwrap().offset, Offset(3));
    assert_eq!(values(&client, "t", 4).await[0], [b"a", b"b", b"c", b"d"]);
    assert_eq!(broker.requests(Api::InitProducerId), 1, "the producer raises its epoch itself");
}

#[tokio::test]
async fn a_producer_whose_number_somebody_else_uses_says_so_and_takes_another() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let (_, producer) = producer(&broker, quick()).await;
    producer.send(Record::to("t").value(b"a")).await.unwrap();
    broker.misbehave([Fault::Refuse(ErrorCode::InvalidProducerEpoch)]);
    let error = producer.send(Record::to("t").value(b"b")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::InvalidProducerEpoch));
    assert_eq!(producer.send(Record::to("t").value(b"c")).await.unwrap().offset, Offset(1));
    assert_eq!(broker.requests(Api::InitProducerId), 2);
}

#[tokio::test]
async fn a_partition_that_moves_is_followed() {
    let broker = MiniBroker::start(&[("t", 2)]);
    let (_, producer) = producer(&broker, quick()).await;
    let record = Record::to("t").partition(PartitionIndex(1)).value(b"a");
    assert_eq!(producer.send(record).await.unwrap().offset, Offset(0));
    broker.move_all_to(0);
    assert_eq!(producer.send(record).await.unwrap().offset, Offset(1));
    assert_eq!(producer.send(record.partition(PartitionIndex(0))).await.unwrap().offset, Offset(0));
}

#[tokio::test]
async fn a_key_has_one_partition_and_keyless_records_fill_batches() {
    let broker = MiniBroker::start(&[("t", 8)]);
    let (_, producer) = producer(&broker, ProducerConfig { batch_bytes: 2000, ..quick() }).await;
    let mut partitions = Vec::new();
    for _ in 0..20 {
        partitions.push(producer.send(Record::to("t").key(b"k")).await.unwrap().partition);
    }
    assert!(partitions.iter().all(|partition| *partition == partitions[0]));
    let expected = ouzel_protocol::partitioning::partition_for_key(b"k", 8);
    assert_eq!(partitions[0], expected);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_its_reason() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let (_, producer) = producer(&broker, quick()).await;
    let error = producer.send(Record::to("nowhere")).await.unwrap_err();
    assert!(matches!(&error, ClientError::UnknownTopic { topic } if topic == "nowhere"), "{error}");
    let error = producer.send(Record::to("no such name!")).await.unwrap_err();
    assert!(matches!(error, ClientError::TopicName(_)), "{error}");
    let error = producer.send(Record::to("t").partition(PartitionIndex(9))).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownPartition { count: 1, .. }), "{error}");
    broker.misbehave([Fault::Refuse(ErrorCode::MessageTooLarge)]);
    let error = producer.send(Record::to("t").value(b"a")).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge));
    producer.send(Record::to("t").value(b"b")).await.unwrap();
    let error = producer.flush().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::MessageTooLarge), "the first since the last flush");
    producer.flush().await.unwrap();
}

#[tokio::test]
async fn a_topic_deleted_under_a_producer_is_unknown_and_not_retried_forever() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let (_, producer) = producer(&broker, quick()).await;
    producer.send(Record::to("t")).await.unwrap();
    broker.delete_topic("t");
    let error = producer.send(Record::to("t")).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownTopic { .. }), "{error}");
}

#[tokio::test]
async fn acks_zero_asks_for_no_reply_and_knows_no_offset() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let (client, producer) = producer(&broker, ProducerConfig { acks: Acks::Zero, ..quick() }).await;
    for _ in 0..10 {
        let metadata = producer.send(Record::to("t").value(b"a")).await.unwrap();
        assert_eq!(metadata.durability, None);
    }
    producer.flush().await.unwrap();
    assert_eq!(values(&client, "t", 10).await[0].len(), 10);
}

#[tokio::test]
async fn a_buffer_smaller_than_the_load_slows_the_caller_and_loses_nothing() {
    let broker = MiniBroker::start(&[("t", 3)]);
    let settings = ProducerConfig { batch_bytes: 1000, buffer_bytes: 2000, ..quick() };
    let (client, producer) = producer(&broker, settings).await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let producer = producer.clone();
            tokio::spawn(async move {
                for _ in 0..250 {
                    producer.enqueue(Record::to("t").value(&[7; 100])).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    producer.close().await.unwrap();
    let values = values(&client, "t", 1000).await;
    assert_eq!(values.iter().map(Vec::len).sum::<usize>(), 1000);
}

#[tokio::test]
async fn a_record_that_cannot_be_delivered_in_time_says_why() {
    let broker = MiniBroker::start(&[("t", 1)]);
    broker.misbehave((0..100_000).map(|_| Fault::Refuse(ErrorCode::Overloaded)));
    let settings = ProducerConfig { delivery_timeout: Duration::from_millis(50), ..quick() };
    let (_, producer) = producer(&broker, settings).await;
    let error = producer.send(Record::to("t").value(b"a")).await.unwrap_err();
    assert!(matches!(error, ClientError::DeliveryTimeout { .. }), "{error}");
    assert!(error.to_string().contains("no room"), "{error}");
}

#[tokio::test]
async fn linger_and_size_make_batches() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let linger = Duration::from_secs(3600);
    let settings = ProducerConfig { linger, batch_bytes: 1 << 20, ..quick() };
    let (_, producer) = producer(&broker, settings).await;
    for _ in 0..100 {
        producer.enqueue(Record::to("t").value(b"a")).await.unwrap();
    }
    assert_eq!(broker.requests(Api::Produce), 0);
    producer.flush().await.unwrap();
    assert_eq!(broker.batch_sizes("t", 0), [100]);
}

#[tokio::test]
async fn a_closed_producer_takes_nothing_and_a_dropped_one_delivers_what_it_took() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let (client, first) = producer(&broker, quick()).await;
    let clone = first.clone();
    first.close().await.unwrap();
    assert!(matches!(clone.send(Record::to("t")).await, Err(ClientError::Closed)));
    let second = client.producer(quick()).unwrap();
    let delivery = second.enqueue(Record::to("t").value(b"a")).await.unwrap();
    drop(second);
    assert_eq!(delivery.await.unwrap().offset, Offset(0));
}

//! Tests of the consumer against a small broker in memory, over real sockets.

use ouzel_protocol::{ErrorCode, Offset, PartitionIndex};

use crate::testing::{MiniBroker, config};
use crate::*;

async fn client(broker: &MiniBroker) -> Client {
    Client::connect(broker.bootstrap.as_str(), config()).await.unwrap()
}

/// Produces numbers to a partition, `batch` records in each batch.
async fn produce(client: &Client, partition: u32, numbers: std::ops::Range<u32>, batch: usize) {
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let numbers: Vec<u32> = numbers.collect();
    for numbers in numbers.chunks(batch) {
        for number in numbers {
            let value = number.to_string();
            let record = Record::to("t").partition(PartitionIndex(partition)).value(value.as_bytes());
            producer.enqueue(record).await.unwrap();
        }
        producer.flush().await.unwrap();
    }
}

async fn consumer(client: &Client, start: StartAt) -> Consumer {
    let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
    consumer.assign("t", Partitions::All, start).await.unwrap();
    consumer
}

async fn offsets(consumer: &mut Consumer, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    for _ in 0..count {
        let record = consumer.next().await.unwrap();
        assert_eq!(record.value.unwrap(), record.offset.to_string().as_bytes());
        offsets.push(record.offset.0);
    }
    offsets
}

fn range(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

#[tokio::test]
async fn a_consumer_starts_where_it_is_told() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let client = client(&broker).await;
    produce(&client, 0, 0..30, 10).await;
    let mut earliest = consumer(&client, StartAt::Earliest).await;
    let mut middle = consumer(&client, StartAt::Offset(Offset(17))).await;
    let mut latest = consumer(&client, StartAt::Latest).await;
    produce(&client, 0, 30..32, 10).await;
    assert_eq!(offsets(&mut earliest, 32).await, range(0..32));
    assert_eq!(offsets(&mut middle, 15).await, range(17..32));
    assert_eq!(offsets(&mut latest, 2).await, range(30..32));
    assert_eq!(earliest.position("t", PartitionIndex(0)), Some(Offset(32)));
}

#[tokio::test]
async fn lost_connections_neither_lose_nor_repeat_a_record() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let client = client(&broker).await;
    let mut consumer = consumer(&client, StartAt::Earliest).await;
    for round in 0..5_u32 {
        produce(&client, 0, round * 20..round * 20 + 20, 3).await;
        let first = u64::from(round) * 20;
        assert_eq!(offsets(&mut consumer, 10).await, range(first..first + 10));
        broker.drop_connections();
        assert_eq!(offsets(&mut consumer, 10).await, range(first + 10..first + 20));
    }
}

#[tokio::test]
async fn a_partition_that_moves_is_followed() {
    let broker = MiniBroker::start(&[("t", 2)]);
    let client = client(&broker).await;
    let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
    let partition = PartitionIndex(1);
    consumer.assign("t", Partitions::Only(vec![partition]), StartAt::Earliest).await.unwrap();
    produce(&client, 1, 0..5, 5).await;
    assert_eq!(offsets(&mut consumer, 5).await, range(0..5));
    broker.move_all_to(0);
    produce(&client, 1, 5..9, 2).await;
    assert_eq!(offsets(&mut consumer, 4).await, range(5..9));
}

#[tokio::test]
async fn a_seek_drops_what_was_fetched_ahead() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let client = client(&broker).await;
    produce(&client, 0, 0..20, 5).await;
    let mut consumer = consumer(&client, StartAt::Earliest).await;
    assert_eq!(offsets(&mut consumer, 3).await, range(0..3));
    consumer.seek("t", PartitionIndex(0), StartAt::Offset(Offset(12))).await.unwrap();
    assert_eq!(consumer.position("t", PartitionIndex(0)), Some(Offset(12)));
    assert_eq!(offsets(&mut consumer, 8).await, range(12..20));
    consumer.seek_all("t", StartAt::Earliest).await.unwrap();
    let polled = consumer.poll(4).await.unwrap();
    assert_eq!(polled.len(), 4);
    assert_eq!(offsets(&mut consumer, 16).await, range(4..20));
}

#[tokio::test]
async fn a_position_out_of_range_is_an_error_once_and_a_seek_cures_it() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let client = client(&broker).await;
    produce(&client, 0, 0..20, 5).await;
    broker.delete_below("t", 0, 10);
    let mut stuck = consumer(&client, StartAt::Offset(Offset(0))).await;
    let error = stuck.next().await.unwrap_err();
    assert!(matches!(error, ClientError::OffsetOutOfRange { offset: Offset(0), .. }), "{error}");
    stuck.seek_all("t", StartAt::Earliest).await.unwrap();
    assert_eq!(offsets(&mut stuck, 10).await, range(10..20));

    let settings = ConsumerConfig { out_of_range: OutOfRange::Earliest, ..ConsumerConfig::default() };
    let mut resetting = client.consumer(settings).unwrap();
    resetting.assign("t", Partitions::All, StartAt::Offset(Offset(999))).await.unwrap();
    assert_eq!(offsets(&mut resetting, 10).await, range(10..20));
}

#[tokio::test]
async fn a_damaged_batch_is_named_and_can_be_passed() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let client = client(&broker).await;
    produce(&client, 0, 0..10, 5).await;
    broker.damage("t", 0);
    produce(&client, 0, 10..15, 5).await;
    let mut consumer = consumer(&client, StartAt::Earliest).await;
    assert_eq!(offsets(&mut consumer, 5).await, range(0..5));
    let error = consumer.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Corrupt { offset: Offset(5), .. }), "{error}");
    consumer.seek("t", PartitionIndex(0), StartAt::Offset(Offset(10))).await.unwrap();
    assert_eq!(offsets(&mut consumer, 5).await, range(10..15));
}

#[tokio::test]
async fn a_topic_deleted_under_a_consumer_is_an_error() {
    let broker = MiniBroker::start(&[("t", 1), ("u", 1)]);
    let client = client(&broker).await;
    let mut consumer = consumer(&client, StartAt::Earliest).await;
    broker.delete_topic("t");
    let error = consumer.next().await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownTopic { .. }), "{error}");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test]
async fn what_is_not_there_cannot_be_assigned_read_or_sought() {
    let broker = MiniBroker::start(&[("t", 1)]);
    let client = client(&broker).await;
    let mut consumer = client.consumer(ConsumerConfig::default()).unwrap();
    assert!(matches!(consumer.next().await, Err(ClientError::NothingAssigned)));
    let error = consumer.assign("nowhere", Partitions::All, StartAt::Latest).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownTopic { .. }), "{error}");
    let only = Partitions::Only(vec![PartitionIndex(3)]);
    let error = consumer.assign("t", only, StartAt::Latest).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownPartition { count: 1, .. }), "{error}");
    let sought = consumer.seek("t", PartitionIndex(0), StartAt::Latest).await;
    assert!(matches!(sought, Err(ClientError::NothingAssigned)));
}

#[tokio::test]
async fn all_partitions_are_read_in_their_order() {
    let broker = MiniBroker::start(&[("t", 5)]);
    let client = client(&broker).await;
    let settings = ConsumerConfig { prefetch_bytes: 500, ..ConsumerConfig::default() };
    let mut consumer = client.consumer(settings).unwrap();
    consumer.assign("t", Partitions::All, StartAt::Earliest).await.unwrap();
    for partition in 0..5 {
        produce(&client, partition, 0..40, 7).await;
    }
    let mut next = [0; 5];
    for _ in 0..200 {
        let record = consumer.next().await.unwrap();
        let next = &mut next[record.partition.0 as usize];
        assert_eq!(record.offset.0, *next);
        *next += 1;
    }
    assert_eq!(next, [40; 5]);
    consumer.unassign("t");
    assert!(matches!(consumer.next().await, Err(ClientError::NothingAssigned)));
}

//! Seeds of the metadata state machine: every kind of record, snapshots of the images they lead to, histories of both, and
//! the requests behind them.

use ouzel_broker_core::{Command, MetadataImage, Record};
use ouzel_protocol::native::{AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest};
use ouzel_protocol::{ClusterId, Incarnation, NodeId, TopicId};

pub(super) fn of(target: &str) -> Option<Vec<Vec<u8>>> {
    let (image, records) = lived();
    Some(match target {
        "metadata-record" => records.iter().map(Record::encode).collect(),
        "metadata-snapshot" => vec![MetadataImage::new().encode_snapshot(), image.encode_snapshot()],
        "metadata-history" => {
            let next = Command::NodeStarted { node: NodeId(0), incarnation: Incarnation(3), shards: 1 };
            let next = image.propose(next).expect("a later start");
            vec![
                rows(std::iter::once(Vec::new()).chain(records.iter().map(Record::encode))),
                rows([image.encode_snapshot(), next.encode()]),
            ]
        }
        "metadata-command" => vec![requests()],
        _ => return None,
    })
}

/// An image that has seen everything, and the records that led to it.
fn lived() -> (MetadataImage, Vec<Record>) {
    let start =
        |incarnation, shards| Command::NodeStarted { node: NodeId(0), incarnation: Incarnation(incarnation), shards };
    let create = |name: &str, topic_id, partitions| Command::CreateTopic {
        name: name.to_owned(),
        topic_id: TopicId(topic_id),
        partitions,
        replication_factor: 1,
        configs: vec![("ouzel.durability".to_owned(), "written".to_owned())],
    };
    let alter = Command::AlterTopic {
        name: "orders".to_owned(),
        partitions: Some(4),
        configs: vec![("segment.bytes".to_owned(), Some("1048576".to_owned())), ("ouzel.durability".to_owned(), None)],
    };
    let name = Command::NameCluster { cluster_id: ClusterId::from_random(7) };
    let delete = Command::DeleteTopic { name: "gone".to_owned() };
    let mut image = MetadataImage::new();
    let mut records = Vec::new();
    for command in [start(1, 2), create("orders", 9, 2), create("gone", 5, 1), alter, delete, start(2, 1), name] {
        let record = image.propose(command).expect("legal in this order");
        image.apply(&record).expect("what is proposed fits");
        records.push(record);
    }
    (image, records)
}

fn rows(rows: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    rows.into_iter().flat_map(|row| [&(row.len() as u16).to_le_bytes()[..], &row].concat()).collect()
}

fn requests() -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |kind: u8, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut body = Vec::new();
        encode(&mut body);
        out.push(kind);
        out.extend(rows([body]));
    };
    let (name, configs) = ("orders".to_owned(), vec![("segment.bytes".to_owned(), "1048576".to_owned())]);
    let create = CreateTopicRequest { name: name.clone(), partitions: 3, replication_factor: 1, configs };
    let configs = vec![("ouzel.flush.interval.ms".to_owned(), Some("5".to_owned()))];
    let alter = AlterTopicRequest { name: name.clone(), partitions: Some(5), configs };
    put(0, &|out| create.encode(out));
    put(1, &|out| alter.encode(out));
    put(2, &|out| DeleteTopicRequest { name: name.clone() }.encode(out));
    put(0, &|out| create.encode(out));
    out
}

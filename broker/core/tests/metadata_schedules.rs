//! Random schedules of commands against the metadata: whatever happens, records replay to the live image, snapshots
//! are the image, epochs only rise and partition ids are never used twice. A failure prints its seed; `OUZEL_SEED`
//! replays it.

#[path = "support/seeds.rs"]
mod seeds;

use std::collections::{BTreeMap, BTreeSet};

use ouzel_broker_core::{Command, MetadataImage, Partition, Record};
use ouzel_protocol::{ClusterId, Incarnation, NodeId, PartitionId, TopicId};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use seeds::{SeedOnPanic, seeds};

const COMMANDS: usize = 300;
const SCHEDULES: u64 = 40;

fn random_command(rng: &mut SmallRng, image: &MetadataImage) -> Command {
    let name = format!("topic-{}", rng.random_range(0..8));
    let key = ["ouzel.durability", "segment.bytes", "max.message.bytes", "no.such.key"][rng.random_range(0..4)];
    let value = ["written", "disk", "1048576", "5000000", "x"][rng.random_range(0..5)];
    match rng.random_range(0..12) {
        0 | 1 => {
            let node = NodeId(rng.random_range(0..2));
            let step = rng.random_range(0..2);
            let incarnation = Incarnation(image.next_incarnation(node).0 - step);
            Command::NodeStarted { node, incarnation, shards: rng.random_range(0..6) }
        }
        2..=4 => Command::CreateTopic {
            name,
            topic_id: TopicId(rng.random_range(0..50)),
            partitions: rng.random_range(0..9),
            replication_factor: u16::from(rng.random_ratio(1, 20)) * 3,
            configs: if rng.random_ratio(1, 3) { vec![(key.to_owned(), value.to_owned())] } else { Vec::new() },
        },
        5 | 6 => Command::DeleteTopic { name },
        11 => Command::NameCluster { cluster_id: ClusterId::from_random(rng.random()) },
        10 => Command::AllocateProducerIds { count: rng.random_range(0..3) },
        _ => {
            let partitions = rng.random_ratio(1, 2).then(|| rng.random_range(0..14));
            let value = rng.random_ratio(2, 3).then(|| value.to_owned());
            Command::AlterTopic { name, partitions, configs: vec![(key.to_owned(), value)] }
        }
    }
}

fn by_id(image: &MetadataImage) -> BTreeMap<PartitionId, Partition> {
    image.partitions().map(|(_, _, partition)| (partition.partition_id, *partition)).collect()
}

#[test]
fn any_schedule_replays_to_the_live_image() {
    for seed in seeds(SCHEDULES) {
        let _seed = SeedOnPanic(seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut image = MetadataImage::new();
        let mut log: Vec<Vec<u8>> = Vec::new();
        let mut ids_ever = BTreeSet::new();
        let mut committed = 0;
        for _ in 0..COMMANDS {
            let before = image.clone();
            let Ok(record) = image.propose(random_command(&mut rng, &image)) else {
                assert_eq!(image, before, "a refusal changes nothing");
                continue;
            };
            let bytes = record.encode();
            assert_eq!(Record::decode(&bytes).as_ref(), Ok(&record));
            image.apply(&record).expect("a proposed record applies to the version it was proposed against");
            image.assert_invariants();
            committed += 1;
            assert_eq!(image.version().0, committed);
            let (old, new) = (by_id(&before), by_id(&image));
            for (partition_id, partition) in &new {
                match old.get(partition_id) {
                    None => assert!(ids_ever.insert(*partition_id), "partition id {partition_id} came back"),
                    Some(old) => assert!(partition.leader_epoch >= old.leader_epoch, "an epoch fell"),
                }
            }
            if let Record::NodeStarted { node, .. } = &record {
                for (partition_id, old) in old.iter().filter(|(_, old)| old.leader == Some(*node)) {
                    assert!(new[partition_id].leader_epoch > old.leader_epoch, "a start did not raise an epoch");
                }
            }
            assert!(before.cluster_id().is_none() || image.cluster_id() == before.cluster_id(), "a name changed");
            if let Record::ProducerIdBlock { first, count } = &record {
                assert_eq!(*first, before.next_producer_id(), "ids are handed out one after the other");
                assert_eq!(image.next_producer_id().0, first.0 + u64::from(*count));
            }
            log.push(bytes);
        }
        assert!(committed > COMMANDS as u64 / 10, "the schedule does something");

        let snapshot_at = rng.random_range(0..=log.len());
        let mut replayed = MetadataImage::new();
        for (at, bytes) in log.iter().enumerate() {
            if at == snapshot_at {
                replayed = MetadataImage::decode_snapshot(&replayed.encode_snapshot()).expect("our own snapshot");
            }
            replayed.apply(&Record::decode(bytes).expect("our own record")).expect("the log replays");
        }
        assert_eq!(replayed, image);
    }
}

#[test]
fn records_applied_out_of_place_are_refused_or_leave_a_sound_image() {
    for seed in seeds(SCHEDULES) {
        let _seed = SeedOnPanic(seed);
        let mut rng = SmallRng::seed_from_u64(seed ^ 0xdead);
        let mut image = MetadataImage::new();
        let mut records = Vec::new();
        for _ in 0..COMMANDS {
            if let Ok(record) = image.propose(random_command(&mut rng, &image)) {
                image.apply(&record).expect("fits");
                records.push(record);
            }
        }
        let mut scrambled = MetadataImage::new();
        for _ in 0..COMMANDS {
            let before = scrambled.clone();
            if scrambled.apply(&records[rng.random_range(0..records.len())]).is_err() {
                assert_eq!(scrambled, before, "a refusal changes nothing");
            }
            scrambled.assert_invariants();
        }
    }
}

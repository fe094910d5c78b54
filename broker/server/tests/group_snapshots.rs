//! Snapshots of groups in a broker: one is taken when the log has grown, a start reads it and what the log has behind it, and
//! one that is damaged costs no more than time.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ouzel_broker::RunningBroker;
use ouzel_broker_core::group::partition_for;
use ouzel_protocol::crc;
use ouzel_protocol::kafka::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicsRequest, FindCoordinatorReply, FindCoordinatorRequest, KafkaError,
    OffsetCommitPartition, OffsetCommitReply, OffsetCommitRequest, OffsetCommitTopic, OffsetFetchGroup,
    OffsetFetchReply, OffsetFetchRequest,
};
use support::directory;
use support::kafka::KafkaClient;
use support::log;

const PARTITIONS: i32 = 100;
/// Of the 4,000 bytes of a note, requests of a hundred of them: more than the 64 MiB after which a snapshot is due.
const REQUESTS: i64 = 180;
const PATIENCE: Duration = Duration::from_secs(60);

fn start(data_dir: &Path) -> (RunningBroker, KafkaClient) {
    let mut config = support::config(data_dir, 1);
    config.kafka = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let broker = support::try_start(config).expect("the broker starts");
    let client = KafkaClient::connect(&broker);
    (broker, client)
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < limit, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn find(client: &mut KafkaClient, group: &str) {
    until("a coordinator", || {
        let asked = FindCoordinatorRequest { coordinator_keys: [group].into_iter().collect(), ..Default::default() };
        let reply = client.ask(4, &asked);
        let row = reply.decode::<FindCoordinatorReply<'_>>().coordinators.iter().next().expect("one row");
        (row.error_code == KafkaError::NONE).then_some(())
    });
}

/// Commits `offset` to every partition.
fn commit(client: &mut KafkaClient, group_id: &str, offset: i64, note: &str) {
    let row = |partition_index| OffsetCommitPartition {
        partition_index,
        committed_offset: offset,
        committed_leader_epoch: -1,
        committed_metadata: Some(note),
    };
    let topic = OffsetCommitTopic { name: "orders", partitions: (0..PARTITIONS).map(row).collect() };
    let asked = OffsetCommitRequest {
        group_id,
        generation_id_or_member_epoch: -1,
        topics: [topic].into_iter().collect(),
        ..Default::default()
    };
    let reply = client.ask(8, &asked);
    let topic = reply.decode::<OffsetCommitReply<'_>>().topics.iter().next().expect("one topic");
    assert!(topic.partitions.iter().all(|row| row.error_code == KafkaError::NONE));
}

/// The offset that all partitions have, if they have one.
fn committed(client: &mut KafkaClient, group_id: &str) -> Option<i64> {
    let group = OffsetFetchGroup { group_id, topics: None, ..Default::default() };
    let asked = OffsetFetchRequest { groups: [group].into_iter().collect(), ..Default::default() };
    let rows: Vec<i64> = until("offsets", || {
        let reply = client.ask(8, &asked);
        let group = reply.decode::<OffsetFetchReply<'_>>().groups.iter().next().expect("one group");
        let is_loading = group.error_code == KafkaError::COORDINATOR_LOAD_IN_PROGRESS;
        assert!(is_loading || group.error_code == KafkaError::NONE, "{:?}", group.error_code);
        let rows = group
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|row| row.committed_offset).collect::<Vec<_>>());
        (!is_loading).then(|| rows.collect())
    });
    assert!(rows.is_empty() || rows.len() == PARTITIONS as usize);
    assert!(rows.iter().all(|offset| *offset == rows[0]), "{rows:?}");
    rows.first().copied()
}

fn snapshots(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir.join("groups")).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|kind| kind == "snapshot")).collect()
}

/// How many records came from the snapshot and from the log at the last start.
fn loaded() -> (u64, u64) {
    let lines = log::lines_with("groups were loaded");
    let line = lines.last().expect("groups were loaded");
    let number = |name: &str| {
        let (_, rest) = line.split_once(name).expect("the field is there");
        rest.split(' ').next().expect("a value").parse().expect("a number")
    };
    (number("snapshot_records="), number("log_records="))
}

fn passed_over() -> usize {
    let lines = log::lines_with("a snapshot of groups is passed over");
    // Other tests write to the same log, of other partitions.
    let partition = format!("partition={} ", partition_for("readers", 50).0);
    lines.iter().filter(|line| line.contains(&partition)).count()
}

/// The checksum of a header that was changed.
fn seal(snapshot: &mut [u8]) {
    let header = crc::crc32c(&snapshot[..4092]).to_le_bytes();
    snapshot[4092..4096].copy_from_slice(&header);
}

fn with_offset(snapshot: &[u8], offset: u64) -> Vec<u8> {
    let mut changed = snapshot.to_vec();
    changed[24..32].copy_from_slice(&offset.to_le_bytes());
    seal(&mut changed);
    changed
}

/// Another group in the partition of this one.
fn neighbour(group: &str) -> String {
    let names = (0..).map(|number| format!("others-{number}"));
    names.into_iter().find(|name| partition_for(name, 50) == partition_for(group, 50)).expect("there are more names")
}

/// Starts the broker, reads what is committed, and stops it.
fn restarted(data_dir: &Path, other: &str) -> (Option<i64>, Option<i64>) {
    let (broker, mut client) = start(data_dir);
    let found = (committed(&mut client, "readers"), committed(&mut client, other));
    broker.stop().expect("it stops");
    found
}

#[test]
fn a_start_reads_the_snapshot_and_what_the_log_has_behind_it() {
    log::keep();
    let dir = directory();
    let other = neighbour("readers");
    let (broker, mut client) = start(dir.path());
    let topic =
        CreatableTopic { name: "orders", num_partitions: PARTITIONS, replication_factor: 1, ..Default::default() };
    client.ask(5, &CreateTopicsRequest { topics: [topic].into_iter().collect(), ..Default::default() });
    find(&mut client, "readers");
    let note = "n".repeat(4_000);
    for offset in 0..REQUESTS {
        commit(&mut client, "readers", offset, &note);
    }
    let path = until("a snapshot", || snapshots(dir.path()).pop());
    commit(&mut client, &other, 7, "");
    broker.stop().expect("it stops");

    let snapshot = fs::read(&path).expect("it can be read");
    let offset = u64::from_le_bytes(snapshot[24..32].try_into().expect("8 bytes"));
    let end = (REQUESTS as u64 + 1) * PARTITIONS as u64;
    assert!(offset > end / 2, "it was taken when there was much to read: {offset} of {end}");
    let all = (Some(REQUESTS - 1), Some(7));
    assert_eq!(restarted(dir.path(), &other), all);
    assert_eq!(loaded(), (PARTITIONS as u64, end - offset));
    assert_eq!(passed_over(), 0);

    // What the snapshot tells is believed: if it says that nothing is behind it, nothing is looked for there.
    fs::write(&path, with_offset(&snapshot, end)).expect("it can be written");
    let (stale, nothing) = restarted(dir.path(), &other);
    assert!(stale < all.0 && stale > Some(0) && nothing.is_none(), "{stale:?} {nothing:?}");
    assert_eq!((loaded(), passed_over()), ((PARTITIONS as u64, 0), 0));

    let mut damaged = snapshot.clone();
    damaged[4096 + 5_000] ^= 1;
    let mut foreign = snapshot.clone();
    foreign[16] ^= 1;
    seal(&mut foreign);
    let cut = snapshot[..snapshot.len() - 4096].to_vec();
    let unusable = [damaged, foreign, cut, Vec::new(), with_offset(&snapshot, end + 1)];
    for (number, bytes) in unusable.into_iter().enumerate() {
        fs::write(&path, bytes).expect("it can be written");
        assert_eq!(restarted(dir.path(), &other), all, "snapshot {number}");
        assert_eq!(passed_over(), number + 1, "it is said");
        // What is to be read is much again, so another is taken; it may be there already.
        let _ = fs::remove_file(&path);
    }
    fs::remove_file(path).ok();
    assert_eq!(restarted(dir.path(), &other), all, "none at all");
    assert_eq!(passed_over(), 5);
}

#[test]
fn what_is_left_of_a_topic_that_is_gone_is_removed() {
    let dir = directory();
    let (broker, mut client) = start(dir.path());
    find(&mut client, "readers");
    broker.stop().expect("it stops");
    let groups = dir.path().join("groups");
    fs::create_dir_all(&groups).expect("it can be made");
    let (kept, stray) = (groups.join(format!("{:016x}.snapshot", 1)), groups.join("00000000deadbeef.snapshot"));
    let unfinished = groups.join("00000000deadbeef.new");
    for path in [&kept, &stray, &unfinished] {
        fs::write(path, b"something").expect("it can be written");
    }
    let (broker, mut client) = start(dir.path());
    until("strays are removed", || (!stray.exists() && !unfinished.exists()).then_some(()));
    assert!(kept.exists(), "it is of a partition that there is");
    let asked = DeleteTopicsRequest { topic_names: ["__consumer_offsets"].into_iter().collect(), ..Default::default() };
    client.ask(5, &asked);
    until("the snapshot goes with its topic", || (!kept.exists()).then_some(()));
    broker.stop().expect("it stops");
}

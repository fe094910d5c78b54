//! The start of a node as seen by shard 0: enough space for a first one, metadata loaded, partitions recovered, the start committed, what
//! earlier starts left behind removed. Owns the order of these steps and the summary people read; the recovery itself is
//! storage's. Runs before anything is served.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ouzel_broker_core::{Command, MetadataImage};
use ouzel_protocol::{ClusterId, Incarnation, PartitionId, ShardIndex};
use ouzel_runtime::Shard;
use ouzel_storage::{
    AssignedIds, CommittedStart, PartitionConfig, RecoveredPartition, RecoveryProgress, recover_watched,
};

use crate::clean_mark;
use crate::data_dir::{incarnation_of, journals_dir};
use crate::error::StartError;
use crate::metadata_plane::{MetadataPlane, ProposeError};
use crate::shard::ShardSetup;
use crate::topic_table::partition_config;

/// What a start follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartedAfter {
    /// No start before it.
    #[default]
    Nothing,
    /// A stop in good order.
    CleanStop,
    /// The process or the machine ended without one.
    Crash,
}

impl StartedAfter {
    /// One word for the log.
    fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::CleanStop => "clean-stop",
            Self::Crash => "crash",
        }
    }
}

/// What recovery found, for people and for scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoverySummary {
    /// How the start before this one ended. Recovery proves the same bytes either way.
    pub after: StartedAfter,
    /// Journals replayed: the shards of the start before.
    pub journals: usize,
    /// Commits accepted.
    pub commits: u64,
    /// Bytes of these commits.
    pub bytes: u64,
    /// Entries applied.
    pub entries: u64,
    /// Tails cut: commits that were never acknowledged.
    pub torn_tails: usize,
    /// Journals that ended with a commit in flight.
    pub unsealed: usize,
    /// Times the journals had come round.
    pub wraps: u64,
    /// Live partitions.
    pub partitions: usize,
    /// Time it took.
    pub elapsed: Duration,
}

impl RecoverySummary {
    /// Writes the one line that scripts look for.
    pub(crate) fn log(&self, incarnation: Incarnation) {
        let Self { after, journals, commits, bytes, entries, torn_tails, unsealed, wraps, partitions, elapsed } = self;
        let elapsed_ms = elapsed.as_millis() as u64;
        let incarnation = incarnation.0;
        tracing::info!(
            incarnation,
            journals,
            commits,
            bytes,
            entries,
            torn_tails,
            unsealed,
            wraps,
            partitions,
            elapsed_ms,
            after = after.word(),
            "recovered"
        );
    }
}

/// What shard 0 hands to the thread that starts the broker.
#[derive(Debug)]
pub(crate) struct NodeRecovered {
    pub(crate) summary: RecoverySummary,
    /// The incarnation that this start takes.
    pub(crate) incarnation: Incarnation,
    /// The partitions of each shard, by index, as they will be placed once the start is committed.
    pub(crate) shards: Vec<Vec<(RecoveredPartition, PartitionConfig)>>,
}

/// Recovers every partition of this node.
pub(crate) async fn recover(
    shard: &Shard,
    setup: &ShardSetup,
    image: &MetadataImage,
    progress: &RecoveryProgress,
) -> Result<NodeRecovered, StartError> {
    let committed =
        image.node(setup.node).map(|state| CommittedStart { incarnation: state.incarnation, shards: state.shards });
    match &committed {
        None => check_space(shard, setup).await?,
        Some(last) => expect(shard, setup, last, progress).await?,
    }
    let live = live_partitions(setup, image);
    let assigned = AssignedIds { next: image.next_partition_id() };
    let recovered = recover_watched(shard, &setup.data_dir, &setup.store, committed, &live, assigned, progress).await?;
    let report = &recovered.report;
    let after = match &committed {
        None => StartedAfter::Nothing,
        Some(last) if clean_mark::read(&setup.data_dir) == Some(last.incarnation) => StartedAfter::CleanStop,
        Some(_) => StartedAfter::Crash,
    };
    if after == StartedAfter::CleanStop && (report.torn_tails() > 0 || report.unsealed > 0) {
        tracing::warn!("the broker had stopped in good order, and its journals do not end as they should");
    }
    let summary = RecoverySummary {
        after,
        journals: report.journals,
        commits: report.commits,
        bytes: report.bytes,
        entries: report.entries,
        torn_tails: report.torn_tails(),
        unsealed: report.unsealed,
        wraps: report.wraps,
        partitions: recovered.partitions.len(),
        elapsed: report.elapsed,
    };
    let incarnation = next_incarnation(shard, setup, image).await?;
    // The start's record is proposed twice, here for its placement and again when it is committed; nothing comes between.
    let command = start_command(setup, incarnation);
    let mut started = image.clone();
    started.apply(&started.propose(command)?)?;
    let mut shards: Vec<Vec<_>> = (0..setup.shards).map(|_| Vec::new()).collect();
    let mut partitions = recovered.partitions;
    for (topic, _, partition) in started.partitions().filter(|(_, _, partition)| partition.leader == Some(setup.node)) {
        let recovered = partitions.remove(&partition.partition_id).expect("every live partition is recovered");
        let ShardIndex(owner) = partition.shard;
        let of_shard = shards.get_mut(usize::from(owner)).expect("partitions are placed on shards that run");
        of_shard.push((recovered, partition_config(&topic.config)));
    }
    Ok(NodeRecovered { summary, incarnation, shards })
}

/// Names the cluster where it has no name yet, and commits `NodeStarted`: from here on the new journals count, and every epoch is
/// raised (rule J10).
pub(crate) async fn commit_start(
    plane: &mut MetadataPlane,
    setup: &ShardSetup,
    incarnation: Incarnation,
) -> Result<(), StartError> {
    if plane.image().cluster_id().is_none() {
        // A first start, or the first one since clusters have names.
        commit(plane, Command::NameCluster { cluster_id: ClusterId::from_random(rand::random()) }).await?;
    }
    commit(plane, start_command(setup, incarnation)).await
}

async fn commit(plane: &mut MetadataPlane, command: Command) -> Result<(), StartError> {
    match plane.commit(command).await {
        Ok(_) => Ok(()),
        Err(ProposeError::Refused(error)) => Err(StartError::Metadata(error)),
        Err(ProposeError::Log(error)) => Err(StartError::MetadataLog(error)),
    }
}

/// Removes what earlier starts left behind. Done before serving, so that no partition created meanwhile is taken for one
/// of those; a failure costs disk space only.
pub(crate) async fn retire(shard: &Shard, setup: &ShardSetup, incarnation: Incarnation, image: &MetadataImage) {
    let live = live_partitions(setup, image);
    if let Err(error) = ouzel_storage::retire_old(shard, &setup.data_dir, incarnation, &live).await {
        tracing::warn!(%error, "files of earlier starts were not removed; the next start tries again");
    }
}

fn start_command(setup: &ShardSetup, incarnation: Incarnation) -> Command {
    Command::NodeStarted { node: setup.node, incarnation, shards: setup.shards }
}

fn live_partitions(setup: &ShardSetup, image: &MetadataImage) -> BTreeMap<PartitionId, PartitionConfig> {
    image
        .partitions()
        .filter(|(_, _, partition)| partition.leader == Some(setup.node))
        .map(|(topic, _, partition)| (partition.partition_id, partition_config(&topic.config)))
        .collect()
}

/// Above the committed one, and above every start that died before it was committed: its directories are no one's.
async fn next_incarnation(shard: &Shard, setup: &ShardSetup, image: &MetadataImage) -> Result<Incarnation, StartError> {
    let entries = journal_dirs(shard, setup).await?;
    let latest = entries.iter().filter_map(|name| incarnation_of(name)).max().unwrap_or(0);
    Ok(Incarnation(image.next_incarnation(setup.node).0.max(latest + 1)))
}

async fn journal_dirs(shard: &Shard, setup: &ShardSetup) -> Result<Vec<String>, StartError> {
    let path = journals_dir(&setup.data_dir);
    match shard.fs().read_dir(&path).await {
        Ok(entries) => Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(StartError::DataDir { path, source }),
    }
}

/// Tells how much there is to read: the journals of the committed start.
async fn expect(
    shard: &Shard,
    setup: &ShardSetup,
    last: &CommittedStart,
    progress: &RecoveryProgress,
) -> Result<(), StartError> {
    let path = journals_dir(&setup.data_dir);
    let mut file_bytes = 0;
    for name in journal_dirs(shard, setup).await? {
        if incarnation_of(&name) == Some(last.incarnation.0) {
            let files = shard.fs().read_dir(&path.join(name)).await;
            let files = files.map_err(|source| StartError::DataDir { path: path.clone(), source })?;
            file_bytes +=
                files.iter().filter(|file| file.name.ends_with(".journal")).map(|file| file.bytes).sum::<u64>();
        }
    }
    progress.expect(last.shards.into(), file_bytes);
    Ok(())
}

/// One line of how far recovery is, for those who wait for it.
pub(crate) fn log_progress(progress: &RecoveryProgress) {
    let (journals, journals_total) = (progress.journals(), progress.journals_total());
    let (bytes, bytes_max) = (progress.bytes(), progress.bytes_max());
    tracing::info!(journals, journals_total, bytes, bytes_max, "recovering");
}

/// At a first start, the journals may take all they are allowed to. Later ones go on: there a full disk is a state in which
/// records are read and deleted, and what a start needs is held in reserve.
async fn check_space(shard: &Shard, setup: &ShardSetup) -> Result<(), StartError> {
    let path = setup.data_dir.clone();
    let fs = shard.fs();
    let unusable = |source| StartError::DataDir { path: path.clone(), source };
    let free = fs.free_bytes(&path).await.map_err(unusable)?;
    let mut held = 0;
    for name in journal_dirs(shard, setup).await? {
        let files = fs.read_dir(&journals_dir(&path).join(name)).await.map_err(unusable)?;
        held += files.iter().map(|file| file.bytes).sum::<u64>();
    }
    // The new journals start with one file each while the old ones are still there.
    let first_files = u64::from(setup.shards) * setup.store.journal_file_bytes;
    let needed = setup.journal_bytes_max.saturating_sub(held).max(first_files);
    match needed.saturating_sub(free) {
        0 => Ok(()),
        missing => Err(StartError::NoSpace { path, needed, missing }),
    }
}

//! The metadata plane: propose -> committed -> apply, as one path that consensus will take over.
//!
//! Owns the node's metadata log and the one live image. Lives on shard 0, in one task, so commands follow one another.
//! Decides nothing that the state machine in broker/core could decide. A change is answered only when every live shard
//! has acted on its version (rule Q1).

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::{Command, MetadataError, MetadataImage, Record};
use ouzel_protocol::MetadataVersion;
use ouzel_runtime::remote_oneshot::Sender;
use ouzel_runtime::{Inbox, Shard};
use ouzel_storage::metadata_log::{LoadedLog, MetadataLog, MetadataLogError};

use crate::data_dir::metadata_dir;
use crate::error::StartError;
use crate::lanes::Peer;

/// What may be asked of the plane, from any shard.
#[derive(Debug)]
pub(crate) enum PlaneMessage {
    /// Change the metadata.
    Propose { command: Command, reply: Sender<Result<Changed, ProposeError>> },
    /// Take producer ids, never to be taken again.
    ProducerIds { count: u32, reply: Sender<Result<Range<u64>, ProposeError>> },
    /// Answered once everything committed before it has been acted upon everywhere.
    Newest { reply: Sender<MetadataVersion> },
}

/// A change that every shard has acted upon.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// What could not be done although it is committed, such as dropping a partition.
    pub(crate) shortfall: Option<String>,
}

/// Why a change was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    /// The command is refused.
    #[error("{0}")]
    Refused(#[from] MetadataError),
    /// The log cannot take it.
    #[error("{0}")]
    Log(#[from] MetadataLogError),
}

/// The log and the image it makes.
pub(crate) struct MetadataPlane {
    log: MetadataLog,
    image: MetadataImage,
}

impl MetadataPlane {
    /// Opens the log and replays it.
    pub(crate) async fn open(shard: &Shard, data_dir: &Path) -> Result<Self, StartError> {
        let (log, loaded) = MetadataLog::open(&shard.fs(), &metadata_dir(data_dir)).await?;
        for cut in loaded.cut.iter().chain(&loaded.discarded) {
            tracing::warn!(path = %cut.path.display(), position = cut.position, index = cut.index, detail = %cut.detail,
                "torn tail of the metadata log left out: this change was never answered");
        }
        let image = replay(&loaded)?;
        image.assert_invariants();
        Ok(Self { log, image })
    }

    /// The image as committed.
    pub(crate) fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// Propose, make durable, apply. Nothing is published.
    pub(crate) async fn commit(&mut self, command: Command) -> Result<Record, ProposeError> {
        let record = self.image.propose(command)?;
        let bytes = record.encode();
        match self.log.append(&bytes).await {
            Err(MetadataLogError::Full { .. }) => {
                self.log.compact(&self.image.encode_snapshot()).await?;
                self.log.append(&bytes).await?;
            }
            appended => {
                appended?;
            }
        }
        self.image.apply(&record).expect("a record applies to the version it was proposed against");
        self.compact_if_worth().await;
        Ok(record)
    }

    async fn compact_if_worth(&mut self) {
        if !self.log.wants_compaction() {
            return;
        }
        if let Err(error) = self.log.compact(&self.image.encode_snapshot()).await {
            // The committed change stands; if the log is poisoned, the next proposal says so.
            tracing::error!(%error, "the metadata log was not compacted");
        }
    }

    /// Answers proposals and questions until every sender is gone.
    pub(crate) async fn run(mut self, mut inbox: Inbox<PlaneMessage>, peers: Rc<[Peer]>) {
        while let Some(message) = inbox.recv().await {
            match message {
                PlaneMessage::Newest { reply } => drop(reply.send(self.image.version())),
                PlaneMessage::Propose { command, reply } => {
                    let result = self.change(command, &peers).await;
                    drop(reply.send(result.map(|(_, changed)| changed)));
                }
                PlaneMessage::ProducerIds { count, reply } => {
                    let result = self.change(Command::AllocateProducerIds { count }, &peers).await;
                    drop(reply.send(result.map(|(record, _)| block(&record))));
                }
            }
        }
    }

    async fn change(&mut self, command: Command, peers: &[Peer]) -> Result<(Record, Changed), ProposeError> {
        let record = match self.commit(command).await {
            Ok(record) => record,
            Err(refusal) => {
                if let ProposeError::Log(error) = &refusal {
                    tracing::error!(%error, "a metadata change was not committed");
                }
                return Err(refusal);
            }
        };
        tracing::info!(version = self.image.version().0, change = %in_words(&record), "metadata changed");
        let shortfall = publish(&Arc::new(self.image.clone()), peers).await;
        Ok((record, Changed { shortfall }))
    }
}

fn block(record: &Record) -> Range<u64> {
    match record {
        Record::ProducerIdBlock { first, count } => first.0..first.0 + u64::from(*count),
        other => unreachable!("ids were asked for, not {other:?}"),
    }
}

/// Hands an image to every shard; returns what could not be done, in words.
async fn publish(image: &Arc<MetadataImage>, peers: &[Peer]) -> Option<String> {
    let mut waiting: Vec<_> = peers.iter().map(|peer| Box::pin(peer.publish(Arc::clone(image)))).collect();
    let mut shortfalls = Vec::new();
    for outcome in crate::join::all(&mut waiting).await {
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(shortfall)) => shortfalls.push(shortfall),
            // A shard that is gone opens nothing; the process is about to end.
            Err(_) => shortfalls.push("a shard does not run".to_owned()),
        }
    }
    (!shortfalls.is_empty()).then(|| shortfalls.join("; "))
}

fn replay(loaded: &LoadedLog) -> Result<MetadataImage, StartError> {
    let mut image = match &loaded.snapshot {
        Some(snapshot) => MetadataImage::decode_snapshot(snapshot)?,
        None => MetadataImage::new(),
    };
    for entry in &loaded.entries {
        image.apply(&Record::decode(entry)?)?;
    }
    Ok(image)
}

/// One short phrase for the log.
fn in_words(record: &Record) -> String {
    match record {
        Record::NodeStarted { node, incarnation, shards, moves } => {
            format!("node {node} started as {incarnation} with {shards} shards, {} partitions moved", moves.len())
        }
        Record::TopicCreated { name, topic_id, partitions, .. } => {
            format!("topic {name} ({topic_id}) created with {} partitions", partitions.len())
        }
        Record::TopicDeleted { topic_id } => format!("topic {topic_id} deleted"),
        Record::ProducerIdBlock { first, count } => format!("{count} producer ids taken from {first} on"),
        Record::ClusterNamed { cluster_id } => format!("the cluster is named {cluster_id}"),
        Record::TopicAltered { topic_id, added, .. } => {
            format!("topic {topic_id} altered, {} partitions added", added.len())
        }
    }
}

//! `/metrics`: asks the shards, and writes what they say as Prometheus reads it. Owns the order of the questions and what was
//! known last of each shard; every metric's meaning stands in `table.rs`, which shard family writes what in the files beside.
//!
//! Series are bounded: the thousand oldest topics have their own, all others share `topic="(other)"`, which is no legal name of
//! a topic; groups and their partitions are shown up to a number, and how many are left out is a metric.
//!
//! Counters that are summed over shards must not fall because one of them did not answer: its last answer stands in.

#[cfg(test)]
mod documents;
mod groups;
mod host;
mod requests;
mod shards;
mod table;
mod text;
mod topics;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use ouzel_broker_core::MetadataImage;

use super::Admin;
use super::health::unready;
use super::lane::{AdminQuestion, KeptTopics, ShardSnapshot, TopicsSnapshot};
use super::shards::NoAnswer;
use crate::lanes::ShardAddress;
use crate::limits;
use text::Text;

/// What was known last of each shard, by index. Only the admin's thread locks it.
#[derive(Default)]
pub(super) struct LastKnown {
    shards: Mutex<BTreeMap<usize, Arc<ShardSnapshot>>>,
    topics: Mutex<BTreeMap<usize, Arc<TopicsSnapshot>>>,
}

impl std::fmt::Debug for LastKnown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LastKnown").finish_non_exhaustive()
    }
}

/// Notes what was answered; returns what is known of all.
fn noted<T>(known: &Mutex<BTreeMap<usize, Arc<T>>>, answers: &[Result<Arc<T>, NoAnswer>]) -> Vec<Arc<T>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    for (shard, answer) in answers.iter().enumerate() {
        if let Ok(answer) = answer {
            known.insert(shard, Arc::clone(answer));
        }
    }
    known.values().cloned().collect()
}

/// The names of the lanes into a shard, and how many messages wait in each.
pub(super) fn queues(address: &ShardAddress) -> [(&'static str, usize); 7] {
    let ShardAddress { produce, requests, parked, groups, admin, publish, plane } = address;
    [
        ("produce", produce.queued()),
        ("requests", requests.queued()),
        ("parked", parked.queued()),
        ("groups", groups.queued()),
        ("admin", admin.queued()),
        ("publish", publish.queued()),
        ("plane", plane.queued()),
    ]
}

/// Everything there is.
pub(super) async fn answer(State(admin): State<Arc<Admin>>) -> Response {
    let mut text = Text::default();
    let mut asking = admin.shards.asking();
    let image = asking.image().await.ok();
    node(&mut text, &admin, image.as_deref());
    host::write(&mut text, admin.started);
    let asked = asking.all(|reply| AdminQuestion::Shard { reply }).await;
    let answers: Vec<_> = asked.into_iter().map(|answer| answer.map(Arc::from)).collect();
    let known = noted(&admin.last_known.shards, &answers);
    shards::write(&mut text, &answers, admin.shards.addresses());
    requests::write(&mut text, &known);
    if let Some(image) = image {
        let kept = Arc::new(kept_topics(&image));
        let question = |reply| AdminQuestion::Topics { kept: Arc::clone(&kept), reply };
        let asked = asking.all(question).await;
        let answers: Vec<_> = asked.into_iter().map(|answer| answer.map(Arc::new)).collect();
        topics::write(&mut text, &kept, &noted(&admin.last_known.topics, &answers));
        let lagging = groups::ask(&mut asking, &image).await;
        groups::write(&mut text, &lagging);
        left_out(&mut text, &image, &lagging);
    }
    ([(header::CONTENT_TYPE, text::CONTENT_TYPE)], text.finish()).into_response()
}

fn node(text: &mut Text, admin: &Admin, image: Option<&MetadataImage>) {
    text.family(&table::BUILD_INFO).sample(&[env!("CARGO_PKG_VERSION")], 1_u64);
    text.family(&table::READY).sample(&[], unready(&admin.shards).is_none());
    let Some(image) = image else { return };
    if let Some(cluster_id) = image.cluster_id() {
        text.family(&table::NODE_INFO).sample(&[&cluster_id.to_string(), &admin.node.to_string()], 1_u64);
    }
    text.family(&table::TOPICS).sample(&[], image.topics().count());
    text.family(&table::CLUSTER_PARTITIONS).sample(&[], image.partition_count());
}

/// The oldest topics: the numbers of partitions are never used again, so a new topic takes no other's place.
fn kept_topics(image: &MetadataImage) -> KeptTopics {
    let mut topics: Vec<_> = image.topics().collect();
    topics.sort_by_key(|topic| topic.partitions.first().map(|partition| partition.partition_id));
    topics.truncate(limits::METRIC_TOPIC_COUNT_MAX);
    topics.into_iter().map(|topic| (topic.topic_id, topic.name.clone())).collect()
}

fn left_out(text: &mut Text, image: &MetadataImage, lagging: &groups::Lagging) {
    let topics = image.topics().count().saturating_sub(limits::METRIC_TOPIC_COUNT_MAX);
    let mut family = text.family(&table::LEFT_OUT);
    family.sample(&["topics"], topics);
    family.sample(&["groups"], lagging.groups_left_out());
    family.sample(&["group_partitions"], lagging.offsets_left_out);
}

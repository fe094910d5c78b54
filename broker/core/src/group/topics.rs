//! What groups need to know of topics. Owns the view; the metadata behind it is the caller's. Any core.

use std::fmt;

use ouzel_protocol::{MetadataVersion, TopicId};

use crate::metadata::MetadataImage;

/// A topic as a group sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TopicView {
    /// Its id: another topic of the same name has another.
    pub topic_id: TopicId,
    /// How many partitions it has.
    pub partition_count: u32,
}

/// The topics that there are, at one version of the metadata.
pub trait Topics: fmt::Debug {
    /// Which version. A group looks at its topics again when this is another than it was.
    fn version(&self) -> MetadataVersion;

    /// The topic of this name.
    fn find(&self, name: &str) -> Option<TopicView>;

    /// The name of the topic of this id.
    fn name(&self, topic_id: TopicId) -> Option<&str>;

    /// Calls `each` with the name of every topic that a pattern may mean: all but the broker's own.
    fn each(&self, each: &mut dyn FnMut(&str));
}

impl Topics for MetadataImage {
    fn version(&self) -> MetadataVersion {
        MetadataImage::version(self)
    }

    fn find(&self, name: &str) -> Option<TopicView> {
        let topic = self.topic_named(name)?;
        Some(TopicView { topic_id: topic.topic_id, partition_count: topic.indexed().count() as u32 })
    }

    fn name(&self, topic_id: TopicId) -> Option<&str> {
        self.topic(topic_id).map(|topic| &*topic.name)
    }

    fn each(&self, each: &mut dyn FnMut(&str)) {
        self.topics().filter(|topic| !topic.is_internal()).for_each(|topic| each(&topic.name));
    }
}

/// What a coordinator knows before it is told of topics: none.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoTopics;

impl Topics for NoTopics {
    fn version(&self) -> MetadataVersion {
        MetadataVersion(0)
    }

    fn find(&self, _: &str) -> Option<TopicView> {
        None
    }

    fn name(&self, _: TopicId) -> Option<&str> {
        None
    }

    fn each(&self, _: &mut dyn FnMut(&str)) {}
}

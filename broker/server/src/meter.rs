//! What a shard measures of its requests: how many of each api and how long they took, where the time of an acknowledgement
//! went, bytes, hops, refusals. Owns plain cells that only this shard changes; whoever asks gets a copy
//! (`admin/lane.rs`).
//!
//! Times are differences of moments that the way of a request knows anyway. Beyond those the clock is read once for each
//! message of replies that was sent, and once for each request of the Kafka protocol.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Bound;

use ouzel_protocol::kafka::ApiKey;
use ouzel_protocol::native::{Api, Counter, counters};
use ouzel_protocol::{ErrorCode, TopicId};
use ouzel_runtime::{Histogram, HistogramCounts, Instant};

use crate::connection::Language;
use crate::kafka::native_name;
use crate::lanes::{AppendOutcome, AppendTimes};

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Native(Api),
    Kafka(ApiKey),
}

impl Asked {
    /// The name of its api in its protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native(api) => api.name(),
            Self::Kafka(key) => key.api().name,
        }
    }

    pub(crate) fn language(self) -> Language {
        match self {
            Self::Native(_) => Language::Native,
            Self::Kafka(_) => Language::Kafka,
        }
    }
}

/// What the time of an acknowledgement is made of, in order; the stages add up to the time of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From its header to its last byte.
    Receive,
    /// Until the owner took it up, on the shard of its connection.
    Queue,
    /// The same where a batch went to another shard.
    Hop,
    /// Until its place in the log was fixed.
    Append,
    /// Until its level held: the journal was written and, at level `disk`, synced.
    Commit,
    /// Until the kernel had taken the reply.
    Reply,
}

impl Stage {
    pub(crate) const ALL: [Self; 6] = [Self::Receive, Self::Queue, Self::Hop, Self::Append, Self::Commit, Self::Reply];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Queue => "queue",
            Self::Hop => "hop",
            Self::Append => "append",
            Self::Commit => "commit",
            Self::Reply => "reply",
        }
    }
}

#[derive(Debug, Default)]
struct OfApi {
    taken: Cell<u64>,
    answered: Histogram,
}

/// The cells of one shard.
#[derive(Debug)]
pub(crate) struct Meter {
    native: [OfApi; Api::ALL.len()],
    kafka: [OfApi; ApiKey::ALL.len()],
    stages: [Histogram; Stage::ALL.len()],
    languages: [OfLanguage; Language::ALL.len()],
    hops: Cell<u64>,
    connections_refused: Cell<u64>,
    /// Batches that were not acknowledged, by the reason.
    refused: RefCell<BTreeMap<u16, u64>>,
    /// Bytes of records in replies, by topic. Bounded by the topics there are: others are forgotten when the metadata change.
    read: RefCell<BTreeMap<TopicId, u64>>,
    /// What topics that are not told apart took and gave together: batches' bytes, records, and bytes read.
    others: [Carried; 3],
}

/// The sum of counters some of which end, as a counter: what they have counted stays. The sum is known when somebody asks. What
/// was counted between the last time and the first without one that ended shows as less, by up to what that one had.
#[derive(Debug, Default)]
struct Carried {
    sum: Cell<u64>,
    counted: Cell<u64>,
}

impl Carried {
    fn count(&self, sum: u64) -> u64 {
        add(&self.counted, sum.saturating_sub(self.sum.replace(sum)));
        self.counted.get()
    }
}

#[derive(Debug, Default)]
struct OfLanguage {
    received_bytes: Cell<u64>,
    sent_bytes: Cell<u64>,
    opened: Cell<u64>,
    open: Cell<u64>,
}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            native: std::array::from_fn(|_| OfApi::default()),
            kafka: std::array::from_fn(|_| OfApi::default()),
            stages: std::array::from_fn(|_| Histogram::default()),
            languages: std::array::from_fn(|_| OfLanguage::default()),
            hops: Cell::new(0),
            connections_refused: Cell::new(0),
            refused: RefCell::default(),
            read: RefCell::default(),
            others: std::array::from_fn(|_| Carried::default()),
        }
    }
}

impl Meter {
    fn of_api(&self, asked: Asked) -> Option<&OfApi> {
        match asked {
            Asked::Native(api) => self.native.get(Api::ALL.iter().position(|known| *known == api)?),
            Asked::Kafka(key) => self.kafka.get(ApiKey::ALL.binary_search(&key).ok()?),
        }
    }

    fn of_language(&self, language: Language) -> &OfLanguage {
        let [native, kafka] = &self.languages;
        match language {
            Language::Native => native,
            Language::Kafka => kafka,
        }
    }

    /// A request was read that far that it is known what it asks for.
    pub(crate) fn taken(&self, asked: Asked) {
        if let Some(of_api) = self.of_api(asked) {
            add(&of_api.taken, 1);
        }
    }

    /// The frame of a request has this many bytes.
    pub(crate) fn received(&self, language: Language, bytes: usize) {
        add(&self.of_language(language).received_bytes, bytes as u64);
    }

    /// Replies of this many bytes were sent.
    pub(crate) fn sent(&self, language: Language, bytes: usize) {
        add(&self.of_language(language).sent_bytes, bytes as u64);
    }

    /// The kernel has taken the reply to a request.
    pub(crate) fn answered(&self, asked: Asked, started: Instant, committed: Option<Instant>, now: Instant) {
        if let Some(of_api) = self.of_api(asked) {
            of_api.answered.time(started, now);
        }
        if let Some(committed) = committed {
            self.stage(Stage::Reply, committed, now);
        }
    }

    fn stage(&self, stage: Stage, from: Instant, to: Instant) {
        let [receive, queue, hop, append, commit, reply] = &self.stages;
        let histogram = match stage {
            Stage::Receive => receive,
            Stage::Queue => queue,
            Stage::Hop => hop,
            Stage::Append => append,
            Stage::Commit => commit,
            Stage::Reply => reply,
        };
        histogram.time(from, to);
    }

    /// Every batch of a produce request is at its level or refused. Notes the stages of the slowest, and returns when that
    /// was at its level; nothing where none was appended.
    pub(crate) fn produced<'a>(
        &self,
        (started, received): (Instant, Instant),
        has_hopped: bool,
        outcomes: impl Iterator<Item = &'a AppendOutcome>,
    ) -> Option<Instant> {
        let mut slowest: Option<AppendTimes> = None;
        for outcome in outcomes {
            if !outcome.error.is_none() {
                self.refused(outcome.error);
            } else if slowest.is_none_or(|times| times.committed < outcome.times.committed) {
                slowest = Some(outcome.times);
            }
        }
        let AppendTimes { taken, appended, committed } = slowest?;
        self.stage(Stage::Receive, started, received);
        self.stage(if has_hopped { Stage::Hop } else { Stage::Queue }, received, taken);
        self.stage(Stage::Append, taken, appended);
        self.stage(Stage::Commit, appended, committed);
        Some(committed)
    }

    fn refused(&self, error: ErrorCode) {
        *self.refused.borrow_mut().entry(error as u16).or_default() += 1;
    }

    /// Batches of a request went to another shard.
    pub(crate) fn hopped(&self) {
        add(&self.hops, 1);
    }

    /// A reply has records of this topic.
    pub(crate) fn read(&self, topic_id: TopicId, bytes: usize) {
        if bytes > 0 {
            *self.read.borrow_mut().entry(topic_id).or_default() += bytes as u64;
        }
    }

    /// Bytes of records in replies, by topic: the next so many topics behind one, or the first.
    pub(crate) fn read_bytes(&self, after: Option<TopicId>, count_max: usize) -> Vec<(TopicId, u64)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let read = self.read.borrow();
        read.range((from, Bound::Unbounded)).take(count_max).map(|(topic_id, bytes)| (*topic_id, *bytes)).collect()
    }

    /// What topics that are not told apart count together now; returns what they have counted since the start. Topics leave
    /// them, and what is returned never falls.
    pub(crate) fn others(&self, sums: [u64; 3]) -> [u64; 3] {
        let mut counted = sums;
        counted.iter_mut().zip(&self.others).for_each(|(sum, carried)| *sum = carried.count(*sum));
        counted
    }

    /// Forgets what was read of topics that are not `there` any more.
    pub(crate) fn keep_topics(&self, there: impl Fn(TopicId) -> bool) {
        self.read.borrow_mut().retain(|topic_id, _| there(*topic_id));
    }

    pub(crate) fn connection_opened(&self, language: Language) {
        let of_language = self.of_language(language);
        add(&of_language.opened, 1);
        add(&of_language.open, 1);
    }

    pub(crate) fn connection_closed(&self, language: Language) {
        let open = &self.of_language(language).open;
        open.set(open.get() - 1);
    }

    pub(crate) fn connection_refused(&self) {
        add(&self.connections_refused, 1);
    }

    fn of_apis(&self) -> impl Iterator<Item = (Asked, &OfApi)> {
        let native = Api::ALL.iter().map(|api| Asked::Native(*api)).zip(&self.native);
        native.chain(ApiKey::ALL.iter().map(|key| Asked::Kafka(*key)).zip(&self.kafka))
    }

    /// Requests taken since the start under the names of the native apis, those of the Kafka protocol that ask the same
    /// among them.
    pub(crate) fn counters(&self) -> Vec<Counter> {
        let mut taken = [0; Api::ALL.len()];
        for (asked, of_api) in self.of_apis() {
            let native = match asked {
                Asked::Native(api) => Some(api),
                Asked::Kafka(key) => native_name(key),
            };
            let place = Api::ALL.iter().position(|api| Some(*api) == native).and_then(|index| taken.get_mut(index));
            if let Some(place) = place {
                *place += of_api.taken.get();
            }
        }
        let counted = Api::ALL.iter().zip(taken).filter(|(_, count)| *count > 0);
        counted
            .map(|(api, count)| Counter::new(format!("{}{}", counters::REQUESTS_PREFIX, api.name()), count))
            .collect()
    }

    /// A copy of everything but what goes by topic.
    pub(crate) fn measures(&self) -> Measures {
        let asked = self.of_apis().filter(|(_, of_api)| of_api.taken.get() > 0);
        Measures {
            apis: asked.map(|(asked, of_api)| (asked, of_api.taken.get(), of_api.answered.counts())).collect(),
            stages: self.stages.each_ref().map(Histogram::counts),
            languages: self.languages.each_ref().map(|of_language| LanguageMeasures {
                received_bytes: of_language.received_bytes.get(),
                sent_bytes: of_language.sent_bytes.get(),
                opened: of_language.opened.get(),
                open: of_language.open.get(),
            }),
            hops: self.hops.get(),
            connections_refused: self.connections_refused.get(),
            refused: self.refused.borrow().iter().map(|(error, count)| (*error, *count)).collect(),
        }
    }
}

/// What a shard had measured of its requests at some moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures {
    /// Apis that were asked for: requests taken, and the times of those that were answered.
    pub(crate) apis: Vec<(Asked, u64, HistogramCounts)>,
    /// In the order of [`Stage::ALL`].
    pub(crate) stages: [HistogramCounts; Stage::ALL.len()],
    /// In the order of [`Language::ALL`].
    pub(crate) languages: [LanguageMeasures; Language::ALL.len()],
    pub(crate) hops: u64,
    pub(crate) connections_refused: u64,
    /// Batches that were not acknowledged, by the number of the error.
    pub(crate) refused: Vec<(u16, u64)>,
}

/// The same of one protocol.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LanguageMeasures {
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) opened: u64,
    pub(crate) open: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_under_the_name_of_their_api_and_those_of_kafka_under_the_native_one_as_well() {
        let meter = Meter::default();
        for asked in Api::ALL.iter().map(|api| Asked::Native(*api)).chain([Asked::Native(Api::Produce)]) {
            meter.taken(asked);
        }
        ApiKey::ALL.iter().for_each(|key| meter.taken(Asked::Kafka(*key)));
        let counted: BTreeMap<String, u64> =
            meter.counters().into_iter().map(|counter| (counter.name, counter.value)).collect();
        assert_eq!(counted.get("requests.produce"), Some(&3));
        assert_eq!(counted.get("requests.hello"), Some(&1));
        let apis = meter.measures().apis;
        assert_eq!(apis.len(), Api::ALL.len() + ApiKey::ALL.len());
        assert!(apis.iter().all(|(asked, taken, _)| *taken == 1 || *asked == Asked::Native(Api::Produce)));
    }

    #[test]
    fn what_was_read_of_a_topic_that_is_gone_is_forgotten() {
        let meter = Meter::default();
        meter.read(TopicId(1), 10);
        meter.read(TopicId(2), 20);
        meter.read(TopicId(1), 5);
        assert_eq!(meter.read_bytes(None, 1), [(TopicId(1), 15)]);
        assert_eq!(meter.read_bytes(Some(TopicId(1)), 2), [(TopicId(2), 20)]);
        meter.keep_topics(|topic_id| topic_id == TopicId(1));
        assert_eq!(meter.read_bytes(None, 2), [(TopicId(1), 15)]);
    }

    #[test]
    fn what_topics_that_left_the_others_have_counted_stays() {
        let meter = Meter::default();
        assert_eq!(meter.others([10, 1, 0]), [10, 1, 0]);
        assert_eq!(meter.others([30, 3, 5]), [30, 3, 5]);
        assert_eq!(meter.others([12, 0, 5]), [30, 3, 5]);
        assert_eq!(meter.others([13, 2, 6]), [31, 5, 6]);
    }

    #[test]
    fn the_stages_of_an_acknowledgement_are_those_of_its_slowest_batch_and_add_up() {
        let meter = Meter::default();
        let at = Instant::from_nanos;
        let outcome = |taken, appended, committed| AppendOutcome {
            times: AppendTimes { taken: at(taken), appended: at(appended), committed: at(committed) },
            ..AppendOutcome::refused(ErrorCode::None, at(0))
        };
        let outcomes = [
            outcome(300, 600, 2000),
            outcome(400, 700, 5000),
            AppendOutcome::refused(ErrorCode::MessageTooLarge, at(9000)),
        ];
        let committed = meter.produced((at(100), at(200)), true, outcomes.iter());
        assert_eq!(committed, Some(at(5000)));
        meter.answered(Asked::Native(Api::Produce), at(100), committed, at(5500));
        let Measures { stages, refused, apis, .. } = meter.measures();
        assert_eq!(stages.each_ref().map(|stage| stage.sum), [100, 0, 200, 300, 4300, 500]);
        assert_eq!(refused, [(ErrorCode::MessageTooLarge as u16, 1)]);
        assert!(apis.is_empty(), "an api shows once it was asked for");
        let nothing = [AppendOutcome::refused(ErrorCode::MessageTooLarge, at(0))];
        assert_eq!(meter.produced((at(0), at(0)), false, nothing.iter()), None);
    }
}

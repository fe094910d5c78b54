//! Why a part of an administrative request was not done, as Kafka's clients are told: a number and a sentence. Owns the sentence;
//! which number one of our errors has is said in `error_map.rs`. Lives on the connection's shard.

use std::collections::BTreeSet;

use ouzel_broker_core::{Command, MetadataError};
use ouzel_protocol::kafka::KafkaError;

use crate::error_map;
use crate::handlers::propose;
use crate::shard::ShardState;

/// Longest sentence, in bytes: what a client wrote comes back in it, and it may have written much.
const MESSAGE_BYTES_MAX: usize = 512;

/// A number and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) error: KafkaError,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(error: KafkaError, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        Self { error, message }
    }

    fn of_metadata(error: &MetadataError) -> Self {
        Self::new(error_map::kafka(error_map::of_metadata(error)), error.to_string())
    }
}

/// The number of an outcome.
pub(super) fn error_code<T>(outcome: &Result<T, Refusal>) -> KafkaError {
    outcome.as_ref().err().map_or(KafkaError::NONE, |refusal| refusal.error)
}

/// The sentence of an outcome.
pub(super) fn error_message<T>(outcome: &Result<T, Refusal>) -> Option<&str> {
    outcome.as_ref().err().map(|refusal| refusal.message.as_str())
}

/// Changes the metadata, or only finds out whether it could be changed. Done when every shard has acted on it (rule Q1). What
/// could not be done although the change is committed was logged where it failed.
pub(super) async fn change(state: &ShardState, command: Command, validate_only: bool) -> Result<(), Refusal> {
    if validate_only {
        return match state.topics.image().propose(command) {
            Ok(_) => Ok(()),
            Err(error) => Err(Refusal::of_metadata(&error)),
        };
    }
    match propose(state, command).await {
        Ok(_) => Ok(()),
        Err((code, message)) => Err(Refusal::new(error_map::kafka(code), message)),
    }
}

/// What a request names more than once. Nobody could tell which of its answers belongs to which question.
pub(super) fn repeated<T: Ord + Copy>(named: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    named.filter(|name| !seen.insert(*name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_cut_between_characters() {
        let refusal = Refusal::new(KafkaError::INVALID_REQUEST, "ä".repeat(MESSAGE_BYTES_MAX));
        assert_eq!(refusal.message, "ä".repeat(MESSAGE_BYTES_MAX / 2));
        let refusal = Refusal::new(KafkaError::INVALID_REQUEST, format!("a{}", "ä".repeat(MESSAGE_BYTES_MAX)));
        assert_eq!(refusal.message.len(), MESSAGE_BYTES_MAX - 1);
    }

    #[test]
    fn what_is_named_twice_or_more_often_is_repeated() {
        assert_eq!(repeated(["a", "b", "a", "c", "a", "c"].into_iter()), BTreeSet::from(["a", "c"]));
        assert!(repeated([1, 2, 3].into_iter()).is_empty());
    }
}

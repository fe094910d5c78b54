//! Which names a topic may have: Kafka's rule, so that every client agrees.
//!
//! Owns the rule. Never looks a topic up. Any core.

use crate::limits::TOPIC_NAME_BYTES_MAX;

/// Why a name cannot be a topic's. The user who chose the name is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// No byte at all.
    #[error("a topic name is empty")]
    Empty,
    /// Longer than Kafka allows.
    #[error("a topic name has at most {TOPIC_NAME_BYTES_MAX} bytes, got {got}")]
    TooLong {
        /// Bytes of the name.
        got: usize,
    },
    /// `.` or `..`.
    #[error("a topic cannot be named `.` or `..`")]
    Dots,
    /// A character outside `[a-zA-Z0-9._-]`.
    #[error("a topic name has only letters, digits, `.`, `_` and `-`, got {got:?} at byte {position}")]
    Character {
        /// The first character outside the set.
        got: char,
        /// Its position in bytes.
        position: usize,
    },
}

/// Checks a topic name: 1 to 249 bytes of `[a-zA-Z0-9._-]`, neither `.` nor `..`
/// (`org.apache.kafka.common.internals.Topic`).
///
/// # Errors
/// What is wrong with the name; the user chooses another.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong { got: name.len() });
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.char_indices().find(|&(_, c)| !legal(c)) {
        Some((position, got)) => Err(TopicNameError::Character { got, position }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kafka_takes_are_taken_and_others_refused() {
        for name in ["a", "...", "a.b_c-D9", &"x".repeat(249)] {
            assert_eq!(check_topic_name(name), Ok(()), "{name}");
        }
        let long = "x".repeat(250);
        for (name, error) in [
            ("", TopicNameError::Empty),
            (".", TopicNameError::Dots),
            ("..", TopicNameError::Dots),
            (&long, TopicNameError::TooLong { got: 250 }),
            ("a b", TopicNameError::Character { got: ' ', position: 1 }),
            ("aé", TopicNameError::Character { got: 'é', position: 1 }),
            ("a/../b", TopicNameError::Character { got: '/', position: 1 }),
        ] {
            assert_eq!(check_topic_name(name), Err(error), "{name:?}");
        }
    }
}

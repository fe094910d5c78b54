//! Patterns of topic names by which members subscribe (KIP-848). Owns their syntax and what a match is. Lives on the shard that owns
//! the group.
//!
//! A pattern comes from a client, so it must be bounded: the engine has no backtracking and takes time in proportion to the name,
//! the length, depth and size of a pattern are capped. The syntax is that of RE2, as Kafka's broker takes it, but for classes of
//! Unicode (`\p{..}`): topic names are ASCII. A name fits when all of it does.

use std::fmt;
use std::sync::Arc;

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, Look};

use super::error::GroupError;
use super::limits::{PATTERN_BYTES_MAX, PATTERN_DEPTH_MAX, PATTERN_PROGRAM_BYTES_MAX};

/// A pattern of topic names. A clone shares it.
#[derive(Clone)]
pub struct SubscriptionPattern {
    text: Arc<str>,
    regex: Regex,
}

impl SubscriptionPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`GroupError::InvalidPattern`]: the client's pattern is none, or is too large.
    pub fn parse(text: &str) -> Result<SubscriptionPattern, GroupError> {
        let invalid = |reason: String| GroupError::InvalidPattern { reason };
        if text.len() > PATTERN_BYTES_MAX {
            return Err(invalid(format!("{} bytes, {PATTERN_BYTES_MAX} are possible", text.len())));
        }
        let mut parser = ParserBuilder::new().nest_limit(PATTERN_DEPTH_MAX).unicode(false).utf8(false).build();
        let pattern = parser.parse(text).map_err(|error| invalid(short(&error)))?;
        // Around what was parsed, not around the text: the text could close what we open.
        let whole = Hir::concat(vec![Hir::look(Look::Start), pattern, Hir::look(Look::End)]);
        let config = Regex::config()
            .nfa_size_limit(Some(PATTERN_PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(PATTERN_PROGRAM_BYTES_MAX)
            .utf8_empty(false);
        let built = Regex::builder().configure(config).build_from_hir(&whole);
        let regex = built.map_err(|error| match error.size_limit() {
            Some(limit) => invalid(format!("compiled it would have more than {limit} bytes")),
            None => invalid(error.to_string()),
        })?;
        Ok(SubscriptionPattern { text: Arc::from(text), regex })
    }

    /// As the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this topic is meant.
    pub fn fits(&self, topic: &str) -> bool {
        self.regex.is_match(Input::new(topic).anchored(Anchored::Yes))
    }
}

/// The last line of a parser's report, which is the sentence; the lines before draw the pattern.
fn short(error: &regex_syntax::Error) -> String {
    let report = error.to_string();
    report.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl PartialEq for SubscriptionPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for SubscriptionPattern {}

impl fmt::Debug for SubscriptionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, topic: &str) -> bool {
        SubscriptionPattern::parse(pattern).unwrap().fits(topic)
    }

    fn reason(pattern: &str) -> String {
        match SubscriptionPattern::parse(pattern) {
            Err(GroupError::InvalidPattern { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_fits_when_all_of_it_does() {
        for (pattern, topic, expected) in [
            ("orders", "orders", true),
            ("orders", "orders-eu", false),
            ("orders", "my-orders", false),
            ("orders.*", "orders-eu", true),
            ("a|ab", "ab", true),
            ("a|ab", "abc", false),
            ("(?i)ORD\\w+", "orders", true),
            ("metrics\\.[0-9]{2}", "metrics.07", true),
            ("metrics\\.[0-9]{2}", "metrics-07", false),
            ("\\d+", "17", true),
            ("^x$", "x", true),
            ("[^_].*", "__consumer_offsets", false),
            (".*", "", true),
            ("(?x)orders # all of them", "orders", true),
            ("(?x)orders # all of them", "orders2", false),
        ] {
            assert_eq!(fits(pattern, topic), expected, "{pattern} {topic}");
        }
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        assert_eq!(reason("(a"), "unclosed group");
        assert_eq!(reason("a)|(b"), "unopened group");
        assert_eq!(reason("*"), "repetition operator missing expression");
        // What needs backtracking is not there.
        assert!(reason("(?=a)b").contains("look-around"));
        assert!(reason("(a)\\1").contains("backreferences"));
    }

    #[test]
    fn a_pattern_is_bounded_in_length_depth_and_size() {
        assert!(reason(&"a".repeat(PATTERN_BYTES_MAX + 1)).contains("4097 bytes"));
        assert!(SubscriptionPattern::parse(&"a".repeat(PATTERN_BYTES_MAX)).is_ok());
        assert!(reason(&format!("{}a{}", "(".repeat(100), ")".repeat(100))).contains("nest"));
        assert_eq!(reason("((a{1000}){1000}){1000}"), "compiled it would have more than 262144 bytes");
    }

    #[test]
    fn a_pattern_that_explodes_elsewhere_takes_the_time_of_the_name() {
        let name = "a".repeat(249);
        assert!(!fits("(a*)*(a|aa)+(a|a?)+b", &name));
        assert!(fits("(a*)*(a|aa)+(a|a?)+", &name));
    }
}

//! One thing that was looked at, and how names stand in the line that changes it. Values only.

/// How a thing is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it should be.
    Good,
    /// A broker starts, but loses something by it.
    Wanting,
    /// A broker does not start.
    Blocking,
}

impl State {
    /// In a word.
    pub(super) fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Wanting => "wanting",
            State::Blocking => "blocking",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: &'static str,
    /// How it is.
    pub(super) state: State,
    /// What was seen, and what that costs where it is not good.
    pub(super) seen: String,
    /// The line that changes it: a command, or a line of a file.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn good(check: &'static str, seen: impl Into<String>) -> Self {
        Self { check, state: State::Good, seen: seen.into(), remedy: None }
    }

    pub(super) fn wanting(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Wanting, seen: seen.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn blocking(check: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Blocking, seen: seen.into(), remedy: Some(remedy.into()) }
    }
}

/// A path or a name as one word of a shell's command line.
pub(super) fn shell_word(text: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "/._-+:@%,".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_shell_is_one_word_whatever_it_holds() {
        for (text, word) in [
            ("/var/lib/ouzel", "/var/lib/ouzel"),
            ("/a b", "'/a b'"),
            ("/it's", "'/it'\\''s'"),
            ("", "''"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(shell_word(text), word);
        }
    }
}

//! Where a value came from, to the line. Values only.

use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The default.
    Default,
    /// A file, and the line in it, counted from 1.
    File {
        /// The file as it was named.
        path: String,
        /// The line.
        line: usize,
    },
    /// An environment variable, named.
    Environment(String),
    /// A flag, named.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line } => write!(f, "file {path}:{line}"),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// The text as given.
    pub(crate) text: String,
    /// Where it came from.
    pub(crate) source: Source,
}

//! What a setting is: its key, what its text must look like, its bounds and words about it. Owns the judgement of one text by
//! itself; settings that cannot stand beside each other are found in `broker.rs`. Values only, on the CLI's main thread.

use ouzel_runtime::ExecutorKind;

use crate::units::{human_bytes, parse_bytes};

/// Prefix of the environment variables that are settings.
pub(super) const ENVIRONMENT_PREFIX: &str = "OUZEL_";

/// For whom a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What clients see must not depend on the node they ask: the same value on every node.
    Cluster,
    /// Where this node is, and what this host can give.
    Node,
}

impl Scope {
    /// Both, in the order in which they are listed.
    pub(crate) const ALL: [Scope; 2] = [Scope::Cluster, Scope::Node];

    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scope::Cluster => "cluster",
            Scope::Node => "node",
        }
    }

    /// In a heading.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Scope::Cluster => "Of the whole cluster: give every node the same value",
            Scope::Node => "Of this node: addresses, paths, and what this host can give",
        }
    }
}

/// What a setting's text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A path.
    Path,
    /// `host:port`.
    Address,
    /// A number of something, within bounds.
    Number {
        /// What is counted.
        unit: &'static str,
        /// The least that can be asked for.
        least: u64,
        /// The most that can be asked for.
        most: u64,
    },
    /// A number of bytes.
    Bytes {
        /// The least that each shard needs.
        least_a_shard: u64,
    },
    /// Numbers of cores separated by commas, or `any`.
    Cores,
    /// The name of an executor that this build contains.
    Executor,
    /// `true` or `false`.
    Switch,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key in a file; upper case with `_` for `.` it is the environment variable.
    pub(crate) key: &'static str,
    /// For whom it is.
    pub(crate) scope: Scope,
    /// What its text must look like.
    pub(crate) kind: Kind,
    /// The value without any other source. Where it is `auto`, that text may also be given.
    pub(crate) default: &'static str,
    /// What it does, for a person.
    pub(crate) explain: &'static str,
    /// Why the default is what it is.
    pub(crate) why: &'static str,
}

impl Setting {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.key.to_ascii_uppercase().replace('.', "_"))
    }

    /// In what its value is told.
    pub(crate) fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Path => "path",
            Kind::Address => "host:port",
            Kind::Number { unit, .. } => unit,
            Kind::Bytes { .. } => "bytes, like 65536, 64MiB or 1GiB",
            Kind::Cores => "numbers of cores, like 0,1",
            Kind::Executor => "name",
            Kind::Switch => "switch",
        }
    }

    /// Which values it may have, in words.
    pub(crate) fn range(&self) -> String {
        let range = match self.kind {
            Kind::Path => "a directory that can be made or written".to_owned(),
            Kind::Address => "a name or address of this host, port 0 to 65535; 0 picks a free one".to_owned(),
            Kind::Number { least, most, .. } => format!("{least} to {most}"),
            Kind::Bytes { least_a_shard } => format!("{} for each shard, or more", human_bytes(least_a_shard)),
            Kind::Cores => "one for each shard, or any".to_owned(),
            Kind::Executor => {
                ExecutorKind::COMPILED.iter().map(|executor| executor.name()).collect::<Vec<_>>().join(" or ")
            }
            Kind::Switch => "true or false".to_owned(),
        };
        if self.takes_auto() { format!("{range}, or auto") } else { range }
    }

    fn takes_auto(&self) -> bool {
        self.default == "auto"
    }

    /// Judges a text by itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, text: &str) -> Result<(), String> {
        if text == "auto" && self.takes_auto() {
            return Ok(());
        }
        match self.kind {
            Kind::Path if text.is_empty() => Err("a path must not be empty".to_owned()),
            Kind::Path => Ok(()),
            Kind::Address => match text.rsplit_once(':') {
                Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
                _ => Err(format!("`{text}` is not host:port")),
            },
            Kind::Number { unit, least, most } => match text.parse::<u64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(()),
                Ok(number) => Err(format!("{number} {unit} cannot be: {least} to {most} can")),
                Err(_) => Err(format!("`{text}` is not a number of {unit} from {least} to {most}")),
            },
            Kind::Bytes { least_a_shard } => match parse_bytes(text)? {
                bytes if bytes < least_a_shard => {
                    Err(format!("{bytes} bytes are too few: {least_a_shard} for each shard are needed"))
                }
                _ => Ok(()),
            },
            Kind::Cores => parse_cores(text).map(drop),
            Kind::Switch => text.parse::<bool>().map(drop).map_err(|_| format!("`{text}` is neither true nor false")),
            Kind::Executor => text
                .parse::<ExecutorKind>()
                .map_err(|error| error.to_string())?
                .require()
                .map_err(|error| error.to_string()),
        }
    }
}

/// The cores that a text names; none for `any`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_cores(text: &str) -> Result<Vec<usize>, String> {
    if text == "any" {
        return Ok(Vec::new());
    }
    let core = |word: &str| word.trim().parse().map_err(|_| format!("`{text}` is not a list of cores like 0,1"));
    text.split(',').map(core).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::SETTINGS;

    #[test]
    fn every_default_is_possible_and_every_variable_distinct() {
        let mut names = std::collections::BTreeSet::new();
        for setting in SETTINGS {
            assert_eq!(setting.check(setting.default), Ok(()), "{}", setting.key);
            assert!(names.insert(setting.variable()));
        }
    }

    #[test]
    fn there_are_fewer_than_forty_settings_and_each_says_all_that_is_to_be_said() {
        assert!(SETTINGS.len() < 40);
        for setting in SETTINGS {
            for words in [setting.unit(), &setting.range(), setting.explain, setting.why] {
                assert!(!words.is_empty() && !words.ends_with('.'), "{}: {words}", setting.key);
            }
        }
    }

    #[test]
    fn a_number_out_of_its_bounds_is_refused_with_them() {
        let number = |text| SETTINGS.iter().find(|setting| setting.key == "shards").expect("a setting").check(text);
        assert_eq!(number("1"), Ok(()));
        assert_eq!(number("auto"), Ok(()));
        for text in ["0", "257", "-1", "many", "99999999999999999999"] {
            assert!(number(text).expect_err(text).contains("1 to 256"), "{text}");
        }
    }
}

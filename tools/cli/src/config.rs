//! The settings of a broker: which keys there are, where each value came from, and that there is no other key. Owns
//! the precedence (flags, environment, file, defaults) and the strictness; never applies a setting. Runs on the CLI's
//! main thread before a broker starts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ouzel_runtime::ExecutorKind;

use crate::args::SettingArgs;
use crate::units::parse_bytes;

/// Prefix of the environment variables that are settings.
const ENVIRONMENT_PREFIX: &str = "OUZEL_";
/// Variables with the prefix that are flags of the command line, or belong to the tools around the binary.
const ENVIRONMENT_OTHERS: &[&str] =
    &["OUZEL_BOOTSTRAP", "OUZEL_LOG", "OUZEL_CONFIG", "OUZEL_BIN", "OUZEL_MUTATION", "OUZEL_MUTATIONS"];

/// What a setting's text must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A path.
    Path,
    /// `host:port`.
    Address,
    /// A number, or `auto`.
    Count,
    /// A number of bytes, or `auto`.
    Bytes,
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
    /// What its text must look like.
    pub(crate) kind: Kind,
    /// The value without any other source.
    pub(crate) default: &'static str,
    /// What it does, for a person.
    pub(crate) explain: &'static str,
}

/// Every setting there is, in the order in which they are listed.
pub(crate) const SETTINGS: &[Setting] = &[
    Setting {
        key: "data_dir",
        kind: Kind::Path,
        default: "./ouzel-data",
        explain: "Directory of journals, segments and metadata; one broker at a time",
    },
    Setting { key: "kafka", kind: Kind::Address, default: "127.0.0.1:9092", explain: "Address of the Kafka listener" },
    Setting {
        key: "native",
        kind: Kind::Address,
        default: "127.0.0.1:9192",
        explain: "Address of the native listener; shards listen on the ports after it, on free ones if it is 0",
    },
    Setting {
        key: "admin",
        kind: Kind::Address,
        default: "127.0.0.1:9191",
        explain: "Address of the admin listener; not bound by this version",
    },
    Setting {
        key: "shards",
        kind: Kind::Count,
        default: "auto",
        explain: "Number of shards, one thread and one core each; auto is the number of cores. May change between starts",
    },
    Setting {
        key: "auto.create.topics.enable",
        kind: Kind::Switch,
        default: "true",
        explain: "Whether a topic that a Kafka client asks for is created; the native protocol never does",
    },
    Setting {
        key: "num.partitions",
        kind: Kind::Count,
        default: "1",
        explain: "Partitions of a topic that a Kafka client creates without saying how many",
    },
    Setting {
        key: "group.initial.rebalance.delay.ms",
        kind: Kind::Count,
        default: "3000",
        explain: "Milliseconds that the first members of an empty group wait for others; 0 suits single consumers",
    },
    Setting {
        key: "group.consumer.session.timeout.ms",
        kind: Kind::Count,
        default: "45000",
        explain: "Milliseconds without a sign of life after which a member of a group whose broker assigns is taken for dead",
    },
    Setting {
        key: "group.consumer.heartbeat.interval.ms",
        kind: Kind::Count,
        default: "5000",
        explain: "Longest time in ms between signs of life of such a member, who is asked for one a second while there are few; less than its session",
    },
    Setting {
        key: "offsets.retention.minutes",
        kind: Kind::Count,
        default: "10080",
        explain: "How long committed offsets outlive the last member of their group",
    },
    Setting {
        key: "memory.bytes.max",
        kind: Kind::Bytes,
        default: "512MiB",
        explain: "Memory for records, requests, replies and the tail cache, of all shards together",
    },
    Setting {
        key: "connections.max",
        kind: Kind::Count,
        default: "50000",
        explain: "Connections at once; more are closed as they come. Each needs an open file",
    },
    Setting {
        key: "connections.per.source.max",
        kind: Kind::Count,
        default: "auto",
        explain: "Connections of one address at each shard; auto is no limit",
    },
    Setting {
        key: "connections.max.idle.ms",
        kind: Kind::Count,
        default: "600000",
        explain: "Milliseconds after which a connection that asks nothing is closed",
    },
    Setting {
        key: "journal.bytes.max",
        kind: Kind::Bytes,
        default: "512MiB",
        explain: "Size of all journals together; recovery time depends on it, and bursts need it",
    },
    Setting {
        key: "spin.us",
        kind: Kind::Count,
        default: "0",
        explain: "Microseconds a shard spins before it sleeps; never while a disk operation is in flight",
    },
    Setting {
        key: "executor",
        kind: Kind::Executor,
        default: ExecutorKind::COMPILED[0].name(),
        explain: "Who runs the tasks of a shard: own, or glommio in a build with the cargo feature of that name",
    },
    Setting {
        key: "cpus",
        kind: Kind::Cores,
        default: "any",
        explain: "Core of each shard, like 0,1; any leaves it to the kernel",
    },
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The default.
    Default,
    /// A file, named.
    File(String),
    /// An environment variable, named.
    Environment(String),
    /// A flag, named.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File(path) => write!(f, "file {path}"),
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

/// A value for every setting.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    values: BTreeMap<&'static str, Value>,
}

impl Effective {
    /// Reads flags, environment and file. Every key must be known and every value must look right.
    pub(crate) fn load(
        arguments: &SettingArgs,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Effective> {
        let mut effective = Effective { values: BTreeMap::new() };
        for setting in SETTINGS {
            let value = Value { text: setting.default.to_string(), source: Source::Default };
            effective.values.insert(setting.key, value);
        }
        if let Some(path) = &arguments.config {
            effective.apply_file(path)?;
        }
        effective.apply_environment(environment)?;
        effective.apply_flags(arguments)?;
        Ok(effective)
    }

    /// The value of a setting.
    pub(crate) fn value(&self, key: &str) -> &Value {
        self.values.get(key).expect("every setting has a value")
    }

    /// The value of a setting as a number of bytes or a count; `None` for `auto`.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        let text = &self.value(key).text;
        if text == "auto" { None } else { Some(parse_bytes(text).expect("checked when it was read")) }
    }

    /// The value of a setting as a list of cores; empty for `any`.
    pub(crate) fn cores(&self, key: &str) -> Vec<usize> {
        parse_cores(&self.value(key).text).expect("checked when it was read")
    }

    /// The value of a setting that is on or off.
    pub(crate) fn switch(&self, key: &str) -> bool {
        self.value(key).text.parse().expect("checked when it was read")
    }

    fn apply_file(&mut self, path: &Path) -> Result<()> {
        let place = path.display().to_string();
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration file {place}"))?;
        let table: toml::Table = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            anyhow!("{place} line {line} is not TOML: {}", error.message())
        })?;
        let mut leaves = Vec::new();
        flatten("", table, &mut leaves);
        for (key, value) in leaves {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(switch) => switch.to_string(),
                other => {
                    bail!("{place}: `{key}` is a {}, but settings are text, numbers or switches", other.type_str())
                }
            };
            self.set(&key, text, Source::File(place.clone()))?;
        }
        Ok(())
    }

    fn apply_environment(&mut self, environment: impl Iterator<Item = (String, String)>) -> Result<()> {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            if ENVIRONMENT_OTHERS.contains(&name.as_str()) {
                continue;
            }
            let known = SETTINGS.iter().find(|setting| environment_suffix(setting.key) == rest);
            match known {
                Some(setting) => self.set(setting.key, text, Source::Environment(name))?,
                None => bail!(
                    "environment variable {name} is not a setting{}; unset it, or see `ouzel config --explain`",
                    suggestion(&rest.to_ascii_lowercase().replace("__", "_"))
                ),
            }
        }
        Ok(())
    }

    fn apply_flags(&mut self, arguments: &SettingArgs) -> Result<()> {
        for (key, text) in &arguments.set {
            self.set(key, text.clone(), Source::Flag(format!("--set {key}")))?;
        }
        let path = arguments.data_dir.as_ref().map(|path| path.to_string_lossy().into_owned());
        let flags = [
            ("data_dir", "--data-dir", &path),
            ("kafka", "--kafka", &arguments.kafka),
            ("native", "--native", &arguments.native),
            ("admin", "--admin", &arguments.admin),
            ("shards", "--shards", &arguments.shards),
            ("executor", "--executor", &arguments.executor),
        ];
        for (key, flag, text) in flags {
            if let Some(text) = text {
                self.set(key, text.clone(), Source::Flag(flag.to_string()))?;
            }
        }
        Ok(())
    }

    fn set(&mut self, key: &str, text: String, source: Source) -> Result<()> {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            bail!("unknown configuration key `{key}` in {source}{}; see `ouzel config --explain`", suggestion(key));
        };
        check(setting, &text).map_err(|why| anyhow!("`{key}` in {source}: {why}"))?;
        self.values.insert(setting.key, Value { text, source });
        Ok(())
    }
}

/// The environment of this process; variables that are not text cannot be settings.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

/// The environment variable of a key, without the prefix.
fn environment_suffix(key: &str) -> String {
    key.to_ascii_uppercase().replace('.', "_")
}

fn check(setting: &Setting, text: &str) -> Result<(), String> {
    match setting.kind {
        Kind::Path if text.is_empty() => Err("a path must not be empty".to_string()),
        Kind::Path => Ok(()),
        Kind::Address => match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
            _ => Err(format!("`{text}` is not host:port")),
        },
        Kind::Count | Kind::Bytes if text == "auto" && setting.default == "auto" => Ok(()),
        Kind::Count => text.parse::<u32>().map(|_| ()).map_err(|_| format!("`{text}` is not a number")),
        Kind::Bytes => parse_bytes(text).map(|_| ()),
        Kind::Cores => parse_cores(text).map(|_| ()),
        Kind::Switch => text.parse::<bool>().map(|_| ()).map_err(|_| format!("`{text}` is neither true nor false")),
        Kind::Executor => text
            .parse::<ExecutorKind>()
            .map_err(|error| error.to_string())?
            .require()
            .map_err(|error| error.to_string()),
    }
}

fn parse_cores(text: &str) -> Result<Vec<usize>, String> {
    if text == "any" {
        return Ok(Vec::new());
    }
    let core = |word: &str| word.trim().parse().map_err(|_| format!("`{text}` is not a list of cores like 0,1"));
    text.split(',').map(core).collect()
}

/// Tables of TOML as dotted keys.
fn flatten(prefix: &str, table: toml::Table, leaves: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, leaves),
            leaf => leaves.push((key, leaf)),
        }
    }
}

/// `, did you mean ...?` where a known key is near.
fn suggestion(key: &str) -> String {
    let plain = |text: &str| text.replace(['_', '-'], ".");
    SETTINGS
        .iter()
        .map(|setting| (edit_distance(&plain(key), &plain(setting.key)), setting.key))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map_or_else(String::new, |(_, near)| format!(", did you mean `{near}`?"))
}

/// Letters to insert, drop or replace to turn one word into the other.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(l != *r)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: Option<&str>, environment: &[(&str, &str)], arguments: SettingArgs) -> Result<Effective> {
        let directory = tempfile::tempdir().expect("directory");
        let mut arguments = arguments;
        if let Some(text) = file {
            let path = directory.path().join("ouzel.toml");
            std::fs::write(&path, text).expect("file");
            arguments.config = Some(path);
        }
        Effective::load(&arguments, environment.iter().map(|(name, text)| (name.to_string(), text.to_string())))
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = "shards = 1\nnative = \"127.0.0.1:1\"\n[journal.bytes]\nmax = \"64MiB\"\n";
        let environment = [("OUZEL_NATIVE", "127.0.0.1:2"), ("OUZEL_SHARDS", "2"), ("HOME", "/")];
        let arguments = SettingArgs { shards: Some("3".to_string()), ..SettingArgs::default() };
        let effective = load(Some(file), &environment, arguments).expect("valid");
        assert_eq!(effective.number("shards"), Some(3));
        assert_eq!(effective.value("native").text, "127.0.0.1:2");
        assert_eq!(effective.number("journal.bytes.max"), Some(64 << 20));
        assert_eq!(effective.value("kafka").source, Source::Default);
        assert_eq!(effective.number("memory.bytes.max"), Some(512 << 20));
        assert!(effective.cores("cpus").is_empty());
    }

    #[test]
    fn an_unknown_key_is_an_error_wherever_it_stands() {
        let set = SettingArgs { set: vec![("journal.bytes".into(), "1".into())], ..SettingArgs::default() };
        for (result, word) in [
            (load(Some("shard = 1"), &[], SettingArgs::default()), "did you mean `shards`"),
            (load(None, &[("OUZEL_SHARD", "1")], SettingArgs::default()), "OUZEL_SHARD"),
            (load(None, &[], set), "journal.bytes"),
        ] {
            let text = format!("{:#}", result.expect_err("unknown"));
            assert!(text.contains(word) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_an_error_that_names_key_and_source() {
        for (file, word) in [
            ("shards = \"many\"", "`shards` in file"),
            ("native = \"here\"", "host:port"),
            ("journal.bytes.max = true", "journal.bytes.max"),
            ("num.partitions = []", "array"),
            ("auto.create.topics.enable = 1", "neither true nor false"),
            ("spin.us = \"auto\"", "spin.us"),
            ("cpus = \"0;1\"", "list of cores"),
            ("executor = \"tokio\"", "no executor is called \"tokio\""),
            ("shards = ", "not TOML"),
        ] {
            let text = format!("{:#}", load(Some(file), &[], SettingArgs::default()).expect_err("wrong"));
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn a_build_without_glommio_refuses_it_and_says_how_to_get_it() {
        let arguments = SettingArgs { executor: Some("glommio".to_string()), ..SettingArgs::default() };
        let result = load(None, &[], arguments);
        if cfg!(feature = "glommio") {
            assert_eq!(result.expect("valid").value("executor").text, "glommio");
        } else {
            let text = format!("{:#}", result.expect_err("not in this build"));
            assert!(text.contains("--executor") && text.contains("cargo feature \"glommio\""), "{text}");
        }
    }

    #[test]
    fn every_default_looks_right_and_every_variable_is_distinct() {
        let mut names = std::collections::BTreeSet::new();
        for setting in SETTINGS {
            assert_eq!(check(setting, setting.default), Ok(()), "{}", setting.key);
            assert!(names.insert(environment_suffix(setting.key)));
        }
    }
}

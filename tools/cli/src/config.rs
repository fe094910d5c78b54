//! The settings of a broker: which keys there are, where each value came from, and that there is no other key. Owns
//! the precedence (flags, environment, file, defaults) and the strictness; never applies a setting. Runs on the CLI's
//! main thread before a broker starts.

mod broker;
mod catalogue;
mod file;
mod nearest;
mod setting;
mod source;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Result, anyhow, bail};

pub(crate) use self::catalogue::SETTINGS;
pub(crate) use self::setting::{Scope, Setting};
pub(crate) use self::source::{Source, Value};
use crate::args::SettingArgs;
use crate::units::parse_bytes;

/// Variables with the prefix that are flags of the command line, or belong to the tools around the binary.
const ENVIRONMENT_OTHERS: &[&str] =
    &["OUZEL_BOOTSTRAP", "OUZEL_LOG", "OUZEL_CONFIG", "OUZEL_BIN", "OUZEL_MUTATION", "OUZEL_MUTATIONS"];

/// A value for every setting.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    values: BTreeMap<&'static str, Value>,
}

impl Effective {
    /// Reads flags, environment and file. Every key must be known and every value possible by itself.
    ///
    /// # Errors
    /// The first key or value that cannot be, with the place where it stands and the reason.
    pub(crate) fn load(
        arguments: &SettingArgs,
        environment: impl IntoIterator<Item = (String, String)>,
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
        setting::parse_cores(&self.value(key).text).expect("checked when it was read")
    }

    /// The value of a setting that is on or off.
    pub(crate) fn switch(&self, key: &str) -> bool {
        self.value(key).text.parse().expect("checked when it was read")
    }

    fn apply_file(&mut self, path: &Path) -> Result<()> {
        for file::Entry { key, text, line } in file::read(path)? {
            self.set(&key, text, Source::File { path: path.display().to_string(), line })?;
        }
        Ok(())
    }

    fn apply_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix(setting::ENVIRONMENT_PREFIX) else { continue };
            if ENVIRONMENT_OTHERS.contains(&name.as_str()) {
                continue;
            }
            match SETTINGS.iter().find(|setting| setting.variable() == name) {
                Some(setting) => self.set(setting.key, text, Source::Environment(name))?,
                None => bail!(
                    "environment variable {name} is not a setting{}; unset it, or see `ouzel config --explain`",
                    nearest::suggestion(rest, keys())
                ),
            }
        }
        Ok(())
    }

    fn apply_flags(&mut self, arguments: &SettingArgs) -> Result<()> {
        for (key, text) in &arguments.set {
            self.set(key, text.clone(), Source::Flag(format!("--set {key}")))?;
        }
        // Settings are text: what stands for the rest of a path would be another path.
        let path = arguments.data_dir.as_ref().map(|path| match path.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => {
                Err(anyhow!("`data_dir` from flag --data-dir: {} is not UTF-8; choose another path", path.display()))
            }
        });
        let path = path.transpose()?;
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
            let near = nearest::suggestion(key, keys());
            bail!("unknown configuration key `{key}` from {source}{near}; see `ouzel config --explain`");
        };
        setting.check(&text).map_err(|why| anyhow!("`{key}` from {source}: {why}; see `ouzel config --explain`"))?;
        self.values.insert(setting.key, Value { text, source });
        Ok(())
    }
}

/// The environment of this process, as far as it may hold settings.
///
/// # Errors
/// A variable with the prefix of settings that is no text, and so is none.
pub(crate) fn environment() -> Result<Vec<(String, String)>> {
    settings_of(std::env::vars_os())
}

fn settings_of(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>> {
    let with_prefix = variables.filter(|(name, _)| {
        let name = name.as_encoded_bytes();
        let is_other = ENVIRONMENT_OTHERS.iter().any(|other| other.as_bytes() == name);
        name.starts_with(setting::ENVIRONMENT_PREFIX.as_bytes()) && !is_other
    });
    let as_text = with_prefix.map(|(name, text)| match (name.to_str(), text.to_str()) {
        (Some(name), Some(text)) => Ok((name.to_owned(), text.to_owned())),
        _ => bail!(
            "environment variable {} is not UTF-8: {}; set it to text, or unset it",
            name.display(),
            text.display()
        ),
    });
    as_text.collect()
}

fn keys() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

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
        assert_eq!(effective.number("memory.bytes.max"), None, "auto");
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
    fn what_is_no_text_is_refused_and_not_passed_over() {
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let variable = |name: &[u8], text: &[u8]| settings_of([(bytes(name), bytes(text))].into_iter());
        for (name, text) in [(&b"OUZEL_DATA_DIR"[..], &b"/d\xff"[..]), (b"OUZEL_\xff", b"1")] {
            let error = variable(name, text).expect_err("no text").to_string();
            assert!(error.contains("environment variable OUZEL_") && error.contains("not UTF-8"), "{error}");
        }
        assert_eq!(variable(b"HOME", b"/\xff").expect("no setting"), []);
        assert_eq!(variable(b"OUZEL_LOG", b"\xff").expect("a flag's, which judges it"), []);
        let shards = [("OUZEL_SHARDS".to_owned(), "2".to_owned())];
        assert_eq!(variable(b"OUZEL_SHARDS", b"2").expect("text"), shards);

        let arguments = SettingArgs { data_dir: Some(bytes(b"/d\xff").into()), ..SettingArgs::default() };
        let error = load(None, &[], arguments).expect_err("no text").to_string();
        assert!(error.contains("`data_dir` from flag --data-dir") && error.contains("not UTF-8"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_an_error_that_names_key_and_source() {
        for (file, word) in [
            ("shards = \"many\"", "`shards` from file"),
            ("\n\nspin.us = 2000", "ouzel.toml:3: 2000 us cannot be: 0 to 1000 can"),
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
}

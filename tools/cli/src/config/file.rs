//! A configuration file as a list of keys and values, each with its line. Owns the reading of TOML; knows no key. Runs on the
//! CLI's main thread.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One value of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its key, dotted.
    pub(super) key: String,
    /// Its value as text.
    pub(super) text: String,
    /// The line of its key, counted from 1.
    pub(super) line: usize,
}

/// Reads every value of a file.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>> {
    let place = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("cannot read the configuration file {place}; name another with --config, or leave it out")
    })?;
    parse(&place, &text)
}

fn parse(place: &str, text: &str) -> Result<Vec<Entry>> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        anyhow!("{place}:{line} is not TOML: {}", error.message())
    })?;
    let mut entries = Vec::new();
    flatten(place, text, "", table.get_ref(), &mut entries)?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// Tables of TOML as dotted keys.
fn flatten(place: &str, text: &str, prefix: &str, table: &DeTable<'_>, entries: &mut Vec<Entry>) -> Result<()> {
    for (name, value) in table {
        let line = line_of(text, name.span().start);
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        if let DeValue::Table(table) = value.get_ref() {
            flatten(place, text, &key, table, entries)?;
            continue;
        }
        match scalar(value) {
            Some(text) => entries.push(Entry { key, text, line }),
            None => {
                let kind = value.get_ref().type_str();
                bail!("`{key}` in {place}:{line} is of type {kind}, but settings are text, numbers or switches");
            }
        }
    }
    Ok(())
}

/// A value as it would stand in a flag.
fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        // Another radix than ten is for those who want to be read by machines.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}

fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_dotted_keys_are_one_and_each_value_has_its_line() {
        let text = "# first\nshards = 2\n\n[journal.bytes]\nmax = \"64MiB\"\n[connections]\nmax.idle.ms = 1_000\n";
        let entries = parse("f", text).expect("TOML");
        let seen: Vec<_> = entries.iter().map(|entry| (entry.key.as_str(), entry.text.as_str(), entry.line)).collect();
        assert_eq!(
            seen,
            [("shards", "2", 2), ("journal.bytes.max", "64MiB", 5), ("connections.max.idle.ms", "1000", 7)]
        );
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_line() {
        for (text, words) in [("\nshards = ", "f:2 is not TOML"), ("\n\na = []", "f:3"), ("a = 1.5", "float")] {
            let error = parse("f", text).expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

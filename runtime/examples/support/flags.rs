//! `--name value` flags of the measuring examples. Measures nothing. Any core.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// The flags of this process.
pub(crate) struct Flags(BTreeMap<String, String>);

impl Flags {
    /// Reads them; a flag that is none of `known` ends the process with a message.
    pub(crate) fn read(known: &[&str]) -> Self {
        let mut flags = BTreeMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").filter(|name| known.contains(name));
            match (name, words.next()) {
                (Some(name), Some(value)) => flags.insert(name.to_owned(), value),
                _ => refuse(&format!("{word}: the flags are --{}, each with a value", known.join(", --"))),
            };
        }
        Self(flags)
    }

    /// The value of a flag, if it was given; one that does not parse ends the process with a message.
    pub(crate) fn get<T: FromStr<Err: Display>>(&self, name: &str) -> Option<T> {
        let value = self.0.get(name)?;
        Some(value.parse().unwrap_or_else(|error| refuse(&format!("--{name} {value}: {error}"))))
    }
}

fn refuse(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(2)
}

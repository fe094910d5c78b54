//! `ouzel config`: prints the settings that `serve` would run with. Owns the table; never starts anything. Runs on the
//! CLI's main thread.

use anyhow::Result;
use serde_json::{Map, json};

use crate::args::ConfigArgs;
use crate::config::{Effective, SETTINGS};
use crate::output::{print_json, print_line, table};

/// Prints every setting with its value and where that came from.
pub(crate) fn run(args: &ConfigArgs, json: bool) -> Result<()> {
    let effective = Effective::load(&args.settings, crate::config::environment())?;
    if json {
        let mut object = Map::new();
        for setting in SETTINGS {
            let value = effective.value(setting.key);
            let mut entry =
                json!({ "value": value.text, "source": value.source.to_string(), "default": setting.default });
            if args.explain {
                entry["explain"] = setting.explain.into();
            }
            object.insert(setting.key.to_string(), entry);
        }
        return print_json(&object);
    }
    let rows = SETTINGS.iter().map(|setting| {
        let value = effective.value(setting.key);
        let mut row = vec![setting.key.to_string(), value.text.clone(), value.source.to_string()];
        if args.explain {
            row.push(setting.explain.to_string());
        }
        row
    });
    let header: &[&str] =
        if args.explain { &["key", "value", "from", "what it does"] } else { &["key", "value", "from"] };
    print_line(&table(header, &[], rows))
}

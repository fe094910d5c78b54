//! `ouzel config`: prints the settings that `serve` would run with, and refuses those that it would refuse. Owns the listing;
//! never starts anything. Runs on the CLI's main thread.

use anyhow::Result;
use ouzel_broker::BrokerConfig;
use serde_json::{Map, Value, json};

use crate::args::ConfigArgs;
use crate::config::{Effective, SETTINGS, Scope, Setting};
use crate::output::{print_json, print_line, table};

/// Prints every setting with its value and where that came from.
pub(crate) fn run(args: &ConfigArgs, json: bool) -> Result<()> {
    let effective = Effective::load(&args.settings, crate::config::environment()?)?;
    let config = effective.broker_config()?;
    if json {
        return print_json(&as_json(&effective, &config, args.explain));
    }
    for (index, scope) in Scope::ALL.into_iter().enumerate() {
        let gap = if index == 0 { "" } else { "\n" };
        print_line(&format!("{gap}{}\n", scope.heading()))?;
        let of_scope = SETTINGS.iter().filter(|setting| setting.scope == scope);
        if args.explain {
            let entries: Vec<String> = of_scope.map(|setting| explained(setting, &effective, &config)).collect();
            print_line(&entries.join("\n\n"))?;
        } else {
            let rows = of_scope.map(|setting| {
                let value = effective.value(setting.key);
                vec![setting.key.to_owned(), shown(setting, &effective, &config), value.source.to_string()]
            });
            print_line(&table(&["key", "value", "from"], &[], rows))?;
        }
    }
    Ok(())
}

/// A value as it was given and, where that leaves it open, what it comes to: `auto (2)`.
fn shown(setting: &Setting, effective: &Effective, config: &BrokerConfig) -> String {
    let (given, comes_to) = (&effective.value(setting.key).text, effective.comes_to(setting.key, config));
    if *given == comes_to { comes_to } else { format!("{given} ({comes_to})") }
}

/// A setting as a paragraph: more columns than a terminal is wide are no table.
fn explained(setting: &Setting, effective: &Effective, config: &BrokerConfig) -> String {
    let value = effective.value(setting.key);
    format!(
        "{} = {}\n    from      {}\n    meaning   {}\n    unit      {}\n    range     {}\n    default   {}: {}\n    variable  {}",
        setting.key,
        shown(setting, effective, config),
        value.source,
        setting.explain,
        setting.unit(),
        setting.range(),
        setting.default,
        setting.why,
        setting.variable()
    )
}

fn as_json(effective: &Effective, config: &BrokerConfig, explain: bool) -> Map<String, Value> {
    let entries = SETTINGS.iter().map(|setting| {
        let value = effective.value(setting.key);
        let mut entry = json!({
            "value": value.text,
            "effective": effective.comes_to(setting.key, config),
            "source": value.source.to_string(),
            "default": setting.default,
            "scope": setting.scope.name(),
        });
        if explain {
            entry["explain"] = setting.explain.into();
            entry["unit"] = setting.unit().into();
            entry["range"] = setting.range().into();
            entry["why"] = setting.why.into();
            entry["variable"] = setting.variable().into();
        }
        (setting.key.to_owned(), entry)
    });
    entries.collect()
}

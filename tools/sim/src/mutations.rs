//! Rules broken on purpose (docs/rules.md M5), to show that the checker would notice: each fault runs in a process of its own,
//! because the code under test may also notice by itself and abort. Owns no fault: they are in the code under test.

use std::process::Command;

use anyhow::{Context, bail};

use crate::PowerCut;

/// Rounds that a fault is hunted for at least: it ends at the first one that fails.
const HUNT_ROUNDS_MIN: u64 = 500;

const MISSING: &str = "this build has no mutations in it: build with RUSTFLAGS=\"--cfg ouzel_mutations\"";

/// Breaks the rule of this name in this process.
///
/// # Errors
/// An unknown name, or a build without mutations.
#[cfg(ouzel_mutations)]
pub(crate) fn select(name: &str) -> anyhow::Result<()> {
    if name == ouzel_broker_core::mutation::EPOCH_NOT_RAISED {
        ouzel_broker_core::mutation::set_epoch_not_raised(true);
        return Ok(());
    }
    let known = ouzel_storage::mutation::Mutation::ALL.iter().find(|(known, _)| *known == name);
    let Some((_, mutation)) = known else { bail!("no mutation is called {name}; there are {}", names().join(", ")) };
    ouzel_storage::mutation::set(Some(*mutation));
    Ok(())
}

/// Breaks the rule of this name in this process.
///
/// # Errors
/// Always: this build has no mutations.
#[cfg(not(ouzel_mutations))]
pub(crate) fn select(_name: &str) -> anyhow::Result<()> {
    bail!(MISSING)
}

#[cfg(ouzel_mutations)]
fn names() -> Vec<&'static str> {
    let storage = ouzel_storage::mutation::Mutation::ALL.iter().map(|(name, _)| *name);
    storage.chain([ouzel_broker_core::mutation::EPOCH_NOT_RAISED]).collect()
}

#[cfg(not(ouzel_mutations))]
fn names() -> Vec<&'static str> {
    Vec::new()
}

/// Runs the code as it is and with each rule broken; true when the first passes and each of the others is caught.
///
/// # Errors
/// A build without mutations, or a process that cannot be started.
pub(crate) fn run_all(args: &PowerCut) -> anyhow::Result<bool> {
    if cfg!(not(ouzel_mutations)) {
        bail!(MISSING);
    }
    let hunt_rounds = args.rounds.max(HUNT_ROUNDS_MIN);
    let sound = run(args, args.rounds, None)?;
    let mut all_good = sound.is_none();
    if !args.json {
        println!("{:<28} result", "mutation");
        let result =
            sound.as_deref().map_or_else(|| format!("passes {} rounds", args.rounds), |line| format!("FAILED {line}"));
        println!("{:<28} {result}", "(none)");
    }
    let (mut caught, mut survived) = (0, Vec::new());
    for name in names() {
        let line = run(args, hunt_rounds, Some(name))?;
        all_good &= line.is_some();
        match &line {
            Some(_) => caught += 1,
            None => survived.push(name),
        }
        if !args.json {
            let result = match &line {
                Some(line) => {
                    let seed = number(line, "seed").unwrap_or(args.seed);
                    let round = seed.wrapping_sub(args.seed).wrapping_add(1);
                    format!("caught in round {round}, seed {seed}: {}", failure(line))
                }
                None => format!("SURVIVED {hunt_rounds} rounds"),
            };
            println!("{name:<28} {result}");
        }
    }
    let result = if all_good { "pass" } else { "fail" };
    let survived: Vec<String> = survived.iter().map(|name| format!("\"{name}\"")).collect();
    println!(
        "{{\"result\":\"{result}\",\"unmutated\":\"{}\",\"caught\":{caught},\"survived\":[{}],\"rounds\":{},\"seed\":{}}}",
        if sound.is_none() { "pass" } else { "fail" },
        survived.join(","),
        args.rounds,
        args.seed,
    );
    Ok(all_good)
}

/// Plays the rounds in a process of its own. `None`: they passed; else its last line.
fn run(args: &PowerCut, rounds: u64, mutation: Option<&str>) -> anyhow::Result<Option<String>> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.args(["power-cut", "--json", "--rounds", &rounds.to_string(), "--seed", &args.seed.to_string()]);
    if let Some(name) = mutation {
        command.args(["--mutation", name]);
    }
    let output = command.output().context("start this program again")?;
    if output.status.success() {
        return Ok(None);
    }
    if output.status.code() == Some(2) {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    Ok(Some(stdout.lines().last().unwrap_or("the process ended without a word").to_owned()))
}

fn number(line: &str, key: &str) -> Option<u64> {
    let rest = line.split(&format!("\"{key}\":")).nth(1)?;
    rest.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

fn failure(line: &str) -> &str {
    let text = line.split("\"failure\":\"").nth(1).unwrap_or(line);
    let end = text.char_indices().nth(140).map_or(text.len(), |(index, _)| index);
    text[..end].trim_end_matches("\"}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_failure_are_found_in_the_last_line() {
        let line = r#"{"result":"fail","rounds":3,"seed":44,"failure":"lost batch 5"}"#;
        assert_eq!((number(line, "seed"), failure(line)), (Some(44), "lost batch 5"));
    }
}

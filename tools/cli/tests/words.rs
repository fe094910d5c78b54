//! What the binary says of itself: completions that their shells accept, man pages, and the configuration with its places.

mod common;

use std::process::{Command, Stdio};

use common::{assert_refused, commands, directory, ouzel, run, stdout_of};

#[test]
fn completions_name_every_command_and_their_shell_accepts_them() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout_of(&run(&["completions", shell]));
        for word in ["doctor", "reset-offsets", "data-dir"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let directory = directory();
        let path = directory.path().join("completions");
        std::fs::write(&path, script).expect("written");
        // bash is everywhere that the tests run; the others are asked where they are.
        match Command::new(shell).arg("-n").arg(&path).stderr(Stdio::inherit()).status() {
            Ok(status) => assert!(status.success(), "{shell}"),
            Err(error) => assert!(shell != "bash", "{error}"),
        }
    }
    assert_refused(&run(&["completions", "cmd"]), &["cmd", "bash"]);
}

/// Roff as the text that a reader sees, each run of spaces as one.
fn plain(roff: &str) -> String {
    let text = [("\\-", "-"), ("\\*(Aq", "'"), ("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\\\", "\\")]
        .iter()
        .fold(roff.to_owned(), |text, (code, shown)| text.replace(code, shown));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_command_has_a_man_page_with_its_examples() {
    let directory = directory();
    let dir = directory.path().join("man/man1");
    stdout_of(&run(&["man", dir.to_str().expect("text")]));
    let mut pages: Vec<String> = std::fs::read_dir(&dir)
        .expect("made")
        .map(|page| page.expect("readable").file_name().into_string().expect("text"))
        .collect();
    pages.sort();
    let mut commands = commands();
    commands.push(Vec::new());
    let page_of = |words: &Vec<String>| {
        let words: Vec<&str> = ["ouzel"].into_iter().chain(words.iter().map(String::as_str)).collect();
        format!("{}.1", words.join("-"))
    };
    let mut expected: Vec<String> = commands.iter().map(page_of).collect();
    expected.sort();
    assert_eq!(pages, expected);
    for words in &commands {
        let page = page_of(words);
        let roff = std::fs::read_to_string(dir.join(&page)).expect("a page");
        assert!(roff.starts_with(".ie"), "{page}: {roff}");
        let text = plain(&roff);
        let help = stdout_of(&ouzel(&[]).args(words).arg("--help").output().expect("runs"));
        let examples: Vec<&str> = help
            .lines()
            .skip_while(|line| !line.starts_with("Example"))
            .skip(1)
            .take_while(|line| !line.is_empty())
            .collect();
        assert!(!examples.is_empty(), "{page}");
        for example in examples {
            let example = example.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains(&example), "{page} has not `{example}`: {text}");
        }
        // Every flag that the help has.
        let flags = help
            .lines()
            .filter_map(|line| line.trim_start().split([' ', ',', '=']).find(|word| word.starts_with("--")));
        flags.for_each(|flag| assert!(text.contains(flag), "{page} has not {flag}"));
    }
    assert_refused(&run(&["man", "/proc/ouzel"]), &["/proc/ouzel"]);
}

#[test]
fn every_value_tells_where_it_came_from_to_the_line() {
    let directory = directory();
    let file = directory.path().join("ouzel.toml");
    std::fs::write(&file, "# a broker\nshards = 1\n\n[memory.bytes]\nmax = \"64MiB\"\n").expect("file");
    let path = file.to_str().expect("path");
    let words = ["config", "--explain", "--json", "--config", path, "--native", "127.0.0.1:7000"];
    let output = ouzel(&words).env("OUZEL_NUM_PARTITIONS", "3").output().expect("runs");
    let config: serde_json::Value = serde_json::from_str(&stdout_of(&output)).expect("one JSON object");
    for (key, value, source) in [
        ("shards", "1", format!("file {path}:2")),
        ("memory.bytes.max", "64MiB", format!("file {path}:5")),
        ("num.partitions", "3", "environment OUZEL_NUM_PARTITIONS".to_owned()),
        ("native", "127.0.0.1:7000", "flag --native".to_owned()),
        ("kafka", "127.0.0.1:9092", "default".to_owned()),
    ] {
        assert_eq!(config[key]["value"], value, "{key}");
        assert_eq!(config[key]["source"], source, "{key}");
        for field in ["explain", "unit", "range", "default", "why", "variable", "scope"] {
            assert!(config[key][field].is_string(), "{key}: {field}");
        }
    }
    let cores = std::thread::available_parallelism().expect("some").get();
    let words = ["config", "--json"];
    let config: serde_json::Value = serde_json::from_str(&stdout_of(&run(&words))).expect("one JSON object");
    for (key, value, effective) in [
        ("shards", "auto", cores.to_string().as_str()),
        ("connections.per.source.max", "auto", "no limit"),
        ("spin.us", "0", "0"),
    ] {
        assert_eq!((&config[key]["value"], &config[key]["effective"]), (&value.into(), &effective.into()), "{key}");
    }
    for shown in [stdout_of(&run(&["config"])), stdout_of(&run(&["config", "--explain"]))] {
        assert!(shown.contains(&format!("auto ({cores})")), "{shown}");
    }
    assert!(stdout_of(&run(&["config", "--shards", "2"])).contains("auto (512MiB)"));
    let explained = stdout_of(&run(&["config", "--explain"]));
    assert!(explained.contains("Of the whole cluster") && explained.contains("16.0 MiB for each shard"), "{explained}");
}

#[test]
fn impossible_settings_are_refused_with_key_place_and_reason_before_anything_starts() {
    let directory = directory();
    let file = directory.path().join("ouzel.toml");
    std::fs::write(&file, "shards = 4\njournal.bytes.max = \"16MiB\"\n").expect("file");
    let path = file.to_str().expect("path");
    let place = format!("`journal.bytes.max` from file {path}:2");
    for command in ["config", "serve", "doctor"] {
        assert_refused(&run(&[command, "--config", path]), &[&place, "33554432 are needed", "ouzel config --explain"]);
    }
    std::fs::write(&file, "shards = 4\n\nspin.us = 5000\n").expect("file");
    let place = format!("`spin.us` from file {path}:3");
    assert_refused(&run(&["config", "--config", path]), &[&place, "0 to 1000 can"]);
    assert_refused(
        &run(&["config", "--set", "cpus=0,1", "--shards", "3"]),
        &["`cpus` from flag --set cpus", "2 cores"],
    );
}

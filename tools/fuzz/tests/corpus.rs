//! The targets on stable: over the committed corpus, and over seeded mutations of it. `OUZEL_FUZZ_SEED` gives the
//! mutations of a report again, or others; `OUZEL_FUZZ_TIMES` more of them.

use std::path::Path;

use ouzel_fuzz::corpus::{self, CORPUS_BYTES_MAX, FILE_BYTES_MAX, Input};
use ouzel_fuzz::harness::{self, Campaign, Failure};
use ouzel_fuzz::seeds;
use ouzel_fuzz::targets::{TARGETS, Target, find};
use ouzel_protocol::kafka::ApiKey;
use ouzel_protocol::native::Api;

fn inputs(target: &Target) -> Vec<Input> {
    corpus::read(target.name).unwrap_or_else(|error| panic!("corpus of {}: {error}", target.name))
}

/// Keeps the input of a failure as a file, to be added to the corpus with the fix.
fn fail(failure: &Failure) -> ! {
    let name = format!("crash-{:08x}", crc32c::crc32c(&failure.input));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
    let kept = match std::fs::write(&path, &failure.input) {
        Ok(()) => format!("kept as {}: with the fix, into tools/fuzz/corpus/{}/", path.display(), failure.target),
        Err(error) => format!("not kept in {}: {error}", path.display()),
    };
    panic!("{failure}\n{kept}");
}

#[test]
fn every_target_keeps_its_promises_on_the_corpus() {
    for target in TARGETS {
        let corpus = inputs(target);
        harness::replay(target, &corpus).unwrap_or_else(|failure| fail(&failure));
    }
}

#[test]
fn every_target_keeps_its_promises_on_mutations_of_the_corpus() {
    let campaign = Campaign::from_environment();
    // Two halves of the table at a time: the slowest targets simulate a disk and stand apart in it.
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for target in TARGETS.iter().skip(half).step_by(2) {
                    let corpus = inputs(target);
                    harness::campaign(target, &corpus, campaign).unwrap_or_else(|failure| fail(&failure));
                }
            });
        }
    });
}

#[test]
fn every_seed_is_in_the_corpus_and_is_accepted_by_its_parser() {
    for target in TARGETS {
        let seeds = seeds::of(target.name);
        assert!(!seeds.is_empty(), "target {} has no seed", target.name);
        let corpus = inputs(target);
        for seed in seeds {
            let kept = corpus.iter().find(|input| input.name == seed.name);
            let kept = kept
                .unwrap_or_else(|| panic!("{}/{}: run `cargo run -p ouzel-fuzz --bin seeds`", target.name, seed.name));
            // The file may be older than today's encoder. It stays readable, as what was stored does.
            for bytes in [&kept.bytes, &seed.bytes] {
                assert_eq!(harness::check(target, bytes), Ok(true), "{}/{}", target.name, seed.name);
            }
        }
    }
}

/// `ListTopics` is `list-topics` here.
fn words(name: &str) -> String {
    name.chars().fold(String::new(), |mut words, letter| {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.push(letter.to_ascii_lowercase());
        words
    })
}

#[test]
fn every_api_of_kafkas_protocol_has_targets_with_a_seed_of_each_version() {
    for api in ApiKey::ALL {
        let versions = api.api().versions.clone().count();
        for direction in ["request", "reply"] {
            let name = format!("kafka-{}-{direction}", words(api.api().name));
            let target = find(&name).unwrap_or_else(|| panic!("there is no target {name}"));
            assert!(seeds::of(target.name).len() >= versions, "{name} has no seed of some version");
        }
    }
}

#[test]
fn every_api_of_the_native_protocol_has_targets_for_its_request_and_its_reply() {
    for api in Api::ALL {
        let words = words(&format!("{api:?}"));
        assert!(find(&format!("{words}-request")).is_some(), "{api:?} has no target for its request");
        // What only succeeds or fails is answered by a status.
        let by_status = matches!(api, Api::DeleteTopic | Api::AlterTopic | Api::DeleteGroup);
        let reply = if by_status { "status-reply".to_owned() } else { format!("{words}-reply") };
        assert!(find(&reply).is_some(), "{api:?} has no target for its reply");
    }
}

#[test]
fn the_corpus_is_small_and_every_directory_in_it_is_a_target() {
    let root = corpus::directory("");
    let mut bytes = 0;
    for entry in std::fs::read_dir(&root).expect("the corpus is there") {
        let name = entry.expect("a directory").file_name().to_string_lossy().into_owned();
        let target = TARGETS.iter().find(|target| target.name == name);
        for input in inputs(target.unwrap_or_else(|| panic!("there is no target {name}"))) {
            assert!(input.bytes.len() as u64 <= FILE_BYTES_MAX, "{name}/{} is large", input.name);
            bytes += input.bytes.len() as u64;
        }
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes");
}

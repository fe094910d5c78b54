//! The harness catches what it is there for: targets with planted faults.

use ouzel_fuzz::corpus::Input;
use ouzel_fuzz::harness::{Campaign, campaign, check, replay};
use ouzel_fuzz::oracle::{Heap, bounded, exact, settles};
use ouzel_fuzz::targets::Target;

const CAMPAIGN: Campaign = Campaign { seed: 7, times: 1 };

fn planted(run: fn(&[u8]) -> bool) -> Target {
    Target { name: "planted", run, rounds: 20_000 }
}

/// A length of one byte, then that many bytes.
fn corpus() -> Vec<Input> {
    vec![Input { name: "sound".into(), bytes: b"\x04four".to_vec() }]
}

/// Believes the length.
fn panics(bytes: &[u8]) -> bool {
    match bytes.split_first() {
        Some((length, rest)) => rest[..usize::from(*length)].len() == rest.len(),
        None => false,
    }
}

/// Allocates by the length before it looks whether the bytes are there.
fn allocates(bytes: &[u8]) -> bool {
    let heap = Heap { fixed: 64, times: 2 };
    bounded(heap, bytes.len(), || {
        let (length, rest) = bytes.split_first()?;
        let room = Vec::<u8>::with_capacity(usize::from(*length) * 1024 / 4);
        (usize::from(*length) == rest.len()).then_some(room)
    })
    .is_some()
}

#[test]
fn a_planted_panic_is_caught_and_its_seed_gives_it_again() {
    let target = planted(panics);
    assert_eq!(replay(&target, &corpus()).expect("the sound input is sound"), 1);
    let first = campaign(&target, &corpus(), CAMPAIGN).expect_err("a mutation of the length is believed");
    assert!(first.what.contains("out of range"), "{first}");
    let second = campaign(&target, &corpus(), CAMPAIGN).expect_err("the same");
    assert_eq!((&first.input, &first.origin), (&second.input, &second.origin));
    assert!(first.origin.contains("OUZEL_FUZZ_SEED=7"), "{first}");
    assert!(check(&target, &first.input).is_err(), "the input alone does it as well");
}

#[test]
fn a_planted_allocation_by_a_claimed_length_is_caught() {
    let mut honest = corpus();
    honest[0].bytes = b"\x00".to_vec();
    let target = planted(allocates);
    assert_eq!(replay(&target, &honest).expect("nothing is claimed and nothing allocated"), 1);
    let failure = campaign(&target, &honest, CAMPAIGN).expect_err("a length is believed");
    assert!(failure.what.contains("bytes of memory for"), "{failure}");
}

#[test]
fn another_seed_draws_other_inputs() {
    let target = planted(panics);
    let inputs =
        [1, 2].map(|seed| campaign(&target, &corpus(), Campaign { seed, times: 1 }).expect_err("it panics").input);
    assert_ne!(inputs[0], inputs[1]);
}

#[test]
fn what_does_not_come_back_as_it_was_is_caught() {
    let target = planted(|bytes| {
        // Forgets everything but the first byte.
        exact(Heap::MESSAGE, bytes, |bytes| bytes.first().copied().ok_or(()), |first, out| out.push(*first))
    });
    assert_eq!(check(&target, b"a"), Ok(true));
    assert_eq!(check(&target, b""), Ok(false));
    assert!(check(&target, b"ab").is_err_and(|what| what.contains("came back as")));
}

#[test]
fn what_never_settles_is_caught() {
    let target = planted(|bytes| {
        // Each reading takes one off.
        let decode = |bytes: &[u8]| bytes.first().map(|first| first.wrapping_sub(1)).ok_or(());
        settles(Heap::MESSAGE, bytes, decode, |first, out| out.push(*first))
    });
    assert!(check(&target, b"a").is_err_and(|what| what.contains("on the second reading")));
}

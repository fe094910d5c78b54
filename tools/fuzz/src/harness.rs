//! Runs targets on stable: one input, or a campaign of seeded mutations. Owns the seeds and the report of a failure.
//!
//! Never retries and never hides: the first broken promise ends a campaign, with everything it takes to see it again. A
//! campaign's inputs follow from its seed, the target's name and the corpus alone. Any core.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::corpus::Input;
use crate::mutate::mutate;
use crate::targets::Target;

/// The environment variable that gives a campaign another seed, in decimal.
pub const SEED_VARIABLE: &str = "OUZEL_FUZZ_SEED";

/// The environment variable that multiplies the rounds of every campaign.
pub const TIMES_VARIABLE: &str = "OUZEL_FUZZ_TIMES";

/// The seed when none is given: a test run must not fail by lot. `ci/fuzz` draws.
const SEED_DEFAULT: u64 = 1;

/// How much of an input is shown in a report.
const SHOWN_BYTES_MAX: usize = 4096;

/// What a campaign draws from, and how long it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The seed of every draw.
    pub seed: u64,
    /// What [`Target::rounds`] is multiplied by.
    pub times: u32,
}

impl Campaign {
    /// The campaign that the environment asks for.
    ///
    /// # Panics
    /// Where a variable holds no number: whoever set it is told at once.
    pub fn from_environment() -> Campaign {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
        };
        let times = number(TIMES_VARIABLE).map_or(1, |times| u32::try_from(times).unwrap_or(u32::MAX));
        Campaign { seed: number(SEED_VARIABLE).unwrap_or(SEED_DEFAULT), times }
    }
}

/// A promise that an input broke.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// What it said.
    pub what: String,
    /// Where the input came from, and how to make it again.
    pub origin: String,
    /// The input.
    pub input: Vec<u8>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.target, self.what)?;
        writeln!(f, "input: {}", self.origin)?;
        write!(f, "{} bytes: ", self.input.len())?;
        for byte in self.input.iter().take(SHOWN_BYTES_MAX) {
            write!(f, "{byte:02x}")?;
        }
        if self.input.len() > SHOWN_BYTES_MAX { f.write_str("...") } else { Ok(()) }
    }
}

/// Runs one input. Returns whether the parser accepted it.
///
/// # Errors
/// What the target panicked with.
pub fn check(target: &Target, input: &[u8]) -> Result<bool, String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "a panic without a text".to_owned(),
    }
}

/// Runs every input as it is. Returns how many the parser accepted.
///
/// # Errors
/// The first input that breaks a promise.
pub fn replay(target: &Target, corpus: &[Input]) -> Result<usize, Failure> {
    let mut accepted = 0;
    for Input { name, bytes } in corpus {
        let origin = || format!("tools/fuzz/corpus/{}/{name}", target.name);
        accepted += usize::from(check(target, bytes).map_err(|what| Failure {
            target: target.name,
            what,
            origin: origin(),
            input: bytes.clone(),
        })?);
    }
    Ok(accepted)
}

/// Runs mutations of the corpus, as many as the target and the campaign say. Returns how many the parser accepted.
///
/// # Errors
/// The first input that breaks a promise, with the seed that makes it again.
pub fn campaign(target: &Target, corpus: &[Input], campaign: Campaign) -> Result<usize, Failure> {
    assert!(!corpus.is_empty(), "target {} has no corpus to start from", target.name);
    let mut rng = SmallRng::seed_from_u64(campaign.seed ^ u64::from(crc32c::crc32c(target.name.as_bytes())));
    let mut accepted = 0;
    for round in 0..u64::from(target.rounds) * u64::from(campaign.times) {
        let [input, other] = [(); 2].map(|()| &corpus[rng.random_range(0..corpus.len())]);
        let bytes = mutate(&mut rng, &input.bytes, &other.bytes);
        accepted += usize::from(check(target, &bytes).map_err(|what| Failure {
            target: target.name,
            what,
            origin: format!(
                "round {round} of {SEED_VARIABLE}={} {TIMES_VARIABLE}={}, from {}",
                campaign.seed, campaign.times, input.name
            ),
            input: bytes,
        })?);
    }
    Ok(accepted)
}

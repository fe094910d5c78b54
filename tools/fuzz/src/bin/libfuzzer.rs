//! One target under libFuzzer, named by the environment variable `OUZEL_FUZZ_TARGET`. Owns nothing but the entry that
//! libFuzzer calls; `ci/fuzz` builds it with the instrumentation it needs and starts it. Only the named target runs, so
//! that the coverage is its own.
#![no_main]
#![forbid(unsafe_code)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ouzel_fuzz::targets::{Target, find};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("OUZEL_FUZZ_TARGET").expect("OUZEL_FUZZ_TARGET names a target");
    find(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fuzz_target!(|bytes: &[u8]| {
    (TARGET.run)(bytes);
});

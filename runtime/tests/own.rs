//! The conformance tests on the runtime's own executor. Each test is `MODULE::SENTENCE` of `tests/conformance`.

#[path = "conformance/mod.rs"]
mod conformance;

/// Whose run queue the tests' tasks stand in.
const EXECUTOR: ouzel_runtime::ExecutorKind = ouzel_runtime::ExecutorKind::Own;

//! The conformance tests on glommio: the same as in `own.rs`. Built with the cargo feature `glommio` only.

#[path = "conformance/mod.rs"]
mod conformance;

/// Whose run queue the tests' tasks stand in.
const EXECUTOR: ouzel_runtime::ExecutorKind = ouzel_runtime::ExecutorKind::Glommio;

//! Deliberate faults that keep the crash suites honest (rule M5). Without `--cfg ouzel_mutations` every question is
//! the constant `false`, so no fault is compiled into a broker that people run.

/// One rule removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Commits and segments are never synced.
    NoFdatasync,
    /// `disk` acknowledges when the write completes.
    AckAtWrite,
    /// A commit is acknowledged before the one in front of it.
    AckOutOfOrder,
    /// Replay does not check the chain of commits.
    NoChainCheck,
    /// A journal file is reused before the checkpoint that allows it.
    RecycleBeforeCheckpoint,
    /// Truncation changes memory and segments but writes no entry.
    NoTruncateEntry,
}

impl Mutation {
    /// Every mutation of storage with its name on the command line.
    pub const ALL: [(&'static str, Mutation); 6] = [
        ("no_fdatasync", Mutation::NoFdatasync),
        ("ack_at_write", Mutation::AckAtWrite),
        ("ack_out_of_order", Mutation::AckOutOfOrder),
        ("no_chain_check", Mutation::NoChainCheck),
        ("recycle_before_checkpoint", Mutation::RecycleBeforeCheckpoint),
        ("no_truncate_entry", Mutation::NoTruncateEntry),
    ];
}

#[cfg(ouzel_mutations)]
thread_local! {
    static CURRENT: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Selects the fault of this thread; none by default.
#[cfg(ouzel_mutations)]
pub fn set(mutation: Option<Mutation>) {
    CURRENT.set(mutation);
}

#[cfg(ouzel_mutations)]
pub(crate) fn is(mutation: Mutation) -> bool {
    static FROM_ENVIRONMENT: std::sync::OnceLock<Option<Mutation>> = std::sync::OnceLock::new();
    let of_process = FROM_ENVIRONMENT.get_or_init(|| {
        let name = std::env::var("OUZEL_MUTATION").ok()?;
        Mutation::ALL.iter().find(|(known, _)| *known == name).map(|(_, mutation)| *mutation)
    });
    CURRENT.get().or(*of_process) == Some(mutation)
}

#[cfg(not(ouzel_mutations))]
pub(crate) const fn is(_mutation: Mutation) -> bool {
    false
}

//! The names of the executors a shard's tasks can run on. Runs nothing. Plain values: any core.

use std::fmt;
use std::io;
use std::str::FromStr;

/// Whose run queue the tasks of a shard stand in. Operations, timers and wakers are the same on all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExecutorKind {
    /// The runtime's own: one loop over tasks and ring.
    Own,
    /// glommio's, which then also parks the thread. Needs the cargo feature `glommio`.
    Glommio,
}

impl ExecutorKind {
    /// Those that this build contains, the default one first.
    pub const COMPILED: &'static [Self] = if cfg!(feature = "glommio-default") {
        &[Self::Glommio, Self::Own]
    } else if cfg!(feature = "glommio") {
        &[Self::Own, Self::Glommio]
    } else {
        &[Self::Own]
    };

    /// The name, as [`from_str`](FromStr::from_str) takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Glommio => "glommio",
        }
    }

    /// Whether this build contains it.
    ///
    /// # Errors
    /// `Unsupported` (operator), saying how to build it in.
    pub fn require(self) -> io::Result<()> {
        if Self::COMPILED.contains(&self) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this build has no executor \"{self}\": build it with the cargo feature \"{self}\""),
        ))
    }
}

impl Default for ExecutorKind {
    fn default() -> Self {
        Self::COMPILED[0]
    }
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No executor has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no executor is called \"{name}\"; there are \"own\" and \"glommio\"")]
pub struct UnknownExecutor {
    /// What was asked for.
    pub name: String,
}

impl FromStr for ExecutorKind {
    type Err = UnknownExecutor;
    fn from_str(name: &str) -> Result<Self, UnknownExecutor> {
        [Self::Own, Self::Glommio]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownExecutor { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_executor_is_found_by_its_name_and_no_other() {
        for kind in [ExecutorKind::Own, ExecutorKind::Glommio] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("Own".parse::<ExecutorKind>().is_err() && "".parse::<ExecutorKind>().is_err());
    }

    #[test]
    fn a_build_without_glommio_says_how_to_get_it() {
        let refused = ExecutorKind::Glommio.require();
        match cfg!(feature = "glommio") {
            true => assert!(refused.is_ok()),
            false => assert!(refused.expect_err("not in this build").to_string().contains("cargo feature \"glommio\"")),
        }
        assert!(ExecutorKind::Own.require().is_ok());
    }
}

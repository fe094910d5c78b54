//! What the host must offer before a broker starts, asked once, with the remedy for each lack. Changes nothing but the
//! soft limit of open files. Runs before any shard does.

use std::path::Path;

use super::{KERNEL_MIN, direct_io, kernel_is_too_old, kernel_release, ring_lacks};
use crate::buf::ALIGN;
use crate::sys;

/// Fewer open files than this is worth a remark.
const OPEN_FILES_COMFORTABLE: u64 = 65_536;
/// Less lockable memory than this may refuse rings on hosts that charge them to RLIMIT_MEMLOCK.
const MEMLOCK_COMFORTABLE: u64 = 8 << 20;

/// What the host offers.
#[derive(Debug, Clone)]
pub struct ProbeReport {
    /// The kernel's release.
    pub kernel: String,
    /// The alignment in bytes that direct I/O needs in the data directory.
    pub direct_io_align: usize,
    /// Files the process may open, after raising the soft limit.
    pub open_files_max: u64,
    /// What is no obstacle but worth a line in the log; full sentences.
    pub warnings: Vec<String>,
}

/// What the host lacks: one sentence with the remedy for each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .lacks.join("\n"))]
pub struct ProbeError {
    /// The lacks.
    pub lacks: Vec<String>,
}

/// Asks the host for everything the runtime needs, with `data_dir` (which exists) on its file system, and raises the soft
/// limit of open files to the hard one.
///
/// # Errors
/// All that is missing, not only the first lack (operator).
pub fn probe(data_dir: &Path) -> Result<ProbeReport, ProbeError> {
    let mut lacks = Vec::new();
    let mut warnings = Vec::new();
    let kernel = kernel_release();
    if kernel_is_too_old(&kernel) {
        let (major, minor) = KERNEL_MIN;
        lacks.push(format!("Linux {kernel} is too old: {major}.{minor} or newer is needed; upgrade the kernel."));
    }
    lacks.extend(ring_lacks().iter().map(|lack| format!("{lack}; {}.", lack.remedy())));
    warnings.extend(memlock_warning());
    let open_files_max = raise_open_files(&mut warnings);
    let direct_io_align = direct_io(data_dir).unwrap_or_else(|lack| {
        lacks.push(format!("{lack}; {}.", lack.remedy()));
        ALIGN
    });
    if lacks.is_empty() {
        Ok(ProbeReport { kernel, direct_io_align, open_files_max, warnings })
    } else {
        Err(ProbeError { lacks })
    }
}

fn memlock_warning() -> Option<String> {
    let (soft, _) = sys::resource_limit(libc::RLIMIT_MEMLOCK).ok()?;
    (soft < MEMLOCK_COMFORTABLE).then(|| {
        format!("Lockable memory is limited to {soft} bytes; if rings cannot be made, raise it (systemd: `LimitMEMLOCK=infinity`).")
    })
}

/// Raises the soft limit to the hard one; returns what holds afterwards.
fn raise_open_files(warnings: &mut Vec<String>) -> u64 {
    let (soft, hard) = match sys::resource_limit(libc::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            warnings.push(format!("The limit of open files cannot be read: {error}."));
            return 1024;
        }
    };
    let now = match sys::set_resource_limit(libc::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            warnings.push(format!("The limit of open files stays at {soft}: {error}."));
            soft
        }
    };
    if now < OPEN_FILES_COMFORTABLE {
        warnings
            .push(format!("Only {now} files may be open at once; raise the limit (systemd: `LimitNOFILE=1048576`)."));
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_missing_is_named_with_what_helps() {
        let error = probe(Path::new("/nowhere/at/all")).expect_err("there is no such directory").to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("writable"), "{error}");
    }
}

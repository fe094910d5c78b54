//! What the host must offer before a broker starts, asked once, with the remedy for each lack. Changes nothing but the
//! soft limit of open files. Runs before any shard does.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use io_uring::{IoUring, Probe, opcode};

use crate::buf::{ALIGN, AlignedBuf};
use crate::fs::{OpenMode, open_direct};
use crate::sys;

/// The oldest kernel with everything used here (DEFER_TASKRUN, multishot receive, provided-buffer rings).
const KERNEL_MIN: (u32, u32) = (6, 1);
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
    let kernel = sys::kernel_release();
    lacks.extend(kernel_lack(&kernel));
    lacks.extend(io_uring_lacks());
    warnings.extend(memlock_warning());
    let open_files_max = raise_open_files(&mut warnings);
    let direct_io_align = direct_io(data_dir, &mut lacks);
    if lacks.is_empty() {
        Ok(ProbeReport { kernel, direct_io_align, open_files_max, warnings })
    } else {
        Err(ProbeError { lacks })
    }
}

/// The lack of a kernel that is too old; one whose release cannot be read is judged by what it can do.
fn kernel_lack(release: &str) -> Option<String> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return None };
    let (min_major, min_minor) = KERNEL_MIN;
    ((major, minor) < KERNEL_MIN)
        .then(|| format!("Linux {release} is too old: {min_major}.{min_minor} or newer is needed; upgrade the kernel."))
}

fn io_uring_lacks() -> Vec<String> {
    let ring: io::Result<IoUring> = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(8);
    let ring = match ring {
        Ok(ring) => ring,
        Err(error) => return vec![ring_lack(&error, io_uring_disabled())],
    };
    let mut lacks = Vec::new();
    let params = ring.params();
    if !(params.is_feature_nodrop() && params.is_feature_ext_arg() && params.is_feature_skip_cqe_on_success()) {
        lacks.push(
            "io_uring lacks NODROP, EXT_ARG or CQE_SKIP: the kernel is too old; upgrade it to 6.1 or newer.".to_owned(),
        );
    }
    let mut operations = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut operations) {
        lacks.push(format!(
            "io_uring does not list its operations ({error}): a security profile forbids io_uring_register; allow it."
        ));
        return lacks;
    }
    let needed = [
        (opcode::Read::CODE, "READ"),
        (opcode::Write::CODE, "WRITE"),
        (opcode::Fsync::CODE, "FSYNC"),
        (opcode::Accept::CODE, "ACCEPT"),
        (opcode::Connect::CODE, "CONNECT"),
        (opcode::Recv::CODE, "RECV"),
        (opcode::Send::CODE, "SEND"),
        (opcode::SendMsg::CODE, "SENDMSG"),
        (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
        (opcode::MsgRingData::CODE, "MSG_RING"),
    ];
    let missing: Vec<_> =
        needed.iter().filter(|(code, _)| !operations.is_supported(*code)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        lacks.push(format!("io_uring lacks {}: upgrade the kernel to 6.1 or newer.", missing.join(", ")));
    }
    lacks
}

/// The value of `kernel.io_uring_disabled`; 0 where the kernel has no such switch.
fn io_uring_disabled() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Why a ring could not be made, and what helps.
fn ring_lack(error: &io::Error, disabled: u32) -> String {
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), 1..) => format!(
            "io_uring is switched off (kernel.io_uring_disabled = {disabled}); run `sysctl -w kernel.io_uring_disabled=0`, \
             or with 1 add this user to the group kernel.io_uring_group."
        ),
        (Some(libc::EPERM | libc::EACCES), _) => "io_uring is forbidden, most likely by a container's seccomp profile; allow io_uring_setup, \
             io_uring_enter and io_uring_register (docker: `--security-opt seccomp=<profile that allows them>`)."
            .to_owned(),
        (Some(libc::ENOSYS), _) => "this kernel was built without io_uring; use one with CONFIG_IO_URING.".to_owned(),
        (Some(libc::ENOMEM), _) => {
            "there is too little lockable memory for an io_uring; raise it (systemd: `LimitMEMLOCK=infinity`, shell: `ulimit -l`).".to_owned()
        }
        (Some(libc::EMFILE | libc::ENFILE), _) => {
            "no file descriptor is left for an io_uring; raise the limit (systemd: `LimitNOFILE=1048576`, shell: `ulimit -n`).".to_owned()
        }
        (Some(libc::EINVAL), _) => {
            "this kernel's io_uring does not know DEFER_TASKRUN or SINGLE_ISSUER; upgrade it to 6.1 or newer.".to_owned()
        }
        _ => format!("io_uring cannot be set up: {error}."),
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

/// Writes and reads one block directly. Returns the alignment that direct I/O needs.
fn direct_io(data_dir: &Path, lacks: &mut Vec<String>) -> usize {
    let scratch = ScratchFile(data_dir.join(format!(".probe-{}", std::process::id())));
    drop(std::fs::remove_file(&scratch.0));
    let shown = data_dir.display();
    let file = match open_direct(&scratch.0, OpenMode::Create) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            lacks.push(format!(
                "The file system of {shown} has no direct I/O (O_DIRECT); put the data directory on ext4 or XFS."
            ));
            return ALIGN;
        }
        Err(error) => {
            lacks.push(format!(
                "No file can be created in {shown} ({error}); make the directory writable for this user."
            ));
            return ALIGN;
        }
    };
    if let Err(error) = write_and_read(&file) {
        lacks.push(format!(
            "A direct write of {ALIGN} bytes in {shown} failed ({error}); put the data directory on ext4 or XFS."
        ));
    }
    // An open file's own path: the name may be in a directory that others rename.
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let align = match sys::direct_io_align(&by_descriptor) {
        // A kernel or file system that does not say: the write above has shown that `ALIGN` works.
        Ok(None) | Err(_) => ALIGN,
        Ok(Some((memory, offset))) => memory.max(offset) as usize,
    };
    if align > ALIGN {
        lacks.push(format!("Direct I/O in {shown} needs blocks of {align} bytes; put the data directory on a device with {ALIGN} or fewer."));
    }
    align.max(1)
}

fn write_and_read(file: &File) -> io::Result<()> {
    let mut block = AlignedBuf::zeroed(ALIGN);
    block.fill(0xA5);
    file.write_all_at(&block, 0)?;
    block.fill(0);
    file.read_exact_at(&mut block, 0)?;
    if block.iter().any(|byte| *byte != 0xA5) {
        return Err(io::Error::other("other bytes were read than written"));
    }
    Ok(())
}

/// Removes the file when it goes away.
struct ScratchFile(PathBuf);

impl Drop for ScratchFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_names_its_remedy() {
        let denied = io::Error::from_raw_os_error(libc::EPERM);
        assert!(ring_lack(&denied, 2).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(ring_lack(&denied, 0).contains("seccomp"));
        assert!(ring_lack(&io::Error::from_raw_os_error(libc::ENOMEM), 0).contains("LimitMEMLOCK"));
        assert!(ring_lack(&io::Error::from_raw_os_error(libc::EINVAL), 0).contains("6.1"));
    }

    #[test]
    fn kernels_before_6_1_are_refused() {
        for release in ["5.15.0-91-generic", "6.0.19", "4.18.0"] {
            assert!(kernel_lack(release).is_some_and(|lack| lack.contains(release)), "{release}");
        }
        for release in ["6.1.0-13-amd64", "6.18.44", "10.0.1", "odd"] {
            assert_eq!(kernel_lack(release), None, "{release}");
        }
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let error = probe(Path::new("/nowhere/at/all")).expect_err("there is no such directory");
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}

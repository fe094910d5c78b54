//! Whether an io_uring like a shard's can be had, and if not, who denies it. Makes a small ring and drops it.

use std::io;

use io_uring::{IoUring, Probe, opcode};

/// Why a shard's ring cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingLack {
    /// The administrator has switched it off.
    #[error("io_uring is switched off (kernel.io_uring_disabled = {value})")]
    SwitchedOff {
        /// 1: for all but one group; 2: for everybody.
        value: u32,
    },
    /// A seccomp filter of this process denies it: a container's, or a service's.
    #[error("io_uring is forbidden by a seccomp filter, most likely a container's or a service's")]
    Seccomp,
    /// Something else denies it.
    #[error("io_uring is forbidden by a security module or policy of this host")]
    Forbidden,
    /// The kernel has none.
    #[error("this kernel was built without io_uring")]
    NotBuilt,
    /// Rings are charged to lockable memory, and there is too little of it.
    #[error("there is too little lockable memory for an io_uring")]
    Memory,
    /// Too many files are open.
    #[error("no file descriptor is left for an io_uring")]
    Descriptors,
    /// It lacks what a shard uses.
    #[error("this kernel's io_uring lacks {what}")]
    TooOld {
        /// Features or operations.
        what: String,
    },
    /// The kernel said something else.
    #[error("io_uring cannot be set up: {detail}")]
    Other {
        /// What it said.
        detail: String,
    },
}

impl RingLack {
    /// What helps, as an instruction without its full stop.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::SwitchedOff { value: 1 } => {
                "run `sysctl -w kernel.io_uring_disabled=0` and, for the boots after this one, \
                 `echo kernel.io_uring_disabled=0 > /etc/sysctl.d/90-ouzel.conf`, or add this user to the group whose number \
                 `sysctl kernel.io_uring_group` prints"
            }
            Self::SwitchedOff { .. } => {
                "run `sysctl -w kernel.io_uring_disabled=0` and, for the boots after this one, \
                 `echo kernel.io_uring_disabled=0 > /etc/sysctl.d/90-ouzel.conf`"
            }
            Self::Seccomp => {
                "allow io_uring_setup, io_uring_enter and io_uring_register (docker: `--security-opt seccomp=<profile that allows them>`; \
                 systemd: `SystemCallFilter=io_uring_setup io_uring_enter io_uring_register`)"
            }
            Self::Forbidden => {
                "allow io_uring_setup, io_uring_enter and io_uring_register for this user (`dmesg` and `ausearch -m avc` name the rule)"
            }
            Self::NotBuilt => "use a kernel with CONFIG_IO_URING",
            Self::Memory => {
                "raise it (systemd: `LimitMEMLOCK=infinity`, shell: `ulimit -l unlimited`, logins: `* - memlock unlimited` in /etc/security/limits.conf)"
            }
            Self::Descriptors => {
                "raise the limit (systemd: `LimitNOFILE=1048576`, shell: `ulimit -n 1048576`, logins: `* - nofile 1048576` in /etc/security/limits.conf)"
            }
            Self::TooOld { .. } => "upgrade the kernel to 6.1 or newer",
            Self::Other { .. } => "look at `dmesg`",
        }
    }
}

/// Everything that is in the way of a shard's ring; empty where it can be had.
#[must_use]
pub fn ring_lacks() -> Vec<RingLack> {
    let ring: io::Result<IoUring> = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(8);
    let ring = match ring {
        Ok(ring) => ring,
        Err(error) => return vec![denied(&error, io_uring_disabled(), has_seccomp_filter())],
    };
    let mut lacks = Vec::new();
    let params = ring.params();
    if !(params.is_feature_nodrop() && params.is_feature_ext_arg() && params.is_feature_skip_cqe_on_success()) {
        lacks.push(RingLack::TooOld { what: "NODROP, EXT_ARG or CQE_SKIP".to_owned() });
    }
    let mut operations = Probe::new();
    if let Err(error) = ring.submitter().register_probe(&mut operations) {
        lacks.push(denied(&error, io_uring_disabled(), has_seccomp_filter()));
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
        lacks.push(RingLack::TooOld { what: missing.join(", ") });
    }
    lacks
}

/// Who denies a ring, by the kernel's error, the switch for all processes, and whether this one is filtered. A filter may
/// answer with ENOSYS as well: Docker's does so for calls that it does not know.
fn denied(error: &io::Error, disabled: u32, is_filtered: bool) -> RingLack {
    match (error.raw_os_error(), disabled) {
        (Some(libc::EPERM), 1..) => RingLack::SwitchedOff { value: disabled },
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) if is_filtered => RingLack::Seccomp,
        (Some(libc::EPERM | libc::EACCES), _) => RingLack::Forbidden,
        (Some(libc::ENOSYS), _) => RingLack::NotBuilt,
        (Some(libc::ENOMEM), _) => RingLack::Memory,
        (Some(libc::EMFILE | libc::ENFILE), _) => RingLack::Descriptors,
        (Some(libc::EINVAL), _) => RingLack::TooOld { what: "DEFER_TASKRUN or SINGLE_ISSUER".to_owned() },
        _ => RingLack::Other { detail: error.to_string() },
    }
}

/// The value of `kernel.io_uring_disabled`; 0 where the kernel has no such switch.
fn io_uring_disabled() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Whether a seccomp filter judges the system calls of this process.
fn has_seccomp_filter() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_denies_a_ring_is_told_apart() {
        let by = |error, disabled, is_filtered| denied(&io::Error::from_raw_os_error(error), disabled, is_filtered);
        assert_eq!(by(libc::EPERM, 2, true), RingLack::SwitchedOff { value: 2 });
        assert_eq!(by(libc::EPERM, 0, true), RingLack::Seccomp);
        assert_eq!(by(libc::ENOSYS, 0, true), RingLack::Seccomp);
        assert_eq!(by(libc::EPERM, 0, false), RingLack::Forbidden);
        assert_eq!(by(libc::ENOSYS, 0, false), RingLack::NotBuilt);
        assert_eq!(by(libc::ENOMEM, 0, true), RingLack::Memory);
        assert!(matches!(by(libc::EINVAL, 0, false), RingLack::TooOld { .. }));
    }

    #[test]
    fn a_lack_names_its_remedy() {
        for (lack, words) in [
            (RingLack::SwitchedOff { value: 2 }, "sysctl -w kernel.io_uring_disabled=0"),
            (RingLack::SwitchedOff { value: 2 }, "/etc/sysctl.d/90-ouzel.conf"),
            (RingLack::SwitchedOff { value: 1 }, "/etc/sysctl.d/90-ouzel.conf"),
            (RingLack::SwitchedOff { value: 1 }, "io_uring_group"),
            (RingLack::Seccomp, "seccomp="),
            (RingLack::Memory, "LimitMEMLOCK"),
            (RingLack::TooOld { what: "MSG_RING".to_owned() }, "6.1"),
        ] {
            assert!(lack.remedy().contains(words), "{lack}");
        }
    }
}

"""Runs in the place of the broker, under the same unit, and tries what the unit says it may not do; and what the broker must do.

Its arguments are the limits that can be reached here of open files, and of locked memory in KiB.
"""
import ctypes
import errno
import mmap
import os
import resource
import socket
import sys

CLONE_NEWUSER, PTRACE_TRACEME = 0x10000000, 0
# The same on every architecture.
IO_URING_SETUP = 425
libc = ctypes.CDLL(None, use_errno=True)


def error_of(call):
    """Why a call is refused, or None where it is not."""
    try:
        call()
    except OSError as error:
        return error.errno
    return None


def plain(function, *arguments):
    """A function of libc, as one that raises."""
    if function(*arguments) == -1:
        raise OSError(ctypes.get_errno(), function.__name__)


def io_uring_setup():
    plain(libc.syscall, IO_URING_SETUP, 1, None)


def status(name):
    with open("/proc/self/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def uid_map():
    with open("/proc/self/uid_map") as lines:
        return lines.read().split()


def kibibytes(limit):
    return resource.RLIM_INFINITY if limit == "unlimited" else int(limit) * 1024


WRITE_AND_RUN = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
FILTERED = errno.EPERM
CHECKS = {
    "it is not root": os.getuid() != 0,
    "other users are nobody (PrivateUsers)": uid_map() != ["0", "0", "4294967295"],
    "it has no capabilities, and cannot get any": status("CapEff") == status("CapBnd") == "0" * 16 and status("NoNewPrivs") == "1",
    "a filter of system calls is there": status("Seccomp") == "2",
    "io_uring passes it": error_of(io_uring_setup) == errno.EFAULT,
    "ptrace does not": error_of(lambda: plain(libc.ptrace, PTRACE_TRACEME, 0, 0, 0)) == FILTERED,
    "no namespaces are made": error_of(lambda: plain(libc.unshare, CLONE_NEWUSER)) == FILTERED,
    "no memory is writable and executable": error_of(lambda: mmap.mmap(-1, 4096, prot=WRITE_AND_RUN)) in (FILTERED, errno.EACCES),
    "netlink is no family for it": error_of(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)) == errno.EAFNOSUPPORT,
    "the system is read-only": error_of(lambda: open("/usr/bin/probe", "w")) in (errno.EROFS, errno.EACCES)
    and bool(os.statvfs("/usr").f_flag & os.ST_RDONLY),
    "homes are closed": error_of(lambda: os.listdir("/home")) == errno.EACCES,
    "the machine's devices are not there": os.path.exists("/dev/null") and not os.path.exists("/dev/device-of-the-machine"),
    "it sees no other process": not os.path.exists("/proc/1"),
    "so many files may be open": resource.getrlimit(resource.RLIMIT_NOFILE)[1] == int(sys.argv[1]),
    "so much memory may be locked": resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == kibibytes(sys.argv[2]),
    "its data directory is writable": os.access("/var/lib/ouzel", os.W_OK),
}
wrong = [name for name, holds in CHECKS.items() if not holds]
print("\n".join(f"not so: {name}" for name in wrong))
sys.exit(bool(wrong))

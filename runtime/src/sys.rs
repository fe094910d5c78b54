//! Thin wrappers of system calls that std does not have. Decides nothing, keeps nothing. Any core.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

/// The result of a call that returns a negative number on failure.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    let fd = checked(fd)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A blocking eventfd: the ring waits for it by polling, and a non-blocking one would complete with EAGAIN.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })
}

/// A pipe, its reading end first. Reading waits; writing to a full pipe fails.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [libc::c_int; 2] = [-1; 2];
    // SAFETY: `ends` is room for two descriptors.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    let (reader, writer) = (owned(ends[0])?, owned(ends[1])?);
    // SAFETY: no memory is passed; the descriptor is ours.
    checked(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) })?;
    Ok((reader, writer))
}

/// Adds one to an eventfd. Cannot block in practice: that takes 2^64 - 2 signals that nobody reads.
pub(crate) fn eventfd_signal(fd: &OwnedFd) {
    poke_raw(fd.as_raw_fd());
}

/// Writes eight bytes, a counter of one, to an eventfd or to a pipe, whatever becomes of it: who reads wakes up. Safe to call
/// from a signal handler.
pub(crate) fn poke_raw(fd: RawFd) {
    let one: u64 = 1;
    loop {
        // SAFETY: `one` is eight readable bytes for the length of the call.
        let written = unsafe { libc::write(fd, (&raw const one).cast(), mem::size_of::<u64>()) };
        if written >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// An eventfd that is never waited for by reading it.
pub(crate) fn eventfd_nonblocking() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Takes all signals out of a non-blocking eventfd.
#[cfg(feature = "glommio")]
pub(crate) fn eventfd_clear(fd: &OwnedFd) {
    let mut count: u64 = 0;
    // SAFETY: `count` is eight writable bytes for the length of the call. EAGAIN says that there were no signals, and after
    // an interruption they are still there: the next sleep then ends early.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), mem::size_of::<u64>()) };
}

/// Private, zeroed, page-aligned memory outside the allocator.
pub(crate) struct Region {
    ptr: NonNull<u8>,
    bytes: usize,
}

impl Region {
    pub(crate) fn map(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.max(1).next_multiple_of(crate::buf::ALIGN);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address the kernel chooses overlaps nothing.
        let ptr = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if ptr == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ptr = NonNull::new(ptr.cast()).ok_or_else(|| io::Error::other("mmap returned address 0"))?;
        Ok(Self { ptr, bytes })
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping of `map`; its owner is going away, so nobody uses it any more.
        unsafe { libc::munmap(self.ptr.as_ptr().cast(), self.bytes) };
    }
}

/// Pins the calling thread to `cpu`.
pub(crate) fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    if cpu >= usize::try_from(libc::CPU_SETSIZE).unwrap_or(0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("there is no CPU {cpu}")));
    }
    // SAFETY: a cpu_set_t is plain bits; `cpu` is within it (checked above); the pointer and size describe the local set.
    checked(unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const set)
    })?;
    Ok(())
}

/// A new blocking TCP socket for addresses like `address`.
pub(crate) fn tcp_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let domain = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no memory is passed.
    owned(unsafe { libc::socket(domain, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })
}

/// A socket address as the kernel reads it.
pub(crate) struct RawAddress {
    storage: libc::sockaddr_storage,
    bytes: libc::socklen_t,
}

impl RawAddress {
    pub(crate) fn new(address: &SocketAddr) -> Self {
        // SAFETY: a sockaddr_storage is plain integers; all zeros is a value.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let target = (&raw mut storage).cast::<u8>();
        let bytes = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large enough and aligned for every address family, by definition.
                unsafe { target.cast::<libc::sockaddr_in>().write(raw) };
                mem::size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { target.cast::<libc::sockaddr_in6>().write(raw) };
                mem::size_of::<libc::sockaddr_in6>()
            }
        };
        Self { storage, bytes: bytes as libc::socklen_t }
    }

    pub(crate) fn as_raw(&self) -> (*const libc::sockaddr, libc::socklen_t) {
        ((&raw const self.storage).cast(), self.bytes)
    }
}

/// Fails every pending and later operation on a socket in both directions, or only later sends.
pub(crate) fn shutdown(fd: &OwnedFd, how: libc::c_int) {
    // SAFETY: no memory is passed. It fails only for a socket that is not connected (any more), which is what we want.
    unsafe { libc::shutdown(fd.as_raw_fd(), how) };
}

/// Extends a file by `fallocate`, so that the range reads as zeros and has its space.
pub(crate) fn allocate(fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<()> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "offset or length beyond 2^63");
    let (offset, bytes) = (i64::try_from(offset).map_err(invalid)?, i64::try_from(bytes).map_err(invalid)?);
    loop {
        // SAFETY: no memory is passed.
        match checked(unsafe { libc::fallocate(fd.as_raw_fd(), 0, offset, bytes) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

/// Bytes an unprivileged user may still write to the file system of `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = c_path(path)?;
    // SAFETY: `path` is a NUL-terminated string, `stat` a writable statvfs (plain integers).
    let stat = unsafe {
        let mut stat: libc::statvfs = mem::zeroed();
        checked(libc::statvfs(path.as_ptr(), &raw mut stat))?;
        stat
    };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Makes everything of the file system of `directory` durable; reports what failed since `directory` was opened.
pub(crate) fn sync_file_system(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed; nothing else is passed.
    checked(unsafe { libc::syncfs(directory.as_raw_fd()) }).map(drop)
}

/// The alignment that direct I/O on `path` needs, for memory and for offsets; `None` when the kernel does not say.
pub(crate) fn direct_io_align(path: &Path) -> io::Result<Option<(u32, u32)>> {
    const STATX_DIOALIGN: u32 = 0x2000;
    let path = c_path(path)?;
    // SAFETY: `path` is a NUL-terminated string, `stat` a writable statx (plain integers).
    let stat = unsafe {
        let mut stat: libc::statx = mem::zeroed();
        checked(libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, STATX_DIOALIGN, &raw mut stat))?;
        stat
    };
    Ok((stat.stx_mask & STATX_DIOALIGN != 0).then_some((stat.stx_dio_mem_align, stat.stx_dio_offset_align)))
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path with a NUL byte"))
}

/// The soft and the hard limit of a resource.
pub(crate) fn resource_limit(resource: libc::__rlimit_resource_t) -> io::Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a writable rlimit.
    checked(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    Ok((limit.rlim_cur, limit.rlim_max))
}

/// Sets the soft limit of a resource, keeping the hard one.
pub(crate) fn set_resource_limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is a readable rlimit.
    checked(unsafe { libc::setrlimit(resource, &raw const limit) }).map(drop)
}

/// Whether a time service disciplines the clock, and the largest error in microseconds that it believes in. Changes nothing.
pub(crate) fn clock_discipline() -> io::Result<(bool, u64)> {
    // SAFETY: a timex is plain integers; all zeros is a value, whose `modes` of 0 asks and changes nothing.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = mem::zeroed();
        (checked(libc::adjtimex(&raw mut timex))?, timex)
    };
    Ok((state != libc::TIME_ERROR, u64::try_from(timex.maxerror).unwrap_or(0)))
}

/// Calls `handler` for signal `number` from now on, restarting interrupted calls. The handler must be async-signal-safe.
pub(crate) fn handle_signal(number: libc::c_int, handler: extern "C" fn(libc::c_int)) -> io::Result<()> {
    // SAFETY: a sigaction is plain integers and pointers; all zeros (an empty mask) is a value. The handler has the
    // signature that a sigaction without SA_SIGINFO is called with, and its caller promises that it is signal-safe.
    checked(unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(number, &raw const action, std::ptr::null_mut())
    })
    .map(drop)
}

//! What stands on the disk: a loop device on its file, and ext4 on that, mounted in a directory. Owns the making and the
//! taking down of all three, and never touches a loop device or a mount that it did not make: a device is ours only while
//! its backing file is ours. Blocks; runs on the control thread, or in the guard.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::file_system::FILE_NAME;

/// How long a mount may stay busy: the kernel closes the files of a killed process, io_uring's among them, a moment after
/// the process was reaped.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(20);
const BUSY_POLL: Duration = Duration::from_millis(5);

/// Where everything of one disk lies.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    root: PathBuf,
}

impl Places {
    /// `root` must exist; it is made absolute, as the kernel names it in `/sys` and `/proc/mounts`.
    ///
    /// # Errors
    /// It does not exist.
    pub(crate) fn new(root: &Path) -> Result<Places> {
        let root = root.canonicalize().with_context(|| format!("no directory {}", root.display()))?;
        Ok(Places { root })
    }

    /// Mount point of the FUSE file system.
    pub(crate) fn fuse(&self) -> PathBuf {
        self.root.join("fuse")
    }

    /// The disk as a file.
    pub(crate) fn disk(&self) -> PathBuf {
        self.fuse().join(FILE_NAME)
    }

    /// Mount point of ext4: what a process under test writes to.
    pub(crate) fn mount(&self) -> PathBuf {
        self.root.join("mnt")
    }

    /// The image behind the disk, where that is a file.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join("image")
    }

    /// The control socket.
    pub(crate) fn control(&self) -> PathBuf {
        self.root.join("control")
    }
}

/// Runs a program to its end and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot run {program}; is it installed (Debian: e2fsprogs, util-linux)?"))?;
    if !output.status.success() {
        bail!("{program} {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The loop devices (`/dev/loopN`) whose backing file is the disk of `places`.
fn loop_devices(places: &Places) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    let ours = entries.flatten().filter(|entry| {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        Path::new(backing.trim_end_matches('\n')) == places.disk()
    });
    ours.map(|entry| Path::new("/dev").join(entry.file_name())).collect()
}

/// Sets up a loop device on the disk and returns its path.
///
/// # Errors
/// No loop device is to be had, or the kernel does not do direct I/O on the file.
pub(crate) fn attach(places: &Places) -> Result<PathBuf> {
    let disk = places.disk();
    let disk = disk.to_str().context("the directory has a name that is not UTF-8")?;
    let device = PathBuf::from(run("losetup", &["--find", "--show", "--direct-io=on", disk])?);
    let name = device.file_name().context("losetup printed no device")?;
    let direct = fs::read_to_string(Path::new("/sys/block").join(name).join("loop/dio")).unwrap_or_default();
    // The page cache of the disk's file would be written out after a cut, and nothing would ever be lost.
    ensure!(direct.trim() == "1", "{} does no direct I/O on {disk}", device.display());
    Ok(device)
}

/// Makes a fresh ext4 on `device`.
///
/// # Errors
/// mkfs.ext4 failed.
pub(crate) fn make_file_system(device: &Path) -> Result<()> {
    let device = device.to_str().context("a device has a plain name")?;
    // All tables are written now, so that no kernel thread writes behind the test's back later.
    let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-m", "0", "-E", options, device]).map(drop)
}

/// Mounts the ext4 of `device`; its journal is replayed if the power had been cut.
///
/// # Errors
/// The kernel refuses the file system.
pub(crate) fn mount(places: &Places, device: &Path) -> Result<()> {
    rustix::mount::mount(device, places.mount(), "ext4", MountFlags::NOATIME | MountFlags::NODEV, None)
        .with_context(|| format!("cannot mount {} on {}", device.display(), places.mount().display()))
}

/// Takes ext4 and the loop device away, as far as they are there.
///
/// # Errors
/// Something holds the mount or the device.
pub(crate) fn detach(places: &Places) -> Result<()> {
    let deadline = Instant::now() + BUSY_WAIT_MAX;
    let mount = places.mount();
    loop {
        match rustix::mount::unmount(&mount, UnmountFlags::empty()) {
            // Not a mount point, or not there at all.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => break,
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(BUSY_POLL),
            Err(error) => {
                return Err(io::Error::from(error)).with_context(|| format!("cannot unmount {}", mount.display()));
            }
        }
    }
    for device in loop_devices(places) {
        run("losetup", &["--detach", device.to_str().context("a device has a plain name")?])?;
    }
    // The kernel lets go of the device when its last user has closed it.
    while !loop_devices(places).is_empty() {
        ensure!(Instant::now() < deadline, "the loop device on {} does not go away", places.disk().display());
        std::thread::sleep(BUSY_POLL);
    }
    Ok(())
}

/// Takes everything away whatever state it is in: what still has a user is unlinked from the tree and goes with it.
pub(crate) fn tear_down(places: &Places) {
    if let Err(error) = detach(places) {
        eprintln!("ouzel-vdisk: {error:#}");
        // Each of these fails where there is nothing left to take away.
        let _ = rustix::mount::unmount(places.mount(), UnmountFlags::DETACH);
        for device in loop_devices(places) {
            let _ = run("losetup", &["--detach", &device.to_string_lossy()]);
        }
    }
    let _ = rustix::mount::unmount(places.fuse(), UnmountFlags::DETACH);
    let _ = fs::remove_file(places.control());
    let _ = fs::remove_dir(places.mount());
    let _ = fs::remove_dir(places.fuse());
}

//! Whether a directory's file system has direct I/O, and in which blocks. Writes and reads one block of a file that has no name
//! any more, so that nothing is left behind.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::buf::{ALIGN, AlignedBuf};
use crate::fs::{OpenMode, open_direct};
use crate::sys;

/// Why there is no direct I/O in a directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectIoLack {
    /// The file system does not know it.
    #[error("the file system of {} has no direct I/O (O_DIRECT)", .dir.display())]
    NotThere {
        /// The directory.
        dir: PathBuf,
    },
    /// No file can be made there.
    #[error("no file can be created in {} ({source})", .dir.display())]
    Create {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A block cannot be written and read back.
    #[error("a direct write of {ALIGN} bytes in {} failed ({source})", .dir.display())]
    Write {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Its blocks are larger than ours.
    #[error("direct I/O in {} needs blocks of {align} bytes, and ours have {ALIGN}", .dir.display())]
    Blocks {
        /// The directory.
        dir: PathBuf,
        /// Bytes of a block.
        align: usize,
    },
}

impl DirectIoLack {
    /// What helps, as an instruction without its full stop.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotThere { .. } => "put the data directory on ext4 or XFS",
            Self::Create { source, .. } if source.raw_os_error() == Some(libc::EROFS) => {
                "mount the file system for writing (`mount -o remount,rw`, and no `ro` in /etc/fstab), or choose another --data-dir"
            }
            Self::Create { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => "free space or inodes there",
            Self::Create { .. } => "make the directory writable for this user, or choose another --data-dir",
            Self::Write { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => "free space there",
            Self::Write { .. } => "put the data directory on ext4 or XFS, and look at `dmesg`",
            Self::Blocks { .. } => "put the data directory on a device with blocks of 4096 bytes or fewer",
        }
    }
}

/// Writes and reads one block directly. Returns the alignment in bytes that direct I/O in `dir` needs.
///
/// # Errors
/// [`DirectIoLack`] (operator).
pub fn direct_io(dir: &Path) -> Result<usize, DirectIoLack> {
    let owned = || dir.to_owned();
    let file = nameless_file(dir).map_err(|source| match source.raw_os_error() {
        Some(libc::EINVAL) => DirectIoLack::NotThere { dir: owned() },
        _ => DirectIoLack::Create { dir: owned(), source },
    })?;
    write_and_read(&file).map_err(|source| DirectIoLack::Write { dir: owned(), source })?;
    // An open file's own path: its name is gone.
    let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let align = match sys::direct_io_align(&by_descriptor) {
        // A kernel or file system that does not say: the write above has shown that `ALIGN` works.
        Ok(None) | Err(_) => ALIGN,
        Ok(Some((memory, offset))) => memory.max(offset) as usize,
    };
    if align > ALIGN { Err(DirectIoLack::Blocks { dir: owned(), align }) } else { Ok(align.max(1)) }
}

/// A new file for direct I/O whose name is gone already, so that it goes with the process, whatever ends that.
pub(super) fn nameless_file(dir: &Path) -> io::Result<File> {
    let path = dir.join(format!(".probe-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    // A file system that refuses O_DIRECT may have made the file first.
    let file = open_direct(&path, OpenMode::Create);
    drop(std::fs::remove_file(&path));
    file
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let lack = direct_io(Path::new("/nowhere/at/all")).expect_err("there is no such directory");
        assert!(matches!(lack, DirectIoLack::Create { .. }));
        assert!(lack.to_string().contains("/nowhere/at/all"), "{lack}");
    }

    #[test]
    fn nothing_is_left_behind() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a temporary directory");
        direct_io(dir.path()).expect("a file system with direct I/O");
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}

//! The data directory, or where it will be: whether it can be made and written, and whether it has direct I/O. Makes nothing but
//! a file without a name. Owns the search for the nearest directory that exists.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ouzel_runtime::host::{DirectIoLack, direct_io};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::finding::{Finding, shell_word};

/// Where the data are to be, and where that can be looked at now.
#[derive(Debug)]
pub(super) struct Place {
    /// The data directory, as it was named.
    pub(super) data_dir: PathBuf,
    /// It, or the nearest directory above it that exists: the same file system, unless something is mounted in between.
    pub(super) measured: PathBuf,
    /// What is in the way of either.
    fault: Option<Fault>,
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// Something with this name is no directory.
    NotADirectory(PathBuf),
    /// It cannot be looked at: the kernel's words.
    Unreachable(PathBuf, String),
}

impl Place {
    /// Finds the nearest directory that exists.
    pub(super) fn find(data_dir: &Path) -> Self {
        let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let mut fault = None;
        for dir in absolute.ancestors() {
            match std::fs::metadata(dir) {
                Ok(metadata) if metadata.is_dir() => {
                    return Self { data_dir: absolute.clone(), measured: dir.to_owned(), fault };
                }
                Ok(_) => fault = Some(Fault::NotADirectory(dir.to_owned())),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => fault = Some(Fault::Unreachable(dir.to_owned(), error.to_string())),
            }
        }
        Self { data_dir: absolute, measured: PathBuf::from("/"), fault }
    }

    fn exists(&self) -> bool {
        self.data_dir == self.measured
    }

    /// Whether it can be used.
    pub(super) fn look(&self) -> Option<Finding> {
        let check = "data directory";
        let (shown, measured) = (self.data_dir.display(), self.measured.display());
        match &self.fault {
            Some(Fault::NotADirectory(path)) => {
                let seen = format!("{} is no directory", path.display());
                return Some(Finding::blocking(check, seen, "choose another --data-dir, or move that file away"));
            }
            Some(Fault::Unreachable(path, error)) => {
                let seen = format!("{} cannot be looked at: {error}", path.display());
                let above = path.parent().unwrap_or(path).display().to_string();
                let remedy = format!("sudo chmod a+x {}", shell_word(&above));
                return Some(Finding::blocking(check, seen, remedy));
            }
            None => {}
        }
        // What is denied for other reasons, a read-only file system among them, direct I/O below finds as well and names.
        let denied = accessat(CWD, &self.measured, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).err();
        match denied {
            Some(rustix::io::Errno::ACCESS) => Some(Finding::blocking(
                check,
                format!("{measured} cannot be written by this user"),
                format!("sudo install -d -m 0750 -o \"$(id -un)\" -g \"$(id -gn)\" {}", shell_word(&shown.to_string())),
            )),
            _ if self.exists() => Some(Finding::good(check, format!("{shown} is there"))),
            _ => Some(Finding::good(check, format!("{shown} will be made; measured in {measured}"))),
        }
    }

    /// Whether direct I/O works there.
    pub(super) fn look_at_direct_io(&self) -> Finding {
        match direct_io(&self.measured) {
            Ok(align) => Finding::good("direct I/O", format!("works, in blocks of {align} bytes; ours have 4096")),
            Err(lack) => {
                let check = match lack {
                    DirectIoLack::Blocks { .. } => "alignment",
                    _ => "direct I/O",
                };
                Finding::blocking(check, lack.to_string(), lack.remedy())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn the_nearest_directory_is_found_and_what_is_none_is_in_the_way() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let place = Place::find(&root.path().join("a/b"));
        assert_eq!(place.measured, root.path());
        assert_eq!(place.look().expect("a finding").state, State::Good);
        std::fs::write(root.path().join("file"), "").expect("file");
        let below = Place::find(&root.path().join("file/data"));
        let finding = below.look().expect("a finding");
        assert_eq!(finding.state, State::Blocking);
        assert!(finding.seen.contains("file is no directory"), "{finding:?}");
        assert!(Place::find(root.path()).exists());
    }
}

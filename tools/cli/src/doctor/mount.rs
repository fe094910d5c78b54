//! The file system that the data are on: what it is, and how it is mounted. Owns the reading of `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

use super::finding::{Finding, shell_word};

/// File systems that keep nothing once the power is gone.
const IN_MEMORY: &[&str] = &["tmpfs", "ramfs", "hugetlbfs"];
/// Those that the broker is tested on.
const KNOWN: &[&str] = &["ext4", "xfs"];

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub(super) point: PathBuf,
    /// Of which type.
    pub(super) kind: String,
    /// What of: a device, mostly.
    pub(super) source: String,
    options: Vec<String>,
}

impl Mount {
    /// The one that `dir` lies on; `None` where `/proc` does not say.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let dir = dir.canonicalize().ok()?;
        Self::find(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &dir)
    }

    /// The last of those with the longest mount point: it hides the others.
    fn find(mountinfo: &str, dir: &Path) -> Option<Self> {
        let mounts = mountinfo.lines().filter_map(Self::parse).filter(|mount| dir.starts_with(&mount.point));
        mounts.max_by_key(|mount| mount.point.components().count())
    }

    /// A line of proc_pid_mountinfo(5).
    fn parse(line: &str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(4);
        let (point, of_mount) = (front.next()?, front.next()?);
        let mut back = back.split(' ');
        let (kind, source, of_file_system) = (back.next()?, back.next()?, back.next().unwrap_or(""));
        let options = of_mount.split(',').chain(of_file_system.split(',')).map(str::to_owned).collect();
        Some(Self { point: unescape(point).into(), kind: kind.to_owned(), source: unescape(source), options })
    }

    #[cfg(test)]
    pub(super) fn with(point: &str, kind: &str, options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { point: point.into(), kind: kind.to_owned(), source: "/dev/sda".to_owned(), options }
    }

    /// Whether its files are nowhere but in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        IN_MEMORY.contains(&self.kind.as_str())
    }

    /// The option that keeps flushes from the device, if there is one.
    pub(super) fn flush_suppressor(&self) -> Option<&str> {
        self.options.iter().map(String::as_str).find(|option| matches!(*option, "nobarrier" | "barrier=0"))
    }

    fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }
}

/// Spaces and the like stand as three octal digits there.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// Looks at the file system that `data_dir` is on.
pub(super) fn look(mount: &Mount, data_dir: &Path) -> Finding {
    let check = "file system";
    let (point, kind) = (mount.point.display(), &mount.kind);
    let seen = format!("{kind} on {} at {point}", mount.source);
    if mount.is_read_only() {
        let point = shell_word(&point.to_string());
        let remedy =
            format!("mount -o remount,rw {point}; for the boots after this one take ro out of its line in /etc/fstab");
        return Finding::blocking(check, format!("{seen}, read-only"), remedy);
    }
    if mount.is_in_memory() {
        return Finding::wanting(
            check,
            format!("{seen}: it is memory, and a restart of the host loses everything"),
            "choose a --data-dir on ext4 or XFS on a disk",
        );
    }
    if !KNOWN.contains(&kind.as_str()) {
        let data_dir = data_dir.display().to_string();
        let dir = shell_word(&data_dir);
        return Finding::wanting(
            check,
            format!("{seen}: the broker is tested on ext4 and XFS"),
            format!(
                "give the data an empty disk, here /dev/DISK: mkfs.xfs /dev/DISK && mkdir -p {dir} && mount /dev/DISK {dir}; for the boots after this one, in /etc/fstab: /dev/DISK {} xfs defaults 0 2",
                data_dir.replace(' ', "\\040")
            ),
        );
    }
    Finding::good(check, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
23 22 0:5 / /dev/shm rw,nosuid - tmpfs tmpfs rw
24 22 8:1 / /srv/a\\040b rw,noatime - xfs /dev/sda1 rw,nobarrier
25 22 7:0 / /mnt ro,relatime - ext4 /dev/loop0 ro";

    fn mount(dir: &str) -> Mount {
        Mount::find(MOUNTS, Path::new(dir)).expect("a mount")
    }

    #[test]
    fn the_nearest_mount_counts_with_the_options_of_both_lists() {
        assert_eq!(mount("/home/x").kind, "ext4");
        assert_eq!(mount("/dev/shm/x").kind, "tmpfs");
        let xfs = mount("/srv/a b/data");
        assert_eq!((xfs.kind.as_str(), xfs.source.as_str()), ("xfs", "/dev/sda1"));
        assert_eq!(xfs.flush_suppressor(), Some("nobarrier"));
        assert_eq!(mount("/home").flush_suppressor(), None);
    }

    #[test]
    fn memory_is_wanting_and_read_only_is_in_the_way() {
        for (dir, state) in [("/home", State::Good), ("/dev/shm", State::Wanting), ("/mnt", State::Blocking)] {
            assert_eq!(look(&mount(dir), Path::new(dir)).state, state, "{dir}");
        }
        let remedy = look(&mount("/mnt"), Path::new("/mnt")).remedy.expect("a remedy");
        assert!(remedy.starts_with("mount -o remount,rw /mnt;") && remedy.contains("/etc/fstab"), "{remedy}");
    }

    #[test]
    fn a_file_system_of_its_own_is_made_where_the_data_are_to_be() {
        let overlay = Mount::with("/", "overlay", &["rw"]);
        let remedy = look(&overlay, Path::new("/srv/a b")).remedy.expect("a remedy");
        assert!(
            remedy.contains("mkfs.xfs /dev/DISK && mkdir -p '/srv/a b' && mount /dev/DISK '/srv/a b';"),
            "{remedy}"
        );
        assert!(remedy.ends_with("/etc/fstab: /dev/DISK /srv/a\\040b xfs defaults 0 2"), "{remedy}");
    }

    #[test]
    fn lines_that_are_cut_are_no_mounts() {
        for line in ["", " - ", "1 2 3 4", "22 1 254:0 / / - ext4", "22 1 254:0 / / rw - "] {
            assert_eq!(Mount::parse(line), None, "{line}");
        }
    }
}

//! The block device under the data: what the kernel knows of its cache, and whether a host stands in front of the real one. Owns
//! the reading of `/sys`; judges nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::mount::Mount;

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Its name in `/dev`.
    pub(super) name: String,
    /// What it calls itself.
    pub(super) model: Option<String>,
    /// Whether it says that writes stay in a cache until they are flushed.
    pub(super) has_volatile_cache: bool,
    /// Whether it turns.
    pub(super) is_rotational: bool,
}

impl Device {
    /// The device that `dir` lies on; `None` for file systems that have none.
    pub(super) fn of(dir: &Path, mount: Option<&Mount>) -> Option<Self> {
        let number = std::fs::metadata(dir).ok()?.dev();
        // File systems over several devices have a number of their own, and name one of the devices as their source.
        Self::read(&sys_path(number)).or_else(|| {
            let source = std::fs::metadata(&mount?.source).ok()?;
            Self::read(&sys_path(source.rdev()))
        })
    }

    fn read(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        // A partition has no queue of its own: its disk has.
        let disk = path.ancestors().take(2).find(|path| path.join("queue").is_dir())?;
        let text = |name: &str| std::fs::read_to_string(disk.join(name)).ok().map(|text| text.trim().to_owned());
        Some(Self {
            name: disk.file_name()?.to_string_lossy().into_owned(),
            model: text("device/model").filter(|model| !model.is_empty()),
            has_volatile_cache: text("queue/write_cache")? == "write back",
            is_rotational: text("queue/rotational").is_some_and(|flag| flag == "1"),
        })
    }

    /// Whether it is a disk of a virtual machine, or a file: somebody else decides what a flush does.
    pub(super) fn is_virtual(&self) -> bool {
        let is_named = ["vd", "xvd", "loop", "nbd"].iter().any(|prefix| self.name.starts_with(prefix));
        is_named || self.model.as_deref().is_some_and(|model| model.contains("QEMU") || model.contains("Virtual"))
    }

    /// Whether it is memory by another name.
    pub(super) fn is_in_memory(&self) -> bool {
        ["ram", "zram"].iter().any(|prefix| self.name.starts_with(prefix))
    }

    /// Its name and model.
    pub(super) fn shown(&self) -> String {
        match &self.model {
            Some(model) => format!("{} ({model})", self.name),
            None => self.name.clone(),
        }
    }
}

fn sys_path(number: u64) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", major(number), minor(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_told_by_its_disk_and_what_has_no_queue_is_no_device() {
        let sys = tempfile::tempdir().expect("a temporary directory");
        let disk = sys.path().join("sda");
        std::fs::create_dir_all(disk.join("queue")).expect("made");
        std::fs::create_dir_all(disk.join("device")).expect("made");
        std::fs::create_dir_all(disk.join("sda1")).expect("made");
        for (name, text) in
            [("queue/write_cache", "write back\n"), ("queue/rotational", "1\n"), ("device/model", "WDC\n")]
        {
            std::fs::write(disk.join(name), text).expect("written");
        }
        let device = Device::read(&disk.join("sda1")).expect("a device");
        assert_eq!(device, Device::read(&disk).expect("the same"));
        assert!(device.has_volatile_cache && device.is_rotational && !device.is_virtual());
        assert_eq!(device.shown(), "sda (WDC)");
        assert_eq!(Device::read(sys.path()), None);
    }

    #[test]
    fn disks_of_virtual_machines_and_of_memory_are_known_by_name() {
        let named =
            |name: &str| Device { name: name.to_owned(), model: None, has_volatile_cache: true, is_rotational: false };
        assert!(named("vda").is_virtual() && named("loop3").is_virtual() && !named("nvme0n1").is_virtual());
        assert!(named("zram0").is_in_memory() && !named("sda").is_in_memory());
    }
}

//! The block device under the data: what the kernel knows of its cache, and whether a host stands in front of the real one. A
//! device that is made of others (LVM, LUKS, MD) is what the worst of them is. Owns the reading of `/sys`; judges nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::mount::Mount;

/// Devices that stand on each other at most: the kernel has no circles, and nobody builds higher.
const HEIGHT_MAX: usize = 16;

/// A block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// Its name in `/dev`.
    pub(super) name: String,
    /// What it calls itself.
    pub(super) model: Option<String>,
    /// Whether it says, or one that it is made of, that writes stay in a cache until they are flushed.
    pub(super) has_volatile_cache: bool,
    /// Whether it turns, or one that it is made of.
    pub(super) is_rotational: bool,
    /// What it is made of, where the kernel made it of others.
    pub(super) below: Vec<Device>,
}

impl Device {
    /// The device that `dir` lies on; `None` for file systems that have none, and where one of those below cannot be looked at.
    pub(super) fn of(dir: &Path, mount: Option<&Mount>) -> Option<Self> {
        let number = std::fs::metadata(dir).ok()?.dev();
        // File systems over several devices have a number of their own, and name one of the devices as their source.
        Self::read(&sys_path(number), HEIGHT_MAX).or_else(|| {
            let source = std::fs::metadata(&mount?.source).ok()?;
            Self::read(&sys_path(source.rdev()), HEIGHT_MAX)
        })
    }

    fn read(path: &Path, height: usize) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        // A partition has no queue of its own: its disk has.
        let disk = path.ancestors().take(2).find(|path| path.join("queue").is_dir())?;
        let text = |name: &str| std::fs::read_to_string(disk.join(name)).ok().map(|text| text.trim().to_owned());
        let below = slaves(disk).into_iter().map(|slave| Self::read(&slave, height.checked_sub(1)?));
        let below: Vec<Device> = below.collect::<Option<_>>()?;
        let is_any = |of: fn(&Device) -> bool| below.iter().any(of);
        Some(Self {
            name: disk.file_name()?.to_string_lossy().into_owned(),
            model: text("device/model").filter(|model| !model.is_empty()),
            has_volatile_cache: text("queue/write_cache")? == "write back"
                || is_any(|device| device.has_volatile_cache),
            is_rotational: text("queue/rotational").is_some_and(|flag| flag == "1")
                || is_any(|device| device.is_rotational),
            below,
        })
    }

    /// The devices that are made of no others: where the bytes really go.
    pub(super) fn leaves(&self) -> Vec<&Device> {
        if self.below.is_empty() { vec![self] } else { self.below.iter().flat_map(Device::leaves).collect() }
    }

    /// Whether a disk of a virtual machine, or a file, is among those that it is made of: somebody else decides what a flush does.
    pub(super) fn is_virtual(&self) -> bool {
        self.leaves().into_iter().any(|leaf| {
            let is_named = ["vd", "xvd", "loop", "nbd"].iter().any(|prefix| leaf.name.starts_with(prefix));
            is_named || leaf.model.as_deref().is_some_and(|model| model.contains("QEMU") || model.contains("Virtual"))
        })
    }

    /// Whether memory by another name is among those that it is made of.
    pub(super) fn is_in_memory(&self) -> bool {
        self.leaves().into_iter().any(|leaf| ["ram", "zram"].iter().any(|prefix| leaf.name.starts_with(prefix)))
    }

    /// Its name, its model, and what it is made of.
    pub(super) fn shown(&self) -> String {
        let own = match &self.model {
            Some(model) => format!("{} ({model})", self.name),
            None => self.name.clone(),
        };
        if self.below.is_empty() {
            return own;
        }
        let leaves: Vec<String> = self.leaves().into_iter().map(Device::shown).collect();
        format!("{own} on {}", leaves.join(", "))
    }
}

fn sys_path(number: u64) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", major(number), minor(number)))
}

/// The devices that a disk is made of, in the order of their names.
fn slaves(disk: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(disk.join("slaves")).into_iter().flatten().flatten();
    let mut slaves: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    slaves.sort();
    slaves
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk in a `/sys` of our own.
    fn disk(sys: &Path, name: &str, cache: &str, model: Option<&str>) {
        let disk = sys.join(name);
        for dir in ["queue", "slaves", "device"] {
            std::fs::create_dir_all(disk.join(dir)).expect("made");
        }
        // A partition.
        std::fs::create_dir_all(disk.join(format!("{name}1"))).expect("made");
        std::fs::write(disk.join("queue/write_cache"), format!("{cache}\n")).expect("written");
        std::fs::write(disk.join("queue/rotational"), "0\n").expect("written");
        if let Some(model) = model {
            std::fs::write(disk.join("device/model"), format!("{model}\n")).expect("written");
        }
    }

    fn made_of(sys: &Path, name: &str, slaves: &[&str]) {
        disk(sys, name, "write through", None);
        for slave in slaves {
            let link = sys.join(name).join("slaves").join(Path::new(slave).file_name().expect("a name"));
            std::os::unix::fs::symlink(Path::new("../..").join(slave), link).expect("linked");
        }
    }

    #[test]
    fn a_partition_is_told_by_its_disk_and_what_has_no_queue_is_no_device() {
        let sys = tempfile::tempdir().expect("a temporary directory");
        disk(sys.path(), "sda", "write back", Some("WDC"));
        std::fs::write(sys.path().join("sda/queue/rotational"), "1\n").expect("written");
        let device = Device::read(&sys.path().join("sda/sda1"), HEIGHT_MAX).expect("a device");
        assert_eq!(Some(&device), Device::read(&sys.path().join("sda"), HEIGHT_MAX).as_ref());
        assert!(device.has_volatile_cache && device.is_rotational && !device.is_virtual());
        assert_eq!(device.shown(), "sda (WDC)");
        assert_eq!(Device::read(sys.path(), HEIGHT_MAX), None);
    }

    #[test]
    fn a_device_that_is_made_of_others_is_what_the_worst_of_them_is() {
        let sys = tempfile::tempdir().expect("a temporary directory");
        let sys = sys.path();
        disk(sys, "sda", "write back", Some("WDC"));
        disk(sys, "sdb", "write through", Some("QEMU HARDDISK"));
        disk(sys, "nvme0n1", "write through", Some("Samsung"));
        disk(sys, "vda", "write through", None);
        disk(sys, "zram0", "write through", None);
        // LUKS in a volume of LVM in a partition of a virtual machine's disk.
        made_of(sys, "dm-0", &["vda/vda1"]);
        made_of(sys, "dm-1", &["dm-0"]);
        made_of(sys, "md0", &["nvme0n1", "sda/sda1"]);
        made_of(sys, "md1", &["nvme0n1", "sdb"]);
        made_of(sys, "dm-2", &["nvme0n1", "zram0"]);
        made_of(sys, "dm-3", &["nvme0n1"]);
        for (name, is_virtual, has_cache, is_in_memory, shown) in [
            ("dm-1", true, false, false, "dm-1 on vda"),
            ("md0", false, true, false, "md0 on nvme0n1 (Samsung), sda (WDC)"),
            ("md0/md01", false, true, false, "md0 on nvme0n1 (Samsung), sda (WDC)"),
            ("md1", true, false, false, "md1 on nvme0n1 (Samsung), sdb (QEMU HARDDISK)"),
            ("dm-2", false, false, true, "dm-2 on nvme0n1 (Samsung), zram0"),
            ("dm-3", false, false, false, "dm-3 on nvme0n1 (Samsung)"),
        ] {
            let device = Device::read(&sys.join(name), HEIGHT_MAX).expect(name);
            assert_eq!(
                (device.is_virtual(), device.has_volatile_cache, device.is_in_memory(), device.shown().as_str()),
                (is_virtual, has_cache, is_in_memory, shown)
            );
        }
        made_of(sys, "dm-4", &["nvme0n1", "gone"]);
        assert_eq!(Device::read(&sys.join("dm-4"), HEIGHT_MAX), None, "one that cannot be looked at may be the worst");
        made_of(sys, "dm-5", &["dm-5"]);
        assert_eq!(Device::read(&sys.join("dm-5"), HEIGHT_MAX), None);
    }

    #[test]
    fn disks_of_virtual_machines_and_of_memory_are_known_by_name() {
        let named = |name: &str| Device {
            name: name.to_owned(),
            model: None,
            has_volatile_cache: true,
            is_rotational: false,
            below: Vec::new(),
        };
        assert!(named("vda").is_virtual() && named("loop3").is_virtual() && !named("nvme0n1").is_virtual());
        assert!(named("zram0").is_in_memory() && !named("sda").is_in_memory());
    }
}

//! What a flush takes, and whether it can have happened in that time. Owns the bounds that physics sets and the judgement by
//! them; the measuring is the runtime's.

use std::io;
use std::path::Path;
use std::time::Duration;

use ouzel_runtime::host::FlushTimes;

use super::device::Device;
use super::finding::{Finding, shell_word};
use super::mount::Mount;

/// A disk that turns must wait for the place of the write: a turn takes 4 ms at 15,000 a minute. Below a quarter of that, half
/// of the time, it has not waited.
const ROTATION_MIN: Duration = Duration::from_millis(1);
/// The fastest flash takes some 60 us to program a page. A device that says it has a volatile cache and empties it in less has
/// not emptied it, or its cache is protected and it does not say so.
const PROGRAM_MIN: Duration = Duration::from_micros(50);
/// Flushes above this make every acknowledgement slow.
const SLOW: Duration = Duration::from_millis(20);

/// What a completed flush is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Honesty {
    /// Nothing: it is memory.
    Memory,
    /// Nothing: the kernel sends the device none.
    Suppressed,
    /// Nothing, as it seems: it is faster than the medium can be.
    TooFast,
    /// What the host of the virtual machine makes of it.
    OfHost,
    /// The device has no volatile cache, it says: what is written is durable.
    NoCache,
    /// The device empties its cache, and takes as long as that does.
    Plausible,
    /// Unknown: there is no one device to ask, or nothing was measured.
    Unknown,
}

/// Judges flushes by where they go and how long they take.
pub(super) fn honesty(mount: Option<&Mount>, device: Option<&Device>, times: Option<&FlushTimes>) -> Honesty {
    if mount.is_some_and(Mount::is_in_memory) || device.is_some_and(Device::is_in_memory) {
        return Honesty::Memory;
    }
    if mount.is_some_and(|mount| mount.flush_suppressor().is_some()) {
        return Honesty::Suppressed;
    }
    let (Some(device), Some(times)) = (device, times) else { return Honesty::Unknown };
    let flush = FlushTimes::percentile(&times.flushes, 0.5);
    let commit = FlushTimes::percentile(&times.commits, 0.5);
    if device.is_rotational && !device.is_virtual() && commit < ROTATION_MIN {
        return Honesty::TooFast;
    }
    // A virtual disk is often called rotational where nothing turns.
    match device.has_volatile_cache {
        true if flush < PROGRAM_MIN => Honesty::TooFast,
        _ if device.is_virtual() => Honesty::OfHost,
        true => Honesty::Plausible,
        false => Honesty::NoCache,
    }
}

impl Honesty {
    /// Whether what is acknowledged survives a loss of power, as far as can be seen.
    pub(super) fn is_durable(self) -> bool {
        !matches!(self, Honesty::Memory | Honesty::Suppressed | Honesty::TooFast)
    }

    /// In words, with what changes it.
    pub(super) fn look(self, mount: Option<&Mount>, device: Option<&Device>) -> Finding {
        let check = "honest flush";
        let name = device.map_or_else(|| "the device".to_owned(), Device::shown);
        match self {
            Honesty::Memory => Finding::wanting(
                check,
                "a flush to memory makes nothing durable",
                "choose a --data-dir on ext4 or XFS on a disk",
            ),
            Honesty::Suppressed => {
                let option = mount.and_then(Mount::flush_suppressor).unwrap_or("nobarrier");
                let point = mount.map_or_else(|| "/".into(), |mount| shell_word(&mount.point.display().to_string()));
                // btrfs knows no barrier=1.
                let cure = if mount.is_some_and(|mount| mount.kind == "btrfs") { "barrier" } else { "barrier=1" };
                Finding::wanting(
                    check,
                    format!(
                        "mounted with {option}: the kernel sends {name} no flush, and a loss of power loses acknowledged records"
                    ),
                    format!(
                        "mount -o remount,{cure} {point}; for the boots after this one take {option} out of its line in /etc/fstab"
                    ),
                )
            }
            Honesty::TooFast => {
                let remedy = match device {
                    Some(device) if !device.is_virtual() => without_cache(device),
                    _ => "set the disk's cache mode on the virtualisation host to none or directsync (qemu: `cache=none`)"
                        .to_owned(),
                };
                Finding::wanting(
                    check,
                    format!(
                        "{name} has a volatile cache and empties it faster than any medium takes it: it seems to lie, or the cache is protected against loss of power and it does not say so"
                    ),
                    remedy,
                )
            }
            Honesty::OfHost => Finding::good(
                check,
                format!(
                    "{name} is a virtual disk and takes the time of a real one; what a flush is worth, its host decides"
                ),
            ),
            Honesty::NoCache => {
                Finding::good(check, format!("{name} says that it has no volatile cache: what is written is durable"))
            }
            Honesty::Plausible => {
                Finding::good(check, format!("{name} empties its volatile cache, and takes as long as that does"))
            }
            Honesty::Unknown => Finding::wanting(
                check,
                "there is no one block device to ask what its flushes are worth",
                "choose a --data-dir on ext4 or XFS on a disk of this host",
            ),
        }
    }
}

/// The commands that switch off the caches of a device, or of those that it is made of, and the rules that do so at each boot.
fn without_cache(device: &Device) -> String {
    let mut leaves = device.leaves();
    if leaves.iter().any(|leaf| leaf.has_volatile_cache) {
        leaves.retain(|leaf| leaf.has_volatile_cache);
    }
    let command = |leaf: &Device| match leaf.name.starts_with("nvme") {
        true => format!("nvme set-feature /dev/{} --feature-id=6 --value=0", leaf.name),
        false => format!("hdparm -W0 /dev/{}", leaf.name),
    };
    let commands: Vec<String> = leaves.iter().map(|leaf| command(leaf)).collect();
    let rules: Vec<String> = leaves
        .iter()
        .map(|leaf| format!("ACTION==\"add\", KERNEL==\"{}\", RUN+=\"/usr/sbin/{}\"", leaf.name, command(leaf)))
        .collect();
    format!(
        "{}, unless the cache is protected against loss of power; for the boots after this one, in /etc/udev/rules.d/90-ouzel.rules: {}",
        commands.join(" && "),
        rules.join(" and on a line of its own ")
    )
}

/// How long commits take.
pub(super) fn look(times: &FlushTimes, device: Option<&Device>) -> Finding {
    let check = "flush time";
    let at = |sorted: &[Duration], share| milliseconds(FlushTimes::percentile(sorted, share));
    let seen = format!(
        "{} ms half of the time, {} ms at p99, {} ms at most, of {} (each after a direct write of 4 KiB, {} ms)",
        at(&times.flushes, 0.5),
        at(&times.flushes, 0.99),
        at(&times.flushes, 1.0),
        times.flushes.len(),
        at(&times.writes, 0.5)
    );
    if FlushTimes::percentile(&times.flushes, 0.5) < SLOW {
        return Finding::good(check, seen);
    }
    let remedy = if device.is_some_and(|device| device.is_rotational) {
        "put the data directory on flash, or on a controller with a protected write cache"
    } else {
        "put the data directory on a device with power-loss protection, or on one that nobody else writes to"
    };
    Finding::wanting(check, format!("{seen}: every acknowledgement waits that long"), remedy)
}

/// The measurement failed.
pub(super) fn not_measured(error: &io::Error, dir: &Path, device: Option<&Device>) -> Finding {
    let seen = format!("could not be measured in {}: {error}", dir.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Finding::wanting("flush time", seen, "free 64 MiB there, and run this again")
        }
        _ => {
            let leaves = device.map(Device::leaves).unwrap_or_default();
            let asked: String = leaves.iter().map(|leaf| format!(", `smartctl -a /dev/{}`", leaf.name)).collect();
            Finding::blocking("flush time", seen, format!("look at the device: `dmesg`{asked}"))
        }
    }
}

/// A time as people compare them.
pub(super) fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 0.1 { format!("{ms:.3}") } else { format!("{ms:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    fn times(flush_us: u64) -> FlushTimes {
        let flush = Duration::from_micros(flush_us);
        let write = Duration::from_micros(20);
        FlushTimes {
            writes: vec![write],
            flushes: vec![flush],
            commits: vec![flush + write],
            bytes_per_second: 1 << 28,
        }
    }

    fn device(name: &str, has_volatile_cache: bool, is_rotational: bool) -> Device {
        Device { name: name.to_owned(), model: None, has_volatile_cache, is_rotational, below: Vec::new() }
    }

    #[test]
    fn a_flush_that_is_faster_than_its_medium_is_not_believed() {
        for (name, cache, rotational, flush_us, expected) in [
            ("sda", true, true, 8_000, Honesty::Plausible),
            ("sda", true, true, 80, Honesty::TooFast),
            ("sda", false, true, 80, Honesty::TooFast),
            ("nvme0n1", true, false, 800, Honesty::Plausible),
            ("nvme0n1", true, false, 8, Honesty::TooFast),
            ("nvme0n1", false, false, 8, Honesty::NoCache),
            ("vda", true, true, 400, Honesty::OfHost),
            ("vda", false, false, 8, Honesty::OfHost),
            ("vda", true, false, 8, Honesty::TooFast),
            ("zram0", true, false, 800, Honesty::Memory),
        ] {
            let device = device(name, cache, rotational);
            let judged = honesty(None, Some(&device), Some(&times(flush_us)));
            assert_eq!(judged, expected, "{name} {cache} {rotational} {flush_us}");
            let finding = judged.look(None, Some(&device));
            assert_eq!(finding.state == State::Good, judged.is_durable(), "{finding:?}");
        }
        let leaf = device("vda", false, false);
        let volume = Device { below: vec![leaf], ..device("dm-0", false, false) };
        assert_eq!(honesty(None, Some(&volume), Some(&times(800))), Honesty::OfHost, "a volume of a virtual disk");
        assert_eq!(honesty(None, None, Some(&times(800))), Honesty::Unknown);
    }

    #[test]
    fn slow_flushes_are_wanting() {
        assert_eq!(look(&times(800), None).state, State::Good);
        assert_eq!(look(&times(30_000), None).state, State::Wanting);
    }

    #[test]
    fn a_full_disk_is_not_a_broken_one() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(not_measured(&full, Path::new("/d"), None).state, State::Wanting);
        let broken = not_measured(&io::Error::other("EIO"), Path::new("/d"), Some(&device("sda", true, false)));
        assert_eq!(broken.state, State::Blocking);
        assert!(broken.remedy.expect("a remedy").contains("`smartctl -a /dev/sda`"));
    }

    #[test]
    fn a_cache_is_switched_off_on_the_disks_themselves_now_and_at_each_boot() {
        let below = vec![device("sda", true, false), device("nvme0n1", true, false), device("sdb", false, false)];
        let array = Device { below, ..device("md0", true, false) };
        let remedy = Honesty::TooFast.look(None, Some(&array)).remedy.expect("a remedy");
        for words in [
            "hdparm -W0 /dev/sda && nvme set-feature /dev/nvme0n1 --feature-id=6 --value=0, unless",
            "/etc/udev/rules.d/90-ouzel.rules: ACTION==\"add\", KERNEL==\"sda\", RUN+=\"/usr/sbin/hdparm -W0 /dev/sda\"",
            "KERNEL==\"nvme0n1\", RUN+=\"/usr/sbin/nvme set-feature /dev/nvme0n1 --feature-id=6 --value=0\"",
        ] {
            assert!(remedy.contains(words), "{remedy}");
        }
        assert!(!remedy.contains("md0") && !remedy.contains("sdb"), "{remedy}");
        let guest = Honesty::TooFast.look(None, Some(&device("vda", true, false))).remedy.expect("a remedy");
        assert!(guest.contains("cache=none"), "{guest}");
    }

    #[test]
    fn a_mount_is_cured_in_its_own_words_now_and_at_each_boot() {
        for (kind, option, cure) in
            [("ext4", "barrier=0", "remount,barrier=1 "), ("btrfs", "nobarrier", "remount,barrier ")]
        {
            let mount = Mount::with("/srv/a b", kind, &[option]);
            let remedy = Honesty::Suppressed.look(Some(&mount), None).remedy.expect("a remedy");
            assert!(remedy.contains(&format!("mount -o {cure}'/srv/a b';")), "{remedy}");
            assert!(remedy.ends_with(&format!("take {option} out of its line in /etc/fstab")), "{remedy}");
        }
    }
}

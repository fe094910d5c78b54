//! The kernel's release and the oldest that will do. Reads one file.

/// The oldest kernel with everything used here (DEFER_TASKRUN, multishot receive, provided-buffer rings): major and minor.
pub const KERNEL_MIN: (u32, u32) = (6, 1);

/// The kernel's release, as `uname -r` prints it; empty where it cannot be read.
#[must_use]
pub fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Whether a release is older than [`KERNEL_MIN`]; one that cannot be read is judged by what its kernel can do.
#[must_use]
pub fn kernel_is_too_old(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else { return false };
    (major, minor) < KERNEL_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_before_6_1_are_too_old() {
        for release in ["5.15.0-91-generic", "6.0.19", "4.18.0"] {
            assert!(kernel_is_too_old(release), "{release}");
        }
        for release in ["6.1.0-13-amd64", "6.18.44", "10.0.1", "odd", ""] {
            assert!(!kernel_is_too_old(release), "{release}");
        }
    }
}

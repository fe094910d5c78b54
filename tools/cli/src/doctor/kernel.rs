//! The kernel and its io_uring, and who denies it. Owns the words; the asking is the runtime's.

use ouzel_runtime::host::{KERNEL_MIN, kernel_is_too_old, kernel_release, ring_lacks};

use super::finding::Finding;

pub(super) fn look() -> Vec<Finding> {
    let release = kernel_release();
    let (major, minor) = KERNEL_MIN;
    let kernel = if kernel_is_too_old(&release) {
        Finding::blocking(
            "kernel",
            format!("Linux {release}, older than {major}.{minor}"),
            "boot a kernel of 6.1 or newer (Debian: `apt install linux-image-amd64` of bookworm or later)",
        )
    } else {
        Finding::good("kernel", format!("Linux {release}"))
    };
    let lacks = ring_lacks();
    let mut findings = vec![kernel];
    if lacks.is_empty() {
        findings.push(Finding::good("io_uring", "allowed, with every operation that a shard uses"));
    }
    findings.extend(lacks.iter().map(|lack| Finding::blocking("io_uring", lack.to_string(), lack.remedy())));
    findings
}

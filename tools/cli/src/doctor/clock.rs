//! The clock: whether somebody keeps it right, and whether it is cheap to read. Records carry its time.

use std::io;

use ouzel_runtime::host::{ClockState, clock_state};

use super::finding::Finding;

/// Clocks that a program reads without asking the kernel.
const CHEAP: &[&str] = &["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

pub(super) fn look() -> Finding {
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    judge(clock_state(), source.ok().as_deref().map(str::trim))
}

fn judge(state: io::Result<ClockState>, source: Option<&str>) -> Finding {
    let check = "clock";
    if let Some(source) = source.filter(|source| !CHEAP.contains(source)) {
        return Finding::wanting(
            check,
            format!("{source}: every look at it asks the kernel or a chip"),
            "where `dmesg | grep -i tsc` does not call it unstable, add clocksource=tsc tsc=reliable to GRUB_CMDLINE_LINUX in /etc/default/grub, then: update-grub && reboot",
        );
    }
    let source = source.unwrap_or("of unknown source");
    match state {
        Ok(state) if state.is_synchronised => {
            Finding::good(check, format!("{source}, kept right within {} ms", state.error_max.as_millis()))
        }
        Ok(_) => Finding::wanting(
            check,
            format!("{source}, and nobody keeps it right: records carry its time, and reading by time goes by it"),
            "apt install chrony, or: timedatectl set-ntp true",
        ),
        Err(error) => Finding::wanting(
            check,
            format!("{source}; whether it is kept right the kernel does not say: {error}"),
            "allow adjtimex in the seccomp profile, or look with `timedatectl`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_clock_that_nobody_keeps_or_that_is_slow_is_wanting() {
        let state = |is_synchronised| Ok(ClockState { is_synchronised, error_max: Duration::from_millis(3) });
        assert_eq!(judge(state(true), Some("tsc")).state, State::Good);
        assert_eq!(judge(state(false), Some("tsc")).state, State::Wanting);
        assert_eq!(judge(state(true), Some("hpet")).state, State::Wanting);
        assert_eq!(judge(Err(io::Error::other("EPERM")), None).state, State::Wanting);
    }
}

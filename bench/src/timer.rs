//! A timer as fine as the kernel's. Owns one timerfd; never spins. Runs on the generator's thread: tokio's own timers
//! tick in milliseconds, and an open loop that sends a millisecond late would report its own lateness as the broker's.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Waits shorter than this are over before they could be asked for.
const WAIT_MIN: Duration = Duration::from_micros(5);

/// One waiter's timer.
#[derive(Debug)]
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
}

impl Timer {
    /// A timer that is not set. Must be made inside a tokio runtime.
    ///
    /// # Errors
    /// The process has too many open files.
    pub fn new() -> io::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // The successor of this function is unsafe because a type could lie about its descriptor; `OwnedFd` cannot.
        #[expect(deprecated, reason = "sound for OwnedFd, and the replacement is unsafe")]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Timer { fd })
    }

    /// Waits until `at`; returns at once if that has passed. Cancel-safe.
    ///
    /// # Errors
    /// The kernel refuses the time.
    pub async fn wait_until(&mut self, at: Instant) -> io::Result<()> {
        let wait = at.saturating_duration_since(Instant::now());
        if wait < WAIT_MIN {
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        timerfd_settime(
            self.fd.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: zero, it_value: value },
        )?;
        loop {
            let mut guard = self.fd.readable().await?;
            let mut count = [0; 8];
            let read = guard.try_io(|fd| rustix::io::read(fd.get_ref(), &mut count).map_err(io::Error::from));
            match read {
                Ok(result) => return result.map(|_| ()),
                // Not due yet: readiness of an earlier setting.
                Err(_) => continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_over_before_its_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut timer = Timer::new().expect("timer");
            for micros in [0, 1, 50, 300, 2_000] {
                let at = Instant::now() + Duration::from_micros(micros);
                timer.wait_until(at).await.expect("wait");
                assert!(Instant::now() + WAIT_MIN >= at);
            }
        });
    }
}

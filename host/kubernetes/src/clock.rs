//! A clock that goes on while the machine sleeps and while the process is stopped (rule D8).

use setpoint_core::Time;

/// Milliseconds since some moment before the process began.
pub fn boot_time() -> Time {
    // On Linux the monotonic clock stands still while the machine sleeps, elsewhere it does not.
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    let millis = i128::from(now.tv_sec) * 1_000 + i128::from(now.tv_nsec) / 1_000_000;
    Time::try_from(millis).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on() {
        let before = boot_time();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let after = boot_time();
        assert!(after >= before + 4 && after < before + 60_000);
    }
}

//! The clocks of a report: `clock_gettime(2)`, which a signal handler may call.
#![allow(unsafe_code, reason = "clock_gettime(2) and sysconf(3)")]

use core::ffi::c_int;

/// Nanoseconds in a second.
pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds since 1970, UTC.
pub(super) fn realtime_ns() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// Nanoseconds on a clock that nobody sets: for bounds, and to order the records of one machine.
pub(super) fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Clock ticks since boot, suspend included: the unit and origin of field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`).
pub(crate) fn clock_ticks() -> u64 {
    // SAFETY: takes an integer, reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    // 100 on every Linux for x86-64; an unknown constant is -1.
    let per_second = u64::try_from(per_second).unwrap_or(100).max(1);
    read(libc::CLOCK_BOOTTIME) / (SECOND_NS / per_second).max(1)
}

/// A span or a moment in nanoseconds as the kernel takes it.
pub(super) fn timespec(ns: u64) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(ns / SECOND_NS).unwrap_or(i64::MAX),
        tv_nsec: (ns % SECOND_NS).cast_signed(),
    }
}

fn read(clock: c_int) -> u64 {
    let mut now = timespec(0);
    // SAFETY: the buffer is this function's own. The clocks that are asked for exist on every Linux since 2.6.39.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(SECOND_NS).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn real_time_is_the_systems() {
        let system_ns = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_nanos()
        };
        let before = system_ns();
        let now = u128::from(realtime_ns());
        assert!((before..=system_ns()).contains(&now));
    }

    /// `/proc/uptime` has the same clock, in hundredths of a second (`proc_uptime(5)`).
    #[test]
    fn ticks_are_those_of_proc() {
        let uptime = || {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            let seconds = text.split_whitespace().next().unwrap().replace('.', "");
            seconds.parse::<u64>().unwrap()
        };
        let before = uptime();
        let ticks = clock_ticks();
        assert!((before..=uptime()).contains(&ticks));
    }

    #[test]
    fn spans_survive_their_split() {
        for ns in [0, 1, SECOND_NS - 1, SECOND_NS, 3 * SECOND_NS + 7] {
            let span = timespec(ns);
            assert_eq!(
                span.tv_sec.unsigned_abs() * SECOND_NS + span.tv_nsec.unsigned_abs(),
                ns
            );
        }
    }
}

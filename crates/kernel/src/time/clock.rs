//! What time it is: `clock_gettime(2)`, `clock_getres(2)`, `gettimeofday(2)`, `time(2)`.
//!
//! There are the clocks of the machine. Those of a process's and a thread's CPU time are not there: `EINVAL`, as for a
//! number that is no clock.
//!
//! Source: Linux `kernel/time/posix-timers.c` (`clockid_to_kclock`), `time.c`.

use crate::abi::Errno;
use crate::abi::time::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME,
    CLOCK_REALTIME_COARSE, CLOCK_TAI, NSEC_PER_SEC,
};
use crate::kernel::{Here, Kernel};
use crate::platform::Platform;
use crate::time::value::{TIME_LEN, timespec_bytes, timeval_bytes};

/// From when a clock counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Epoch {
    /// From 1970.
    Unix,
    /// From the start of the machine.
    Start,
}

/// A clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) epoch: Epoch,
    /// Whether one can sleep by it.
    pub(super) has_sleep: bool,
}

impl Clock {
    /// The clock with a number.
    pub(super) const fn from_number(number: i32) -> Result<Self, Errno> {
        let (epoch, has_sleep) = match number {
            CLOCK_REALTIME | CLOCK_TAI => (Epoch::Unix, true),
            CLOCK_REALTIME_COARSE => (Epoch::Unix, false),
            CLOCK_MONOTONIC | CLOCK_BOOTTIME => (Epoch::Start, true),
            CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE => (Epoch::Start, false),
            _ => return Err(Errno::Invalid),
        };
        Ok(Self { epoch, has_sleep })
    }
}

impl<P: Platform> Kernel<P> {
    /// The time since the machine was started.
    pub(crate) fn now(&self) -> Result<u64, Errno> {
        self.platform.monotonic().ok_or(Errno::NoSystemCall)
    }

    pub(super) fn time_by(&self, epoch: Epoch) -> Result<u64, Errno> {
        match epoch {
            Epoch::Unix => self.platform.realtime().ok_or(Errno::NoSystemCall),
            Epoch::Start => self.now(),
        }
    }

    /// When, as [`Kernel::now`] counts, a clock shows a time.
    pub(crate) fn deadline_by(&self, is_realtime: bool, time: u64) -> Result<u64, Errno> {
        let now = self.now()?;
        if !is_realtime {
            return Ok(time);
        }
        let shown = self.time_by(Epoch::Unix)?;
        Ok(now.saturating_add(time.saturating_sub(shown)))
    }

    /// `int clock_gettime(clockid_t clockid, struct timespec *tp);`
    pub(crate) fn clock_gettime(
        &self,
        here: &Here<'_, P>,
        clock: i32,
        at: u64,
    ) -> Result<u64, Errno> {
        let time = self.time_by(Clock::from_number(clock)?.epoch)?;
        here.write(at, &timespec_bytes(time))?;
        Ok(0)
    }

    /// `int clock_getres(clockid_t clockid, struct timespec *res);`
    ///
    /// How fine the surrounding kernel's clock is, is not known here; what is told is the unit in which it is read.
    pub(crate) fn clock_getres(
        &self,
        here: &Here<'_, P>,
        clock: i32,
        at: u64,
    ) -> Result<u64, Errno> {
        self.time_by(Clock::from_number(clock)?.epoch)?;
        if at != 0 {
            here.write(at, &timespec_bytes(1))?;
        }
        Ok(0)
    }

    /// `int gettimeofday(struct timeval *tv, struct timezone *tz);` Every place is in Greenwich.
    pub(crate) fn gettimeofday(
        &self,
        here: &Here<'_, P>,
        time_at: u64,
        zone_at: u64,
    ) -> Result<u64, Errno> {
        let time = self.time_by(Epoch::Unix)?;
        if time_at != 0 {
            let bytes: [u8; TIME_LEN] = timeval_bytes(time);
            here.write(time_at, &bytes)?;
        }
        if zone_at != 0 {
            here.write(zone_at, &[0; 8])?;
        }
        Ok(0)
    }

    /// `time_t time(time_t *tloc);`
    pub(crate) fn time(&self, here: &Here<'_, P>, at: u64) -> Result<u64, Errno> {
        let seconds = self.time_by(Epoch::Unix)? / NSEC_PER_SEC;
        if at != 0 {
            here.write(at, &seconds.to_le_bytes())?;
        }
        Ok(seconds)
    }
}
